"""Findings as one document, as files that others open, and a study as data frames."""

import csv
import dataclasses
import io
import json
import os
import re
import signal

import pytest

import cotdistill
from cotdistill.errors import UnknownName
from cotdistill.execution.supervisor import stop_all
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.report.export import claim_title, extended_told, figures_page, html_page, published, tables
from cotdistill.results import results
from cotdistill.results.findings import findings
from cotdistill.store.store import Store
from cotdistill.studies.spec import study_spec
from tests import test_browser
from tests.terminal import check_keys, speaker
from tests.test_browser import at_rest, free_port, page, serve

__all__ = ["page"]

SPEC = {
    "name": "found",
    "title": "Found <b>&</b> lost",
    "task_settings": {"creatures": 24, "documents": 50, "wordings": 1},
    "conditions": "undistilled,label_only,pre_cot,post_cot,shuffled,random,label_only@tokens=post_cot",
    "replicates": 2,
    "fixed_seeds": {"world": 0},
    "training": {"steps": 2, "batch_size": 4, "evaluations": 1, "dev_examples": 5},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("found")
    store = Store.open(home)
    launch(store, plan(store, study_spec(None, SPEC)))
    work(store)
    return home


@pytest.fixture
def store(home, monkeypatch):
    monkeypatch.setenv("COTDISTILL_HOME", str(home))
    return Store.open(home)


@pytest.fixture
def say(capsys, store):
    return speaker(capsys)


def test_the_document_holds_every_comparison_its_controls_and_what_would_change_it(say):
    said = say("compare found --json")
    assert said.code == 0
    check_keys("compare", said.document)
    first, second, third = said.document["claims"]
    assert said.document["status"] == "done" and said.document["artificial"] and said.document["worlds"] == 1
    assert [(c["first"], c["second"], c["status"]) for c in first["comparisons"]] == [
        ("post_cot", "label_only", "done"), ("post_cot", "pre_cot", "done"),
    ]  # fmt: skip
    assert [c["second"] for c in first["at_tokens"]] == ["label_only@tokens=post_cot", "pre_cot"]
    assert [c["id"] for c in first["controls"]] == ["undistilled", "label_only@tokens=post_cot"]
    assert {c["id"] for c in second["controls"]} == {"post_cot/random_tokens", "label_only@tokens=post_cot"}
    assert (
        third["status"] == "not_run"
        and third["asked_by"] == "keytokens"
        and all(c["status"] == "not_run" for c in third["comparisons"])
    )
    for comparison in first["comparisons"]:
        assert comparison["low"] <= comparison["points"] <= comparison["high"] and comparison["items"] == 108


def test_a_study_that_nobody_has_launched_answers_with_what_it_would_compare(say):
    said = say("compare keytokens --json")
    assert said.code == 0 and said.document["status"] == "not_run" and said.document["id"] is None
    assert all(c["status"] == "not_run" for claim in said.document["claims"] for c in claim["comparisons"])
    assert say("compare nothing --json").error["kind"] == "unknown_name"


def test_a_margin_that_was_chosen_beforehand_reaches_the_comparison(store):
    document = findings(store, "found", margin=3.5)
    assert document["margin"] == 3.5
    margins = {c["margin"] for c in document["claims"][1]["comparisons"]}
    assert margins <= {None, 3.5}


@pytest.mark.parametrize("form", ["html", "md", "tex", "csv"])
def test_a_report_is_written_whole_and_says_where(say, tmp_path, form):
    out = tmp_path / f"r.{form}"
    said = say("report found --json", "--out", str(out))
    assert said.code == 0 and said.document["bytes"] == out.stat().st_size > 200
    check_keys("report", said.document)
    assert [p.name for p in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize("out", ["r.pdf", "r", "/nowhere/r.html"])
def test_a_report_that_cannot_be_written_says_why(say, out):
    assert say("report found --json", "--out", out).error["kind"] == "usage"


def test_the_html_page_holds_the_same_numbers_to_the_last_digit_and_asks_nobody(store):
    document = findings(store, "found")
    page = html_page(document)
    held = re.search(r'<script type="application/json" id="findings">(.*?)</script>', page, re.DOTALL).group(1)
    assert json.loads(held) == json.loads(json.dumps(document))
    outside = page.partition("</style>")[2]
    body = re.sub(r"<script.*?</script>", "", outside, flags=re.DOTALL)
    assert (
        not re.findall(r'(?:src|href)\s*=\s*"', body)
        and "<b>" not in body
        and "Found &lt;b&gt;&amp;&lt;/b&gt; lost" in body
    )


def test_tables_show_what_the_document_says(store):
    document = findings(store, "found")
    every = tables(document)
    assert len(every) == 4 and all(len(row) == len(table.columns) for table in every for row in table.rows)
    rows = list(csv.reader(io.StringIO(published(document, "csv"))))
    assert len(rows) == 1 + len(document["conditions"])
    best = max(document["conditions"], key=lambda c: c["accuracy"])
    assert rows[1][2] == f"{100 * best['accuracy']:.1f} %"


def test_a_title_says_no_more_than_its_comparisons():
    def one(word, points, second):
        return {"first_label": "post-CoT", "second_label": second, "word": word, "points": points}

    assert claim_title({"comparisons": [one("better", 8.94, "label only"), one("worse", -20.9, "pre-CoT")]}) == (
        "Post-CoT beats label only by 8.9 and falls 20.9 short of pre-CoT"
    )
    assert (
        claim_title({"comparisons": [one("provisional", 1.0, "label only")]}) == "Post-CoT stands +1.0 from label only"
    )
    assert claim_title({"comparisons": [one(None, None, "label only")]}) == "Post-CoT"


def test_markdown_and_latex_hold_every_claim(store):
    document = findings(store, "found")
    for claim in document["claims"]:
        assert claim["title"].split(",")[0] in published(document, "md").replace("\\", "")
    assert published(document, "tex").count("\\begin{table}") == 4


def test_the_claims_of_every_study_stand_in_one_table(say, store):
    said = say("study list --claims --json")
    check_keys("study list", said.document)
    (one,) = said.document
    document = findings(store, "found")
    assert [c["word"] for c in one["claims"]] == [c["word"] for c in document["claims"]]
    first = document["claims"][0]["comparisons"][0]
    assert {name: one["claims"][0][name] for name in ("points", "low", "high")} == {
        name: first[name] for name in ("points", "low", "high")
    }
    assert (one["status"], one["finished"], one["planned"], one["student"]) == ("done", 14, 14, "nano")
    assert "on label only" in say("study list --claims").out


def test_replicates_that_are_added_after_results_were_seen_are_said_to_be_so(store, tmp_path):
    assert findings(store, "found")["extended"] is None
    more = study_spec(None, {**SPEC, "name": "more", "replicates": 3})
    store.queue.set_paused(True)
    launch(store, plan(store, more))
    # Other steps are another plan, and a first launch of it extends nothing.
    other = dataclasses.replace(more, name="other", training=dataclasses.replace(more.training, steps=3))
    launch(store, plan(store, other))
    document = findings(store, "more")
    assert document["extended"] == {"id": 1, "name": "found", "replicates": 2, "runs": 14, "of": 21}
    assert (
        extended_told(document)
        == "Extended after looking: 14 of its 21 runs had ended in study found (number 1), and could be seen, when this one was planned."
    )
    assert extended_told(document) in html_page(document) and "Extended after looking" in published(document, "md")
    assert findings(store, "other")["extended"] is None and extended_told(findings(store, "found")) == ""
    for job in store.queue.jobs(state="queued"):
        store.queue.delete(job.id)
    with store.queue.database.write() as connection:
        connection.execute("DELETE FROM study WHERE name <> 'found'")
    store.queue.set_paused(False)


@pytest.fixture
def server(home):
    port = free_port()
    process = serve(home, port)
    yield f"http://localhost:{port}"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    stop_all(Store.open(home))


@test_browser.pytestmark
def test_the_claims_are_walked_through_by_arrow_keys_and_a_link_restores_the_screen(server, page, store):
    document = findings(store, "found")
    page.goto(f"{server}/Findings?study=found")
    page.get_by_role("button", name="Present").click()
    page.get_by_text("1 of 4").wait_for()
    for number, claim in enumerate(document["claims"], 2):
        at_rest(page)
        page.keyboard.press("ArrowRight")
        page.get_by_text(claim["title"], exact=True).wait_for()
        page.get_by_text(claim["word"], exact=True).first.wait_for()
        page.get_by_text(f"{number} of 4").wait_for()
        assert (
            page.get_by_test_id("stSidebarNavLink").count() == 0
            and page.get_by_role("link", name="Compare").count() == 0
        )
    assert "present=3" in page.url
    page.reload()
    page.get_by_text("4 of 4").wait_for()
    at_rest(page)
    page.keyboard.press("ArrowLeft")
    page.get_by_text("3 of 4").wait_for()
    at_rest(page)
    page.keyboard.press("Escape")
    page.get_by_role("heading", name="Findings").wait_for()
    assert "present" not in page.url


@test_browser.pytestmark
def test_the_page_and_its_download_show_the_numbers_of_the_document(server, page, store, tmp_path):
    document = findings(store, "found")
    page.goto(f"{server}/Findings?study=found")
    page.get_by_text("Every condition").wait_for()
    for comparison in document["claims"][0]["comparisons"]:
        sign = "+" if comparison["points"] > 0 else "−"
        page.get_by_text(f"{sign}{abs(comparison['points']):.1f}").first.wait_for()
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="One HTML page that opens offline").click()
    saved = tmp_path / "findings.html"
    download.value.save_as(saved)
    held = re.search(
        r'<script type="application/json" id="findings">(.*?)</script>', saved.read_text(), re.DOTALL
    ).group(1)
    assert json.loads(held) == json.loads(json.dumps(document))
    page.keyboard.press("Escape")
    figure = page.locator(".js-plotly-plot").first
    figure.hover()
    with page.expect_download() as picture:
        figure.locator(".modebar-btn[data-title*='ownload']").first.click()
    picture.value.save_as(tmp_path / "figure.svg")
    assert picture.value.suggested_filename == "cotdistill-claim1.svg" and (
        tmp_path / "figure.svg"
    ).read_text().startswith("<svg")


@test_browser.pytestmark
def test_the_exported_page_draws_its_figures_without_a_network_and_fetches_nothing(page, store, tmp_path):
    asked = []
    page.context.set_offline(True)
    page.on("request", lambda request: asked.append(request.url))
    for name, text in (
        ("findings", html_page(findings(store, "found"))),
        ("figures", figures_page([(_figure(), "a <b>caption</b>")], "All")),
    ):
        file = tmp_path / f"{name}.html"
        file.write_text(text)
        page.goto(file.as_uri())
        page.locator(".js-plotly-plot .main-svg").first.wait_for()
        assert page.locator(".js-plotly-plot").count() == {"findings": 2, "figures": 1}[name]
        assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    page.get_by_text("a <b>caption</b>").wait_for()


def _figure():
    from cotdistill.report.figures import base

    return base.bars({"<i>a</i>": 2, "b": 1}, "Counts", "how many")


def test_a_study_is_read_as_data_frames(home):
    library = cotdistill.open(home)
    assert library.studies()["name"].tolist() == ["found"]
    study = library.study("found")
    predictions = study.predictions()
    assert {"item", "condition", "replicate", "correct"} <= set(predictions) and predictions["replicate"].nunique() == 2
    means = predictions.groupby("condition")["correct"].mean()
    summary = study.summary().set_index("condition")
    assert means["post_cot"] == pytest.approx(summary.loc["post_cot", "mean"])
    runs = study.runs()
    assert runs.groupby("condition")["accuracy"].mean()["label_only"] == pytest.approx(
        summary.loc["label_only", "mean"]
    )
    difference = study.differences("label_only").set_index("condition").loc["post_cot"]
    assert (
        difference["difference"] == pytest.approx(means["post_cot"] - means["label_only"])
        and difference["low"] <= difference["difference"]
    )
    assert "loss" in set(study.curves()["name"]) and study.findings()["name"] == "found"
    assert len(results.comparison(Store.open(home), "found", "label_only").rows) == len(study.differences("label_only"))


def test_an_unknown_study_answers_with_near_matches(home):
    with pytest.raises(UnknownName, match="fund"):
        cotdistill.open(home).study("fund")

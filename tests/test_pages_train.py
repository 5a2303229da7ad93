"""Page Train without a browser: what the form takes, what it refuses, and what its link keeps."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import pytest

from cotdistill.dashboard.widgets import composer_state, condition_field, failures
from cotdistill.errors import CotdistillError
from cotdistill.planning.plan import launch, plan
from cotdistill.store.store import Store
from cotdistill.studies.spec import STUDIES, spec_from_mapping
from cotdistill.tasks.importing.importer import import_task
from tests.test_pages import drawn, sound, texts

PLAN = {
    "name": "mine", "conditions": ["label_only", "post_cot"], "replicates": 1, "baseline": "", "base_steps": 0,
    "task_settings": {"creatures": 24, "documents": 50, "wordings": 1}, "training.steps": 7,
}  # fmt: skip


@pytest.fixture(scope="module")
def long_row(tmp_path_factory):
    """A task of 12 rows, one of which has a rationale of 900 words."""
    home = tmp_path_factory.mktemp("long")
    rows = [
        {"question": f"question {i}", "choices": ["red", "blue"], "answer": "AB"[i % 2],
         "rationale": "so it is " * (300 if i == 3 else 3), "split": ("train", "dev", "test")[i // 12]}
        for i in range(36)
    ]  # fmt: skip
    (home / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    import_task(Store.open(home).tasks_root, home / "rows.jsonl", "long_row")
    return home


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("shuffled", "post_cot/shuffle(unit=token,fraction=1.0)"),
        ("post-CoT, tokens shuffled", "post_cot/shuffle(unit=token,fraction=1.0)"),
        ("Tokens  shuffled", "post_cot/shuffle(unit=token,fraction=1.0)"),
        ("label only", "label_only"),
        ("pre-cot", "pre_cot"),
        ("sentence shuffled", "post_cot/shuffle(unit=sentence,fraction=1.0)"),
        ("post_cot@fraction=0.5", "post_cot@fraction=0.5"),
    ],
)
def test_names_labels_presets_and_the_grammar_all_stand_for_a_condition(text, condition):
    assert condition_field.resolved(text) == condition


def test_what_is_no_condition_is_answered_with_the_nearest_names():
    with pytest.raises(CotdistillError, match="There is no condition named 'shufled'") as error:
        condition_field.resolved("⚠ not a condition: shufled")
    assert error.value.hint.startswith("Did you mean shuffled")


def test_a_typo_is_marked_in_its_place_and_the_plan_of_the_others_stays_in_sight(tmp_path, monkeypatch):
    app = drawn("pages/2_Train.py", tmp_path, monkeypatch, start="starter", plan=json.dumps(PLAN))
    app.session_state["compose.conditions"] = ["label_only", "shufled", "post_cot", "tokens shuffled", "shuffled"]
    app.run()
    page = texts(sound(app, "There is no condition named 'shufled'"))
    assert app.multiselect(key="compose.conditions").value == [
        "label_only", "shufled", "post_cot", "post_cot/shuffle(unit=token,fraction=1.0)",
    ]  # fmt: skip
    assert "Did you mean shuffled" in page
    assert any(e.label.startswith("Every run of this plan: 3 runs") for e in app.expander)
    assert app.button(key="launch").disabled
    app.session_state["compose.conditions"] = ["label_only", "post_cot"]
    app.run()
    assert not sound(app).button(key="launch").disabled and app.button(key="launch").label == "Launch 2 runs"


def test_a_reload_brings_the_composed_plan_back_and_not_the_starter(tmp_path, monkeypatch):
    app = drawn("pages/2_Train.py", tmp_path, monkeypatch, start="starter", plan=json.dumps(PLAN))
    assert app.text_input(key="compose.name").value == "mine"
    app.number_input(key="compose.training.steps").set_value(9).run()
    app.multiselect(key="compose.conditions").set_value(["label_only", "pre_cot"]).run()
    link = {key: sound(app).query_params[key] for key in ("start", "plan")}
    again = drawn("pages/2_Train.py", tmp_path, monkeypatch, **link)
    assert again.button(key="launch").label == "Launch 2 runs"
    assert again.multiselect(key="compose.conditions").value == ["label_only", "pre_cot"]
    assert again.number_input(key="compose.training.steps").value == 9
    assert again.number_input(key="compose.dials.creatures").value == 24
    assert again.query_params["plan"] == link["plan"]
    (label,) = [expander.label for expander in again.expander if "changed against starter" in expander.label]
    assert label == f"{len(json.loads(link['plan']))} settings changed against starter"


@pytest.mark.parametrize("plan", ["{", "[1]", '{"nonsense": 1}', '{"replicates": 0}', "[" * 5000, '{"student": 5}'])
def test_a_link_whose_plan_cannot_be_read_says_so_and_shows_its_start(plan, monkeypatch):
    warnings = []
    page = SimpleNamespace(
        query_params={"start": "starter", "plan": plan},
        session_state={},
        warning=lambda text, icon: warnings.append(text),
    )
    monkeypatch.setattr(composer_state, "st", page)
    composer_state.restore({"starter": STUDIES.get("starter").make()})
    assert warnings == ["The plan in this link cannot be read; the form shows where it starts from."]
    assert page.session_state == {"compose.start": "starter"} and page.query_params == {"start": "starter"}


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("compose.replicates", 0, "replicates is 0; expected"),
        ("compose.training.steps", 999_999_999_999, "steps is 999999999999; expected"),
    ],
)
def test_a_refused_number_says_why_and_turns_launch_off(field, value, sentence, tmp_path, monkeypatch):
    app = drawn("pages/2_Train.py", tmp_path, monkeypatch, start="starter", plan=json.dumps(PLAN))
    app.number_input(key=field).set_value(value).run()
    assert sentence in texts(sound(app, sentence.split()[0])).replace("\\", "")
    assert app.button(key="launch").disabled


def test_rows_that_would_end_every_run_are_left_out_shortened_or_the_plan_discarded_by_a_button(long_row, monkeypatch):
    composed = {"task": "long_row", "name": "long", "conditions": ["label_only", "post_cot"], "replicates": 1, "base_steps": 0,
            "fixed_seeds": {}, "title": ""}  # fmt: skip

    def with_the_row(app):
        return sound(app, "1 training row cannot be read whole")

    app = drawn(
        "pages/2_Train.py", long_row, monkeypatch, start="starter", plan=json.dumps(composed), check=with_the_row
    )
    assert app.button(key="launch").disabled
    sound(app.button(key="mend.Leave 1 row out").click().run())
    assert app.multiselect(key="compose.left_out").value == ["rows.jsonl:4"]
    assert app.button(key="launch").label == "Launch 2 runs" and not app.button(key="launch").disabled
    assert json.loads(app.query_params["plan"])["left_out"] == ["rows.jsonl:4"] and "11 training rows" in texts(app)
    with_the_row(app.multiselect(key="compose.left_out").set_value([]).run())
    sound(app.button(key="mend.Shorten the rationale").click().run())
    assert app.selectbox(key="compose.student_settings.truncate").value == "rationale"
    assert not app.button(key="launch").disabled
    with_the_row(app.selectbox(key="compose.student_settings.truncate").set_value("refuse").run())
    sound(app.button(key="mend.discard").click().run())
    assert app.text_input(key="compose.name").value == "starter"


@pytest.fixture(scope="module")
def doomed(long_row, tmp_path_factory):
    """A study of which two runs failed at a row of 914 tokens and one for want of memory, and one is queued."""
    home = tmp_path_factory.mktemp("doomed")
    shutil.copytree(long_row, home, dirs_exist_ok=True)
    store = Store.open(home)
    values = {"task": "long_row", "name": "long", "conditions": "label_only,post_cot", "replicates": 2,
              "training": {"steps": 2, "batch_size": 4}}  # fmt: skip
    planned = plan(store, spec_from_mapping(values))
    launch(store, dataclasses.replace(planned, too_long=()))
    store.queue.set_paused(True)
    errors = [
        {"kind": "sequence_too_long", "message": f"Training example 'r{n}' has 91{n} tokens; the student reads 512.",
         "hint": "Choose truncate=question.", "traceback": ""} for n in (4, 5)
    ] + [{"kind": "out_of_memory", "message": "There was not enough memory: killed", "hint": "Retry.", "traceback": ""}]  # fmt: skip
    jobs = sorted((job for job in store.queue.jobs(kind="train")), key=lambda job: job.id)
    with store.queue.database.write() as connection:
        for job, error in zip(jobs, errors, strict=False):
            connection.execute("UPDATE job SET state = 'failed', error = ? WHERE id = ?", (json.dumps(error), job.id))
    return home


def test_runs_that_failed_for_one_cause_are_one_card_though_names_and_numbers_differ(doomed):
    found = failures.causes(Store.open(doomed).queue.jobs(state="failed"))
    assert [(cause.kind, len(cause.jobs)) for cause in found] == [("sequence_too_long", 2), ("out_of_memory", 1)]


@pytest.mark.parametrize("page", ["app.py", "pages/3_Compare.py"])
def test_home_and_compare_say_in_red_what_failed_and_why_each_cause_once(page, doomed, monkeypatch):
    app = drawn(page, doomed, monkeypatch, check=lambda app: sound(app, "2 runs", "1 run"))
    cards = [error.value for error in app.error]
    assert len(cards) == 2 and "2 runs of long failed" in cards[0].replace("\\", "") and "has 91" in cards[0]
    assert "not enough memory" in cards[1]
    keys = [button.key for button in app.button]
    place = "home" if page == "app.py" else "compare"
    assert {
        f"{place}.0.left_out",
        f"{place}.0.rationale",
        f"{place}.0.question",
        f"{place}.0.retry",
        f"{place}.1.half",
    } <= set(keys)


def test_the_button_leaves_the_long_row_out_and_launches_the_study_again(doomed, tmp_path, monkeypatch):
    home = shutil.copytree(doomed, tmp_path / "home")
    for name in ("plans", "failures", "queue"):
        monkeypatch.setattr(f"cotdistill.dashboard.widgets.{name}.ensure_supervisor", lambda store: None)
    app = drawn("app.py", home, monkeypatch, check=lambda app: sound(app, "2 runs", "1 run"))
    sound(app.button(key="home.0.left_out").click().run())
    assert "4 runs queued" in app.toast[0].value
    store = Store.open(home)
    study = store.queue.study("long")
    assert study.spec["left_out"] == ["rows.jsonl:4"] and study.id == 2
    assert not app.error, "the runs that were replaced are no longer in red"
    assert {job.state for job in store.queue.jobs(study="long")} == {"queued"}


def test_progress_lines_name_the_study_and_compare_counts_the_jobs_of_its_study_alone(doomed, tmp_path, monkeypatch):
    home = shutil.copytree(doomed, tmp_path / "home")
    store = Store.open(home)
    monkeypatch.setattr("cotdistill.dashboard.widgets.queue.ensure_supervisor", lambda store: None)
    values = {"task": "long_row", "name": "other", "conditions": "label_only", "replicates": 3,
              "training": {"steps": 3, "batch_size": 4}}  # fmt: skip
    launch(store, plan(store, spec_from_mapping(values)))
    running = store.queue.jobs(study="other")[0]
    with store.queue.database.write() as connection:
        connection.execute("UPDATE job SET state = 'running' WHERE id = ?", (running.id,))
    assert store.queue.study_names([running.id, 1]) == {running.id: "other", 1: "long"}
    page = texts(drawn("pages/3_Compare.py", home, monkeypatch, study="other"))
    assert "1 running · 2 waiting" in page and "failed" not in page
    page = texts(
        drawn("pages/3_Compare.py", home, monkeypatch, study="long", check=lambda app: sound(app, "2 runs", "1 run"))
    )
    assert "1 waiting · 3 failed" in page.lower() and "running" not in page
    (line,) = drawn("pages/3_Compare.py", home, monkeypatch, study="other").get("progress")
    assert line.proto.text.replace("\\", "").startswith("other · label only · replicate")

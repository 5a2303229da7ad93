"""Data sets of the hub: read through `datasets.load_dataset` from folders with the hub's own schemas; from a small hub; and without one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import datasets
import pytest
from streamlit.testing.v1 import AppTest

from cotdistill.errors import BadRows, DataError, UsageError
from cotdistill.planning.plan import plan
from cotdistill.store.store import Store
from cotdistill.studies.spec import study_spec
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.describe import describe
from cotdistill.tasks.importing import hub
from cotdistill.tasks.importing.columns import ColumnMap, choices_of, guess_columns, inline, question_of
from cotdistill.tasks.importing.hub import hub_source, read_hub
from cotdistill.tasks.importing.hub_catalog import HUB
from cotdistill.tasks.importing.importer import import_task
from cotdistill.tasks.importing.preview import preview_source
from tests import hub_folders as like
from tests.small_hub import served

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own cache is seen or changed."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def known(name: str, folder: Path) -> hub.HubSource:
    """What is known of a data set, laid over a folder with its schema."""
    entry = HUB.get(name)
    return hub.HubSource(str(folder), entry.config, "", dict(entry.splits), entry)


def test_commonsenseqa_as_on_the_hub_gets_dev_as_its_test_since_the_test_has_no_labels(tmp_path: Path) -> None:
    splits = {
        "train": like.commonsenseqa(120, "t"),
        "validation": like.commonsenseqa(20, "v"),
        "test": like.commonsenseqa(15, "x", answers=False),
    }
    folder = like.card(like.write(tmp_path / "csqa", like.COMMONSENSEQA, splits), {"data": list(splits)})
    source = hub.HubSource(str(folder), known=HUB.get("commonsenseqa"))
    report = import_task(tmp_path / "root", source, "csqa")
    task = report.task
    assert task.roles["test"] == "official dev" and task.roles["dev"] == "a hash-fixed 10 % of train"
    assert {e.id for e in task.examples("test")} == {f"v{i}" for i in range(20)}
    assert len(task.examples("train")) + len(task.examples("dev")) == 120
    assert any("15 rows of the test split have no answers" in told for told in report.warnings)
    one = task.example("t7")
    assert (
        [c.text for c in one.choices] == ["river", "bank", "forest", "desk", "pillow"]
        and one.answer == "C"
        and task.chance == 0.2
    )
    assert one.metadata["question_concept"] == "thing 7"
    assert task.title == "CommonsenseQA" and task.sources == ()


def test_a_test_split_without_labels_is_refused_where_it_is_asked_for(tmp_path: Path) -> None:
    splits = {
        "train": like.commonsenseqa(40, "t"),
        "validation": like.commonsenseqa(9, "v"),
        "test": like.commonsenseqa(5, "x", answers=False),
    }
    folder = like.write(tmp_path / "csqa", like.COMMONSENSEQA, splits)
    source = hub_source(f"hub:{folder}", splits={"train": "train", "dev": "validation", "test": "test"})
    with pytest.raises(DataError, match="cannot be a test set"):
        import_task(tmp_path / "root", source, "csqa")


def test_both_configs_of_openbookqa_are_read_and_the_fact_is_a_source(tmp_path: Path) -> None:
    sizes = {"train": 60, "validation": 10, "test": 10}
    folder = tmp_path / "obqa"
    like.write(folder, like.OPENBOOKQA, {s: like.openbookqa(n, s) for s, n in sizes.items()}, "main")
    like.write(folder, like.FACTS, {s: like.openbookqa(n, s, facts=True) for s, n in sizes.items()}, "additional")
    like.card(folder, {"main": list(sizes), "additional": list(sizes)})
    plain = import_task(tmp_path / "root", known("openbookqa", folder), "obqa").task
    facts = import_task(tmp_path / "root", known("openbookqa-facts", folder), "obqa-facts").task
    assert plain.sources == () and facts.sources == ("human-obqa-fact1",)
    assert (
        facts.example("train-3").rationale == "using less resources saves money"
        and facts.example("train-3").answer_text == "have lunch"
    )
    assert facts.roles["test"] == "official test" and facts.example("train-3").metadata["clarity"] == 2.0
    assert facts.info["hub"]["config"] == "additional"
    with pytest.raises(DataError, match="Available"):
        read_hub(hub.HubSource(str(folder), "advanced"))


def test_quarel_has_its_choices_cut_off_the_question_and_its_worlds_as_metadata(tmp_path: Path) -> None:
    splits = {"train": like.quarel(40, "train"), "validation": like.quarel(6, "dev"), "test": like.quarel(6, "test")}
    folder = like.write(tmp_path / "quarel", like.QUAREL, splits)
    task = import_task(tmp_path / "root", known("quarel", folder), "quarel").task
    one = task.example("QuaRel_train_0003")
    assert one.question == "Mike 3 (a boarder) went faster on the ice because _____ is smoother."
    assert [(c.label, c.text) for c in one.choices] == [("A", "snow"), ("B", "ice")] and one.answer_text == "ice"
    assert one.metadata["world1"] == "ice" and one.metadata["world2"] == "snow, powder"
    guessed = preview_source(hub_source(f"hub:{folder}")).guessed
    assert guessed.inline_choices and guessed.answer == "answer_index" and guessed.question == "question"
    same = import_task(tmp_path / "root", hub_source(f"hub:{folder}"), "guessed").task
    assert same.examples("train") == task.examples("train")


def test_esnli_has_named_labels_three_explanations_and_premises_as_clusters(tmp_path: Path) -> None:
    splits = {"train": like.esnli(90), "validation": like.esnli(9, several=True), "test": like.esnli(12, several=True)}
    folder = like.write(tmp_path / "esnli", like.ESNLI, splits)
    task = import_task(tmp_path / "root", known("esnli", folder), "esnli").task
    one = task.example("train:2")
    assert one.question == "Premise: A man number 0 sleeps. Hypothesis: He is tired." and one.answer_text == "neutral"
    assert task.sources == ("human-e-snli-1",) and one.rationale == "first reason 1"
    assert task.example("test:1", "human-e-snli-1").rationale == "first reason 0"
    assert len({e.cluster for e in task.examples("train")}) == 30
    assert describe(task)["sources"]["human-e-snli-1"]["splits"]["test"]["with_rationale"] == 12
    assert task.template.choices and [c.text for c in one.choices] == ["entailment", "neutral", "contradiction"]


def test_a_label_that_is_kept_back_is_a_bad_row_with_its_number(tmp_path: Path) -> None:
    rows = [dict(row) for row in like.esnli(60)]
    rows[4]["label"] = -1
    folder = like.write(tmp_path / "esnli", like.ESNLI, {"train": rows, "test": like.esnli(9)})
    with pytest.raises(BadRows) as error:
        import_task(tmp_path / "root", known("esnli", folder), "esnli")
    assert [(p.file, p.line, p.reason) for p in error.value.problems] == [("train", 5, "the answer is empty")]
    report = import_task(tmp_path / "root", known("esnli", folder), "esnli", keep_good_rows=True)
    assert len(report.problems) == 1


def test_any_data_set_is_read_by_a_map_and_a_label_column_gives_its_names_as_choices(tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "why": datasets.Value("string"),
            "mood": datasets.ClassLabel(names=["bad", "good"]),
        }
    )
    rows = [{"text": f"film number {i}", "why": "it is long", "mood": i % 2} for i in range(50)]
    folder = like.write(tmp_path / "films", features, {"train": rows, "extra": rows[:3]})
    source = hub_source(f"hub:{folder}", splits={"train": "train"})
    columns = ColumnMap(question="text", answer="mood", fixed_choices="bad|good", rationale="why:critics")
    report = import_task(tmp_path / "root", source, "films", columns=columns)
    assert report.task.sources == ("critics",) and report.task.examples("train")[0].answer_text in ("bad", "good")
    assert any("left out: extra" in told for told in report.warnings)
    assert report.task.info["hub"]["dataset"] == "films" and report.task.info["hub"]["splits"] == {"train": "train"}
    with pytest.raises(DataError, match="No column is known for question"):
        import_task(tmp_path / "root", source, "films")


def test_json_lines_are_read_as_well_and_say_the_same(tmp_path: Path) -> None:
    splits = {"train": like.commonsenseqa(50, "t"), "validation": like.commonsenseqa(9, "v")}
    tasks = []
    for kind in ("parquet", "jsonl"):
        folder = like.write(tmp_path / kind, like.COMMONSENSEQA, splits, kind=kind)
        tasks.append(import_task(tmp_path / "root", hub_source(f"hub:{folder}"), kind).task)
    assert all(tasks[0].examples(split) == tasks[1].examples(split) for split in ("train", "dev", "test"))


def test_splits_with_other_names_are_asked_for_and_named(tmp_path: Path) -> None:
    folder = like.write(
        tmp_path / "csqa",
        like.COMMONSENSEQA,
        {"rand_train": like.commonsenseqa(30, "t"), "rand_eval": like.commonsenseqa(9, "v")},
    )
    like.card(folder, {"data": ["rand_train", "rand_eval"]})
    with pytest.raises(UsageError, match="no split named train; it has rand_train, rand_eval") as error:
        read_hub(hub_source(f"hub:{folder}"))
    assert "--splits train=" in error.value.hint
    found = read_hub(hub_source(f"hub:{folder}", splits={"train": "rand_train", "dev": "rand_eval"}))
    assert {split: len(records) for split, records in found.records.items()} == {"train": 30, "dev": 9}
    with pytest.raises(UsageError, match="no split 'eval'"):
        read_hub(hub_source(f"hub:{folder}", splits={"train": "eval"}))


def test_a_data_set_that_is_a_program_is_refused_with_the_way_to_its_tables(tmp_path: Path) -> None:
    folder = tmp_path / "danger"
    folder.mkdir()
    (folder / "danger.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    with pytest.raises(DataError, match="is a program") as error:
        read_hub(hub_source(f"hub:{folder}"))
    assert "refs/convert/parquet" in error.value.hint and not (tmp_path / "ran").exists()


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "train.txt").write_text("one\ntwo\n")
    with pytest.raises(DataError, match="read by 'text'"):
        read_hub(hub_source(f"hub:{folder}"))


@pytest.mark.parametrize("text", ["hub:", "hub:nothing-of-this-name", "hub:a/b/c"])
def test_a_name_that_the_hub_cannot_have_is_answered_with_those_that_are_known(text: str) -> None:
    with pytest.raises(UsageError) as error:
        hub_source(text)
    assert "openbookqa" in error.value.hint


def test_a_name_of_the_catalogue_stands_for_its_config_and_its_pinned_commit() -> None:
    source = hub_source("hub:openbookqa-facts")
    assert (source.dataset, source.config, len(source.revision)) == (
        "allenai/openbookqa",
        "additional",
        40,
    ) and source.known
    assert hub_source("hub:openbookqa", config="additional").known is None
    assert hub_source("hub:quarel", revision="main").revision == "main"
    with pytest.raises(UsageError, match="no split of a task"):
        hub_source("hub:quarel", splits={"validation": "dev"})


@pytest.mark.parametrize("entry", list(HUB), ids=lambda entry: entry.name)
def test_an_entry_of_the_catalogue_says_where_it_is_and_under_what_licence(entry: Any) -> None:
    assert (
        entry.dataset.count("/") == 1
        and entry.revision
        and entry.licence
        and entry.note
        and not entry.columns.missing()
    )
    assert not entry.template.problems()


@pytest.mark.parametrize(
    ("text", "stem", "pairs"),
    [
        ("Which is it? (A) snow (B) ice", "Which is it?", [("A", "snow"), ("B", "ice")]),
        ("Take (A) this, (B) that; (C) none.", "Take", [("A", "this"), ("B", "that"), ("C", "none.")]),
        ("As (A) says, which? (A) one (B) two", "As (A) says, which?", [("A", "one"), ("B", "two")]),
        ("Is it (1) one or (2) two", "Is it", [("1", "one or"), ("2", "two")]),
        ("No choices here.", "No choices here.", []),
        ("Out of order (A) one (C) two", "Out of order (A) one (C) two", []),
    ],
)
def test_choices_at_the_end_of_a_question_are_told_from_letters_within_it(
    text: str, stem: str, pairs: list[tuple[str, str]]
) -> None:
    assert inline(text) == (stem, pairs)


def test_a_row_without_its_inline_choices_says_what_was_expected() -> None:
    columns = ColumnMap(question="q", inline_choices=True, answer="a")
    with pytest.raises(DataError, match=r"does not end in its choices"):
        choices_of({"q": "Which is it?"}, columns)
    assert question_of({"q": "Which? (A) x (B) y"}, columns) == "Which?"
    assert not guess_columns(
        ["question", "answer"], [{"question": "Which? (A) x (B) y"}, {"question": "No."}]
    ).inline_choices


COMMIT = HUB.get("commonsenseqa").revision


def on_a_hub(tmp_path: Path) -> dict[str, dict[str, tuple[str, Path]]]:
    """CommonsenseQA at its pinned commit and at a later one; a data set that is a program, and the hub's own copy of its tables."""
    splits = {
        "train": like.commonsenseqa(60, "t"),
        "validation": like.commonsenseqa(9, "v"),
        "test": like.commonsenseqa(5, "x", answers=False),
    }
    first = like.card(like.write(tmp_path / "first", like.COMMONSENSEQA, splits), {"data": list(splits)})
    later = like.card(
        like.write(tmp_path / "later", like.COMMONSENSEQA, {**splits, "train": like.commonsenseqa(50, "l")}),
        {"data": list(splits)},
    )
    script = tmp_path / "script"
    script.mkdir()
    (script / "esnli.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    tables = like.write(
        tmp_path / "tables", like.ESNLI, {"train": like.esnli(60), "test": like.esnli(9, several=True)}, "plain_text"
    )
    return {
        "tau/commonsense_qa": {COMMIT: (COMMIT, first), "main": ("b" * 40, later), "b" * 40: ("b" * 40, later)},
        "esnli/esnli": {
            "main": ("c" * 40, script),
            "refs/convert/parquet": ("d" * 40, tables),
            "d" * 40: ("d" * 40, tables),
        },
    }


ASK = """
import json, sys
from pathlib import Path
from cotdistill.errors import CotdistillError
from cotdistill.tasks.importing.hub import hub_source, read_hub
from cotdistill.tasks.importing.importer import import_task
root, *sources = json.loads(sys.argv[1])
report = import_task(Path(root), hub_source("hub:commonsenseqa"), "csqa")
found = [{"digest": report.task.digest, "hub": report.task.info["hub"], "rows": report.task.info["rows"], "warnings": report.warnings}]
for words in sources:
    try:
        read = read_hub(hub_source(*words))
        found.append({"commit": read.commit, "rows": {split: len(records) for split, records in read.records.items()}})
    except CotdistillError as error:
        found.append(error.as_dict())
print(json.dumps(found))
"""


def asked_in_a_process(root: Path, *sources: list[str], **environment: str) -> list[dict[str, Any]]:
    """Imports CommonsenseQA into a folder of its own, then reads what else is asked for: rows and commit, or the error."""
    words = json.dumps([str(root), *sources])
    done = subprocess.run(
        [sys.executable, "-c", ASK, words],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, **environment},
        check=True,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_a_hub_says_what_it_has_and_its_cache_the_same_when_it_is_gone(tmp_path: Path) -> None:
    home = {"HF_HOME": str(tmp_path / "hf")}
    later = ["hub:tau/commonsense_qa", "", "b" * 40]
    with served(on_a_hub(tmp_path)) as (url, asked):
        sources = (
            ["hub:esnli"],
            ["hub:esnli/esnli", "", "main"],
            ["hub:tau/nothing"],
            ["hub:tau/commonsense_qa", "", "9" * 40],
            later,
        )
        online, tables, program, nothing, no_commit, other = asked_in_a_process(
            tmp_path / "one", *sources, HF_ENDPOINT=url, **home
        )
    assert (
        online["rows"]["test"] == 9
        and online["hub"]["commit"] == COMMIT
        and online["hub"]["splits"]["dev"] == "validation"
    )
    assert not [line for line in asked if "commonsense_qa" in line and "main" in line]
    # The branch of tables is named by its commit from then on, and the program beside it is not run.
    assert tables == {"commit": "d" * 40, "rows": {"train": 60, "test": 9}}
    assert (
        "is a program" in program["message"]
        and "refs/convert/parquet" in program["hint"]
        and not (tmp_path / "ran").exists()
    )
    assert "cannot be had" in nothing["message"] and "HF_TOKEN" in nothing["hint"]
    assert "cannot be had" in no_commit["message"] and "9" * 40 in no_commit["message"]
    assert other == {"commit": "b" * 40, "rows": {"train": 50, "dev": 9, "test": 5}}
    began = time.monotonic()
    missing = ["hub:tau/commonsense_qa", "", "8" * 40]
    offline, again, wrong, unknown = asked_in_a_process(
        tmp_path / "two", later, missing, ["hub:quarel"], HF_ENDPOINT=url, **home
    )
    assert offline["digest"] == online["digest"] and offline["hub"] == online["hub"]
    assert "cannot be reached: read from the cache" in offline["warnings"][0] and COMMIT[:12] in offline["warnings"][0]
    assert again == other
    # Without a network the cache never gives one commit for another.
    assert wrong["kind"] == unknown["kind"] == "hub_unreachable"
    assert "not at 888888888888" in wrong["message"] and "--revision " in wrong["hint"]
    assert (
        "is not in the cache" in unknown["message"]
        and "hf download community-datasets/quarel --repo-type dataset" in unknown["hint"]
    )
    # The hub's client alone would try for half a minute, and that four times.
    assert time.monotonic() - began < 60


def test_a_hub_that_does_not_answer_is_seen_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served({}) as (url, _):
        monkeypatch.setenv("HF_ENDPOINT", url)
        assert hub.reachable()
    assert not hub.reachable()
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.3)
    silent = socket.create_server(("127.0.0.1", 0))
    try:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        assert not hub.reachable() and time.monotonic() - began < 5
    finally:
        silent.close()


def test_a_study_is_planned_on_a_task_of_the_hub_and_says_what_its_test_is(tmp_path: Path) -> None:
    sizes = {"train": 60, "validation": 10}
    folder = like.write(
        tmp_path / "obqa", like.FACTS, {s: like.openbookqa(n, s, facts=True) for s, n in sizes.items()}, "additional"
    )
    store = Store.open(tmp_path / "home")
    import_task(store.tasks_root, known("openbookqa-facts", like.card(folder, {"additional": list(sizes)})), "facts")
    assert open_task(store.tasks_root, "facts").roles["test"] == "official dev"
    planned = plan(
        store,
        study_spec(None, {"task": "facts", "conditions": "label_only,post_cot", "replicates": 1, "training.steps": 2}),
    )
    assert planned.test_items == 10 and planned.train_rows == len(
        open_task(store.tasks_root, "facts").examples("train")
    )


def test_page_data_looks_at_a_data_set_and_tells_of_a_hub_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = {"train": like.quarel(40, "train"), "validation": like.quarel(6, "dev"), "test": like.quarel(6, "test")}
    folder = like.write(tmp_path / "quarel", like.QUAREL, splits)
    for name, value in {
        "COTDISTILL_HOME": str(tmp_path / "home"),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(ROOT)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()
    app = app.switch_page("pages/1_Data.py").run()
    app.segmented_control(key="import.from").set_value("the hub").run()
    assert any("tasks import hub:commonsenseqa" in code.value for code in app.code)
    app.button(key="hub.look").click().run()
    assert any("is not in the cache of this machine" in error.value.replace("\\", "") for error in app.error)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.session_state["import.from"], app.session_state["hub.name"] = "the hub", str(folder)
    app = app.run().switch_page("pages/1_Data.py").run()
    assert not [button for button in app.button if button.key == "hub.go"]
    app.button(key="hub.look").click().run()
    assert not app.exception and not app.error
    assert any("validation: 6 rows" in part.value.replace("\\", "") for part in app.caption)
    assert [toggle.value for toggle in app.toggle if toggle.key and toggle.key.endswith(".inline_choices")] == [True]
    assert any(code.value.endswith("--name quarel") for code in app.code) and app.button(key="hub.go")

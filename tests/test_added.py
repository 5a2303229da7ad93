"""Sources added to a task later: named by their content, beside the task whose digest stays, and usable like its own."""

import pytest

from cotdistill.errors import NoRationale, UnknownName, UsageError
from cotdistill.exchange.verify import verify
from cotdistill.store.store import Store
from cotdistill.tasks.added import add_source, changed_sources, reopened, source_info
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.describe import describe, export_task
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.importing.importer import import_task
from cotdistill.tasks.importing.writing import write_task
from cotdistill.tasks.task import Rationale, added_folder
from cotdistill.tasks.template import Template

AB = (Choice("A", "tree"), Choice("B", "pond"))


@pytest.fixture
def task(tmp_path):
    rows = [Example(f"t{i}", f"where is number {i} ?", AB, "AB"[i % 2], "train") for i in range(6)]
    rows += [Example("d1", "why ?", AB, "B", "dev"), Example("e1", "who ?", AB, "A", "test")]
    told = [Rationale("t0", "people", "it stands there"), Rationale("e1", "people", "they know")]
    return write_task(
        tmp_path / "places", "places", examples=rows, rationales=told, template=Template(), roles={}, title="Places"
    )


ROWS = [
    Rationale("t0", "x", "zebras zigzag zealously", "A"),
    Rationale("t1", "x", "zebras zigzag", "A"),
    Rationale("t2", "x", None, "B"),
]


def test_an_added_source_is_used_like_the_tasks_own_and_the_tasks_digest_stays(task):
    name = add_source(task, "zoo", ROWS, {"kind": "test"})
    again = reopened(task)
    assert name.startswith("zoo-") and len(name) == len("zoo-") + 8
    assert again.sources == ("people", name) and again.digest == task.digest and again.verify() == []
    found = {e.id: (e.rationale, e.source) for e in again.examples("train", name)}
    assert (
        found["t0"] == ("zebras zigzag zealously", name) and found["t2"] == (None, None) and found["t3"] == (None, None)
    )
    # On evaluation rows it falls back as the task's own sources do.
    assert [e.rationale for e in again.examples("test", name)] == ["they know"]
    assert again.teacher_labels(name) == {"t0": "A", "t1": "A", "t2": "B"}
    assert (
        '"zigzag"' in again.tokenizer(name, "word").read_text()
        and '"zigzag"' not in again.tokenizer("people", "word").read_text()
    )
    assert describe(again)["sources"][name]["teacher_right"] == 0.5  # t0 A is right, t1 A is wrong; t2 has no text
    assert source_info(again, name)["origin"] == {"kind": "test"} and source_info(again, name)["rows"] == 3


def test_the_same_content_has_the_same_name_and_other_content_another(task):
    first = add_source(task, "zoo", ROWS, {"made": "first"})
    assert add_source(task, "zoo", ROWS[::-1], {"made": "later"}) == first
    assert (
        add_source(task, "zoo", ROWS[:2], {}) != first
        and add_source(task, "ark", ROWS, {}).partition("-")[2] == first.partition("-")[2]
    )
    assert source_info(reopened(task), first)["origin"] == {"made": "first"}
    assert len(reopened(task).added) == 3


@pytest.mark.parametrize("name", ["", "two words", "../x", "-x", "a" * 49, "x@y", "a/b"])
def test_a_name_that_cannot_stand_in_a_condition_is_refused(task, name):
    with pytest.raises(UsageError, match="cannot name"):
        add_source(task, name, ROWS, {})


def test_what_is_no_source_of_this_task_is_refused(task):
    with pytest.raises(UsageError, match="belong to no row"):
        add_source(task, "zoo", [*ROWS, Rationale("q9", "x", "y")], {})
    with pytest.raises(UsageError, match="one rationale a row"):
        add_source(task, "zoo", [*ROWS, ROWS[0]], {})
    with pytest.raises(NoRationale, match="No training row"):
        add_source(task, "zoo", [Rationale("e1", "x", "only on test"), Rationale("t0", "x", None)], {})
    with pytest.raises(UnknownName):
        source_info(task, "people")
    assert reopened(task).added == ()


def test_damage_of_an_added_source_is_found(tmp_path):
    store = Store.open(tmp_path / "home")
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(
            f'{{"question": "{i} ?", "choices": ["even", "odd"], "answer": {i % 2}, "rationale": "by two"}}\n'
            for i in range(60)
        )
    )
    task = import_task(store.tasks_root, rows, "numbers").task
    name = add_source(task, "zoo", [Rationale(e.id, "x", "zebras") for e in task.examples("train")], {})
    assert changed_sources(reopened(task)) == [] and verify(store).problems == ()
    # The task opened by name knows it, too, and an export holds it as a file that can be imported.
    again = open_task(store.tasks_root, "numbers")
    assert again.added == (name,)
    (told,) = [p for p in export_task(again, tmp_path / "out") if f"train.{name}" in p.name]
    assert '"rationale_source": "' + name in told.read_text()
    path = added_folder(task.folder, name) / "rationales.parquet"
    path.write_bytes(path.read_bytes() + b" ")
    assert [p for p in verify(store).problems if name in p and "changed" in p]

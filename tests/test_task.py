"""A task is read lazily: rows by split and source, near matches for what is not there, damage told."""

import json

import pytest

from cotdistill.errors import DataError, NotFound, UnknownName
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.importing.writing import write_task
from cotdistill.tasks.task import Rationale, open_folder
from cotdistill.tasks.template import Template

AB = (Choice("A", "tree <b>"), Choice("B", "pond"))


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    rows = [
        Example("t2", "where ?", AB, "A", "train", cluster="c", metadata={"level": 3, "kind": "Ä"}),
        Example("t1", "when ?", AB, "B", "train"),
        Example("d1", "why ?", AB, "B", "dev"),
        Example("e1", "who ?", AB, "A", "test"),
        Example("e2", "what ?", (*AB, Choice("C", "nest"), Choice("D", "hill")), "D", "test"),
    ]
    told = [
        Rationale("t1", "people", "as it is"),
        Rationale("t1", "model", "it may be", "A"),
        Rationale("t2", "model", "  ", "A"),
        Rationale("e1", "late", "only here"),
        Rationale("e2", "model", "everywhere", "D"),
    ]
    root = tmp_path_factory.mktemp("root")
    return write_task(
        root,
        "places",
        examples=rows,
        rationales=told,
        template=Template(),
        roles={"test": "official test"},
        title="Places",
    )


def test_rows_come_back_by_id_with_everything_they_had(task):
    first, second = task.examples("train")
    assert (first.id, second.id) == ("t1", "t2")
    assert second.choices == AB and second.cluster == "c" and second.metadata == {"level": 3, "kind": "Ä"}
    assert first.cluster == "t1" and first.answer_text == "pond"


def test_training_rows_have_the_rationale_of_the_source_asked_for_or_none(task):
    assert [(e.rationale, e.source) for e in task.examples("train")] == [("as it is", "people"), (None, None)]
    assert [(e.rationale, e.source) for e in task.examples("train", "model")] == [("it may be", "model"), (None, None)]


def test_evaluation_rows_fall_back_on_whoever_spoke_of_them_and_say_who(task):
    assert [(e.rationale, e.source) for e in task.examples("test", "people")] == [
        ("only here", "late"),
        ("everywhere", "model"),
    ]
    assert [e.rationale for e in task.examples("dev")] == [None]


def test_chance_is_the_mean_over_the_test_rows(task):
    assert task.chance == (1 / 2 + 1 / 4) / 2


def test_the_answers_of_a_teacher_are_known_where_it_gave_one(task):
    assert task.teacher_labels("model") == {"t1": "A", "t2": "A", "e2": "D"}
    assert task.teacher_labels("people") == {}


def test_unknown_splits_sources_and_kinds_answer_with_near_matches(task):
    with pytest.raises(UnknownName, match="split"):
        task.examples("tests")
    with pytest.raises(UnknownName) as error:
        task.examples("train", "peple")
    assert "people" in error.value.hint
    with pytest.raises(UnknownName):
        task.tokenizer("people", "letters")
    with pytest.raises(UnknownName):
        task.tokenizer("late", "word")


def test_an_example_is_found_in_any_split_or_near_matches_are_named(task):
    assert task.example("d1").question == "why ?"
    with pytest.raises(NotFound) as error:
        task.example("t3")
    assert "t1" in error.value.hint and "t2" in error.value.hint
    with pytest.raises(NotFound, match="'…………'"):
        task.example("…………")


def test_changing_a_list_that_was_given_changes_nothing(task):
    task.examples("train").clear()
    assert len(task.examples("train")) == 2


def test_an_imported_task_has_no_documents_for_a_base(task):
    assert task.base_documents() == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"title": "no name"}'])
def test_a_folder_that_is_no_task_is_told_in_words(tmp_path, content):
    folder = tmp_path / "abc"
    folder.mkdir()
    (folder / "task.json").write_text(content)
    with pytest.raises(DataError, match="cannot be read"):
        open_folder(folder)


def test_every_changed_file_is_noticed(task):
    assert task.verify() == []
    path = task.folder / "task.json"
    before = path.read_text()
    path.write_text(before.replace("Places", "Palaces"))
    (told,) = task.verify()
    path.write_text(before)
    assert "places" in told and task.digest[:12] in told and json.loads(before)["title"] == "Places"


def test_damaged_rows_are_told_in_words(tmp_path):
    row = Example("t1", "q", AB, "A", "train")
    task = write_task(tmp_path, "x", examples=[row], rationales=[], template=Template(), roles={}, title="x")
    (task.folder / "examples.parquet").write_bytes(b"PAR1 damaged")
    with pytest.raises(DataError, match="cannot be read"):
        task.examples("train")

"""A task in numbers, counted by hand on four rows; and its rows as files that can be imported again."""

import json

import pytest

from cotdistill.config import canonical_json
from cotdistill.errors import UsageError
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.describe import describe, export_task
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.importing.columns import ColumnMap
from cotdistill.tasks.importing.importer import import_task
from cotdistill.tasks.importing.writing import write_task
from cotdistill.tasks.task import Rationale
from cotdistill.tasks.template import Template

CHOICES = (Choice("A", "race track"), Choice("B", "desert"), Choice("C", "a C"))


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    rows = [Example(f"t{i}", "one two three four"[: 3 + 4 * i].strip(), CHOICES, "AABC"[i], "train") for i in range(4)]
    rows += [Example("d", "q", CHOICES, "A", "dev"), Example("e", "q q", CHOICES[:2], "B", "test", cluster="q")]
    told = [
        Rationale("t0", "model", "They meet at the Race  track!", "A"),  # holds the gold text
        Rationale(
            "t1", "model", "It is not option B, so the race tracks.", "B"
        ),  # names a key; "tracks" is another word
        Rationale("t2", "model", "Only (B) is dry.", "B"),  # names a key
        Rationale("t3", "model", "Vitamin C and A.", None),  # names none
        Rationale("e", "model", "Deserted.", "A"),
        Rationale("t0", "people", "because"),
    ]
    roles = {"test": "official test"}
    return write_task(
        tmp_path_factory.mktemp("r"),
        "dry",
        examples=rows,
        rationales=told,
        template=Template(),
        roles=roles,
        title="Dry",
        default_source="model",
    )


def test_counts_balance_and_lengths_of_a_split(task):
    train = describe(task)["splits"]["train"]
    assert (train["rows"], train["clusters"], train["answers"]) == (4, 4, {"A": 2, "B": 1, "C": 1})
    assert train["choices"] == {"3": 4}
    assert (
        train["question_words"]["mean"] == 2.5
        and train["question_words"]["median"] == 2.5
        and train["question_words"]["longest"] == 4
    )
    assert train["choices_words"]["mean"] == 5.0
    assert describe(task)["splits"]["test"]["role"] == "official test"


def test_leakage_and_the_teachers_own_answers(task):
    model = describe(task)["sources"]["model"]
    assert (model["with_rationale"], model["share"]) == (4, 1.0)
    assert model["gold_text"] == 1 / 4
    assert model["answer_key"] == 2 / 4
    assert model["teacher_right"] == 2 / 3
    assert model["splits"]["test"] == {
        "with_rationale": 1,
        "gold_text": 0,
        "answer_key": 0,
        "teacher_label": 1,
        "teacher_right": 0,
    }
    assert model["splits"]["dev"]["with_rationale"] == 0
    people = describe(task)["sources"]["people"]
    assert (people["share"], people["teacher_right"]) == (0.25, None)


def test_everything_described_can_be_written_as_json(task):
    assert json.loads(canonical_json(describe(task)))["default_source"] == "model"


def test_a_task_without_rationales_can_be_described(tmp_path):
    rows = [Example(s, "q", CHOICES, "A", s) for s in ("train", "dev", "test")]
    task = write_task(tmp_path, "bare", examples=rows, rationales=[], template=Template(), roles={}, title="bare")
    assert describe(task)["sources"] == {} and describe(task)["default_source"] == ""


def test_an_exported_task_says_the_same_when_it_is_imported_again(tmp_path, task):
    written = export_task(task, tmp_path / "out")
    assert {p.relative_to(tmp_path / "out").as_posix() for p in written} == {
        "train.jsonl",
        "dev.jsonl",
        "test.jsonl",
        "rationales/train.model.jsonl",
        "rationales/train.people.jsonl",
        "rationales/test.model.jsonl",
        "template.json",
    }
    again = import_task(tmp_path / "root", tmp_path / "out", "dry").task
    assert describe(again)["sources"] == describe(task)["sources"]
    assert describe(again)["splits"]["train"] | {"role": ""} == describe(task)["splits"]["train"]
    assert Template(**json.loads((tmp_path / "out" / "template.json").read_text())) == task.template


def test_the_generated_task_survives_export_and_import(tmp_path):
    made = open_task(tmp_path / "root", "field_guide", settings={"creatures": 20, "documents": 5})
    export_task(made, tmp_path / "out")
    again = import_task(tmp_path / "root", tmp_path / "out", "guide", template=made.template).task
    for split in ("train", "dev", "test"):
        for source in made.sources:
            assert again.examples(split, source) == made.examples(split, source)


def test_an_export_never_overwrites(tmp_path, task):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    for name in ("full", "file"):
        with pytest.raises(UsageError, match="there already"):
            export_task(task, tmp_path / name)
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["mine.txt"]
    export_task(task, tmp_path / "empty")
    export_task(task, tmp_path / "new" / "deep")
    assert not list(tmp_path.rglob(".part-*"))


def test_columns_said_in_words_read_what_names_do_not_tell(tmp_path):
    rows = [{"nr": i, "frage": f"was ist {i} ?", "x": "ja", "y": "nein", "wahl": i % 2} for i in range(60)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    columns = ColumnMap(id="nr", question="frage", choices="x+y", answer="wahl")
    task = import_task(tmp_path / "root", tmp_path / "a.jsonl", "fragen", columns=columns).task
    assert {e.answer_text for e in task.examples("train")} == {"ja", "nein"}

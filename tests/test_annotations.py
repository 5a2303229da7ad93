"""Marks that people make: nothing lost, nothing half-imported, two at once."""

import json
import threading

import pytest

from cotdistill.errors import BadRows, DataError, UsageError
from cotdistill.keytokens.annotations import AnnotationSet, Mark, export_jsonl, export_label_studio, read_marks, text_hash, usable
from tests.conftest import example

BIRD = "it has wings . it flies"


@pytest.fixture
def rows():
    return {e.id: e for e in (example("e1", "bird", "tree", BIRD), example("e2", "fish", "pond", "it has fins"))}


@pytest.fixture
def marks(tmp_path):
    return AnnotationSet(tmp_path, "field_guide", "lab")


def mark(id, *spans, who="ada", text=BIRD, skipped=False):
    return Mark(id, who, spans, text_hash(text), skipped)


def test_the_last_mark_counts_and_undo_brings_back_the_one_before(marks):
    marks.add(mark("e1", (7, 12)))
    marks.add(mark("e2", (7, 11), text="it has fins"))
    marks.add(mark("e1", (18, 23)))
    assert [(m.example, m.spans) for m in marks.marks()] == [("e2", ((7, 11),)), ("e1", ((18, 23),))]
    assert marks.undo("ada") == "e1"
    assert {m.example: m.spans for m in marks.marks()} == {"e1": ((7, 12),), "e2": ((7, 11),)}
    assert [marks.undo("ada"), marks.undo("ada"), marks.undo("ada")] == ["e2", "e1", None] and marks.marks() == []


def test_two_annotators_write_at_once_and_lose_nothing(marks):
    def write(who):
        for i in range(40):
            marks.add(mark(f"e{i}", (0, 2), who=who))

    threads = [threading.Thread(target=write, args=(who,)) for who in ("ada", "bob", "ada")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert marks.annotators() == ["ada", "bob"] and len(marks.marks("ada")) == len(marks.marks("bob")) == 40


def test_a_line_that_was_cut_by_a_kill_costs_itself_and_nothing_else(marks):
    marks.add(mark("e1", (0, 2)))
    path = marks.folder / "ada.jsonl"
    with path.open("ab") as file:
        file.write(b'{"example": "e2", "spa')
    marks.add(mark("e3", (0, 2)))
    assert [m.example for m in marks.marks()] == ["e1", "e3"]


def test_the_digest_follows_what_counts(marks):
    empty = marks.digest()
    marks.add(mark("e1", (7, 12)))
    first = marks.digest()
    marks.add(mark("e2", skipped=True))
    assert marks.digest() == first != empty
    marks.add(mark("e1", (0, 2)))
    assert marks.digest() != first
    marks.undo("ada")
    assert marks.digest() == first


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 70, "a\nb"])
def test_names_that_cannot_be_files_are_refused(tmp_path, marks, name):
    with pytest.raises(UsageError):
        AnnotationSet(tmp_path, "t", name)
    with pytest.raises(UsageError):
        marks.add(mark("e1", who=name))


def test_the_sets_of_a_task_are_listed(tmp_path, marks):
    assert AnnotationSet.names(tmp_path, "field_guide") == []
    marks.add(mark("e1"))
    assert AnnotationSet.names(tmp_path, "field_guide") == ["lab"] and AnnotationSet.names(tmp_path, "other") == []


def test_marks_on_another_text_do_not_count_and_all_of_them_are_an_error(rows):
    good, old, skipped = mark("e1", (0, 2)), mark("e2", (0, 2), text="it had fins"), mark("e2", text="it has fins", skipped=True)
    assert usable([good, old, skipped], rows.values()) == [good]
    assert usable([skipped], rows.values()) == []
    with pytest.raises(DataError, match="None of 1 marks"):
        usable([old], rows.values())


@pytest.mark.parametrize("export", [export_jsonl, export_label_studio])
def test_what_is_exported_is_read_back(rows, export):
    made = [mark("e1", (7, 12), (18, 23)), mark("e1", (0, 2), who="bob"), mark("e2", text="it has fins", skipped=True)]
    text = export(made, rows)
    assert read_marks(text, rows) == sorted(made, key=lambda m: (m.example, m.annotator))
    assert "wings" in text and "flies" in text


def test_bad_entries_are_listed_and_nothing_is_imported(rows):
    lines = [
        {"example": "e1", "annotator": "ada", "spans": [[0, 2]]}, {"example": "e9", "annotator": "ada", "spans": []},
        {"example": "e1", "annotator": "ada", "spans": [[0, 99]]}, {"example": "e1", "annotator": "a/b", "spans": []},
        {"example": "e1", "annotator": "ada", "spans": [["x", 2]]}, {"example": "e1", "annotator": "ada", "spans": [], "text": "0"}, {"spans": []},
    ]  # fmt: skip
    with pytest.raises(BadRows) as caught:
        read_marks("\n".join([*map(json.dumps, lines), "{"]), rows)
    assert [p.line for p in caught.value.problems] == [2, 3, 4, 5, 6, 7, 8]
    assert "no example 'e9'" in caught.value.problems[0].reason and "outside" in caught.value.problems[1].reason


@pytest.mark.parametrize("text", ["", "\n\n", "[", "[1]", '[{"data": {}}]', "[]"])
def test_files_without_marks_are_told_in_words(rows, text):
    with pytest.raises(DataError):
        read_marks(text, rows)


def test_marked_characters_are_the_tokens_they_touch(encoder):
    text = "it  has wings .\n it flies"
    passage = [t.text for t in encoder.read(text)]
    at = text.index("wings")
    assert {passage[i] for i in encoder.tokens_in(text, [(at, at + 5)])} == {"wings"}
    assert encoder.tokens_in(text, [(0, len(text))]) == set(range(6))
    # White space alone touches nothing; half a word touches it.
    assert encoder.tokens_in(text, [(2, 4)]) == set() and encoder.tokens_in(text, [(len(text) - 1, len(text))]) == {5}
    assert encoder.tokens_in("", [(0, 0)]) == set()

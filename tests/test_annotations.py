"""Marks that people make: nothing lost, nothing half-imported, two at once."""

import json
import multiprocessing
import os
import signal
import threading
import time

import pytest

from cotdistill.errors import BadRows, DataError, DiskFull, StoreError, UsageError
from cotdistill.keytokens.annotations import (
    AnnotationSet,
    Mark,
    export_jsonl,
    export_label_studio,
    fitting,
    read_marks,
    text_hash,
    usable,
)
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


def write_batches(home, who, size, batches):
    own = AnnotationSet(home, "field_guide", "lab")
    for batch in range(batches):
        own.add_all([mark(f"{batch}.{i}", (0, 2), who=who) for i in range(size)])


def test_two_processes_write_to_the_same_file_and_lose_nothing(marks, tmp_path):
    fork = multiprocessing.get_context("fork")
    writers = [
        fork.Process(target=write_batches, args=(tmp_path, who, size, 20))
        for who, size in (("ada", 3), ("ada", 5), ("bob", 2))
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    # The smaller batches name examples that the larger ones name too.
    assert len(marks.marks("ada")) == 100 and len(marks.marks("bob")) == 40
    assert len((marks.folder / "ada.jsonl").read_text().splitlines()) == 160


def test_a_kill_leaves_whole_batches_and_the_next_writer_goes_on(marks, tmp_path):
    writer = multiprocessing.get_context("fork").Process(target=write_batches, args=(tmp_path, "ada", 50, 100_000))
    writer.start()
    until = time.monotonic() + 30
    while len(marks.marks("ada")) < 100 and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join(30)
    kept = marks.marks("ada")
    assert len(kept) >= 100 and len(kept) % 50 == 0
    marks.add(mark("after", (0, 2)))
    assert (
        marks.marks("ada") == [*kept, marks.marks("ada")[-1]]
        and marks.undo("ada") == "after"
        and marks.marks("ada") == kept
    )


def test_a_kill_before_the_new_file_stands_costs_the_new_mark_alone(marks, monkeypatch):
    marks.add(mark("e1", (0, 2)))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cotdistill.keytokens.annotations.os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            marks.add_all([mark("e2", (0, 2)), mark("e3", (0, 2))])
    assert [m.example for m in marks.marks()] == ["e1"] and marks.annotators() == ["ada"]
    marks.add(mark("e3", (0, 2)))
    assert [m.example for m in marks.marks()] == ["e1", "e3"]


def test_a_disk_that_takes_no_more_is_told_and_nothing_is_lost(marks, monkeypatch):
    marks.add(mark("e1", (0, 2)))

    def failing(code):
        def fsync(_):
            raise OSError(code, os.strerror(code))

        return fsync

    for code, kind in ((28, DiskFull), (5, StoreError)):
        with monkeypatch.context() as patch:
            patch.setattr("cotdistill.keytokens.annotations.os.fsync", failing(code))
            with pytest.raises(kind):
                marks.add(mark("e2", (0, 2)))
    assert [m.example for m in marks.marks()] == ["e1"]


def test_several_marks_go_down_together_or_not_at_all(marks):
    with pytest.raises(UsageError):
        marks.add_all([mark("e1", (0, 2)), mark("e2", (0, 2), who="a..b")])
    assert marks.marks() == []
    marks.add_all([mark("e1", (0, 2)), mark("e1", (3, 6), who="bob"), mark("e2", (0, 2))])
    assert [(m.annotator, m.example) for m in marks.marks()] == [("ada", "e1"), ("ada", "e2"), ("bob", "e1")]
    assert marks.undo("ada") == "e2" and marks.undo("nobody") is None


def test_marks_on_two_rationales_of_one_example_stand_beside_each_other(marks, rows):
    marks.add(mark("e1", (7, 12)))
    marks.add(mark("e1", (0, 2), text="in another world it swims"))
    assert len(marks.marks()) == 2 and [m.spans for m in usable(marks.marks(), rows.values())] == [((7, 12),)]
    assert [m.spans for m in fitting(marks.marks(), [example("e1", "bird", "tree", "in another world it swims")])] == [
        ((0, 2),)
    ]


def test_lines_that_are_no_marks_are_left_out(marks):
    marks.add(mark("e1", (0, 2)))
    with (marks.folder / "ada.jsonl").open("ab") as file:
        file.write(b'5\n[]\n"x"\n{"undo": "x"}\n{"example": "e2", "spans": 3, "text": ""}\n\xff\n')
    assert [m.example for m in marks.marks()] == ["e1"] and marks.undo("ada") == "e1"


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
    good, old, skipped = (
        mark("e1", (0, 2)),
        mark("e2", (0, 2), text="it had fins"),
        mark("e2", text="it has fins", skipped=True),
    )
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


def test_separators_of_lines_within_a_text_and_a_mark_of_order_are_read_back(rows):
    odd = "it\u2028has fins\x85today"
    rows["e2"] = example("e2", "fish", "pond", odd)
    made = [mark("e2", (0, 12), text=odd)]
    assert read_marks("\ufeff" + export_jsonl(made, rows), rows) == made
    assert read_marks(export_jsonl(made, rows).replace("\n", "\r\n"), rows) == made


def test_marks_on_another_rationale_keep_their_spans_as_jsonl_and_are_left_out_where_their_text_is_needed(rows):
    other = mark("e1", (0, 2), text="in another world")
    (line,) = map(json.loads, export_jsonl([other], rows).splitlines())
    assert line["text"] == other.text and "marked" not in line
    assert json.loads(export_label_studio([other], rows)) == []
    with pytest.raises(BadRows, match="another rationale"):
        read_marks(export_jsonl([other], rows), rows)


def studio(*results, id="e1", who=1, **data):
    return {
        "id": 7,
        "data": {"id": id, **data},
        "annotations": [{"completed_by": who, "was_cancelled": False, "result": list(results)}],
    }


def labelled(start, end, text=None):
    return {
        "id": "x",
        "type": "labels",
        "value": {"start": start, "end": end, "labels": ["KEY"], **({} if text is None else {"text": text})},
    }


def test_what_label_studio_exports_is_read(rows):
    beside = {"type": "choices", "value": {"choices": ["sure"]}}
    tasks = [
        studio(beside, labelled(7, 12, "wings")),
        studio(labelled(0, 2, "it"), who={"email": "ada@x.org"}, rationale=BIRD),
    ]
    assert read_marks(json.dumps(tasks), rows) == [mark("e1", (7, 12), who="1"), mark("e1", (0, 2), who="ada.x.org")]


def test_what_goes_to_label_studio_names_no_user_that_it_would_refuse(rows):
    (task,) = json.loads(export_label_studio([mark("e1", (7, 12))], rows))
    assert "completed_by" not in task["annotations"][0] and task["data"] == {"id": "e1", "rationale": BIRD}


def test_bad_tasks_of_label_studio_are_told_by_their_place(rows):
    tasks = [
        studio(labelled(0, 2)), studio(labelled(0, 2), id="e9"), studio(labelled(0, 2), who=None), studio(labelled(0, 2), rationale="another text"),
        studio(labelled(8, 13, "wings")), studio({"type": "labels", "value": {}}), 5, studio(labelled(0, 99)),
    ]  # fmt: skip
    with pytest.raises(BadRows) as caught:
        read_marks(json.dumps(tasks), rows)
    assert [p.line for p in caught.value.problems] == [2, 3, 4, 5, 6, 7, 8]
    assert (
        "another rationale" in caught.value.problems[2].reason
        and "'wings' was marked" in caught.value.problems[3].reason
    )


@pytest.mark.parametrize("entry", [
    {"example": ["e1"]}, {"example": None}, {"annotator": None}, {"annotator": "a..b"}, {"annotator": "x" * 70}, {"spans": [[0.5, 2]]},
    {"spans": [[0, True]]}, {"spans": {"0": 2}}, {"spans": "02"}, {"spans": [[0, 1, 2]]}, {"spans": [0, 2]}, {"spans": [[2, 2]]},
    {"spans": [[0, float("inf")]]},
], ids=str)  # fmt: skip
def test_entries_that_only_look_like_marks_are_refused(rows, entry):
    with pytest.raises(BadRows):
        read_marks(json.dumps({"example": "e1", "annotator": "ada", "spans": [[0, 2]], **entry}), rows)


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

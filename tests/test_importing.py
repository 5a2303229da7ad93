"""Import: whole or not at all, every bad row with its line and reason, roles and clusters as promised."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cotdistill.config import canonical_json
from cotdistill.errors import BadRows, CotdistillError, DataError, UnknownName, UsageError
from cotdistill.tasks.catalog import imported_names, open_task
from cotdistill.tasks.describe import describe, export_task
from cotdistill.tasks.importing.columns import ColumnMap
from cotdistill.tasks.importing.importer import import_task
from cotdistill.tasks.importing.preview import preview_source
from cotdistill.tasks.importing.task_bundle import adopt
from cotdistill.tasks.template import Template

SHARED = Path(os.environ.get("COTDISTILL_SHARED", "../shared")) / "data"


def row(i, **more):
    return {
        "id": f"q{i}",
        "question": f"what is number {i} ?",
        "choices": [{"label": "A", "text": "even"}, {"label": "B", "text": "odd"}],
        "answer": "AB"[i % 2],
        "rationale": f"{i} by two leaves {i % 2}",
        "rationale_source": "people",
        **more,
    }


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "in" / "train.jsonl", [row(i) for i in range(60)])
    write(tmp_path / "in" / "dev.jsonl", [row(i, rationale=None) for i in range(100, 110)])
    write(
        tmp_path / "in" / "rationales" / "train.other.jsonl",
        [{"id": f"q{i}", "rationale": "because", "teacher_label": "A"} for i in range(30)],
    )
    return tmp_path / "in"


def test_without_a_test_split_official_dev_is_the_test_and_a_tenth_of_train_is_dev(tmp_path, folder):
    task = import_task(tmp_path / "root", folder, "numbers").task
    assert task.roles["test"] == "official dev"
    assert len(task.examples("test")) == 10
    assert len(task.examples("train")) + len(task.examples("dev")) == 60 and 1 <= len(task.examples("dev")) <= 15
    again = import_task(tmp_path / "other", folder, "numbers").task
    assert again.digest == task.digest


def test_side_files_are_further_sources_of_the_same_rows(tmp_path, folder):
    task = import_task(tmp_path / "root", folder, "numbers").task
    assert task.sources == ("people", "other") and task.default_source == "people"
    told = [e for split in ("train", "dev") for e in task.examples(split, "other") if e.source == "other"]
    assert len(told) == 30 and all(e.rationale == "because" for e in told)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"answer": "C"}, "is no choice"),
        ({"choices": [{"label": "A", "text": "even"}]}, "one choice"),
        ({"question": ""}, "question is empty"),
        ({"choices": None}, "no choices"),
    ],
)
def test_a_bad_row_is_told_with_file_line_and_reason_and_nothing_is_imported(tmp_path, folder, bad, reason):
    write(folder / "train.jsonl", [row(0), row(1), row(2, **bad), *(row(i) for i in range(3, 60))])
    with pytest.raises(BadRows) as error:
        import_task(tmp_path / "root", folder, "numbers")
    (problem,) = [p for p in error.value.problems if p.file == "train.jsonl"]
    assert problem.line == 3 and reason in problem.reason
    assert imported_names(tmp_path / "root") == []


def test_the_good_rows_can_be_kept_by_choice(tmp_path, folder):
    write(folder / "train.jsonl", [row(i, **({"answer": "Z"} if i == 5 else {})) for i in range(60)])
    (folder / "rationales" / "train.other.jsonl").unlink()
    report = import_task(tmp_path / "root", folder, "numbers", keep_good_rows=True)
    assert len(report.problems) == 1
    assert sum(len(report.task.examples(s)) for s in ("train", "dev")) == 59


def test_one_file_is_cut_into_three_splits_cluster_by_cluster(tmp_path):
    rows = [row(i, cluster=f"c{i // 4}") for i in range(400)]
    task = import_task(tmp_path / "root", write(tmp_path / "all.jsonl", rows), "numbers").task
    by_split = {s: {e.cluster for e in task.examples(s)} for s in ("train", "dev", "test")}
    assert not by_split["train"] & by_split["test"] and not by_split["train"] & by_split["dev"]
    assert sum(len(task.examples(s)) for s in by_split) == 400


def test_questions_on_one_premise_form_a_cluster(tmp_path):
    rows = [row(i, question=f"Premise: a man {i // 3} sleeps . Hypothesis: he is {i} .") for i in range(300)]
    task = import_task(tmp_path / "root", write(tmp_path / "nli.jsonl", rows), "nli").task
    assert len({e.cluster for s in ("train", "dev", "test") for e in task.examples(s)}) == 100


def test_csv_and_gzip_say_the_same_as_plain_jsonl(tmp_path):
    rows = [row(i) for i in range(300)]
    plain = write(tmp_path / "a.jsonl", rows)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    lines = ["id,question,a,b,answer,rationale"] + [
        f"{r['id']},{r['question']},even,odd,{r['answer']},{r['rationale']}" for r in rows
    ]
    (tmp_path / "c.csv").write_text("\n".join(lines))
    tasks = [
        import_task(tmp_path / f"root{i}", tmp_path / name, "numbers").task
        for i, name in enumerate(("a.jsonl", "b.jsonl.gz", "c.csv"))
    ]
    told = [[(e.id, e.question, e.answer, e.rationale) for e in task.examples("test")] for task in tasks]
    assert told[0] == told[1] == told[2] and told[0]


def test_repeated_questions_and_overlaps_are_counted(tmp_path, folder):
    write(
        folder / "train.jsonl",
        [row(i) for i in range(60)]
        + [row(200, question="what is number 0 ?"), row(201, question="what is number 101 ?")],
    )
    report = import_task(tmp_path / "root", folder, "numbers")
    checks = report.task.info["checks"]
    assert checks["repeated_within_a_split"] == 1
    assert sum(checks["in_two_splits"].values()) == 1


@pytest.mark.parametrize("name", ["", "../x", "a/b", "field_guide", "x" * 65, ".hidden"])
def test_a_name_that_cannot_be_a_folder_or_is_taken_is_refused(tmp_path, folder, name):
    with pytest.raises(UsageError):
        import_task(tmp_path / "root", folder, name)


def test_a_missing_an_empty_and_a_foreign_file_are_told_apart(tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "x.txt").write_text("hello")
    for path in (tmp_path / "none.jsonl", tmp_path / "empty.jsonl", tmp_path / "x.txt", tmp_path):
        with pytest.raises(DataError):
            import_task(tmp_path / "root", path, "numbers")


def test_importing_again_makes_a_new_version_and_keeps_the_old(tmp_path, folder):
    first = import_task(tmp_path / "root", folder, "numbers").task
    write(folder / "dev.jsonl", [row(i) for i in range(300, 320)])
    second = import_task(tmp_path / "root", folder, "numbers").task
    assert open_task(tmp_path / "root", "numbers").digest == second.digest != first.digest
    assert open_task(tmp_path / "root", f"numbers@{first.digest[:12]}").digest == first.digest


def test_a_test_split_without_answers_is_left_out_and_official_dev_takes_its_place(tmp_path, folder):
    write(folder / "test.jsonl", [row(i, answer="", rationale=None) for i in range(500, 520)])
    write(folder / "rationales" / "test.other.jsonl", [{"id": "q500", "rationale": "x"}])
    report = import_task(tmp_path / "root", folder, "numbers")
    assert report.problems == () and report.task.roles["test"] == "official dev"
    assert "The 20 rows of the test split have no answers: they are left out." in report.warnings


def test_a_test_split_with_some_answers_is_taken_at_its_word(tmp_path, folder):
    write(folder / "test.jsonl", [row(500), row(501, answer=None)])
    with pytest.raises(BadRows) as error:
        import_task(tmp_path / "root", folder, "numbers")
    assert [(p.file, p.line, p.reason) for p in error.value.problems] == [("test.jsonl", 2, "the answer is empty")]


def test_a_column_that_no_row_has_answers_with_near_matches(tmp_path, folder):
    with pytest.raises(UnknownName) as error:
        import_task(
            tmp_path / "root",
            folder,
            "numbers",
            columns=ColumnMap(question="questoin", choices="choices", answer="answer"),
        )
    assert "question" in error.value.hint
    with pytest.raises(UnknownName):
        import_task(tmp_path / "root", folder, "numbers", cluster="topic")


def test_a_column_that_is_not_named_for_a_needed_field_is_asked_for(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"text": "q", "gold": "A"}])
    with pytest.raises(DataError, match="No column is known for question, choices; the file has: text, gold"):
        import_task(tmp_path / "root", path, "numbers")


def test_a_column_can_name_the_cluster(tmp_path):
    rows = [row(i, topic=f"t{i % 40}") for i in range(200)]
    task = import_task(tmp_path / "root", write(tmp_path / "a.jsonl", rows), "numbers", cluster="topic").task
    assert {e.cluster for s in ("train", "dev", "test") for e in task.examples(s)} == {f"t{i}" for i in range(40)}


def test_one_file_may_name_the_splits_in_a_column_and_then_every_row_must(tmp_path):
    rows = [row(i, split=("train", "validation", "test")[i % 3]) for i in range(30)]
    task = import_task(tmp_path / "root", write(tmp_path / "a.jsonl", rows), "numbers").task
    assert task.roles["dev"] == "official dev" and len(task.examples("dev")) == 10
    write(tmp_path / "a.jsonl", [*rows, row(31, split=""), row(32, split="trian")])
    with pytest.raises(BadRows) as error:
        import_task(tmp_path / "root", tmp_path / "a.jsonl", "numbers")
    assert [(p.line, p.reason) for p in error.value.problems] == [
        (31, "the split is empty; other rows name theirs"),
        (32, "the split 'trian' is none of train, dev, test"),
    ]


def test_a_bad_row_is_told_once_and_not_again_for_its_further_rationales(tmp_path, folder):
    write(folder / "train.jsonl", [row(i, **({"answer": "Z"} if i == 5 else {})) for i in range(60)])
    with pytest.raises(BadRows) as error:
        import_task(tmp_path / "root", folder, "numbers")
    assert [(p.file, p.line) for p in error.value.problems] == [("train.jsonl", 6)]


def test_the_first_of_two_rows_with_one_id_keeps_it_and_its_further_rationales(tmp_path, folder):
    write(folder / "train.jsonl", [*(row(i) for i in range(60)), row(7, question="another ?")])
    report = import_task(tmp_path / "root", folder, "numbers")
    assert any(w.startswith("1 row with the id of an earlier row") for w in report.warnings)
    assert report.task.example("q7", "other").rationale == "because"
    assert report.task.example("q7:61").question == "another ?"


def test_ids_that_begin_anew_in_each_split_get_their_split_in_front(tmp_path):
    for split in ("train", "dev", "test"):
        write(tmp_path / "f" / f"{split}.jsonl", [row(i, id=str(i), question=f"{split} {i} ?") for i in range(20)])
    write(tmp_path / "f" / "rationales" / "train.other.jsonl", [{"id": "3", "rationale": "so"}])
    report = import_task(tmp_path / "root", tmp_path / "f", "anew")
    assert (
        report.task.example("train:3", "other").rationale == "so"
        and report.task.example("test:3").question == "test 3 ?"
    )
    assert "Ids begin anew in each split: each gets its split in front (train:0)." in report.warnings


def test_answers_of_all_files_are_read_by_one_rule(tmp_path):
    # The test split alone would fit places from 0; the training split shows that they count from 1.
    def numbered(split, answers):
        rows = [{"question": f"{split} {i} ?", "choices": ["w", "x", "y"], "answer": a} for i, a in enumerate(answers)]
        write(tmp_path / "f" / f"{split}.jsonl", rows)

    numbered("train", [1, 2, 3] * 10)
    numbered("test", [1, 2, 1, 2])
    report = import_task(tmp_path / "root", tmp_path / "f", "numbered")
    assert [e.answer_text for e in report.task.examples("test")] == ["w", "x", "w", "x"]
    assert report.task.info["answers"] == "places counted from 1"


def test_a_map_changes_what_it_names_and_keeps_the_rest_of_the_guess(tmp_path):
    rows = [
        {
            "question": f"{i} ?",
            "choices": ["red", "blue"],
            "answer": "AB"[i % 2],
            "explanation": "no",
            "note": f"so {i}",
        }
        for i in range(30)
    ]
    path = write(tmp_path / "a.jsonl", rows)
    task = import_task(tmp_path / "root", path, "noted", changes={"rationale": "note"}).task
    assert {e.rationale for e in task.examples("train")} <= {f"so {i}" for i in range(30)}
    assert task.info["columns"]["choices"] == "choices"


def test_a_right_choice_that_always_stands_first_is_told_and_can_be_shuffled(tmp_path):
    rows = [{"question": f"{i} ?", "right": f"r{i}", "b": f"w{i}", "c": f"v{i}"} for i in range(60)]
    path = write(tmp_path / "a.jsonl", rows)
    changes = {"choices": "right+b+c", "answer": "right"}
    report = import_task(tmp_path / "root", path, "first", changes=changes)
    assert any("place 1 in 60 of 60 rows" in warning for warning in report.warnings)
    mixed = import_task(tmp_path / "root", path, "mixed", changes=changes, shuffle_choices=0)
    examples = [e for split in ("train", "dev", "test") for e in mixed.task.examples(split)]
    assert all(e.answer_text.startswith("r") for e in examples) and {e.gold for e in examples} == {0, 1, 2}
    assert [c.label for c in examples[0].choices] == ["A", "B", "C"] and mixed.task.info["shuffle_choices"] == 0
    assert not any("gives it away" in warning for warning in mixed.warnings)
    assert (
        import_task(tmp_path / "other", path, "mixed", changes=changes, shuffle_choices=0).task.digest
        == mixed.task.digest
    )
    assert mixed.task.digest != report.task.digest


def test_a_passage_is_joined_before_the_question_and_what_nothing_reads_is_named(tmp_path):
    rows = [
        {"context": f"the box number {i} holds a ball", "question": f"what is in box {i}", "answer0": "a ball",
         "answer1": "a cat", "label": i % 2, "remark": f"a long remark about box {i}"}
        for i in range(30)
    ]  # fmt: skip
    report = import_task(tmp_path / "root", write(tmp_path / "a.jsonl", rows), "boxes")
    first = report.task.example("a.jsonl:1")
    assert first.question == "the box number 0 holds a ball\nwhat is in box 0"
    assert any("No field reads these columns of text: remark." in warning for warning in report.warnings)


def test_a_passage_that_is_named_has_a_place_of_its_own_in_the_template(tmp_path):
    rows = [row(i, context=f"Number {i}.\nIt is here." if i % 2 else None) for i in range(40)]
    file = write(tmp_path / "all.jsonl", rows)
    task = import_task(tmp_path / "root", file, "numbers", changes={"passage": "context"}).task
    odd, even = task.example("q1"), task.example("q2")
    assert odd.question_parts() == ("Number 1.\nIt is here.", "what is number 1 ?") and odd.passage_lines == 2
    assert task.template.question_text(odd) == "Passage: Number 1.\nIt is here.\nQuestion: what is number 1 ?"
    assert task.template.question_text(even) == "Question: what is number 2 ?"
    # A template that names the passage gets what is joined before the question, and so do the files of an export.
    layout = Template(question="{question} ({passage})")
    joined = import_task(tmp_path / "root", file, "joined", template=layout).task
    assert joined.template.question_text(joined.example("q1")) == "what is number 1 ? (Number 1.\nIt is here.)"
    export_task(task, tmp_path / "out")
    again = import_task(tmp_path / "root", tmp_path / "out", "again", template=task.template).task
    assert again.example("q1").question_parts() == odd.question_parts()
    plain = import_task(tmp_path / "root", file, "plain").task
    assert plain.example("q1").question == odd.question and plain.example("q1").passage_lines == 0


def test_true_and_false_answer_questions_whose_choices_are_yes_and_no(tmp_path):
    rows = [{"question": f"is {i} even", "answer": i % 2 == 0} for i in range(30)]
    path = write(tmp_path / "a.jsonl", rows)
    task = import_task(tmp_path / "root", path, "even", changes={"fixed_choices": "no|yes"}).task
    assert task.example("a.jsonl:1").answer_text == "yes" and task.example("a.jsonl:2").answer_text == "no"
    changes = {"fixed_choices": "odd|even", "values": "true=even,false=odd"}
    named = import_task(tmp_path / "root", path, "named", changes=changes).task
    assert named.example("a.jsonl:1").answer_text == "even"


def test_texts_without_choices_ask_whether_they_are_written(tmp_path):
    rows = [{"question": f"what is {i}?", "answer": f"thing {i}"} for i in range(12)]
    with pytest.raises(DataError, match="No column is known for choices") as error:
        import_task(tmp_path / "root", write(tmp_path / "a.jsonl", rows), "written")
    assert "answer_kind=text" in error.value.hint


def test_further_rationales_for_no_row_are_told_with_their_line(tmp_path, folder):
    write(
        folder / "rationales" / "train.other.jsonl",
        [{"id": "q1", "rationale": "x"}, {"id": "nobody", "rationale": "x"}, {"id": "q2", "rationale": [{"x": 1}]}],
    )
    with pytest.raises(BadRows) as error:
        import_task(tmp_path / "root", folder, "numbers")
    assert [(p.file, p.line) for p in error.value.problems] == [
        ("rationales/train.other.jsonl", 2),
        ("rationales/train.other.jsonl", 3),
    ]


def test_a_side_file_without_ids_or_rationales_is_refused_by_name(tmp_path, folder):
    write(folder / "rationales" / "train.other.jsonl", [{"id": "q1", "text": "x"}])
    with pytest.raises(DataError, match=r"rationales/train.other.jsonl has no column rationale; it has: id, text"):
        import_task(tmp_path / "root", folder, "numbers")


def test_a_map_names_the_columns_of_rationales_that_stand_in_files_of_their_own(tmp_path, folder):
    other = [{"id": f"q{i}", "explanation": {"open-ended": f"so\n{i}"}, "reason": "x"} for i in range(30)]
    write(folder / "rationales" / "train.other.jsonl", other)
    for changes, expected in (({"rationale": "explanation.open-ended"}, "so\n3"), ({"rationale": "reason"}, "x")):
        task = import_task(tmp_path / "root", folder, "numbers", changes=changes).task
        assert task.sources == ("other",) and task.example("q3", "other").rationale == expected
    assert preview_source(folder, {"rationale": "reason"}).examples[1].rationales == {"other": "x"}
    with pytest.raises(UnknownName, match="'because'"):
        import_task(tmp_path / "root", folder, "numbers", changes={"rationale": "because"})


def test_side_files_may_be_csv_or_parquet_and_give_the_main_rationale_its_teachers_answer(tmp_path, folder):
    (folder / "rationales" / "train.people.csv").write_text("id,rationale,teacher_label\nq0,another text,B\n")
    pd.DataFrame([{"id": "q1", "explanation": "from parquet"}]).to_parquet(folder / "rationales" / "train.late.parquet")
    task = import_task(tmp_path / "root", folder, "numbers").task
    assert task.example("q0", "people").rationale == "0 by two leaves 0"
    assert task.teacher_labels("people") == {"q0": "B"}
    assert task.example("q1", "late").rationale == "from parquet"


def test_a_task_without_rationales_says_what_it_is_good_for(tmp_path, folder):
    (folder / "rationales" / "train.other.jsonl").unlink()
    write(folder / "train.jsonl", [row(i, rationale=None) for i in range(60)])
    report = import_task(tmp_path / "root", folder, "numbers")
    assert "There are no rationales: only label_only can be trained." in report.warnings
    assert report.task.sources == () and report.task.default_source == ""
    assert report.task.tokenizer("", "word").is_file()


def test_text_from_data_is_kept_as_it_is(tmp_path, folder):
    wild = "<script>alert(1)</script> {text} \\1 \t % 🐦 é"
    write(folder / "train.jsonl", [row(0, question=wild), *(row(i) for i in range(1, 60))])
    assert import_task(tmp_path / "root", folder, "numbers").task.example("q0").question == wild


def test_a_rationale_keeps_its_line_breaks_from_import_to_export(tmp_path):
    text = "First, even numbers.\n\n  Then:\n- two\n- four"
    rows = [row(i, rationale=text if i == 1 else f"{i} is a number") for i in range(40)]
    task = import_task(tmp_path / "root", write(tmp_path / "all.jsonl", rows), "numbers").task
    assert task.example("q1").rationale == text
    adopted = adopt(tmp_path / "other", "numbers", task.digest, task.folder)
    assert adopted.digest == task.digest and adopted.example("q1").rationale == text
    export_task(task, tmp_path / "out")
    again = import_task(tmp_path / "root", tmp_path / "out", "again").task
    assert again.example("q1").rationale == text


def test_other_columns_become_metadata_if_they_are_short_and_plain(tmp_path, folder):
    more = {"level": 2, "ratio": float("inf"), "tags": ["a"], "kind": "hard", "half": "\ud800", "essay": "x" * 300}
    write(folder / "train.jsonl", [row(i, **more) for i in range(60)])
    assert import_task(tmp_path / "root", folder, "numbers").task.examples("train")[0].metadata == {
        "level": 2,
        "kind": "hard",
    }


def test_a_killed_import_leaves_the_version_before_it_and_nothing_half_done(tmp_path, folder):
    root = tmp_path / "root"
    before = import_task(root, folder, "numbers").task
    write(folder / "dev.jsonl", [row(i) for i in range(300, 320)])
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from cotdistill.tasks.importing import writing\n"
        "from cotdistill.tasks.importing.importer import import_task\n"
        "setattr(writing, sys.argv[3], lambda *_: os.kill(os.getpid(), signal.SIGKILL))\n"
        "import_task(Path(sys.argv[1]), Path(sys.argv[2]), 'numbers')\n"
    )
    for step in ("train_bpe", "_put", "settle", "folder_digest"):
        ran = subprocess.run(
            [sys.executable, "-c", code, str(root), str(folder), step], capture_output=True, check=False
        )
        assert ran.returncode == -9, ran.stderr
        assert open_task(root, "numbers").digest == before.digest and before.verify() == []
        assert imported_names(root) == ["numbers"]
    assert import_task(root, folder, "numbers").task.verify() == []


TEXTS = st.text(max_size=20) | st.sampled_from(
    ["A", "B", "0", "1", "train", "dev", "\ud800", "\0", "q|r", '["a","b"]', "[[", "{", " ", "-1", "_", "<eos>"]
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["label", "text", "stem", "choices", "a", "b"]), inner, max_size=3)
    ),
    max_leaves=6,
)
NAMES = [
    "id",
    "question",
    "choices",
    "answer",
    "rationale",
    "rationale_source",
    "cluster",
    "split",
    "metadata",
    "premise",
    "hypothesis",
    "a",
    "b",
    "option1",
]
WILD = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8)
GOOD = st.integers(0, 9999).map(lambda i: row(i))
# Good rows with one field turned wild reach further into the importer than wholly wild ones.
BENT = st.tuples(GOOD, st.sampled_from(NAMES), VALUES).map(lambda t: {**t[0], t[1]: t[2]})
ROWS = st.lists(WILD | GOOD | BENT, max_size=12)
FUZZ = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def jsonl(rows):
    return "".join(json.dumps(r) + "\n" for r in rows).encode("utf-8", "surrogatepass")


def answered_in_words(base, path, **options):
    """Import; any answer but a whole task or a CotdistillError fails. What was imported can be read, described and exported."""
    try:
        task = import_task(base / "root", path, "wild", **options).task
    except CotdistillError:
        assert imported_names(base / "root") == []
    else:
        assert task.verify() == [] and canonical_json(describe(task))
        assert sum(len(task.examples(split)) for split in ("train", "dev", "test")) > 0
        export_task(task, base / "out")
    assert not [p for p in base.rglob(".*") if p.is_file() or p.name.startswith(".part")]


@FUZZ
@given(
    rows=ROWS,
    tail=st.binary(max_size=20),
    keep=st.booleans(),
    cluster=st.sampled_from([None, "cluster", "id", "regex:(.)", "regex:(x)?"]),
)
def test_whatever_stands_in_a_jsonl_is_answered_in_words_and_leaves_nothing_half_done(
    tmp_path_factory, rows, tail, keep, cluster
):
    base = tmp_path_factory.mktemp("fuzz")
    path = base / "wild.jsonl"
    path.write_bytes(jsonl(rows) + tail)
    answered_in_words(base, path, keep_good_rows=keep, cluster=cluster)


@FUZZ
@given(
    header=st.lists(st.sampled_from(NAMES) | TEXTS, max_size=6),
    lines=st.lists(st.lists(TEXTS, max_size=6), max_size=8),
    noise=st.binary(max_size=12),
    zipped=st.sampled_from(["plain", "gzip", "cut", "not zipped"]),
)
def test_whatever_stands_in_a_csv_is_answered_in_words(tmp_path_factory, header, lines, noise, zipped):
    base = tmp_path_factory.mktemp("fuzz")
    written = io.StringIO()
    csv.writer(written).writerows([header, *lines])
    content = written.getvalue().encode("utf-8", "surrogatepass") + noise
    path = base / ("wild.csv" if zipped == "plain" else "wild.csv.gz")
    packed = gzip.compress(content)
    path.write_bytes(
        {"plain": content, "gzip": packed, "cut": packed[: len(packed) // 2], "not zipped": content}[zipped]
    )
    answered_in_words(base, path, keep_good_rows=True)


@FUZZ
@given(
    ids=st.lists(PLAIN, max_size=8),
    choices=st.sampled_from(
        [
            ["x", "y"],
            {"label": ["A", "B"], "text": ["x", "y"]},
            {"label": ["A"], "text": ["x", "y"]},
            b"x|y",
            "x|y",
            3.5,
        ]
    ),
    damage=st.tuples(st.integers(0, 4000), st.binary(max_size=4)),
)
def test_whatever_stands_in_a_parquet_is_answered_in_words(tmp_path_factory, ids, choices, damage):
    base = tmp_path_factory.mktemp("fuzz")
    texts = [str(i).encode("utf-8", "replace").decode() for i in ids]
    rows = [
        {"id": t, "question": t or None, "choices": choices, "answer": "A", "when": pd.Timestamp(i, unit="D")}
        for i, t in enumerate(texts)
    ]
    pd.DataFrame(rows, columns=["id", "question", "choices", "answer", "when"]).to_parquet(base / "wild.parquet")
    content = bytearray((base / "wild.parquet").read_bytes())
    place, noise = damage
    content[place : place + len(noise)] = noise
    (base / "wild.parquet").write_bytes(content)
    answered_in_words(base, base / "wild.parquet", keep_good_rows=True)


@FUZZ
@given(
    train=ROWS,
    dev=ROWS,
    test=ROWS,
    side=st.lists(
        WILD | st.fixed_dictionaries({"id": TEXTS, "rationale": VALUES, "teacher_label": VALUES}), max_size=6
    ),
    source=st.sampled_from(["people", "ä b", "x.y", ".."]),
    keep=st.booleans(),
)
def test_whatever_stands_in_a_folder_is_answered_in_words(tmp_path_factory, train, dev, test, side, source, keep):
    base = tmp_path_factory.mktemp("fuzz")
    (base / "in" / "rationales").mkdir(parents=True)
    for name, rows in (("train", train), ("dev", dev), ("test", test), (f"rationales/train.{source}", side)):
        if rows:
            (base / "in" / f"{name}.jsonl").write_bytes(jsonl(rows))
    answered_in_words(base, base / "in", keep_good_rows=keep)


def real(name):
    return pytest.mark.skipif(
        not (SHARED / name).is_dir(), reason=f"{name} is not here (COTDISTILL_SHARED names the folder that has it)"
    )


def over(told, *splits):
    """Counts of a source over some splits of the task."""
    return {key: sum(told["splits"][split][key] for split in splits) for key in told["splits"]["train"]}


@real("commonsenseqa")
def test_commonsenseqa_has_the_figures_that_its_notes_state(tmp_path):
    task = import_task(tmp_path, SHARED / "commonsenseqa", "commonsenseqa").task
    found = describe(task)
    rows = task.info["rows"]
    # Official train is cut into train and dev here; official dev is the test.
    assert rows["train"] + rows["dev"] == 9741 and rows["test"] == 1221 and task.roles["test"] == "official dev"
    assert 0.09 < rows["dev"] / 9741 < 0.11 and task.chance == 0.2
    assert task.sources[0] == task.default_source == "llama3-70b-l2" and len(task.sources) == 6
    own = over(found["sources"]["llama3-70b-l2"], "train", "dev")
    assert own["with_rationale"] == 9723 and round(own["gold_text"] / 9723, 3) == 0.569
    assert (
        found["splits"]["test"]["question_words"]["mean"] == 13.1
        and found["splits"]["test"]["choices_words"]["mean"] == 7.52
    )
    assert found["splits"]["train"]["question_words"]["mean"] == pytest.approx(13.25, abs=0.05)
    assert found["sources"]["llama3-70b-l2"]["words"]["mean"] == pytest.approx(22.37, abs=0.1)
    palm = over(found["sources"]["palm-540b"], "train", "dev")
    assert (palm["with_rationale"], palm["teacher_label"], round(palm["teacher_right"] / 9559, 4)) == (
        9741,
        9741 - 182,
        0.7717,
    )
    on_test = found["sources"]["palm-540b"]["splits"]["test"]
    assert (on_test["with_rationale"], on_test["teacher_label"], round(on_test["teacher_right"] / 1205, 4)) == (
        1221,
        1221 - 16,
        0.7975,
    )
    for source, count in {
        "llama3-70b-l1": 9732,
        "llama3-70b-l3": 9732,
        "gemini-1.5-flash-l1": 9740,
        "human-cos-e-v1.11": 9741,
    }.items():
        assert over(found["sources"][source], "train", "dev")["with_rationale"] == count
    assert found["sources"]["human-cos-e-v1.11"]["teacher_right"] is None


@real("openbookqa")
def test_openbookqa_has_the_figures_that_its_notes_state(tmp_path):
    task = import_task(tmp_path, SHARED / "openbookqa", "openbookqa").task
    found = describe(task)
    assert task.info["rows"] == {"train": 4957, "dev": 500, "test": 500} and task.roles["test"] == "official test"
    words = {
        split: (found["splits"][split]["question_words"]["mean"], found["splits"][split]["choices_words"]["mean"])
        for split in found["splits"]
    }
    assert words == {"train": (10.71, 11.12), "dev": (10.33, 13.32), "test": (10.3, 12.24)}
    assert found["checks"]["word_for_word"] == 5
    own = found["sources"]["llama3-70b-l2"]
    assert (own["with_rationale"], round(own["gold_text"], 3), own["words"]["mean"]) == (4943, 0.539, 33.3)
    means = {source: found["sources"][source]["words"]["mean"] for source in found["sources"]}
    stated = {
        "llama3-70b-l1": 11.95,
        "gemini-1.5-flash-l2": 36.71,
        "gpt-4o-l2": 40.37,
        "human-obqa-fact1": 9.34,
        "flan-t5": 17.03,  # two rationales are "nan", which is none
    }
    assert {source: means[source] for source in stated} == stated
    counts = {source: found["sources"][source]["splits"]["train"]["with_rationale"] for source in stated}
    assert counts == {
        "llama3-70b-l1": 4956,
        "gemini-1.5-flash-l2": 4957,
        "gpt-4o-l2": 4955,
        "human-obqa-fact1": 4957,
        "flan-t5": 4955,
    }
    facts = found["sources"]["human-obqa-fact1"]["splits"]
    assert (facts["dev"]["gold_text"], facts["test"]["gold_text"]) == (44, 43)  # 8.8 % and 8.6 % of 500
    assert task.examples("dev")[0].source == "human-obqa-fact1"


@real("esnli_small")
def test_esnli_is_split_by_premise_with_three_explanations_a_training_row(tmp_path):
    report = import_task(tmp_path, SHARED / "esnli_small", "esnli_small")
    found = describe(report.task)
    assert report.task.info["rows"] == {"train": 14744, "dev": 1637, "test": 3279}
    assert found["checks"]["clusters_in_two_splits"] == 0 and found["splits"]["train"]["clusters"] < 14744 / 2.9
    assert all(0.32 < count / 14744 < 0.35 for count in found["splits"]["train"]["answers"].values())
    assert [found["sources"][f"human-e-snli-{n}"]["share"] for n in (1, 2, 3)] == [1.0, 1.0, 1.0]
    assert any("premise" in warning for warning in report.warnings)


def test_a_cluster_pattern_that_matches_no_question_is_refused(tmp_path, folder):
    with pytest.raises(UsageError) as error:
        import_task(tmp_path / "root", folder, "numbers", cluster="regex:^nothing (like) this")
    assert "what is number" in error.value.hint

"""Import: whole or not at all, every bad row with its line and reason, roles and clusters as promised."""

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cotdistill.errors import BadRows, CotdistillError, DataError, UsageError
from cotdistill.tasks.catalog import imported_names, open_task
from cotdistill.tasks.describe import describe, export_task
from cotdistill.tasks.importing import import_task

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
    write(tmp_path / "in" / "rationales" / "train.other.jsonl", [{"id": f"q{i}", "rationale": "because", "teacher_label": "A"} for i in range(30)])
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
        ({"id": "q1"}, "stands already"),
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
    lines = ["id,question,a,b,answer,rationale"] + [f"{r['id']},{r['question']},even,odd,{r['answer']},{r['rationale']}" for r in rows]
    (tmp_path / "c.csv").write_text("\n".join(lines))
    tasks = [import_task(tmp_path / f"root{i}", tmp_path / name, "numbers").task for i, name in enumerate(("a.jsonl", "b.jsonl.gz", "c.csv"))]
    told = [[(e.id, e.question, e.answer, e.rationale) for e in task.examples("test")] for task in tasks]
    assert told[0] == told[1] == told[2] and told[0]


def test_repeated_questions_and_overlaps_are_counted(tmp_path, folder):
    write(folder / "train.jsonl", [row(i) for i in range(60)] + [row(200, question="what is number 0 ?"), row(201, question="what is number 101 ?")])
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


def test_an_exported_task_can_be_imported_again(tmp_path, folder):
    task = import_task(tmp_path / "root", folder, "numbers").task
    export_task(task, tmp_path / "out")
    again = import_task(tmp_path / "root2", tmp_path / "out", "numbers").task
    for split in ("train", "dev", "test"):
        assert [(e.id, e.rationale) for e in again.examples(split)] == [(e.id, e.rationale) for e in task.examples(split)]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["label", "text", "a", "b"]), inner, max_size=3),
    max_leaves=6,
)
wild = st.dictionaries(st.sampled_from(["id", "question", "choices", "answer", "rationale", "cluster", "split"]), values, max_size=7)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rows=st.lists(wild, max_size=6), tail=st.binary(max_size=20), keep=st.booleans())
def test_whatever_is_fed_to_the_importer_is_answered_in_words_and_leaves_nothing_half_done(tmp_path_factory, rows, tail, keep):
    base = tmp_path_factory.mktemp("fuzz")
    path = base / "wild.jsonl"
    path.write_bytes("".join(json.dumps(r) + "\n" for r in rows).encode("utf-8", "surrogatepass") + tail)
    try:
        import_task(base / "root", path, "wild", keep_good_rows=keep)
    except CotdistillError:
        made = imported_names(base / "root")
    else:
        made = []
    assert made == []
    left = list((base / "root").rglob(".part-*")) if (base / "root").exists() else []
    assert left == []


@pytest.mark.skipif(not (SHARED / "commonsenseqa").is_dir(), reason="the real data are not here (set COTDISTILL_SHARED)")
def test_real_commonsenseqa_has_the_counts_its_notes_state(tmp_path):
    task = import_task(tmp_path, SHARED / "commonsenseqa", "commonsenseqa").task
    rows = task.info["rows"]
    assert rows["train"] + rows["dev"] == 9741 and rows["test"] == 1221
    assert task.default_source == "llama3-70b-l2" and len(task.sources) == 6
    told = describe(task)["sources"]["llama3-70b-l2"]
    assert told["gold_text"] == pytest.approx(0.569, abs=0.01)
    assert told["words"]["mean"] == pytest.approx(22.37, abs=0.2)

"""Answers that other code made: the same verdicts as for students trained here, and every row that cannot be used told with its line."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cotdistill.dashboard.train import page as train
from cotdistill.errors import BadRows, CotdistillError, DataError, UnknownName, UsageError
from cotdistill.exchange.export import export_study
from cotdistill.exchange.import_archive import import_study
from cotdistill.exchange.import_predictions import import_answers
from cotdistill.exchange.prediction_file import AnswerColumns, read_answers
from cotdistill.exchange.verify import verify
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.results import results
from cotdistill.results.findings import findings
from cotdistill.results.prediction_matrix import matrix, texts
from cotdistill.store.planned_runs import planned_runs
from cotdistill.store.store import Store
from cotdistill.studies.spec import study_spec
from cotdistill.tasks.importing.importer import import_task
from tests.terminal import check_keys, speaker
from tests.test_pages import drawn
from tests.test_pages import texts as written

SPEC = {
    "name": "ours",
    "task_settings": {"creatures": 24, "documents": 20, "wordings": 1},
    "conditions": "label_only,pre_cot,post_cot,shuffled,random,label_only@tokens=post_cot",
    "replicates": 2,
    "fixed_seeds": {"world": 0},
    "training": {"steps": 2, "batch_size": 4, "evaluations": 0, "dev_examples": 7, "checkpoints": "1"},
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a finished study of this product."""
    store = Store.open(tmp_path_factory.mktemp("ours"))
    launch(store, plan(store, study_spec(None, SPEC)))
    work(store)
    return store


def exported(store: Store, study: str) -> list[dict[str, Any]]:
    """The answers of a study as another code would write them, with as many rows of dev as it was scored on."""
    rows: list[dict[str, Any]] = []
    for condition, replicate, job in planned_runs(store, study):
        assert job is not None and job.result is not None
        table = store.artifacts.table(job.produced["predictions"])
        run = {"condition": condition, "replicate": replicate, "tokens": job.result["tokens"]}
        for one in table[table["mode"] == job.result["mode"]].itertuples():
            rows.append(
                {
                    "item": one.id,
                    "cluster": one.cluster,
                    "answer": one.answer,
                    "p": list(map(float, one.probabilities)),
                    "split": "test",
                    **run,
                }
            )
        right = round(7 * job.result["dev_accuracy"])
        for i in range(7):
            rows.append(
                {
                    "item": f"d{i}",
                    "cluster": f"d{i}",
                    "answer": 0,
                    "p": [0.7, 0.3] if i < right else [0.3, 0.7],
                    "split": "dev",
                    **run,
                }
            )
    return rows


def write_csv(path: Path, rows: Sequence[dict[str, Any]], form: str = "columns") -> Path:
    """form: columns (p_0, p_1 ...), letters (prob_A, prob_B ...) or list (one JSON list a cell)."""
    most = max(len(row["p"]) for row in rows)
    flat = []
    for row in rows:
        rest = {key: value for key, value in row.items() if key != "p"}
        if form == "list":
            flat.append({**rest, "probabilities": json.dumps(row["p"])})
        else:
            names = [f"p_{i}" if form == "columns" else f"prob_{'ABCDEFGH'[i]}" for i in range(most)]
            flat.append({**rest, **dict.fromkeys(names, ""), **dict(zip(names, map(repr, row["p"]), strict=False))})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(flat[0]))
        writer.writeheader()
        writer.writerows(flat)
    return path


@pytest.mark.parametrize("form", ["columns", "parquet"])
def test_the_same_answers_get_the_same_verdicts_to_the_last_digit(ours, store, tmp_path, form):
    rows = exported(ours, "ours")
    if form == "parquet":
        path = tmp_path / "lab.parquet"
        pd.DataFrame(rows).rename(columns={"p": "probabilities"}).to_parquet(path)
    else:
        path = write_csv(tmp_path / "lab.csv", rows, form)
    done = import_answers(store, path, "theirs")
    assert done.study == 1 and len(done.runs) == 12 and done.dev_items == 7 and not done.nested
    margin = 3.0 if form == "columns" else None
    mine, theirs = findings(ours, "ours", margin), findings(store, "theirs", margin)
    for claim in (*mine["claims"], *theirs["claims"]):
        del claim["other_loss"]  # how other code trained is not known
    for key in ("claims", "conditions", "chance", "status", "replicates", "missing_runs"):
        assert theirs[key] == mine[key], key
    assert results.comparison(store, 1, "post_cot") == results.comparison(ours, "ours", "post_cot")
    assert (matrix(store, 1).gold == matrix(ours, "ours").gold).all()
    assert verify(store).problems == ()


def rows_of(
    conditions: Sequence[str] = ("label_only", "post_cot"), replicates: Sequence[int] = (0, 1), items: int = 6
) -> list[dict[str, Any]]:
    """Answers made by a rule: of two choices the right one is number 1, and it has .8 where item + replicate + condition is even, else .3."""
    return [
        {
            "item": f"q{i}", "condition": condition, "replicate": replicate, "answer": 1,
            "p": [0.2, 0.8] if (i + replicate + place) % 2 == 0 else [0.7, 0.3],
        }
        for place, condition in enumerate(conditions) for replicate in replicates for i in range(items)
    ]  # fmt: skip


def problems_of(path: Path, **how: Any) -> list[tuple[int, str]]:
    with pytest.raises(BadRows) as raised:
        read_answers(path, **how)
    return [(problem.line, problem.reason) for problem in raised.value.problems]


def test_accuracies_margins_and_chance_are_those_counted_by_hand(store, tmp_path):
    rows = rows_of()
    rows[0]["p"] = [0.1, 0.6, 0.3]
    rows = [{**row, "p": [*row["p"], 0.0] if row["item"] == "q0" and len(row["p"]) == 2 else row["p"]} for row in rows]
    done = import_answers(store, write_csv(tmp_path / "a.csv", rows), "hand")
    # Right: items 0, 2, 4 of label_only in replicate 0, items 1, 3, 5 in replicate 1, and the other way round for post_cot.
    assert {(c, r): a for c, r, a in done.runs} == {
        ("label_only", 0): 0.5,
        ("label_only", 1): 0.5,
        ("post_cot", 0): 0.5,
        ("post_cot", 1): 0.5,
    }
    assert done.chance == (5 / 2 + 1 / 3) / 6 and done.items == 6 and done.clusters == 6
    table = results.predictions(store, "hand").set_index(["condition", "replicate", "item"])
    assert table.loc[("label_only", 0, "q0"), "margin"] == pytest.approx(math.log(0.6 / 0.3))
    assert table.loc[("label_only", 0, "q1"), "margin"] == pytest.approx(math.log(0.3 / 0.7))
    assert table.loc[("label_only", 0, "q1"), "predicted"] == 0 and not table.loc[("label_only", 0, "q1"), "correct"]


def test_log_likelihoods_give_the_softmax(tmp_path):
    rows = [{**row, "p": [-1000.0, -1000.0 + math.log(3)]} for row in rows_of()]
    answers = read_answers(write_csv(tmp_path / "a.csv", rows, "list"), scores="log")
    assert answers.rows[0].probabilities == pytest.approx((0.25, 0.75)) and answers.rows[0].margin == pytest.approx(
        math.log(3)
    )


def test_a_prediction_stands_above_the_likeliest_choice_and_none_is_wrong(store, tmp_path):
    rows = [
        {**row, "prediction": {0: "1", 1: "", 2: "-1", 3: "none"}.get(int(row["item"][1:]), "0")} for row in rows_of()
    ]
    import_answers(store, write_csv(tmp_path / "a.csv", rows), "said")
    table = results.predictions(store, "said")
    own = table[(table["condition"] == "label_only") & (table["replicate"] == 0)].set_index("item")
    # q0 said right; q1 by its probabilities (wrong); q2 and q3 unread; q4 and q5 said wrong.
    assert own["correct"].to_dict() == {"q0": True, "q1": False, "q2": False, "q3": False, "q4": False, "q5": False}
    assert store.queue.jobs()[-1].result["unparsable"] == pytest.approx(2 / 6)
    assert matrix(store, "said").right.sum() == table["correct"].sum()


def test_every_form_of_a_file_says_the_same(tmp_path):
    rows = rows_of()
    pd.DataFrame(rows).rename(columns={"p": "probabilities"}).to_parquet(tmp_path / "a.parquet")
    held = [
        [r.probabilities for r in read_answers(write_csv(tmp_path / "a.csv", rows, form)).rows]
        for form in ("columns", "letters", "list")
    ]
    assert (
        held[0]
        == held[1]
        == held[2]
        == [r.probabilities for r in read_answers(tmp_path / "a.parquet").rows]
        == [tuple(row["p"]) for row in rows]
    )


def test_answers_are_named_by_place_label_or_letter(tmp_path):
    rows = rows_of()
    for form, answer in (
        ("columns", "1"),
        ("letters", "B"),
        ("letters", "1"),
        ("list", "B"),
        ("list", "1"),
        ("list", 1.0),
    ):
        answers = read_answers(write_csv(tmp_path / "a.csv", [{**row, "answer": answer} for row in rows], form))
        assert {row.answer for row in answers.rows} == {1}, (form, answer)
    # Columns that count from 1 are labels.
    path = tmp_path / "b.csv"
    path.write_text("item,condition,replicate,answer,p_2,p_1\nq,post_cot,0,1,0.9,0.1\n")
    assert read_answers(path).rows[0].answer == 0 and read_answers(path).rows[0].probabilities == (0.1, 0.9)


def test_a_study_of_answers_says_so_and_nobody_trains_it(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COTDISTILL_HOME", str(store.home))
    say = speaker(capsys)
    path = write_csv(tmp_path / "lab <1>.csv", rows_of())
    tried = say("runs import --study lab --dry-run --json", str(path))
    check_keys("runs import", tried.document)
    assert (
        tried.code == 0
        and tried.document["study"] is None
        and not store.queue.jobs()
        and not list(store.artifacts.all())
    )
    said = say("runs import --study lab --student gemma --json", str(path))
    assert said.document["study"] == {"id": 1, "name": "lab"} and said.document["digest"] == tried.document["digest"]
    shown = say("compare lab --json").document
    assert (shown["answers"], shown["steps"], shown["student"], shown["imported_runs"]) == (
        "lab <1>.csv",
        None,
        "gemma",
        4,
    )
    assert shown["origin"] == said.document["digest"]
    assert (
        "answers of other code (lab <1>.csv)" in say("compare lab").out
        and "answers of other code" in say("compare lab").out
    )
    run = say("runs list --kind answers --json").document[0]
    assert (
        run["origin"] == said.document["digest"]
        and "made of answers" in say(f"runs retry {run['id']} --json").error["message"]
    )
    for words in ("study run lab --json", "study plan lab --json"):
        assert "there is nothing to train" in say(words).error["message"]
    assert say("runs list --json").document == []


def test_the_same_file_is_the_same_study_and_a_corrected_one_its_latest(store, tmp_path, ours):
    path = write_csv(tmp_path / "a.csv", rows_of())
    first, again = import_answers(store, path, "lab"), import_answers(store, path, "lab")
    assert first.study == again.study == 1 and "here already" in again.notes[0] and len(store.queue.jobs()) == 4
    rows = rows_of()
    rows[0]["p"] = [0.9, 0.1]
    corrected = import_answers(store, write_csv(tmp_path / "a.csv", rows), "lab")
    assert corrected.study == 2 and store.queue.study("lab").id == 2 and len(store.queue.jobs()) == 5
    with pytest.raises(UsageError, match="another study named 'ours'"):
        import_answers(ours, path, "ours")


def test_names_of_other_codes_are_mapped_or_listed(store, tmp_path):
    path = write_csv(tmp_path / "a.csv", rows_of(("direct", "rationale=last, shuffled", "post_cot")))
    with pytest.raises(UsageError, match="2 conditions of the file are not called") as raised:
        import_answers(store, path, "lab")
    assert "direct, rationale=last, shuffled" in raised.value.message and "--map direct=post_cot" in raised.value.hint
    done = import_answers(store, path, "lab", names=["direct=label_only", "rationale=last, shuffled=shuffled"])
    assert done.conditions == {
        "direct": "label_only",
        "rationale=last, shuffled": "post_cot/shuffle(unit=token,fraction=1.0)",
        "post_cot": "post_cot",
    }
    assert [s.condition for s in results.summary(store, "lab")] == list(done.conditions.values())
    for names, told in (
        (["other=post_cot"], "begins with no condition"),
        (["direct=post_cot", "rationale=last, shuffled=shuffled"], "are both"),
    ):
        with pytest.raises(UsageError, match=told):
            import_answers(store, path, "lab2", names=names)
    with pytest.raises(UsageError):
        import_answers(store, path, "lab2", names=["direct=post_cott"])


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"p": [0.5, 0.6]}, "the probabilities sum to 1.1"),
        ({"p": [0.5, 0.498]}, "the probabilities sum to 0.998"),
        ({"p": [-0.1, 1.1]}, "expected none below 0"),
        ({"p": [float("nan"), 1.0]}, "choice 0 is 'nan'"),
        ({"p": [float("inf"), 0.0]}, "choice 0 is 'inf'"),
        ({"p": [1.0]}, "1 choices have a number"),
        ({"p": ["half", 0.5]}, "choice 0 is"),
        ({"answer": 5}, "the answer is '5'; expected one of 0, 1"),
        ({"answer": ""}, "the right answer is missing"),
        ({"item": ""}, "the item is missing"),
        ({"item": "a\x1bb"}, "expected at most 500 printable characters"),
        ({"condition": ""}, "the condition is missing"),
        ({"replicate": "first"}, "the replicate is 'first'"),
        ({"replicate": -1}, "expected a whole number"),
        ({"replicate": 0.5}, "expected a whole number"),
        ({"item": "q1"}, "was answered by label_only, replicate 0, in line 2 already"),
        ({"answer": 0}, "the right answer of 'q0' is 1 here and 0 in line 2"),
        ({"p": [0.2, 0.5, 0.3]}, "the number of choices of 'q0' is 2 here and 3 in line 2"),
        ({"prediction": "C"}, "the prediction is 'C'"),
        ({"tokens": 3}, "the tokens of this run are 5.0 here and 3.0 in line 2"),
        ({"tokens": -5}, "expected a number that is not negative"),
        ({"split": "train"}, "expected test or dev"),
        ({"cluster": "other"}, "the cluster of 'q0' is 'c' here and 'other' in line 2"),
    ],
)
def test_a_row_that_cannot_be_used_is_told_with_its_line(store, tmp_path, changed, reason):
    rows = [{**row, "prediction": "", "tokens": 5, "split": "test", "cluster": "c"} for row in rows_of()]
    rows[0] = {**rows[0], **changed}
    told = problems_of(write_csv(tmp_path / "a.csv", rows))
    assert any(reason in text for _, text in told), told
    assert all(line >= 2 for line, _ in told)
    with pytest.raises(CotdistillError):
        import_answers(store, tmp_path / "a.csv", "lab")
    assert not store.queue.jobs() and not list(store.artifacts.all())


def test_every_bad_row_is_listed_and_not_only_the_first(tmp_path, capsys, monkeypatch, store):
    rows = rows_of()
    for place in (0, 5, 9, 23):
        rows[place]["p"] = [0.5, 0.6]
    path = write_csv(tmp_path / "a.csv", rows, "list")
    with path.open("a") as file:
        file.write("q9,post_cot\n")
    assert [line for line, _ in problems_of(path)] == [2, 7, 11, 25, 26]
    monkeypatch.setenv("COTDISTILL_HOME", str(store.home))
    said = speaker(capsys)("runs import --study lab --json", str(path))
    assert said.code == 1 and [p["line"] for p in said.document["problems"]] == [2, 7, 11, 25, 26]


def test_cells_that_are_no_list_are_told(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        'item,condition,replicate,answer,probabilities\nq,post_cot,0,0,0.5\nr,post_cot,0,0,"[0.5, ]"\ns,post_cot,0,0,\nt,post_cot,0,0,"[0.5,0.5]"\n'
    )
    assert [line for line, _ in problems_of(path)] == [2, 3, 4]
    path.write_text("item,condition,replicate,answer,p_0,p_1,p_2\nq,post_cot,0,0,0.5,,0.5\n")
    assert "p_1 is empty, and a later choice has a number" in problems_of(path)[0][1]


def test_what_a_condition_lacks_is_named(tmp_path):
    rows = [
        row
        for row in rows_of()
        if not (row["condition"] == "post_cot" and row["replicate"] == 1 and row["item"] in ("q2", "q5"))
    ]
    with pytest.raises(DataError, match="post_cot, replicate 1, lacks 2 of 6 test questions: q2, q5"):
        read_answers(write_csv(tmp_path / "a.csv", rows))
    dev = [{**row, "split": "test"} for row in rows_of()] + [
        {**row, "split": "dev"} for row in rows_of() if row["condition"] != "post_cot" or row["item"] != "q0"
    ]
    with pytest.raises(DataError, match="post_cot, replicate 0, lacks 1 of 6 dev questions: q0"):
        read_answers(write_csv(tmp_path / "a.csv", dev))
    with pytest.raises(DataError, match="no row of the test split"):
        read_answers(write_csv(tmp_path / "a.csv", [{**row, "split": "dev"} for row in rows_of()]))


def test_a_condition_with_fewer_replicates_is_named_and_no_verdict_stands(store, tmp_path):
    rows = [row for row in rows_of(replicates=(3, 7, 11)) if row["condition"] != "post_cot" or row["replicate"] != 7]
    done = import_answers(store, write_csv(tmp_path / "a.csv", rows), "lab")
    assert any("post_cot lacks replicate 7" in text for text in done.notes)
    compared = results.comparison(store, "lab", "label_only")
    assert compared.provisional
    assert [(row.condition, row.replicates, row.word) for row in compared.rows] == [("post_cot", 2, "provisional")]
    assert [(s.planned, s.finished) for s in results.summary(store, "lab")] == [(3, 3), (3, 2)]
    assert findings(store, "lab")["missing_runs"] == 1


def test_replicates_with_questions_of_their_own_are_nested_and_half_of_them_is_refused(store, tmp_path):
    own = [{**row, "item": f"{row['replicate']}-{row['item']}"} for row in rows_of()]
    done = import_answers(store, write_csv(tmp_path / "a.csv", own), "lab")
    assert done.nested and "questions of its own" in done.notes[0]
    assert "new worlds" in results.comparison(store, "lab", "label_only").rows[0].kind
    half = [row if row["item"] != "q0" else {**row, "item": f"{row['replicate']}-q0"} for row in rows_of()]
    fewer = [row for row in own if row["item"] != "1-q5"]
    for rows in (half, fewer):
        with pytest.raises(DataError, match="neither the same questions nor equally many"):
            read_answers(write_csv(tmp_path / "a.csv", rows))


@pytest.fixture
def task(store: Store, tmp_path: Path) -> Store:
    """A store with an imported task of 40 questions with two choices each."""
    lines = [
        json.dumps(
            {
                "id": f"q{i}",
                "question": f"is {i} even ?",
                "choices": ["yes", "no"],
                "answer": i % 2,
                "cluster": f"c{i // 2}",
            }
        )
        for i in range(40)
    ]
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "train.jsonl").write_text("\n".join(lines[:20]).replace('"id": "q', '"id": "t'))
    (folder / "test.jsonl").write_text("\n".join(lines))
    import_task(store.tasks_root, folder, "even")
    return store


def test_right_answers_clusters_and_texts_come_from_the_task(task, tmp_path):
    rows = [{key: value for key, value in row.items() if key != "answer"} for row in rows_of(items=40)]
    path = write_csv(tmp_path / "a.csv", rows)
    with pytest.raises(DataError, match="no column with the right answer"):
        read_answers(path)
    done = import_answers(task, path, "lab", task="even")
    assert (done.items, done.clusters) == (40, 20)
    held = texts(task, "lab")
    assert held.loc["q3", "question"] == "is 3 even ?" and held.loc["q3", "answer"] == "no"
    own = results.predictions(task, "lab").query("condition == 'label_only' and replicate == 0").set_index("item")
    # Even questions: the right choice is number 0, and even items give .8 to number 1; odd ones .7 to number 0, and number 1 is right.
    assert not own["correct"].any() and own.loc["q3", "answer"] == 1
    some = import_answers(task, write_csv(tmp_path / "b.csv", rows_of(items=2)[1::2]), "some", task="even")
    assert "1 of the task's 40 test questions" in " ".join(some.notes)
    assert findings(task, "lab")["test_is"]


def test_a_file_that_contradicts_the_task_is_told(task, tmp_path):
    with pytest.raises(UnknownName):
        import_answers(task, write_csv(tmp_path / "a.csv", rows_of()), "lab", task="odd")
    from cotdistill.tasks.catalog import open_task

    even = open_task(task.tasks_root, "even")
    told = problems_of(tmp_path / "a.csv", task=even)
    assert [line for line, _ in told][:3] == [2, 4, 6] and "in the task it is 'A' (number 0)" in told[0][1]
    strange = write_csv(tmp_path / "b.csv", [{**row, "item": "x" + row["item"]} for row in rows_of()])
    assert "the test split of the task has no question 'xq0'" in problems_of(strange, task=even)[0][1]
    more = write_csv(tmp_path / "c.csv", [{**row, "p": [0.2, 0.2, 0.6]} for row in rows_of()])
    assert "3 choices have a number; the question has 2" in problems_of(more, task=even)[0][1]


def test_other_names_of_columns_are_guessed_or_said(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('Question_ID,Condition,seed,Gold,probs,arm\nq,post_cot,0,0,"[0.5, 0.5]",label_only\n')
    row = read_answers(path).rows[0]
    assert (row.item, row.condition, row.replicate, row.answer) == ("q", "post_cot", 0, 0)
    assert read_answers(path, AnswerColumns(condition="arm")).rows[0].condition == "label_only"
    with pytest.raises(UnknownName, match="armm"):
        read_answers(path, AnswerColumns(condition="armm"))
    path.write_text('item,seed,gold,probs\nq,0,0,"[0.5, 0.5]"\n')
    with pytest.raises(DataError, match="No column is known for condition"):
        read_answers(path)
    path.write_text("item,condition,replicate,answer,p_0\nq,post_cot,0,0,1.0\n")
    with pytest.raises(DataError, match="no column with probabilities"):
        read_answers(path)


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", b""), ("a.parquet", b"PAR1"), ("a.txt", b"x"), ("a.csv", b"\xff\xfe\x00")]
)
def test_a_file_that_cannot_be_read_is_told(store, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CotdistillError) as raised:
        import_answers(store, tmp_path / name, "lab")
    assert raised.value.hint


def test_a_study_of_answers_travels_as_an_archive(store, tmp_path):
    import_answers(store, write_csv(tmp_path / "a.csv", rows_of()), "lab", student="gemma")
    export_study(store, "lab", tmp_path / "lab.cotdistill.zip")
    other = Store.open(tmp_path / "other")
    import_study(other, tmp_path / "lab.cotdistill.zip")
    assert {**findings(other, "lab"), "origin": 0} == {**findings(store, "lab"), "origin": 0}
    # Runs say which file they were first read from; the study, which one brought it here.
    assert (
        {job.origin for job in other.queue.jobs()}
        == {store.queue.study("lab").origin}
        != {other.queue.study("lab").origin}
    )


@pytest.mark.parametrize("page", ["app.py", "pages/3_Compare.py", "pages/4_Saliency.py", "pages/6_Findings.py"])
def test_a_page_shows_a_study_of_answers_or_says_what_it_lacks(store, tmp_path, monkeypatch, page):
    import_answers(
        store, write_csv(tmp_path / "a.csv", rows_of(("label_only", "pre_cot", "post_cot"), (0, 1, 2), 20)), "lab"
    )
    app = drawn(page, store.home, monkeypatch)
    if page == "pages/6_Findings.py":
        assert "answers of other code (a.csv)" in written(app)
    assert "lab" not in train._starts(store)

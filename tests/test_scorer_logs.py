"""Answers that lm-eval 0.4.13, lighteval 0.13 and Inspect 0.3 wrote (tests/scorers: a tiny model, two conditions and two seeds), and every
folder of them that cannot be used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cotdistill.errors import BadRows, CotdistillError, DataError, UnknownName
from cotdistill.exchange.import_predictions import import_answers
from cotdistill.exchange.prediction_file import PredictionFile, read_answers
from cotdistill.exchange.scorer_logs import LogChoice
from cotdistill.results import results
from cotdistill.store.store import Store
from tests.terminal import check_keys, speaker

FILES = Path(__file__).parent / "scorers"
NAMES = ("plain=label_only", "rationale=post_cot")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[str], Path]:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(FILES / name, tmp_path / name))

    return copy


def right(answers: PredictionFile) -> dict[str, str]:
    """condition-replicate -> a digit per question."""
    return {f"{c}-{r}": "".join(str(int(row.correct)) for row in rows) for (c, r), rows in answers.runs().items()}


def read(path: Path, **choice: str) -> PredictionFile:
    return read_answers(path, choice=LogChoice(**choice))


def refusal(path: Path, **choice: str) -> CotdistillError:
    with pytest.raises(CotdistillError) as raised:
        read(path, **choice)
    assert raised.value.hint or isinstance(raised.value, BadRows)
    return raised.value


def one_of(folder: Path, pattern: str) -> Path:
    return sorted(folder.rglob(pattern))[0]


def test_lm_evals_choices_come_with_their_likelihoods() -> None:
    answers = read(FILES / "lm-eval", task="legs", metric="acc")
    rows = {(row.condition, row.replicate, row.item): row for row in answers.rows}
    assert len(rows) == 24 and not answers.nested
    line = json.loads(one_of(FILES / "lm-eval" / "plain-seed0", "samples_legs_2*").read_text().splitlines()[0])
    row = rows["plain", 0, "legs-00"]
    assert row.scores == tuple(float(response[0]) for response in line["filtered_resps"])
    assert (row.answer, row.correct, row.chance) == (int(line["target"]), bool(line["acc"]), pytest.approx(1 / 3))
    for (condition, replicate), own in answers.runs().items():
        (file,) = (FILES / "lm-eval" / f"{condition}-seed{replicate}").glob("samples_legs_2*")
        scored = {json.loads(text)["doc"]["id"]: json.loads(text)["acc"] for text in file.read_text().splitlines()}
        assert {row.item: float(row.correct) for row in own} == scored


def test_a_metric_that_disagrees_with_the_likeliest_choice_counts_and_is_told() -> None:
    by_length = read(FILES / "lm-eval", task="legs", metric="acc_norm")
    for (condition, replicate), own in by_length.runs().items():
        (file,) = (FILES / "lm-eval" / f"{condition}-seed{replicate}").glob("samples_legs_2*")
        scored = [json.loads(text)["acc_norm"] for text in file.read_text().splitlines()]
        assert [float(row.correct) for row in own] == scored
    told = [note for note in by_length.notes if "the metric counts" in note]
    assert len(told) == (right(by_length) != right(read(FILES / "lm-eval", task="legs")))


def test_lightevals_details_come_with_their_likelihoods() -> None:
    answers = read(FILES / "lighteval", task="legs|0")
    for (condition, replicate), own in answers.runs().items():
        (file,) = (FILES / "lighteval" / f"{condition}-seed{replicate}").glob("details_legs|0*")
        details = {row["doc"]["id"]: row for row in pq.read_table(file).to_pylist()}
        assert {row.item: row.correct for row in own} == {id: row["metric"]["acc"] == 1 for id, row in details.items()}
        assert [row.scores for row in own] == [tuple(details[row.item]["model_response"]["logprobs"]) for row in own]


def test_free_text_is_right_or_wrong_and_guessing_is_never_right(store: Store) -> None:
    done = import_answers(store, FILES / "inspect", "free", names=NAMES, choice=LogChoice(task="legs_free"))
    assert done.chance == 0 and (done.items, len(done.runs)) == (6, 4)
    assert any("without probabilities" in note for note in done.notes)
    for path, task, filter_ in (("lm-eval", "legs_free", "whole"), ("lighteval", "legs_free|0", "")):
        assert set(right(read(FILES / path, task=task, filter=filter_)).values()) == {"000000"}


def test_inspects_logs_of_both_forms_are_read(store: Store) -> None:
    answers = read(FILES / "inspect", task="legs")
    assert {row.chance for row in answers.rows} == {1 / 3}
    for file in sorted((FILES / "inspect").rglob("*.json")):
        log = json.loads(file.read_text())
        said = log["eval"]["metadata"]
        own = read(FILES / "inspect", task="legs_free").runs()[said["condition"], said["seed"]]
        scored = {sample["id"]: sample["scores"]["match"]["value"] == "C" for sample in log["samples"]}
        assert {row.item: row.correct for row in own} == scored
    done = import_answers(store, FILES / "inspect", "legs", names=NAMES, choice=LogChoice(task="legs"))
    assert done.chance == pytest.approx(1 / 3)
    assert results.summary(store, "legs")[0].chance == pytest.approx(1 / 3)


def test_words_are_those_of_a_table_with_the_same_answers(store: Store, tmp_path: Path) -> None:
    import_answers(store, FILES / "lm-eval", "logs", names=NAMES, choice=LogChoice(task="legs"))
    lines = ["item,condition,replicate,answer,prediction,p_0,p_1,p_2"]
    for row in read(FILES / "lm-eval", task="legs").rows:
        numbers = ",".join(map(repr, row.probabilities))
        lines.append(f"{row.item},{row.condition},{row.replicate},{row.answer},{row.parsed},{numbers}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    import_answers(store, tmp_path / "table.csv", "table", names=NAMES)
    assert results.comparison(store, "logs", "label_only") == results.comparison(store, "table", "label_only")


def test_the_terminal_names_what_there_is_to_choose(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COTDISTILL_HOME", str(store.home))
    say = speaker(capsys)
    words = "runs import --study legs --map plain=label_only --map rationale=post_cot"
    said = say(words, str(FILES / "lm-eval"))
    assert (
        said.code == 1 and "There are 2 tasks here: legs and legs_free" in said.err and "--eval-task legs" in said.err
    )
    said = say(f"{words} --eval-task legs_free", str(FILES / "lm-eval"))
    assert "2 filters: first-number and whole" in said.err and "--filter first-number" in said.err
    document = say(f"{words} --eval-task legs --json", str(FILES / "lm-eval")).document
    check_keys("runs import", document)
    assert document["items"] == 6 and document["told"][0] == "lm-eval samples of 4 files, task legs."
    # Several tasks as one: questions are told apart by the task.
    both = say(f"{words} --eval-task legs* --json", str(FILES / "inspect")).document
    assert both["items"] == 12
    assert "See it: cotdistill compare legs" in say(f"{words} --eval-task legs|0", str(FILES / "lighteval")).out


def test_condition_and_replicate_stand_where_the_pattern_says(copied: Callable[[str], Path]) -> None:
    folder = copied("lm-eval")
    for name in ("plain", "rationale"):
        for seed in (0, 1):
            (folder / f"{name}-seed{seed}").rename(folder / f"run {seed} of {name}")
    assert "does not say condition and replicate" in refusal(folder, task="legs").message
    renamed = read(folder, task="legs", pattern="run {replicate} of {condition}")
    assert right(renamed) == right(read(FILES / "lm-eval", task="legs"))
    assert "lacks {condition} or {replicate}" in refusal(folder, task="legs", pattern="run {replicate}").message
    nothing = refusal(folder, task="legs", pattern="{condition}/x{replicate}")
    assert "by {condition}/x{replicate}" in nothing.message


def test_a_folder_of_tables_is_read_by_path_or_by_column(tmp_path: Path) -> None:
    for name, answers in (("label_only", "1100"), ("post_cot", "1110")):
        for seed in (0, 1):
            rows = [f"q{i},{digit}" for i, digit in enumerate(answers)]
            path = tmp_path / "paths" / name / f"seed{seed}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(["item,correct", *rows]))
            (tmp_path / "columns").mkdir(exist_ok=True)
            with (tmp_path / "columns" / f"{name}.{seed}.csv").open("w") as file:
                file.write("item,condition,seed,correct\n")
                file.writelines(f"q{i},{name},{seed},{digit}\n" for i, digit in enumerate(answers))
    expected = {f"{c}-{r}": d for c, d in (("label_only", "1100"), ("post_cot", "1110")) for r in (0, 1)}
    assert right(read(tmp_path / "paths")) == right(read(tmp_path / "columns")) == expected
    (tmp_path / "columns" / "zz.csv").write_text("item,condition,seed,correct\nq1,post_cot,0,1\n")
    assert "in post_cot.0.csv line 3 already" in refusal(tmp_path / "columns").message
    (tmp_path / "columns" / "zz.csv").write_text("item,condition,seed,correct\nq1,post_cot,2,maybe\n")
    assert "correct is 'maybe'; expected 1 for a right answer" in refusal(tmp_path / "columns").message


def test_half_a_log_and_half_a_folder_are_refused(copied: Callable[[str], Path], store: Store) -> None:
    folder = copied("lm-eval")
    file = one_of(folder / "plain-seed1", "samples_legs_2*")
    content = file.read_bytes()
    file.write_bytes(content[:-200])
    error = refusal(folder, task="legs")
    assert isinstance(error, BadRows) and error.problems[0].line == 6 and "plain-seed1" in error.problems[0].file
    with pytest.raises(DataError):
        import_answers(store, folder, "legs", names=NAMES, choice=LogChoice(task="legs"))
    assert not store.queue.jobs() and not list(store.artifacts.all())
    file.write_bytes(b"\n".join(content.splitlines()[:4]))
    assert "plain, replicate 1, lacks 2 of 6 test questions: legs-04, legs-05" in refusal(folder, task="legs").message
    file.unlink()
    done = import_answers(store, folder, "legs", names=NAMES, choice=LogChoice(task="legs"))
    assert any("label_only lacks replicate 1" in note for note in done.notes)
    logs = copied("inspect")
    log = one_of(logs, "*legs_*.eval")
    log.write_bytes(log.read_bytes()[:-300])
    assert "is cut off" in refusal(logs, task="legs").message
    details = copied("lighteval")
    table = one_of(details, "details_legs|0*")
    table.write_bytes(table.read_bytes()[:-300])
    assert "cannot be read as Parquet" in refusal(details, task="legs|0").message


def edited(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Every row of a file of samples (or a log) changed."""
    if path.suffix == ".json":
        log = json.loads(path.read_text())
        change(log)
        path.write_text(json.dumps(log))
        return
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        change(row)
    path.write_text("\n".join(map(json.dumps, rows)))


def test_a_log_that_did_not_end_or_lacks_samples_is_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("inspect")
    file = one_of(folder, "*.json")
    original = file.read_text()
    for change, reason in (
        (lambda log: log.update(status="cancelled"), "has not come to its end (status cancelled)"),
        (lambda log: log["samples"].pop(), "has 5 of 6 samples"),
        (lambda log: log.pop("samples"), "has 0 of 6 samples"),
        (lambda log: log["samples"][2].update(scores={}), "'legs-02' has no score"),
        (lambda log: log["samples"][2].update(epoch=2), "was asked in several epochs"),
        (lambda log: log["samples"][2]["scores"]["match"].update(value=0.5), "match is '0.5'; expected right (1)"),
        (lambda log: log["samples"][2]["scores"]["match"].update(value="P"), "match is 'P'; expected right (1)"),
        (lambda log: log.update(version=1), "lacks version 2"),
    ):
        file.write_text(original)
        edited(file, change)
        assert reason in refusal(folder, task="legs_free").message, reason
    file.write_text(original[:-100])
    assert "cannot be read as a log of Inspect" in refusal(folder, task="legs_free").message


def test_files_of_another_version_are_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("lm-eval")
    edited(one_of(folder, "samples_legs_2*"), lambda row: row.pop("filtered_resps"))
    assert "not what lm-eval 0.4 writes: it lacks filtered_resps" in refusal(folder, task="legs").message
    details = copied("lighteval")
    file = one_of(details, "details_legs|0*")
    pq.write_table(pa.table({"full_prompt": ["q"], "predictions": ["1"], "gold": ["1"]}), file)
    assert "not what lighteval 0.13 writes: it lacks doc" in refusal(details, task="legs|0").message


def test_two_libraries_two_runs_and_unknown_names_are_refused(copied: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied("lm-eval")
    first = one_of(folder, "samples_legs_2*")
    shutil.copy(first, first.with_name("samples_legs_2027-01-01T00-00-00.000000.jsonl"))
    assert "are both plain, replicate 0, of task legs" in refusal(folder, task="legs").message
    first.with_name("samples_legs_2027-01-01T00-00-00.000000.jsonl").unlink()
    for choice in ({"task": "arms"}, {"task": "legs", "metric": "f1"}, {"task": "legs_free", "filter": "none"}):
        assert isinstance(refusal(folder, **choice), UnknownName)
    copied("inspect").rename(folder / "more-seed0")
    assert "Inspect logs and lm-eval samples" in refusal(folder, task="legs").message
    (tmp_path / "empty").mkdir()
    assert "holds no answers" in refusal(tmp_path / "empty").message


def test_the_same_question_under_another_prompt_is_told_and_another_answer_refused(
    copied: Callable[[str], Path],
) -> None:
    folder = copied("lm-eval")
    file = one_of(folder / "rationale-seed0", "samples_legs_2*")
    edited(file, lambda row: row.update(prompt_hash="another" if row["doc_id"] < 2 else row["prompt_hash"]))
    answers = read(folder, task="legs")
    assert any(note.startswith("2 of 6 questions were asked with other prompts") for note in answers.notes)
    edited(file, lambda row: row.update(doc_hash="another" if row["doc_id"] == 3 else row["doc_hash"]))
    assert "'legs-03' is another question here" in refusal(folder, task="legs").message

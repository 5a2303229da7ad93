"""The terminal around a study: the queue, waiting, the table. A stand-in does the workers' work, so nothing is trained here."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from cotdistill.execution.attempts import claim
from cotdistill.store.store import Store
from cotdistill.tasks.catalog import open_task
from tests.terminal import Say, check_keys, speaker


@pytest.fixture(autouse=True)
def nobody_works(monkeypatch: pytest.MonkeyPatch) -> None:
    for noun in ("study.plan", "runs", "queue"):
        monkeypatch.setattr(f"cotdistill.cli.commands.{noun}.ensure_supervisor", lambda store: None)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    return speaker(capsys)


# --- runs and the queue -----------------------------------------------------------------------------------------------------------------------

SMALL = "--task field_guide --conditions label_only,post_cot --seeds 2 --steps 1 --name small"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated task, made once for all stores of this file."""
    root = tmp_path_factory.mktemp("made") / "tasks"
    open_task(root, "field_guide")
    return root


@pytest.fixture
def launched(say: Say, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store of its own with four queued runs and nobody who works."""
    home = tmp_path / "own"
    shutil.copytree(made, home / "tasks")
    monkeypatch.setenv("COTDISTILL_HOME", str(home))
    assert say(f"study run {SMALL}").code == 0
    return Store.open(home)


def finish(store: Store, accuracies: Mapping[tuple[str, int], float], items: int = 200) -> None:
    """Do the work of a worker without a student: every ready run ends with the accuracy that is asked for, or fails if there is none."""
    while attempt := claim(store.queue):
        config = attempt.job.config
        accuracy = accuracies.get((config["condition"], config["seeds"]["init"]))
        if accuracy is None:
            attempt.fail({"kind": "student", "message": "made to fail", "hint": "", "traceback": ""})
        else:
            right = [i < round(accuracy * items) for i in range(items)]
            rows = {
                "id": [f"q{i}" for i in range(items)], "cluster": [f"c{i // 2}" for i in range(items)], "mode": "direct", "answer": 0,
                "predicted": [0 if r else 1 for r in right], "correct": right, "margin": [1.0 if r else -1.0 for r in right],
                "probabilities": [[0.5, 0.5]] * items, "scores": [[0.0, 0.0]] * items, "rationale": None, "terminated": None, "parsed": None,
            }  # fmt: skip
            buffer = io.BytesIO()
            pd.DataFrame(rows).to_parquet(buffer, index=False)
            produced = {"predictions": store.artifacts.put_bytes(buffer.getvalue(), "predictions", "parquet")}
            modes = {"direct": {"accuracy": accuracy, "n": items, "correct": sum(right), "trained": True}}
            result = {
                "accuracy": accuracy, "n": items, "correct": sum(right), "chance": 0.25, "mode": "direct", "modes": modes, "test_is": "held out",
                "train_rows": 0 if config["condition"] == "undistilled" else 10, "excluded_rows": 0,
                "steps": 1, "tokens": 100, "loss_tokens": 10, "padded_tokens": 120,
                "flops": 1e6, "seconds": 1.0, "unterminated": None, "unparsable": None, "dev_accuracy": accuracy, "parameters": 1,
                "changed_share": 0.0,
            }  # fmt: skip
            attempt.finish(result, produced, {})
        attempt.close()


GOOD = {("label_only", 0): 0.60, ("label_only", 1): 0.62, ("post_cot", 0): 0.80, ("post_cot", 1): 0.84}


def test_a_launched_study_is_queued_and_a_second_launch_adds_nothing(say: Say, launched: Store) -> None:
    again = say(f"study run {SMALL} --json")
    check_keys("study run", again.document)
    assert again.document["new"] == []
    assert len(again.document["reused"]) == 4
    assert [run["state"] for run in say("runs list --json").document] == ["queued"] * 4
    (study,) = say("study list --json").document
    assert (study["name"], study["runs"], study["queued"]) == ("small", 4, 4)


def test_a_note_tags_and_a_baseline_are_kept_and_studies_are_found_by_tag(say: Say, launched: Store) -> None:
    assert say("study note small --json").document == {
        "study": 1,
        "note": "",
        "tags": [],
        "baseline": None,
        "changed": None,
    }
    said = say("study note small --text <b>odd</b> --tag draft --tag thursday --baseline post_cot --json")
    check_keys("study note", said.document)
    assert (said.document["tags"], said.document["baseline"]) == (["draft", "thursday"], "post_cot")
    assert say("study note small --untag draft --json").document["tags"] == ["thursday"]
    assert say("study show small --json").document["baseline"] == "post_cot"
    assert [s["name"] for s in say("study list --tag thursday --json").document] == ["small"]
    assert say("study list --tag draft --json").document == []
    assert "thursday" in say("study note small").out and "<b>odd</b>" in say("study note small").out
    assert say("study note small --baseline pre_cot --json").code == 2


def test_runs_are_listed_newest_first_and_by_state_and_number(say: Say, launched: Store) -> None:
    ids = [run["id"] for run in say("runs list --json").document]
    assert ids == sorted(ids, reverse=True)
    assert [run["id"] for run in say("runs list --limit 2 --json").document] == ids[:2]
    assert say("runs list --state failed --json").document == []
    assert len(say("runs list --study small --kind all --json").document) == 4


def test_runs_are_paused_resumed_moved_stopped_retried_and_deleted(say: Say, launched: Store) -> None:
    def states() -> dict[int, tuple[str, bool]]:
        return {job.id: (job.state, job.held) for job in launched.queue.jobs()}

    first, second, third, last = sorted(states())
    check_keys("runs pause", say(f"runs pause {first} {second} --json").document)
    assert [states()[i] for i in (first, second, third)] == [("queued", True), ("queued", True), ("queued", False)]
    say(f"runs resume {first} {second}")
    assert states()[first] == ("queued", False)
    assert say(f"runs move {last} --first --json").document == {"id": last, "place": 1}
    assert say(f"runs move {last} --before {third} --json").document == {"id": last, "place": 3}
    assert say(f"runs move {first} --last --json").document == {"id": first, "place": 4}
    say(f"runs stop {first}")
    assert states()[first] == ("stopped", False)
    say(f"runs retry {first}")
    assert states()[first] == ("queued", False)
    assert say(f"runs delete {first} --json").document == {"done": "delete", "ids": [first]}
    assert first not in states()
    assert say(f"runs retry {second} --json").error["kind"] == "usage"


def test_several_runs_are_all_looked_up_before_the_first_is_touched(say: Say, launched: Store) -> None:
    first = min(job.id for job in launched.queue.jobs())
    assert say(f"runs stop {first} 987654").code == 2
    assert launched.queue.job(first).state == "queued"


def test_a_run_is_found_by_the_start_of_its_identity(say: Say, launched: Store) -> None:
    job = launched.queue.jobs()[0]
    said = say(f"runs show {job.identity[:10]} --json")
    check_keys("runs show", said.document)
    assert said.document["id"] == job.id


def test_the_log_of_a_run_that_never_started_is_not_found(say: Say, launched: Store) -> None:
    job = launched.queue.jobs()[0]
    assert say(f"runs log {job.id} --json").error["kind"] == "not_found"
    finish(launched, GOOD)
    launched.queue.log_path(job.id, 1).write_text("step 1\n")
    said = say(f"runs log {job.id} --json")
    check_keys("runs log", said.document)
    assert said.document["text"] == "step 1\n"


def test_the_queue_is_paused_and_goes_on(say: Say, launched: Store) -> None:
    assert say("queue pause --json").document["paused"] is True
    assert launched.queue.paused
    assert "paused" in say("runs list").out
    document = say("queue resume --json").document
    check_keys("queue resume", document)
    assert (document["paused"], document["queued"]) == (False, 4)
    assert say("queue workers 3 --json").document["workers"] == launched.queue.workers() == 3


# --- results ----------------------------------------------------------------------------------------------------------------------------------


def test_a_finished_study_shows_accuracies_and_differences(say: Say, launched: Store) -> None:
    finish(launched, GOOD)
    said = say("study show small --json")
    assert said.code == 0, said
    check_keys("study show", said.document)
    document = said.document
    assert (document["artificial"], document["provisional"], document["finished"]) == (True, False, 4)
    label_only, post_cot = document["conditions"]
    assert label_only["accuracy"] == pytest.approx(0.61)
    assert label_only["difference"] is None
    assert post_cot["replicates"] == pytest.approx([0.80, 0.84])
    assert post_cot["difference"]["points"] == pytest.approx(21.0)
    told = say("study show small").out
    assert document["worlds"] == 2 and "over 2 worlds" in told
    assert document["train_rows"] == 10 and "trained on 10 rows" in told
    assert "field_guide (artificial)" in told
    assert "Chance is 25.0 %" in told


def test_the_rows_trained_on_are_told_even_if_the_undistilled_student_comes_first(say: Say, launched: Store) -> None:
    assert (
        say("study run --task field_guide --conditions undistilled,label_only --seeds 1 --steps 1 --name first").code
        == 0
    )
    finish(launched, {**GOOD, ("undistilled", 0): 0.25})
    assert say("study show first --json").document["train_rows"] == 10


def test_the_baseline_can_be_chosen(say: Say, launched: Store) -> None:
    finish(launched, GOOD)
    document = say("compare small --baseline post_cot --json").document
    check_keys("compare", document)
    assert document["conditions"][0]["difference"]["points"] == pytest.approx(-21.0)
    assert say("compare small --baseline shuffled --json").code == 2


def test_a_study_with_missing_and_failed_runs_says_so_and_names_them(say: Say, launched: Store) -> None:
    finish(launched, {key: value for key, value in GOOD.items() if key != ("post_cot", 1)})
    document = say("study show small --json").document
    assert (document["provisional"], document["failed"], document["finished"]) == (True, 1, 3)
    told = say("compare small").out
    assert "Provisional" in told
    assert "made to fail" in told


def test_a_study_without_any_finished_run_is_shown_empty(say: Say, launched: Store) -> None:
    document = say("study show small --json").document
    assert [c["accuracy"] for c in document["conditions"]] == [None, None]
    assert say("compare small").code == 0


def test_waiting_ends_with_the_table_and_keeps_stdout_to_one_document(
    say: Say, launched: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cotdistill.cli.waiting.POLL_SECONDS", 0.0)
    monkeypatch.setattr("cotdistill.cli.waiting.ensure_supervisor", lambda store: finish(store, GOOD))
    said = say(f"study run {SMALL} --wait --json")
    assert said.code == 0
    assert said.document["report"]["finished"] == 4
    assert "4 of 4 jobs" in said.err
    assert "post-CoT" in say(f"study run {SMALL} --wait").out


def test_waiting_for_a_study_that_fails_names_the_failure_and_exits_with_1(
    say: Say, launched: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cotdistill.cli.waiting.POLL_SECONDS", 0.0)
    monkeypatch.setattr("cotdistill.cli.waiting.ensure_supervisor", lambda store: finish(store, {}))
    said = say(f"study run {SMALL} --wait --json")
    assert said.code == 1
    assert said.document["report"]["failed"] == 4
    assert "made to fail" in said.err


def test_an_interrupted_wait_leaves_the_training_alone_and_says_how_to_come_back(
    say: Say, launched: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(store: Store) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cotdistill.cli.waiting.ensure_supervisor", interrupt)
    said = say(f"study run {SMALL} --wait --json")
    assert said.code == 130
    assert said.error["kind"] == "interrupted"
    assert "study show small" in said.err
    assert {job.state for job in launched.queue.jobs()} == {"queued"}


def test_a_launched_study_can_be_varied_by_its_name(say: Say, launched: Store) -> None:
    document = say("study plan small --seeds 3 --json").document
    assert (document["name"], document["counts"]["runs"], document["counts"]["new"]) == ("small", 6, 2)

"""A worker in this process: what it records, whatever a job does."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cotdistill.config import RECIPES
from cotdistill.errors import DataError, DiskFull, StoreError
from cotdistill.execution import heartbeat, worker
from cotdistill.execution.attempts import Attempt
from cotdistill.execution.context import JobContext, Outcome
from cotdistill.execution.worker import KINDS, Kind, work
from cotdistill.store.records import Job, JobSpec
from cotdistill.store.store import Store
from tests.quick_jobs import expected_total

# What the job function of this file does; set by each test.
act: Callable[[JobContext], Any] = lambda context: None  # noqa: E731


def odd(context: JobContext) -> Outcome:
    given = act(context)
    return given if isinstance(given, Outcome) else Outcome({}, {}, {})


if "odd" not in KINDS:
    KINDS.register(Kind("odd", "whatever a test wants", "tests.test_runner:odd"))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setitem(RECIPES, "count", 1)
    monkeypatch.setitem(RECIPES, "odd", 1)
    monkeypatch.setattr(worker, "IDLE_SECONDS", 0.0)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(heartbeat, "GRACE_SECONDS", 0.1)
    return Store.open(tmp_path / "store")


def counting(number: int, **config: Any) -> JobSpec:
    return JobSpec("count", {"steps": 30, "seed": number, **config})


def doing(store: Store, monkeypatch: pytest.MonkeyPatch, what: Callable[[JobContext], Any]) -> Job:
    """The job afterwards whose function was `what`."""
    monkeypatch.setattr("tests.test_runner.act", what)
    job = store.queue.submit([JobSpec("odd", {"number": len(store.queue.jobs())})]).new[0]
    work(store)
    return store.queue.job(job)


@pytest.fixture
def meanwhile() -> Iterator[Callable[[Callable[[], bool], Callable[[], object]], None]]:
    """meanwhile(condition, action): as soon as the condition holds, from another thread."""
    threads = []

    def start(condition: Callable[[], bool], action: Callable[[], object]) -> None:
        def wait() -> None:
            while not condition():
                time.sleep(0.005)
            action()

        threads.append(threading.Thread(target=wait, daemon=True))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(timeout=30)


def test_jobs_are_done_one_after_the_other_and_hand_on_what_they_made(store: Store) -> None:
    base = counting(1)
    store.queue.submit([base, counting(2, adds=[base.identity])])
    store.queue.submit([JobSpec("count", {"steps": 30, "seed": 3, "adds": [base.identity]}, (base.identity,))])
    assert work(store) == 3
    first, second, third = sorted(store.queue.jobs(), key=lambda job: job.id)
    assert {job.state for job in (first, second, third)} == {"finished"}
    total = expected_total(first.config, {})
    assert first.result is not None and first.result["total"] == total
    assert third.result is not None and third.result["total"] == expected_total(third.config, {base.identity: total})
    assert store.artifacts.path(first.produced["numbers"]).read_text() == str(total)
    assert first.progress == {"step": 30, "total": 30, "loss": 1 / 30}
    assert not store.queue.resume_path(1).exists()


def test_a_worker_leaves_when_there_is_nothing_to_do(store: Store) -> None:
    assert work(store) == 0
    store.queue.submit([counting(1)])
    store.queue.set_paused(True)
    assert work(store) == 0
    assert list((store.home / "workers").glob("*.lock")) == []


def test_all_that_a_job_writes_goes_to_the_log_of_its_attempt(
    store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def speak(context: JobContext) -> None:
        print("from Python")
        context.log("from the job")
        os.write(2, b"from C\n")

    job = doing(store, monkeypatch, speak)
    log = store.queue.log(job.id)
    assert all(text in log for text in ("Attempt 1 of run 1", "from Python", "from the job", "from C", "Finished."))
    assert "from" not in capfd.readouterr().out
    assert store.queue.log(job.id, 2) == ""


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (DataError("The rows are blue.", "Paint them."), "bad_data", "The rows are blue."),
        (KeyError("colour"), "unexpected", "KeyError: 'colour'"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full", "There is no room left"),
        (MemoryError("too much"), "out_of_memory", "There was not enough memory"),
    ],
)
def test_a_failure_is_kept_with_kind_message_hint_and_traceback(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str, message: str
) -> None:
    def fail(context: JobContext) -> None:
        raise error

    job = doing(store, monkeypatch, fail)
    assert job.state == "failed" and job.error is not None
    assert job.error["kind"] == kind and job.error["message"].startswith(message) and job.error["hint"]
    assert "in fail" in job.error["traceback"] and "in fail" in store.queue.log(job.id)


def test_after_a_full_disk_a_job_goes_on_where_it_was(store: Store) -> None:
    store.queue.submit([counting(1, raise_at=25, errno=errno.ENOSPC)])
    assert work(store) == 1
    failed = store.queue.job(1)
    assert failed.state == "failed" and failed.error is not None and "resume the run" in failed.error["hint"]
    store.queue.resume(1)
    work(store)
    assert "Resumed at step 20." in store.queue.log(1, 2)


def test_a_disk_that_is_too_full_for_a_log_fails_the_job(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise DiskFull("There is no room left.", "Free some.")

    monkeypatch.setattr(worker, "captured", full)
    job = doing(store, monkeypatch, lambda context: None)
    assert job.state == "failed" and job.error is not None and job.error["kind"] == "disk_full"


def test_a_kind_that_nobody_knows_fails_with_the_known_ones(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "coutn", 1)
    store.queue.submit([JobSpec("coutn", {})])
    work(store)
    error = store.queue.job(1).error
    assert error is not None and error["kind"] == "unknown_name" and "Did you mean count" in error["hint"]


def test_a_result_that_json_cannot_hold_is_a_failure_like_any_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = doing(store, monkeypatch, lambda context: Outcome({"accuracy": float("nan")}, {}, {}))
    assert job.state == "failed" and job.error is not None and "not JSON compliant" in job.error["message"]


def test_progress_takes_any_number(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    job = doing(
        store, monkeypatch, lambda context: context.report(1, 2, loss=float("nan"), dev=np.float32(0.5), device="cpu")
    )
    assert job.progress == {"step": 1, "total": 2, "loss": None, "dev": 0.5, "device": "cpu"}


@pytest.mark.parametrize("deaf", [False, True])
def test_a_running_job_stops_when_asked_even_if_it_never_reports(
    store: Store, meanwhile: Callable[..., None], deaf: bool
) -> None:
    store.queue.submit([counting(1, steps=100_000, seconds=0.002, deaf=deaf)])
    meanwhile(lambda: store.queue.log(1) != "", lambda: store.queue.stop(1))
    work(store)
    job = store.queue.job(1)
    assert job.state == "stopped" and job.request == "" and "Stopped." in store.queue.log(1)


def test_a_paused_job_that_is_resumed_ends_as_if_nothing_had_happened(
    store: Store, meanwhile: Callable[..., None]
) -> None:
    store.queue.submit([counting(1, steps=300, seconds=0.002)])
    meanwhile(lambda: store.queue.job(1).progress.get("step", 0) > 10, lambda: store.queue.pause(1))
    work(store)
    assert (store.queue.job(1).state, store.queue.job(1).held) == ("queued", True)
    store.queue.resume(1)
    work(store)
    job = store.queue.job(1)
    assert "Resumed at step" in store.queue.log(1, 2)
    assert job.result is not None and job.result["total"] == expected_total(job.config, {})


def test_a_worker_that_has_been_superseded_drops_what_it_did(store: Store, meanwhile: Callable[..., None]) -> None:
    def supersede() -> None:
        with store.queue.database.write() as connection:
            connection.execute("UPDATE job SET attempt = 2")

    store.queue.submit([counting(1, steps=100_000, seconds=0.002)])
    meanwhile(lambda: store.queue.log(1) != "", supersede)
    # The newer attempt has no lock, so it counts as dead: this worker settles it when it has nothing else to do. One round is enough here.
    meanwhile(lambda: "What was done here is dropped" in store.queue.log(1, 1), lambda: store.queue.set_paused(True))
    work(store)
    assert store.queue.job(1).result is None and "no longer the one that counts" in store.queue.log(1, 1)


def test_a_result_waits_for_a_store_that_is_busy(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = [StoreError("The store was busy."), StoreError("The store was busy.")]
    finish = Attempt.finish

    def busy(self: Attempt, *given: Any) -> None:
        if refused:
            raise refused.pop()
        finish(self, *given)

    monkeypatch.setattr(Attempt, "finish", busy)
    monkeypatch.setattr(worker.time, "sleep", lambda seconds: None)
    assert doing(store, monkeypatch, lambda context: None).state == "finished"


def test_a_second_thread_that_cannot_write_lets_the_work_go_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(self: Attempt, progress: object) -> str:
        raise StoreError("The store was busy.")

    monkeypatch.setattr(Attempt, "beat", busy)
    assert doing(store, monkeypatch, lambda context: time.sleep(0.1)).state == "finished"


def test_inputs_that_are_gone_are_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.queue.submit([counting(1)])
    work(store)
    identity = store.queue.job(1).identity
    job = doing(store, monkeypatch, lambda context: context.produced(identity, "weights"))
    assert job.error is not None and job.error["message"] == "Run 1 has made no 'weights'."
    job = doing(store, monkeypatch, lambda context: context.produced("0" * 64, "weights"))
    assert job.error is not None and job.error["kind"] == "not_found"


def test_files_and_bytes_are_kept(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")

    def keep(context: JobContext) -> Outcome:
        return Outcome(
            {},
            {"a": context.keep(b"abc", "numbers", "txt"), "b": context.keep(tmp_path / "file", "numbers", "txt")},
            {},
        )

    job = doing(store, monkeypatch, keep)
    assert job.produced["a"] == job.produced["b"]


def test_an_import_that_fails_is_a_failure_of_the_job(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    if "broken" not in KINDS:
        KINDS.register(Kind("broken", "cannot be imported", "tests.no_such_module:run"))
    monkeypatch.setitem(RECIPES, "broken", 1)
    store.queue.submit([JobSpec("broken", {})])
    work(store)
    error = store.queue.job(1).error
    assert error is not None and error["message"].startswith("ModuleNotFoundError")

"""Supervisor and workers as real processes, killed, frozen and crashed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.soak import Soak, metrics
from cotdistill.cli.waiting import _progress_text, wait_for
from cotdistill.errors import StoreError
from cotdistill.execution import supervisor
from cotdistill.execution.supervisor import cause_of, ensure_supervisor, no_supervisor, stop_all
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.store.locks import holder, is_held, send
from cotdistill.store.records import Job, JobSpec
from cotdistill.store.store import Store
from cotdistill.studies.spec import spec_from_mapping
from tests.quick_jobs import expected_total

ROOT = Path(__file__).resolve().parents[1]
# Long enough for any machine; a test waits only as long as it must.
PATIENCE = 120.0


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_kinds: None) -> Iterator[Store]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = Store.open(tmp_path / "store")
    made.queue.set_workers(2)
    yield made
    stop_all(made)


def counting(number: int, **config: Any) -> JobSpec:
    return JobSpec("count", {"steps": 30, "seed": number, "seconds": 0.002, **config}, label=f"count {number}")


def until(condition: Callable[[], object], store: Store | None = None) -> None:
    """Wait for something; with a store, somebody looks at it meanwhile, which brings a dead supervisor back."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        if store is not None:
            ensure_supervisor(store)
        time.sleep(0.05)


def states(store: Store) -> list[str]:
    return [job.state for job in reversed(store.queue.jobs())]


def finished(store: Store) -> bool:
    return set(states(store)) == {"finished"}


def is_right(job: Job) -> bool:
    return job.result is not None and job.result["total"] == expected_total(job.config, {})


def workers(store: Store) -> list[Path]:
    return [path for path in sorted((store.home / "workers").glob("*.lock")) if is_held(path)]


def reached(store: Store, job: int, step: int) -> Callable[[], bool]:
    return lambda: int(store.queue.job(job).progress.get("step", 0)) >= step


def test_jobs_are_done_by_processes_that_come_when_needed_and_go_when_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not ensure_supervisor(store) and not is_held(store.home / "supervisor.lock")
    store.queue.submit([counting(i) for i in range(6)])
    assert ensure_supervisor(store) and ensure_supervisor(store)
    until(lambda: finished(store))
    assert all(is_right(job) and job.attempt == 1 for job in store.queue.jobs())
    until(lambda: not is_held(store.home / "supervisor.lock") and not workers(store))
    assert (store.home / "supervisor.log").read_text().count("begins") == 1
    # More work finds somebody again.
    store.queue.submit([counting(9)])
    until(lambda: finished(store), store)


def test_there_is_never_a_second_supervisor(store: Store) -> None:
    store.queue.submit([counting(1, steps=100_000)])
    ensure_supervisor(store)
    until(lambda: is_held(store.home / "supervisor.lock"))
    words = [sys.executable, "-m", "cotdistill.execution.supervisor", "--home", str(store.home)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and "Another supervisor is at work." in done.stdout


def test_a_supervisor_that_cannot_start_is_told_with_what_it_said_last_and_the_wait_ends(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.queue.submit([counting(1)])
    assert no_supervisor(store) is None
    with monkeypatch.context() as broken:
        broken.setattr(supervisor, "MODULES", {"local": "cotdistill.studies.not_installed"})
        with pytest.raises(
            StoreError,
            match=r"ended 3 times as soon as it was started.*No module named cotdistill\.studies\.not_installed",
        ) as told:
            wait_for(store, store.queue.jobs, "runs list")
    assert "supervisor.log" in told.value.hint and states(store) == ["queued"]
    # Mended, it begins what stayed in the queue, and nothing is told any more.
    until(lambda: finished(store), store)
    assert no_supervisor(store) is None and is_right(store.queue.job(1))


def test_a_command_that_waits_ends_when_the_store_is_stopped_and_starts_nothing_again(store: Store) -> None:
    store.queue.submit([counting(1, steps=100_000)])
    seen: list[str] = []

    def jobs() -> list[Job]:
        # What another terminal does as soon as the job has begun.
        if not seen and reached(store, 1, 10)():
            seen.append("stopped")
            stop_all(store)
        return store.queue.jobs()

    with pytest.raises(StoreError, match=r"stopped while this command waited .*; 1 of 1 job had not finished") as error:
        wait_for(store, jobs, "cotdistill runs list")
    assert error.value.exit_code == 1 and "cotdistill app start" in error.value.hint
    assert states(store) == ["queued"] and not workers(store) and not is_held(store.home / "supervisor.lock")
    # The stop of before does not end a command that begins to wait now.
    store.queue.stop(1)
    wait_for(store, store.queue.jobs, "cotdistill runs list")


def test_time_left_comes_from_the_pace_of_this_wait_and_is_unknown_above_a_hundred_hours() -> None:
    # 20 s for 10 of 40 units: 60 s for the other 30. 20 s for .01 of 1,000: 2,000,000 s, which is no estimate.
    assert "1 min left" in _progress_text([], gained=10.0, left=30.0, passed=20.0)
    assert "time left unknown" in _progress_text([], gained=0.01, left=1_000.0, passed=20.0)
    assert "left" not in _progress_text([], gained=0.0, left=30.0, passed=20.0)


def test_workers_outlive_their_supervisor_and_are_not_doubled_by_the_next(store: Store) -> None:
    store.queue.submit([counting(i, steps=1000) for i in range(2)])
    ensure_supervisor(store)
    until(lambda: reached(store, 1, 10)() and reached(store, 2, 10)())
    before = workers(store)
    assert send(store.home / "supervisor.lock", signal.SIGKILL) is not None
    until(lambda: "begins" in (store.home / "supervisor.log").read_text().partition("begins")[2], store)
    assert workers(store) == before
    until(lambda: finished(store), store)
    assert [job.attempt for job in store.queue.jobs()] == [1, 1] and all(is_right(job) for job in store.queue.jobs())


def test_a_killed_worker_costs_one_attempt_and_no_result(store: Store) -> None:
    store.queue.submit([counting(1, steps=500)])
    ensure_supervisor(store)
    until(reached(store, 1, 20))
    assert send(store.queue.lock_path(1, 1), signal.SIGKILL) is not None
    until(lambda: finished(store), store)
    job = store.queue.job(1)
    assert job.attempt == 2 and is_right(job) and "Resumed at step" in store.queue.log(1, 2)
    assert "signal 9 (SIGKILL)" in (store.home / "supervisor.log").read_text()


def test_a_frozen_worker_is_found_out_and_replaced(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTDISTILL_HANG_SECONDS", "2")
    store.queue.submit([counting(1, steps=500)])
    ensure_supervisor(store)
    until(reached(store, 1, 20))
    assert send(store.queue.lock_path(1, 1), signal.SIGSTOP) is not None
    until(lambda: finished(store), store)
    assert store.queue.job(1).attempt == 2 and is_right(store.queue.job(1))


def test_a_frozen_supervisor_is_replaced(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.queue.submit([counting(1, steps=100_000)])
    ensure_supervisor(store)
    until(reached(store, 1, 1))
    frozen = send(store.home / "supervisor.lock", signal.SIGSTOP)
    monkeypatch.setattr(supervisor, "SILENT_SECONDS", 1.0)
    until(lambda: (found := holder(store.home / "supervisor.lock")) and found.pid != frozen, store)
    assert store.queue.job(1).attempt == 1


def test_a_job_that_kills_its_process_fails_with_the_cause_and_the_queue_goes_on(store: Store) -> None:
    store.queue.submit([counting(1, die_at=7, death="SIGSEGV"), counting(2, die_at=7, death="exit"), counting(3)])
    ensure_supervisor(store)
    until(lambda: states(store) == ["failed", "failed", "finished"], store)
    segfault, exit = (store.queue.job(i) for i in (1, 2))
    assert segfault.attempt == exit.attempt == 3
    assert segfault.error is not None and exit.error is not None
    assert segfault.error["message"].startswith(
        "The process of this run died 3 times in a row at step 7: it was ended by signal 11 (SIGSEGV)."
    )
    assert "about to die" in exit.error["message"] and "it ended with exit code 3" in exit.error["message"]
    assert "Segmentation fault" in segfault.error["traceback"]


def test_workers_that_cannot_start_fail_the_job_with_what_they_said(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COTDISTILL_KINDS", "tests.no_such_module")
    store.queue.submit([counting(1)])
    ensure_supervisor(store)
    until(lambda: states(store) == ["failed"], store)
    error = store.queue.job(1).error
    assert (
        error is not None
        and "Worker processes do not start" in error["message"]
        and "no_such_module" in error["message"]
    )


def test_a_worker_that_is_told_to_leave_saves_its_job_for_another(store: Store) -> None:
    store.queue.submit([counting(1, steps=1000)])
    ensure_supervisor(store)
    until(reached(store, 1, 20))
    pids = stop_all(store)
    assert len(pids) == 2 and not workers(store) and not is_held(store.home / "supervisor.lock")
    job = store.queue.job(1)
    assert (job.state, job.deaths) == ("queued", 0) and store.queue.resume_path(1).exists()
    assert stop_all(store) == []
    until(lambda: finished(store), store)
    assert is_right(store.queue.job(1)) and "Resumed at step" in store.queue.log(1)


def test_fewer_workers_are_left_when_fewer_are_wanted(store: Store) -> None:
    store.queue.set_workers(3)
    store.queue.submit([counting(i, steps=150) for i in range(40)])
    ensure_supervisor(store)
    until(lambda: len(workers(store)) == 3)
    store.queue.set_workers(1)
    until(lambda: len(workers(store)) == 1)
    store.queue.set_paused(True)


def test_two_dashboards_and_three_workers_started_by_hand_share_a_store(store: Store) -> None:
    store.queue.submit([counting(i) for i in range(30)])
    words = [sys.executable, "-m", "cotdistill.execution.worker", "--home", str(store.home)]
    by_hand = [subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(3)]
    soaks = [Soak(store, 0).dashboard for _ in range(2)]
    for dashboard in soaks:
        dashboard.start()
    until(lambda: finished(store))
    for dashboard in soaks:
        dashboard.kill()
    assert [(process.wait(PATIENCE), process.communicate()[1]) for process in by_hand] == [(0, b"")] * 3
    assert all(is_right(job) and job.attempt == 1 for job in store.queue.jobs())


def test_a_worker_without_a_supervisor_clears_up_after_a_dead_one(store: Store) -> None:
    store.queue.submit([counting(1, steps=500)])
    words = [sys.executable, "-m", "cotdistill.execution.worker", "--home", str(store.home)]
    for ending in (signal.SIGKILL, None):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        if ending:
            until(reached(store, 1, 20))
            process.send_signal(ending)
        process.wait(PATIENCE)
    assert finished(store) and store.queue.job(1).attempt == 2 and is_right(store.queue.job(1))


def test_processes_end_when_their_store_is_deleted(store: Store) -> None:
    store.queue.submit([counting(1, steps=100_000)])
    ensure_supervisor(store)
    until(reached(store, 1, 1))
    pid = holder(store.home / "supervisor.lock")
    assert pid is not None
    (store.home / "store.sqlite").rename(store.home / "elsewhere.sqlite")
    until(lambda: not is_held(store.home / "supervisor.lock"))
    for path in workers(store):
        send(path, signal.SIGKILL)
    (store.home / "elsewhere.sqlite").rename(store.home / "store.sqlite")


def test_a_death_in_words() -> None:
    assert cause_of(-11) == "it was ended by signal 11 (SIGSEGV)"
    assert cause_of(3) == "it ended with exit code 3"
    assert cause_of(0) == "it ended without recording a result"
    assert cause_of(None) == "it was ended from outside, or the machine went down"
    assert cause_of(-200) == "it was ended by signal 200 (unknown)"


def test_a_dozen_kills_at_random_moments_lose_double_and_change_nothing(store: Store) -> None:
    soak = Soak(store, seed=20, long_share=0.0)
    soak.run(kills=12, seconds=PATIENCE)
    assert sum(soak.hit.values()) == 12, soak.hit
    assert set(states(store)) == {"finished"} and soak.problems({}) == []


def test_a_student_that_was_killed_and_paused_ends_with_the_same_bits(store: Store, tmp_path: Path) -> None:
    values = {
        "task": "field_guide",
        "task_settings": {"creatures": 24, "documents": 100, "wordings": 2},
        "conditions": ["post_cot"],
        "replicates": 1,
        "training": {"steps": 300, "batch_size": 8, "checkpoints": "0.5,1", "dev_examples": 10},
    }
    spec = spec_from_mapping(values)
    calm = Store.open(tmp_path / "calm")
    launch(calm, plan(calm, spec))
    work(calm)
    launch(store, plan(store, spec))
    ensure_supervisor(store)
    until(reached(store, 1, 5), store)
    assert send(store.queue.lock_path(1, 1), signal.SIGKILL) is not None
    until(lambda: store.queue.job(1).attempt == 2 and reached(store, 1, 30)(), store)
    store.queue.pause(1)
    until(lambda: store.queue.job(1).held, store)
    store.queue.resume(1)
    until(lambda: finished(store), store)
    assert "Resumed at step" in store.queue.log(1, 3)
    assert metrics(store.queue.job(1)) == metrics(calm.queue.job(1))
    assert os.path.exists(store.artifacts.path(store.queue.job(1).produced["weights@1"]))

"""Runs that run out of memory: real workers short of it, the system's own killer, and the retry at half the micro-batch."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from cotdistill.config import RECIPES
from cotdistill.errors import UsageError
from cotdistill.execution import supervisor
from cotdistill.execution.supervisor import Supervisor, stop_all
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.store.memory_shortage import advice, half_of, is_shortage, made_smaller, memory_kills, retry_at_half
from cotdistill.store.records import Job, JobSpec
from cotdistill.store.store import Store
from cotdistill.studies.spec import StudySpec, spec_from_mapping
from tests.terminal import speaker

ROOT = Path(__file__).resolve().parents[1]
SMALL: dict[str, Any] = {
    "name": "short", "task": "field_guide", "task_settings": {"creatures": 24, "documents": 50, "wordings": 1}, "conditions": "label_only,post_cot",
    "replicates": 1, "training": {"steps": 2, "batch_size": 8, "evaluations": 0, "checkpoints": "1"},
}  # fmt: skip
# A worker whose memory ends a little above what importing takes.
STARVED = """
import resource, sys
from pathlib import Path
import cotdistill.execution.jobs.train
from cotdistill.execution.worker import work
from cotdistill.store.store import Store
used = 4096 * int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (used + 100_000_000,) * 2)
work(Store.open(Path(sys.argv[1])))
"""


class OutOfMemoryError(RuntimeError):
    """As torch.cuda names its own."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(tmp_path / "store")
    yield made
    stop_all(made)


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (MemoryError("x"), True),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
            ),
            True,
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_what_counts_as_a_shortage(error: Exception, short: bool) -> None:
    assert is_shortage(error) is short


def failed(store: Store, spec: StudySpec) -> list[Job]:
    """The runs of a study, each said to have run out of memory."""
    launch(store, plan(store, spec))
    jobs = sorted(store.queue.jobs(), key=lambda job: job.id)
    with store.queue.database.write() as connection:
        for job in jobs:
            error = '{"hint":"","kind":"out_of_memory","message":"There was not enough memory."}'
            connection.execute("UPDATE job SET state = 'failed', error = ? WHERE id = ?", (error, job.id))
    return [store.queue.job(job.id) for job in jobs]


def test_a_real_worker_that_runs_out_of_memory_fails_with_advice_and_the_smaller_run_finishes(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # One forward pass of 1,024 sequences keeps several hundred megabytes.
    spec = spec_from_mapping({**SMALL, "conditions": "post_cot", "training.batch_size": 1024, "training.steps": 1})
    launch(store, plan(store, spec))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STARVED, str(store.home)],
        env=environment,
        check=True,
        timeout=240,
        capture_output=True,
    )
    job = store.queue.job(1)
    assert job.state == "failed" and job.error is not None and job.error["kind"] == "out_of_memory", job.error
    assert "allocate" in job.error["message"]
    assert (
        "Retry at half the micro-batch, 512 sequences" in job.error["hint"]
        and "runs retry 1 --half-micro-batch" in job.error["hint"]
    )
    assert (half := half_of(job)) == 512
    monkeypatch.setattr("cotdistill.cli.commands.runs.ensure_supervisor", lambda store: True)
    monkeypatch.setenv("COTDISTILL_HOME", str(store.home))
    said = speaker(capsys)("runs retry 1 --half-micro-batch --json")
    assert said.code == 0 and said.document["ids"] == [2]
    new = store.queue.job(2)
    assert new.config["training"] == {**job.config["training"], "micro_batch": half} and new.identity != job.identity
    work(store)
    assert store.queue.job(2).state == "finished"


def test_the_smaller_run_takes_the_place_of_the_old_one_and_plans_find_it(store: Store) -> None:
    spec = spec_from_mapping(SMALL)
    first, second = failed(store, spec)
    new = retry_at_half(store.queue, first)
    assert new.config["training"]["micro_batch"] == 4 and new.state == "queued" and new.label == first.label
    assert {member.identity for member in store.queue.study("short").members} == {new.identity, second.identity}
    old = store.queue.job(first.id)
    assert old.state == "stopped" and old.error is not None and f"Run {new.id} takes its place" in old.error["hint"]
    again = plan(store, spec)
    assert [run.job.identity for run in again.runs] == [new.identity, second.identity]
    assert any(check.startswith("1 of 2 runs have a smaller micro-batch") for check in again.checks)
    assert launch(store, again).study_id == 1
    # Out of memory once more: a quarter.
    with store.queue.database.write() as connection:
        connection.execute("UPDATE job SET state = 'failed' WHERE id = ?", (new.id,))
    quarter = retry_at_half(store.queue, store.queue.job(new.id))
    assert quarter.config["training"]["micro_batch"] == 2
    assert plan(store, spec).runs[0].job.identity == quarter.identity
    assert set(made_smaller(store.queue).values()) == {4, 2}


def test_what_cannot_be_halved_is_refused_with_the_reason(store: Store) -> None:
    one = failed(store, spec_from_mapping({**SMALL, "conditions": "post_cot", "training.micro_batch": 1}))[0]
    assert half_of(one) is None and "smaller student" in advice(one, "x")["hint"]
    with pytest.raises(UsageError, match="one sequence at a time"):
        retry_at_half(store.queue, one)
    based = failed(store, spec_from_mapping({**SMALL, "base_steps": 2}))
    with pytest.raises(UsageError, match="no training run"):
        retry_at_half(store.queue, next(job for job in based if job.kind == "base"))


def test_a_run_that_others_read_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "count", 1)
    read = failed(store, spec_from_mapping({**SMALL, "conditions": "post_cot"}))[0]
    store.queue.submit([JobSpec("count", {"seed": 1}, (read.identity,))])
    with pytest.raises(UsageError, match="read by 1 other job"):
        retry_at_half(store.queue, read)


def test_a_process_that_the_system_ends_for_want_of_memory_fails_its_run_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, "count", 1)
    monkeypatch.setenv("COTDISTILL_KINDS", "tests.quick_jobs")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    store.queue.submit([JobSpec("count", {"steps": 100_000, "seed": 1, "seconds": 0.01}, label="count")])
    boss = Supervisor(store)
    boss.tick()
    deadline = time.monotonic() + 60
    while store.queue.job(1).progress.get("step", 0) < 3:
        assert time.monotonic() < deadline
        boss.tick()
        time.sleep(0.05)
    kills = memory_kills()
    boss.children[0].process.send_signal(signal.SIGKILL)
    # The system counts a kill that was not there when the run was last seen alive.
    monkeypatch.setattr(supervisor, "memory_kills", lambda: kills + 1)
    boss.children[0].process.wait()
    store.queue.set_paused(True)
    boss.tick()
    job = store.queue.job(1)
    assert job.state == "failed" and job.error is not None and job.attempt == 1
    assert (
        job.error["kind"] == "out_of_memory"
        and "the system ended it for want of memory, at step" in job.error["message"]
    )


def test_page_train_offers_the_retry_at_half_with_one_click(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    job = failed(store, spec_from_mapping({**SMALL, "conditions": "post_cot"}))[0]
    store.queue.set_paused(True)
    monkeypatch.setenv("COTDISTILL_HOME", str(store.home))
    monkeypatch.chdir(ROOT)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    app.switch_page("pages/2_Train.py").run()
    (button,) = [button for button in app.button if str(button.key).endswith(".half")]
    assert button.label == "Retry at half the micro-batch"
    button.click().run()
    assert not app.exception
    new = store.queue.job(job.id + 1)
    assert new.state == "queued" and new.config["training"]["micro_batch"] == 4
    assert app.toast[0].value == "1 run queued."

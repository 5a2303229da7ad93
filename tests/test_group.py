"""Several processes that train one student: the same losses and the same student as one process, to rounding."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from cotdistill.config import TrainingConfig
from cotdistill.errors import StoreError, StudentError
from cotdistill.execution.ray.task import RemoteContext
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.store.store import Store
from cotdistill.students.batches import Row
from cotdistill.students.group import ALONE, ProcessGroup
from cotdistill.students.training import micro_batches
from cotdistill.studies.spec import study_spec

HERE = find_spec("accelerate") is not None
needs_accelerate = pytest.mark.skipif(not HERE, reason="accelerate is not installed: make test-extras")
ROWS = [Row(np.arange(3, dtype=np.int32), np.ones(3, np.float32), np.array([0, 1, 1], np.int8))] * 5
STUDY = {
    "task_settings": {"creatures": 24, "documents": 10, "wordings": 1}, "conditions": "post_cot", "replicates": 1, "base_steps": 0,
    "student": "nano", "training": {"steps": 30, "batch_size": 5, "evaluations": 2, "dev_examples": 8, "checkpoints": "1"},
}  # fmt: skip


def test_each_process_takes_every_other_micro_batch_and_all_are_taken():
    parts = ["a", "b", "c", "d", "e"]
    assert (ProcessGroup(0, 2).share(parts), ProcessGroup(1, 2).share(parts), ALONE.share(parts)) == (
        ["a", "c", "e"],
        ["b", "d"],
        parts,
    )


def test_a_batch_is_cut_into_as_many_parts_as_there_are_processes():
    config = TrainingConfig(processes=2)
    assert [len(batch.lengths) for batch in micro_batches(ROWS, config, 0)] == [3, 2]
    assert [len(batch.lengths) for batch in micro_batches(ROWS, replace(config, micro_batch=2), 0)] == [2, 2, 1]
    assert [len(batch.lengths) for batch in micro_batches(ROWS, TrainingConfig(), 0)] == [5]


def test_a_study_of_one_process_has_the_runs_it_had_before_there_were_several(tmp_path):
    store = Store.open(tmp_path)
    (run,) = plan(store, study_spec(None, STUDY)).runs
    assert "processes" not in run.job.config["training"]


@pytest.mark.skipif(HERE, reason="accelerate is installed")
def test_without_accelerate_the_way_to_it_is_told_before_anything_is_queued(tmp_path):
    store = Store.open(tmp_path)
    with pytest.raises(StudentError) as error:
        plan(store, of(2))
    assert "requirements-lora.txt" in error.value.hint and store.queue.jobs() == []


def test_a_run_on_another_machine_is_told_that_it_has_one_process():
    with pytest.raises(StoreError, match="machine of the store"):
        RemoteContext.home(object.__new__(RemoteContext))


def of(processes: int, **more):
    return study_spec(None, {**STUDY, "training": {**STUDY["training"], "processes": processes, **more}})


def trained(store, spec):
    """The finished run of a study: its job, its curve by name, and its weights."""
    planned = plan(store, spec)
    launch(store, planned)
    work(store)
    (job,) = [store.queue.job(run.job.identity) for run in planned.runs]
    assert job.state == "finished", job.error
    curve = pd.read_parquet(store.artifacts.path(job.produced["curve"]))
    weights = safetensors.torch.load_file(store.artifacts.path(job.produced["weights@1"]))
    return job, {name: part.value.to_numpy() for name, part in curve.groupby("name")}, weights


@pytest.mark.extras
@needs_accelerate
@pytest.mark.parametrize(
    "more", [{}, {"loss": "token_mean", "micro_batch": 1}, {"micro_batch": 5}], ids=["span", "token mean", "one idle"]
)
def test_two_processes_have_the_losses_of_one_and_end_with_its_student(tmp_path, more):
    store = Store.open(tmp_path)
    alone, one, student = trained(store, of(1, **more))
    job, two, other = trained(store, of(2, **more))
    for name in ("loss", "label_loss", "rationale_loss"):
        assert two[name] == pytest.approx(one[name], abs=1e-4)
    assert all(torch.allclose(student[name], other[name], atol=1e-4) for name in student)
    # Tokens are those of all processes together.
    assert job.result["tokens"] == alone.result["tokens"] and job.identity != alone.identity


@pytest.mark.extras
@needs_accelerate
def test_a_run_of_two_processes_that_was_paused_ends_with_the_same_bits(tmp_path):
    _, _, whole = trained(Store.open(tmp_path / "one"), of(2, steps=200))
    store = Store.open(tmp_path / "two")
    planned = plan(store, of(2, steps=200))
    launch(store, planned)
    identity = planned.runs[0].job.identity

    def pause():
        until(lambda: (store.queue.job(identity).progress or {}).get("step", 0) >= 20)
        store.queue.pause(store.queue.job(identity).id)

    asking = threading.Thread(target=pause)
    asking.start()
    work(store)
    asking.join()
    assert store.queue.job(identity).held
    store.queue.resume(store.queue.job(identity).id)
    _, _, resumed = trained(store, of(2, steps=200))
    assert "Resumed at step" in "".join(path.read_text() for path in store.home.rglob("*.log"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.extras
@needs_accelerate
def test_no_process_outlives_a_worker_that_is_killed_and_the_run_can_be_done_again(tmp_path):
    store = Store.open(tmp_path)
    planned = plan(store, of(2, steps=2000))
    launch(store, planned)
    identity = planned.runs[0].job.identity
    worker = subprocess.Popen(
        [sys.executable, "-m", "cotdistill.execution.worker", "--home", str(store.home)], stderr=subprocess.DEVNULL
    )
    until(lambda: (store.queue.job(identity).progress or {}).get("step", 0) >= 5)
    assert companions(identity)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    until(lambda: not companions(identity))


@pytest.mark.extras
@needs_accelerate
def test_a_companion_that_is_gone_fails_the_run_with_its_cause(tmp_path):
    store = Store.open(tmp_path)
    planned = plan(store, of(2, steps=2000))
    launch(store, planned)
    identity = planned.runs[0].job.identity

    def end():
        until(lambda: (store.queue.job(identity).progress or {}).get("step", 0) >= 5)
        os.kill(companions(identity)[0], signal.SIGKILL)

    ending = threading.Thread(target=end)
    ending.start()
    work(store)
    ending.join()
    job = store.queue.job(identity)
    assert job.state == "failed" and "Process 2 of this run" in job.error["message"]


def companions(identity):
    """The numbers of this run's processes beyond its worker."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_text().split("\0")
            found += [int(folder.name)] if "cotdistill.execution.jobs.companion" in words and identity in words else []
    return found


def until(holds, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)

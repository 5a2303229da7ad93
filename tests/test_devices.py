"""One run on each GPU, tried with GPUs that are only said to be there; and a real run that asks for one that is not."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from cotdistill.errors import UnknownName, UsageError
from cotdistill.execution import devices
from cotdistill.execution.attempts import claim
from cotdistill.execution.supervisor import ensure_supervisor, stop_all
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.store import hardware
from cotdistill.store.locks import Lock, is_held, send
from cotdistill.store.records import Job, JobSpec
from cotdistill.store.store import Store
from cotdistill.studies.spec import spec_from_mapping
from tests.terminal import speaker

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 120.0


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_kinds: None) -> Iterator[Store]:
    """A store on a machine that is said to have two GPUs."""
    monkeypatch.setenv(hardware.GPUS, "0:24000,1:24000")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    made = Store.open(tmp_path / "store")
    yield made
    stop_all(made)


def counting(number: int, device: str = "cuda", **config: Any) -> JobSpec:
    return JobSpec(
        "count",
        {"steps": 60, "seed": number, "seconds": 0.005, "training": {"device": device}, **config},
        label=f"count {number}",
    )


def until(condition: Callable[[], object], store: Store | None = None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        if store is not None:
            ensure_supervisor(store)
        time.sleep(0.05)


def finished(store: Store) -> bool:
    return {job.state for job in store.queue.jobs()} == {"finished"}


def on(job: Job) -> Any:
    return job.progress.get("device")


def overlaps(store: Store) -> list[tuple[int, int]]:
    """Pairs of jobs that were on the same GPU at the same time."""
    jobs = [job for job in store.queue.jobs() if on(job)]
    found = []
    for a in jobs:
        for b in jobs:
            assert a.started and a.finished and b.started and b.finished
            if a.id < b.id and on(a) == on(b) and a.started < b.finished and b.started < a.finished:
                found.append((a.id, b.id))
    return found


def test_each_gpu_has_one_run_and_other_workers_take_what_asks_for_none(store: Store) -> None:
    store.queue.set_workers(3)
    store.queue.submit([counting(i) for i in range(5)] + [counting(i, "cpu") for i in range(5, 8)])
    ensure_supervisor(store)
    until(lambda: finished(store), store)
    jobs = {job.id: job for job in store.queue.jobs()}
    assert {on(jobs[i]) for i in range(1, 6)} == {"GPU 0", "GPU 1"} and not overlaps(store)
    assert {on(jobs[i]) for i in range(6, 9)} == {None}


def test_no_worker_waits_beside_gpus_that_are_all_taken(store: Store) -> None:
    store.queue.set_workers(4)
    store.queue.submit([counting(i, steps=400) for i in range(3)])
    ensure_supervisor(store)
    until(lambda: sum(job.state == "running" for job in store.queue.jobs()) == 2)
    workers = [path.stem for path in (store.home / "workers").glob("*.lock") if is_held(path)]
    assert sorted(str(devices.gpu_of(name)) for name in workers) == ["0", "1"]


def test_only_the_chosen_gpus_are_given(store: Store) -> None:
    devices.choose(store.queue, ["1"])
    store.queue.set_workers(2)
    store.queue.submit([counting(i) for i in range(3)])
    ensure_supervisor(store)
    until(lambda: finished(store), store)
    assert {on(job) for job in store.queue.jobs()} == {"GPU 1"} and not overlaps(store)


def test_a_worker_leaves_when_its_gpu_is_no_longer_chosen(store: Store) -> None:
    store.queue.set_workers(1)
    store.queue.submit([counting(i, steps=150) for i in range(4)])
    ensure_supervisor(store)
    until(lambda: store.queue.job(1).state == "running")
    devices.choose(store.queue, ["1"])
    until(lambda: finished(store), store)
    assert [on(store.queue.job(i)) for i in (1, 4)] == ["GPU 0", "GPU 1"]


def test_the_next_supervisor_knows_which_gpus_are_taken(store: Store) -> None:
    store.queue.set_workers(2)
    store.queue.submit([counting(1, steps=600), *(counting(i, steps=30) for i in range(2, 6))])
    ensure_supervisor(store)
    until(lambda: store.queue.job(1).state == "running")
    assert send(store.home / "supervisor.lock", signal.SIGKILL) is not None
    until(lambda: finished(store), store)
    assert not overlaps(store) and all(job.attempt == 1 for job in store.queue.jobs())


def test_a_worker_that_arrives_at_a_taken_gpu_leaves_before_it_takes_a_run(store: Store) -> None:
    """As after the death of a supervisor whose worker was on its way, unseen by the next one."""
    store.queue.submit([counting(1)])
    (store.home / "workers").mkdir(exist_ok=True)
    first = Lock(store.home / "workers" / f"b-{devices.with_gpu('first', '1')}.lock")
    assert work(store, supervised=True, name=devices.with_gpu("second", "1")) == 0
    assert store.queue.job(1).state == "queued" and is_held(first.path)
    first.release()
    assert work(store, supervised=True, name=devices.with_gpu("third", "1")) == 1


def test_a_gpu_that_is_named_twice_takes_two_runs() -> None:
    slots = ("0", "0", "1")
    assert devices.next_free(slots, []) == "0"
    assert devices.next_free(slots, ["b-a-gpu0"]) == "0"
    assert devices.next_free(slots, ["b-a-gpu0", "b-b-gpu0", "b-c"]) == "1"
    assert devices.next_free(slots, ["b-a-gpu0", "b-b-gpu0", "a-c-gpu1"]) is None


def test_the_name_of_a_worker_tells_its_gpu_and_its_environment_shows_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(hardware.GPUS, "0,1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert devices.gpu_of(devices.with_gpu("abc", "1")) == "1" and devices.gpu_of("abc") is None
    assert devices.environment("abc-gpu1")["CUDA_VISIBLE_DEVICES"] == "1"
    assert devices.environment("abc") == {"CUDA_VISIBLE_DEVICES": ""}
    monkeypatch.setenv(hardware.GPUS, "none")
    assert devices.environment("abc") == {}


def test_a_process_that_sees_no_gpu_takes_no_run_for_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.queue.submit([counting(1), counting(2, "cpu")])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not devices.may_take_gpu_runs()
    attempt = claim(store.queue, gpu=False)
    assert attempt is not None and attempt.job.id == 2
    assert claim(store.queue, gpu=False) is None
    assert store.queue.backlog().gpu == 1
    attempt.close()


def test_a_gpu_that_is_not_here_cannot_be_chosen_and_one_that_has_gone_is_not_given(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert devices.chosen(store.queue) == ("0", "1") and store.queue.workers() >= 2
    with pytest.raises(UnknownName):
        devices.choose(store.queue, ["7"])
    devices.choose(store.queue, ["1", "0"])
    monkeypatch.setenv(hardware.GPUS, "0")
    assert devices.chosen(store.queue) == ("0",)
    devices.choose(store.queue, [])
    assert devices.chosen(store.queue) == ()


def test_gpus_are_told_and_chosen_in_the_terminal(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COTDISTILL_HOME", str(store.home))
    say = speaker(capsys)
    told = say("queue gpus 1 --json").document["gpus"]
    assert [(gpu["index"], gpu["chosen"], gpu["runs"]) for gpu in told] == [("0", False, 0), ("1", True, 1)]
    assert "runs on GPU 1" in say("queue workers").out
    assert say("queue gpus 9 --json").error["kind"] == "unknown_name"
    say("queue gpus all")
    assert devices.chosen(store.queue) == ("0", "1")
    monkeypatch.setenv(hardware.GPUS, "none")
    assert "This machine has no GPU" in say("queue gpus").out


@pytest.fixture
def fresh_pages() -> Iterator[None]:
    """Pages remember for a minute which GPUs are here; what another test made them remember must not count, nor this one's in others."""
    st.cache_data.clear()
    yield
    st.cache_data.clear()


@pytest.mark.usefixtures("fresh_pages")
def test_gpus_are_chosen_on_page_train(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTDISTILL_HOME", str(store.home))
    monkeypatch.chdir(ROOT)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    app.switch_page("pages/2_Train.py").run()
    box = app.multiselect(key="queue.gpus")
    assert box.value == ["0", "1"]
    box.set_value(["1"]).run()
    assert not app.exception and devices.chosen(store.queue) == ("1",)


def test_a_run_that_asks_for_a_gpu_where_there_is_none_fails_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(hardware.GPUS, "none")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    store = Store.open(tmp_path / "store")
    values = {
        "task": "field_guide", "task_settings": {"creatures": 24, "documents": 50, "wordings": 1}, "conditions": "label_only", "replicates": 1,
        "training": {"steps": 1, "device": "cuda"},
    }  # fmt: skip
    planned = plan(store, spec_from_mapping(values))
    assert any("no GPU is seen on this machine" in check for check in planned.checks)
    launch(store, planned)
    work(store)
    error = store.queue.job(1).error
    assert error is not None and "sees no GPU" in error["message"] and "training.device to cpu" in error["hint"]


def test_gpus_that_are_joined_are_seen_together_by_one_worker(store: Store) -> None:
    devices.choose(store.queue, ["0+1"])
    assert devices.chosen(store.queue) == ("0+1",)
    name = devices.with_gpu("abc", devices.next_free(("0+1",), []) or "")
    assert devices.environment(name)["CUDA_VISIBLE_DEVICES"] == "0,1" and devices.next_free(("0+1",), [name]) is None
    with pytest.raises(UnknownName):
        devices.choose(store.queue, ["0+7"])
    with pytest.raises(UsageError, match="twice"):
        devices.choose(store.queue, ["1+1"])

"""Ray on a real cluster of two nodes on one machine: a study over both, a node and the driver killed, and every bit as on one machine."""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cotdistill.errors import UnknownName, UsageError
from cotdistill.exchange.verify import verify
from cotdistill.execution import worker
from cotdistill.execution.attempts import claim
from cotdistill.execution.executor import Executor, check_executor, executor, set_executor
from cotdistill.execution.ray.fragments import RECORDS, Inbox, Intake, fragments_folder
from cotdistill.execution.supervisor import ensure_supervisor, move_to, stop_all
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.store.locks import holder, is_held
from cotdistill.store.records import JobSpec
from cotdistill.store.store import Store
from cotdistill.studies.spec import study_spec
from tests.quick_jobs import expected_total
from tests.test_study_runs import SMALL
from tests.test_supervisor import ROOT, counting, finished, is_right

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: make test-extras")
# Starting processes of Ray takes its time on a busy machine.
PATIENCE = 400.0
STUDY = {
    **SMALL,
    "conditions": "label_only,pre_cot",
    "training": {"steps": 300, "batch_size": 8, "evaluations": 2, "dev_examples": 10, "checkpoints": "0,1"},
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_kinds: None) -> Iterator[Store]:
    monkeypatch.setattr(worker, "IDLE_SECONDS", 0.0)
    made = Store.open(tmp_path / "store")
    yield made
    stop_all(made)


def until(condition: Callable[[], object], store: Store, log: str = "supervisor.log") -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        told = [(job.id, job.state, job.progress, job.error) for job in store.queue.jobs()]
        assert time.monotonic() < deadline, f"it did not happen: {told}\n{(store.home / log).read_text()[-3000:]}"
        ensure_supervisor(store)
        time.sleep(0.1)


def outcomes(store: Store) -> dict[int, list[str]]:
    with store.queue.database.read() as connection:
        found: dict[int, list[str]] = {}
        for job, outcome in connection.execute("SELECT job, outcome FROM attempt ORDER BY job, number"):
            found.setdefault(job, []).append(outcome)
    return found


# --- what needs no cluster ------------------------------------------------------------------------------------------------------------------


def test_records_that_come_twice_or_are_read_again_change_nothing(store: Store) -> None:
    store.queue.submit([counting(1)])
    attempt = claim(store.queue)
    assert attempt is not None
    inbox = Inbox(str(store.home / "ray"))
    records: list[dict[str, Any]] = [
        {"number": 1, "kind": "log", "at": 0, "text": "one\n"},
        {"number": 2, "kind": "progress", "values": {"step": 3, "total": 9}},
    ]
    assert inbox.put("1-1", records) == ""
    inbox.ask("1-1", "stop")
    assert inbox.put("1-1", [*records, {"number": 3, "kind": "log", "at": 4, "text": "two\n"}]) == "stop"
    assert len((fragments_folder(store, 1, 1) / RECORDS).read_text().splitlines()) == 3
    content = b"weights"
    digest = store.artifacts.put_bytes(content, "weights", "bin")
    store.artifacts.remove(digest)
    inbox.block("1-1", digest, 4, content[4:])
    inbox.block("1-1", digest, 0, content[:4])
    inbox.put("1-1", [{"number": 4, "kind": "artifact", "digest": digest, "what": "weights", "suffix": "bin"}])
    first = Intake(store, attempt)
    assert first.pump() == 4 and first.pump() == 0
    assert Intake(store, attempt).pump() == 4
    assert store.queue.log(1) == "one\ntwo\n" and store.artifacts.path(digest).read_bytes() == content
    holds = holder(store.queue.lock_path(1, 1))
    assert holds is not None and holds.step == 3
    attempt.release("stop")
    attempt.close()


def test_under_ray_workers_leave_to_the_cluster_what_can_travel(store: Store) -> None:
    set_executor(store, Executor("ray", "auto"))
    assert executor(store) == Executor("ray", "auto")
    store.queue.submit([counting(1)])
    assert claim(store.queue, without=["count"]) is None
    assert claim(store.queue, only=["train"]) is None
    attempt = claim(store.queue, only=["count"])
    assert attempt is not None and attempt.job.id == 1
    attempt.release("stop")
    attempt.close()


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (Executor("rai"), "ray"),
        (Executor("local", "auto"), "--executor ray"),
        (Executor("ray", "ray://host:10001"), "" if not HAS_RAY else "join"),
    ],
)
def test_an_executor_that_cannot_be_used_is_refused_in_words(wanted: Executor, told: str) -> None:
    with pytest.raises((UsageError, UnknownName)) as refused:
        check_executor(wanted)
    assert told.lower() in f"{refused.value.message} {refused.value.hint}".lower()


# --- the cluster ------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    before = {name: os.environ.get(name) for name in ("PYTHONPATH", "COTDISTILL_KINDS")}
    os.environ |= {"PYTHONPATH": str(ROOT), "COTDISTILL_KINDS": "tests.quick_jobs"}
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": 150 << 20, "include_dashboard": False},
    )
    made.add_node(num_cpus=1, object_store_memory=150 << 20)
    yield made
    made.shutdown()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


@needs_ray
@pytest.mark.extras
@pytest.mark.timeout(400)
def test_jobs_of_a_cluster_end_stop_and_fail_as_they_do_here(cluster: Any, store: Store) -> None:
    move_to(store, Executor("ray", cluster.address))
    first = counting(1, steps=40)
    store.queue.submit(
        [
            first,
            JobSpec("count", {"steps": 5, "seed": 2, "adds": [first.identity]}, (first.identity,)),
            counting(3, raise_at=4, errno=5),
        ]
    )
    store.queue.submit([counting(4, steps=100_000, seconds=0.01)])
    until(lambda: [job.state for job in store.queue.jobs()][1:] == ["failed", "finished", "finished"], store)
    one, two, three = (store.queue.job(number) for number in (1, 2, 3))
    assert is_right(one) and two.result is not None and one.result is not None
    assert two.result["total"] == expected_total(two.config, {first.identity: one.result["total"]})
    assert (
        three.error is not None
        and "Input/output error" in three.error["message"]
        and "quick_jobs" in three.error["traceback"]
    )
    assert "a Ray task on" in store.queue.log(1) and store.queue.log(1).rstrip().endswith("Finished.")
    until(lambda: int(store.queue.job(4).progress.get("step", 0)) > 20, store)
    store.queue.stop(4)
    until(lambda: store.queue.job(4).state == "stopped", store)
    assert store.queue.resume_path(4).exists()
    # The records go once the end is written down.
    until(lambda: not list((store.home / "ray").glob("*-*")), store)


@needs_ray
@pytest.mark.extras
@pytest.mark.timeout(400)
def test_a_study_survives_a_dead_node_and_a_dead_driver_to_the_bit(cluster: Any, store: Store, tmp_path: Path) -> None:
    move_to(store, Executor("ray", cluster.address))
    launch(store, plan(store, study_spec(None, STUDY)))
    ensure_supervisor(store)

    def nodes() -> set[str]:
        return {
            job.progress["node"]
            for job in store.queue.jobs(state="running")
            if job.progress.get("step", 0) > 3 and "node" in job.progress
        }

    until(lambda: len(nodes()) == 2 or store.queue.jobs(state="failed") or finished(store), store)
    assert len(nodes()) == 2
    cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
    until(lambda: any("node died" in outcome for ended in outcomes(store).values() for outcome in ended), store)
    cluster.add_node(num_cpus=1, object_store_memory=150 << 20)
    until(lambda: nodes(), store)
    driver = holder(store.home / "supervisor.lock")
    assert driver is not None and is_held(store.home / "supervisor.lock")
    os.kill(driver.pid, signal.SIGKILL)
    until(lambda: finished(store), store)
    ended = outcomes(store)
    assert all(outcome.count("finished") == 1 and outcome[-1] == "finished" for outcome in ended.values()), ended
    assert sum("driver of the cluster" in outcome for told in ended.values() for outcome in told) >= 1

    here = Store.open(tmp_path / "here")
    launch(here, plan(here, study_spec(None, STUDY)))
    assert work(here) == len(ended) == 5
    for job in here.queue.jobs():
        there = store.queue.job(job.identity)
        assert {role: digest for role, digest in job.produced.items() if role != "curve"} == {
            role: digest for role, digest in there.produced.items() if role != "curve"
        }
        assert job.used == there.used
        curves = [
            given.artifacts.table(one.produced["curve"]).drop(columns="seconds")
            for given, one in ((here, job), (store, there))
        ]
        assert curves[0].equals(curves[1])
        assert job.result is not None and there.result is not None
        assert {k: v for k, v in job.result.items() if k != "seconds"} == {
            k: v for k, v in there.result.items() if k != "seconds"
        }
    assert verify(store).problems == ()

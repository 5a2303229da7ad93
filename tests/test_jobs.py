"""The queue and the attempts: identity, order, dependencies, stop and resume, deaths, and writes that come too late."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cotdistill.config import digest
from cotdistill.errors import NotFound, Superseded, UnknownName, UsageError
from cotdistill.exchange.verify import verify
from cotdistill.execution.attempts import Attempt, claim, running, settle, settle_dead
from cotdistill.store.locks import Lock, holder, is_held, send
from cotdistill.store.records import JobSpec, StudyDraft
from cotdistill.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path)


def spec(number: int, *needs: JobSpec) -> JobSpec:
    return JobSpec("train", {"number": number}, tuple(need.identity for need in needs), f"job {number}", 10.0)


def take(store: Store) -> Attempt:
    attempt = claim(store.queue)
    assert attempt is not None
    return attempt


def done(attempt: Attempt) -> int:
    attempt.finish({"accuracy": 0.5}, {}, {})
    attempt.close()
    return attempt.job.id


def state(store: Store, job: int) -> tuple[str, bool]:
    found = store.queue.job(job)
    return found.state, found.held


def draft(name: str, *specs: JobSpec, plan: str = "plan") -> StudyDraft:
    return StudyDraft(
        name, {"task": "t"}, plan, tuple((s.identity, "label_only", i, "run") for i, s in enumerate(specs))
    )


def test_identity_is_the_hash_of_kind_recipe_and_config_alone() -> None:
    one = JobSpec("train", {"b": 1, "a": (2,)}, label="x", seconds=3)
    assert (
        one.identity
        == JobSpec("train", {"a": [2], "b": 1}, label="y").identity
        == digest({"kind": "train", "recipe": 1, "config": {"a": [2], "b": 1}})
    )
    assert one.identity != JobSpec("base", {"a": [2], "b": 1}).identity
    with pytest.raises(UnknownName, match="no kind of job named 'trian'"):
        _ = JobSpec("trian", {}).identity


def test_what_is_there_already_is_reused_whoever_asks(store: Store) -> None:
    first = store.queue.submit([spec(1), spec(2), spec(1)], study=draft("a", spec(1), spec(2)))
    assert (first.new, first.reused, first.requeued) == ((1, 2), (), ())
    done(take(store))
    again = store.queue.submit([spec(1), spec(2), spec(3)], study=draft("b", spec(1), spec(3)))
    assert (again.new, again.reused, again.requeued) == ((3,), (1, 2), ())
    assert [member.job_id for member in store.queue.study("b").members] == [1, 3]


def test_what_failed_or_was_stopped_is_queued_again_when_it_is_asked_for_again(store: Store) -> None:
    store.queue.submit([spec(1), spec(2)])
    attempt = take(store)
    attempt.resume_file.write_bytes(b"state")
    attempt.fail({"kind": "x", "message": "m", "hint": "", "traceback": ""})
    attempt.close()
    store.queue.stop(2)
    store.queue.folder(2).mkdir()
    store.queue.resume_path(2).write_bytes(b"state")
    assert store.queue.submit([spec(1), spec(2)]).requeued == (1, 2)
    assert [state(store, 1), state(store, 2)] == [("queued", False)] * 2
    assert store.queue.job(1).error is None
    assert not store.queue.resume_path(1).exists() and store.queue.resume_path(2).exists()


def test_a_job_whose_needs_are_unknown_is_refused_and_nothing_is_queued(store: Store) -> None:
    with pytest.raises(NotFound, match="neither in the store nor submitted with it"):
        store.queue.submit([spec(1), spec(2, spec(99))])
    assert store.queue.jobs() == []


def test_jobs_run_in_the_order_of_the_queue_once_their_needs_are_done(store: Store) -> None:
    base = spec(0)
    store.queue.submit([spec(1, base), base, spec(2)])
    backlog = store.queue.backlog()
    assert (backlog.running, backlog.ready, backlog.coming, backlog.total) == (0, 2, 1, 3)
    attempt = take(store)
    assert attempt.job.label == "job 0"
    other = take(store)
    assert other.job.label == "job 2" and claim(store.queue) is None
    done(attempt)
    assert take(store).job.label == "job 1"


def test_what_waits_for_a_failed_job_says_so_and_goes_on_when_it_is_retried(store: Store) -> None:
    base, middle = spec(0), spec(1, spec(0))
    store.queue.submit([base, middle, spec(2, middle), spec(3)])
    attempt = take(store)
    attempt.fail({"kind": "x", "message": "m", "hint": "", "traceback": ""})
    attempt.close()
    assert [store.queue.job(i).waits for i in (2, 3, 4)] == [
        "waits for run 1, which has failed",
        "waits for run 2, which waits for run 1, which has failed",
        "",
    ]
    # Run 4 waits for nothing: the queue goes on after a failure.
    assert store.queue.backlog().total == 1 and done(take(store)) == 4 and claim(store.queue) is None
    store.queue.retry(1)
    assert [done(take(store)) for _ in range(3)] == [1, 2, 3]


def test_the_order_can_be_changed(store: Store) -> None:
    store.queue.submit([spec(i) for i in range(1, 6)])
    store.queue.move(4, "first")
    store.queue.move(1, "last")
    store.queue.move(5, 3)
    assert [job.id for job in sorted(store.queue.jobs(), key=lambda job: job.position)] == [4, 2, 5, 3, 1]
    store.queue.move(2, 2)
    done(take(store))
    with pytest.raises(UsageError, match="Run 4 has finished"):
        store.queue.move(4, "last")
    with pytest.raises(UsageError, match="Run 4 is not queued"):
        store.queue.move(2, 4)


def test_a_paused_queue_begins_nothing_and_a_held_job_waits(store: Store) -> None:
    store.queue.submit([spec(1), spec(2)])
    store.queue.set_paused(True)
    assert claim(store.queue) is None and store.queue.paused and store.queue.backlog().total == 0
    store.queue.set_paused(False)
    store.queue.pause(1)
    assert state(store, 1) == ("queued", True) and done(take(store)) == 2 and claim(store.queue) is None
    store.queue.resume(1)
    assert done(take(store)) == 1


def test_a_queued_job_stops_at_once_and_a_running_one_is_asked(store: Store) -> None:
    store.queue.submit([spec(1), spec(2)])
    attempt = take(store)
    store.queue.stop(2)
    store.queue.stop(1)
    assert state(store, 2) == ("stopped", False) and store.queue.job(1).request == "stop"
    assert attempt.beat({"step": 3}) == "stop"
    attempt.resume_file.write_bytes(b"state")
    attempt.release("stop")
    attempt.close()
    assert state(store, 1) == ("stopped", False) and store.queue.job(1).progress == {"step": 3}
    store.queue.resume(1)
    assert take(store).resume_file.exists()


def test_pause_of_a_running_job_holds_it_where_it_is(store: Store) -> None:
    store.queue.submit([spec(1)])
    attempt = take(store)
    store.queue.pause(1)
    assert attempt.beat({}) == "pause"
    attempt.release("pause")
    attempt.close()
    assert state(store, 1) == ("queued", True)
    store.queue.resume(1)
    assert take(store).number == 2


def test_retry_starts_over(store: Store) -> None:
    store.queue.submit([spec(1)])
    attempt = take(store)
    attempt.beat({"step": 7})
    attempt.resume_file.write_bytes(b"state")
    attempt.release("stop")
    attempt.close()
    store.queue.retry(1)
    assert not attempt.resume_file.exists() and store.queue.job(1).progress == {}
    with pytest.raises(UsageError, match="Run 1 is queued; only failed and stopped"):
        store.queue.retry(1)


def test_words_that_do_not_fit_the_state_are_refused(store: Store) -> None:
    store.queue.submit([spec(1)])
    done(take(store))
    for verb in (store.queue.stop, store.queue.pause, store.queue.resume, store.queue.retry):
        with pytest.raises(UsageError, match="Run 1"):
            verb(1)
    with pytest.raises(NotFound, match="no run 9"):
        store.queue.stop(9)
    with pytest.raises(UnknownName, match="no state named 'finishd'"):
        store.queue.jobs(state="finishd")
    with pytest.raises(UsageError, match="expected 1 to 256"):
        store.queue.set_workers(0)


def test_a_job_is_found_by_number_and_by_the_start_of_its_identity(store: Store) -> None:
    store.queue.submit([spec(1)])
    identity = spec(1).identity
    assert (
        store.queue.job(1).id
        == store.queue.job("1").id
        == store.queue.job(identity[:8]).id
        == store.queue.job(identity).id
        == 1
    )
    for given in ("2", "no such", "", "%", identity + "0", "9" * 40):
        with pytest.raises(NotFound):
            store.queue.job(given)


def test_a_prefix_of_several_identities_is_refused(store: Store) -> None:
    store.queue.submit([spec(1), spec(2)])
    with store.queue.database.write() as connection:
        connection.execute("UPDATE job SET identity = 'abcd' || id")
    with pytest.raises(UsageError, match="start of several identities"):
        store.queue.job("abcd")


def test_jobs_are_listed_newest_first_by_state_kind_and_study(store: Store) -> None:
    store.queue.submit([JobSpec("base", {}), spec(1), spec(2)], study=draft("s", spec(2)))
    assert [job.id for job in store.queue.jobs()] == [3, 2, 1]
    assert [job.id for job in store.queue.jobs(kind="train", limit=1)] == [3]
    assert [job.id for job in store.queue.jobs(study="s")] == [3]
    done(take(store))
    assert [job.id for job in store.queue.jobs(state="finished")] == [1]
    assert set(store.queue.states().values()) == {"finished", "queued"}


def test_a_name_means_its_latest_study_and_the_same_plan_is_the_same_study(store: Store) -> None:
    first = store.queue.submit([spec(1)], study=draft("s", spec(1)))
    assert store.queue.submit([spec(1)], study=draft("s", spec(1))).study_id == first.study_id
    second = store.queue.submit([spec(2)], study=draft("s", spec(1), spec(2), plan="other"))
    assert store.queue.study("s").id == second.study_id and store.queue.study(1).id == 1
    assert [study.id for study in store.queue.studies()] == [2, 1]
    with pytest.raises(UnknownName, match="no launched study named 'x'"):
        store.queue.study("x")


def test_delete_is_refused_while_a_job_runs_or_is_needed(store: Store) -> None:
    base = spec(0)
    store.queue.submit([base, spec(1, base)])
    with pytest.raises(UsageError, match="Run 1 is needed by 1 other: 2"):
        store.queue.delete(1)
    attempt = take(store)
    with pytest.raises(UsageError, match="Run 1 is running"):
        store.queue.delete(1)
    done(attempt)
    store.queue.delete(2)
    store.queue.delete(1)
    assert store.queue.jobs() == [] and not store.queue.folder(1).exists()


def test_a_deleted_run_of_a_study_is_missing_until_it_is_asked_for_again(store: Store) -> None:
    store.queue.submit([spec(1), spec(2)], study=draft("s", spec(1), spec(2)))
    store.queue.delete(2)
    assert [member.replicate for member in store.queue.study("s").missing] == [1]
    assert store.queue.submit([spec(2)]).new == (3,)
    assert store.queue.study("s").missing == () and store.queue.study("s").members[1].job_id == 3


def test_deleting_a_run_keeps_what_another_one_made_too(store: Store) -> None:
    store.queue.submit([spec(1), spec(2)])
    shared, own = (
        store.artifacts.put_bytes(b"shared", "numbers", "txt"),
        store.artifacts.put_bytes(b"own", "numbers", "txt"),
    )
    for produced in ({"a": shared, "b": own}, {"a": shared}):
        attempt = take(store)
        attempt.finish({}, produced, {"task": "0" * 64})
        attempt.close()
    assert dict(store.queue.job(1).produced) == {"a": shared, "b": own} and dict(store.queue.job(1).used) == {
        "task": "0" * 64
    }
    store.queue.delete(1)
    assert shared in store.artifacts and own not in store.artifacts and verify(store).problems == ()


def test_a_product_that_is_not_in_the_store_is_not_recorded(store: Store) -> None:
    store.queue.submit([spec(1)])
    attempt = take(store)
    with pytest.raises(NotFound, match="The artefact 'weights' of run 1 is not in the store"):
        attempt.finish({}, {"weights": "0" * 64}, {})
    assert state(store, 1) == ("running", False)


def test_a_job_is_given_out_once_however_many_ask(store: Store) -> None:
    store.queue.submit([spec(i) for i in range(20)])
    taken: list[int] = []

    def ask() -> None:
        while (attempt := claim(store.queue)) is not None:
            taken.append(attempt.job.id)

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1, 21))
    assert all(one.alive and one.pid == os.getpid() for one in running(store.queue))


@pytest.fixture
def other(store: Store) -> Iterator[subprocess.Popen[str]]:
    """A worker in a process of its own that has taken the first job and reached step 5."""
    code = """
import sys, time
from pathlib import Path
from cotdistill.store.store import Store
from cotdistill.execution.attempts import claim
attempt = claim(Store.open(Path(sys.argv[1])).queue)
attempt.note(5)
print("taken", flush=True)
time.sleep(600)
"""
    store.queue.submit([spec(1)])
    process = subprocess.Popen([sys.executable, "-c", code, str(store.home)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "taken\n"
    yield process
    process.kill()
    process.communicate()


def test_a_death_is_seen_by_the_lock_and_the_job_is_queued_again(store: Store, other: subprocess.Popen[str]) -> None:
    (one,) = running(store.queue)
    assert one.alive and one.pid == other.pid
    assert not settle(store.queue, one, "alive", crashed=True)
    other.kill()
    other.wait()
    settle_dead(store.queue)
    job = store.queue.job(1)
    assert (job.state, job.deaths, job.attempt) == ("queued", 1, 1)
    assert take(store).number == 2


def test_what_was_asked_of_a_job_whose_process_died_is_done(store: Store, other: subprocess.Popen[str]) -> None:
    store.queue.stop(1)
    assert store.queue.job(1).state == "running"
    other.kill()
    other.wait()
    settle_dead(store.queue)
    assert state(store, 1) == ("stopped", False)


def test_a_job_of_a_dead_process_can_be_stopped_before_anybody_has_noticed(
    store: Store, other: subprocess.Popen[str]
) -> None:
    other.kill()
    other.wait()
    store.queue.stop(1)
    assert state(store, 1) == ("stopped", False)


def die(store: Store, step: int, *, crashed: bool) -> str:
    """One attempt that dies at a step; the state afterwards."""
    attempt = take(store)
    attempt.note(step)
    attempt.close()
    (one,) = running(store.queue)
    assert settle(store.queue, one, "it was ended by signal 11 (SIGSEGV)", crashed=crashed)
    return store.queue.job(1).state


def test_three_crashes_at_the_same_step_are_a_failure_with_its_cause(store: Store) -> None:
    store.queue.submit([spec(1)])
    store.queue.folder(1).mkdir(parents=True)
    assert [die(store, step, crashed=True) for step in (4, 7, 7)] == ["queued"] * 3
    store.queue.log_path(1, 4).write_text(
        "reading\nstep 7\nFatal Python error: Segmentation fault\n\nCurrent thread 0x01 (most recent call first):\n  File x\n"
    )
    assert die(store, 7, crashed=True) == "failed"
    error = store.queue.job(1).error
    assert error is not None and error["kind"] == "died"
    assert error["message"] == (
        "The process of this run died 3 times in a row at step 7: it was ended by signal 11 (SIGSEGV). "
        "It last said: reading | step 7 | Fatal Python error: Segmentation fault"
    )
    store.queue.retry(1)
    assert store.queue.job(1).deaths == 0


def test_kills_from_outside_are_forgiven_longer_than_crashes(store: Store) -> None:
    store.queue.submit([spec(1)])
    assert [die(store, -1, crashed=False) for _ in range(10)] == ["queued"] * 9 + ["failed"]


def test_every_write_of_a_superseded_attempt_is_refused(store: Store) -> None:
    store.queue.submit([spec(1)])
    old = take(store)
    # As if it had been frozen: its lock is gone, the job was given to another.
    old._lock.release()
    settle_dead(store.queue)
    new = take(store)
    assert (old.number, new.number) == (1, 2)
    digest = store.artifacts.put_bytes(b"late", "numbers", "txt")
    writes = (
        lambda: old.beat({"step": 1}),
        lambda: old.finish({}, {"numbers": digest}, {}),
        lambda: old.fail({}),
        lambda: old.release("stop"),
    )
    for write in writes:
        with pytest.raises(Superseded, match="Attempt 1 of run 1 is no longer the one that counts"):
            write()
    new.finish({"accuracy": 1.0}, {}, {})
    assert store.queue.job(1).result == {"accuracy": 1.0}


def test_a_lock_is_held_by_one_process_and_free_when_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_held(path) and holder(path) is None
    lock = Lock(path)
    assert is_held(path)
    with pytest.raises(BlockingIOError):
        Lock(path)
    lock.note(12)
    found = holder(path)
    assert found is not None and (found.pid, found.step) == (os.getpid(), 12)
    lock.release()
    lock.release()
    assert not is_held(path)
    assert send(path, signal.SIGKILL) is None


def test_a_signal_never_goes_to_a_process_that_only_has_the_number_of_the_holder(tmp_path: Path) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    path = tmp_path / "lock"
    # The holder is dead; its number now belongs to somebody else.
    path.write_text(f"{bystander.pid} 3".ljust(40))
    assert send(path, signal.SIGKILL) is None and bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_ten_thousand_jobs_are_listed_and_claimed_from(store: Store) -> None:
    store.queue.submit([spec(i) for i in range(10_000)])
    assert len(store.queue.jobs()) == 10_000 and store.queue.backlog().ready == 10_000
    assert take(store).job.label == "job 0"

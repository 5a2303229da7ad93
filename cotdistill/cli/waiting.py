"""Waiting for jobs: progress on stderr until every one has ended, whatever happens to supervisor and workers."""

from __future__ import annotations

import time
from collections.abc import Callable

from cotdistill.cli.output import Progress, note
from cotdistill.execution.supervisor import ensure_supervisor, no_supervisor
from cotdistill.store.records import Job
from cotdistill.store.store import Store
from cotdistill.text import duration, plural

# How often the queue is looked at; the looking costs a millisecond.
POLL_SECONDS = 1.0
ENDED = ("finished", "failed", "stopped")


def wait(store: Store, study_id: int) -> None:
    """Return when every job of the study has ended. Ctrl-C leaves the training running, says how to come back, and is passed on."""
    name = store.queue.study(study_id).name
    wait_for(store, lambda: store.queue.jobs(study=study_id), f"cotdistill study show {name}")


def wait_for(store: Store, of: Callable[[], list[Job]], come_back: str) -> None:
    """Return when every job that `of` gives has ended. come_back: the command that shows how far they are. StoreError if nobody can be
    started who would work on them; they stay queued."""
    jobs = of()
    total = sum(_weight(job) for job in jobs)
    progress = Progress(total, "seconds of work")
    begun, held_told, full_told, failed_told = time.monotonic(), False, False, set[int]()
    before = sum(_weight(job) * _share(job) for job in jobs)
    try:
        while True:
            jobs = of()
            waiting = [job for job in jobs if job.state not in ENDED]
            done = sum(_weight(job) * _share(job) for job in jobs)
            progress.show(done, _told(jobs, done - before, total - done, time.monotonic() - begun))
            for job in jobs:
                if job.state == "failed" and job.id not in failed_told:
                    failed_told.add(job.id)
                    note(f"failed: {job.label}: {(job.error or {}).get('message', '')} (cotdistill runs log {job.id})")
            # A job whose input failed cannot start before a person does something: waiting for it would never end.
            if all(job.waits for job in waiting):
                for job in waiting:
                    note(f"cannot start: {job.label}: {job.waits}")
                return
            if not held_told and (store.queue.paused or all(job.held or job.waits for job in waiting)):
                held_told = True
                note("Paused: nothing starts until it goes on (cotdistill queue resume, or runs resume).")
            if not full_told and (full := store.refusal):
                full_told = True
                note(full)
            # Each time: a supervisor that was killed is started again, one that runs is left alone.
            ensure_supervisor(store)
            if (reason := no_supervisor(store)) is not None:
                raise reason
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        note(f"\nThe work goes on. Come back: {come_back}    Begin nothing more: cotdistill queue pause")
        raise
    finally:
        progress.close()


def _weight(job: Job) -> float:
    return max(job.estimate, 1.0)


def _share(job: Job) -> float:
    """How much of a job is done, 0 to 1. Scoring comes after the last step, so the steps alone never make it whole."""
    if job.state in ENDED:
        return 1.0
    step, total = job.progress.get("step", 0), job.progress.get("total", 0)
    return 0.95 * step / total if job.state == "running" and total else 0.0


def _told(jobs: list[Job], gained: float, left: float, passed: float) -> str:
    ended = sum(job.state in ENDED for job in jobs)
    running = [job.label for job in jobs if job.state == "running"]
    # An estimate from a moment's work would mislead.
    remaining = f", {duration(passed * left / gained)} left" if gained > 0 and passed > 10 and left > 0 else ""
    now = f"; now: {' | '.join(running[:3])}" if running else ""
    return f"{ended} of {plural(len(jobs), 'job')}{remaining}{now}"

"""Waiting for jobs: progress on stderr until all have ended, even if supervisor or workers die."""

from __future__ import annotations

import time
from collections.abc import Callable

from cotdistill.cli.output import Progress, note
from cotdistill.errors import StoreError
from cotdistill.execution.supervisor import ensure_supervisor, last_stop, no_supervisor
from cotdistill.store.records import Job
from cotdistill.store.store import Store
from cotdistill.text import duration, phase_text, plural, share_done

# How often the queue is read; a read takes a millisecond.
POLL_SECONDS = 1.0
# An estimate above this, 100 hours, is not shown: the pace of a job that loads or was just resumed says nothing.
LONGEST_SECONDS = 360_000.0
ENDED = ("finished", "failed", "stopped")


def wait(store: Store, study_id: int) -> None:
    """Block until every job of the study has ended. Ctrl-C does not stop the training."""
    name = store.queue.study(study_id).name
    wait_for(store, lambda: store.queue.jobs(study=study_id), f"cotdistill study show {name}")


def wait_for(store: Store, of: Callable[[], list[Job]], come_back: str) -> None:
    """Block until every job that `of` returns has ended. come_back: the command that shows their progress.

    StoreError if no worker can be started, or if the store is stopped meanwhile; the jobs stay queued.
    """
    jobs, stop_before = of(), last_stop(store)
    total = sum(_weight(job) for job in jobs)
    progress = Progress(total, "seconds of work")
    begun, said_held, said_full, said_failed = time.monotonic(), False, False, set[int]()
    before = sum(_weight(job) * _share(job) for job in jobs)
    try:
        while True:
            jobs = of()
            waiting = [job for job in jobs if job.state not in ENDED]
            done = sum(_weight(job) * _share(job) for job in jobs)
            progress.show(done, _progress_text(jobs, done - before, total - done, time.monotonic() - begun))
            for job in jobs:
                if job.state == "failed" and job.id not in said_failed:
                    said_failed.add(job.id)
                    note(f"failed: {job.label}: {(job.error or {}).get('message', '')} (cotdistill runs log {job.id})")
            # A job whose input failed cannot start before a person does something: waiting for it would never end.
            if all(job.waits for job in waiting):
                for job in waiting:
                    note(f"cannot start: {job.label}: {job.waits}")
                return
            if not said_held and (store.queue.paused or all(job.held or job.waits for job in waiting)):
                said_held = True
                note("Paused: nothing starts until you resume it (cotdistill queue resume, or runs resume).")
            if not said_full and (full := store.refusal):
                said_full = True
                note(full)
            if last_stop(store) != stop_before:
                raise StoreError(
                    f"The store was stopped while this command waited (cotdistill app stop); {len(waiting)} of "
                    f"{plural(len(jobs), 'job')} had not finished.",
                    f"They stay queued and continue at the next start: cotdistill app start    Progress: {come_back}",
                )
            # Each time: a supervisor that was killed is started again, one that runs is left alone.
            ensure_supervisor(store)
            if (reason := no_supervisor(store)) is not None:
                raise reason
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        note(f"\nThe jobs keep running. Progress: {come_back}    To start no more: cotdistill queue pause")
        raise
    finally:
        progress.close()


def _weight(job: Job) -> float:
    return max(job.estimate, 1.0)


def _share(job: Job) -> float:
    """How much of a job is done, 0 to 1. Scoring comes after the last step, so the steps alone never make it whole."""
    if job.state in ENDED:
        return 1.0
    return 0.95 * share_done(job.progress) if job.state == "running" else 0.0


def _progress_text(jobs: list[Job], gained: float, left: float, passed: float) -> str:
    ended = sum(job.state in ENDED for job in jobs)
    running = [
        " · ".join(part for part in (job.label, phase_text(job.progress)) if part)
        for job in jobs
        if job.state == "running"
    ]
    # An estimate from a moment's work would mislead: no time is stated from it, nor one of hundreds of hours.
    remaining = ""
    if gained > 0 and passed > 10 and left > 0:
        seconds = passed * left / gained
        remaining = f", {duration(seconds)} left" if seconds < LONGEST_SECONDS else ", time left unknown"
    now = f"; now: {' | '.join(running[:3])}" if running else ""
    return f"{ended} of {plural(len(jobs), 'job')}{remaining}{now}"

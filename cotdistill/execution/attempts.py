"""One try at a job: taken by a worker in one transaction, held by a lock for life, and settled by others when its
process has died.

Every write names its attempt and is refused (Superseded) once the job has left it: a worker that was frozen and wakes
up later cannot overwrite what a newer attempt has done.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotdistill.errors import NotFound, Superseded
from cotdistill.store import memory_shortage
from cotdistill.store.budget import refusal
from cotdistill.store.database import setting
from cotdistill.store.disk import disk_errors
from cotdistill.store.locks import Lock, holder, is_held
from cotdistill.store.queue import FOR_GPU, READY, Queue
from cotdistill.store.records import Job, document, seal_of

# Deaths in a row at the same step after which a job has failed. A kill from outside says nothing about the job, so it
# takes more of those.
MOST_CRASHES = 3
MOST_DEATHS = 10
# Lines of the log that stand in the cause of such a failure.
TAIL_LINES = 5


def claim(
    queue: Queue, *, gpu: bool = True, only: Sequence[str] | None = None, without: Sequence[str] = ()
) -> Attempt | None:
    """Take the first ready job, with gpu=False the first that asks for no GPU, of some kinds only or without some; None
    if there is none or the queue is paused. The lock is held before anyone can see the job as running."""
    now = time.time()
    # Counting what the store holds takes its time where it has a budget, so not under the write lock.
    with queue.database.read() as connection:
        if refusal(connection, queue.home):
            return None
    with queue.database.write() as connection:
        if setting(connection, "paused", "0") == "1":
            return None
        kinds = (
            "kind NOT IN (SELECT value FROM"
            f" json_each(?)){'' if only is None else ' AND kind IN (SELECT value FROM json_each(?))'}"
        )
        values = [gpu, json.dumps(list(without))] + ([] if only is None else [json.dumps(list(only))])
        which = (
            f"SELECT id, attempt, seconds FROM job WHERE {READY} AND (? OR NOT {FOR_GPU}) AND {kinds} ORDER BY"
            " position, id LIMIT 1"
        )
        row = connection.execute(which, values).fetchone()
        if row is None:
            return None
        job, number = int(row["id"]), int(row["attempt"]) + 1
        with disk_errors(queue.folder(job), "the lock of a run"):
            queue.folder(job).mkdir(parents=True, exist_ok=True)
            lock = Lock(queue.lock_path(job, number))
        try:
            # What an imported job brought along gives way to what is made here.
            connection.execute(
                """
                UPDATE job SET state = 'running', request = '', attempt = ?, beat = 0, started = ?, finished = NULL,
                error = NULL, origin = ''
                WHERE id = ?
                """,
                (number, now, job),
            )
            connection.execute("DELETE FROM left_out WHERE job = ?", (job,))
            connection.execute(
                "INSERT INTO attempt (job, number, pid, started) VALUES (?, ?, ?, ?)", (job, number, os.getpid(), now)
            )
        except BaseException:
            lock.release()
            raise
    return Attempt(queue, queue.job(job), number, lock)


class Attempt:
    """A running try at a job, in the process that runs it."""

    def __init__(self, queue: Queue, job: Job, number: int, lock: Lock) -> None:
        self.queue = queue
        self.job = job
        self.number = number
        self.log_path = queue.log_path(job.id, number)
        self.resume_file = queue.resume_path(job.id)
        self._lock = lock
        self._begun = time.monotonic()
        self._ended = False

    @property
    def seconds(self) -> float:
        """Compute of this job so far, over all its attempts."""
        return self.job.seconds + time.monotonic() - self._begun

    def note(self, step: int) -> None:
        """Write down the step reached, in microseconds: should the process die, it is known where."""
        self._lock.note(step)

    def beat(self, progress: Mapping[str, Any]) -> str:
        """Tell that the process is alive and how far it is; gives what a person has asked for ("", "stop" or
        "pause").
        """
        with self.queue.database.write() as connection:
            row = self._current(connection)
            connection.execute(
                "UPDATE job SET beat = beat + 1, progress = ?, seconds = ? WHERE id = ?",
                (document(progress), self.seconds, self.job.id),
            )
            return str(row["request"])

    def finish(self, result: Mapping[str, Any], produced: Mapping[str, str], used: Mapping[str, str]) -> None:
        """Record what came out. NotFound if a product is not in the store."""
        with self.queue.database.write() as connection:
            self._current(connection)
            for role, digest in produced.items():
                if digest not in self.queue.artifacts:
                    raise NotFound(f"The artefact {role!r} of run {self.job.id} is not in the store.", "Retry the run.")
            connection.execute("DELETE FROM link WHERE job = ?", (self.job.id,))
            links = [
                (self.job.id, way, role, digest)
                for way, found in (("produced", produced), ("used", used))
                for role, digest in found.items()
            ]
            connection.executemany("INSERT INTO link VALUES (?, ?, ?, ?)", links)
            self._end(connection, "finished", result=document(result))
        self._ended = True
        self.resume_file.unlink(missing_ok=True)

    def fail(self, error: Mapping[str, str]) -> None:
        """Record a failure: kind, message, hint, traceback. The resume checkpoint stays."""
        with self.queue.database.write() as connection:
            self._current(connection)
            self._end(connection, "failed", error=document(error))
        self._ended = True

    def release(self, request: str) -> None:
        """Give the job back: "stop" ends it, "pause" holds it, "leave" (the worker ends) leaves it to another
        worker.
        """
        with self.queue.database.write() as connection:
            self._current(connection)
            self._end(connection, "stopped" if request == "stop" else "queued", held=int(request == "pause"))
        self._ended = True

    def close(self) -> None:
        """Let go of the lock. If the attempt is still open, it counts as dead from here on."""
        if self._ended:
            self._lock.path.unlink(missing_ok=True)
        self._lock.release()

    def _current(self, connection: sqlite3.Connection) -> sqlite3.Row:
        row: sqlite3.Row | None = connection.execute(
            "SELECT state, attempt, request FROM job WHERE id = ?", (self.job.id,)
        ).fetchone()
        if row is None or row["state"] != "running" or row["attempt"] != self.number:
            now = "was deleted" if row is None else f"is {row['state']} at attempt {row['attempt']}"
            raise Superseded(
                f"Attempt {self.number} of run {self.job.id} is no longer the one that counts: the run {now}."
            )
        return row

    def _end(
        self,
        connection: sqlite3.Connection,
        state: str,
        *,
        held: int = 0,
        result: str | None = None,
        error: str | None = None,
    ) -> None:
        now = time.time()
        connection.execute(
            """
            UPDATE job SET state = ?, held = ?, request = '', deaths = 0, crashes = 0, death_step = NULL,
            seconds = ?, finished = ?, result = ?, seal = ?, error = ? WHERE id = ?
            """,
            (
                state,
                held,
                self.seconds,
                None if state == "queued" else now,
                result,
                seal_of(result),
                error,
                self.job.id,
            ),
        )
        connection.execute(
            "UPDATE attempt SET ended = ?, outcome = ? WHERE job = ? AND number = ?",
            (now, state, self.job.id, self.number),
        )


@dataclass(frozen=True)
class Running:
    """A running attempt as others see it. beat: grows while the process is awake. pid: None if it is not known."""

    job: int
    attempt: int
    beat: int
    pid: int | None
    alive: bool
    lock: Path


def running(queue: Queue) -> list[Running]:
    """Every running attempt, and whether its process lives."""
    with queue.database.read() as connection:
        rows = connection.execute("SELECT id, attempt, beat FROM job WHERE state = 'running' ORDER BY id").fetchall()
    attempts = []
    for row in rows:
        path = queue.lock_path(row["id"], row["attempt"])
        wrote = holder(path)
        attempts.append(
            Running(row["id"], row["attempt"], row["beat"], wrote.pid if wrote else None, is_held(path), path)
        )
    return attempts


def settle(
    queue: Queue, dead: Running, cause: str, *, crashed: bool, blamed: bool = True, starved: bool = False
) -> bool:
    """Close an attempt whose process has died: what a person asked for is done, otherwise the job is queued again, in
    its old place.

    Three crashes (or ten deaths of any kind) in a row at the same step make it failed, with the cause. blamed: False
    for a process that was ended on purpose. starved: the system ended it for want of memory, which it would do again:
    the job fails at once. Gives False if the attempt was settled meanwhile, or lives.
    """
    wrote = holder(dead.lock)
    step = wrote.step if wrote else -1
    with queue.database.write() as connection:
        row = connection.execute("SELECT * FROM job WHERE id = ?", (dead.job,)).fetchone()
        if row is None or row["state"] != "running" or row["attempt"] != dead.attempt or is_held(dead.lock):
            return False
        now = time.time()
        same = row["death_step"] == step
        deaths = (row["deaths"] if same else 0) + int(blamed)
        crashes = (row["crashes"] if same else 0) + int(blamed and crashed)
        state, held, error = "queued", 0, None
        if row["request"]:
            state, held = ("stopped", 0) if row["request"] == "stop" else ("queued", 1)
        elif starved:
            seen = queue.job(dead.job)
            where = f"at step {step}" if step >= 0 else "before its first step"
            state, error = (
                "failed",
                document(
                    {
                        **memory_shortage.advice(seen, f"{cause}, {where}."),
                        "traceback": "\n".join(_log(queue, dead)[-200:]),
                    }
                ),
            )
        elif crashes >= MOST_CRASHES or deaths >= MOST_DEATHS:
            state, error = "failed", document(_death_message(queue, dead, step, max(crashes, deaths), cause))
        connection.execute(
            "UPDATE job SET state = ?, held = ?, request = '', deaths = ?, crashes = ?, death_step = ?, error = ?,"
            " finished = ? WHERE id = ?",
            (state, held, deaths, crashes, step, error, None if state == "queued" else now, dead.job),
        )
        connection.execute(
            "UPDATE attempt SET ended = ?, outcome = ? WHERE job = ? AND number = ?",
            (now, f"died: {cause}", dead.job, dead.attempt),
        )
    return True


def settle_dead(queue: Queue) -> None:
    """Settle every attempt whose process has died, where no supervisor knows more about the cause."""
    for one in running(queue):
        if not one.alive:
            settle(queue, one, "it ended without a word", crashed=False)


def _log(queue: Queue, dead: Running) -> list[str]:
    return queue.log(dead.job, dead.attempt).splitlines()


def _death_message(queue: Queue, dead: Running, step: int, times: int, cause: str) -> dict[str, str]:
    lines = _log(queue, dead)
    where = f"at step {step}" if step >= 0 else "before its first step"
    # Without the stack that a crash prints: it stands in the log.
    advice = [
        line.strip()
        for line in lines
        if line.strip() and not line.startswith(("  File ", "Thread 0x", "Current thread 0x"))
    ]
    last = " | ".join(advice[-TAIL_LINES:])
    said = f" It last said: {last[:600]}" if last else ""
    return {
        "kind": "died",
        "message": f"The process of this run died {times} times in a row {where}: {cause}.{said}",
        "hint": f"Read the log (cotdistill runs log {dead.job}), mend the cause, then retry.",
        "traceback": "\n".join(lines[-200:]),
    }

"""The queue: jobs are put in, looked up, reordered, held, stopped and deleted here. Every change is one transaction."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotdistill.errors import NotFound, UnknownName, UsageError
from cotdistill.store.artifacts import Artifacts
from cotdistill.store.budget import check_queued, refusal
from cotdistill.store.database import Database, set_setting, setting
from cotdistill.store.hardware import indices
from cotdistill.store.locks import is_held
from cotdistill.store.records import (
    ANSWERS,
    STATES,
    Job,
    JobSpec,
    Member,
    Study,
    StudyDraft,
    Submission,
    document,
    read_document,
)

# Processes at first, until a person chooses: one a core, but no more than this, for memory's sake.
MOST_WORKERS = 4
# What a log shows at most, from its end.
LOG_BYTES = 200_000
# The queued jobs whose needs are all finished.
READY = """
    state = 'queued' AND held = 0 AND NOT EXISTS (
        SELECT 1 FROM need LEFT JOIN job AS other ON other.identity = need.identity
        WHERE need.job = job.id AND (other.state IS NULL OR other.state <> 'finished'))
"""
# Whether a job's config asks for a GPU. It is canonical JSON, so this is found without reading it.
FOR_GPU = """(instr(config, '"device":"cuda"') > 0)"""


@dataclass(frozen=True)
class Backlog:
    """What is left to do. running: jobs that have begun; ready: jobs that could begin now; coming: jobs that wait for
    one of these.

    kinds: the kinds of all that is ready or coming, the next one first. gpu: how many of all these ask for a GPU.
    """

    running: int
    ready: int
    coming: int
    kinds: tuple[str, ...]
    gpu: int = 0

    @property
    def total(self) -> int:
        return self.running + self.ready + self.coming


class Queue:
    """The jobs and studies of a store, for any number of processes and threads at once."""

    def __init__(self, home: Path, database: Database, artifacts: Artifacts) -> None:
        self.home = home
        self.database = database
        self.artifacts = artifacts

    def folder(self, job: int) -> Path:
        """Logs, locks and the resume checkpoint of a job."""
        return self.home / "jobs" / str(job)

    def log_path(self, job: int, attempt: int) -> Path:
        return self.folder(job) / f"attempt-{attempt}.log"

    def lock_path(self, job: int, attempt: int) -> Path:
        return self.folder(job) / f"attempt-{attempt}.lock"

    def resume_path(self, job: int) -> Path:
        return self.folder(job) / "resume.safetensors"

    def log(self, job: int, attempt: int | None = None) -> str:
        """What an attempt (the last one by default) wrote, at most its last 200 kB; "" before its first line."""
        path = self.log_path(job, self.job(job).attempt if attempt is None else attempt)
        try:
            with open(path, "rb") as file:
                file.seek(max(0, path.stat().st_size - LOG_BYTES))
                return file.read().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def submit(self, specs: Sequence[JobSpec], *, study: StudyDraft | None = None) -> Submission:
        """Queue jobs, in this order, and record the study they belong to. What is there already is reused; what failed
        or was stopped is queued again (a failed one from its start, a stopped one from where it was). Launching the
        latest study of a name once more finds it again."""
        new: list[int] = []
        reused: list[int] = []
        requeued: list[int] = []
        now = time.time()
        with self.database.write() as connection:
            place = float(connection.execute("SELECT coalesce(max(position), 0) FROM job").fetchone()[0])
            for identity, spec in {spec.identity: spec for spec in specs}.items():
                row = connection.execute("SELECT id, state FROM job WHERE identity = ?", (identity,)).fetchone()
                if row is None:
                    place += 1
                    new.append(_insert(connection, identity, spec, place, now))
                elif row["state"] in ("failed", "stopped"):
                    self._queue_again(connection, row["id"], afresh=row["state"] == "failed")
                    requeued.append(row["id"])
                else:
                    reused.append(row["id"])
            _check_needs(connection, [*new, *requeued])
            if new or requeued:
                check_queued(connection, self.home)
            number = None if study is None else _record_study(connection, study, now)
        return Submission(number, tuple(new), tuple(reused), tuple(requeued))

    def jobs(
        self,
        state: str | None = None,
        kind: str | None = None,
        study: int | str | None = None,
        limit: int | None = None,
    ) -> list[Job]:
        """Jobs, newest first. UnknownName for a state that does not exist."""
        if state is not None and state not in STATES:
            raise UnknownName("state", state, STATES)
        number = None if study is None else self.study(study).id
        wanted = [
            ("state = ?", state),
            ("kind = ?", kind),
            ("identity IN (SELECT identity FROM member WHERE study = ?)", number),
        ]
        chosen = [(text, value) for text, value in wanted if value is not None]
        where = " AND ".join(text for text, _ in chosen) or "1"
        with self.database.read() as connection:
            # The plus keeps SQLite on the index of what is asked for; by itself it would read the whole table in the
            # order of its rows.
            order = "+id" if chosen else "id"
            return _read(
                connection,
                f"{where} ORDER BY {order} DESC LIMIT ?",
                [*(value for _, value in chosen), -1 if limit is None else limit],
            )

    def job(self, key: int | str) -> Job:
        """The job of that number, or whose identity starts so. NotFound, or UsageError if several do."""
        text = str(key)
        with self.database.read() as connection:
            jobs = _read(connection, "id = ?", [int(text)]) if text.isdecimal() and len(text) < 19 else []
            if not jobs and isinstance(key, str) and len(text) >= 4 and set(text) <= set("0123456789abcdef"):
                jobs = _read(connection, "identity >= ? AND identity < ? LIMIT 5", [text, text + "g"])
        if not jobs:
            raise NotFound(f"There is no run {text!r}.", "See them: cotdistill runs list --kind all")
        if len(jobs) > 1:
            raise UsageError(
                f"{text!r} is the start of several identities.",
                "Give more of it: " + ", ".join(job.identity[:16] for job in jobs),
            )
        return jobs[0]

    def states(self) -> dict[str, str]:
        """Identity -> state, of every job."""
        with self.database.read() as connection:
            return {row[0]: row[1] for row in connection.execute("SELECT identity, state FROM job")}

    def needs(self) -> dict[str, tuple[str, ...]]:
        """Identity -> identities of the jobs that it needs, of every job that needs any."""
        needed: dict[str, list[str]] = defaultdict(list)
        with self.database.read() as connection:
            for row in connection.execute(
                "SELECT job.identity, need.identity FROM need JOIN job ON job.id = need.job ORDER BY 1, 2"
            ):
                needed[row[0]].append(row[1])
        return {identity: tuple(needs) for identity, needs in needed.items()}

    def studies(self) -> list[Study]:
        """Every study, newest first."""
        with self.database.read() as connection:
            return _studies(connection, "1", [])

    def study(self, key: int | str) -> Study:
        """The study of that number, or the newest of that name. UnknownName otherwise."""
        text = str(key)
        with self.database.read() as connection:
            studies = _studies(connection, "id = ?", [int(text)]) if text.isdecimal() and len(text) < 19 else []
            studies = studies or _studies(connection, "id = (SELECT max(id) FROM study WHERE name = ?)", [text])
            if not studies:
                raise UnknownName(
                    "launched study", text, [row[0] for row in connection.execute("SELECT DISTINCT name FROM study")]
                )
        return studies[0]

    def study_names(self, jobs: Sequence[int]) -> dict[int, str]:
        """Number of a job -> the name of the newest study it belongs to; jobs of no study are left out."""
        query = """
            SELECT job.id, study.name FROM job JOIN member ON member.identity = job.identity
            JOIN study ON study.id = member.study
            WHERE job.id IN (SELECT value FROM json_each(?)) ORDER BY study.id
        """
        with self.database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query, [json.dumps(list(jobs))])}

    def backlog(self) -> Backlog:
        """What is left to do; nothing is ready or coming while the queue is paused, nothing ready without room."""
        with self.database.read() as connection:
            running, gpu = connection.execute(
                f"SELECT count(*), coalesce(sum({FOR_GPU}), 0) FROM job WHERE state = 'running'"
            ).fetchone()
            if setting(connection, "paused", "0") == "1":
                return Backlog(running, 0, 0, (), gpu)
            full = refusal(connection, self.home)
            stuck = _waits(connection)
            ready = connection.execute(f"SELECT kind FROM job WHERE {READY} ORDER BY position, id").fetchall()
            waiting = (
                f"SELECT id, kind, {FOR_GPU} AS gpu FROM job WHERE state = 'queued' AND held = 0 ORDER BY position, id"
            )
            queued = connection.execute(waiting).fetchall()
        going = [row for row in queued if row["id"] not in stuck]
        kinds = dict.fromkeys([*(row["kind"] for row in ready), *(row["kind"] for row in going)])
        begin = 0 if full else len(ready)
        return Backlog(
            running, begin, len(going) - begin, () if full else tuple(kinds), gpu + sum(row["gpu"] for row in going)
        )

    def stop(self, job: int) -> None:
        """End a job: at once if it is queued, within a second or two if it runs; it can be resumed or retried later."""
        self._end(job, "stop", "stopped")

    def pause(self, job: int) -> None:
        """Hold a job where it is until it is resumed."""
        self._end(job, "pause", "queued")

    def _end(self, job: int, request: str, state: str) -> None:
        with self.database.write() as connection:
            row = _row(connection, job)
            if row["state"] in ("finished", "failed") or (row["state"] == "stopped" and request == "pause"):
                raise UsageError(
                    f"Run {job} cannot be told to {request}: it {_TOLD[row['state']]}.",
                    "Only queued and running ones can.",
                )
            if row["state"] == "running" and is_held(self.lock_path(job, row["attempt"])):
                connection.execute("UPDATE job SET request = ? WHERE id = ?", (request, job))
                return
            # Queued, or its process has died and nobody has noticed yet.
            ended = time.time() if state == "stopped" else None
            values = (state, int(state == "queued"), ended, job)
            connection.execute("UPDATE job SET state = ?, held = ?, request = '', finished = ? WHERE id = ?", values)

    def resume(self, job: int) -> None:
        """Let a paused, stopped or failed job go on from its last checkpoint."""
        with self.database.write() as connection:
            row = _row(connection, job)
            if row["state"] == "finished":
                raise UsageError(f"Run {job} has finished; there is nothing to resume.")
            if row["state"] in ("failed", "stopped"):
                self._queue_again(connection, job, afresh=False)
            else:
                connection.execute("UPDATE job SET held = 0, request = '' WHERE id = ?", (job,))

    def retry(self, job: int) -> None:
        """Queue a failed or stopped job again, from its start; or run an imported one here."""
        with self.database.write() as connection:
            row = _row(connection, job)
            if row["kind"] == ANSWERS:
                raise UsageError(
                    f"Run {job} is made of answers from a file; there is nothing to run.",
                    "Import the file again if it has changed.",
                )
            if row["state"] not in ("failed", "stopped") and not (row["state"] == "finished" and row["origin"]):
                raise UsageError(
                    f"Run {job} {_TOLD[row['state']]}; only failed and stopped ones, and those that were imported, can"
                    " be retried."
                )
            self._queue_again(connection, job, afresh=True)

    def _queue_again(self, connection: sqlite3.Connection, job: int, *, afresh: bool) -> None:
        if afresh:
            self.resume_path(job).unlink(missing_ok=True)
            connection.execute("UPDATE job SET progress = '{}', seconds = 0, result = NULL WHERE id = ?", (job,))
        connection.execute(
            """
            UPDATE job SET state = 'queued', held = 0, request = '', deaths = 0, crashes = 0, death_step = NULL,
            error = NULL, finished = NULL
            WHERE id = ?
            """,
            (job,),
        )

    def move(self, job: int, before: int | str) -> None:
        """Put a queued job right before another one, or "first" or "last"."""
        with self.database.write() as connection:
            row = _row(connection, job)
            if row["state"] != "queued":
                raise UsageError(f"Run {job} {_TOLD[row['state']]}; only queued ones have a place in the queue.")
            order = [
                r[0]
                for r in connection.execute(
                    "SELECT id FROM job WHERE state = 'queued' AND id <> ? ORDER BY position, id", (job,)
                )
            ]
            if before in ("first", "last"):
                place = 0 if before == "first" else len(order)
            elif before == job:
                return
            elif before in order:
                place = order.index(int(before))
            else:
                raise UsageError(f"Run {before} is not queued.", "Name a queued run, or move it first or last.")
            order.insert(place, job)
            connection.executemany(
                "UPDATE job SET position = ? WHERE id = ?", [(float(i), number) for i, number in enumerate(order)]
            )

    def delete(self, job: int) -> None:
        """Remove a job, its folder, and what only it has made. Refused (UsageError) while it runs or others need it."""
        with self.database.write() as connection:
            row = _row(connection, job)
            if row["state"] == "running":
                raise UsageError(f"Run {job} is running.", f"Stop it first: cotdistill runs stop {job}")
            needed = connection.execute(
                "SELECT need.job FROM need WHERE need.identity = ? ORDER BY need.job", (row["identity"],)
            ).fetchall()
            if needed:
                listed = ", ".join(str(r[0]) for r in needed[:5]) + (" ..." if len(needed) > 5 else "")
                raise UsageError(
                    f"Run {job} is needed by {len(needed)} other{'' if len(needed) == 1 else 's'}: {listed}.",
                    "Delete these first.",
                )
            artifacts = [
                r[0]
                for r in connection.execute("SELECT digest FROM link WHERE job = ? AND direction = 'produced'", (job,))
            ]
            connection.execute("DELETE FROM job WHERE id = ?", (job,))
            # A running job may just be about to record the same content: then the files stay.
            if not connection.execute("SELECT 1 FROM job WHERE state = 'running' LIMIT 1").fetchone():
                for digest in artifacts:
                    if not connection.execute("SELECT 1 FROM link WHERE digest = ? LIMIT 1", (digest,)).fetchone():
                        self.artifacts.remove(digest)
        shutil.rmtree(self.folder(job), ignore_errors=True)

    @property
    def paused(self) -> bool:
        """While it is, nothing new begins; what runs goes on to its end."""
        return self.setting("paused") == "1"

    def set_paused(self, wanted: bool) -> None:
        self.set_setting("paused", str(int(wanted)))

    def workers(self) -> int:
        """The number of worker processes a person wants; until it is chosen one a core (at most 4), and no fewer than
        there are GPUs.
        """
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return int(self.setting("workers") or max(min(cores, MOST_WORKERS), len(indices())))

    def set_workers(self, number: int) -> None:
        if not 1 <= number <= 256:
            raise UsageError(f"The number of workers is {number}; expected 1 to 256.")
        self.set_setting("workers", str(number))

    def setting(self, name: str) -> str | None:
        with self.database.read() as connection:
            return setting(connection, name, "") or None

    def set_setting(self, name: str, value: str) -> None:
        with self.database.write() as connection:
            set_setting(connection, name, value)


_TOLD = {
    "queued": "is queued",
    "running": "is running",
    "finished": "has finished",
    "failed": "has failed",
    "stopped": "was stopped",
}


def _row(connection: sqlite3.Connection, job: int) -> sqlite3.Row:
    row: sqlite3.Row | None = connection.execute("SELECT * FROM job WHERE id = ?", (job,)).fetchone()
    if row is None:
        raise NotFound(f"There is no run {job}.", "See them: cotdistill runs list --kind all")
    return row


def _insert(connection: sqlite3.Connection, identity: str, spec: JobSpec, position: float, now: float) -> int:
    values = (identity, spec.kind, spec.recipe, document(spec.config), spec.label, float(spec.seconds), position, now)
    cursor = connection.execute(
        "INSERT INTO job (identity, kind, recipe, config, label, estimate, state, position, created) VALUES (?, ?, ?,"
        " ?, ?, ?, 'queued', ?, ?)",
        values,
    )
    job = int(cursor.lastrowid or 0)
    connection.executemany("INSERT INTO need VALUES (?, ?)", [(job, need) for need in dict.fromkeys(spec.needs)])
    return job


def _check_needs(connection: sqlite3.Connection, jobs: Iterable[int]) -> None:
    for job in jobs:
        lost = connection.execute(
            "SELECT identity FROM need WHERE job = ? AND identity NOT IN (SELECT identity FROM job)", (job,)
        ).fetchone()
        if lost:
            raise NotFound(
                f"A job needs {lost[0][:12]}, which is neither in the store nor submitted with it.",
                "Submit both together.",
            )


def _record_study(connection: sqlite3.Connection, study: StudyDraft, now: float) -> int:
    latest = _studies(connection, "id = (SELECT max(id) FROM study WHERE name = ?)", [study.name])
    members = [(m.identity, m.condition, m.replicate, m.role) for m in latest[0].members] if latest else []
    if latest and latest[0].plan_hash == study.plan_hash and members == list(study.members):
        return latest[0].id
    known = {row[0] for row in connection.execute("SELECT identity FROM job")}
    if lost := [member for member in study.members if member[0] not in known]:
        raise NotFound(
            f"The study {study.name!r} names {len(lost)} runs that are not in the store.", "Submit them with it."
        )
    cursor = connection.execute(
        "INSERT INTO study (name, spec, plan_hash, created) VALUES (?, ?, ?, ?)",
        (study.name, document(study.spec), study.plan_hash, now),
    )
    number = int(cursor.lastrowid or 0)
    connection.executemany(
        "INSERT INTO member VALUES (?, ?, ?, ?, ?, ?)",
        [(number, place, *member) for place, member in enumerate(study.members)],
    )
    return number


def _studies(connection: sqlite3.Connection, where: str, values: Sequence[Any]) -> list[Study]:
    rows = connection.execute(f"SELECT * FROM study WHERE {where} ORDER BY id DESC", values).fetchall()
    members: dict[int, list[Member]] = defaultdict(list)
    query = f"""
        SELECT member.*, job.id AS job FROM member LEFT JOIN job ON job.identity = member.identity
        WHERE member.study IN (SELECT id FROM study WHERE {where}) ORDER BY member.study, member.place
    """
    for row in connection.execute(query, values):
        members[row["study"]].append(
            Member(row["job"] or 0, row["condition"], row["replicate"], row["role"], row["identity"])
        )
    return [
        Study(
            r["id"],
            r["name"],
            read_document(r["spec"]),
            r["plan_hash"],
            r["created"],
            tuple(members[r["id"]]),
            r["origin"],
            r["extends"],
        )
        for r in rows
    ]


def _read(connection: sqlite3.Connection, where: str, values: Sequence[Any]) -> list[Job]:
    # Numbers first: a job's row is long, and an index alone finds and orders them.
    numbers = [row["id"] for row in connection.execute(f"SELECT id FROM job WHERE {where}", values)]
    bound = [json.dumps(numbers)]
    rows = {
        row["id"]: row
        for row in connection.execute("SELECT * FROM job WHERE id IN (SELECT value FROM json_each(?))", bound)
    }
    links: dict[int, dict[str, dict[str, str]]] = defaultdict(lambda: {"used": {}, "produced": {}, "left_out": {}})
    query = """
        SELECT job, direction, role, digest FROM link WHERE job IN (SELECT value FROM json_each(:jobs))
        UNION ALL SELECT job, 'left_out', role, digest FROM left_out WHERE job IN (SELECT value FROM json_each(:jobs))
    """
    for row in connection.execute(query, {"jobs": bound[0]}):
        links[row["job"]][row["direction"]][row["role"]] = row["digest"]
    waits = _waits(connection) if any(row["state"] == "queued" for row in rows.values()) else {}
    return [Job.from_row(rows[number], links[number], waits.get(number, "")) for number in numbers]


def _waits(connection: sqlite3.Connection) -> dict[int, str]:
    """Why queued jobs cannot start before a person does something; jobs that only wait for their turn are not
    listed.
    """
    query = """
        SELECT need.job, other.id, other.state,
        other.held FROM need JOIN job ON job.id = need.job AND job.state = 'queued'
        LEFT JOIN job AS other ON other.identity = need.identity WHERE other.state IS NULL OR other.state <> 'finished'
    """
    open_needs: list[tuple[int, int | None, str, int]] = [tuple(row) for row in connection.execute(query)]
    waits: dict[int, str] = {}
    followers: Mapping[int, list[int]] = defaultdict(list)
    for job, other, state, held in open_needs:
        if other is None:
            waits[job] = "waits for a run that was deleted"
        elif state in ("failed", "stopped"):
            waits[job] = f"waits for run {other}, which {_TOLD[state]}"
        elif state == "queued" and held:
            waits[job] = f"waits for run {other}, which is paused"
        if other is not None:
            followers[other].append(job)
    new = list(waits)
    while new:
        other = new.pop()
        for job in followers[other]:
            if job not in waits:
                waits[job] = f"waits for run {other}, which {waits[other]}"
                new.append(job)
    return waits

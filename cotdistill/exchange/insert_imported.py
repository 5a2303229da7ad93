"""Runs that were made elsewhere become rows of this store, in one transaction, marked with the digest of the file that
they came from.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cotdistill.errors import UsageError
from cotdistill.store.records import ANSWERS, Job, document, seal_of
from cotdistill.store.store import Store
from cotdistill.studies.annotations import Remark
from cotdistill.studies.spec import StudySpec

if TYPE_CHECKING:
    import pandas as pd

# What two runs of one identity must agree in to count as the same result.
RESULTS = ("accuracy", "n", "correct", "chance", "mode", "dev_accuracy", "tokens")
COLUMNS = ["id", "cluster", "mode", "answer", "predicted", "correct", "margin", "probabilities"]


@dataclass(frozen=True)
class IncomingProduct:
    """One product of a job. made: digest of what the job made; held: of what came along, None if it was left out."""

    digest: str
    held: str | None
    suffix: str


@dataclass(frozen=True)
class IncomingJob:
    """A job that was run elsewhere; the fields are those of `jobs.Job`."""

    identity: str
    kind: str
    recipe: int
    config: Mapping[str, Any]
    label: str
    estimate: float
    state: str
    seconds: float
    created: float
    started: float | None
    finished: float | None
    result: Mapping[str, Any] | None
    error: Mapping[str, str] | None
    needs: tuple[str, ...]
    produced: Mapping[str, IncomingProduct]
    used: Mapping[str, str]
    origin: str


@dataclass(frozen=True)
class IncomingStudy:
    """A study with its jobs; members are (identity, condition, replicate, role)."""

    name: str
    spec: StudySpec
    plain_spec: Mapping[str, Any]
    plan_hash: str
    created: float
    members: tuple[tuple[str, str, int, str], ...]
    jobs: tuple[IncomingJob, ...]
    remark: Remark | None = None
    extends: int | None = None


@dataclass(frozen=True)
class Standing:
    """How a study meets what is here already: identities of jobs that are new, that are here without a result and get
    one, and that are reused; more: reused ones that have finished here and not there. filled: by identity, digests by
    role of what imported ones lack here and the study has. study: number of the same study, if it is here."""

    new: tuple[str, ...]
    completed: tuple[str, ...]
    reused: tuple[str, ...]
    more: tuple[str, ...]
    filled: Mapping[str, Mapping[str, str]]
    study: int | None
    states: Mapping[str, str]


def standing(store: Store, study: IncomingStudy, table: Callable[[str], pd.DataFrame]) -> Standing:
    """Look before anything is written. table: predictions of the study by digest.

    UsageError where another study has its name, where a run of it is running here, or where one has finished here with
    other answers.
    """
    number = _same_study(store, study)
    here = _here(store, study)
    if running := [job.id for job in here.values() if job.state == "running"]:
        raise UsageError(
            f"Runs of this study are running here: {_listed(running)}.",
            "Wait until they have ended, or stop them; then import again.",
        )
    done = {job.identity for job in study.jobs if job.state == "finished"}
    finished = {identity for identity, job in here.items() if job.state == "finished"}
    if other := [
        here[j.identity].id
        for j in study.jobs
        if j.identity in finished & done and _differs(store, j, here[j.identity], table)
    ]:
        raise UsageError(
            f"Runs of this study have finished here with other answers: {_listed(other)}. Another machine or library"
            " may have made them; the study would not show the numbers of the archive.",
            "Import it into a store of its own: COTDISTILL_HOME=FOLDER cotdistill study import FILE",
        )
    return Standing(
        new=tuple(job.identity for job in study.jobs if job.identity not in here),
        completed=tuple(identity for identity in here if identity in done - finished),
        reused=tuple(identity for identity in here if identity in finished or identity not in done),
        more=tuple(sorted(finished - done)),
        filled={job.identity: _lacking(job, here[job.identity]) for job in study.jobs if job.identity in here},
        study=number,
        states={identity: job.state for identity, job in here.items()},
    )


def record(store: Store, study: IncomingStudy, seen: Standing, origin: str) -> int:
    """Write the rows of a study whose files are in the store; its number. Nothing is written if a run changed its state
    since it was looked at.
    """
    here = _here(store, study)
    wanted = {job.identity for job in study.jobs}
    with store.queue.database.write() as connection:
        states = {
            row["identity"]: row["state"]
            for row in connection.execute("SELECT identity, state FROM job")
            if row["identity"] in wanted
        }
        if states != dict(seen.states):
            raise UsageError(
                "Runs of this study began or ended while it was imported.", "Import it again; nothing was changed."
            )
        place = float(connection.execute("SELECT coalesce(max(position), 0) FROM job").fetchone()[0])
        for job in study.jobs:
            if job.identity in seen.new:
                place += 1
                _insert(connection, job, place, job.origin or origin)
            elif job.identity in seen.completed:
                _complete(connection, job, here[job.identity].id, job.origin or origin)
            for role, digest in seen.filled.get(job.identity, {}).items():
                _fill(connection, here[job.identity].id, role, digest)
        number = seen.study if seen.study is not None else _insert_study(connection, study, origin)
    for identity in seen.completed:
        store.queue.resume_path(here[identity].id).unlink(missing_ok=True)
    return number


def _here(store: Store, study: IncomingStudy) -> dict[str, Job]:
    wanted = {job.identity for job in study.jobs}
    known = wanted & store.queue.states().keys()
    return {job.identity: job for job in store.queue.jobs() if job.identity in known} if known else {}


def _same_study(store: Store, study: IncomingStudy) -> int | None:
    """The study of this name, if it is the same one; UsageError for another one."""
    named = [other for other in store.queue.studies() if other.name == study.name]
    for other in named:
        members = [(m.identity, m.condition, m.replicate, m.role) for m in other.members]
        if other.plan_hash == study.plan_hash and members == list(study.members):
            return other.id
    if named and not (study.spec.answers and named[0].spec.get("answers")):
        raise UsageError(
            f"The store has another study named {study.name!r} (plan {named[0].plan_hash[:12]}; this one's is"
            f" {study.plan_hash[:12]}).",
            (
                "Import it under another name: --name NAME"
                if not study.spec.answers
                else "Give it another name: --study NAME"
            ),
        )
    return None


def _differs(store: Store, theirs: IncomingJob, ours: Job, table: Callable[[str], pd.DataFrame]) -> bool:
    """Whether a run that has finished on both sides answered differently."""
    if theirs.kind not in ("train", ANSWERS):
        return False  # what it made shows in the runs that used it
    held = theirs.produced["predictions"].held
    if any((ours.result or {}).get(key) != (theirs.result or {}).get(key) for key in RESULTS) or held is None:
        return True
    if held == ours.produced.get("predictions"):
        return False
    return _rows(store.artifacts.table(ours.produced["predictions"])) != _rows(table(held))


def _rows(table: pd.DataFrame) -> list[tuple[Any, ...]]:
    rows: list[list[Any]] = [
        [tuple(row) for row in table[name]] if name == "probabilities" else table[name].tolist() for name in COLUMNS
    ]
    return sorted(zip(*rows, strict=True))


def _insert(connection: sqlite3.Connection, job: IncomingJob, place: float, origin: str) -> None:
    values = (
        job.identity,
        job.kind,
        job.recipe,
        document(job.config),
        job.label,
        job.estimate,
        job.state,
        place,
        job.seconds,
        (result := _document(job.result)),
        seal_of(result),
        _document(job.error),
        job.created,
        job.started,
        job.finished,
        origin,
    )
    cursor = connection.execute(
        """
        INSERT INTO job
        (identity, kind, recipe, config, label, estimate, state, position, seconds, result, seal, error, created,
        started, finished, origin)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        values,
    )
    number = int(cursor.lastrowid or 0)
    connection.executemany("INSERT INTO need VALUES (?, ?)", [(number, need) for need in dict.fromkeys(job.needs)])
    _link(connection, job, number)


def _complete(connection: sqlite3.Connection, job: IncomingJob, number: int, origin: str) -> None:
    """A job that was here without a result gets the one that was made elsewhere."""
    connection.execute(
        """
        UPDATE job SET state = 'finished', held = 0, request = '', deaths = 0, crashes = 0, death_step = NULL,
        progress = '{}', error = NULL,
        seconds = ?, result = ?, seal = ?, started = ?, finished = ?, origin = ? WHERE id = ?
        """,
        (job.seconds, (result := _document(job.result)), seal_of(result), job.started, job.finished, origin, number),
    )
    connection.execute("DELETE FROM link WHERE job = ?", (number,))
    connection.execute("DELETE FROM left_out WHERE job = ?", (number,))
    _link(connection, job, number)


def _lacking(theirs: IncomingJob, ours: Job) -> dict[str, str]:
    return {
        role: product.held
        for role, product in theirs.produced.items()
        if product.held is not None and ours.left_out.get(role) == product.held
    }


def _fill(connection: sqlite3.Connection, number: int, role: str, digest: str) -> None:
    """An imported job gets what an earlier archive of it had left out."""
    connection.execute("DELETE FROM left_out WHERE job = ? AND role = ?", (number, role))
    connection.execute("INSERT OR REPLACE INTO link VALUES (?, 'produced', ?, ?)", (number, role, digest))


def _link(connection: sqlite3.Connection, job: IncomingJob, number: int) -> None:
    links = [(number, "produced", role, product.held) for role, product in job.produced.items() if product.held]
    links += [(number, "used", role, digest) for role, digest in job.used.items()]
    connection.executemany("INSERT INTO link VALUES (?, ?, ?, ?)", links)
    lacking = [
        (number, role, product.digest) for role, product in job.produced.items() if product.held != product.digest
    ]
    connection.executemany("INSERT INTO left_out VALUES (?, ?, ?)", lacking)


def _insert_study(connection: sqlite3.Connection, study: IncomingStudy, origin: str) -> int:
    cursor = connection.execute(
        "INSERT INTO study (name, spec, plan_hash, created, origin, extends) VALUES (?, ?, ?, ?, ?, ?)",
        (study.name, document(study.plain_spec), study.plan_hash, study.created, origin, study.extends),
    )
    number = int(cursor.lastrowid or 0)
    connection.executemany(
        "INSERT INTO member VALUES (?, ?, ?, ?, ?, ?)",
        [(number, place, *member) for place, member in enumerate(study.members)],
    )
    if said := study.remark:
        values = (number, said.note, json.dumps(said.tags, ensure_ascii=False), said.baseline, said.changed)
        connection.execute("INSERT INTO remark VALUES (?, ?, ?, ?, ?)", values)
    return number


def _document(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else document(value)


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (" ..." if len(numbers) > 5 else "")

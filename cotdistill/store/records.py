"""What is asked for and what the store remembers of it: jobs, their identity, studies. Plain data; `queue` changes it,
`attempts` carries it out.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cotdistill.config import RECIPES, canonical_json, digest, plain
from cotdistill.errors import UnknownName

STATES = ("queued", "running", "finished", "failed", "stopped")
# The kind of job that is never run: its answers were made elsewhere and imported.
ANSWERS = "answers"


class StopRequested(BaseException):
    """A person asked to stop or pause, or the worker is told to leave. Not an Exception: nothing that handles errors
    should swallow it.

    request: "stop", "pause" or "leave".
    """

    def __init__(self, request: str) -> None:
        super().__init__(request)
        self.request = request


@dataclass(frozen=True)
class JobSpec:
    """A job as it is asked for. `needs` are the identities of the jobs whose products it uses; `seconds` is an estimate
    of its time.
    """

    kind: str
    config: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    label: str = ""
    seconds: float = 0.0

    @property
    def recipe(self) -> int:
        if self.kind not in RECIPES:
            raise UnknownName("kind of job", self.kind, RECIPES)
        return RECIPES[self.kind]

    @property
    def identity(self) -> str:
        """SHA-256 (hex) of kind, recipe number and config: the same work has the same identity, whoever asks for it."""
        return identity_of(self.kind, self.recipe, plain(self.config))


def seal_of(result: str | None) -> str:
    """SHA-256 (hex) of a result as the database holds it: SQLite sees damage to its own pages, not to what stands in
    them.
    """
    return hashlib.sha256(result.encode()).hexdigest() if result else ""


def identity_of(kind: str, recipe: int, config: Mapping[str, Any]) -> str:
    return digest({"kind": kind, "recipe": recipe, "config": config})


@dataclass(frozen=True)
class Job:
    """A job as the store holds it.

    state: queued, running, finished, failed or stopped. held: paused while queued. request: "stop" or "pause" while a
    running job has yet to obey. attempt: number of the last attempt, 0 before the first. deaths: how often in a row its
    process died at the same step. progress: step, total and the latest values. error: kind, message, hint, traceback.
    seconds: compute so far, over all attempts; estimate: as planned. created, started, finished: unix time. waits: why
    a queued job cannot start ("waits for run 3, which failed"), empty otherwise. origin: digest of the file that a job
    came from which was not run here, else empty; left_out: digests by role of what it made and that file did not bring.
    """

    id: int
    identity: str
    kind: str
    recipe: int
    label: str
    config: Mapping[str, Any]
    state: str
    held: bool
    request: str
    position: float
    attempt: int
    deaths: int
    progress: Mapping[str, Any]
    error: Mapping[str, str] | None
    created: float
    started: float | None
    finished: float | None
    seconds: float
    estimate: float
    result: Mapping[str, Any] | None
    produced: Mapping[str, str] = field(default_factory=dict)
    used: Mapping[str, str] = field(default_factory=dict)
    waits: str = ""
    origin: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_row(cls, row: sqlite3.Row, links: Mapping[str, Mapping[str, str]], waits: str = "") -> Job:
        """From a row of the table `job` and its links ({"used": {role: digest}, "produced": ..., "left_out": ...})."""
        return cls(
            id=row["id"],
            identity=row["identity"],
            kind=row["kind"],
            recipe=row["recipe"],
            label=row["label"],
            config=read_document(row["config"]),
            state=row["state"],
            held=bool(row["held"]),
            request=row["request"],
            position=row["position"],
            attempt=row["attempt"],
            deaths=row["deaths"],
            progress=read_document(row["progress"]),
            error=read_document(row["error"]) if row["error"] else None,
            created=row["created"],
            started=row["started"],
            finished=row["finished"],
            seconds=row["seconds"],
            estimate=row["estimate"],
            result=read_document(row["result"]) if row["result"] else None,
            produced=links.get("produced", {}),
            used=links.get("used", {}),
            waits=waits,
            origin=row["origin"],
            left_out=links.get("left_out", {}),
        )


@dataclass(frozen=True)
class Member:
    """One planned run of a study. job_id is 0 when the run was deleted: the study is then shown as incomplete."""

    job_id: int
    condition: str
    replicate: int
    role: str
    identity: str = ""


@dataclass(frozen=True)
class Study:
    """A launched study; spec and plan are frozen at launch. origin: digest of the file that it was imported from, empty
    for one launched here. extends: of an imported one, the replicates of an earlier launch whose results had been seen
    when this one got more; None if there was none."""

    id: int
    name: str
    spec: Mapping[str, Any]
    plan_hash: str
    created: float
    members: tuple[Member, ...]
    origin: str = ""
    extends: int | None = None

    @property
    def missing(self) -> tuple[Member, ...]:
        """Planned runs that were deleted."""
        return tuple(member for member in self.members if not member.job_id)


@dataclass(frozen=True)
class StudyDraft:
    """A study before it has a number. Members are (identity, condition, replicate, role)."""

    name: str
    spec: Mapping[str, Any]
    plan_hash: str
    members: tuple[tuple[str, str, int, str], ...]


@dataclass(frozen=True)
class Submission:
    """What a submission did: job numbers that are new, that were there already, and that had failed or been stopped and
    are queued again.
    """

    study_id: int | None
    new: tuple[int, ...]
    reused: tuple[int, ...]
    requeued: tuple[int, ...]


def document(value: Any) -> str:
    """A value as the store keeps it; ValueError for what JSON cannot hold (NaN, arrays)."""
    return canonical_json(value)


def read_document(text: str) -> Any:
    return json.loads(text)

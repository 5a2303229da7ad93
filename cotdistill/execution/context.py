"""What the function of a job is handed, wherever it runs, and what it gives back."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cotdistill.errors import DataError

if TYPE_CHECKING:
    from cotdistill.tasks.task import Task


@dataclass(frozen=True)
class Outcome:
    """What a job function gives back."""

    result: Mapping[str, Any]
    """Plain JSON values."""
    produced: Mapping[str, str]
    """Digests by role of what it made."""
    used: Mapping[str, str]
    """Digests by role of what it read."""


class JobContext(Protocol):
    """The config and identity of a job, its inputs, and a way to tell how far it is: in a worker, in a further process
    of the same run, or on another machine. A job function that asks for nothing else can travel."""

    kind: str
    config: Mapping[str, Any]
    identity: str
    resume_file: Path
    """May not exist yet."""

    def task(self, name: str, world: int = 0, settings: Mapping[str, Any] | None = None) -> Task:
        """A task, generated if need be."""
        ...

    def produced(self, identity: str, role: str) -> Path:
        """An artefact of another job, named by that job's identity; NotFound if it is not there."""
        ...

    def report(self, step: int, total: int, **values: float | int | str | None) -> None:
        """The step reached, of how many, and the latest values; cheap enough to call at every step.

        Raises StopRequested if a person asked to stop or pause: save what is needed to resume and let it pass through.
        """
        ...

    def keep(self, data: bytes | Path, kind: str, suffix: str) -> str:
        """Keep bytes or a file as an artefact; gives its digest."""
        ...

    def home(self) -> Path:
        """The folder of the store, for further processes of a job on this machine; StoreError where there is none."""
        ...

    def log(self, text: str) -> None:
        """A line in the log of this attempt."""
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def as_planned(task: Task, reference: str, digest: str, planned: str, hint: str = "Plan the study again.") -> Task:
    """The task of a job; DataError if its data are not those that the job was planned with.

    digest: of the data as planned; planned: what was planned, as the message says it ("this run").
    """
    if task.digest != digest:
        raise DataError(
            f"The task {reference!r} has changed since {planned} was planned (data {digest[:12]}, now"
            f" {task.digest[:12]}).",
            hint,
        )
    return task


def finite(value: Any) -> Any:
    """JSON has no NaN; numbers of numpy and torch become Python's."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return float(value) if math.isfinite(value) else None

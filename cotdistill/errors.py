"""The exceptions a person may meet. Every message says what was given and what was expected; the hint says what to do.

CotdistillError
  UsageError            the words were wrong (exit code 2)
    UnknownName         no such task, student, condition, run ...; carries near matches
    GrammarError        a condition that cannot be read
    ConfigError         one or more settings out of bounds, all reported at once
    NotFound            the store holds no such thing
  DataError             the data cannot be used as they stand
    BadRows             rows of an import, each with its line and reason
    NoRationale         a condition needs rationales that the task lacks
    HubUnreachable      neither the hub nor its cache has a data set now
    BadArchive          a file that is no archive of a study, or a damaged or dangerous one
      ArchiveTooNew     written by a newer version
  StudentError          a model that cannot be loaded, trained or scored
    SequenceTooLong     longer than the student can read
    CheckpointError     a checkpoint that is damaged or of another run
    NotReadable         an attribution that cannot exist, since the target does not read what it is asked about
  TeacherError          a teacher that cannot be asked, or does not answer
  StoreError            the folder where everything is kept
    StoreTooNew         written by a newer version
    NetworkFileSystem   locks cannot be trusted there
    DiskFull            no room to write
    Superseded          a newer attempt of the same job has taken over
  MirrorFailed          a mirror of metrics did not take what it was told; no run hangs on it
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

# What lets this process in elsewhere. Such values are read from the environment by the libraries that need them and are
# never written down.
SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def redacted(text: str) -> str:
    """The text without the values of secret environment variables: a server's answer may repeat what it was sent."""
    for name in SECRETS:
        value = os.environ.get(name, "").strip()
        if len(value) >= 4:
            text = text.replace(value, f"<{name}>")
    return text


class CotdistillError(Exception):
    """Base of all errors that are shown to a person."""

    kind: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        message, hint = redacted(message), redacted(hint)
        super().__init__(message)
        self.message = message
        self.hint = hint

    def as_dict(self) -> dict[str, str]:
        """`{"kind", "message", "hint"}`, the form the terminal prints under --json."""
        return {"kind": self.kind, "message": self.message, "hint": self.hint}


class UsageError(CotdistillError):
    kind = "usage"
    exit_code = 2


class UnknownName(UsageError):
    """`UnknownName("condition", "shufled", names)` offers the nearest names, then the whole list."""

    kind = "unknown_name"

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        listed = ", ".join(names) if names else "none yet"
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        super().__init__(f"There is no {what} named {name!r}.", f"{hint}Known: {listed}.")
        self.near = near


class GrammarError(UsageError):
    kind = "bad_condition"


class ConfigError(UsageError):
    """All problems of a configuration at once."""

    kind = "bad_config"

    def __init__(self, problems: Sequence[str], hint: str = "") -> None:
        super().__init__("; ".join(problems), hint)
        self.problems = list(problems)


class NotFound(UsageError):
    kind = "not_found"


class DataError(CotdistillError):
    kind = "bad_data"


@dataclass(frozen=True, slots=True)
class RowProblem:
    """One row that cannot be used: file name, line (1-based; the header is line 1), what is wrong."""

    file: str
    line: int
    reason: str


class BadRows(DataError):
    kind = "bad_rows"

    def __init__(self, problems: Sequence[RowProblem], hint: str = "") -> None:
        first = "; ".join(f"{p.file} line {p.line}: {p.reason}" for p in problems[:3])
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        count = "1 row" if len(problems) == 1 else f"{len(problems)} rows"
        super().__init__(f"{count} cannot be read: {first}{more}", hint)
        self.problems = list(problems)


class NoRationale(DataError):
    kind = "no_rationale"


class HubUnreachable(DataError):
    kind = "hub_unreachable"


class BadArchive(DataError):
    kind = "bad_archive"


class ArchiveTooNew(BadArchive):
    kind = "archive_too_new"


class StudentError(CotdistillError):
    kind = "student"


class SequenceTooLong(StudentError):
    kind = "sequence_too_long"


class CheckpointError(StudentError):
    kind = "bad_checkpoint"


class NotReadable(StudentError):
    kind = "not_readable"


class TeacherError(CotdistillError):
    kind = "teacher"


class StoreError(CotdistillError):
    kind = "store"


class StoreTooNew(StoreError):
    kind = "store_too_new"


class NetworkFileSystem(StoreError):
    kind = "network_file_system"


class DiskFull(StoreError):
    kind = "disk_full"


class Superseded(StoreError):
    kind = "superseded"


class MirrorFailed(CotdistillError):
    kind = "mirror_failed"

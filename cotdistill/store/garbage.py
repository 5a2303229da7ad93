"""What nothing in a store refers to any more: found first, deleted only when asked, and safe while workers run.

An artefact is referred to by the links of jobs. What a running job has kept already is not linked before it ends, so
everything that is younger than the oldest job that has begun and not ended stays, and so does whatever is younger than
an hour (an import records its links last).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cotdistill.store.disk import disk_errors
from cotdistill.store.locks import is_held
from cotdistill.store.store import Store
from cotdistill.tasks.importing.writing import ABANDONED

YOUNG_SECONDS = 3600.0
LOG_SECONDS = 30 * 86400.0
KINDS = {
    "artifact": "artefacts that no job has made or used",
    "task": "versions of tasks that no job or study names",
    "part": "half-written files of processes that were killed",
    "job": "folders and checkpoints of jobs that are gone or have ended",
    "log": "logs of earlier attempts, older than 30 days",
}


@dataclass(frozen=True)
class Garbage:
    """One file or folder that can go. kind: a key of KINDS; size: bytes, of a folder with all in it."""

    kind: str
    path: Path
    size: int


@dataclass(frozen=True)
class Collected:
    """garbage: what can go, or has gone. kept: names of the studies that are kept with everything they name."""

    garbage: tuple[Garbage, ...]
    kept: tuple[str, ...]

    @property
    def size(self) -> int:
        return sum(one.size for one in self.garbage)

    def counts(self) -> dict[str, tuple[int, int]]:
        """kind -> (number, bytes), of every kind that was found."""
        number: Counter[str] = Counter()
        size: Counter[str] = Counter()
        for one in self.garbage:
            number[one.kind] += 1
            size[one.kind] += one.size
        return {kind: (number[kind], size[kind]) for kind in KINDS if number[kind]}


def collect(store: Store, kept: Sequence[int], *, delete: bool = False) -> Collected:
    """Find what nothing refers to, and delete it if asked. `kept` holds the numbers of studies to keep whole. Deleting
    holds the write lock, so no job begins or ends meanwhile; running ones wait for it with their next beat."""
    names = tuple(dict.fromkeys(store.queue.study(number).name for number in kept))
    if not delete:
        with store.queue.database.read() as connection:
            return Collected(tuple(_garbage(store, connection, kept)), names)
    gone = []
    with store.queue.database.write() as connection, disk_errors(store.home, "the store"):
        since = _since(store, connection)
        for one in list(_garbage(store, connection, kept)):
            if one.kind == "artifact":
                if _drop(one.path, since):
                    gone.append(one)
            else:
                shutil.rmtree(one.path) if one.path.is_dir() else one.path.unlink(missing_ok=True)
                gone.append(one)
    return Collected(tuple(gone), names)


def _garbage(store: Store, connection: sqlite3.Connection, kept: Sequence[int]) -> Iterator[Garbage]:
    since = _since(store, connection)
    linked = {row[0] for row in connection.execute("SELECT digest FROM link")}
    for path in store.artifacts.all():
        if path.name.partition(".")[0] not in linked and _touched(path) < since:
            yield _item("artifact", path)
    yield from _tasks(store, connection, since)
    left = time.time() - ABANDONED
    parts = (
        *store.home.glob("artifacts/??/.*"),
        *store.home.glob("tasks/**/.part-*"),
        *store.home.glob("tasks/**/.note-*"),
    )
    yield from (_item("part", path) for path in parts if _touched(path) < left)
    yield from _jobs(store, connection, kept)


def _since(store: Store, connection: sqlite3.Connection) -> float:
    """Unix time: what was touched later may belong to a job or an import that has not ended."""
    begun = [time.time() - YOUNG_SECONDS]
    for row in connection.execute("SELECT id, state, created FROM job WHERE state <> 'finished'"):
        if row["state"] == "running" or store.queue.resume_path(row["id"]).exists():
            begun.append(row["created"])
    return min(begun)


def _tasks(store: Store, connection: sqlite3.Connection, since: float) -> Iterator[Garbage]:
    """Folders of tasks whose digest stands in no job and no study, and that are not what their name stands for."""
    named: set[str] = set()
    for query in ("SELECT config FROM job", "SELECT digest FROM link", "SELECT spec FROM study"):
        for row in connection.execute(query):
            named.update(
                found[:12] for found in re.findall(r"(?<![0-9a-f])[0-9a-f]{12}(?:[0-9a-f]{52})?(?![0-9a-f])", row[0])
            )
    for marker in sorted(store.tasks_root.glob("*/*/task.json")):
        folder = marker.parent
        newest = folder.parent / "newest"
        stands = newest.is_file() and newest.read_text(encoding="utf-8").strip() == folder.name
        # Rationales that were added to a task may have been paid for.
        added = any(path.is_dir() and path != folder for path in folder.parent.glob(f"{folder.name}*"))
        if (
            re.fullmatch("[0-9a-f]{12}", folder.name)
            and folder.name not in named
            and not stands
            and not added
            and _touched(folder) < since
        ):
            yield _item("task", folder)


def _jobs(store: Store, connection: sqlite3.Connection, kept: Sequence[int]) -> Iterator[Garbage]:
    rows = {row["id"]: row for row in connection.execute("SELECT id, identity, state, attempt FROM job")}
    query = "SELECT identity FROM member WHERE study IN (SELECT value FROM json_each(?))"
    stays = {row[0] for row in connection.execute(query, (str(list(kept)),))}
    old = time.time() - LOG_SECONDS
    for folder in sorted(store.home.glob("jobs/*")):
        row = rows.get(int(folder.name)) if folder.name.isdecimal() else None
        if row is None:
            if folder.name.isdecimal() and not any(is_held(path) for path in folder.glob("*.lock")):
                yield _item("job", folder)
            continue
        if row["state"] != "finished" or row["identity"] in stays:
            continue
        if (resume := store.queue.resume_path(row["id"])).exists():
            yield _item("job", resume)
        last = store.queue.log_path(row["id"], row["attempt"])
        yield from (
            _item("log", path) for path in sorted(folder.glob("attempt-*.log")) if path != last and _touched(path) < old
        )


def _drop(path: Path, since: float) -> bool:
    """Delete an artefact unless a job has asked for the same content just now (it is touched then): it is taken aside
    first, so that whoever asks later writes it anew."""
    aside = path.with_name(f".{path.name}.gone")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, aside)
        if _touched(aside) < since:
            aside.unlink()
            return True
        os.rename(aside, path)
    return False


def _touched(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _item(kind: str, path: Path) -> Garbage:
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    total = 0
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size
    return Garbage(kind, path, total)

"""How much a store may take: a budget of its own, a floor of free disk, and the most jobs that may wait. What is full
begins nothing new.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from cotdistill.errors import CotdistillError, UsageError
from cotdistill.store.database import setting

# Without a setting: what the system and running jobs need to end well, but never more than this share of a small disk.
FLOOR_BYTES, FLOOR_SHARE = 500_000_000, 0.02
MOST_QUEUED = 20_000
# Thousands of runs are many files: they are counted anew after this many seconds.
COUNT_SECONDS = 10.0
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}

_counted: dict[Path, tuple[float, int]] = {}


class QueueFull(CotdistillError):
    """More jobs than may wait."""

    kind = "queue_full"


@dataclass(frozen=True)
class Budget:
    """most: bytes that the store may hold, None for no limit; floor: bytes that must stay free on its disk; queued:
    jobs that may wait.
    """

    most: int | None
    floor: int
    queued: int


def budget(connection: sqlite3.Connection, home: Path) -> Budget:
    """What is set, or the defaults."""
    most = int(setting(connection, "most_bytes", "0"))
    floor = setting(connection, "free_bytes", "")
    usual = min(FLOOR_BYTES, int(FLOOR_SHARE * shutil.disk_usage(home).total))
    return Budget(
        most or None, int(floor) if floor else usual, int(setting(connection, "most_queued", str(MOST_QUEUED)))
    )


def refusal(connection: sqlite3.Connection, home: Path) -> str:
    """Why no job may begin now, in words; "" if one may."""
    limit = budget(connection, home)
    free = shutil.disk_usage(home).free
    if free < limit.floor:
        return (
            f"No new job begins: {_size(free)} are free on the disk of the store, and {_size(limit.floor)} are to stay"
            " free. Free some room (cotdistill store gc), or change it: cotdistill store budget --free SIZE"
        )
    if limit.most is not None and (used := _used(home)) >= limit.most:
        return (
            f"No new job begins: the store holds {_size(used)} of the {_size(limit.most)} that it may. "
            "Make room (cotdistill store gc, runs delete), or raise it: cotdistill store budget --max SIZE"
        )
    return ""


def room(connection: sqlite3.Connection, home: Path) -> float:
    """Bytes that may still be written: of the budget, and of the disk above its floor."""
    limit = budget(connection, home)
    free = float(shutil.disk_usage(home).free - limit.floor)
    return max(0.0, free if limit.most is None else min(free, limit.most - _used(home)))


def check_queued(connection: sqlite3.Connection, home: Path) -> None:
    """QueueFull if more jobs wait than may. Called inside the transaction that has added them, so nothing of it
    stays.
    """
    most = budget(connection, home).queued
    waiting = int(connection.execute("SELECT count(*) FROM job WHERE state = 'queued'").fetchone()[0])
    if waiting > most:
        raise QueueFull(
            f"{waiting:,} jobs would wait; at most {most:,} may. Nothing was queued.",
            "Wait for some to end, ask for fewer, or raise the limit: cotdistill store budget --queued N",
        )


def held_by(home: Path) -> dict[str, int]:
    """Bytes of a store by what they are: database, artifacts, tasks, jobs (logs and checkpoints), other."""
    sizes = dict.fromkeys(("database", "artifacts", "tasks", "jobs", "other"), 0)
    folders = [(home, "")]
    while folders:
        folder, kind = folders.pop()
        # Files come and go while runs are trained.
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                group = kind or (
                    entry.name
                    if entry.name in sizes
                    else "database"
                    if entry.name.startswith("store.sqlite")
                    else "other"
                )
                if entry.is_dir(follow_symlinks=False):
                    folders.append((Path(entry.path), group))
                else:
                    with contextlib.suppress(FileNotFoundError):
                        sizes[group] += entry.stat(follow_symlinks=False).st_size
    return sizes


def bytes_of(text: str) -> int:
    """`20GB`, `500 MB` or a number of bytes, in powers of ten; UsageError for anything else."""
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT]?B?)\s*", text.upper())
    unit = match.group(2) if match else ""
    if match is None or (unit and unit not in UNITS and f"{unit}B" not in UNITS):
        raise UsageError(f"{text[:40]!r} is no size.", "Expected a number with a unit, for example 20GB or 500MB.")
    return int(float(match.group(1)) * UNITS[unit if unit in UNITS else f"{unit}B"])


def _used(home: Path) -> int:
    now = time.monotonic()
    counted = _counted.get(home)
    if counted is None or now - counted[0] > COUNT_SECONDS:
        counted = _counted[home] = (now, sum(held_by(home).values()))
    return counted[1]


def _size(number: float) -> str:
    for unit, least in (("GB", 1e9), ("MB", 1e6)):
        if number >= least:
            return f"{number / least:.1f} {unit}"
    return f"{number / 1e3:.0f} kB"

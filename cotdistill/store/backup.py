"""A copy of a store that is a store itself: databases by SQLite's online backup, artefacts linked or copied, and a
manifest of every digest.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cotdistill
from cotdistill.errors import StoreError, UsageError
from cotdistill.store.artifacts import hash_file
from cotdistill.store.database import FAULTS, translated
from cotdistill.store.disk import disk_errors
from cotdistill.store.store import Store

MANIFEST = "manifest.json"
# What a person cannot make again by pressing a button; logs, locks and resume checkpoints stay behind.
FOLDERS = ("artifacts", "tasks", "annotations", "mirrors")
DATABASES = ("store.sqlite", "teachers/responses.sqlite")


@dataclass(frozen=True)
class Backup:
    """files, bytes: what the backup holds, without its manifest; linked: how many of the files share the disk with the
    store.
    """

    folder: Path
    files: int
    bytes: int
    linked: int


def back_up(store: Store, folder: Path, *, link: bool = True) -> Backup:
    """Copy a store, which may be in use, into a new folder: whole or not at all. link: artefacts, which never change,
    are linked where the disk is the same. UsageError if the folder is there or lies in the store; StoreError for an
    artefact whose content is not what its name says."""
    folder = folder.expanduser().absolute()
    if folder.exists():
        raise UsageError(
            f"{folder} is there already.", "Name a folder that does not exist; a backup never writes over anything."
        )
    if folder.resolve().is_relative_to(store.home.resolve()):
        raise UsageError(f"{folder} lies in the store itself.", "Name a folder elsewhere, best on another disk.")
    with disk_errors(folder.parent, "the backup"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700)
        try:
            linked = _fill(store, part, link)
            files = {str(path.relative_to(part)): path for path in _files(part)}
            listed = {name: {"bytes": path.stat().st_size, "sha256": hash_file(path)} for name, path in files.items()}
            size = sum(path.stat().st_size for path in files.values())
            for name, path in files.items():
                digest = path.name.partition(".")[0]
                if name.startswith("artifacts/") and digest != listed[name]["sha256"]:
                    raise StoreError(
                        f"The artefact {digest[:12]} is damaged.",
                        "cotdistill store verify tells more; nothing was written.",
                    )
            manifest = {"cotdistill": cotdistill.__version__, "made": time.time(), "files": listed}
            (part / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            os.rename(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return Backup(folder, len(listed), size, linked)


def check(folder: Path) -> list[str]:
    """What of a backup is not as its manifest says; empty if all is well. UsageError for a folder without a manifest
    that can be read.
    """
    try:
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        expected = {str(name): str(one["sha256"]) for name, one in listed.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{folder} is no backup: its {MANIFEST} cannot be read.", "Name a folder that `store backup` has made."
        ) from error
    present = {str(path.relative_to(folder)) for path in _files(folder)} - {MANIFEST}
    problems = [f"{name} is missing" for name in sorted(set(expected) - present)]
    problems += [
        f"{name} has changed" for name in sorted(set(expected) & present) if hash_file(folder / name) != expected[name]
    ]
    return problems + [f"{name} is not in the manifest" for name in sorted(present - set(expected))]


def _fill(store: Store, part: Path, link: bool) -> int:
    linked = 0
    # The databases first: artefacts are only ever added, so all that the copy names is there to be copied afterwards.
    for name in DATABASES:
        if (store.home / name).is_file():
            (part / name).parent.mkdir(exist_ok=True)
            _database(store.home / name, part / name)
    for name in FOLDERS:
        for path in _files(store.home / name):
            target = part / path.relative_to(store.home)
            target.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                linked += _copy(path, target, link=link and name == "artifacts")
    return linked


def _files(folder: Path) -> Iterator[Path]:
    """Every file of a folder; what is half-written is left out."""
    for path in sorted(folder.rglob("*")):
        if (
            not any(part.startswith((".part-", ".note-")) for part in path.relative_to(folder).parts)
            and path.is_file()
            and not path.is_symlink()
        ):
            if path.parent.parent.name == "artifacts" and path.name.startswith("."):
                continue
            yield path


def _copy(path: Path, target: Path, *, link: bool) -> bool:
    if link:
        with contextlib.suppress(OSError):
            os.link(path, target)
            return True
    shutil.copy2(path, target)
    return False


def _database(path: Path, target: Path) -> None:
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as source,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
            # One file, without a log beside it: what the manifest has hashed is then all there is.
            copy.execute("PRAGMA journal_mode = DELETE")
    except FAULTS as error:
        raise translated(error, path) from error

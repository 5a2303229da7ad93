"""store size, budget, gc, backup, verify: the folder where everything is kept."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

from cotdistill.cli.command import Command, Noun, Result, whole_number
from cotdistill.cli.output import printable, table
from cotdistill.exchange.verify import verify as verify_store
from cotdistill.store.backup import back_up, check
from cotdistill.store.budget import budget, bytes_of, held_by
from cotdistill.store.garbage import KINDS, collect
from cotdistill.store.store import Store
from cotdistill.studies.annotations import kept_studies
from cotdistill.text import plural, size


@dataclass(frozen=True)
class StoreParts:
    """Bytes of each part of the store."""

    database: int  # the database
    artifacts: int  # weights, predictions, tables
    tasks: int  # tasks with their tokenizers
    jobs: int  # logs and resume checkpoints
    other: int  # the rest


@dataclass(frozen=True)
class StoreSize:
    """What `store size` answers."""

    path: str  # folder of the store
    bytes: int  # total
    free: int  # free bytes on its disk
    parts: StoreParts  # bytes by part


@dataclass(frozen=True)
class StoreBudget:
    """What `store budget` answers."""

    max: int | None  # most bytes that the store may take, or null
    free: int  # bytes that stay free on its disk
    queued: int  # most jobs that may be queued
    refusal: str | None  # why no new job starts, or null


@dataclass(frozen=True)
class Unused:
    """One thing that nothing refers to."""

    kind: str  # artifact, task, part, job or log
    path: str  # path within the store
    bytes: int  # its size


@dataclass(frozen=True)
class GarbageDocument:
    """What `store gc` answers."""

    deleted: bool  # whether it was deleted
    bytes: int  # total
    garbage: list[Unused]  # what can be deleted, or was
    kept: list[str]  # studies that are tagged keep or have a pinned baseline


@dataclass(frozen=True)
class BackedUp:
    """What `store backup` answers."""

    folder: str  # folder that was written
    files: int  # number of files
    bytes: int  # total
    linked: int  # artefacts that share the disk with the store


@dataclass(frozen=True)
class VerifiedDocument:
    """What `store verify` answers."""

    ok: bool  # whether everything matches
    artifacts: int | None  # files checked; null for a backup
    jobs: int | None  # jobs checked; null for a backup
    tasks: int | None  # tasks checked; null for a backup
    problems: list[str]  # what differs


def sizes(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    parts = held_by(store.home)
    held = StoreSize(str(store.home), sum(parts.values()), shutil.disk_usage(store.home).free, StoreParts(**parts))
    rows = [[name, size(number)] for name, number in [*parts.items(), ("total", held.bytes)]]
    text = table(["part", "size"], rows, right=("size",))
    return Result(held, f"{text}\n\n{printable(held.path)}, {size(held.free)} free on its disk")


def set_budget(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    # All are read before the first is written.
    settings = {
        "most_bytes": None if arguments.max is None else 0 if arguments.max == "none" else bytes_of(arguments.max),
        "free_bytes": None if arguments.free is None else bytes_of(arguments.free),
        "most_queued": arguments.queued,
    }
    for name, value in settings.items():
        if value is not None:
            store.queue.set_setting(name, str(value))
    with store.queue.database.read() as connection:
        limits = budget(connection, store.home)
    document = StoreBudget(limits.most, limits.floor, limits.queued, store.refusal or None)
    most = "has no size limit" if limits.most is None else f"may take {size(limits.most)}"
    text = (
        f"The store {most}; {size(limits.floor)} stay free on its disk; at most {limits.queued:,} jobs may be queued."
    )
    return Result(document, f"{text}\n{document.refusal or 'New jobs may start.'}")


def gc(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    unused = collect(store, kept_studies(store), delete=arguments.delete)
    listed = [Unused(one.kind, str(one.path.relative_to(store.home)), one.size) for one in unused.garbage]
    document = GarbageDocument(arguments.delete, unused.size, listed, list(unused.kept))
    rows = [[KINDS[kind], number, size(total)] for kind, (number, total) in unused.counts().items()]
    kept = f"\nKept with everything they refer to: {', '.join(map(printable, unused.kept))}." if unused.kept else ""
    if not rows:
        return Result(document, f"Nothing to delete.{kept}")
    text = table(["what", "number", "size"], rows, right=("number", "size"))
    total = size(unused.size)
    done = f"Deleted {total}." if arguments.delete else f"{total} can be deleted; nothing was. To delete it: --delete"
    return Result(document, f"{text}\n\n{done}{kept}")


def backup(arguments: argparse.Namespace) -> Result:
    copied = back_up(Store.open(), Path(arguments.out), link=not arguments.copy)
    folder = printable(str(copied.folder))
    linked = f", {copied.linked:,} of them linked: they share the disk with the store" if copied.linked else ""
    text = (
        f"{plural(copied.files, 'file')} ({size(copied.bytes)}) in {folder}{linked}.\n"
        f"It is a store of its own: COTDISTILL_HOME={folder} opens it. Check it: cotdistill store verify FOLDER"
    )
    return Result(BackedUp(str(copied.folder), copied.files, copied.bytes, copied.linked), text)


def verify(arguments: argparse.Namespace) -> Result:
    """The hashes of this store, or the files of a backup against its manifest."""
    if arguments.folder:
        problems = check(Path(arguments.folder).expanduser())
        document = VerifiedDocument(not problems, None, None, None, problems)
        text = "Every file matches the manifest of the backup."
    else:
        checked = verify_store(Store.open())
        problems = list(checked.problems)
        document = VerifiedDocument(not problems, checked.artifacts, checked.jobs, checked.tasks, problems)
        text = (
            f"{plural(checked.artifacts, 'artefact')}, {plural(checked.jobs, 'job')}, {plural(checked.tasks, 'task')} "
            "checked: every hash matches its record."
        )
    if problems:
        text = "\n".join([f"{plural(len(problems), 'problem')}:", *(f"! {printable(problem)}" for problem in problems)])
    return Result(document, text, 0 if document.ok else 1)


def _budget_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--max", metavar="SIZE", help="most that the store may take, for example 20GB; none: no limit")
    parser.add_argument(
        "--free", metavar="SIZE", help="what stays free on its disk (default: 500 MB, or 2 %% of a smaller disk)"
    )
    parser.add_argument(
        "--queued", type=whole_number(1), metavar="N", help="how many jobs may be queued (default: 20,000)"
    )


def _gc_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--delete", action="store_true", help="delete it; without this nothing changes")


def _backup_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="FOLDER", help="a folder that does not exist yet")
    parser.add_argument("--copy", action="store_true", help="copy artefacts even where they could be linked")


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        nargs="?",
        metavar="FOLDER",
        help="a backup that `store backup` wrote, before it is used as a store; default: the hashes of this store",
    )


NOUN = Noun(
    "store",
    "the folder with everything in it",
    (
        Command("store", "size", "how large the store is, part by part", sizes, StoreSize),
        Command(
            "store",
            "budget",
            "show or set how much the store may take; no new job starts without room for it",
            set_budget,
            StoreBudget,
            _budget_arguments,
        ),
        Command(
            "store",
            "gc",
            "list what nothing refers to any more; --delete deletes it",
            gc,
            GarbageDocument,
            _gc_arguments,
            notes="Safe while runs train. A study that is tagged keep or has a pinned baseline keeps everything it "
            "refers to, old logs included.",
        ),
        Command(
            "store",
            "backup",
            "copy the store into a new folder, also while it is in use",
            backup,
            BackedUp,
            _backup_arguments,
            notes="A backup on another disk is a full copy, since links do not cross disks.",
        ),
        Command(
            "store",
            "verify",
            "recompute every hash of the store, or check a backup against its manifest; exit code 1 on a mismatch",
            verify,
            VerifiedDocument,
            _verify_arguments,
        ),
    ),
)

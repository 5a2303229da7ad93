"""store size, budget, gc, backup, verify: the folder where everything is kept."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from cotdistill.cli.command import Command, Noun, Result, whole_number
from cotdistill.cli.output import printable, table
from cotdistill.exchange.verify import verify as verify_store
from cotdistill.store.backup import back_up, check
from cotdistill.store.budget import budget, bytes_of, held_by
from cotdistill.store.garbage import KINDS, collect
from cotdistill.store.store import Store
from cotdistill.studies.annotations import kept_studies
from cotdistill.text import plural, size


def sizes(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    held = held_by(store.home)
    document: dict[str, Any] = {
        "path": str(store.home),
        "bytes": sum(held.values()),
        "free": shutil.disk_usage(store.home).free,
        "parts": held,
    }
    rows = [[name, size(number)] for name, number in held.items()]
    told = table(["part", "size"], [*rows, ["in all", size(document["bytes"])]], right=("size",))
    return Result(document, f"{told}\n\n{printable(str(store.home))}, {size(document['free'])} free on its disk")


def set_budget(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    # All are read before the first is written.
    wanted = {
        "most_bytes": None if arguments.max is None else 0 if arguments.max == "none" else bytes_of(arguments.max),
        "free_bytes": None if arguments.free is None else bytes_of(arguments.free),
        "most_queued": arguments.queued,
    }
    for name, value in wanted.items():
        if value is not None:
            store.queue.set_setting(name, str(value))
    with store.queue.database.read() as connection:
        found = budget(connection, store.home)
    document: dict[str, Any] = {
        "max": found.most,
        "free": found.floor,
        "queued": found.queued,
        "refusal": store.refusal or None,
    }
    told = f"The store may hold {size(found.most) if found.most is not None else 'as much as fits'}; {size(found.floor)} stay free on its disk; "
    told += f"at most {found.queued:,} jobs wait."
    return Result(document, told + (f"\n{document['refusal']}" if document["refusal"] else "\nNew jobs may begin."))


def gc(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    found = collect(store, kept_studies(store), delete=arguments.delete)
    listed = [
        {"kind": one.kind, "path": str(one.path.relative_to(store.home)), "bytes": one.size} for one in found.garbage
    ]
    document = {"deleted": arguments.delete, "bytes": found.size, "garbage": listed, "kept": list(found.kept)}
    rows = [[KINDS[kind], number, size(held)] for kind, (number, held) in found.counts().items()]
    kept = f"\nKept with all they name: {', '.join(map(printable, found.kept))}." if found.kept else ""
    if not rows:
        return Result(document, f"Nothing can go.{kept}")
    text = table(["what", "number", "size"], rows, right=("number", "size"))
    done = (
        f"Deleted {size(found.size)}."
        if arguments.delete
        else f"{size(found.size)} can go. Nothing was deleted; do it: --delete"
    )
    return Result(document, f"{text}\n\n{done}{kept}")


def backup(arguments: argparse.Namespace) -> Result:
    made = back_up(Store.open(), Path(arguments.out), link=not arguments.copy)
    document = {"folder": str(made.folder), "files": made.files, "bytes": made.bytes, "linked": made.linked}
    shared = f", {made.linked:,} of them linked: they share the disk with the store" if made.linked else ""
    told = f"{plural(made.files, 'file')} ({size(made.bytes)}) in {printable(str(made.folder))}{shared}."
    return Result(
        document,
        f"{told}\nIt is a store itself: COTDISTILL_HOME={printable(str(made.folder))} opens it. Check it: cotdistill store verify FOLDER",
    )


def verify(arguments: argparse.Namespace) -> Result:
    """The hashes of this store, or the files of a backup against its manifest."""
    if arguments.folder:
        problems = check(Path(arguments.folder).expanduser())
        counts, text = dict.fromkeys(("artifacts", "jobs", "tasks")), "Every file matches the manifest of the backup."
    else:
        checked = verify_store(Store.open())
        problems = list(checked.problems)
        counts = {"artifacts": checked.artifacts, "jobs": checked.jobs, "tasks": checked.tasks}
        text = (
            f"{plural(checked.artifacts, 'artefact')}, {plural(checked.jobs, 'job')}, {plural(checked.tasks, 'task')} "
            "checked: every hash matches its record."
        )
    if problems:
        text = "\n".join([f"{plural(len(problems), 'problem')}:", *(f"! {printable(problem)}" for problem in problems)])
    return Result({"ok": not problems, **counts, "problems": problems}, text, 1 if problems else 0)


def _budget_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max", metavar="SIZE", help="what the store may hold, for example 20GB; none: as much as fits"
    )
    parser.add_argument(
        "--free", metavar="SIZE", help="what must stay free on its disk (default: 500 MB, or 2 %% of a smaller disk)"
    )
    parser.add_argument("--queued", type=whole_number(1), metavar="N", help="how many jobs may wait (default: 20,000)")


def _gc_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--delete", action="store_true", help="delete what was found; without it nothing is changed")


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
    "the folder where everything is kept",
    (
        Command(
            "store", "size", "how large the store is, and what it is made of", sizes,
            {
                "path": "folder", "bytes": "in all", "free": "bytes free on its disk", "parts": "bytes by part", "parts.database": "the database",
                "parts.artifacts": "weights, predictions, tables", "parts.tasks": "tasks with their tokenizers",
                "parts.jobs": "logs and resume checkpoints", "parts.other": "the rest",
            },
        ),
        Command(
            "store", "budget", "tell or set how much the store may take; without room no new job begins", set_budget,
            {
                "max": "bytes that the store may hold, or null", "free": "bytes that must stay free", "queued": "jobs that may wait",
                "refusal": "why no job begins now, or null",
            },
            _budget_arguments,
        ),
        Command(
            "store", "gc", "what nothing refers to any more; --delete deletes it", gc,
            {
                "deleted": "whether it was deleted", "bytes": "in all", "garbage": "what can go, or has gone",
                "garbage[].kind": "artifact, task, part, job or log", "garbage[].path": "in the store", "garbage[].bytes": "size",
                "kept": "studies that are tagged keep or have a pinned baseline",
            },
            _gc_arguments,
            notes="Safe while runs are trained. A study tagged keep, or with a pinned baseline, keeps all that it names, old logs too.",
        ),
        Command(
            "store", "backup", "copy the store into a new folder, also while it is in use", backup,
            {"folder": "where it is", "files": "number of files", "bytes": "in all", "linked": "artefacts that share the disk with the store"},
            _backup_arguments,
            notes="For another disk, name a folder there: nothing can be linked across disks, so all is copied.",
        ),
        Command(
            "store", "verify", "recompute every hash of the store, or check a backup against its manifest; exit code 1 on a mismatch", verify,
            {
                "ok": "whether everything matches", "artifacts": "files checked; null for a backup", "jobs": "jobs checked; null for a backup",
                "tasks": "tasks checked; null for a backup", "problems": "what differs",
            },
            _verify_arguments,
        ),
    ),
)  # fmt: skip

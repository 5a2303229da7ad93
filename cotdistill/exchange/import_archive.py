"""Import of an archive that another group wrote: checked as a whole, files first, rows last.

Killed at any moment, an import leaves the store as it was, but for files that nothing names yet and that the next
import finds again.
"""

from __future__ import annotations

import dataclasses
import io
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cotdistill.errors import DiskFull
from cotdistill.exchange.insert_imported import IncomingStudy, Standing, record, standing
from cotdistill.exchange.reader import ArchiveFile, opened
from cotdistill.exchange.validation import LARGEST_TABLE, content
from cotdistill.store.store import Store
from cotdistill.studies.spec import checked
from cotdistill.tasks.importing.task_bundle import adopt
from cotdistill.tasks.importing.task_bundle import checked as checked_task
from cotdistill.tasks.task import added_folder

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Imported:
    """What an import did. study: its number, None where nothing was to be written. new, completed, reused: jobs that
    were not here, that were here without a result, and that were here as they are. told: what a person should know."""

    study: int | None
    name: str
    digest: str
    written_by: str
    new: int
    completed: int
    reused: int
    tasks: tuple[str, ...]
    weights: bool
    texts: bool
    notes: tuple[str, ...]


def import_study(
    store: Store,
    path: Path,
    *,
    name: str = "",
    dry_run: bool = False,
    progress: Callable[[float, str], None] = lambda share, what: None,
) -> Imported:
    """Import an archive that `archive.export_study` wrote, under its own name or another one. Nothing is written unless
    all of it can be.

    BadArchive or ArchiveTooNew for what cannot be trusted; UsageError where it does not go with what is here
    (`adopting.standing`); DiskFull.
    """
    with opened(path) as archive, tempfile.TemporaryDirectory() as staging:
        progress(0.0, "checking the archive")
        study = _named(content(archive), name)
        tasks = _staged(archive, Path(staging))
        seen = standing(store, study, lambda digest: _predictions(archive, digest))
        number = None
        if not dry_run:
            progress(0.5, "copying")
            _copy(store, archive, _wanted(study, seen), progress)
            for task, digest, folder in tasks:
                adopt(store.tasks_root, task, digest, folder)
            number = record(store, study, seen, archive.digest)
            progress(1.0, "done")
        return Imported(
            study=number,
            name=study.name,
            digest=archive.digest,
            written_by=str(archive.manifest.get("written_by", "")),
            new=len(seen.new),
            completed=len(seen.completed),
            reused=len(seen.reused),
            tasks=tuple(task for task, _, _ in tasks),
            weights=any(member.endswith(".safetensors") for member in archive.members),
            texts=archive.manifest.get("texts") is True,
            notes=tuple(_notes(study, seen)),
        )


def _named(study: IncomingStudy, name: str) -> IncomingStudy:
    """The study under another name, which its plan does not depend on."""
    if not name or name == study.name:
        return study
    spec = checked(dataclasses.replace(study.spec, name=name))
    return dataclasses.replace(study, name=name, spec=spec, plain_spec={**study.plain_spec, "name": name})


def _staged(archive: ArchiveFile, staging: Path) -> list[tuple[str, str, Path]]:
    """(name, digest, folder) of every task in an archive, unpacked outside the store and checked. Files lie under names
    of ours alone.
    """
    files: dict[tuple[str, str], Path] = {}
    for member in archive.members:
        if not member.startswith("tasks/"):
            continue
        _, name, digest, file = member.split("/", 3)
        folder = files.setdefault((name, digest), staging / str(len(files)))
        target = added_folder(folder, file.removeprefix("sources/")) if file.startswith("sources/") else folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as written:
            for block in archive.blocks(member):
                written.write(block)
    for (name, digest), folder in files.items():
        checked_task(folder, name, digest)
    return [(name, digest, folder) for (name, digest), folder in files.items()]


def _predictions(archive: ArchiveFile, digest: str) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(io.BytesIO(archive.read(f"artifacts/{digest}.parquet", LARGEST_TABLE)))


def _wanted(study: IncomingStudy, seen: Standing) -> set[str]:
    """Digests of the artefacts that the rows will name: those of jobs that are new or completed here, and what an
    earlier archive had left out.
    """
    brought = {*seen.new, *seen.completed}
    held = {p.held for job in study.jobs if job.identity in brought for p in job.produced.values() if p.held}
    return held | {digest for roles in seen.filled.values() for digest in roles.values()}


def _copy(store: Store, archive: ArchiveFile, wanted: set[str], progress: Callable[[float, str], None]) -> None:
    """The artefacts into the store; those that this import brought are taken back if there is no room for all."""
    if archive.size > shutil.disk_usage(store.home).free:
        raise DiskFull(
            f"The archive unpacks to {archive.size >> 20:,} MiB; the disk of {store.home} has less.",
            "Free some room; nothing was changed.",
        )
    names = [f"artifacts/{name}" for name in archive.artifacts if name.partition(".")[0] in wanted]
    brought: list[str] = []
    try:
        for number, member in enumerate(names):
            digest, _, suffix = member.removeprefix("artifacts/").partition(".")
            if store.artifacts.put_blocks(archive.blocks(member), digest, "artefact", suffix):
                brought.append(digest)
            progress(0.5 + 0.5 * (number + 1) / len(names), "copying")
    except DiskFull:
        for digest in brought:
            store.artifacts.remove(digest)
        raise


def _notes(study: IncomingStudy, seen: Standing) -> list[str]:
    notes = []
    if seen.study is not None:
        notes.append(f"The study {study.name!r} is here already.")
    if seen.more:
        notes.append(f"{len(seen.more)} of its jobs have finished here and not in the archive: they count here.")
    brought = {*seen.new, *seen.completed}
    if any(product.held is None for job in study.jobs if job.identity in brought for product in job.produced.values()):
        notes.append(
            "The students' weights are not in the archive: nobody can look inside them here, unless they are trained"
            " again (runs retry)."
        )
    unfinished = sum(job.state != "finished" for job in study.jobs)
    if unfinished:
        notes.append(f"{unfinished} of its jobs had not finished: launch the study, or resume them, to run them here.")
    return notes

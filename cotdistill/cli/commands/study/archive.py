"""study export, import: a study as one file for another group."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

from cotdistill.cli.command import Command, Result, StudyReference
from cotdistill.cli.output import Progress, printable
from cotdistill.exchange.export import SUFFIX, export_study
from cotdistill.exchange.import_archive import import_study
from cotdistill.store.store import Store
from cotdistill.text import plural, size


@dataclass(frozen=True)
class ExportedStudy:
    """What `study export` answers."""

    study: str  # the study as it was named
    out: str  # file that was written
    digest: str  # digest of the whole; archives with the same digest hold the same
    bytes: int  # its size
    jobs: int  # jobs in it
    artifacts: int  # tables in it, and weights with --weights
    tasks: list[str]  # tasks whose files are in it
    weights: bool  # whether weights were asked for
    texts: bool  # whether texts are in it
    left_out: list[str]  # what is not in it, in words


@dataclass(frozen=True)
class ImportedStudy:
    """What `study import` answers."""

    study: StudyReference | None  # the study in this store; null with --dry-run
    name: str  # the name it has, or would get
    digest: str  # digest of the archive, kept with the runs
    written_by: str  # version that wrote it
    new: int  # jobs that this store did not have
    completed: int  # jobs that had no result here and have one now
    reused: int  # jobs that stay as they were here
    tasks: list[str]  # tasks in it
    weights: bool  # whether it holds weights
    texts: bool  # whether it holds texts
    notes: list[str] = field(metadata={"key": "told"})  # warnings


def export(arguments: argparse.Namespace) -> Result:
    archive = export_study(
        Store.open(),
        arguments.study,
        arguments.out.expanduser(),
        weights=arguments.weights,
        texts=not arguments.no_texts,
    )
    document = ExportedStudy(
        study=arguments.study,
        out=str(archive.path),
        digest=archive.digest,
        bytes=archive.bytes,
        jobs=archive.jobs,
        artifacts=archive.artifacts,
        tasks=list(archive.tasks),
        weights=archive.weights,
        texts=archive.texts,
        left_out=list(archive.left_out),
    )
    counts = [plural(document.jobs, "job"), plural(document.artifacts, "artefact"), size(document.bytes)]
    lines = [f"Written to {document.out}: {', '.join(counts)}.", f"Digest: {document.digest}"]
    lines += [f"  left out: {printable(text)}" for text in document.left_out]
    return Result(document, "\n".join([*lines, "To import it elsewhere: cotdistill study import FILE"]))


def import_(arguments: argparse.Namespace) -> Result:
    progress = Progress(1.0, "share")
    try:
        done = import_study(
            Store.open(),
            arguments.file.expanduser(),
            name=arguments.name or "",
            dry_run=arguments.dry_run,
            progress=progress.show,
        )
    finally:
        progress.close()
    document = ImportedStudy(
        study=None if done.study is None else StudyReference(done.study, done.name),
        name=done.name,
        digest=done.digest,
        written_by=done.written_by,
        new=done.new,
        completed=done.completed,
        reused=done.reused,
        tasks=list(done.tasks),
        weights=done.weights,
        texts=done.texts,
        notes=list(done.notes),
    )
    study = document.study
    head = f"Imported study {study.name} (number {study.id})" if study else "Nothing was written; it can be imported"
    jobs = f"{plural(done.new, 'job')} new here, {done.completed} completed, {done.reused} already here"
    lines = [f"{head}: {jobs}.", f"Digest: {done.digest}", *(f"  {printable(text)}" for text in document.notes)]
    return Result(document, "\n".join([*lines, *([f"See it: cotdistill compare {study.name}"] if study else [])]))


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY", help="name (the latest of that name) or number")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help=f"file to write; by custom NAME{SUFFIX}"
    )
    parser.add_argument(
        "--weights", action="store_true", help="include the students' weights, so that others can look inside them"
    )
    parser.add_argument(
        "--no-texts",
        action="store_true",
        help="leave out the tasks' rows, what students wrote, and the analyses: a licence may require it",
    )


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="an archive that study export wrote")
    parser.add_argument("--name", metavar="N", help="the name it gets here; default: its own")
    parser.add_argument("--dry-run", action="store_true", help="check everything and write nothing")


COMMANDS = (
    Command(
        "study",
        "export",
        "write a study to one file, from which another group gets the same numbers",
        export,
        ExportedStudy,
        _export_arguments,
        example="starter --out starter.cotdistill.zip",
    ),
    Command(
        "study",
        "import",
        "import such a file; all of it is checked first, and it is imported whole or not at all",
        import_,
        ImportedStudy,
        _import_arguments,
    ),
)

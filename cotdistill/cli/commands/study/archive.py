"""study export, import: a study as one file for another group."""

from __future__ import annotations

import argparse
from pathlib import Path

from cotdistill.cli.command import Command, Result
from cotdistill.cli.output import Progress, printable
from cotdistill.exchange.export import SUFFIX, export_study
from cotdistill.exchange.import_archive import import_study
from cotdistill.store.store import Store
from cotdistill.text import plural, size


def export(arguments: argparse.Namespace) -> Result:
    made = export_study(
        Store.open(),
        arguments.study,
        arguments.out.expanduser(),
        weights=arguments.weights,
        texts=not arguments.no_texts,
    )
    document = {
        "study": arguments.study,
        "out": str(made.path),
        "digest": made.digest,
        "bytes": made.bytes,
        "jobs": made.jobs,
        "artifacts": made.artifacts,
        "tasks": list(made.tasks),
        "weights": made.weights,
        "texts": made.texts,
        "left_out": list(made.left_out),
    }
    lines = [
        f"Written to {made.path}: {plural(made.jobs, 'job')}, {plural(made.artifacts, 'artefact')}, {size(made.bytes)}."
    ]
    lines += [f"Its digest: {made.digest}"]
    lines += [f"  left out: {printable(text)}" for text in made.left_out]
    lines += ["Others import it: cotdistill study import FILE"]
    return Result(document, "\n".join(lines))


def import_(arguments: argparse.Namespace) -> Result:
    progress = Progress(1.0, "share")
    try:
        done = import_study(
            Store.open(), arguments.file.expanduser(), name=arguments.name or "", dry_run=arguments.dry_run,
            progress=lambda share, what: progress.show(share, what),
        )  # fmt: skip
    finally:
        progress.close()
    document = {
        "study": None if done.study is None else {"id": done.study, "name": done.name},
        "name": done.name,
        "digest": done.digest,
        "written_by": done.written_by,
        "new": done.new,
        "completed": done.completed,
        "reused": done.reused,
        "tasks": list(done.tasks),
        "weights": done.weights,
        "texts": done.texts,
        "told": list(done.notes),
    }
    head = (
        "It can be imported; nothing was written"
        if done.study is None
        else f"Imported study {done.name} (number {done.study})"
    )
    jobs = f"{plural(done.new, 'job')} new here, {done.completed} completed, {done.reused} here already"
    lines = [f"{head}: {jobs}.", f"Its digest: {done.digest}", *(f"  {printable(text)}" for text in done.notes)]
    if done.study is not None:
        lines.append(f"See it: cotdistill compare {done.name}")
    return Result(document, "\n".join(lines))


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="NAME", help="its name (the latest of that name) or number")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help=f"where it goes; by custom NAME{SUFFIX}"
    )
    parser.add_argument(
        "--weights", action="store_true", help="also the students' weights, so that others can look inside them"
    )
    parser.add_argument(
        "--no-texts",
        action="store_true",
        help="leave out the tasks' rows, what students wrote, and the looks: licences may ask for it",
    )


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="an archive that study export wrote")
    parser.add_argument("--name", metavar="N", help="the name it gets here; default: its own")
    parser.add_argument("--dry-run", action="store_true", help="check everything and write nothing")


COMMANDS = (
    Command(
        "study",
        "export",
        "write a study to one file from which another group sees the same numbers",
        export,
        {
            "study": "what was asked for",
            "out": "the file",
            "digest": "of the whole: two archives with the same one hold the same",
            "bytes": "its size",
            "jobs": "jobs in it",
            "artifacts": "tables, and weights if asked for",
            "tasks": "tasks whose files are in it",
            "weights": "whether weights were asked for",
            "texts": "whether texts are in it",
            "left_out": "what is not in it, in words",
        },
        _export_arguments,
    ),
    Command(
        "study",
        "import",
        "read such a file; all of it is checked first, and nothing is half-imported",
        import_,
        {
            "study": "the study that stands here now; null with --dry-run",
            "study.id": "its number",
            "study.name": "its name",
            "name": "the name it has, or would get",
            "digest": "of the archive; the runs are marked with it",
            "written_by": "version that wrote it",
            "new": "jobs that were not here",
            "completed": "jobs that were here without a result and have one now",
            "reused": "jobs that stay as they were here",
            "tasks": "tasks in it",
            "weights": "whether it holds weights",
            "texts": "whether it holds texts",
            "told": "what deserves a look",
        },
        _import_arguments,
    ),
)

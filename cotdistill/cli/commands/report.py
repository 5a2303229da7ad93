"""report: the findings of a study as a file for others."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from cotdistill.cli.command import Command, Noun, Result
from cotdistill.cli.output import whole_file
from cotdistill.errors import UsageError
from cotdistill.report.export import FORMS, published
from cotdistill.results.findings import findings
from cotdistill.store.store import Store


@dataclass(frozen=True)
class Written:
    """The file that was written."""

    study: str  # name of the study
    form: str  # html, md, tex or csv
    out: str  # path of the file
    bytes: int  # its size


def write(arguments: argparse.Namespace) -> Result:
    """Write the findings to a file, whole or not at all; its ending gives the format."""
    form = arguments.out.suffix.lstrip(".")
    if form not in FORMS:
        raise UsageError(f"{arguments.out} ends in none of .{', .'.join(FORMS)}.", "For example --out findings.html")
    if not arguments.out.parent.is_dir():
        raise UsageError(f"There is no folder {arguments.out.parent}.", "Make it first, or name another one.")
    document = findings(Store.open(), arguments.study, arguments.margin)
    text = published(document, form)
    with whole_file(arguments.out) as part:
        part.write_text(text, encoding="utf-8")
    written = Written(document["name"], form, str(arguments.out), arguments.out.stat().st_size)
    return Result(written, f"Written to {written.out} ({written.bytes:,} bytes)")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "study", metavar="STUDY", help="name (the latest of that name) or number; a built-in study needs no runs yet"
    )
    parser.add_argument(
        "--margin",
        type=float,
        metavar="POINTS",
        help="non-inferiority margin in points, chosen beforehand; default: from the gain on dev",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=f"ends in .{', .'.join(FORMS)}")


NOUN = Noun(
    "report",
    "the findings as a file",
    (
        Command(
            "report",
            "",
            "write the findings as an HTML page that opens offline, as Markdown, LaTeX or CSV",
            write,
            Written,
            _arguments,
            example="starter --out starter.html",
        ),
    ),
)

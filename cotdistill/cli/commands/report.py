"""report: the findings of a study as a file for others."""

from __future__ import annotations

import argparse
from pathlib import Path

from cotdistill.cli.command import Command, Noun, Result
from cotdistill.cli.output import whole_file
from cotdistill.errors import UsageError
from cotdistill.report.export import FORMS, published
from cotdistill.results.findings import findings
from cotdistill.store.store import Store


def write(arguments: argparse.Namespace) -> Result:
    """Write the findings to a file, whole or not at all; its ending says the form."""
    form = arguments.out.suffix.lstrip(".")
    if form not in FORMS:
        raise UsageError(f"{arguments.out} ends in none of .{', .'.join(FORMS)}.", "For example --out findings.html")
    if not arguments.out.parent.is_dir():
        raise UsageError(f"There is no folder {arguments.out.parent}.", "Make it first, or name another one.")
    document = findings(Store.open(), arguments.study, arguments.margin)
    text = published(document, form)
    with whole_file(arguments.out) as part:
        part.write_text(text, encoding="utf-8")
    size = arguments.out.stat().st_size
    return Result(
        {"study": document["name"], "form": form, "out": str(arguments.out), "bytes": size},
        f"Written to {arguments.out} ({size:,} bytes)",
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "study",
        metavar="STUDY",
        help="its name (the latest of that name) or number; a built-in one may not have run yet",
    )
    parser.add_argument(
        "--margin", type=float, metavar="POINTS", help="of 'no worse', chosen beforehand; default: from the gain on dev"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=f"ends in .{', .'.join(FORMS)}")


NOUN = Noun(
    "report",
    "the findings as a file",
    (
        Command(
            "report",
            "",
            "write the findings as one HTML page that opens offline, as Markdown, LaTeX or CSV",
            write,
            {"study": "name", "form": "html, md, tex or csv", "out": "file that was written", "bytes": "its size"},
            _arguments,
        ),
    ),
)

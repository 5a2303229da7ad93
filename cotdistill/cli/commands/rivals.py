"""rivals: which rival explanation accounts for how much of post-CoT's gain."""

from __future__ import annotations

import argparse
from typing import Any

from cotdistill.cli.command import Command, Noun, Result
from cotdistill.cli.output import table
from cotdistill.report.rivals import HEAD, cells, gain_told
from cotdistill.results.rivals import rivals
from cotdistill.store.store import Store


def tell(arguments: argparse.Namespace) -> Result:
    document = rivals(Store.open(), arguments.study)
    return Result(document, text_of(document))


def text_of(document: dict[str, Any]) -> str:
    """The table as the terminal shows it."""
    return (
        f"{gain_told(document)}\n\n{table(list(HEAD), cells(document))}" if document["rivals"] else gain_told(document)
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY", help="its name (the latest of that name) or number")


NOUN = Noun(
    "rivals",
    "rival explanations of the gain",
    (
        Command(
            "rivals",
            "",
            "what every other condition of a study accounts for of post-CoT's gain over label only, with intervals",
            tell,
            {
                "study": "name",
                "gain": "post-CoT less label only, a share, with its 95 % interval; or null",
                "margin": "of 'as much as the rationale', a share, from the gain on dev; or null",
                "replicates": "replicates finished",
                "items": "test questions",
                "provisional": "whether planned runs are missing",
                "word": "better if there is a gain to explain, else why not",
                "rivals": "one entry a condition",
                "rivals[].condition": "canonical form",
                "rivals[].label": "its name for people",
                "rivals[].why": "the explanation that it stands for",
                "rivals[].accuracy": "mean over replicates, or null",
                "rivals[].gain": "less label only: mean, low, high; or null",
                "rivals[].short": "less intact post-CoT: mean, low, high; or null",
                "rivals[].kept": "share of post-CoT's gain with its interval over replicates, or null",
                "rivals[].p": "of a gain, adjusted after Holm over the rivals, or null",
                "rivals[].word": "what it accounts for",
            },
            _arguments,
        ),
    ),
)

"""compare: every condition of a study against one of them, and what the study says about the planned claims."""

from __future__ import annotations

import argparse

from cotdistill.cli.command import Command, Noun, Result
from cotdistill.cli.study_text import CLAIM_KEYS, REPORT_KEYS, claims_document, claims_text, report
from cotdistill.errors import UsageError
from cotdistill.store.store import Store


def compare(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    if len({member.condition for member in store.queue.study(arguments.study).members if member.role == "run"}) < 2:
        raise UsageError(
            f"The study {arguments.study!r} has one condition, so there is nothing to compare.",
            "Run it with a baseline beside it: --conditions label_only,post_cot; study show STUDY shows its accuracy.",
        )
    found = report(store, arguments.study, baseline=arguments.baseline, margin=arguments.margin)
    return Result(
        {**found, "claims": claims_document(store, found["id"], arguments.margin)},
        claims_text(store, found, arguments.margin),
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY", help="its name (the latest of that name) or number")
    parser.add_argument(
        "--baseline", metavar="CONDITION", help="what differences are taken to; default: the study's own"
    )
    parser.add_argument(
        "--margin",
        type=float,
        metavar="POINTS",
        help="also judge 'no worse' by this margin in points, chosen beforehand",
    )


NOUN = Noun(
    "compare",
    "differences and claims",
    (
        Command(
            "compare",
            "",
            "every condition of a study against one of them, with intervals and words, and the planned claims",
            compare,
            {
                **REPORT_KEYS,
                **CLAIM_KEYS,
            },
            _arguments,
        ),
    ),
)

"""compare: every condition of a study against one of them, and what the study says about the planned claims."""

from __future__ import annotations

import argparse
from typing import Any

from cotdistill.cli.command import Command, Noun, Result
from cotdistill.cli.report import REPORT_KEYS, report, report_text
from cotdistill.studies import claims
from cotdistill.studies.store import Store


def compare(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    found = report(store, arguments.study, baseline=arguments.baseline, margin=arguments.margin)
    titles = {claim.name: claim.title for claim in claims.CLAIMS}
    judged = [
        {"id": verdict.claim, "title": titles[verdict.claim], "word": verdict.word, "told": verdict.told, "p": verdict.p}
        for verdict in claims.judge(store, found["id"])
    ]
    document: dict[str, Any] = {**found, "claims": judged}
    lines = [report_text(found), "", "The planned claims:"]
    for claim in judged:
        lines += [f"  {claim['id']}. {claim['title']}: {claim['word']}", f"     {claim['told']}"]
    return Result(document, "\n".join(lines))


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY", help="its name (the latest of that name) or number")
    parser.add_argument("--baseline", metavar="CONDITION", help="what differences are taken to; default: the study's own")
    parser.add_argument("--margin", type=float, metavar="POINTS", help="also judge 'no worse' by this margin in points, chosen beforehand")


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
                "claims": "the planned claims",
                "claims[].id": "its number",
                "claims[].title": "what it says",
                "claims[].word": "holds, fails, not shown, provisional, or cannot be asked here",
                "claims[].told": "the numbers, or what is missing",
                "claims[].p": "largest p of its comparisons, adjusted after Holm, or null",
            },
            _arguments,
        ),
    ),
)

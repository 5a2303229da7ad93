"""compare: every condition of a study against one of them, and what the study says about the planned claims."""

from __future__ import annotations

import argparse
from typing import Any

from cotdistill.cli.command import Command, Noun, Result
from cotdistill.cli.report import REPORT_KEYS, report, report_text
from cotdistill.config import plain
from cotdistill.studies import claims
from cotdistill.studies.store import Store


def compare(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    found = report(store, arguments.study, baseline=arguments.baseline, margin=arguments.margin)
    document: dict[str, Any] = {**found, "claims": [plain(verdict) for verdict in claims.judge(store, found["id"])]}
    lines = [report_text(found), "", "Planned claims:"]
    for verdict in document["claims"]:
        lines.append(f"  {verdict['claim']}: {verdict['word']}")
        lines += [f"    {reason}" for reason in verdict["reasons"]]
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
                "claims[].claim": "its name",
                "claims[].word": "verdict in words",
                "claims[].reasons": "why",
            },
            _arguments,
        ),
    ),
)

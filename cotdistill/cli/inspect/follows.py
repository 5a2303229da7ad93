"""follows: whether the answers of students trained on counterfactual rationales follow the rationale, or the tag before
the question.
"""

from __future__ import annotations

import argparse
from typing import Any

from cotdistill.cli.command import Command, Result
from cotdistill.cli.output import table
from cotdistill.report.following import HEAD, caption, rows, title
from cotdistill.report.modes import DIAGNOSTIC
from cotdistill.results.following import RATIONALES, TAGS, Following, following
from cotdistill.statistics.intervals import Interval
from cotdistill.store.store import Store

NONE = (
    "No finished run of this study was trained on counterfactual rationales and has them on test:"
    " pre_cot+counterfactual"
)


def follows(arguments: argparse.Namespace) -> Result:
    summaries = following(Store.open(), arguments.study)
    lines = [
        line for one in summaries for line in (title(one), "", table(list(HEAD), [list(row) for row in rows(one)]), "")
    ]
    return Result(
        [_document(one) for one in summaries],
        "\n".join([*lines, f"{caption(summaries)} {DIAGNOSTIC}"]) if summaries else NONE,
    )


def _document(summary: Following) -> dict[str, Any]:
    return {
        "condition": summary.condition,
        "label": summary.label,
        "cells": [
            {
                "tag": tag,
                "rationale": rationale,
                **_ends(summary.right[tag, rationale], "right"),
                **_ends(summary.argued[tag, rationale], "argued"),
            }
            for tag in TAGS
            for rationale in RATIONALES
        ],
        "by_tag": [{"rationale": name, **_ends(found, "changed")} for name, found in summary.by_tag.items()],
        "by_rationale": [{"tag": name, **_ends(found, "changed")} for name, found in summary.by_rationale.items()],
        "items": summary.items,
        "clusters": summary.clusters,
        "replicates": summary.replicates,
        "planned": summary.planned,
        "speaks_of": summary.right[TAGS[0], RATIONALES[0]].speaks_of,
    }


def _ends(interval: Interval, name: str) -> dict[str, float | None]:
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _interval_keys(name: str, help: str) -> dict[str, str]:
    return {name: help, f"{name}_low": "lower end of its 95 % interval, or null", f"{name}_high": "upper end, or null"}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY", help="its name (the latest of that name) or number")


COMMAND = Command(
    "inspect",
    "follows",
    "students trained on counterfactual rationales under either tag with either rationale and with none (SCOTT, arXiv"
    " 2305.01879)",
    follows,
    {
        "condition": "canonical form",
        "label": "its name for people",
        "cells": "one entry a tag and rationale: shares of the answers",
        "cells[].tag": "what stood before the question: factual or counterfactual",
        "cells[].rationale": (
            "what stood before the answer: given (the teacher's), wrong (one for a wrong choice), none"
        ),
        **{f"cells[].{key}": text for key, text in _interval_keys("right", "that are right").items()},
        **{
            f"cells[].{key}": text
            for key, text in _interval_keys(
                "argued", "that are the wrong choice which the wrong rationale argues for"
            ).items()
        },
        "by_tag": "one entry a rationale: answers that the other tag changes",
        "by_tag[].rationale": "as above",
        **{f"by_tag[].{key}": text for key, text in _interval_keys("changed", "their share").items()},
        "by_rationale": "one entry a tag: answers that the wrong rationale changes where the teacher's stood",
        "by_rationale[].tag": "as above",
        **{f"by_rationale[].{key}": text for key, text in _interval_keys("changed", "their share").items()},
        "items": "test questions",
        "clusters": "independent groups of them",
        "replicates": "replicates scored",
        "planned": "replicates planned",
        "speaks_of": "what the intervals generalise to",
    },
    _arguments,
    listed=True,
)

"""study sizes: accuracy against the number of training examples."""

from __future__ import annotations

import argparse

from cotdistill.cli.command import Command, Result
from cotdistill.cli.output import table
from cotdistill.rationales.conditions import parse
from cotdistill.results import training_size
from cotdistill.store.store import Store
from cotdistill.text import between_points, count, percent, points


def sizes(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    study = store.queue.study(arguments.study)
    curves = training_size.size_curves(store, study.id)
    against = {
        (one.condition, one.fraction): one
        for one in training_size.gaps(store, study.id, curves, str(parse(arguments.baseline)))
    }
    document = []
    rows = []
    for curve in curves:
        for one in curve.sizes:
            gap, summary = against.get((curve.condition, one.fraction)), one.summary
            document.append(
                {
                    "condition": curve.condition, "label": curve.label, "fraction": one.fraction, "rows": one.rows, "epochs": one.epochs,
                    "accuracy": summary.mean, "low": summary.low, "high": summary.high, "replicates": list(summary.points),
                    "planned": summary.planned, "difference": gap and 100 * gap.difference,
                    "difference_low": None if gap is None or gap.low is None else 100 * gap.low,
                    "difference_high": None if gap is None or gap.high is None else 100 * gap.high,
                    "word": gap.word if gap else "",
                }
            )  # fmt: skip
            told = f"{points(gap.difference)} ({between_points(gap.low, gap.high)})" if gap else ""
            finished = f"{summary.finished} of {summary.planned}"
            rows.append(
                [
                    curve.label,
                    f"{100 * one.fraction:g} %",
                    count(one.rows),
                    f"{one.epochs:.1f}",
                    percent(summary.mean),
                    finished,
                    told,
                ]
            )
    against_told = f"against {parse(arguments.baseline).label}"
    heads = ["condition", "share", "examples", "epochs", "accuracy", "finished", against_told]
    none = "No condition of this study has finished runs at two sizes of the training set: study run --fractions 0.1,0.25,0.5,1"
    return Result(
        document, table(heads, rows, right=("share", "examples", "epochs", "accuracy", "finished")) if rows else none
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", help="its name (the latest of that name) or number")
    parser.add_argument(
        "--baseline",
        metavar="CONDITION",
        default="label_only",
        help="what differences are taken to, at the same share (label_only)",
    )


COMMAND = Command(
    "study",
    "sizes",
    "accuracy against the number of training examples, and the distance to the baseline at each",
    sizes,
    {
        "condition": "the condition as it is at all rows",
        "label": "its name for people",
        "fraction": "share of the training rows",
        "rows": "training examples, mean over replicates",
        "epochs": "how often each was seen",
        "accuracy": "mean over finished replicates (share)",
        "low": "lower end of its 95 % interval, or null",
        "high": "upper end, or null",
        "replicates": "accuracy of each finished replicate",
        "planned": "replicates planned",
        "difference": "points against the baseline at the same share, paired; null for the baseline itself",
        "difference_low": "lower end of its 95 % interval, or null",
        "difference_high": "upper end, or null",
        "word": "better, worse, not distinguishable or provisional; exploratory",
    },
    _arguments,
    listed=True,
)

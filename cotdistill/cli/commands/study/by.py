"""study show --by: a study by rival explanations, by the number of training examples, or by a metadata field."""

from __future__ import annotations

from typing import Any

from cotdistill.cli.output import table
from cotdistill.errors import UnknownName
from cotdistill.rationales.conditions import parse
from cotdistill.report.rivals import HEAD, cells, gain_told
from cotdistill.results import training_size
from cotdistill.store.store import Store
from cotdistill.text import between, between_points, count, percent, points


def rivals_text(document: dict[str, Any]) -> str:
    """What each rival explanation accounts for of post-CoT's gain, as a table."""
    lines = [gain_told(document)]
    return "\n\n".join([*lines, table(list(HEAD), cells(document))] if document["rivals"] else lines)


def sizes(store: Store, which: int | str, baseline: str) -> tuple[list[dict[str, Any]], str]:
    """Accuracy at each share of the training rows, with the paired difference to `baseline` at the same share; the same
    as text.
    """
    study = store.queue.study(which)
    curves = training_size.size_curves(store, study.id)
    against = {
        (one.condition, one.fraction): one for one in training_size.gaps(store, study.id, curves, str(parse(baseline)))
    }
    document = []
    rows = []
    for curve in curves:
        for one in curve.sizes:
            gap, summary = against.get((curve.condition, one.fraction)), one.summary
            document.append(
                {
                    "condition": curve.condition,
                    "label": curve.label,
                    "fraction": one.fraction,
                    "rows": one.rows,
                    "epochs": one.epochs,
                    "accuracy": summary.mean,
                    "low": summary.low,
                    "high": summary.high,
                    "replicates": list(summary.points),
                    "planned": summary.planned,
                    "difference": gap and 100 * gap.difference,
                    "difference_low": None if gap is None or gap.low is None else 100 * gap.low,
                    "difference_high": None if gap is None or gap.high is None else 100 * gap.high,
                    "word": gap.word if gap else "",
                }
            )
            difference = f"{points(gap.difference)} ({between_points(gap.low, gap.high)})" if gap else ""
            finished = f"{summary.finished} of {summary.planned}"
            rows.append(
                [
                    curve.label,
                    f"{100 * one.fraction:g} %",
                    count(one.rows),
                    f"{one.epochs:.1f}",
                    percent(summary.mean),
                    finished,
                    difference,
                ]
            )
    against_told = f"against {parse(baseline).label}"
    heads = ["condition", "share", "examples", "epochs", "accuracy", "finished", against_told]
    none = (
        "No condition of this study has finished runs at two sizes of the training set: study run --fractions"
        " 0.1,0.25,0.5,1"
    )
    return document, table(heads, rows, right=("share", "examples", "epochs", "accuracy", "finished")) if rows else none


def by_field(store: Store, which: int | str, field: str, baseline: str) -> tuple[list[dict[str, Any]], str]:
    """Accuracy on the test questions with each value of a metadata field, paired with `baseline`; the same as text.

    UnknownName for a field by which the questions do not differ.
    """
    # A matrix of answers needs pandas, which a list of studies does without.
    from cotdistill.results.prediction_matrix import matrix, texts
    from cotdistill.results.slices import fields, slices

    study = store.queue.study(which)
    answers, rows = matrix(store, study.id), texts(store, study.id)
    known = dict(zip(rows.index, rows["metadata"], strict=True)) if len(rows) else {}
    metadata = [known.get(item, {}) for item in answers.items]
    if field not in fields(metadata):
        raise UnknownName("metadata field of the test questions", field, ["rival", "size", *fields(metadata)])
    base = baseline if baseline in answers.conditions else ""
    document: list[dict[str, Any]] = []
    for part in slices(answers, metadata, field, answers.conditions, base):
        gap = part.difference
        document.append(
            {
                "value": part.value,
                "condition": part.condition,
                "label": parse(part.condition).label,
                "items": part.items,
                "replicates": part.replicates,
                "accuracy": part.interval.mean,
                "low": part.interval.low,
                "high": part.interval.high,
                "difference": gap and 100 * gap.mean,
                "difference_low": None if gap is None or gap.low is None else 100 * gap.low,
                "difference_high": None if gap is None or gap.high is None else 100 * gap.high,
            }
        )
    cells = [
        [
            one["value"],
            one["label"],
            f"{count(one['items'])} x {one['replicates']}",
            percent(one["accuracy"]),
            between(one["low"], one["high"]),
            "" if one["difference"] is None else points(one["difference"] / 100),
            (
                ""
                if one["difference_low"] is None
                else between_points(one["difference_low"] / 100, one["difference_high"] / 100)
            ),
        ]
        for one in document
    ]
    heads = [
        field,
        "condition",
        "n",
        "accuracy",
        "95 % interval",
        f"against {parse(base).label}" if base else "",
        "95 % interval",
    ]
    note = (
        "Exploratory: intervals, and no verdict; the more slices, the more likely is a difference that means nothing."
    )
    return document, f"{table(heads, cells, right=('n',))}\n\n{note}"


BY_KEYS = {
    "by_field": "with --by FIELD: one entry per value of the metadata field and condition; else null",
    "by_field[].value": "value of the field",
    "by_field[].condition": "canonical form",
    "by_field[].label": "its name for people",
    "by_field[].items": "test questions with that value",
    "by_field[].replicates": "replicates that answered them",
    "by_field[].accuracy": "mean over replicates (share)",
    "by_field[].low": "lower end of its 95 % interval, or null",
    "by_field[].high": "upper end, or null",
    "by_field[].difference": "points against the baseline on the same questions, paired; null for the baseline itself",
    "by_field[].difference_low": "lower end of its 95 % interval, or null",
    "by_field[].difference_high": "upper end, or null",
    "by_rival": (
        "with --by rival: what every other condition accounts for of post-CoT's gain over label only; else null"
    ),
    "by_rival.study": "name",
    "by_rival.gain": "post-CoT less label only, a share, with its 95 % interval; or null",
    "by_rival.margin": "of 'as much as the rationale', a share, from the gain on dev; or null",
    "by_rival.replicates": "replicates finished",
    "by_rival.items": "test questions",
    "by_rival.provisional": "whether planned runs are missing",
    "by_rival.word": "better if there is a gain to explain, else why not",
    "by_rival.rivals": "one entry a condition",
    "by_rival.rivals[].condition": "canonical form",
    "by_rival.rivals[].label": "its name for people",
    "by_rival.rivals[].why": "the explanation that it stands for",
    "by_rival.rivals[].accuracy": "mean over replicates, or null",
    "by_rival.rivals[].gain": "less label only: mean, low, high; or null",
    "by_rival.rivals[].short": "less intact post-CoT: mean, low, high; or null",
    "by_rival.rivals[].kept": "share of post-CoT's gain with its interval over replicates, or null",
    "by_rival.rivals[].p": "of a gain, adjusted after Holm over the rivals, or null",
    "by_rival.rivals[].word": "what it accounts for",
    "by_size": "with --by size: one entry per condition and share of the training rows; else null",
    "by_size[].condition": "the condition as it is at all rows",
    "by_size[].label": "its name for people",
    "by_size[].fraction": "share of the training rows",
    "by_size[].rows": "training examples, mean over replicates",
    "by_size[].epochs": "how often each was seen",
    "by_size[].accuracy": "mean over finished replicates (share)",
    "by_size[].low": "lower end of its 95 % interval, or null",
    "by_size[].high": "upper end, or null",
    "by_size[].replicates": "accuracy of each finished replicate",
    "by_size[].planned": "replicates planned",
    "by_size[].difference": "points against the baseline at the same share, paired; null for the baseline itself",
    "by_size[].difference_low": "lower end of its 95 % interval, or null",
    "by_size[].difference_high": "upper end, or null",
    "by_size[].word": "better, worse, not distinguishable or provisional; exploratory",
}

"""Accuracy against the number of training examples: every condition at each share of the rows it was trained on, and
how far it stands from the baseline at the same share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from cotdistill.rationales.conditions import Condition, parse
from cotdistill.results import results
from cotdistill.results.results import ConditionSummary
from cotdistill.statistics.verdicts import PROVISIONAL, word
from cotdistill.store.planned_runs import planned_runs
from cotdistill.store.store import Store


@dataclass(frozen=True)
class Size:
    """A condition at one share of the training rows. rows: how many that is, epochs: how often each was seen, means
    over its finished runs.
    """

    summary: ConditionSummary
    fraction: float
    rows: float
    epochs: float


@dataclass(frozen=True)
class SizeCurve:
    """A condition (named as it is at all rows) at two shares or more, by rising rows."""

    condition: str
    label: str
    sizes: tuple[Size, ...]


@dataclass(frozen=True)
class Gap:
    """The paired difference (a share) of a condition to the baseline where both are trained on the same rows, with its
    95 % interval and word.
    """

    condition: str
    label: str
    fraction: float
    rows: float
    difference: float
    low: float | None
    high: float | None
    word: str
    replicates: int
    items: int


def whole(condition: Condition) -> Condition:
    """The condition as it is at all rows. A token budget whose reference sees the same share follows it."""
    reference = parse(condition.tokens) if condition.tokens else None
    same = reference is not None and reference.fraction == condition.fraction
    tokens = str(replace(reference, fraction=1.0)) if reference is not None and same else condition.tokens
    return replace(condition, tokens=tokens, fraction=1.0)


def size_curves(store: Store, study: int | str) -> list[SizeCurve]:
    """The conditions of a study that have finished runs at two shares of the training rows or more, in the order
    planned.
    """
    seen: dict[str, list[tuple[int, int]]] = {}
    for condition, _, job in planned_runs(store, study):
        if job is not None and job.state == "finished" and job.result and job.result.get("train_rows"):
            examples = int(job.result["steps"]) * int(job.config["training"]["batch_size"])
            seen.setdefault(condition, []).append((int(job.result["train_rows"]), examples))
    sizes_of: dict[str, list[Size]] = {}
    for summary in results.summary(store, study):
        if summary.mean is None or summary.condition not in seen:
            continue
        parsed, counts = parse(summary.condition), seen[summary.condition]
        size = Size(
            summary,
            parsed.fraction,
            fmean(rows for rows, _ in counts),
            fmean(examples / rows for rows, examples in counts),
        )
        sizes_of.setdefault(str(whole(parsed)), []).append(size)
    return [
        SizeCurve(condition, parse(condition).label, tuple(sorted(sizes, key=lambda size: size.fraction)))
        for condition, sizes in sizes_of.items()
        if len(sizes) > 1
    ]


def gaps(store: Store, study: int | str, curves: Sequence[SizeCurve], baseline: str = "label_only") -> list[Gap]:
    """Every other curve against the baseline's, share by share; none where the baseline has no curve. baseline: a
    condition as it is at all rows.
    """
    base = next((curve for curve in curves if curve.condition == baseline), None)
    if base is None:
        return []
    at = {size.fraction: size for size in base.sizes}
    rows = []
    for curve in curves:
        for size in curve.sizes if curve is not base else ():
            other = at.get(size.fraction)
            pair = results.difference(store, study, size.summary.condition, other.summary.condition) if other else None
            if pair is None or other is None:
                continue
            interval, answers = pair
            open_ = any(s.finished < s.planned for s in (size.summary, other.summary))
            said = PROVISIONAL if open_ else word(interval)
            rows.append(
                Gap(
                    curve.condition,
                    curve.label,
                    size.fraction,
                    size.rows,
                    interval.mean,
                    interval.low,
                    interval.high,
                    said,
                    len(answers.replicates),
                    answers.correct.shape[1],
                )
            )
    return rows

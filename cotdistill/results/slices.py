"""Accuracy on parts of the test questions: by a field of their metadata. Exploratory: intervals, and no verdict of
their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cotdistill.results.prediction_matrix import PredictionMatrix
from cotdistill.statistics.intervals import Interval, accuracy_interval, mean_interval, numbered

# A field with more values than this is an id, not a slice.
MOST_VALUES = 40


@dataclass(frozen=True)
class Slice:
    """The questions whose metadata hold one value of a field, under one condition."""

    value: str  # the value of the field
    condition: str  # canonical form
    items: int  # questions with that value
    replicates: int  # those that answered any of them
    interval: Interval  # of the accuracy
    difference: Interval | None = None  # paired, to the baseline; None for itself, or where no baseline was named


def fields(metadata: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """The fields that can be sliced by, with their values, most frequent first: at least two values, at most
    MOST_VALUES.
    """
    counts: dict[str, dict[str, int]] = {}
    for one in metadata:
        for name, value in one.items():
            values = counts.setdefault(name, {})
            if len(values) <= MOST_VALUES:
                values[str(value)] = values.get(str(value), 0) + 1
    kept = {name: values for name, values in counts.items() if 2 <= len(values) <= MOST_VALUES}
    return {name: tuple(sorted(values, key=lambda value: (-values[value], value))) for name, values in kept.items()}


def slices(
    answers: PredictionMatrix,
    metadata: Sequence[Mapping[str, Any]],
    name: str,
    conditions: Sequence[str],
    baseline: str = "",
) -> list[Slice]:
    """Every value of a field under every condition, values in the order of `fields`. metadata: one mapping per item, in
    the order of the matrix.
    """
    values = fields(metadata).get(name, ())
    holds = np.array([str(one[name]) if name in one else "" for one in metadata], dtype=object)
    rows = []
    for value in values:
        inside = holds == value
        clusters = numbered([cluster for cluster, there in zip(answers.clusters, inside, strict=True) if there])
        right_of = {
            c: answers.right[answers.conditions.index(c)][:, inside]
            for c in {*conditions, *([baseline] if baseline else [])}
        }
        for condition in conditions:
            right = right_of[condition]
            answered = (right >= 0).any(1)
            if not answered.any():
                continue
            interval = _over(right[answered], right[answered] >= 0, clusters, accuracy_interval)
            difference = None
            if baseline and condition != baseline and (both := answered & (right_of[baseline] >= 0).any(1)).any():
                asked = (right[both] >= 0) & (right_of[baseline][both] >= 0)
                gaps = right[both].astype(np.float64) - right_of[baseline][both]
                difference = _over(gaps, asked, clusters, mean_interval)
            items = int((right >= 0).sum(1).max())
            rows.append(Slice(value, condition, items, int(answered.sum()), interval, difference))
    return rows


def _over(
    values: npt.NDArray[Any],
    asked: npt.NDArray[np.bool_],
    clusters: npt.NDArray[np.int64],
    interval: Callable[..., Interval],
) -> Interval:
    """The interval of (replicates, items) values. In worlds of their own each replicate was asked other questions, so
    it is the unit.
    """
    if asked.all():
        return interval(values.astype(np.float64), clusters, nested=False)
    means = np.array([[row[there].mean()] for row, there in zip(values, asked, strict=True)], np.float64)
    return interval(means, np.zeros(1, np.int64), nested=True)

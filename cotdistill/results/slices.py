"""Accuracy on parts of the test questions: by a field of their metadata. Exploratory: intervals, and no verdict of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cotdistill.results.prediction_matrix import PredictionMatrix
from cotdistill.statistics.intervals import Interval, accuracy_interval, numbered

# A field with more values than this is an id, not a slice.
MOST_VALUES = 40


@dataclass(frozen=True)
class Slice:
    """The questions whose metadata hold one value of a field, under one condition. replicates: those that answered any of them."""

    value: str
    condition: str
    items: int
    replicates: int
    interval: Interval


def fields(metadata: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """The fields that can be sliced by, with their values, most frequent first: at least two values, at most MOST_VALUES."""
    counts: dict[str, dict[str, int]] = {}
    for one in metadata:
        for name, value in one.items():
            own = counts.setdefault(name, {})
            if len(own) <= MOST_VALUES:
                own[str(value)] = own.get(str(value), 0) + 1
    kept = {name: own for name, own in counts.items() if 2 <= len(own) <= MOST_VALUES}
    return {name: tuple(sorted(own, key=lambda value: (-own[value], value))) for name, own in kept.items()}


def slices(
    found: PredictionMatrix, metadata: Sequence[Mapping[str, Any]], name: str, conditions: Sequence[str]
) -> list[Slice]:
    """Every value of a field under every condition, values in the order of `fields`. metadata: one mapping an item, in the order of the matrix."""
    values = fields(metadata).get(name, ())
    holds = np.array([str(one[name]) if name in one else "" for one in metadata], dtype=object)
    rows = []
    for value in values:
        inside = holds == value
        for condition in conditions:
            right = found.right[found.conditions.index(condition)][:, inside]
            asked = right >= 0
            answered = asked.any(1)
            if not answered.any():
                continue
            # Worlds of their own: each replicate was asked other questions, so the replicate is the unit.
            nested = not asked[answered].all()
            clusters = numbered([cluster for cluster, there in zip(found.clusters, inside, strict=True) if there])
            if nested:
                shares = np.array([[right[r][asked[r]].mean()] for r in np.flatnonzero(answered)])
                interval = accuracy_interval(shares, np.zeros(1, np.int64), nested=True)
            else:
                interval = accuracy_interval(right[answered].astype(np.float64), clusters, nested=False)
            rows.append(Slice(value, condition, int(asked.sum(1).max()), int(answered.sum()), interval))
    return rows

"""A mean over the questions of several students of one condition, with the interval that fits replicates. Tables in, intervals out; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from cotdistill.results.replicates import Items, Layout
from cotdistill.statistics.intervals import Interval


@dataclass(frozen=True)
class Pooled:
    """A mean with its interval; points: the mean of each student; items, clusters: questions that all of them have, and groups of them."""

    interval: Interval
    points: tuple[float, ...]
    items: int
    clusters: int


def pooled(tables: Sequence[pd.DataFrame], column: str) -> Pooled | None:
    """The mean of a column over one table a student, with columns example and cluster and a row a question. Questions that one of them lacks are left
    out; students of other worlds share none, and are nested in their own. None where nothing is left."""
    answered = [table[table[column].notna()].sort_values("example", kind="stable") for table in tables]
    shared = set.intersection(*(set(table["example"]) for table in answered))
    kept = [table[table["example"].isin(shared)] for table in answered] if shared else answered
    layout = Layout.of([Items(tuple(table["example"]), tuple(map(str, table["cluster"]))) for table in kept])
    if layout is None:
        return None
    values = layout.stack([table[column].to_numpy(dtype=float) for table in kept])
    points = tuple(float(row.mean()) for row in values)
    return Pooled(layout.mean(values), points, layout.size, layout.cluster_count)

"""A mean over the questions of several students of one condition, with the interval that fits replicates. Tables in, intervals out; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cotdistill.statistics.intervals import Interval, mean_interval, numbered


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
    told = [table[table[column].notna()].sort_values("example", kind="stable") for table in tables]
    shared = set.intersection(*(set(table["example"]) for table in told))
    nested = not shared
    kept = told if nested else [table[table["example"].isin(shared)] for table in told]
    n = min(len(table) for table in kept)
    if not n:
        return None
    values = np.stack([table[column].to_numpy(dtype=float)[:n] for table in kept])
    clusters = numbered([str(name) for name in kept[0]["cluster"][:n]])
    found = mean_interval(values, clusters, nested)
    return Pooled(found, tuple(float(row.mean()) for row in values), n, int(clusters.max()) + 1)

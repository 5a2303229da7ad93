"""Intervals of one accuracy or one mean difference, each with the population it speaks of. Arrays in, intervals out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with its two-sided 95 % interval (None where it cannot be given), the p of the mean being zero, and what it speaks of."""

    mean: float
    low: float | None
    high: float | None
    p: float | None
    df: float | None
    method: str
    speaks_of: str


def wilson(correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927). Raises ValueError for n < 1."""
    if n < 1:
        raise ValueError("a share of nothing has no interval")
    z = float(stats.norm.ppf(0.5 + level / 2))
    share = correct / n
    middle = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (middle - spread) / (1 + z * z / n)), min(1.0, (middle + spread) / (1 + z * z / n))


def cluster_totals(values: Values, clusters: npt.NDArray[np.int64]) -> Values:
    """(replicates, items) -> (replicates, clusters): each cluster's summed deviation from the grand mean, scaled so that their mean is zero
    and a cluster of many items weighs as many."""
    deviations = values - values.mean()
    count = int(clusters.max()) + 1
    totals = np.zeros((values.shape[0], count))
    for row in range(values.shape[0]):
        totals[row] = np.bincount(clusters, weights=deviations[row], minlength=count)
    scaled: Values = totals * (count / values.shape[1])
    return scaled


def _finish(mean: float, variance: float, df: float, method: str, speaks_of: str) -> Interval:
    error = math.sqrt(max(variance, 0.0))
    reach = float(stats.t.ppf(0.975, df)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, df)) if error > 0 else (1.0 if mean == 0 else 0.0)
    return Interval(mean, mean - reach, mean + reach, p, df, method, speaks_of)


def crossed(values: Values, clusters: npt.NDArray[np.int64]) -> Interval:
    """The mean of (replicates, items) values when every replicate answers the same items: replicates and clusters of items are both random.

    Variance from the two-way analysis of variance, (MS_rep + MS_cluster - MS_rest) / (S C), degrees of freedom after Satterthwaite (1946); a
    component estimated below zero counts as zero. Speaks of new items and new replicates. Needs two replicates and two clusters.
    """
    totals = cluster_totals(values, clusters)
    s, c = totals.shape
    rows, columns = totals.mean(1, keepdims=True), totals.mean(0, keepdims=True)
    ms_rep = c * float((rows**2).sum()) / (s - 1)
    ms_cluster = s * float((columns**2).sum()) / (c - 1)
    ms_rest = float(((totals - rows - columns) ** 2).sum()) / ((s - 1) * (c - 1))
    parts = [(ms_rep, s - 1.0), (ms_cluster, c - 1.0), (-ms_rest, (s - 1.0) * (c - 1.0))]
    if ms_rep <= ms_rest or ms_cluster <= ms_rest:
        parts = [max(parts[:2])]
    total = sum(ms for ms, _ in parts)
    spread = sum(ms * ms / df for ms, df in parts)
    df = total * total / spread if spread > 0 else float(c - 1)
    return _finish(float(values.mean()), total / (s * c), df, "crossed random effects", "it speaks of new questions and new seeds")


def over_replicates(means: Values, unit: str = "new seeds on these questions") -> Interval:
    """t over the replicates' means: speaks of new replicates only. Needs two."""
    s = len(means)
    return _finish(float(means.mean()), float(means.var(ddof=1)) / s, s - 1.0, "t over replicates", f"it speaks of {unit}")


def one_replicate(values: Values, clusters: npt.NDArray[np.int64]) -> Interval:
    """The mean over the items of one replicate, robust to clusters of items: speaks of new questions to this one student (pair)."""
    totals = cluster_totals(values[None], clusters)[0]
    c = len(totals)
    variance = float((totals**2).sum()) / ((c - 1) * c)
    return _finish(float(values.mean()), variance, c - 1.0, "one replicate, robust to clusters", "it speaks of new questions, and of this one seed")


def mean_interval(values: Values, clusters: npt.NDArray[np.int64], nested: bool) -> Interval:
    """The interval that fits the data: (replicates, items) values, `clusters` (items,) numbered from 0.

    nested: the items differ between replicates (a world of its own each), so the replicate is the unit. Without an interval where the data
    are too few for any.
    """
    s, n = values.shape
    if s == 1:
        if n > 1 and int(clusters.max()) > 0:
            return one_replicate(values[0], clusters)
        return Interval(float(values.mean()), None, None, None, None, "none", "too few questions for an interval")
    if nested:
        return over_replicates(values.mean(1), "new worlds and new seeds")
    if int(clusters.max()) == 0:
        return over_replicates(values.mean(1))
    return crossed(values, clusters)


def numbered(names: list[str]) -> npt.NDArray[np.int64]:
    """Cluster names as numbers from 0."""
    return np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)[1].astype(np.int64)

"""Intervals of one accuracy or one mean difference, each with the population it speaks of. Arrays in, intervals out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cotdistill.statistics.distributions import normal_quantile, t_above, t_quantile
from cotdistill.statistics.exact import paired
from cotdistill.statistics.sparse import ENOUGH_ANSWERS, ENOUGH_CLUSTERS, FEWEST_CLUSTERS, beside_t, differing_clusters

Values = npt.NDArray[np.float64]
NEW_QUESTIONS = "it speaks of new questions and new seeds"
NEW_SEEDS = "it speaks of new seeds on these questions"
NEW_WORLDS = "it speaks of new worlds and new seeds"
ONE_SEED = "it speaks of new questions, and of this one seed"


@dataclass(frozen=True)
class Interval:
    """A mean with its two-sided 95 % interval (None where it cannot be given), the p of the mean being zero, and what
    it speaks of.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    df: float | None
    method: str
    speaks_of: str


def wilson(correct: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927); n may be an effective number of items. Raises ValueError for n
    < 1.
    """
    if n < 1:
        raise ValueError("a share of nothing has no interval")
    z = normal_quantile(0.5 + level / 2)
    share = correct / n
    middle = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (middle - spread) / (1 + z * z / n)), min(1.0, (middle + spread) / (1 + z * z / n))


def cluster_totals(values: Values, clusters: npt.NDArray[np.int64]) -> Values:
    """(replicates, items) -> (replicates, clusters): each cluster's summed deviation from the grand mean, scaled so
    that their mean is zero and a cluster of many items weighs as many.
    """
    deviations = values - values.mean()
    count = int(clusters.max()) + 1
    totals = np.zeros((values.shape[0], count))
    for row in range(values.shape[0]):
        totals[row] = np.bincount(clusters, weights=deviations[row], minlength=count)
    scaled: Values = totals * (count / values.shape[1])
    return scaled


def _finish(mean: float, variance: float, df: float, method: str, speaks_of: str) -> Interval:
    error = math.sqrt(max(variance, 0.0))
    if error < 1e-12:
        # Two or three replicates can tie by chance: no spread is no proof.
        return Interval(mean, None, None, None, None, method, speaks_of)
    reach = t_quantile(0.975, df) * error
    return Interval(mean, mean - reach, mean + reach, 2 * t_above(abs(mean) / error, df), df, method, speaks_of)


def _widened(interval: Interval, values: Values, clusters: npt.NDArray[np.int64]) -> Interval:
    """The interval of (replicates, items) differences, joined with Tango's score interval (`sparse.beside_t`) where few
    clusters differ or the interval has no spread to be made from. Values that are no differences of right answers are
    left as they are.
    """
    count, differing = int(clusters.max()) + 1, differing_clusters(values, clusters)
    if interval.low is not None and differing >= ENOUGH_CLUSTERS and (values != 0).mean() >= ENOUGH_ANSWERS:
        return interval
    if count < 2 or not np.isin(values, (-1.0, 0.0, 1.0)).all():
        return interval
    gained, lost = (np.array([(values == sign).mean()]) for sign in (1.0, -1.0))
    t_low, t_high = (np.array([math.nan if end is None else end]) for end in (interval.low, interval.high))
    low, high = (float(end[0]) for end in beside_t(gained, lost, t_low, t_high, np.array([differing]), count))
    if (low, high) == (interval.low, interval.high):
        return interval
    method = f"{interval.method}, joined with Tango's score interval, since few answers differ"
    df = interval.df if interval.df is not None else count - 1.0
    p = interval.p
    if p is None or low <= 0 <= high:
        # The p must not deny what the interval says: the t tail that has its nearer end as the 2.5 % quantile.
        end = low if interval.mean > 0 else high
        reach = abs(interval.mean - end) / t_quantile(0.975, df)
        p = max(p or 0.0, 2 * t_above(abs(interval.mean) / reach, df)) if interval.mean else 1.0
    return Interval(interval.mean, low, high, min(1.0, p), df, method, interval.speaks_of)


def mean_squares(totals: Values) -> tuple[float, float, float]:
    """Of the two-way analysis of variance of (replicates, clusters) totals with mean zero: between replicates, between
    clusters, of the rest. Needs two of each.
    """
    s, c = totals.shape
    rows, columns = totals.mean(1, keepdims=True), totals.mean(0, keepdims=True)
    ms_rep = c * float((rows**2).sum()) / (s - 1)
    ms_cluster = s * float((columns**2).sum()) / (c - 1)
    return ms_rep, ms_cluster, float(((totals - rows - columns) ** 2).sum()) / ((s - 1) * (c - 1))


def crossed(values: Values, clusters: npt.NDArray[np.int64]) -> Interval:
    """The mean of (replicates, items) values when every replicate answers the same items: replicates and clusters of
    items are both random.

    Variance from the two-way analysis of variance, (MS_rep + MS_cluster - MS_rest) / (S C), degrees of freedom after
    Satterthwaite (1946). A component estimated below zero counts as zero, its mean square as MS_rest with its own few
    degrees of freedom: dropping it would claim that two or three replicates prove there is no spread between them, and
    gave false alarms of .10 at a spread of 3 points. Speaks of new items and new replicates. Needs two replicates and
    two clusters.
    """
    totals = cluster_totals(values, clusters)
    s, c = totals.shape
    ms_rep, ms_cluster, ms_rest = mean_squares(totals)
    ms_rep, ms_cluster = max(ms_rep, ms_rest), max(ms_cluster, ms_rest)
    total = ms_rep + ms_cluster - ms_rest
    spread = ms_rep**2 / (s - 1) + ms_cluster**2 / (c - 1) + ms_rest**2 / ((s - 1) * (c - 1))
    df = total * total / spread if spread > 0 else float(c - 1)
    return _finish(float(values.mean()), total / (s * c), df, "crossed random effects", NEW_QUESTIONS)


def over_replicates(means: Values, speaks_of: str = NEW_SEEDS) -> Interval:
    """t over the replicates' means: speaks of new replicates only. Needs two."""
    s = len(means)
    return _finish(float(means.mean()), float(means.var(ddof=1)) / s, s - 1.0, "t over replicates", speaks_of)


def one_replicate(values: Values, clusters: npt.NDArray[np.int64]) -> Interval:
    """The mean over the items of one replicate, robust to clusters of items: speaks of new questions to this one
    student (pair).
    """
    totals = cluster_totals(values[None], clusters)[0]
    c = len(totals)
    variance = float((totals**2).sum()) / ((c - 1) * c)
    return _finish(
        float(values.mean()),
        variance,
        c - 1.0,
        "one replicate, robust to clusters",
        ONE_SEED,
    )


def mean_interval(values: Values, clusters: npt.NDArray[np.int64], nested: bool) -> Interval:
    """The interval that fits the data, never of width zero: (replicates, items) values, `clusters` (items,) numbered
    from 0.

    nested: the items differ between replicates (a world of its own each), so the replicate is the unit. Without an
    interval where the data are too few for any. The p of one replicate is exact (McNemar's, or a sign flip over
    clusters): its values are differences.
    """
    interval = _by_layout(values, clusters, nested)
    # Of worlds with a spread of their own the replicate is the unit, whatever few answers differ in them.
    return interval if nested and values.any() else _widened(interval, values, clusters)


def _by_layout(values: Values, clusters: npt.NDArray[np.int64], nested: bool) -> Interval:
    if len(values) == 1:
        if int(clusters.max()) > 0:
            return replace(one_replicate(values[0], clusters), p=paired(values[0], clusters))
        return Interval(float(values.mean()), None, None, None, None, "none", "too few questions for an interval")
    if nested:
        return over_replicates(values.mean(1), NEW_WORLDS)
    return crossed(values, clusters) if int(clusters.max()) > 0 else over_replicates(values.mean(1))


def accuracy_interval(correct: Values, clusters: npt.NDArray[np.int64], nested: bool) -> Interval:
    """The interval of an accuracy from (replicates, items) right answers: Wilson's for one replicate, else as
    `mean_interval`, within 0 and 1.

    Where clusters are larger than one, Wilson's n is the effective number of items (Korn and Graubard 1998): the
    accuracy's binomial variance over its cluster-robust one; the number of clusters where all answers agree.
    """
    s, n = correct.shape
    share, c = float(correct.mean()), int(clusters.max()) + 1
    if s > 1:
        return within_unit(_sparse_accuracy(_by_layout(correct, clusters, nested), correct, clusters))
    if c == n:
        return Interval(share, *wilson(share * n, n), None, None, "Wilson", ONE_SEED)
    if c == 1:
        return Interval(share, None, None, None, None, "none", "too few questions for an interval")
    variance = float((cluster_totals(correct, clusters) ** 2).sum()) / ((c - 1) * c)
    narrower = (normal_quantile(0.975) / t_quantile(0.975, c - 1)) ** 2
    effective = float(c) if variance <= 0 else max(1.0, min(float(n), narrower * share * (1 - share) / variance))
    return Interval(share, *wilson(share * effective, effective), None, None, "Wilson, robust to clusters", ONE_SEED)


def _sparse_accuracy(interval: Interval, correct: Values, clusters: npt.NDArray[np.int64]) -> Interval:
    """The interval of an accuracy over replicates, at least as wide as Wilson's with the clusters as its n where fewer
    than FEWEST_CLUSTERS have a wrong answer, or a right one: at 0 and 100 % the replicates have no spread."""
    count = int(clusters.max()) + 1
    few = min(differing_clusters(correct, clusters), differing_clusters(1 - correct, clusters))
    if count < 2 or (interval.low is not None and few >= FEWEST_CLUSTERS) or not np.isin(correct, (0.0, 1.0)).all():
        return interval
    low, high = wilson(interval.mean * count, count)
    if interval.low is not None and interval.high is not None:
        low, high = min(low, interval.low), max(high, interval.high)
    method = f"{interval.method}, with Wilson's interval near 0 and 100 %"
    return replace(interval, low=low, high=high, method=method)


def within_unit(interval: Interval) -> Interval:
    """The interval of a share, kept within 0 and 1."""
    if interval.low is None or interval.high is None:
        return interval
    return replace(interval, low=max(0.0, interval.low), high=min(1.0, interval.high))


def numbered(names: list[str]) -> npt.NDArray[np.int64]:
    """Cluster names as numbers from 0."""
    return np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)[1].astype(np.int64)

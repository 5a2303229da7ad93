"""The two-level bootstrap: replicates are drawn again, then clusters of items. One matrix product does all resamples of
all conditions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cotdistill.statistics.intervals import Interval, Values

RESAMPLES = 10_000
# Resamples that are drawn at a time: 1,000 x 1,221 weights of 8 bytes are 10 MB.
BLOCK = 1_000


def drawn(rng: np.random.Generator, rows: int, n: int) -> Values:
    """(rows, n): how often each of n units stands in each of `rows` draws of n with replacement (multinomial
    weights).
    """
    picked = rng.integers(0, n, (rows, n))
    picked += np.arange(rows)[:, None] * n
    return np.bincount(picked.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def resampled_means(
    values: Values, clusters: npt.NDArray[np.int64], *, nested: bool = False, resamples: int = RESAMPLES, seed: int = 0
) -> Values:
    """The mean of each condition in each resample: (conditions, replicates, items) -> (resamples, conditions).

    All conditions get the same resamples, so differences of columns are paired. `clusters` (items,) are numbered from
    0. Crossed: the drawn clusters are the same in every replicate. nested: each drawn replicate draws its own clusters
    anew. Clusters weigh by their items (a ratio of sums). Davison and Hinkley 1997, section 3.8; Owen 2007 for the
    crossed form.
    """
    conditions, s, _ = values.shape
    sizes = np.bincount(clusters).astype(np.float64)
    sums = np.zeros((len(sizes), conditions * s))
    np.add.at(sums, clusters, values.reshape(conditions * s, -1).T)
    sums = np.concatenate([sums, sizes[:, None]], axis=1)
    rng = np.random.default_rng(seed)
    every_mean = np.empty((resamples, conditions))
    for start in range(0, resamples, BLOCK):
        rows = min(BLOCK, resamples - start)
        if not nested:
            totals = drawn(rng, rows, len(sizes)) @ sums
            replicates = drawn(rng, rows, s) / s
            means = np.einsum("rcs,rs->rc", totals[:, :-1].reshape(rows, conditions, s), replicates) / totals[:, -1:]
        else:
            top, bottom = np.zeros((rows, conditions)), np.zeros((rows, 1))
            for _ in range(s):
                totals = drawn(rng, rows, len(sizes)) @ sums
                picked = rng.integers(0, s, rows)
                top += totals[:, :-1].reshape(rows, conditions, s)[np.arange(rows), :, picked]
                bottom += totals[:, -1:]
            means = top / bottom
        every_mean[start : start + rows] = means
    return every_mean


def two_level(
    values: Values, clusters: npt.NDArray[np.int64], nested: bool, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The percentile interval of the mean of (replicates, items) values, and p from the share of resamples on the other
    side of zero.

    Speaks of new items and new replicates, but with few replicates it is too narrow: 3 replicates hold 2/3 of the
    variance between them, and their percentiles know nothing of a t distribution (`benchmarks/calibration.py` has the
    figures). Needs two replicates.
    """
    means = resampled_means(values[None], clusters, nested=nested, resamples=resamples, seed=seed)[:, 0]
    low, high = np.quantile(means, (0.025, 0.975))
    side = min(int((means <= 0).sum()), int((means >= 0).sum()))
    p = min(1.0, 2 * (side + 1) / (resamples + 1))
    speaks_of = "new worlds and new seeds" if nested else "new questions and new seeds"
    return Interval(
        float(values.mean()), float(low), float(high), p, None, "two-level bootstrap", f"it speaks of {speaks_of}"
    )

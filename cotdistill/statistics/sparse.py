"""Intervals where few answers differ: the normal approximation behind every t interval fails there, and a spread of
zero is no proof of anything.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cotdistill.statistics.distributions import normal_quantile

Values = npt.NDArray[np.float64]
# Below so many clusters with a differing answer, or such a share of differing answers, a t interval alone is not
# believed (`benchmarks/calibration.py`): its centre and its width go together there. Below FEWEST_CLUSTERS its width
# counts for nothing.
ENOUGH_CLUSTERS, ENOUGH_ANSWERS, FEWEST_CLUSTERS = 60, 0.1, 10
_HALVINGS = 60


def beside_t(
    gained: Values, lost: Values, low: Values, high: Values, differing: npt.NDArray[np.int64], clusters: int
) -> tuple[Values, Values]:
    """t intervals (NaN for none) joined with Tango's score interval, one per study; all arrays (studies,).

    gained, lost: shares of the answers that only the first, and only the second, condition has right. differing:
    clusters with a differing answer, of `clusters`. Tango's n is the effective number of pairs that gives the t
    interval its width; where fewer than FEWEST_CLUSTERS differ, at most the number of clusters: a cluster's mean
    difference lies between -1 and 1, so its variance is at most that of one pair.
    """
    z = normal_quantile(0.975)
    spread = np.maximum(gained + lost - (gained - lost) ** 2, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = z * z * spread / ((high - low) / 2) ** 2
    effective = np.where(np.isfinite(effective) & (effective > 0), effective, clusters)
    n = np.where(differing < FEWEST_CLUSTERS, np.minimum(effective, clusters), effective)
    n = np.maximum(n, 1.0)
    below, above = tango(gained * n, lost * n, n)
    return np.fmin(low, below), np.fmax(high, above)


def tango(gained: Values | float, lost: Values | float, n: Values | float) -> tuple[Values, Values]:
    """The 95 % score interval of a paired difference of two shares (Tango 1998), never of width zero.

    gained, lost: of n pairs, how many only the first and only the second has right; arrays, or fractions of a count,
    are allowed. Where no pair differs, the ends are the exact ones: 1 - .025^(1/n) to both sides.
    """
    b, c = np.atleast_1d(np.asarray(gained, float)), np.atleast_1d(np.asarray(lost, float))
    upper, lower = _upper_end(b, c, n), -_upper_end(c, b, n)
    exact = 1 - 0.025 ** (1 / n)
    none = b + c < 1e-9
    return np.where(none, np.minimum(lower, -exact), lower), np.where(none, np.maximum(upper, exact), upper)


def _upper_end(b: Values, c: Values, n: Values | float) -> Values:
    """The difference above (b - c) / n at which the score statistic is the 2.5 % quantile, by bisection."""
    z = normal_quantile(0.975)
    low, high = (b - c) / n, np.ones_like(b)
    for _ in range(_HALVINGS):
        delta = (low + high) / 2
        half = (2 * n - b + c) * delta - b - c
        root = np.sqrt(np.maximum(half**2 + 8 * n * c * delta * (1 - delta), 0.0))
        lost = (root - half) / (4 * n)
        variance = np.maximum(n * (2 * lost + delta * (1 - delta)), 1e-300)
        inside = (n * delta - (b - c)) / np.sqrt(variance) < z
        low, high = np.where(inside, delta, low), np.where(inside, high, delta)
    return high


def differing_clusters(values: Values, clusters: npt.NDArray[np.int64]) -> int:
    """In how many clusters the two conditions of (replicates, items) differences -1, 0 or 1 ever answer differently."""
    return len(np.unique(clusters[(values != 0).any(0)]))

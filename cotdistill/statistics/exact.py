"""Tests of one pair of students that need no variance: McNemar's, and the sign flip over clusters."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

# Up to here every pattern of signs is tried; beyond, this many are drawn, always the same ones.
ENUMERATED, DRAWN = 12, 9_999


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided McNemar test of one pair of students: how many items only the first, and only the second, got
    right.
    """
    # Imported here: it takes half a second, and most of what loads this module never tests.
    from scipy import stats

    n = only_first + only_second
    return float(stats.binomtest(only_first, n).pvalue) if n else 1.0


def sign_flip(values: npt.NDArray[np.float64], clusters: npt.NDArray[np.int64]) -> float:
    """Two-sided p of paired differences (items,) in clusters: how often the sum is as far from zero when whole clusters
    change sign.
    """
    totals = np.bincount(clusters, weights=values)
    totals = totals[totals != 0]
    if not len(totals):
        return 1.0
    reached = abs(totals.sum()) - 1e-9
    if len(totals) <= ENUMERATED:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(totals))))
        return float((np.abs(signs @ totals) >= reached).mean())
    signs = np.random.default_rng(0).integers(0, 2, (DRAWN, len(totals))) * 2.0 - 1.0
    return float((1 + (np.abs(signs @ totals) >= reached).sum()) / (1 + DRAWN))


def paired(values: npt.NDArray[np.float64], clusters: npt.NDArray[np.int64]) -> float:
    """The p of one pair of students: McNemar's where every item is its own cluster, else the sign flip."""
    if np.bincount(clusters).max() == 1:
        return mcnemar(int((values > 0).sum()), int((values < 0).sum()))
    return sign_flip(values, clusters)

"""The two-level paired bootstrap, 10,000 resamples of 20 conditions x 5 replicates x 1,221 items, against scipy.stats.bootstrap in a loop.

    python benchmarks/against/bootstrap.py [--repeats 5]

Both draw replicates and items again and give the 95 % percentile interval of each condition's mean. They draw different numbers, so their limits
agree to the noise of the draws only.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from paired import compare, repeats_asked
from scipy.stats import bootstrap

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cotdistill.statistics.bootstrap import RESAMPLES, resampled_means  # noqa: E402

CONDITIONS, REPLICATES, ITEMS = 20, 5, 1_221
# Limits of 10,000 resamples have a standard error near a thirtieth of the half width.
MOST_APART = 0.1


def ours(values: np.ndarray) -> np.ndarray:
    """(2, conditions) limits."""
    return np.quantile(resampled_means(values, np.arange(ITEMS)), (0.025, 0.975), axis=0)


def peer(values: np.ndarray) -> np.ndarray:
    limits = []
    for table in values:

        def mean(replicates: np.ndarray, items: np.ndarray, axis: int, table: np.ndarray = table) -> np.ndarray:
            return table[replicates[..., :, None], items[..., None, :]].mean((-2, -1))

        given = (np.arange(REPLICATES), np.arange(ITEMS))
        found = bootstrap(
            given,
            mean,
            n_resamples=RESAMPLES,
            batch=500,
            vectorized=True,
            method="percentile",
            rng=np.random.default_rng(0),
        )
        limits.append(found.confidence_interval)
    return np.array(limits).T


def main() -> None:
    repeats = repeats_asked(__doc__)
    values = (np.random.default_rng(0).random((CONDITIONS, REPLICATES, ITEMS)) < 0.6).astype(float)
    mine, theirs = ours(values), peer(values)
    apart = float((np.abs(mine - theirs) / (theirs[1] - theirs[0]) * 2).max())
    assert apart < MOST_APART, f"The limits of both sides differ by {apart} half widths."

    def act_ours() -> float:
        ours(values)
        return 1.0

    def act_peer() -> float:
        peer(values)
        return 1.0

    what = "two-level bootstrap, 10,000 resamples, 20 conditions x 5 replicates x 1,221 items"
    same = f"limits agree to {apart:.2f} of their half width, both having drawn at random"
    compare(what, "scipy.stats.bootstrap in a loop", act_ours, act_peer, unit="s", same=same, aim=20.0, repeats=repeats)


if __name__ == "__main__":
    main()

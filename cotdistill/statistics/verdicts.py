"""Verdicts: the only place where a number becomes a word."""

from __future__ import annotations

from collections.abc import Sequence

from cotdistill.statistics.distributions import t_above, t_quantile
from cotdistill.statistics.intervals import Interval

BETTER, WORSE, NO_WORSE = "better", "worse", "no worse"
OPEN, CANNOT, PROVISIONAL = "not distinguishable", "cannot be asked here", "provisional"
LARGEST_MARGIN = 0.02


def word(found: Interval, margin: float | None = None) -> str:
    """better / worse when the 95 % interval of the difference is off zero and its p, exact for one replicate, below .05; with a margin also
    "no worse" when the interval lies above -margin."""
    if found.low is None or found.high is None:
        return CANNOT
    sure = found.p is None or found.p < 0.05
    if found.low > 0 and sure:
        return BETTER
    if margin is not None and found.low > -margin:
        return NO_WORSE
    return WORSE if found.high < 0 and sure else OPEN


def noninferiority_p(found: Interval, margin: float) -> float:
    """One-sided p of H0: difference <= -margin, doubled so that p < .05 says the same as the two-sided interval above -margin."""
    if found.low is None or found.df is None or found.p is None:
        return 1.0
    error = (found.mean - found.low) / t_quantile(0.975, found.df)
    if error <= 0:
        return 1.0
    return min(1.0, 2 * t_above((found.mean + margin) / error, found.df))


def superiority_p(found: Interval) -> float:
    """The two-sided p if the difference is above zero, else 1: a claim has a direction."""
    return found.p if found.p is not None and found.mean > 0 else 1.0


def noninferiority_margin(gain_low: float | None) -> float | None:
    """The smaller of 2 points and half the lower bound of the full gain; None where no gain is shown, so nothing can be kept."""
    return min(LARGEST_MARGIN, gain_low / 2) if gain_low is not None and gain_low > 0 else None


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979), in the order given."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted

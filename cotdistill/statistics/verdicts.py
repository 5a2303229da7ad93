"""Verdicts: the only place where a number becomes a word."""

from __future__ import annotations

from collections.abc import Sequence

from cotdistill.errors import UsageError
from cotdistill.statistics.distributions import t_above, t_quantile
from cotdistill.statistics.intervals import ONE_SEED, Interval

BETTER, WORSE, NO_WORSE = "better", "worse", "no worse"
OPEN, CANNOT, PROVISIONAL = "not distinguishable", "cannot be asked here", "provisional"
LARGEST_MARGIN = 0.02
# What is said with one replicate: a difference between two students, which says nothing of other seeds.
SEED_ONLY = "this seed only"
BETTER_HERE, WORSE_HERE, NO_WORSE_HERE = (f"{said}, {SEED_ONLY}" for said in (BETTER, WORSE, NO_WORSE))
# With fewer replicates a verdict is called a demonstration.
FEWEST_REPLICATES = 5
# Points of accuracy; a larger margin of "no worse" would call anything as good.
LARGEST_CHOSEN_MARGIN = 20.0


def word(interval: Interval, margin: float | None = None) -> str:
    """better / worse when the 95 % interval of the difference is off zero and its p, exact for one replicate, below
    .05; with a margin also "no worse" when the interval lies above -margin. With one replicate each word ends in "this
    seed only".
    """
    if interval.low is None or interval.high is None:
        return CANNOT
    sure = interval.p is None or interval.p < 0.05
    here = interval.speaks_of == ONE_SEED
    if interval.low > 0 and sure:
        return BETTER_HERE if here else BETTER
    if margin is not None and interval.low > -margin:
        return NO_WORSE_HERE if here else NO_WORSE
    if interval.high < 0 and sure:
        return WORSE_HERE if here else WORSE
    return OPEN


def verdict_word(said: str, replicates: int) -> str:
    """A claim's word with what the number of replicates makes of it: none holds or fails in one, and fewer than five
    are a demonstration.
    """
    if replicates < 2:
        return SEED_ONLY
    return said if replicates >= FEWEST_REPLICATES else f"{said} (demonstration)"


def checked_margin(points: float | None, chance: float | None) -> float | None:
    """A margin of non-inferiority that was chosen beforehand, from points to a share. UsageError outside 0 to 20
    points, or where it reaches from the ceiling down to chance, so that guessing would be no worse.
    """
    if points is None:
        return None
    room = 100.0 if chance is None else 100 * (1 - chance)
    largest = min(LARGEST_CHOSEN_MARGIN, room)
    if not 0 < points <= LARGEST_CHOSEN_MARGIN or points >= room:
        said = f"; between chance and the ceiling there are {room:.0f} points" if largest == room else ""
        raise UsageError(
            f"The margin is {points:g} points; expected more than 0 and at most {LARGEST_CHOSEN_MARGIN:g}{said}.",
            "Name the largest loss that would not matter, for example --margin 2.",
        )
    return points / 100


def noninferiority_p(interval: Interval, margin: float) -> float:
    """One-sided p of H0: difference <= -margin, doubled so that p < .05 says the same as the two-sided interval above
    -margin.
    """
    if interval.low is None or interval.df is None or interval.p is None:
        return 1.0
    error = (interval.mean - interval.low) / t_quantile(0.975, interval.df)
    if error <= 0:
        return 1.0
    return min(1.0, 2 * t_above((interval.mean + margin) / error, interval.df))


def inferiority_p(interval: Interval, margin: float = 0.0) -> float:
    """One-sided p of H0: difference >= -margin, doubled, so that p < .05 says the same as the two-sided interval below
    -margin.
    """
    if interval.high is None or interval.df is None or (interval.p is not None and margin == 0 and interval.p >= 0.05):
        return 1.0
    error = (interval.high - interval.mean) / t_quantile(0.975, interval.df)
    return 1.0 if error <= 0 else min(1.0, 2 * t_above(-(interval.mean + margin) / error, interval.df))


def superiority_p(interval: Interval) -> float:
    """The two-sided p if the difference is above zero, else 1: a claim has a direction."""
    return interval.p if interval.p is not None and interval.mean > 0 else 1.0


def noninferiority_margin(gain_low: float | None) -> float | None:
    """The smaller of 2 points and half the lower bound of the full gain; None where no gain is shown, so nothing can be
    kept.
    """
    return min(LARGEST_MARGIN, gain_low / 2) if gain_low is not None and gain_low > 0 else None


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979), in the order given."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted

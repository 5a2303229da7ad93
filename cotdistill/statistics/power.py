"""What a study could see, before it is trained; and what would settle a comparison that it left open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy.typing as npt
from numpy import int64

from cotdistill.statistics.distributions import chi2_quantile, noncentral_t_above, t_quantile
from cotdistill.statistics.intervals import Values, cluster_totals, mean_squares
from cotdistill.statistics.verdicts import LARGEST_MARGIN

# No comparison is told to need more replicates than this.
MOST_REPLICATES = 100


@dataclass(frozen=True)
class Noise:
    """Standard deviations (shares) of a paired difference: between replicates, between clusters of items, and of one
    cluster in one replicate.

    The mean over S replicates and C clusters has the variance replicate^2/S + cluster^2/C + rest^2/(S C); nested, each
    replicate has clusters of its own and the middle term is cluster^2/(S C).
    """

    replicate: float
    cluster: float
    rest: float

    def error(self, replicates: int, clusters: int, nested: bool = False) -> float:
        """The standard error of the mean difference, a share."""
        shared = self.cluster**2 / (replicates * clusters if nested else clusters)
        return math.sqrt(self.replicate**2 / replicates + shared + self.rest**2 / (replicates * clusters))


# Stated guesses: the noise between replicates, and of one item. A paired difference of two 0/1 answers that disagree on
# 15 to 35 % of the items has a variance of about that size.
GUESS_LOW = Noise(0.005, 0.15, 0.35)
GUESS_HIGH = Noise(0.020, 0.25, 0.55)


def guesses(items: int, clusters: int) -> tuple[Noise, Noise]:
    """The stated guesses, low and high, for clusters of so many items: these are taken to be independent within their
    cluster.
    """
    shrunk = math.sqrt(max(1.0, items / max(1, clusters)))
    low, high = (
        Noise(guess.replicate, guess.cluster / shrunk, guess.rest / shrunk) for guess in (GUESS_LOW, GUESS_HIGH)
    )
    return low, high


def measured(
    differences: Sequence[Values], clusters: npt.NDArray[int64], nested: bool
) -> tuple[Noise, Noise, Noise] | None:
    """The noise of paired differences that were seen, each (replicates, items) on the same items: low, best and high.

    Mean squares are averaged over the differences; low and high are the ends of the 80 % interval of the mean square
    between replicates (chi-square). J differences to one baseline share its noise: where all conditions are equally
    noisy, their average has 4 v / (1 + 3 / J) degrees of freedom, v = replicates - 1. nested: only the spread between
    the replicates' means is seen, and it holds the clusters' part. None below two replicates, or crossed below two
    clusters.
    """
    if not differences or len(differences[0]) < 2:
        return None
    s = len(differences[0])
    df = 4 * (s - 1) / (1 + 3 / len(differences))
    shrink, stretch = (df / chi2_quantile(q, df) for q in (0.9, 0.1))
    if nested:
        between = sum(float(d.mean(1).var(ddof=1)) for d in differences) / len(differences)
        low, best, high = (Noise(math.sqrt(between * by), 0.0, 0.0) for by in (shrink, 1.0, stretch))
        return low, best, high
    c = int(clusters.max()) + 1
    if c < 2:
        return None
    squares = [mean_squares(cluster_totals(d, clusters)) for d in differences]
    ms_rep, ms_cluster, ms_rest = (sum(values) / len(squares) for values in zip(*squares, strict=True))
    cluster, rest = math.sqrt(max(0.0, ms_cluster - ms_rest) / s), math.sqrt(ms_rest)
    low, best, high = (
        Noise(math.sqrt(max(0.0, ms_rep * by - ms_rest) / c), cluster, rest) for by in (shrink, 1.0, stretch)
    )
    return low, best, high


def minimum_detectable_effect(replicates: int, clusters: int, noise: Noise, nested: bool = False) -> float | None:
    """The true difference (a share) found in four of five such studies at 5 %, by the noncentral t with S-1 degrees of
    freedom; None below two replicates, and where not even a difference of 100 points would be found.
    """
    if replicates < 2 or clusters < 1:
        return None
    effect = _reach(replicates) * noise.error(replicates, clusters, nested)
    return effect if effect <= 1 else None


@lru_cache(maxsize=2048)
def _reach(replicates: int) -> float:
    """By how many standard errors a difference must be off zero to be found in four of five studies, by bisection. The
    sum of two quantiles of the central t, which textbooks give, promised .80 and kept .73 at two replicates.
    """
    df = replicates - 1
    least = t_quantile(0.975, df)
    low, high = 0.0, 2 * least + 4
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if noncentral_t_above(least, df, middle) >= 0.8 else (middle, high)
    return high


def chance_of_no_worse(
    replicates: int, clusters: int, noise: Noise, margin: float, nested: bool = False
) -> float | None:
    """How often two conditions without a true difference are shown to be "no worse" by `margin` (a share): the lower
    end of the 95 % interval lies above -margin. From the noncentral t with S-1 degrees of freedom; None below two
    replicates.
    """
    if replicates < 2 or clusters < 1:
        return None
    df, error = replicates - 1, noise.error(replicates, clusters, nested)
    return 1.0 if error <= 0 else noncentral_t_above(t_quantile(0.975, df), df, margin / error)


@dataclass(frozen=True)
class Settling:
    """What would show a true difference in four of five studies: so many replicates on the same items, or so many times
    the items with the same replicates. None where that alone would not do.
    """

    replicates: int | None
    times_items: float | None


def settling(effect: float, replicates: int, clusters: int, noise: Noise, nested: bool = False) -> Settling:
    """What would settle a comparison whose true difference is `effect` (a share off zero or, for non-inferiority, above
    -margin).

    It takes the effect for the truth, so it is a guide to the size of the next study and no verdict on this one.
    """
    effect = abs(effect)
    enough = [
        s
        for s in range(max(2, replicates), MOST_REPLICATES + 1)
        if _reach(s) * noise.error(s, clusters, nested) <= effect
    ]
    room = (effect / _reach(replicates)) ** 2 - noise.replicate**2 / replicates if replicates > 1 else 0.0
    by_items = noise.cluster**2 / (replicates if nested else 1) + noise.rest**2 / replicates
    times = None if room <= 0 or by_items <= 0 else max(1.0, by_items / room / clusters)
    return Settling(enough[0] if enough else None, times)


def foretold(
    replicates: int,
    clusters: int,
    low: Noise,
    high: Noise,
    label: str,
    *,
    nested: bool = False,
    margin: float = LARGEST_MARGIN,
) -> dict[str, float | str | None]:
    """What a plan shows: the minimum detectable effect in points and the chance of "no worse" at `margin` (a share),
    each under a low and a high noise; `label` says where these are from.
    """
    effects = [minimum_detectable_effect(replicates, clusters, noise, nested) for noise in (low, high)]
    chances = [chance_of_no_worse(replicates, clusters, noise, margin, nested) for noise in (high, low)]
    points = [None if effect is None else round(100 * effect, 1) for effect in effects]
    return {
        "label": "needs two replicates" if replicates < 2 else label,
        "points_low": points[0],
        "points_high": points[1],
        "margin": 100 * margin,
        "no_worse_low": None if chances[0] is None else round(chances[0], 3),
        "no_worse_high": None if chances[1] is None else round(chances[1], 3),
    }

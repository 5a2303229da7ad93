"""Effect sizes: differences on a scale of their own, beside the points that verdicts are given in."""

from __future__ import annotations

import math

from cotdistill.statistics.intervals import Values


def cohens_h(first: float, second: float) -> float:
    """2 arcsin(sqrt(first)) - 2 arcsin(sqrt(second)) of two accuracies (Cohen 1988, chapter 6): a point counts for more
    near 0 and 1. Cohen calls 0.2 small, 0.5 medium, 0.8 large. ValueError outside 0 to 1.
    """
    if not (0 <= first <= 1 and 0 <= second <= 1):
        raise ValueError(f"accuracies are shares; got {first} and {second}")
    return 2 * math.asin(math.sqrt(first)) - 2 * math.asin(math.sqrt(second))


def standardised_difference(differences: Values) -> float | None:
    """The mean of paired differences (replicates,) over their standard deviation, with Hedges' correction: Cohen's d_z
    made unbiased.

    It tells by how many standard deviations of the noise between replicates two conditions differ, so it says nothing
    of points, and is not comparable with a d over items. Hedges' exact factor G(v/2) / (sqrt(v/2) G((v-1)/2)), v =
    replicates - 1 (Hedges 1981), is 0.56 at three replicates. None below three, where it has no mean, or where all
    differences are the same.
    """
    from scipy.special import gammaln

    v = len(differences) - 1
    deviation = float(differences.std(ddof=1)) if v > 1 else 0.0
    if deviation < 1e-12:
        return None
    factor = math.exp(float(gammaln(v / 2)) - float(gammaln((v - 1) / 2))) / math.sqrt(v / 2)
    return factor * float(differences.mean()) / deviation

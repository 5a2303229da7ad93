"""How far selectors and people agree on what is key: sets of words, rankings, and marks with gaps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


def jaccard(first: set[int], second: set[int]) -> float:
    """Shared over all; 1 for two empty sets."""
    return len(first & second) / len(first | second) if first or second else 1.0


def jaccard_by_chance(n: int, k: int) -> float:
    """Mean Jaccard index of two random choices of k of n (k at most n): the number they share is hypergeometric."""
    if not k:
        return 1.0
    return sum(
        math.comb(k, both) * math.comb(n - k, k - both) / math.comb(n, k) * both / (2 * k - both)
        for both in range(k + 1)
    )


def token_f1(marked: set[int], chosen: set[int]) -> float:
    """Harmonic mean of precision and recall of the chosen against the marked; 1 for two empty sets, 0 where only one
    is.
    """
    if not marked and not chosen:
        return 1.0
    shared = len(marked & chosen)
    return 2 * shared / (len(marked) + len(chosen))


def average_precision(marked: set[int], scores: Values) -> float | None:
    """Area under the precision-recall curve (AUPRC) of a ranking against marks, as the mean precision at each marked
    place; ties count as one block, at the precision of its end. None without marks."""
    if not marked or not len(scores):
        return None
    positive = np.zeros(len(scores), bool)
    positive[sorted(marked)] = True
    total, hits, seen = 0.0, 0, 0
    for value in np.unique(scores)[::-1]:
        block = scores == value
        relevant = int(positive[block].sum())
        hits, seen = hits + relevant, seen + int(block.sum())
        total += relevant * hits / seen
    return total / len(marked)


def cohen_kappa(left: Sequence[Hashable], right: Sequence[Hashable]) -> float | None:
    """Cohen's kappa (1960) of two annotators on the same units; None where chance alone explains all (both always say
    the same one thing).
    """
    if len(left) != len(right):
        raise ValueError("both annotators must have judged the same units")
    n = len(left)
    if not n:
        return None
    seen = sum(a == b for a, b in zip(left, right, strict=True)) / n
    first, second = Counter(left), Counter(right)
    expected = sum(first[value] * second[value] for value in first) / (n * n)
    return None if expected >= 1.0 else (seen - expected) / (1 - expected)


def krippendorff_alpha(units: Sequence[Mapping[str, Hashable]]) -> float | None:
    """Krippendorff's alpha for nominal data with gaps (Krippendorff 2011): each unit maps annotators to values; units
    judged once say nothing. None where nothing varies, or nobody judged what another did."""
    coincidences: dict[tuple[Hashable, Hashable], float] = {}
    for unit in units:
        values = list(unit.values())
        for i, a in enumerate(values):
            for j, b in enumerate(values):
                if i != j:
                    # A pair of a unit that m people judged counts 1 / (m - 1), so that every judgement counts once.
                    coincidences[a, b] = coincidences.get((a, b), 0.0) + 1 / (len(values) - 1)
    totals: dict[Hashable, float] = {}
    for (a, _), weight in coincidences.items():
        totals[a] = totals.get(a, 0.0) + weight
    n = sum(totals.values())
    if n <= 1:
        return None
    observed = sum(weight for (a, b), weight in coincidences.items() if a != b) / n
    expected = sum(totals[a] * totals[b] for a in totals for b in totals if a != b) / (n * (n - 1))
    return None if expected == 0 else 1 - observed / expected

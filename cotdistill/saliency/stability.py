"""How far two attributions of the same examples agree: between replicates, methods or checkpoints; always beside what
chance would give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cotdistill.statistics.intervals import Interval, numbered, one_replicate

Values = npt.NDArray[np.float64]
# One explanation: a span with the texts of its tokens -> the score of each token, NaN where nothing can be read.
Spans = Mapping[tuple[str, ...], Values]
# (example, explained token or "") -> its scores; see aggregates.scores_by_example.
Scores = Mapping[tuple[str, str], Spans]


@dataclass(frozen=True)
class Agreement:
    """Two attributions of the same examples. explanations: how many are compared (several an example where each
    rationale token is explained); ranked: how many of them have a rank correlation (none where the scores of one do not
    vary). absolute: whether sizes were compared. rank: mean Spearman correlation (chance: 0); overlap: mean share of
    the k highest tokens that both name; chance: what a random choice of k tokens would share, k / n of the explanation.
    low, high: 95 % intervals over clusters, None below two."""

    one: str
    other: str
    examples: int
    explanations: int
    ranked: int
    clusters: int
    absolute: bool
    rank: float
    rank_low: float | None
    rank_high: float | None
    k: int
    overlap: float
    overlap_low: float | None
    overlap_high: float | None
    chance: float


def spearman(first: Values, second: Values) -> float | None:
    """Spearman's rank correlation of two score arrays, ties by their mean rank; None where either does not vary or
    fewer than three are left.
    """
    from scipy.stats import rankdata

    if len(first) < 3:
        return None
    a, b = rankdata(first), rankdata(second)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / size) if size > 0 else None


def top(scores: Values, k: int) -> set[int]:
    """The places of the k highest scores, ties to the earlier."""
    return set(np.argsort(-scores, kind="stable")[:k].tolist())


def shared_scores(first: Spans, second: Spans) -> tuple[Values, Values]:
    """The scores of the tokens that both can read, (n,) each. Tokens are the same if they stand at the same place of
    the same span, and the whole span reads the same: a question before a label or before a rationale is one question,
    and other tokenizers' tokens are never paired."""
    spans = [span for span in first if span in second]
    if not spans:
        return np.zeros(0), np.zeros(0)
    a, b = np.concatenate([first[span] for span in spans]), np.concatenate([second[span] for span in spans])
    both = ~np.isnan(a) & ~np.isnan(b)
    return a[both], b[both]


def agreement(
    first: Scores,
    second: Scores,
    clusters: Mapping[str, str],
    *,
    k: int = 5,
    names: tuple[str, str] = ("", ""),
    absolute: bool = False,
) -> Agreement | None:
    """Agreement over the explanations that both have, on the tokens that both can read (three at least); None if there
    are none.

    absolute: rank by the size of the scores instead of by what they say for the target; needed beside a method without
    a sign.
    """
    ranks: list[tuple[str, float]] = []
    shared: list[tuple[str, float, float]] = []
    examples: set[str] = set()
    for key in sorted(set(first) & set(second)):
        a, b = shared_scores(first[key], second[key])
        if absolute:
            a, b = np.abs(a), np.abs(b)
        n = len(a)
        if n < 3:
            continue
        examples.add(key[0])
        if (rank := spearman(a, b)) is not None:
            ranks.append((clusters[key[0]], rank))
        size = min(k, n)
        shared.append((clusters[key[0]], len(top(a, size) & top(b, size)) / size, size / n))
    if not ranks:
        return None
    by_rank = _over([value for _, value in ranks], [cluster for cluster, _ in ranks])
    by_overlap = _over([value for _, value, _ in shared], [cluster for cluster, _, _ in shared])
    return Agreement(
        names[0], names[1], len(examples), len(shared), len(ranks), len({c for c, _, _ in shared}), absolute,
        by_rank.mean, by_rank.low, by_rank.high, k,
        by_overlap.mean, by_overlap.low, by_overlap.high, float(np.mean([chance for _, _, chance in shared])),
    )  # fmt: skip


def every_pair(
    scored: Mapping[str, Scores],
    clusters: Mapping[str, str],
    *,
    k: int = 5,
    unsigned: Sequence[str] = (),
    absolute: bool = False,
) -> list[Agreement]:
    """Agreement of every two of several attributions, by name; where one of the two is in `unsigned`, or with
    `absolute`, sizes are compared.
    """
    names = list(scored)
    agreements = []
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            sizes = absolute or one in unsigned or other in unsigned
            pair = agreement(scored[one], scored[other], clusters, k=k, names=(one, other), absolute=sizes)
            if pair is not None:
                agreements.append(pair)
    return agreements


def _over(values: Sequence[float], clusters: Sequence[str]) -> Interval:
    array = np.asarray(values, float)
    if len(set(clusters)) < 2:
        return Interval(float(array.mean()), None, None, None, None, "none", "too few examples for an interval")
    return one_replicate(array, numbered(list(clusters)))

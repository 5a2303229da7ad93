"""Each question answered directly and after the student's own rationale, side by side: right or wrong by right or wrong (arXiv 2410.16198).
A diagnostic; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cotdistill.rationales.conditions import parse
from cotdistill.results.modes import answered_in, side_by_side
from cotdistill.results.results import right_answers
from cotdistill.statistics.exact import mcnemar
from cotdistill.statistics.intervals import Interval, accuracy_interval, mean_interval, numbered
from cotdistill.store.store import Store
from cotdistill.studies.modes import EVERYTHING, ModesRequest, Wanted, modes_of

# (right when it answers directly, right after its own rationale).
CELLS = ((True, True), (True, False), (False, True), (False, False))


@dataclass(frozen=True)
class Crossed:
    """One condition. cells: the share of the questions in each of CELLS, with its 95 % interval over replicates and questions; counts: by replicate,
    how many questions in each; p: by replicate, McNemar's exact test of the two that differ, which takes questions as independent; gain: right after
    its own rationale less right directly, paired, over replicates and clusters. trained: whether its students were trained for both."""

    condition: str
    label: str
    trained: bool
    cells: tuple[Interval, ...]
    counts: tuple[tuple[int, ...], ...]
    p: tuple[float, ...]
    gain: Interval
    items: int
    clusters: int
    planned: int


def direct_by_own(store: Store, found: Sequence[ModesRequest], wanted: Wanted = EVERYTHING) -> list[Crossed]:
    """Every condition whose students were asked both ways, in the order planned."""
    crossed = []
    for condition in dict.fromkeys(one.condition for one in found):
        mine = [one for one in found if one.condition == condition]
        paths = [(answered_in(store, one, "direct", wanted), answered_in(store, one, "own", wanted)) for one in mine]
        both = [(right_answers(one, "direct"), right_answers(other, "own")) for one, other in paths if one and other]
        directly, clusters, nested = side_by_side([one for one, _ in both])
        own, _, _ = side_by_side([other for _, other in both])
        if not clusters:
            continue
        masks = [(directly == one) & (own == other) for one, other in CELLS]
        counts = tuple(tuple(int(mask[replicate].sum()) for mask in masks) for replicate in range(len(directly)))
        groups = numbered(clusters)
        crossed.append(
            Crossed(
                condition, parse(condition).label, {"direct", "own"} <= set(modes_of(condition)),
                tuple(accuracy_interval(mask.astype(np.float64), groups, nested) for mask in masks), counts,
                tuple(mcnemar(only_direct, only_own) for _, only_direct, only_own, _ in counts), mean_interval(own - directly, groups, nested),
                len(clusters), len(set(clusters)), len(mine),
            )
        )  # fmt: skip
    return crossed

"""Each question answered directly and after the student's own rationale, side by side: right or wrong by right or wrong
(arXiv 2410.16198). A diagnostic; no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cotdistill.rationales.conditions import parse
from cotdistill.results.modes import answered_in
from cotdistill.results.replicates import Layout, run_answers
from cotdistill.statistics.exact import mcnemar
from cotdistill.statistics.intervals import Interval
from cotdistill.store.store import Store
from cotdistill.studies.inspection_jobs import modes_of
from cotdistill.studies.modes import EVERYTHING, ModesRequest, Wanted

# (right when it answers directly, right after its own rationale).
CELLS = ((True, True), (True, False), (False, True), (False, False))


@dataclass(frozen=True)
class Crossed:
    """One condition. cells: the share of the questions in each of CELLS, with its 95 % interval over replicates and
    questions; counts: by replicate, how many questions in each; p: by replicate, McNemar's exact test of the two that
    differ, which takes questions as independent; gain: right after its own rationale less right directly, paired, over
    replicates and clusters. trained: whether its students were trained for both.
    """

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


def direct_by_own(store: Store, requests: Sequence[ModesRequest], wanted: Wanted = EVERYTHING) -> list[Crossed]:
    """Every condition whose students were asked both ways, in the order planned."""
    crossed = []
    for condition in dict.fromkeys(one.condition for one in requests):
        asked = [one for one in requests if one.condition == condition]
        paths = [(answered_in(store, one, "direct", wanted), answered_in(store, one, "own", wanted)) for one in asked]
        both = [(run_answers(one, "direct"), run_answers(other, "own")) for one, other in paths if one and other]
        layout = Layout.of([direct for direct, _ in both])
        if layout is None:
            continue
        directly, after_own = (layout.stack([pair[which].correct for pair in both]) for which in (0, 1))
        masks = [(directly == one) & (after_own == other) for one, other in CELLS]
        counts = tuple(tuple(int(mask[replicate].sum()) for mask in masks) for replicate in range(len(directly)))
        crossed.append(
            Crossed(
                condition,
                parse(condition).label,
                {"direct", "own"} <= set(modes_of(condition)),
                tuple(layout.accuracy(mask.astype(np.float64)) for mask in masks),
                counts,
                tuple(mcnemar(only_direct, only_own) for _, only_direct, only_own, _ in counts),
                layout.mean(after_own - directly),
                layout.size,
                layout.cluster_count,
                len(asked),
            )
        )
    return crossed

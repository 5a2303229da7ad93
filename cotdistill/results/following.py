"""Whether answers follow the rationale or the tag before the question, for students of the counterfactual objective:
over replicates, with intervals. A diagnostic, taken when a run is scored; no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from cotdistill.rationales.conditions import parse
from cotdistill.results.replicates import Layout
from cotdistill.statistics.intervals import Interval, Values
from cotdistill.store.planned_runs import planned_runs
from cotdistill.store.store import Store

TAGS, RATIONALES = ("factual", "counterfactual"), ("given", "wrong", "none")


@dataclass(frozen=True)
class Following:
    """One condition. right, argued: by (tag, rationale), the share of answers that are right, and that are the wrong
    choice that the wrong rationale argues for. by_tag: by rationale, the share of answers that another tag changes;
    by_rationale: by tag, the share that the wrong rationale changes where the teacher's stood. All with 95 % intervals
    over replicates and questions.
    """

    condition: str
    label: str
    right: Mapping[tuple[str, str], Interval]
    argued: Mapping[tuple[str, str], Interval]
    by_tag: Mapping[str, Interval]
    by_rationale: Mapping[str, Interval]
    items: int
    clusters: int
    replicates: int
    planned: int


@dataclass(frozen=True)
class _FollowedRun:
    items: tuple[str, ...]
    clusters: tuple[str, ...]
    cells: Mapping[tuple[str, str], pd.DataFrame]


@lru_cache(maxsize=64)
def _run(path: Path) -> _FollowedRun:
    """Kept, since an artefact never changes."""
    frame = pd.read_parquet(path).sort_values("example", kind="stable")
    cells = {
        (str(tag), str(rationale)): part for (tag, rationale), part in frame.groupby(["tag", "rationale"], sort=False)
    }
    first = cells[TAGS[0], RATIONALES[0]]
    return _FollowedRun(tuple(first["example"]), tuple(first["cluster"]), cells)


def following(store: Store, study: int | str) -> list[Following]:
    """Every condition of a study whose runs were asked under both tags, in the order planned."""
    planned = planned_runs(store, study)
    rows = []
    for condition in dict.fromkeys(name for name, _, _ in planned):
        jobs = [job for name, _, job in planned if name == condition]
        runs = [
            _run(store.artifacts.path(job.produced["followed"]))
            for job in jobs
            if job and job.state == "finished" and "followed" in job.produced
        ]
        if runs:
            rows.append(_over(condition, runs, len(jobs)))
    return rows


def _over(condition: str, runs: list[_FollowedRun], planned: int) -> Following:
    layout = Layout.of(runs)
    assert layout is not None  # a run is scored on one question at least
    share = layout.accuracy

    def column(name: str, tag: str, rationale: str) -> Values:
        return layout.stack([run.cells[tag, rationale][name].to_numpy(np.float64) for run in runs])

    cells = [(tag, rationale) for tag in TAGS for rationale in RATIONALES]
    answers = {cell: column("predicted", *cell) for cell in cells}
    factual, other = TAGS
    return Following(
        condition,
        parse(condition).label,
        {cell: share(column("right", *cell)) for cell in cells},
        {cell: share(column("argued", *cell)) for cell in cells},
        {r: share((answers[factual, r] != answers[other, r]).astype(np.float64)) for r in RATIONALES},
        {t: share((answers[t, "given"] != answers[t, "wrong"]).astype(np.float64)) for t in TAGS},
        layout.size,
        layout.cluster_count,
        len(runs),
        planned,
    )

"""What students answer in each mode and after each test of their rationale, over replicates and questions, with
intervals. Diagnostics: they stand beside the claims and are never part of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cotdistill.rationales.conditions import parse
from cotdistill.rationales.perturbations import PERTURBATIONS
from cotdistill.rationales.placement import MODES
from cotdistill.results.replicates import Layout, run_answers
from cotdistill.statistics.intervals import Interval, Values, one_replicate, within_unit
from cotdistill.store.records import Job
from cotdistill.store.store import Store
from cotdistill.studies.inspection_jobs import modes_of
from cotdistill.studies.modes import EVERYTHING, ModesRequest, Wanted

INTACT = "intact"
# What is measured of an answer -> how it is called.
MEASURES = {
    "correct": "accuracy",
    "p_gold": "probability of the right answer",
    "changed": "share of answers that change",
}


@dataclass(frozen=True)
class ModeCell:
    """A condition asked in one mode: accuracy (a share) over replicates and questions with its 95 % interval, None
    before it was asked.

    over_direct: paired difference to the same students' answers without a rationale, None where there is nothing to
    pair; trained: whether its students were trained for the mode; points: accuracy of each replicate asked; planned:
    how many there are to be.
    """

    condition: str
    label: str
    mode: str
    trained: bool
    accuracy: Interval | None
    over_direct: Interval | None
    points: tuple[float, ...]
    items: int
    clusters: int
    planned: int


@dataclass(frozen=True)
class PerturbationPoint:
    """One measure at one share, and the same after as many random tokens (None: the test is that control itself)."""

    share: float
    value: Interval
    control: Interval | None


@dataclass(frozen=True)
class PerturbationCurve:
    """One condition under one test of one rationale, by rising share; the first point is the intact rationale.

    loss: the area between the intact line and the curve over the shares, in the unit of the measure (for a test of one
    point: the drop at it; of "changed": the area under the curve); control_loss: the same of as many random tokens;
    over_control: their paired difference, above 0 where the test costs more than they do. made: share of the rows on
    which the test could be made; touched: mean share of the tokens touched at the end.
    """

    condition: str
    label: str
    rationale: str
    test: str
    trained: bool
    graded: bool
    points: tuple[PerturbationPoint, ...]
    loss: Interval
    control_loss: Interval | None
    over_control: Interval | None
    applied: float
    touched: float
    items: int
    clusters: int
    replicates: int


@dataclass(frozen=True)
class Read:
    """What stood before the answers of some runs: rows by source of the given rationales, the share of rationales that
    name the right answer (given, own; means over runs), of own rationales that did not end with the answer cue, and of
    rows without one.
    """

    sources: Mapping[str, int]
    leakage: Mapping[str, float]
    unterminated: float
    empty: Mapping[str, float]


@dataclass(frozen=True)
class _ModeAnswers:
    """The answers of one job, by item. values: (rationale, test, share) -> measure, "control_" + measure, touched,
    tokens, each (items,).
    """

    items: tuple[str, ...]
    clusters: tuple[str, ...]
    values: Mapping[tuple[str, str, float], Mapping[str, npt.NDArray[np.float32]]]


_COLUMNS = ("correct", "p_gold", "changed", "control_correct", "control_p_gold", "control_changed", "touched", "tokens")


@lru_cache(maxsize=48)
def _run(path: Path) -> _ModeAnswers:
    """Kept, since an artefact never changes."""
    frame = pd.read_parquet(path, columns=["example", "cluster", "rationale", "test", "share", *_COLUMNS]).sort_values(
        "example", kind="stable"
    )
    for name in _COLUMNS:
        frame[name] = frame[name].to_numpy(dtype=np.float32, na_value=np.nan)
    values = {}
    for (rationale, test), own in frame.groupby(["rationale", "test"], sort=False):
        for share, part in own.groupby("share", sort=False):
            values[str(rationale), str(test), float(str(share))] = {name: part[name].to_numpy() for name in _COLUMNS}
    first = frame[(frame["test"] == INTACT) & (frame["rationale"] == "given")]
    return _ModeAnswers(tuple(first["example"]), tuple(first["cluster"]), values)


@dataclass(frozen=True)
class _Over:
    """The runs of one condition side by side."""

    runs: tuple[_ModeAnswers, ...]
    layout: Layout

    @classmethod
    def of(cls, store: Store, requests: Sequence[ModesRequest]) -> _Over | None:
        jobs = [one.job for one in requests if one.finished and one.job is not None]
        runs = tuple(_run(store.artifacts.path(job.produced["answers"])) for job in jobs)
        layout = Layout.of(runs)
        return cls(runs, layout) if layout else None

    def has(self, rationale: str, test: str) -> bool:
        return all((rationale, test, 1.0) in run.values for run in self.runs)

    def shares(self, rationale: str, test: str) -> list[float]:
        """Of all runs; they are the same in each."""
        return sorted(share for r, t, share in self.runs[0].values if (r, t) == (rationale, test))

    def values(self, rationale: str, test: str, share: float, name: str) -> Values:
        """(replicates, items)."""
        return self.layout.stack([run.values[rationale, test, share][name] for run in self.runs])

    def mean(self, values: Values) -> Interval:
        if len(values) == 1 and self.layout.cluster_count > 1:
            # Without the exact p of `mean_interval`, which costs more than the rest and which no diagnostic needs.
            return one_replicate(values[0], self.layout.clusters)
        return self.layout.mean(values)

    def share(self, values: Values, measure: str) -> Interval:
        """The mean of a measure that lies between 0 and 1, and so does its interval."""
        return self.layout.accuracy(values) if measure == "correct" else within_unit(self.mean(values))


def grid(store: Store, requests: Sequence[ModesRequest], wanted: Wanted = EVERYTHING) -> list[ModeCell]:
    """Every condition in every mode. What a training run has scored itself is taken from there; the rest from the jobs
    that asked.
    """
    cells = []
    for condition in dict.fromkeys(answers_here.condition for answers_here in requests):
        asked = [answers_here for answers_here in requests if answers_here.condition == condition]
        rows = {
            mode: {
                answers_here.replicate: run_answers(path, mode)
                for answers_here in asked
                if (path := answered_in(store, answers_here, mode, wanted))
            }
            for mode in MODES
        }
        for mode in MODES:
            answers = rows[mode]
            layout = Layout.of(list(answers.values()))
            correct = layout.stack([run.correct for run in answers.values()]) if layout else np.zeros((0, 0))
            both = [replicate for replicate in answers if replicate in rows["direct"]] if mode != "direct" else []
            paired = Layout.of([answers[replicate] for replicate in both])
            over_direct = None
            if paired is not None:
                answers_here, answers_direct = (
                    paired.stack([rows[m][r].correct for r in both]) for m in (mode, "direct")
                )
                over_direct = paired.mean(answers_here - answers_direct)
            cells.append(
                ModeCell(
                    condition, parse(condition).label, mode, mode in modes_of(condition),
                    layout.accuracy(correct) if layout else None, over_direct,
                    tuple(float(row.mean()) for row in correct), layout.size if layout else 0,
                    layout.cluster_count if layout else 0, len(asked),
                )
            )  # fmt: skip
    return cells


def answered_in(store: Store, request: ModesRequest, mode: str, wanted: Wanted) -> Path | None:
    """The table that holds a run's answers in a mode; None if it was not asked in it."""
    trained: Job | None = request.trained
    if (
        trained is not None
        and trained.state == "finished"
        and not (wanted.examples or wanted.source)
        and mode in (trained.result or {}).get("modes", {})
    ):
        return store.artifacts.path(trained.produced["predictions"])
    return (
        store.artifacts.path(request.job.produced["predictions"])
        if request.finished and request.job is not None
        else None
    )


def curves(
    store: Store, requests: Sequence[ModesRequest], rationale: str, measure: str = "correct", tests: Sequence[str] = ()
) -> list[PerturbationCurve]:
    """Every condition that was asked, under every test (some of them), in the order planned; rationale: "given" or
    "own".
    """
    drawn = []
    for condition in dict.fromkeys(one.condition for one in requests):
        over = _Over.of(store, [one for one in requests if one.condition == condition])
        if over is not None:
            trained = rationale in modes_of(condition)
            names = [p.name for p in PERTURBATIONS if (not tests or p.name in tests) and over.has(rationale, p.name)]
            drawn += [_curve(over, condition, rationale, name, measure, trained=trained) for name in names]
    return drawn


def _curve(over: _Over, condition: str, rationale: str, test: str, measure: str, *, trained: bool) -> PerturbationCurve:
    intact = over.values(rationale, INTACT, 0.0, measure)
    shares = over.shares(rationale, test)
    after = [over.values(rationale, test, share, measure) for share in shares]
    control = [over.values(rationale, test, share, f"control_{measure}") for share in shares]
    controlled = not any(np.isnan(values).any() for values in control)
    points = [PerturbationPoint(0.0, over.share(intact, measure), over.share(intact, measure) if controlled else None)]
    points += [
        PerturbationPoint(share, over.share(one, measure), over.share(other, measure) if controlled else None)
        for share, one, other in zip(shares, after, control, strict=True)
    ]
    loss = _lost(shares, [intact, *after], measure)
    controls = _lost(shares, [intact, *control], measure) if controlled else None
    touched = over.values(rationale, test, shares[-1], "touched")
    tokens = over.values(rationale, test, shares[-1], "tokens")
    return PerturbationCurve(
        condition,
        parse(condition).label,
        rationale,
        test,
        trained,
        PERTURBATIONS.get(test).graded,
        tuple(points),
        over.mean(loss),
        over.mean(controls) if controls is not None else None,
        over.mean(loss - controls) if controls is not None else None,
        float((touched > 0).mean()),
        float(touched.sum() / max(1.0, tokens.sum())),
        over.layout.size,
        over.layout.cluster_count,
        len(over.runs),
    )


def _lost(shares: Sequence[float], values: Sequence[Values], measure: str) -> Values:
    """(replicates, items) the area between the intact line and the curve, by trapezoids over the shares; of one point,
    the drop at it.
    """
    sign = -1.0 if measure == "changed" else 1.0
    gaps = sign * (values[0] - np.stack(values[1:]))
    if len(gaps) == 1:
        return np.asarray(gaps[0])
    width = np.diff([0.0, *shares])[:, None, None]
    before = np.concatenate([np.zeros_like(gaps[:1]), gaps[:-1]])
    area: Values = (width * (before + gaps) / 2).sum(0) / shares[-1]
    return area


def read(requests: Sequence[ModesRequest]) -> dict[str, Read]:
    """By condition, what its finished jobs say of the rationales."""
    documents: dict[str, list[Mapping[str, Any]]] = {}
    for one in requests:
        if one.finished and one.job is not None and one.job.result:
            documents.setdefault(one.condition, []).append(one.job.result)
    return {
        condition: Read(
            dict(results[0]["sources"]),
            {name: fmean(one["leakage"][name] for one in results) for name in ("given", "own")},
            fmean(one["unterminated"] for one in results),
            {name: fmean(one["empty"][name] / one["n"] for one in results) for name in ("given", "own")},
        )
        for condition, results in documents.items()
    }

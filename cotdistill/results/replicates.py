"""The answers of several runs side by side: the one reader of stored predictions, and the one place that stacks
replicates into arrays. Every interval and every claim rests on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from cotdistill.statistics.effects import cohens_h, standardised_difference
from cotdistill.statistics.intervals import Interval, Values, accuracy_interval, mean_interval, numbered
from cotdistill.statistics.verdicts import PROVISIONAL, word

if TYPE_CHECKING:
    import pandas as pd


class AnsweredItems(Protocol):
    """The questions that a run answered, sorted by id, and the cluster of each."""

    @property
    def items(self) -> tuple[str, ...]: ...

    @property
    def clusters(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Items:
    """The questions of a table that has one row per question."""

    items: tuple[str, ...]  # ids of the questions
    clusters: tuple[str, ...]  # the cluster of each question


@dataclass(frozen=True, eq=False)
class RunAnswers:
    """The answers of one run in one mode, sorted by item."""

    items: tuple[str, ...]  # ids of the questions
    clusters: tuple[str, ...]  # the cluster of each question
    correct: npt.NDArray[np.float64]  # (items,) 1 for a right answer, 0 for a wrong one
    constant: bool  # whether every question got one answer, though not all have the same right one


@lru_cache(maxsize=4096)
def run_answers(path: Path, mode: str) -> RunAnswers:
    """The answers in a predictions artefact, in one mode. Cached, since an artefact never changes."""
    # Without pandas: a grid over studies reads a thousand small files, for which a data frame takes three times as
    # long.
    import pyarrow.compute as compute
    from pyarrow.parquet import ParquetFile

    table = ParquetFile(path).read(columns=["id", "cluster", "mode", "correct", "predicted", "answer"])
    table = table.filter(compute.equal(table["mode"], mode)).sort_by("id")
    items, clusters = (tuple(table[name].to_numpy()) for name in ("id", "cluster"))
    constant = len(table["predicted"].unique()) == 1 and len(table["answer"].unique()) > 1
    return RunAnswers(items, clusters, table["correct"].to_numpy().astype(np.float64), constant)


@dataclass(frozen=True, eq=False)
class Layout:
    """Which questions several runs answered. Generated worlds are of one size; should runs differ in size, all are cut
    to the smallest."""

    size: int  # questions per run
    clusters: npt.NDArray[np.int64]  # (size,) cluster of each question of the first run, numbered from 0
    nested: bool  # whether the questions differ between replicates

    @classmethod
    def of(cls, runs: Sequence[AnsweredItems]) -> Layout | None:
        """The layout of runs; None where there is no run, or one of them has no question."""
        size = min((len(run.items) for run in runs), default=0)
        if not size:
            return None
        return cls(size, numbered(list(runs[0].clusters[:size])), len({run.items for run in runs}) > 1)

    @property
    def cluster_count(self) -> int:
        return int(self.clusters.max()) + 1

    def stack(self, rows: Sequence[npt.NDArray[np.generic]]) -> Values:
        """One (items,) array per run -> (runs, size)."""
        return np.stack([row[: self.size] for row in rows]).astype(np.float64)

    def mean(self, values: Values) -> Interval:
        """The interval of the mean of (runs, size) values."""
        return mean_interval(values, self.clusters, self.nested)

    def accuracy(self, correct: Values) -> Interval:
        """The interval of an accuracy, or another share, from (runs, size) zeros and ones."""
        return accuracy_interval(correct, self.clusters, self.nested)


# A replicate stands far from the others beyond this, a share of accuracy, and beyond so many of their robust
# deviations.
FAR, DEVIATIONS = 0.10, 6.0


def replicate_warnings(replicates: Sequence[int | str], runs: Sequence[RunAnswers]) -> tuple[str, ...]:
    """What is wrong with single replicates of a condition, in words: one answer to every question, or an accuracy far
    from the others.

    Far: more than 10 points from the median of the others and more than six of their median absolute deviations (scaled
    to a standard deviation by 1.4826); from three replicates on. A collapsed replicate is named, never left out: the
    mean and its interval hold it.
    """
    accuracies = np.array([run.correct.mean() for run in runs])
    warnings = []
    for place, (replicate, run) in enumerate(zip(replicates, runs, strict=True)):
        others = np.delete(accuracies, place)
        accuracy = f"replicate {replicate} ({100 * accuracies[place]:.1f} %)"
        if run.constant:
            warnings.append(f"{accuracy} gives the same answer to every question")
        elif len(others) > 1:
            median = float(np.median(others))
            deviation = 1.4826 * float(np.median(np.abs(others - median)))
            if abs(accuracies[place] - median) > max(FAR, DEVIATIONS * deviation):
                warnings.append(f"{accuracy} stands far from the others (median {100 * median:.1f} %)")
    return tuple(warnings)


@dataclass(frozen=True)
class ConditionAnswers:
    """The answers of the finished replicates of one condition."""

    replicates: tuple[int, ...]  # indices of the replicates
    items: tuple[tuple[str, ...], ...]  # the questions that each of them answered
    correct: npt.NDArray[np.float64]  # (replicates, items) 1 for a right answer
    layout: Layout  # clusters of the questions, and whether replicates have questions of their own
    warnings: tuple[str, ...]  # what is wrong with single replicates, in words


@dataclass(frozen=True)
class Paired:
    """What two conditions answered to the same questions, over the replicates that both have finished."""

    values: npt.NDArray[np.float64]  # (replicates, items) paired differences -1, 0 or 1
    clusters: npt.NDArray[np.int64]  # (items,) numbered from 0
    nested: bool  # whether the items differ between replicates
    accuracies: tuple[float, float]  # of both, means over all


@dataclass(frozen=True)
class DifferenceRow:
    """A condition against the baseline."""

    condition: str  # canonical form
    label: str  # its name for people
    difference: float  # paired difference of accuracies, a share
    low: float | None  # lower end of its 95 % interval
    high: float | None  # upper end
    p: float | None  # p of no difference
    word: str  # better, worse ...
    kind: str  # how the interval was made, and what it speaks of
    items: int  # questions
    clusters: int  # independent groups of them
    replicates: int  # replicates that both have finished
    cohens_h: float  # the difference on other scales (`statistics.effects`) ...
    standardised: float | None  # ... and this one over replicates


def condition_answers(
    runs: Sequence[tuple[int, RunAnswers]], names: Sequence[str] | None = None
) -> ConditionAnswers | None:
    """The finished replicates of one condition, in the order given, as one stack; None where there is none. names: what
    replicates are called in warnings, by index; default: their indices.
    """
    layout = Layout.of([run for _, run in runs])
    if layout is None:
        return None
    correct = layout.stack([run.correct for _, run in runs])
    called = [replicate if names is None else names[replicate] for replicate, _ in runs]
    warnings = replicate_warnings(called, [run for _, run in runs])
    return ConditionAnswers(
        tuple(replicate for replicate, _ in runs), tuple(run.items for _, run in runs), correct, layout, warnings
    )


def paired_answers(first: ConditionAnswers | None, second: ConditionAnswers | None) -> Paired | None:
    """First less second, over the same replicates; None if they did not answer the same questions."""
    if first is None or second is None or first.items != second.items:
        return None
    accuracies = float(first.correct.mean()), float(second.correct.mean())
    return Paired(first.correct - second.correct, first.layout.clusters, first.layout.nested, accuracies)


def difference_row(
    condition: str, label: str, seen: Paired, answers: ConditionAnswers, provisional: bool, margin: float | None
) -> DifferenceRow:
    """The difference with its interval and word. provisional: replicates are missing, so there is no verdict yet.
    margin: a share.
    """
    interval = mean_interval(seen.values, seen.clusters, seen.nested)
    return DifferenceRow(
        condition=condition,
        label=label,
        difference=interval.mean,
        low=interval.low,
        high=interval.high,
        p=interval.p,
        word=PROVISIONAL if provisional else word(interval, margin),
        kind=f"{interval.method}: {interval.speaks_of}",
        items=answers.correct.shape[1],
        clusters=answers.layout.cluster_count,
        replicates=len(answers.replicates),
        cohens_h=cohens_h(*seen.accuracies),
        standardised=standardised_difference(seen.values.mean(1)),
    )


@dataclass(frozen=True)
class Pooled:
    """A mean with its interval; points: the mean of each student; items, clusters: questions that all of them have, and
    groups of them.
    """

    interval: Interval
    points: tuple[float, ...]
    items: int
    clusters: int


def pooled(tables: Sequence[pd.DataFrame], column: str) -> Pooled | None:
    """The mean of a column over one table a student, with columns example and cluster and a row a question. Questions
    that one of them lacks are left out; students of other worlds share none, and are nested in their own. None where
    nothing is left.
    """
    answered = [table[table[column].notna()].sort_values("example", kind="stable") for table in tables]
    shared = set.intersection(*(set(table["example"]) for table in answered))
    kept = [table[table["example"].isin(shared)] for table in answered] if shared else answered
    layout = Layout.of([Items(tuple(table["example"]), tuple(map(str, table["cluster"]))) for table in kept])
    if layout is None:
        return None
    values = layout.stack([table[column].to_numpy(dtype=float) for table in kept])
    points = tuple(float(row.mean()) for row in values)
    return Pooled(layout.mean(values), points, layout.size, layout.cluster_count)

"""Examples x conditions: which conditions answer which question rightly, how sure they are, and where they flip against
a baseline.

whole = matrix(store, study)                                  # arrays, kept: a second call reads the queue only
table = by_example(whole, baseline="label_only")              # one row an example
shown = page(table, Filters(right="label_only", wrong="post_cot"), texts=texts(store, study), offset=100, limit=50)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cotdistill.errors import CotdistillError, UnknownName
from cotdistill.statistics.calibration_error import expected_calibration_error, selective_accuracy
from cotdistill.store.planned_runs import planned_runs
from cotdistill.store.store import Store
from cotdistill.studies.inspection_jobs import source_of, task_of

# The columns of `by_example` that belong to a condition begin with one of these; the condition follows after a space.
RIGHT, GOLD, MARGIN, GAINED, LOST = "right", "gold", "margin", "gained", "lost"


@dataclass(frozen=True, eq=False)
class PredictionMatrix:
    """What the finished runs of a study answered. Arrays are (conditions, replicates, items), where a run did not
    finish, or an item is not asked of it (worlds of their own): right -1, the others NaN.

    items: ids, sorted; clusters: of each item. right: 1 or 0. gold: probability of the right choice; confidence: of the
    one that was chosen. margin: score of the right choice minus that of the best other one, in nats, negative where it
    is wrong.
    """

    items: tuple[str, ...]
    clusters: tuple[str, ...]
    conditions: tuple[str, ...]
    replicates: tuple[int, ...]
    right: npt.NDArray[np.int8]
    gold: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]
    margin: npt.NDArray[np.float32]


def matrix(store: Store, study: int | str, mode: str = "primary") -> PredictionMatrix:
    """The matrix of a study. mode: "primary" (the one a condition is judged in), "direct", "own" or "given"; conditions
    without a finished run in that mode are left out. A study of which nothing has run has no items.
    """
    runs = []
    for condition, replicate, job in planned_runs(store, study):
        if job is not None and job.state == "finished" and job.result and "predictions" in job.produced:
            wanted = str(job.result["mode"]) if mode == "primary" else mode
            runs.append((condition, replicate, store.artifacts.path(job.produced["predictions"]), wanted))
    return _matrix(tuple(runs))


@lru_cache(maxsize=4)
def _matrix(runs: tuple[tuple[str, int, Path, str], ...]) -> PredictionMatrix:
    """Kept for the last few studies: an artefact never changes."""
    read = [(condition, replicate, _read(path, mode)) for condition, replicate, path, mode in runs]
    read = [(condition, replicate, table) for condition, replicate, table in read if table.num_rows]
    conditions = tuple(dict.fromkeys(condition for condition, _, _ in read))
    replicates = tuple(sorted({replicate for _, replicate, _ in read}))
    asked: list[tuple[Any, Any]] = []  # (ids, clusters) of each set of questions: one, or one a world
    which = []
    for _, _, table in read:
        ids = table["id"]
        place = next((i for i, (known, _) in enumerate(asked) if known.equals(ids)), len(asked))
        if place == len(asked):
            asked.append((ids, table["cluster"]))
        which.append(place)
    named = {
        name: cluster
        for ids, clusters in reversed(asked)
        for name, cluster in zip(ids.to_pylist(), clusters.to_pylist(), strict=True)
    }
    items = tuple(sorted(named))
    index = pd.Index(items)
    places = [index.get_indexer(pd.Index(ids.to_pylist())) for ids, _ in asked]
    shape = (len(conditions), len(replicates), len(items))
    right = np.full(shape, -1, np.int8)
    gold, confidence, margin = (np.full(shape, np.nan, np.float32) for _ in range(3))
    for (condition, replicate, table), place in zip(read, which, strict=True):
        at = (conditions.index(condition), replicates.index(replicate), places[place])
        chances = table["probabilities"].combine_chunks()
        flat, starts = chances.values.to_numpy(), chances.offsets.to_numpy()[:-1]
        right[at] = table["correct"].to_numpy()
        gold[at] = flat[starts + table["answer"].to_numpy()]
        confidence[at] = flat[starts + table["predicted"].to_numpy()]
        margin[at] = table["margin"].to_numpy()
    return PredictionMatrix(
        items, tuple(named[item] for item in items), conditions, replicates, right, gold, confidence, margin
    )


def _read(path: Path, mode: str) -> Any:
    """An Arrow table of one run in one mode, by id: strings stay in Arrow, which is what makes 150 runs a matter of a
    second.
    """
    columns = ["id", "cluster", "mode", "correct", "predicted", "answer", "margin", "probabilities"]
    table = pq.read_table(path, columns=columns)
    table = table.filter(pc.equal(table["mode"], pa.scalar(mode)))
    return table.take(pc.sort_indices(table["id"]))


def by_example(answers: PredictionMatrix, baseline: str = "") -> pd.DataFrame:
    """One row an example, in the order of the ids: item, cluster, disagreement, undecided, and for each condition

    "right CONDITION"   share of its replicates that are right
    "gold CONDITION"    mean probability of the right choice
    "margin CONDITION"  mean score of the right choice minus the best other one
    "gained CONDITION"  share of replicates in which it is right and the baseline wrong, "lost CONDITION" the reverse

    disagreement: of all pairs of conditions in one replicate, the share in which exactly one is right, mean over
    replicates; so noise that the conditions of a replicate share does not count. undecided: mean over all runs of the
    distance of the margin from 0. gained and lost only with a baseline, paired in the replicates that both have.
    UnknownName for a baseline that has not answered.
    """
    if baseline and baseline not in answers.conditions:
        raise UnknownName("condition with answers", baseline, answers.conditions)
    columns: dict[str, Any] = {"item": answers.items, "cluster": answers.clusters}
    asked, hit = answers.right >= 0, answers.right == 1
    number, hits = asked.sum(0, dtype=np.float32), hit.sum(0, dtype=np.float32)
    pairs = np.where(number > 1, number * (number - 1) / 2, np.nan)
    columns["disagreement"] = _mean(hits * (number - hits) / pairs, 0)
    columns["undecided"] = _mean(np.abs(answers.margin), (0, 1))
    columns |= _named(RIGHT, answers, _mean(np.where(asked, hit, np.nan), 1))
    columns |= _named(GOLD, answers, _mean(answers.gold, 1)) | _named(MARGIN, answers, _mean(answers.margin, 1))
    if baseline:
        base = answers.conditions.index(baseline)
        both = asked & asked[base]
        columns |= _named(GAINED, answers, _mean(np.where(both, hit & ~hit[base], np.nan), 1))
        columns |= _named(LOST, answers, _mean(np.where(both, ~hit & hit[base], np.nan), 1))
    return pd.DataFrame(columns)


def _named(
    name: str, answers: PredictionMatrix, values: npt.NDArray[np.floating[Any]]
) -> dict[str, npt.NDArray[np.floating[Any]]]:
    return {f"{name} {condition}": values[i] for i, condition in enumerate(answers.conditions)}


def _mean(values: npt.NDArray[np.floating[Any]], axis: int | tuple[int, int]) -> npt.NDArray[np.floating[Any]]:
    """The mean of what is there; NaN of nothing."""
    there = ~np.isnan(values)
    total, number = np.where(there, values, 0).sum(axis), there.sum(axis)
    mean: npt.NDArray[np.floating[Any]] = np.divide(
        total, number, out=np.full(total.shape, np.nan, np.float64), where=number > 0
    )
    return mean


def texts(store: Store, study: int | str) -> pd.DataFrame:
    """The test questions of a study by id: question, choices, answer (its text), rationale, metadata (a mapping). Of
    several worlds, all of theirs; of runs without a task in this store, none.
    """
    rows: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    for _, _, job in planned_runs(store, study):
        if job is None or job.config["task_digest"] in seen:
            continue
        seen.add(str(job.config["task_digest"]))
        try:
            examples = task_of(store, job).examples("test", source_of(job) or None)
        except CotdistillError:
            continue  # the task was deleted; its answers are still there
        for one in examples:
            choices = tuple(choice.text for choice in one.choices)
            rows[one.id] = {
                "question": one.question,
                "choices": choices,
                "answer": one.answer_text,
                "rationale": one.rationale or "",
                "metadata": dict(one.metadata),
            }
    columns = ["question", "choices", "answer", "rationale", "metadata"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns) if rows else pd.DataFrame(columns=columns)


@dataclass(frozen=True)
class Filters:
    """Which examples are shown; all of it must hold.

    right, wrong: conditions that are right (wrong) in more than half of their replicates, so right="label_only",
    wrong="post_cot" is "baseline right, this wrong". flips: a condition that differs from the baseline in some
    replicate. most_undecided: undecided at most this (low margin, in nats). text: must stand in the id, question,
    choices or rationale, whatever the case. slices: values of metadata, each one of those given.
    """

    right: str = ""
    wrong: str = ""
    flips: str = ""
    most_undecided: float | None = None
    text: str = ""
    slices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """Some rows of the table; total: how many there are under the filters."""

    rows: pd.DataFrame
    total: int


def page(
    table: pd.DataFrame,
    filters: Filters | None = None,
    *,
    texts: pd.DataFrame | None = None,
    sort: str = "disagreement",
    descending: bool = True,
    offset: int = 0,
    limit: int = 50,
) -> Page:
    """A page of `by_example`'s table. texts: needed for the filters text and slices. sort: a column; rows that tie come
    by id, rows without a value last. UnknownName for a condition or column that the table does not have.
    """
    chosen = filters or Filters()
    kept = np.ones(len(table), dtype=bool)
    if chosen.right:
        kept &= _column(table, f"{RIGHT} {chosen.right}") > 0.5
    if chosen.wrong:
        kept &= _column(table, f"{RIGHT} {chosen.wrong}") < 0.5
    if chosen.flips:
        kept &= _column(table, f"{GAINED} {chosen.flips}") + _column(table, f"{LOST} {chosen.flips}") > 0
    if chosen.most_undecided is not None:
        kept &= _column(table, "undecided") <= chosen.most_undecided
    rows = table[kept]
    if chosen.text:
        rows = rows[_holding(rows["item"], texts, chosen.text.casefold())]
    if chosen.slices:
        metadata = _metadata(rows["item"], texts)
        rows = rows[[all(str(meta.get(name)) in values for name, values in chosen.slices.items()) for meta in metadata]]
    _column(table, sort)
    rows = rows.sort_values(
        [sort, "item"] if sort != "item" else "item",
        ascending=[not descending, True] if sort != "item" else not descending,
    )
    return Page(rows.iloc[offset : offset + limit].reset_index(drop=True), len(rows))


def _column(table: pd.DataFrame, name: str) -> npt.NDArray[Any]:
    if name not in table.columns:
        raise UnknownName("column", name, list(table.columns))
    return table[name].to_numpy()


def _holding(items: Iterable[str], texts: pd.DataFrame | None, text: str) -> list[bool]:
    if texts is None or texts.empty:
        return [text in item.casefold() for item in items]
    said = dict(
        zip(texts.index, zip(texts["question"], texts["choices"], texts["rationale"], strict=True), strict=True)
    )
    nothing = ("", (), "")
    flags = []
    for item in items:
        question, choices, rationale = said.get(item, nothing)
        flags.append(text in "\n".join((item, question, *choices, rationale)).casefold())
    return flags


def _metadata(items: Iterable[str], texts: pd.DataFrame | None) -> list[Mapping[str, Any]]:
    known = {} if texts is None else dict(zip(texts.index, texts["metadata"], strict=True))
    return [known.get(item, {}) for item in items]


def reliability(answers: PredictionMatrix, coverages: tuple[float, ...] = (0.5, 0.8)) -> pd.DataFrame:
    """How far confidence can be believed, one row a run: condition, replicate, items, accuracy, calibration_error
    (expected, over bins of equal mass), and "accuracy at 0.5" and so on: accuracy on that share of the questions of
    which the student is surest.
    """
    rows: list[dict[str, Any]] = []
    for c, condition in enumerate(answers.conditions):
        for s, replicate in enumerate(answers.replicates):
            asked = answers.right[c, s] >= 0
            if not asked.any():
                continue
            confidence, right = answers.confidence[c, s][asked].astype(np.float64), answers.right[c, s][asked] == 1
            row = {
                "condition": condition,
                "replicate": replicate,
                "items": int(asked.sum()),
                "accuracy": float(right.mean()),
            }
            row |= {"calibration_error": expected_calibration_error(confidence, right)}
            rows.append(
                row | {f"accuracy at {share:g}": selective_accuracy(confidence, right, share) for share in coverages}
            )
    columns = [
        "condition",
        "replicate",
        "items",
        "accuracy",
        "calibration_error",
        *(f"accuracy at {share:g}" for share in coverages),
    ]
    return pd.DataFrame(rows, columns=columns)

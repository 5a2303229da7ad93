"""From the store to tables: runs, predictions, curves, accuracies and differences with their intervals. A partial study
gives what there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from cotdistill.rationales.conditions import parse
from cotdistill.results.replicates import (
    ConditionAnswers,
    DifferenceRow,
    Paired,
    condition_answers,
    difference_row,
    paired_answers,
    run_answers,
)
from cotdistill.statistics.intervals import Interval, mean_interval
from cotdistill.store.planned_runs import PlannedRuns, outcomes, planned_runs
from cotdistill.store.records import Job, read_document
from cotdistill.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

RUN_COLUMNS = (
    "job",
    "study",
    "condition",
    "label",
    "replicate",
    "state",
    "accuracy",
    "n",
    "correct",
    "chance",
    "mode",
    "steps",
    "tokens",
    "loss_tokens",
    "flops",
    "seconds",
    "train_rows",
    "excluded_rows",
    "changed_share",
    "unterminated",
    "unparsable",
    "dev_accuracy",
    "error",
)


@dataclass(frozen=True)
class WrittenShares:
    """Of the test questions of a condition whose answers are written, means over replicates."""

    #: Share whose answer (or the student's rationale before it) did not end by itself; wrong.
    not_ended: float
    #: Share whose answer cannot be read as one of its kind; wrong.
    unreadable: float
    #: Accuracy of the flexible reading; never judged.
    flexible: float


@dataclass(frozen=True)
class ConditionSummary:
    """One condition of a study. mean, low, high: accuracy as a share with its 95 % interval; points: each finished
    replicate's accuracy.

    at_chance: whether the interval contains chance. tokens, seconds: means over finished runs.
    """

    condition: str
    label: str
    planned: int
    finished: int
    mean: float | None
    low: float | None
    high: float | None
    speaks_of: str
    points: tuple[float, ...]
    items: int
    clusters: int
    chance: float | None
    at_chance: bool
    tokens: float | None
    seconds: float | None
    warnings: tuple[str, ...] = ()  # what is wrong with single replicates, in words
    written: WrittenShares | None = None  # where answers are written


@dataclass(frozen=True)
class Comparison:
    """All conditions against one. provisional: planned runs are missing, so no word is a verdict yet."""

    baseline: str
    rows: tuple[DifferenceRow, ...]
    provisional: bool


def runs(store: Store, study: int | str | None = None) -> pd.DataFrame:
    """One row a planned run (columns RUN_COLUMNS); of every study if none is named."""
    import pandas as pd

    rows = outcomes(store, study)
    if not rows:
        return pd.DataFrame(columns=list(RUN_COLUMNS))
    names, conditions, replicates, jobs, states, results, errors = zip(*rows, strict=True)
    # One document of all: reading 10,000 small ones takes longer than everything else here.
    documents = read_document(f"[{','.join(text or '{}' for text in results)}]")
    gone = "the run was deleted"
    columns: dict[str, Sequence[Any]] = {name: [result.get(name) for result in documents] for name in RUN_COLUMNS}
    labels = {condition: parse(condition).label for condition in set(conditions)}
    columns |= {
        "job": jobs,
        "study": names,
        "condition": conditions,
        "label": [labels[condition] for condition in conditions],
        "replicate": replicates,
        "state": [state or "deleted" for state in states],
        "error": [
            gone if job is None else read_document(error).get("message") if error else None
            for job, error in zip(jobs, errors, strict=True)
        ],
    }
    return pd.DataFrame(columns, columns=list(RUN_COLUMNS))


def predictions(store: Store, study: int | str, mode: str = "primary") -> pd.DataFrame:
    """One row an item, condition and replicate: item, cluster, condition, replicate, correct, predicted, answer,
    margin.

    mode: "primary" (the one a condition is judged in), "direct", "own" or "given"; conditions without it are left out.
    """
    import pandas as pd

    parts = []
    for condition, replicate, job in planned_runs(store, study):
        if job is None or not _scored(job) or not job.result:
            continue
        wanted = job.result["mode"] if mode == "primary" else mode
        table = store.artifacts.table(job.produced["predictions"])
        table = table.loc[
            table["mode"] == wanted, ["id", "cluster", "correct", "predicted", "answer", "margin"]
        ].rename(columns={"id": "item"})
        parts.append(table.assign(condition=condition, replicate=replicate))
    columns = ["item", "cluster", "condition", "replicate", "correct", "predicted", "answer", "margin"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def curves(store: Store, study: int | str) -> pd.DataFrame:
    """Learning curves of the finished runs: condition, replicate, step, tokens, seconds, name, value."""
    import pandas as pd

    parts = []
    for condition, replicate, job in planned_runs(store, study):
        if job is not None and job.state == "finished" and "curve" in job.produced:
            parts.append(store.artifacts.table(job.produced["curve"]).assign(condition=condition, replicate=replicate))
    columns = ["condition", "replicate", "step", "tokens", "seconds", "name", "value"]
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True)[columns] if filled else pd.DataFrame(columns=columns)


def _answers(
    store: Store, planned: PlannedRuns, condition: str, only: set[int] | None = None
) -> ConditionAnswers | None:
    runs = sorted(
        (replicate, run_answers(store.artifacts.path(job.produced["predictions"]), str(job.result["mode"])))
        for name, replicate, job in planned
        if name == condition and job is not None and job.result and _scored(job) and (only is None or replicate in only)
    )
    return condition_answers(runs)


def _scored(job: Job) -> bool:
    return job.state == "finished" and bool(job.result) and "predictions" in job.produced


def summary(store: Store, study: int | str) -> list[ConditionSummary]:
    """Every condition of a study in the order planned, with its accuracy over the finished replicates."""
    planned = planned_runs(store, study)
    summaries = []
    for condition in dict.fromkeys(name for name, _, _ in planned):
        jobs = [job for name, _, job in planned if name == condition]
        results = [job.result for job in jobs if job is not None and job.state == "finished" and job.result]
        answers = _answers(store, planned, condition)
        interval = answers.layout.accuracy(answers.correct) if answers else None
        # Nobody guesses an answer that is written: no chance line.
        chance = (float(results[0]["chance"]) or None) if results else None
        low, high = (interval.low, interval.high) if interval else (None, None)
        summaries.append(
            ConditionSummary(
                condition=condition,
                label=parse(condition).label,
                planned=len(jobs),
                finished=len(results),
                mean=interval.mean if interval else None,
                low=low,
                high=high,
                speaks_of=interval.speaks_of if interval else "",
                points=tuple(float(row.mean()) for row in answers.correct) if answers else (),
                items=answers.correct.shape[1] if answers else 0,
                clusters=answers.layout.cluster_count if answers else 0,
                chance=chance,
                at_chance=chance is not None and low is not None and high is not None and low <= chance <= high,
                tokens=_mean(results, "tokens"),
                seconds=_mean(results, "seconds"),
                warnings=answers.warnings if answers else (),
                written=_written_shares(results),
            )
        )
    return summaries


def _written_shares(results: Sequence[Mapping[str, Any]]) -> WrittenShares | None:
    written = [result for result in results if result.get("flexible_accuracy") is not None]
    if not written:
        return None
    shares = [_mean(written, name) or 0.0 for name in ("unterminated", "unparsable", "flexible_accuracy")]
    return WrittenShares(*shares)


def chance_of(summaries: Iterable[ConditionSummary]) -> float | None:
    """Accuracy of guessing in a study, a share; None before a run has finished."""
    return next((s.chance for s in summaries if s.chance is not None), None)


def _mean(results: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """The mean over finished runs; None where one does not tell it, as answers that were made elsewhere may not."""
    values = [float(result[name]) for result in results if result.get(name) is not None]
    return fmean(values) if values and len(values) == len(results) else None


def difference(
    store: Store, study: int | str, condition: str, baseline: str, planned: PlannedRuns | None = None
) -> tuple[Interval, ConditionAnswers] | None:
    """The paired difference of two conditions over the replicates that both have finished; None if there are none, or
    if they did not answer the same questions. planned: the study's `planned_runs`, for whoever asks more than once.
    """
    pair = _paired(store, planned if planned is not None else planned_runs(store, study), condition, baseline)
    return (_interval(pair[0]), pair[1]) if pair else None


def paired(
    store: Store, study: int | str, condition: str, baseline: str, planned: PlannedRuns | None = None
) -> Paired | None:
    """The differences that `difference` judges, for other ways to judge them (`statistics.methods`,
    `statistics.power`); None as there.
    """
    pair = _paired(store, planned if planned is not None else planned_runs(store, study), condition, baseline)
    return pair[0] if pair else None


def _interval(seen: Paired) -> Interval:
    return mean_interval(seen.values, seen.clusters, seen.nested)


def _paired(
    store: Store, planned: PlannedRuns, condition: str, baseline: str
) -> tuple[Paired, ConditionAnswers] | None:
    both = [
        {replicate for name, replicate, job in planned if name == wanted and job is not None and _scored(job)}
        for wanted in (condition, baseline)
    ]
    only = both[0] & both[1]
    first, second = (_answers(store, planned, name, only) for name in (condition, baseline))
    seen = paired_answers(first, second)
    return (seen, first) if seen is not None and first is not None else None


def comparison(store: Store, study: int | str, baseline: str, *, margin: float | None = None) -> Comparison:
    """Every condition with results against the baseline. margin (a share): also say "no worse" when the interval lies
    above -margin.
    """
    planned = planned_runs(store, study)
    open_ = {name for name, _, job in planned if job is None or job.state != "finished"}
    rows = []
    for condition in dict.fromkeys(name for name, _, _ in planned if name != baseline):
        pair = _paired(store, planned, condition, baseline)
        if pair is None:
            continue
        seen, answers = pair
        provisional = bool(open_ & {condition, baseline})
        rows.append(difference_row(condition, parse(condition).label, seen, answers, provisional, margin))
    return Comparison(baseline, tuple(rows), bool(open_))

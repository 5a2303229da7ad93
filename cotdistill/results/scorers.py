"""How students would answer under another scorer: the jobs that ask, and one table over conditions and replicates.
Diagnostics; no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cotdistill.errors import UnknownName, UsageError
from cotdistill.rationales.conditions import parse
from cotdistill.results.replicates import Items, Layout
from cotdistill.statistics.distributions import chi2_quantile
from cotdistill.statistics.intervals import Interval
from cotdistill.store.planned_runs import planned_runs
from cotdistill.store.records import Job, JobSpec
from cotdistill.store.store import Store
from cotdistill.students.scoring.scorers import LABEL, SCORERS
from cotdistill.studies.analyses.scorers import ScorersConfig
from cotdistill.studies.analysis import answers_are_written
from cotdistill.studies.inspection_jobs import modes_of, source_of, task_of, test_rows_of
from cotdistill.studies.modes import ModesRequest
from cotdistill.tasks.splits import first_by_hash

if TYPE_CHECKING:
    import pandas as pd

_WORTH = {"finished": 3, "running": 2, "queued": 2, "failed": 1}


@dataclass(frozen=True)
class ScorerCell:
    """A condition under one scorer: accuracy over replicates and questions with its 95 % interval; over_label: paired
    difference to the scorer that the runs are judged by, None for that one; agreement: share of the questions with the
    same answer as under it; points: accuracy of each replicate; spread: their standard deviation, None below two.
    """

    condition: str
    label: str
    scorer: str
    mode: str
    accuracy: Interval
    over_label: Interval | None
    agreement: Interval
    points: tuple[float, ...]
    spread: float | None
    items: int
    clusters: int
    planned: int


@dataclass(frozen=True)
class ScorerRow:
    """A scorer over all conditions asked: means of accuracy and agreement; spread: standard deviation over restarts,
    pooled over the conditions, with the 95 % interval of chi-squared (conditions taken as independent), None where no
    condition has two replicates.
    """

    scorer: str
    conditions: int
    accuracy: float
    agreement: float
    spread: float | None
    spread_low: float | None
    spread_high: float | None
    freedom: int


def scorers_job(store: Store, job: Job, examples: int, samples: int = 0, seed: int = 0) -> JobSpec:
    """The job that scores a student anew; UsageError without test questions. samples: where the student was trained to
    write a rationale first.
    """
    task = task_of(store, job)
    rows = first_by_hash(task.examples("test", source_of(job) or None), test_rows_of(job))
    if not rows:
        raise UsageError(f"The task {task.name!r} has no test questions.", "Import it with a test split.")
    samples = samples if "own" in modes_of(str(job.config["condition"])) else 0
    config = ScorersConfig(job.identity, examples if examples < len(rows) else 0, samples, seed if samples else 0)
    return config.spec(job, len(rows), len(rows[0].choices))


def drawn_before(store: Store, study: int | str) -> tuple[int, int]:
    """(samples, seed) of the job of a study that drew most rationales; (0, 0) where none did."""
    identities = {job.identity for _, _, job in planned_runs(store, study) if job is not None}
    configs = [ScorersConfig.from_plain(job.config) for job in store.queue.jobs(kind="scorers")]
    return max(((one.samples, one.seed) for one in configs if one.run in identities), default=(0, 0))


def asked(
    store: Store, study: int | str, examples: int = 0, conditions: Sequence[str] = (), samples: int = 0, seed: int = 0
) -> list[ModesRequest]:
    """Every planned run of a study (of some of its conditions) with the job that scores it anew; UnknownName for no
    condition of it.
    """
    planned = planned_runs(store, study)
    known = list(dict.fromkeys(name for name, _, _ in planned))
    for name in conditions:
        if name not in known:
            raise UnknownName("condition of this study", name, known)
    jobs: dict[str, list[Job]] = {}
    for job in store.queue.jobs(kind="scorers"):
        jobs.setdefault(job.identity, []).append(job)
    requests = []
    for condition, replicate, trained in planned:
        if conditions and condition not in conditions:
            continue
        spec = (
            scorers_job(store, trained, examples, samples, seed)
            if trained is not None and trained.state == "finished" and not answers_are_written(trained)
            else None
        )
        best = (
            max(jobs.get(spec.identity, []), key=lambda job: (_WORTH.get(job.state, 0), job.id), default=None)
            if spec
            else None
        )
        requests.append(ModesRequest(condition, replicate, trained, spec, best))
    return requests


@dataclass(frozen=True)
class _ScorerAnswers:
    items: tuple[str, ...]
    clusters: tuple[str, ...]
    correct: Mapping[str, npt.NDArray[np.float64]]
    agrees: Mapping[str, npt.NDArray[np.float64]]


@lru_cache(maxsize=256)
def _run(path: Path) -> _ScorerAnswers:
    """By scorer, by item; kept, since an artefact never changes."""
    import pandas as pd

    frame = pd.read_parquet(path, columns=["example", "cluster", "scorer", "correct", "agrees"]).sort_values(
        "example", kind="stable"
    )
    parts = {str(name): part for name, part in frame.groupby("scorer", sort=False)}
    first = parts[LABEL]
    correct, agrees = (
        {name: part[what].to_numpy(np.float64) for name, part in parts.items()} for what in ("correct", "agrees")
    )
    return _ScorerAnswers(tuple(first["example"]), tuple(first["cluster"]), correct, agrees)


def table(store: Store, requests: Sequence[ModesRequest]) -> list[ScorerCell]:
    """Every condition that was asked, under every scorer, in the order planned."""
    cells = []
    for condition in dict.fromkeys(one.condition for one in requests):
        asked = [one for one in requests if one.condition == condition]
        jobs = [one.job for one in asked if one.finished and one.job is not None]
        if not jobs:
            continue
        runs = [_run(store.artifacts.path(job.produced["scored"])) for job in jobs]
        layout = Layout.of(runs)
        assert layout is not None  # a job that scores has one question at least
        by_label = layout.stack([run.correct[LABEL] for run in runs])
        for scorer in (name for name in SCORERS.names() if all(name in run.correct for run in runs)):
            right = layout.stack([run.correct[scorer] for run in runs])
            same = layout.stack([run.agrees[scorer] for run in runs])
            points = tuple(float(row.mean()) for row in right)
            cells.append(
                ScorerCell(
                    condition,
                    parse(condition).label,
                    scorer,
                    str((jobs[0].result or {})["mode"]),
                    layout.accuracy(right),
                    None if scorer == LABEL else layout.mean(right - by_label),
                    layout.accuracy(same),
                    points,
                    float(np.std(points, ddof=1)) if len(points) > 1 else None,
                    layout.size,
                    layout.cluster_count,
                    len(asked),
                )
            )
    return cells


def by_scorer(cells: Sequence[ScorerCell]) -> list[ScorerRow]:
    """Accuracy, agreement and variance over restarts of every scorer, over the conditions that were asked."""
    rows = []
    for scorer in SCORERS.names():
        cells_of = [cell for cell in cells if cell.scorer == scorer]
        if not cells_of:
            continue
        spreads = [(cell.spread**2, len(cell.points) - 1) for cell in cells_of if cell.spread is not None]
        freedom = sum(df for _, df in spreads)
        summed = sum(variance * df for variance, df in spreads)
        low, high = (math.sqrt(summed / chi2_quantile(q, freedom)) for q in (0.975, 0.025)) if freedom else (None, None)
        rows.append(
            ScorerRow(
                scorer,
                len(cells_of),
                fmean(cell.accuracy.mean for cell in cells_of),
                fmean(cell.agreement.mean for cell in cells_of),
                math.sqrt(summed / freedom) if freedom else None,
                low,
                high,
                freedom,
            )
        )
    return rows


@dataclass(frozen=True)
class MarginalCell:
    """A condition whose students drew rationales of their own. log_likelihood: log mean over the draws of p(right label
    | question, rationale), nats, mean over questions and replicates with its 95 % interval; standard_error: of that
    mean, from the draws alone (None for one draw).
    """

    condition: str
    label: str
    samples: int
    seed: int
    log_likelihood: Interval
    standard_error: float | None
    replicates: int


def marginals(store: Store, requests: Sequence[ModesRequest]) -> list[MarginalCell]:
    """Every condition whose jobs drew rationales, in the order planned."""
    cells = []
    for condition in dict.fromkeys(one.condition for one in requests):
        jobs = [
            one.job
            for one in requests
            if one.condition == condition and one.finished and one.job and "marginal" in one.job.produced
        ]
        if not jobs:
            continue
        tables = [store.artifacts.table(job.produced["marginal"]).sort_values("example", kind="stable") for job in jobs]
        layout = Layout.of([Items(tuple(table["example"]), tuple(table["cluster"])) for table in tables])
        assert layout is not None  # as above
        values = layout.stack([table["log_likelihood"].to_numpy(np.float64) for table in tables])
        documents = [(job.result or {})["marginal"] for job in jobs]
        errors = [one["standard_error"] for one in documents if one["standard_error"] is not None]
        cells.append(
            MarginalCell(
                condition, parse(condition).label, int(documents[0]["samples"]), int(documents[0]["seed"]),
                layout.mean(values),
                math.sqrt(sum(error**2 for error in errors)) / len(errors) if errors else None, len(jobs),
            )
        )  # fmt: skip
    return cells


def items(store: Store, requests: Sequence[ModesRequest]) -> pd.DataFrame:
    """Every answer that was scored: condition and replicate beside the columns of look_scorers.COLUMNS."""
    import pandas as pd

    parts = [
        store.artifacts.table(one.job.produced["scored"]).assign(condition=one.condition, replicate=one.replicate)
        for one in requests
        if one.finished and one.job is not None
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

"""Accuracy of runs grouped by any of their settings, "all but the seed" to begin with.

Runs of a group are averaged within a replicate first; replicates and questions then give the interval, as for a single
condition.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cotdistill.errors import UnknownName
from cotdistill.rationales.conditions import Condition, parse
from cotdistill.results.cross_study import flattened, setting_text
from cotdistill.results.replicates import Layout, RunAnswers, run_answers
from cotdistill.statistics.intervals import Interval
from cotdistill.store.planned_runs import planned_runs
from cotdistill.store.records import Job
from cotdistill.store.store import Store

# What a condition says, as settings of their own; they come first in the list to choose from.
OF_CONDITION = (
    "condition",
    "placement",
    "transform",
    "objective",
    "rationale source",
    "token budget",
    "share of rows",
    "naive target",
    "selector",
    "k",
    "fraction",
    "unit",
)
# What names a run rather than makes it.
HIDDEN = ("task_digest", "base", "sources", "selections")
SEEDS = "seeds."


@dataclass(frozen=True)
class GroupedRun:
    """A planned run with its settings as text by name; a run that was deleted knows its condition only."""

    study: str
    condition: str
    replicate: int
    job: Job | None
    settings: Mapping[str, str]


@dataclass(frozen=True)
class RunGroup:
    """Runs that agree in the settings grouped by. values: those settings, "–" where a run does not have one. interval:
    of the accuracy, None before the first run has finished.
    """

    values: tuple[str, ...]
    planned: int
    finished: int
    replicates: int
    items: int
    interval: Interval | None


def runs(store: Store, studies: Sequence[int | str]) -> list[GroupedRun]:
    """The planned runs of the studies; a run that two of them share counts once."""
    grouped_runs: list[GroupedRun] = []
    seen: set[int] = set()
    for which in studies:
        name = store.queue.study(which).name
        for condition, replicate, job in planned_runs(store, which):
            if job is not None and job.id in seen:
                continue
            if job is not None:
                seen.add(job.id)
            config = {k: v for k, v in (job.config if job else {}).items() if k not in HIDDEN}
            settings = _of_condition(parse(condition)) | {"study": name} | flattened(config)
            grouped_runs.append(
                GroupedRun(
                    name, condition, replicate, job, {key: setting_text(value) for key, value in settings.items()}
                )
            )
    return grouped_runs


def _of_condition(condition: Condition) -> dict[str, Any]:
    values = {key: value for step in condition.steps for key, value in step.parameters}
    return {
        "condition": str(condition),
        "placement": condition.placement,
        "transform": " then ".join(step.name for step in condition.steps),
        "objective": " and ".join(one.name for one in condition.objectives),
        "rationale source": condition.source,
        "token budget": condition.tokens,
        "share of rows": condition.fraction,
        "naive target": condition.naive,
        **{name: values.get(name) for name in ("selector", "k", "fraction", "unit")},
    }


def varying(grouped_runs: Sequence[GroupedRun]) -> list[str]:
    """The settings in which the runs differ, those of the condition first, seeds last."""
    names = list(dict.fromkeys([*OF_CONDITION, *(name for run in grouped_runs for name in run.settings)]))
    differ = [name for name in names if len({run.settings.get(name, setting_text(None)) for run in grouped_runs}) > 1]
    return [name for name in differ if not name.startswith(SEEDS)] + [name for name in differ if name.startswith(SEEDS)]


def all_but_the_seed(names: Iterable[str]) -> list[str]:
    """What one groups by unless told otherwise: everything that differs, the seeds apart. What a condition's parts say,
    it says itself.
    """
    kept = [name for name in names if not name.startswith(SEEDS)]
    return [name for name in kept if "condition" not in kept or name == "condition" or name not in OF_CONDITION]


def grouped(store: Store, grouped_runs: Sequence[GroupedRun], by: Sequence[str]) -> list[RunGroup]:
    """The groups, best first, those without a result last. What is displayed of them changes nothing in them.
    UnknownName for a setting that no run has.
    """
    known = {name for run in grouped_runs for name in run.settings} | set(OF_CONDITION)
    for name in by:
        if name not in known:
            raise UnknownName("setting", name, sorted(known))
    members: dict[tuple[str, ...], list[GroupedRun]] = {}
    for run in grouped_runs:
        members.setdefault(tuple(run.settings.get(name, setting_text(None)) for name in by), []).append(run)
    groups = [_group(store, values, mine) for values, mine in members.items()]
    return sorted(groups, key=lambda g: (g.interval is None, -(g.interval.mean if g.interval else 0.0), g.values))


def _group(store: Store, values: tuple[str, ...], members: Sequence[GroupedRun]) -> RunGroup:
    answers: dict[int, list[RunAnswers]] = {}
    for run in members:
        if run.job is not None and run.job.state == "finished" and run.job.result and "predictions" in run.job.produced:
            path = store.artifacts.path(run.job.produced["predictions"])
            answers.setdefault(run.replicate, []).append(run_answers(path, str(run.job.result["mode"])))
    finished = sum(map(len, answers.values()))
    layout = Layout.of([answers[index][0] for index in sorted(answers)])
    if layout is None:
        return RunGroup(values, len(members), 0, 0, 0, None)
    if any(run.items != runs[0].items for runs in answers.values() for run in runs):
        share = float(np.mean([run.correct.mean() for index in sorted(answers) for run in answers[index]]))
        reason = "its runs answered different questions, so they have no interval in common"
        interval = Interval(share, None, None, None, None, "none", reason)
        return RunGroup(values, len(members), finished, len(answers), 0, interval)
    right = np.stack([layout.stack([run.correct for run in answers[index]]).mean(0) for index in sorted(answers)])
    # Wilson's interval is for shares of right answers; means of several runs lie between.
    alone = len(answers) == 1 and finished > 1
    interval = layout.mean(right) if alone else layout.accuracy(right)
    return RunGroup(values, len(members), finished, len(answers), layout.size, interval)

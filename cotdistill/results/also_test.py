"""What the students of a study answer on a second task, over replicates and questions. Exploratory and never judged:
intervals, and no words.
"""

from __future__ import annotations

from dataclasses import dataclass

from cotdistill.rationales.conditions import parse
from cotdistill.results.replicates import Layout, RunAnswers, run_answers
from cotdistill.statistics.intervals import Interval
from cotdistill.store.records import Study
from cotdistill.store.store import Store


@dataclass(frozen=True)
class AlsoTestedRow:
    """One condition on the second task."""

    id: str  # canonical form of the condition
    label: str  # its name for people
    planned: int  # replicates planned
    finished: int  # replicates scored on the second task
    accuracy: float | None  # mean over replicates, a share
    low: float | None  # lower end of its 95 % interval
    high: float | None  # upper end
    replicates: tuple[float, ...]  # accuracy of each replicate
    points: float | None  # paired difference to the baseline in points; None for the baseline itself
    points_low: float | None  # lower end of its 95 % interval
    points_high: float | None  # upper end


@dataclass(frozen=True)
class AlsoTested:
    """The conditions of a study on its second task, in the order planned."""

    task: str  # the second task, as the study names it
    baseline: str  # the condition that differences are taken to
    questions: int  # test questions; 0 before the first student was scored
    clusters: int  # independent groups of them
    chance: float | None  # accuracy of guessing
    trained_on: int  # questions that stand word for word in the students' training split, the most over worlds
    speaks_of: str  # what the intervals generalise to
    missing: int  # planned students that have not been scored
    conditions: tuple[AlsoTestedRow, ...]


def also_tested(store: Store, study: Study, baseline: str) -> AlsoTested | None:
    """The second task of a study; None for a study without one."""
    members = [member for member in study.members if member.role == "also"]
    if not members:
        return None
    jobs = {job.id: job for job in store.queue.jobs(study=study.id)}
    planned: dict[str, int] = {}
    answers: dict[str, dict[int, RunAnswers]] = {}
    results = []
    for member in members:
        planned[member.condition] = planned.get(member.condition, 0) + 1
        job = jobs.get(member.job_id)
        if job is not None and job.state == "finished" and job.result and "predictions" in job.produced:
            results.append(job.result)
            path = store.artifacts.path(job.produced["predictions"])
            answers.setdefault(member.condition, {})[member.replicate] = run_answers(path, str(job.result["mode"]))
    rows, layouts, intervals = [], [], []
    for condition, replicates in planned.items():
        answered = answers.get(condition, {})
        layout = Layout.of(list(answered.values()))
        accuracy = difference = None
        if layout is not None:
            correct = layout.stack([run.correct for run in answered.values()])
            accuracy = layout.accuracy(correct)
            if condition != baseline:
                difference = _difference(answered, answers.get(baseline, {}))
            layouts.append(layout)
            intervals.append(accuracy)
        rows.append(
            AlsoTestedRow(
                condition,
                parse(condition).label,
                replicates,
                len(answered),
                *_ends(accuracy),
                tuple(float(run.correct.mean()) for run in answered.values()),
                *(None if end is None else 100 * end for end in _ends(difference)),
            )
        )
    return AlsoTested(
        str(study.spec.get("also_test") or ""),
        baseline,
        layouts[0].size if layouts else 0,
        layouts[0].cluster_count if layouts else 0,
        float(results[0]["chance"]) if results else None,
        max((int(result["trained_on"]) for result in results), default=0),
        intervals[0].speaks_of if intervals else "",
        len(members) - len(results),
        tuple(rows),
    )


def _difference(first: dict[int, RunAnswers], second: dict[int, RunAnswers]) -> Interval | None:
    """The paired difference over the replicates that both conditions have; None without any."""
    both = sorted(set(first) & set(second))
    layout = Layout.of([first[replicate] for replicate in both])
    if layout is None:
        return None
    ours, theirs = (layout.stack([runs[replicate].correct for replicate in both]) for runs in (first, second))
    return layout.mean(ours - theirs)


def _ends(interval: Interval | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if interval is None else (interval.mean, interval.low, interval.high)

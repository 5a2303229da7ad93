"""The student as the next round's teacher (Referee, arXiv 2210.13800): what it wrote about the training questions,
filtered, becomes a rationale source, and the next students are trained on it. Each source notes who wrote it and from
whom that student had learnt: the lineage can be followed back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from cotdistill.config import plain
from cotdistill.errors import NotFound, UsageError
from cotdistill.rationales.conditions import Condition, parse
from cotdistill.results import results
from cotdistill.results.results import ConditionSummary
from cotdistill.statistics.intervals import Interval
from cotdistill.store.planned_runs import planned_runs
from cotdistill.store.records import Job, JobSpec, Study
from cotdistill.store.store import Store
from cotdistill.studies.analysis import START_SECONDS, WRITTEN_PASSES, student_seconds
from cotdistill.studies.inspection_jobs import modes_of, source_of, task_of
from cotdistill.studies.spec import StudySpec, spec_from_mapping
from cotdistill.tasks.added import reopened, source_info
from cotdistill.tasks.task import Task
from cotdistill.teachers.answers import TeacherAnswer
from cotdistill.teachers.filters import Counted, apply, parse_filters
from cotdistill.teachers.sources import add

# Consistency with the label, no cut ends, and what tells nothing of the label goes.
FILTERS = "agrees,truncated,length(low=3,high=80),bottleneck"
MOST_ROUNDS = 8


@dataclass(frozen=True)
class WriteConfig:
    """One trained student, asked for a rationale of every training question. run: identity of its training job."""

    run: str

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> WriteConfig:
        """The config of a job, as the store holds it."""
        return cls(**values)


@dataclass(frozen=True)
class Round:
    """A source that a student wrote. number: from 1; source: its full name; writer: identity of the run that trained
    the student, condition: its own, parent: whose rationales it had learnt from; study: where it was trained; written,
    kept: rationales before and after the filters."""

    number: int
    source: str
    writer: str
    condition: str
    parent: str
    study: str
    filters: str
    written: int
    kept: int
    words: float
    gain: float


def base_condition(study: Study, text: str) -> Condition:
    """The condition whose students write; UsageError for one that is not in the study, or whose students were not
    trained to write a rationale.
    """
    condition = parse(text)
    if str(condition) not in [str(one) for one in study.spec["conditions"]]:
        raise UsageError(
            f"The study {study.name!r} has no condition {condition}.",
            f"It has {', '.join(map(str, study.spec['conditions']))}.",
        )
    if "own" not in modes_of(str(condition)):
        raise UsageError(
            f"Students of {condition} are not trained to write a rationale before the answer.", "Use pre_cot or mixed."
        )
    if condition.source or condition.tokens:
        raise UsageError(
            f"{condition} names a source or a token budget of its own.",
            "Start the rounds from the condition without it.",
        )
    spec = spec_from_mapping(study.spec)
    if (spec.worlds or 1) > 1:
        raise UsageError(
            "Replicates in worlds of their own have no rationales in common.",
            "Fix the world: --set fixed_seeds.world=0",
        )
    return condition


def writer(store: Store, study: int | str, condition: str) -> Job:
    """The student that writes for all: the finished run of a condition with the lowest replicate number. NotFound where
    none has finished.
    """
    runs = [
        (replicate, job)
        for name, replicate, job in planned_runs(store, study)
        if name == condition and job and job.state == "finished"
    ]
    if not runs:
        raise NotFound(f"No run of {condition} has finished in this study.", "Wait for it: cotdistill runs list")
    return min(runs, key=lambda run: run[0])[1]


def write_job(store: Store, job: Job) -> JobSpec:
    """The job that asks a finished student for rationales of all training questions."""
    rows = len(task_of(store, job).examples("train"))
    seconds = START_SECONDS + student_seconds(job, rows * (2 + WRITTEN_PASSES))
    return JobSpec(
        "write", plain(WriteConfig(job.identity)), (job.identity,), f"rationales of its own · {job.label}", seconds
    )


def add_round(
    store: Store, written: Job, number: int, study: str, filters: str, name: str
) -> tuple[Round, list[Counted]]:
    """Filter what a student wrote and make it a source of its task. NoRationale where nothing stays."""
    teacher = store.queue.job(str(written.config["run"]))
    task = task_of(store, teacher)
    examples = {example.id: example for example in task.examples("train")}
    rows = store.artifacts.table(written.produced["written"]).to_dict("records")
    answers = [
        TeacherAnswer(
            examples[r["id"]], str(r["text"]), str(r["answer"]), finish=str(r["finish"]), gain=float(r["gain"])
        )
        for r in rows
    ]
    chosen = parse_filters(filters)
    left, counted = apply(answers, chosen)
    origin = {
        "kind": "round",
        "round": number,
        "writer": teacher.identity,
        "condition": str(teacher.config["condition"]),
        "parent": source_of(teacher),
        "study": study,
        "filters": ",".join(map(str, chosen)),
        "written": len(answers),
        "kept": len(left),
        "words": fmean(len(one.shown.split()) for one in left) if left else 0.0,
        "gain": fmean(one.gain or 0.0 for one in left) if left else 0.0,
    }
    source = add(task, name, left, origin=origin)
    return _round(source, origin), counted


def _round(source: str, origin: Mapping[str, Any]) -> Round:
    return Round(
        int(origin["round"]),
        source,
        str(origin["writer"]),
        str(origin["condition"]),
        str(origin["parent"]),
        str(origin["study"]),
        str(origin["filters"]),
        int(origin["written"]),
        int(origin["kept"]),
        float(origin["words"]),
        float(origin["gain"]),
    )


def next_spec(study: Study, condition: Condition, sources: Sequence[str]) -> StudySpec:
    """The study of a round: the teacher's own rationales and those of every round so far, on the rows that all of them
    speak about.
    """
    conditions = (str(condition), *(str(from_source(condition, source)) for source in sources))
    spec = spec_from_mapping(study.spec)
    title = f"{spec.title or study.name} (round {len(sources)})"
    return dataclasses.replace(
        spec, name=round_name(study.name, len(sources)), title=title, conditions=conditions, baseline=str(condition)
    )


def from_source(condition: Condition, source: str) -> Condition:
    """A condition with the rationales of a source."""
    return dataclasses.replace(condition, source=source)


def round_name(study: str, number: int) -> str:
    """The name of the study in which students learn from round `number`."""
    return f"{study}-round{number}"


def lineage(task: Task, source: str) -> list[Round]:
    """From a source back to the first round, oldest first; empty for one that no student wrote."""
    rounds: list[Round] = []
    while source in task.added and source not in [one.source for one in rounds]:
        origin = source_info(task, source)["origin"]
        if origin.get("kind") != "round":
            break
        rounds.append(_round(source, origin))
        source = rounds[-1].parent
    return rounds[::-1]


@dataclass(frozen=True)
class Generation:
    """One generation of students in the last study of the rounds: those that learnt from the teacher (made None), or
    from a round. over_teacher: paired difference to the first, a share; None for themselves and where there is nothing
    to pair."""

    round: Round | None
    summary: ConditionSummary
    over_teacher: Interval | None


def last_round(store: Store, name: str) -> Study:
    """The newest study of the last round that a study has had; NotFound where there is none."""
    names = {round_name(name, number): number for number in range(1, MOST_ROUNDS + 1)}
    latest = max(
        (study for study in store.queue.studies() if study.name in names),
        key=lambda study: (names[study.name], study.id),
        default=None,
    )
    if latest is None:
        raise NotFound(f"The study {name!r} has had no round yet.", f"Begin: cotdistill rounds run {name}")
    return latest


def generations(store: Store, study: int | str) -> list[Generation]:
    """The generations of students in a study, those of its own source first; empty for a study in which none learnt
    from another student.
    """
    planned = planned_runs(store, study)
    known = next((job for _, _, job in planned if job is not None and job.kind == "train"), None)
    # Most studies have nothing of the kind, and to summarise one takes a while.
    if known is None or not any(parse(name).source for name in {name for name, _, _ in planned}):
        return []
    summaries = [one for one in results.summary(store, study) if parse(one.condition).spec.uses_rationale]
    task = reopened(task_of(store, known))
    by_condition = {one.condition: lineage(task, parse(one.condition).source) for one in summaries}
    first = next((one for one in by_condition if not parse(one).source), None)
    rows = []
    for one in summaries:
        if one.condition == first or by_condition[one.condition]:
            over = results.difference(store, study, one.condition, first) if first and one.condition != first else None
            rows.append(
                Generation(
                    by_condition[one.condition][-1] if by_condition[one.condition] else None,
                    one,
                    over[0] if over else None,
                )
            )
    return rows if any(by_condition.values()) else []

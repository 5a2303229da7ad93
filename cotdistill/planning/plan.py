"""From a study to its runs: jobs with identities, what is already done, cost, memory, checks. Trains nothing and
imports no torch.
"""

from __future__ import annotations

import dataclasses
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cotdistill.config import RunConfig, Seeds, StudentConfig, TrainingConfig, from_mapping, plain
from cotdistill.errors import NoRationale, SequenceTooLong, StoreError, StudentError, UnknownName, UsageError
from cotdistill.planning import memory_fit
from cotdistill.planning.cost import FLOPS_PER_SECOND, SECONDS_AROUND, Costs, measured
from cotdistill.planning.memory_fit import Fit
from cotdistill.planning.noise import detectable_effect
from cotdistill.rationales.conditions import Condition
from cotdistill.store.memory_shortage import made_smaller
from cotdistill.store.records import JobSpec, StudyDraft, Submission
from cotdistill.store.store import Store
from cotdistill.students.files import check_processes, checked_student, remarks
from cotdistill.students.models import is_built_in
from cotdistill.students.suited import suited_notes
from cotdistill.studies.also_test import AlsoTestConfig, SecondTest, second_test
from cotdistill.studies.also_test import remarks as remarks_of_second_test
from cotdistill.studies.inputs import reader_of, select_job
from cotdistill.studies.spec import StudySpec
from cotdistill.tasks.answer_kinds import needs_terminator, nested_choices
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.example import CHOICE
from cotdistill.tasks.task import Task
from cotdistill.tasks.views import read_view
from cotdistill.text import plural, size

# Of the shared base: peak learning rate, and tokens of a document for the estimate of its time.
BASE_LR = 4e-3
DOCUMENT_TOKENS = 24.0
# Checkpoints of a study that take less are not worth a line.
SAID_BYTES = 1e9
# Ids of rows that a hint names.
SAID_ROWS = 10


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan. state: "new", or the state of the job of the same identity that the store holds already."""

    condition: Condition
    replicate: int
    job: JobSpec
    state: str


@dataclass(frozen=True)
class Plan:
    """A study as it would be launched. inputs: selections of key tokens, and the students they are read from where
    these are no runs of the study. seconds: (low, high) wall time of what is new, on `workers` processes.

    fit: the memory of the largest run, and what this machine has. effect: smallest true difference in points that would
    be found in four of five such studies, and the chance of showing "no worse" at none (keys of
    `statistics.power.foretold`). rows_at: training rows of the conditions that see a share of them only.
    """

    spec: StudySpec
    plan_hash: str
    runs: tuple[PlannedRun, ...]
    bases: tuple[PlannedRun, ...]
    inputs: tuple[PlannedRun, ...]
    seconds: tuple[float, float]
    fit: Fit
    checks: tuple[str, ...]
    effect: Mapping[str, float | str | None]
    train_rows: int
    rows_at: Mapping[float, int]
    excluded_rows: int
    test_items: int
    #: Why runs of this plan would fail: one sentence per condition with rows that are too long for the student.
    too_long: tuple[str, ...] = ()
    #: The ids of those rows: left out of every condition (`StudySpec.left_out`), the others can be trained on.
    too_long_rows: tuple[str, ...] = ()
    #: The jobs that score the same students on a second task, where the study names one.
    also: tuple[PlannedRun, ...] = ()
    #: Questions of that task.
    also_items: int = 0
    #: Bytes of the weights that the runs not yet finished will keep; 0 while the sizes of the student are unknown.
    disk: float = 0.0

    @property
    def new(self) -> int:
        return sum(run.state == "new" for run in self.runs)


def plan(store: Store, spec: StudySpec) -> Plan:
    """Every run of the study with its identity; tasks are generated or opened, nothing is trained. UsageError or
    DataError if it cannot be run.
    """
    if spec.answers:
        raise UsageError(
            f"The study {spec.name!r} is made of answers from {spec.answers}: there is nothing to train.",
            "Start a study of your own from a task.",
        )
    check_processes(spec.training.processes)
    spec = dataclasses.replace(spec, student=checked_student(spec.student))
    if not is_built_in(spec.student.name) and "undistilled" not in spec.conditions:
        # What a pretrained student knows by itself stands beside what it learns.
        spec = dataclasses.replace(spec, conditions=("undistilled", *spec.conditions))
    known, smaller = store.queue.states(), made_smaller(store.queue)
    runs: list[PlannedRun] = []
    bases: dict[str, PlannedRun] = {}
    inputs: dict[str, PlannedRun] = {}
    checks = [*remarks(spec.student), *suited_notes(spec.student, spec.training)]
    costs: Costs | None = None
    fit: Fit
    also: list[PlannedRun] = []
    second_tests: dict[int, SecondTest] = {}
    for replicate in range(spec.replicates):
        seeds = spec.seeds(replicate)
        task = open_task(store.tasks_root, spec.task, world=seeds.world, settings=spec.task_settings or None)
        run = _run_config(spec, task, replicate)
        if costs is None:
            spec, run = _terminated(spec, run, task, checks)
            costs = measured(task, run, spec, checks)
            asked = spec.training
            # Before anything is hashed: the micro-batch is part of a run's identity.
            spec = dataclasses.replace(spec, training=memory_fit.settled(costs, asked, store.queue.workers()))
            run = dataclasses.replace(run, training=spec.training)
            fit = memory_fit.fit(costs, spec.training, store.queue.workers())
            checks += memory_fit.checks(costs, asked, spec.training, fit)
        base = _base_job(spec, run, task, costs)
        if base is not None:
            bases.setdefault(
                base.identity, PlannedRun(Condition("undistilled"), replicate, base, known.get(base.identity, "new"))
            )
        per_replicate = _Replicate(
            replicate, run, base, costs, spec.training, known, smaller, spec.tuned, first_seeds=spec.seeds(0)
        )
        for condition in costs.conditions:
            identities: dict[str, str] = {}
            for selector in condition.selectors:
                reader = reader_of(selector, condition)
                read = per_replicate.trained(reader, {}) if reader else None
                if read is not None:
                    inputs.setdefault(read.job.identity, read)
                seconds = costs.selecting(selector) * condition.fraction
                job = select_job(
                    store,
                    selector,
                    run,
                    condition.reads(run.source),
                    read.job.identity if read else "",
                    seconds,
                    condition.fraction,
                )
                inputs.setdefault(
                    job.identity,
                    PlannedRun(reader or Condition("undistilled"), replicate, job, known.get(job.identity, "new")),
                )
                identities[selector] = job.identity
            runs.append(per_replicate.trained(condition, identities))
        if spec.also_test:
            world = run.seeds.world
            if world not in second_tests:
                run_read = dataclasses.replace(run, condition=str(costs.conditions[0]))
                second_tests[world] = second_test(
                    store.tasks_root, task, run_read, spec.also_test, costs.shape.positions
                )
                checks += remarks_of_second_test(second_tests[world], spec.also_test)
            also += [
                _also(spec.also_test, second_tests[world], trained, costs, known)
                for trained in runs
                if trained.replicate == replicate
            ]
    assert costs is not None  # replicates is at least 1
    for one in runs:
        inputs.pop(one.job.identity, None)
    if halved := sum(run.job.config["training"]["micro_batch"] != spec.training.micro_batch for run in runs):
        checks.append(
            f"{halved} of {len(runs)} runs have a smaller micro-batch than the others, since they ran out of memory."
        )
    unfinished = sum(run.state != "finished" and bool(run.condition.spec.sequences) for run in runs)
    disk = unfinished * costs.kept_bytes(spec.training) if costs.known else 0.0
    if disk >= SAID_BYTES:
        checks.append(f"The checkpoints of {unfinished} runs will take {size(disk)} of disk.")
    jobs = {r.job.identity: r for r in (*runs, *bases.values(), *inputs.values(), *also)}
    waiting = sum(entry.job.seconds for entry in jobs.values() if entry.state != "finished")
    wall = waiting / max(1, store.queue.workers()) * _speed(store)
    return Plan(
        spec=spec,
        plan_hash=spec.plan_hash,
        runs=tuple(runs),
        bases=tuple(bases.values()),
        inputs=tuple(inputs.values()),
        seconds=(0.7 * wall, 1.6 * wall),
        fit=fit,
        checks=tuple(dict.fromkeys(checks)),
        effect=detectable_effect(store, spec, costs.test_items, costs.test_clusters),
        train_rows=costs.train_rows,
        rows_at=costs.rows_at,
        excluded_rows=costs.excluded_rows,
        test_items=costs.test_items,
        too_long=costs.too_long,
        too_long_rows=costs.too_long_rows,
        also=tuple(also),
        also_items=max((len(second.examples) for second in second_tests.values()), default=0),
        disk=disk,
    )


def launch(store: Store, planned: Plan) -> Submission:
    """Put the runs of a plan into the queue, in one transaction; what is done already is reused.

    StoreError if the checkpoints would not fit the store's budget or its disk.
    SequenceTooLong if training rows are longer than the student reads and are not to be truncated, since every run
    would fail; and if questions of test or dev are.
    """
    if planned.too_long and planned.new:
        rows = planned.too_long_rows
        left_out = f"Leave {plural(len(rows), 'row')} out of every condition: {leave_out(rows)}. " if rows else ""
        raise SequenceTooLong(
            " ".join(planned.too_long),
            f"{left_out}Shorten them (--set student.truncate=question; of training rows also"
            " student.truncate=rationale), or choose a student that reads more.",
        )
    if planned.disk > (room := store.room):
        raise StoreError(
            f"The checkpoints of this study will take {size(planned.disk)}; the store has room for {size(room)}.",
            "Keep fewer (--set training.checkpoints=1), make room (cotdistill store gc), or raise the limit: cotdistill"
            " store budget --max SIZE",
        )
    members = [(run.job.identity, str(run.condition), run.replicate, "run") for run in planned.runs]
    members += [(base.job.identity, "", base.replicate, "base") for base in planned.bases]
    members += [(entry.job.identity, "", entry.replicate, "input") for entry in planned.inputs]
    members += [(one.job.identity, str(one.condition), one.replicate, "also") for one in planned.also]
    draft = StudyDraft(
        name=planned.spec.name, spec=plain(planned.spec), plan_hash=planned.plan_hash, members=tuple(members)
    )
    # What is needed comes first: bases, then students that are read, then the selections, then the runs that use them.
    inputs = sorted(planned.inputs, key=lambda entry: entry.job.kind == "select")
    reading = {entry.job.identity for entry in planned.inputs}
    used = {need for entry in planned.inputs for need in entry.job.needs} - reading
    first = [run.job for run in planned.runs if run.job.identity in used]
    rest = [run.job for run in planned.runs if run.job.identity not in used]
    also = [one.job for one in planned.also]
    return store.queue.submit(
        [*(base.job for base in planned.bases), *first, *(entry.job for entry in inputs), *rest, *also], study=draft
    )


def leave_out(rows: Sequence[str]) -> str:
    """The option that leaves training rows out of a study, with the first of their ids where they are many."""
    return "--set " + shlex.quote(f"left_out={','.join(rows[:SAID_ROWS])}{',…' if len(rows) > SAID_ROWS else ''}")


@dataclass(frozen=True)
class _Replicate:
    """One replicate of a study: what all its runs share."""

    number: int
    run: RunConfig
    base: JobSpec | None
    costs: Costs
    training: TrainingConfig
    known: Mapping[str, str]
    smaller: Mapping[str, int]
    tuned: Mapping[str, Mapping[str, Any]]
    first_seeds: Seeds

    def trained(self, condition: Condition, identities: Mapping[str, str]) -> PlannedRun:
        """The run of a condition; made: the identity of the job that makes each selection it reads."""
        needs = (self.base.identity,) if self.base else ()
        training = self.run.training
        if settings := self.tuned.get(str(condition)):
            training = from_mapping(TrainingConfig, {**plain(training), **settings})
        base = needs[0] if needs else ""
        config = dataclasses.replace(
            self.run, condition=str(condition), base=base, selections=identities, training=training
        )
        if _is_seedless(condition, self.run.student):
            config = dataclasses.replace(config, seeds=self.first_seeds)
        replicate = "every replicate" if config.seeds is not self.run.seeds else f"replicate {self.number}"
        label = f"{self.run.task} · {condition.label} · {replicate}"
        seconds = self.costs.seconds(condition, self.training)
        job = JobSpec("train", config.job_config(), (*needs, *dict.fromkeys(identities.values())), label, seconds)
        while (size := self.smaller.get(job.identity)) is not None:
            config = dataclasses.replace(config, training=dataclasses.replace(config.training, micro_batch=size))
            job = dataclasses.replace(job, config=config.job_config())
        return PlannedRun(condition, self.number, job, self.known.get(job.identity, "new"))


def _is_seedless(condition: Condition, student: StudentConfig) -> bool:
    """Whether a run draws nothing: a pretrained student that is scored as it is. One job serves all replicates."""
    drawn = is_built_in(student.name) or student.lora_rank or student.resize
    return not drawn and not condition.spec.sequences


def _run_config(spec: StudySpec, task: Task, replicate: int) -> RunConfig:
    source = spec.source or task.default_source
    conditions = spec.parsed()
    uses = any(condition.reads_source for condition in conditions)
    views = [c.reads(source) for c in conditions if c.reads_source or c.source]
    wanted = dict.fromkeys([source, *views]) if uses else {}
    if uses and not source:
        raise NoRationale(
            f"The task {task.name!r} has no rationales;"
            f" {', '.join(str(c) for c in conditions if c.reads_source)} need them.",
            "Import it with rationales, or compare label_only alone.",
        )
    for name in [name for view in wanted for name in read_view(view).names]:
        if name not in task.sources:
            raise UnknownName(f"rationale source of {task.name}", name, task.sources)
    tokenizer = task.tokenizer_kind if spec.tokenizer == "auto" else spec.tokenizer
    return RunConfig(
        task=task.name if not task.artificial else spec.task,
        task_digest=task.digest,
        condition="",
        task_settings=dict(spec.task_settings),
        source=source if uses else task.default_source,
        sources=tuple(wanted),
        tokenizer=tokenizer,
        student=spec.student,
        training=spec.training,
        seeds=spec.seeds(replicate),
        missing_rationale=spec.missing_rationale,
        left_out=spec.left_out,
        terminator=spec.terminator == "on",
        test_rows=spec.test_rows if spec.test_rows < len(task.examples("test")) else 0,
    )


def _check_written(spec: StudySpec, task: Task) -> None:
    """UsageError for settings and conditions that need choices where answers are written."""
    if spec.terminator == "off":
        raise UsageError(
            f"Answers of {task.name!r} are written: without a terminator no student could end one.",
            "Leave terminator at auto.",
        )
    for condition in spec.parsed():
        for name in ("margin", "counterfactual"):
            if condition.objective_parameters(name) is not None:
                raise UsageError(
                    f"{condition} needs wrong choices, and answers of {task.name!r} are written.",
                    f"Leave {name} out, or choose a task with choices.",
                )


def _also(
    reference: str, second: SecondTest, trained: PlannedRun, costs: Costs, known: Mapping[str, str]
) -> PlannedRun:
    """The job that scores the student of a run on a second task."""
    world = int(trained.job.config["seeds"]["world"]) if second.task.artificial else 0
    config = AlsoTestConfig(trained.job.identity, second.task.name, second.task.digest, world, second.settings)
    written = costs.rationale if trained.condition.spec.primary == "own" else 0
    work = len(second.examples) * costs.example(second.longest + written, costs.choices + written)
    seconds = SECONDS_AROUND + work / FLOPS_PER_SECOND["cpu"]
    label = f"also tested on {reference} · {trained.job.label}"
    job = JobSpec("also_test", plain(config), (trained.job.identity,), label, seconds)
    return PlannedRun(trained.condition, trained.replicate, job, known.get(job.identity, "new"))


def _terminated(spec: StudySpec, run: RunConfig, task: Task, checks: list[str]) -> tuple[StudySpec, RunConfig]:
    """The study and its run with answers that end in a terminator where the task needs one and nothing else is said.

    UsageError for what written answers cannot do without, or cannot have.
    """
    if task.answer_kind != CHOICE:
        _check_written(spec, task)
    if spec.terminator == "auto" and needs_terminator(task):
        spec = dataclasses.replace(spec, terminator="on")
        if task.answer_kind != CHOICE:
            checks.append(
                f"Answers are written ({task.answer_kind}): each ends in the end token. There is no chance line; an"
                " answer counts as right only where the student ends it by itself."
            )
        elif pair := nested_choices(task):
            checks.append(
                f"One choice begins another ({pair[0]!r} and {pair[1]!r}): every answer ends in the end token, which is"
                " trained and scored with it. To leave it out: --set terminator=off"
            )
    return spec, dataclasses.replace(run, terminator=spec.terminator == "on")


def _base_job(spec: StudySpec, run: RunConfig, task: Task, costs: Costs) -> JobSpec | None:
    """The shared base of a generated task: one job per world and student, whatever the conditions."""
    if not spec.base_steps:
        return None
    if not is_built_in(spec.student.name):
        raise StudentError(
            "A shared base is trained for built-in students only.", "Set base_steps to 0 for a pretrained student."
        )
    training = TrainingConfig(
        steps=spec.base_steps,
        loss="token_mean",
        evaluations=0,
        checkpoints="1",
        threads=run.training.threads,
        lr=BASE_LR,
    )
    config = dataclasses.replace(
        run, condition="label_only", source=task.default_source, sources=(), training=training,
        seeds=Seeds(world=run.seeds.world, base=run.seeds.base),
    )  # fmt: skip
    each = 2 * (costs.shape.blocks + costs.shape.width * costs.shape.vocabulary) * DOCUMENT_TOKENS
    seconds = SECONDS_AROUND + 3 * each * training.batch_size * training.steps / FLOPS_PER_SECOND["cpu"]
    return JobSpec(
        kind="base",
        config=config.job_config(),
        label=f"{task.name} · shared base · world {run.seeds.world}",
        seconds=seconds,
    )


def _speed(store: Store) -> float:
    """Measured over estimated seconds of the last finished runs of this store; 1 without any."""
    ratios = [
        job.seconds / job.estimate
        for job in store.queue.jobs(state="finished", kind="train", limit=50)
        if job.estimate and job.seconds and not job.origin
    ]
    return statistics.median(ratios) if ratios else 1.0

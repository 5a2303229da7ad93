"""From a study to its runs: jobs with identities, what is already done, cost, memory, checks. Trains nothing and imports no torch."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cotdistill.config import RunConfig, Seeds, TrainingConfig, plain
from cotdistill.errors import NoRationale, StudentError, UnknownName, UsageError
from cotdistill.keytokens.selectors import parse_selector
from cotdistill.rationales.conditions import Condition, parse
from cotdistill.rationales.passage import Corpus, units
from cotdistill.rationales.selection import Selection
from cotdistill.students.models import STUDENTS, checked_name, is_built_in
from cotdistill.students.preparation import MOST_WITHOUT_PARTNER, training_rows
from cotdistill.students.sources import tokenizer_of
from cotdistill.students.tokens import Encoder
from cotdistill.studies.inputs import reader_of, readers, select_job
from cotdistill.studies.jobs import JobSpec, StudyDraft, Submission
from cotdistill.studies.noise import detectable_effect
from cotdistill.studies.store import Store
from cotdistill.studies.study import StudySpec
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.example import Example
from cotdistill.tasks.task import Task

# Measured on one thread of a 2-core machine: operations a second of a small student, and the seconds around its steps.
FLOPS_PER_SECOND = 2.5e10
SECONDS_AROUND = 3.0
# Of the shared base: peak learning rate, and tokens of a document for the estimate of its time.
BASE_LR = 4e-3
DOCUMENT_TOKENS = 24.0
# Rows looked at for lengths; a plan must answer in seconds whatever the task's size.
SAMPLE = 300


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan. state: "new", or the state of the job of the same identity that the store holds already."""

    condition: Condition
    replicate: int
    job: JobSpec
    state: str


@dataclass(frozen=True)
class Plan:
    """A study as it would be launched. inputs: selections of key tokens, and the students they are read from where these are no runs of the
    study. seconds: (low, high) wall time of what is new, on `workers` processes.

    memory_mb: a rough peak of one run. effect: smallest true difference in points that would be found in four of five such studies, and the chance
    of showing "no worse" at none (keys of `statistics.power.foretold`). rows_at: training rows of the conditions that see a share of them only.
    """

    spec: StudySpec
    plan_hash: str
    runs: tuple[PlannedRun, ...]
    bases: tuple[PlannedRun, ...]
    inputs: tuple[PlannedRun, ...]
    seconds: tuple[float, float]
    memory_mb: float
    checks: tuple[str, ...]
    effect: Mapping[str, float | str | None]
    train_rows: int
    rows_at: Mapping[float, int]
    excluded_rows: int
    test_items: int

    @property
    def new(self) -> int:
        return sum(run.state == "new" for run in self.runs)


def plan(store: Store, spec: StudySpec) -> Plan:
    """Every run of the study with its identity; tasks are generated or opened, nothing is trained. UsageError or DataError if it cannot be run."""
    if spec.answers:
        raise UsageError(
            f"The study {spec.name!r} is made of answers from {spec.answers}: there is nothing to train.", "Start a study of your own from a task."
        )
    name = checked_name(spec.student)
    spec = dataclasses.replace(spec, student=dataclasses.replace(spec.student, name=name))
    known = store.queue.states()
    runs: list[PlannedRun] = []
    bases: dict[str, PlannedRun] = {}
    inputs: dict[str, PlannedRun] = {}
    checks: list[str] = []
    shape: _Shape | None = None
    for replicate in range(spec.replicates):
        seeds = spec.seeds(replicate)
        task = open_task(store.tasks_root, spec.task, world=seeds.world, settings=spec.task_settings or None)
        run = _run_config(spec, task, replicate)
        shape = shape or _shape(task, run, spec, checks)
        base = _base_job(spec, run, task, shape)
        if base is not None:
            bases.setdefault(base.identity, PlannedRun(Condition("undistilled"), replicate, base, known.get(base.identity, "new")))
        own = _Replicate(replicate, run, base, shape, spec.training, known)
        for condition in shape.conditions:
            made: dict[str, str] = {}
            for selector in condition.selectors:
                reader = reader_of(selector, condition.source, condition.fraction)
                read = own.trained(reader, {}) if reader else None
                if read is not None:
                    inputs.setdefault(read.job.identity, read)
                seconds = shape.selecting(selector) * condition.fraction
                job = select_job(store, selector, run, condition.source, read.job.identity if read else "", seconds, condition.fraction)
                inputs.setdefault(job.identity, PlannedRun(reader or Condition("undistilled"), replicate, job, known.get(job.identity, "new")))
                made[selector] = job.identity
            runs.append(own.trained(condition, made))
    assert shape is not None  # replicates is at least 1
    for one in runs:
        inputs.pop(one.job.identity, None)
    waiting = sum(r.job.seconds for r in (*runs, *bases.values(), *inputs.values()) if r.state != "finished")
    wall = waiting / max(1, store.queue.workers()) * _speed(store)
    return Plan(
        spec=spec,
        plan_hash=spec.plan_hash,
        runs=tuple(runs),
        bases=tuple(bases.values()),
        inputs=tuple(inputs.values()),
        seconds=(0.7 * wall, 1.6 * wall),
        memory_mb=shape.memory_mb,
        checks=tuple(dict.fromkeys(checks)),
        effect=detectable_effect(store, spec, shape.test_items, shape.test_clusters),
        train_rows=shape.train_rows,
        rows_at=shape.rows_at,
        excluded_rows=shape.excluded_rows,
        test_items=shape.test_items,
    )


def launch(store: Store, planned: Plan) -> Submission:
    """Put the runs of a plan into the queue, in one transaction; what is done already is reused."""
    members = [(run.job.identity, str(run.condition), run.replicate, "run") for run in planned.runs]
    members += [(base.job.identity, "", base.replicate, "base") for base in planned.bases]
    members += [(one.job.identity, "", one.replicate, "input") for one in planned.inputs]
    draft = StudyDraft(name=planned.spec.name, spec=plain(planned.spec), plan_hash=planned.plan_hash, members=tuple(members))
    # What is needed comes first: bases, then students that are read, then the selections, then the runs that use them.
    inputs = sorted(planned.inputs, key=lambda one: one.job.kind == "select")
    reading = {one.job.identity for one in planned.inputs}
    used = {need for one in planned.inputs for need in one.job.needs} - reading
    first = [run.job for run in planned.runs if run.job.identity in used]
    rest = [run.job for run in planned.runs if run.job.identity not in used]
    return store.queue.submit([*(base.job for base in planned.bases), *first, *(one.job for one in inputs), *rest], study=draft)


@dataclass(frozen=True)
class _Replicate:
    """One replicate of a study: what all its runs share."""

    number: int
    run: RunConfig
    base: JobSpec | None
    shape: _Shape
    training: TrainingConfig
    known: Mapping[str, str]

    def trained(self, condition: Condition, made: Mapping[str, str]) -> PlannedRun:
        """The run of a condition; made: the identity of the job that makes each selection it reads."""
        needs = (self.base.identity,) if self.base else ()
        config = dataclasses.replace(self.run, condition=str(condition), base=needs[0] if needs else "", selections=made)
        label = f"{self.run.task} · {condition.label} · replicate {self.number}"
        seconds = self.shape.seconds(condition, self.training)
        job = JobSpec("train", config.job_config(), (*needs, *dict.fromkeys(made.values())), label, seconds)
        return PlannedRun(condition, self.number, job, self.known.get(job.identity, "new"))


def _run_config(spec: StudySpec, task: Task, replicate: int) -> RunConfig:
    source = spec.source or task.default_source
    conditions = spec.parsed()
    uses = any(condition.spec.uses_rationale for condition in conditions)
    wanted = dict.fromkeys([source, *(c.source for c in conditions if c.source)]) if uses else {}
    if uses and not source:
        raise NoRationale(
            f"The task {task.name!r} has no rationales; {', '.join(str(c) for c in conditions if c.spec.uses_rationale)} need them.",
            "Import it with rationales, or compare label_only alone.",
        )
    for name in wanted:
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
    )


@dataclass(frozen=True)
class _Shape:
    """Lengths and counts of one replicate, from a sample of its rows."""

    conditions: tuple[Condition, ...]
    mean_tokens: Mapping[str, float]
    logits: Mapping[str, float]
    block_parameters: float
    width: int
    layers: int
    vocabulary: int
    train_rows: int
    rows_at: Mapping[float, int]
    excluded_rows: int
    test_items: int
    test_clusters: int
    longest: int

    def flops(self, condition: Condition, training: TrainingConfig) -> float:
        """Of all training steps: three forward passes each, as in `students.loading.forward_flops`."""
        name = condition.tokens or str(condition)
        length, logits = self.mean_tokens.get(name, 0.0), self.logits.get(name, 0.0)
        each = 2 * self.block_parameters * length + 2 * self.layers * self.width * length**2 + 2 * self.width * self.vocabulary * logits
        return 3 * each * training.batch_size * training.steps

    def selecting(self, selector: str) -> float:
        """Of a selection over all training rows: so many forward passes a row as the selector says."""
        name = next(iter(self.mean_tokens), "")
        length = max(self.mean_tokens.values(), default=0.0)
        each = 2 * self.block_parameters * length + 2 * self.width * self.vocabulary * self.logits.get(name, 1.0)
        return SECONDS_AROUND + self.train_rows * parse_selector(selector)[0].passes * each / FLOPS_PER_SECOND

    def seconds(self, condition: Condition, training: TrainingConfig) -> float:
        if not condition.spec.sequences:
            return SECONDS_AROUND
        # Scoring on test and dev costs about an epoch of forward passes; writing rationales a few times that.
        scoring = 4.0 if condition.spec.primary == "own" else 1.0
        share = self.test_items * scoring / max(1, training.steps * training.batch_size)
        return SECONDS_AROUND + self.flops(condition, training) / FLOPS_PER_SECOND * (1 + share)

    @property
    def memory_mb(self) -> float:
        return 450 + 16e-6 * (self.block_parameters + 2 * self.vocabulary * self.width) + 4e-6 * 32 * self.longest * (34 * self.width * self.layers)


def _shape(task: Task, run: RunConfig, spec: StudySpec, checks: list[str]) -> _Shape:
    conditions = tuple(spec.parsed())
    by_source = {name: task.examples("train", name or None) for name in run.sources or ("",)}
    rows = training_rows(by_source, run, 1.0)
    total = len(next(iter(by_source.values())))
    if len(rows) < total:
        lacks = ", ".join(f"{name} lacks {sum(not e.rationale for e in own)}" for name, own in by_source.items())
        each = f" by every source ({lacks})" if len(by_source) > 1 else ""
        checks.append(
            f"{total - len(rows)} of {total} training rows have no rationale{each} and leave every condition "
            f"(missing_rationale={spec.missing_rationale})."
        )
    checks += [told for name in run.sources if (told := _other_answers(task, name, by_source[name]))]
    test = task.examples("test", run.source or None)
    encoder = Encoder(tokenizer_of(task, run), task.template) if is_built_in(spec.student.name) or Path(spec.student.name).is_dir() else None
    if encoder is None:
        checks.append(f"{spec.student.name} is not on this machine yet: lengths are checked when it has been loaded.")
    mean_tokens: dict[str, float] = {}
    logits: dict[str, float] = {}
    longest = 0
    limit = spec.student.max_length or (STUDENTS.get(spec.student.name).positions if is_built_in(spec.student.name) else 10**6)
    # Selections are not made yet: every token counts the same, which gives the right lengths.
    later = {name: Selection(name) for condition in conditions for name in condition.selectors}
    corpora: dict[str, Corpus] = {}
    for condition in dict.fromkeys([*conditions, *(parse(c.tokens) for c in conditions if c.tokens), *readers(conditions)]):
        name = condition.source or run.source
        sample = [by_source[name if run.sources else ""][i] for i in rows[:: max(1, len(rows) // SAMPLE)]]
        if encoder is not None:
            corpus = corpora.setdefault(name, encoder.corpus(sample, later))
            lengths, count, over = _lengths(encoder, corpus, condition, run, limit)
            _check_k(corpus, condition, checks)
            mean_tokens[str(condition)], logits[str(condition)] = lengths, count
            longest = max(longest, over[1])
            if over[0]:
                checks.append(
                    f"{condition.label}: {over[0]} of {len(sample)} sampled sequences are longer than {limit} tokens (longest {over[1]}); "
                    + (
                        "the run would stop: set student.truncate to question or rationale."
                        if spec.student.truncate == "refuse"
                        else f"the {spec.student.truncate} is cut."
                    )
                )
        seen = training_rows(by_source, run, condition.fraction)
        _check_partners([by_source[name if run.sources else ""][i] for i in seen], condition, run, encoder, checks)
    if spec.budget == "tokens":
        longest_name = max((str(c) for c in conditions), key=lambda c: mean_tokens.get(c, 0.0))
        conditions = tuple(
            c if str(c) == longest_name or c.tokens or not c.spec.sequences else dataclasses.replace(c, tokens=longest_name) for c in conditions
        )
    at = {one: len(training_rows(by_source, run, one)) for one in sorted({c.fraction for c in conditions if c.fraction != 1}, reverse=True)}
    if few := [one for one, number in at.items() if number < spec.training.batch_size]:
        checks.append(f"{', '.join(f'{100 * one:g} %' for one in few)} of the rows are fewer than one batch of {spec.training.batch_size}.")
    if spec.replicates < 3:
        checks.append("Fewer than three replicates: intervals over seeds are wide or cannot be given.")
    entry = STUDENTS.get(spec.student.name) if is_built_in(spec.student.name) else None
    return _Shape(
        conditions=conditions,
        mean_tokens=mean_tokens,
        logits=logits,
        block_parameters=float(entry.block_parameters()) if entry else 1e8,
        width=entry.width if entry else 768,
        layers=entry.layers if entry else 12,
        vocabulary=encoder.vocabulary_size if encoder else 50_000,
        train_rows=len(rows),
        rows_at=at,
        excluded_rows=total - len(rows),
        test_items=len(test),
        test_clusters=len({e.cluster or e.id for e in test}),
        longest=longest,
    )


def _other_answers(task: Task, source: str, examples: list[Example]) -> str:
    """A teacher that was not shown the label argues for its own answer, which may be another one: kept, and said."""
    labels = task.teacher_labels(source)
    other = sum(e.id in labels and labels[e.id] != e.answer for e in examples if e.rationale)
    return f"{other} of {len(examples)} training rationales by {source} were written for another answer than the label." if other else ""


def _lengths(encoder: Encoder, corpus: Corpus, condition: Condition, run: RunConfig, limit: int) -> tuple[float, float, tuple[int, int]]:
    """Mean tokens and mean predicted tokens of an example; (number over the limit, longest)."""
    if not condition.spec.sequences or not corpus.examples:
        return 0.0, 0.0, (0, 0)
    found = [encoder.sequences(corpus, i, condition, run.seeds.transform) for i in range(len(corpus.examples))]
    longest = max(len(s) for sequences in found for s in sequences)
    over = sum(any(len(s) > limit for s in sequences) for sequences in found)
    tokens = statistics.fmean(sum(len(s) for s in sequences) for sequences in found)
    logits = statistics.fmean(sum(int((s.loss > 0).sum()) for s in sequences) for sequences in found)
    return tokens, logits, (over, longest)


def _check_k(corpus: Corpus, condition: Condition, checks: list[str]) -> None:
    """Where k is as large as a rationale, keeping the key ones changes nothing: allowed in a sweep, and said."""
    for step in condition.steps:
        values = dict(step.parameters)
        if "selector" not in values or values["k"] < 1:
            continue
        passages = [passage for passage in corpus.passages if passage]
        short = sum(len(units(passage, str(values["unit"]))) <= values["k"] for passage in passages)
        if 2 * short > len(passages):
            checks.append(
                f"{condition.label}: {short} of {len(passages)} sampled rationales have no more than {values['k']:g} {values['unit']}s, "
                "so all of them are selected."
            )


def _check_partners(examples: list[Example], condition: Condition, run: RunConfig, encoder: Encoder | None, checks: list[str]) -> None:
    for step in condition.steps:
        if step.name != "swap" or encoder is None:
            continue
        corpus = encoder.corpus(examples)
        rule = str(dict(step.parameters)["partner"])
        alone = sum(corpus.partner(i, rule, run.seeds.transform) is None for i in range(len(examples)))
        if alone:
            told = "the run would stop" if alone > MOST_WITHOUT_PARTNER * len(examples) else "they train without a rationale"
            checks.append(f"{condition.label}: {alone} of {len(examples)} rows have no partner to swap with; {told}.")


def _base_job(spec: StudySpec, run: RunConfig, task: Task, shape: _Shape) -> JobSpec | None:
    """The shared base of a generated task: one job per world and student, whatever the conditions."""
    if not spec.base_steps:
        return None
    if not is_built_in(spec.student.name):
        raise StudentError("A shared base is trained for built-in students only.", "Set base_steps to 0 for a pretrained student.")
    training = TrainingConfig(steps=spec.base_steps, loss="token_mean", evaluations=0, checkpoints="1", threads=run.training.threads, lr=BASE_LR)
    config = dataclasses.replace(
        run, condition="label_only", source=task.default_source, sources=(), training=training,
        seeds=Seeds(world=run.seeds.world, base=run.seeds.base),
    )  # fmt: skip
    each = 2 * (shape.block_parameters + shape.width * shape.vocabulary) * DOCUMENT_TOKENS
    seconds = SECONDS_AROUND + 3 * each * training.batch_size * training.steps / FLOPS_PER_SECOND
    return JobSpec(kind="base", config=config.job_config(), label=f"{task.name} · shared base · world {run.seeds.world}", seconds=seconds)


def _speed(store: Store) -> float:
    """Measured over estimated seconds of the last finished runs of this store; 1 without any."""
    ratios = [
        job.seconds / job.estimate
        for job in store.queue.jobs(state="finished", kind="train", limit=50)
        if job.estimate and job.seconds and not job.origin
    ]
    return statistics.median(ratios) if ratios else 1.0

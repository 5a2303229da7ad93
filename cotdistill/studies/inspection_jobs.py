"""Looks inside a trained student as they are asked for: plain configs, from which a job's identity comes. No torch
here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cotdistill.config import RunConfig, check, from_mapping, plain
from cotdistill.errors import NotFound, NotReadable, UnknownName, UsageError
from cotdistill.rationales.conditions import parse
from cotdistill.saliency.methods import METHODS
from cotdistill.saliency.settings import SHARES, AttributionSettings, checked_shares
from cotdistill.saliency.targets import parse_target
from cotdistill.store.records import ANSWERS, Job, JobSpec
from cotdistill.store.store import Store
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.example import Example
from cotdistill.tasks.importing.task_bundle import version_of
from cotdistill.tasks.task import SPLITS, Task

# Forward passes an explanation costs, about; measured on the built-in students, where 2,500 short passes take a second
# on one thread.
PASSES = {"integrated_gradients": 100, "gradient_shap": 50, "occlusion": 60, "attention_rollout": 4}
PASSES_PER_SECOND = 2500.0
# Importing torch and transformers.
START_SECONDS = 5.0
# What takes longer than this becomes a job.
AT_ONCE_SECONDS = 5.0


@dataclass(frozen=True)
class AttributeConfig:
    """Attributions over examples of one split by one student. run: identity of its training job; checkpoint: the share
    of its steps.
    """

    run: str
    split: str
    examples: tuple[str, ...]
    checkpoint: str = "1"
    source: str = ""
    settings: AttributionSettings = field(default_factory=AttributionSettings)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> AttributeConfig:
        """The config of a job, as the store holds it."""
        return cls(
            **{
                **values,
                "examples": tuple(values["examples"]),
                "settings": from_mapping(AttributionSettings, values["settings"]),
            }
        )


def attribute_job(job: Job, config: AttributeConfig) -> JobSpec:
    """The job of some attributions; ConfigError, UnknownName or GrammarError if the settings cannot be used."""
    check(config.settings)
    METHODS.get(config.settings.method)
    parse_target(config.settings.target)
    label = (
        f"{config.settings.method.replace('_', ' ')} of {len(config.examples):,} {config.split} examples · {job.label}"
    )
    return JobSpec("attribute", plain(config), (config.run,), label, START_SECONDS + seconds_for(config))


def seconds_for(config: AttributeConfig) -> float:
    """A guess of the compute, without the start of a process."""
    each = PASSES.get(config.settings.method, 6) * (25 if config.settings.target == "rationale" else 1)
    return len(config.examples) * each / PASSES_PER_SECOND


def trained(store: Store, run: int | str) -> Job:
    """The finished training run of a number or identity; UsageError says why it cannot be looked into."""
    job = store.queue.job(run)
    if job.kind != "train":
        raise UsageError(
            f"Run {job.id} trains no student: it is a job of kind {job.kind}.",
            "See them: cotdistill runs list",
        )
    if job.state != "finished":
        hint = (
            f"cotdistill runs log {job.id}"
            if job.state == "failed"
            else "Wait until it has finished, or choose another one."
        )
        raise UsageError(f"Run {job.id} is {job.state}, so there is no trained student to look into.", hint)
    return job


def checkpoints(job: Job) -> list[str]:
    """The shares of the steps at which a run kept its weights, rising: ["0", "0.1", ..., "1"]."""
    return sorted((role.partition("@")[2] for role in job.produced if role.startswith("weights@")), key=float)


def checked_checkpoint(job: Job, share: str) -> str:
    """A recorded share, however it is written ("1.0" is "1"); UnknownName lists those that are recorded."""
    known = checkpoints(job)
    if not known and job.origin:
        raise NotFound(
            f"Run {job.id} was imported without its weights, so nobody can look inside it here.",
            "Ask for an archive with weights (study export --weights), or train it here: cotdistill runs retry"
            f" {job.id}",
        )
    with contextlib.suppress(ValueError):
        share = f"{float(share):g}"
    if share not in known:
        raise UnknownName(f"checkpoint of run {job.id}", share, known)
    return share


def task_of(store: Store, job: Job) -> Task:
    """The task that a run was trained on, in the version it was trained on."""
    if known := version_of(store.tasks_root, str(job.config["task"]), str(job.config["task_digest"])):
        return known
    if job.kind == ANSWERS:
        raise NotFound(
            f"The task of run {job.id} is not in this store in the version that was answered.",
            "Import it: cotdistill tasks import",
        )
    run = RunConfig.from_plain(job.config)
    task = open_task(store.tasks_root, run.task, world=run.seeds.world, settings=run.task_settings or None)
    if task.digest != run.task_digest:
        task = open_task(store.tasks_root, f"{run.task}@{run.task_digest}")
    return task


def source_of(job: Job, named: str = "") -> str:
    """Whose rationales are read, as a view (`tasks.views`): the given source, else what the condition reads."""
    return named or parse(str(job.config["condition"])).reads(str(job.config.get("source") or ""))


def test_rows_of(job: Job) -> int:
    """How many test questions a run scores, the first by hashed id; 0 means all."""
    return int(job.config.get("test_rows") or 0)


def pick_examples(task: Task, split: str, wanted: str, source: str) -> list[Example]:
    """Examples as they are asked for: a number ("200": the first 200 of the split by id), ids with commas between, or a
    file with one id a line.

    UsageError, or NotFound with near matches for an id that the split does not have.
    """
    if split not in SPLITS:
        raise UnknownName("split", split, SPLITS)
    rows = sorted(example.id for example in task.examples(split, source or None))
    text = wanted.strip()
    if text.isdecimal() and text not in rows:
        return named_examples(task, split, rows[: int(text[:9])], source)
    path = Path(text)
    in_file = text not in rows and "," not in text and path.is_file()
    ids = _lines(path) if in_file else [part.strip() for part in text.split(",") if part.strip()]
    return named_examples(task, split, ids, source)


def named_examples(task: Task, split: str, ids: Sequence[str], source: str) -> list[Example]:
    """The examples of these ids, each once, in this order; NotFound with near matches for one that the split does not
    have.
    """
    rows = {example.id: example for example in task.examples(split, source or None)}
    if not ids:
        raise UsageError("No example is asked for.", "Expected a number above 0, ids, or a file with one id a line.")
    for id in ids:
        if id not in rows:
            near = UnknownName(f"example in the {split} split of {task.name}", id[:100], rows).near
            hint = f"Did you mean {' or '.join(near)}?" if near else f"For example {next(iter(rows), '')}."
            raise NotFound(f"The {split} split of {task.name!r} has no example {id[:100]!r}.", hint)
    return [rows[id] for id in dict.fromkeys(ids)]


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "Expected a text file with one id a line.") from error


def existing_job(store: Store, spec: JobSpec) -> Job | None:
    """The job of this identity, if the store has it."""
    return next((job for job in store.queue.jobs(kind=spec.kind) if job.identity == spec.identity), None)


def ids_of(examples: Sequence[Example]) -> tuple[str, ...]:
    return tuple(example.id for example in examples)


@dataclass(frozen=True)
class InfluenceConfig:
    """Training-signal alignment over examples of one split by one student at some of its checkpoints. parameters:
    "blocks" or "all"; steps: for how many tokens a real AdamW step is taken at each checkpoint, to see how well the
    ranking foretells it."""

    run: str
    split: str
    examples: tuple[str, ...]
    checkpoints: tuple[str, ...]
    parameters: str = "blocks"
    steps: int = 16

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> InfluenceConfig:
        """The config of a job, as the store holds it."""
        return cls(**{**values, "examples": tuple(values["examples"]), "checkpoints": tuple(values["checkpoints"])})


def influence_job(job: Job, config: InfluenceConfig) -> JobSpec:
    """The job of an alignment; UsageError for what cannot be aligned."""
    if config.split == "test":
        raise UsageError("Alignment is never taken on test questions.", "Choose the train split, or dev.")
    if not parse(str(job.config["condition"])).spec.uses_rationale:
        raise NotReadable(
            f"Run {job.id} was trained without rationales, so there is no rationale token to align.",
            "Choose a run with rationales.",
        )
    label = f"alignment of {len(config.examples):,} {config.split} examples · {job.label}"
    return JobSpec("influence", plain(config), (config.run,), label, START_SECONDS + aligning_seconds(config))


def aligning_seconds(config: InfluenceConfig) -> float:
    """A guess of the compute: about a twentieth of a second an example and checkpoint, and the pools and real steps of
    each checkpoint.
    """
    return len(config.checkpoints) * (0.06 * len(config.examples) + 1.0 + 0.04 * config.steps)


@dataclass(frozen=True)
class FaithfulnessConfig:
    """Whether the ranking of a method says what a student uses. orders: random orders an example that it is held
    against; shares: of the tokens that are taken away or kept."""

    run: str
    split: str
    examples: tuple[str, ...]
    checkpoint: str = "1"
    source: str = ""
    orders: int = 10
    settings: AttributionSettings = field(default_factory=AttributionSettings)
    shares: tuple[float, ...] = SHARES

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> FaithfulnessConfig:
        """The config of a job, as the store holds it."""
        settings = from_mapping(AttributionSettings, values["settings"])
        shares = tuple(values.get("shares", SHARES))  # a job queued by an older version names none
        return cls(**{**values, "examples": tuple(values["examples"]), "settings": settings, "shares": shares})


def faithfulness_job(job: Job, config: FaithfulnessConfig) -> JobSpec:
    """The job that judges a method; NotReadable for a target that is no one answer, UsageError for shares that are
    none.
    """
    check(config.settings)
    METHODS.get(config.settings.method)
    checked_shares(config.shares)
    if parse_target(config.settings.target).kind == "rationale":
        raise NotReadable(
            "Faithfulness is judged on one answer, and this target is many.", "Choose a label, a contrast or a span."
        )
    label = (
        f"faithfulness of {config.settings.method.replace('_', ' ')} on {len(config.examples):,} {config.split}"
        f" examples · {job.label}"
    )
    return JobSpec("faithfulness", plain(config), (config.run,), label, START_SECONDS + judging_seconds(config))


def judging_seconds(config: FaithfulnessConfig) -> float:
    """A guess of the compute: the attributions, two passes an order and share, and one a token."""
    passes = PASSES.get(config.settings.method, 6) + 2 * len(config.shares) * (config.orders + 1) + 40
    return len(config.examples) * passes / PASSES_PER_SECOND

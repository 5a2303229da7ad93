"""Which student and which examples an analysis is asked about, and whether the store has its job already. No torch."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from cotdistill.config import RunConfig
from cotdistill.errors import NotFound, UnknownName, UsageError
from cotdistill.rationales.conditions import parse
from cotdistill.store.records import ANSWERS, Job, JobSpec
from cotdistill.store.store import Store
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.example import Example
from cotdistill.tasks.importing.task_bundle import version_of
from cotdistill.tasks.task import SPLITS, Task

# What takes longer than this becomes a job.
AT_ONCE_SECONDS = 5.0


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


def modes_of(condition: str) -> tuple[str, ...]:
    """The modes that students of a condition were trained for; none for the undistilled."""
    spec = parse(condition).spec
    return spec.trained if spec.sequences else ()

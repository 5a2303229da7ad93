"""What a worker does for each kind of job. Compute knows no store: these functions hand it data and record what comes
back.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import PreTrainedModel

from cotdistill import __version__
from cotdistill.config import RunConfig, stable_seed
from cotdistill.errors import DataError, NoRationale, StudentError
from cotdistill.execution.context import JobContext, Outcome, as_planned
from cotdistill.execution.data_parallel import group_of
from cotdistill.execution.jobs.run_progress import WRITING, RunProgress
from cotdistill.rationales.conditions import Condition, parse
from cotdistill.rationales.counterfactual import supplied
from cotdistill.rationales.placement import MODES, Placement
from cotdistill.rationales.selection import Selection, read_selection
from cotdistill.store.artifacts import PREDICTION_TYPES, parquet
from cotdistill.store.queue import SCORED
from cotdistill.students import base as bases
from cotdistill.students.batches import Stream
from cotdistill.students.files import fingerprint
from cotdistill.students.group import ProcessGroup, joined
from cotdistill.students.loading import (
    load_student,
    parameter_count,
    positions_of,
    prepare_torch,
    read_tensors,
    save_weights,
    set_weights,
)
from cotdistill.students.objectives.base import Setup
from cotdistill.students.objectives.combined import Objectives
from cotdistill.students.preparation import Prepared, prepare
from cotdistill.students.scoring.evaluation import WRITTEN_COLUMNS, Prediction, accuracy, primary_metric, score
from cotdistill.students.scoring.following import followed
from cotdistill.students.scoring.progress import ScoringProgress
from cotdistill.students.sources import encoder_of
from cotdistill.students.tokens import Encoder
from cotdistill.students.training import Hooks, Log
from cotdistill.students.training import train as train_student
from cotdistill.tasks.example import Argued, Example
from cotdistill.tasks.splits import first_by_hash
from cotdistill.tasks.task import Task


def _task(context: JobContext, run: RunConfig) -> Task:
    task = context.task(run.task, run.seeds.world, run.task_settings)
    return as_planned(task, run.task, run.task_digest, "this run")


def _device(name: str, rank: int) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise StudentError(
            f"training.device is cuda, and this torch ({torch.__version__}) sees no GPU.",
            "Set training.device to cpu, or install a CUDA build of torch and the driver: cotdistill doctor",
        )
    return torch.device(name, rank) if name == "cuda" else torch.device(name)


def _versions() -> dict[str, str]:
    versions = {name: version(name) for name in ("torch", "transformers", "tokenizers")}
    # A clone need not be installed.
    return versions | {"cotdistill": __version__, "python": platform.python_version()}


def base(context: JobContext) -> Outcome:
    """Train the shared base of a generated task on its documents. Produces "weights"."""
    run = RunConfig.from_plain(context.config)
    task = _task(context, run)
    prepare_torch(run.training.threads, run.training.deterministic)
    encoder = encoder_of(task, run)
    rows = bases.document_rows(encoder, task.base_documents())
    if not rows:
        raise DataError(
            f"The task {task.name!r} has no documents to train a base on.", "Plan the study without a base."
        )
    model = load_student(run.student, encoder.vocabulary_size, stable_seed("base", run.seeds.base))
    stream = Stream([len(row.ids) for row in rows], run.training.batch_size, run.seeds.base)
    log = train_student(
        model,
        lambda index, epoch: [rows[index]],
        stream,
        run.training,
        steps=run.training.steps,
        pad=encoder.specials.pad,
        hooks=Hooks(
            report=RunProgress(context, run.training.steps, run.training.batch_size, 0).trained, log=context.log
        ),
        resume=context.resume_file,
        identity=context.identity,
    )
    produced = {"weights": _kept(context, model, run), "curve": _curve(context, log)}
    return Outcome({**_cost(log, model), "documents": len(rows), "versions": _versions()}, produced, {})


@dataclass(frozen=True)
class _Start:
    """A run's student and what it is trained on, before its first step. known: the fingerprint of a pretrained student;
    used: inputs by role.
    """

    task: Task
    encoder: Encoder
    model: PreTrainedModel
    prepared: Prepared
    known: str
    used: dict[str, str]


def _start(context: JobContext, run: RunConfig) -> _Start:
    task = _task(context, run)
    prepare_torch(run.training.threads, run.training.deterministic)
    encoder = encoder_of(task, run)
    model = load_student(run.student, encoder.vocabulary_size, stable_seed("init", run.seeds.init))
    known = fingerprint(run.student)
    used = {"task": task.digest}
    if run.base:
        path = context.produced(run.base, "weights")
        used["base"] = path.stem
        set_weights(model, read_tensors(path)[0])
        bases.redraw_unseen(
            model, bases.document_rows(encoder, task.base_documents()), stable_seed("init", run.seeds.init)
        )
    selections = {}
    for name, identity in run.selections.items():
        path = context.produced(identity, "selection")
        selections[name] = read_selection(path, name)
        used[f"selection:{name}"] = path.stem
    return _Start(task, encoder, model, laid_out(task, encoder, run, positions_of(model), selections), known, used)


def laid_out(
    task: Task, encoder: Encoder, run: RunConfig, positions: int, selections: Mapping[str, Selection] | None = None
) -> Prepared:
    """What a run is trained on, with what the counterfactual objective needs: for the run's own condition, and for the
    one that its token budget names. See `prepare`."""
    condition = parse(run.condition)
    rows = {name: task.examples("train", name or None) for name in run.sources or ("",)}

    def read_by(condition_read: Condition) -> dict[str, list[Example]]:
        source = condition_read.reads(run.source) if run.sources else ""
        return {**rows, source: supplied(task, rows[source], condition_read, source)}

    return prepare(
        encoder,
        read_by(condition),
        run,
        positions,
        selections,
        read_by(parse(condition.tokens)) if condition.tokens else None,
    )


def _trained(context: JobContext, run: RunConfig, start: _Start, group: ProcessGroup, hooks: Hooks) -> Log:
    start.model.to(_device(run.training.device, group.rank))  # type: ignore[arg-type]
    return train_student(
        start.model, start.prepared.training_set.rows, start.prepared.stream, run.training,
        steps=start.prepared.steps, pad=start.encoder.specials.pad, hooks=hooks, resume=context.resume_file,
        # Adapters would go on beside other weights if the student's folder had changed meanwhile.
        identity=context.identity + start.known, group=group, objectives=_objectives(run, start),
    )  # fmt: skip


def _objectives(run: RunConfig, start: _Start) -> Objectives:
    training_set = start.prepared.training_set
    return Objectives(
        training_set.condition.objectives,
        Setup(
            start.model,
            training_set,
            seed=run.seeds.order,
            limit=start.prepared.facts.longest_rationale + len(start.encoder.label_cue),
            metric=primary_metric(start.encoder, training_set.examples),
        ),
    )


def accompany(context: JobContext, rank: int, port: int) -> None:
    """Take a share of every step of a run whose first process reports, scores and keeps; see `companion`."""
    run = RunConfig.from_plain(context.config)
    start = _start(context, run)
    with joined(rank, run.training.processes, port, run.training.device) as group:
        _trained(context, run, start, group, Hooks(report=lambda log, values: None))


def train(context: JobContext) -> Outcome:
    """Train one student under one condition and score it on test. Produces "predictions", "curve" and
    "weights@SHARE".
    """
    run = RunConfig.from_plain(context.config)
    trains = run.training.steps and parse(run.condition).spec.sequences
    with group_of(context, run.training.processes if trains else 1, run.training.device) as group:
        return _train(context, run, group)


def _train(context: JobContext, run: RunConfig, group: ProcessGroup) -> Outcome:
    context.report(0, run.training.steps, phase="loading")
    start = _start(context, run)
    task, encoder, model, prepared = start.task, start.encoder, start.model, start.prepared
    condition = parse(run.condition)
    every = task.examples("test", run.source or None)
    test = first_by_hash(every, run.test_rows)
    dev = sorted(task.examples("dev", run.source or None), key=lambda e: stable_seed("dev", e.id))[
        : run.training.dev_examples or None
    ]
    metric = primary_metric(encoder, test)
    placement = condition.spec
    limit = prepared.facts.longest_rationale + len(encoder.label_cue)

    modes = [mode for mode in MODES if _asked(placement, mode, test)]
    on_dev = (run.training.evaluations if prepared.steps else 0) + 1
    questions = len(dev) * on_dev * _weight(placement.primary) + len(test) * sum(map(_weight, modes))
    progress = RunProgress(context, prepared.steps, run.training.batch_size, questions)
    # What was scored after training, before the run was cut off; a GPU would not give the same numbers again.
    file = context.resume_file.with_name(SCORED) if run.training.device == "cpu" else None

    def scored(examples: list[Any], mode: str, kept: Path | None = file) -> list[Prediction]:
        listener = ScoringProgress(progress.scored, kept)
        return score(model, encoder, examples, placement, mode, metric=metric, limit=limit, progress=listener)

    def keep(share: float) -> str:
        progress.begins("keeping")
        return _kept(context, model, run)

    hooks = Hooks(
        report=progress.trained,
        evaluate=(lambda: accuracy(scored(dev, placement.primary, None))) if dev else None,
        keep=keep,
        log=context.log,
    )
    log = _trained(context, run, start, group, hooks)
    progress.ended(log)
    by_mode = {mode: scored(test, mode) for mode in modes}
    primary = by_mode[placement.primary]
    room = encoder.answer_room(test, placement.primary, positions_of(model))
    produced = {
        **log.kept,
        "curve": _curve(context, log),
        "predictions": context.keep(prediction_table(by_mode), "predictions", "parquet"),
    }
    result = {
        "accuracy": accuracy(primary),
        "n": len(primary),
        "correct": sum(p.correct for p in primary),
        "chance": task.chance,
        "mode": placement.primary,
        "metric": metric,
        "modes": {
            m: {
                "accuracy": accuracy(p),
                "n": len(p),
                "correct": sum(x.correct for x in p),
                "trained": m in placement.trained,
            }
            for m, p in by_mode.items()
        },
        "dev_accuracy": accuracy(scored(dev, placement.primary)) if dev else None,
        **_shape_of_answers(primary, placement),
        "cut_questions": sum(len(encoder.prompt(e, placement.prompt(placement.primary))) > room for e in test),
        "test_is": _test_is(task.roles.get("test", ""), len(test), len(every)),
        **_follows(context, start, run, test, metric, produced),
        "batch_gap": _batch_gap(model, encoder, test[:16], placement, metric),
        **dataclasses.asdict(prepared.facts),
        **_cost(log, model),
        "student_fingerprint": start.known,
        "device": run.training.device,
        "versions": _versions(),
    }
    if file is not None:
        file.unlink(missing_ok=True)
    return Outcome(result, produced, start.used)


def _weight(mode: str) -> float:
    """What a question of a mode costs, in questions that are only scored."""
    return 1.0 + (WRITING if mode == "own" else 0.0)


def _shape_of_answers(primary: Sequence[Prediction], placement: Placement) -> dict[str, Any]:
    """Shares of what was written: not ended by itself; not readable as an answer; where answers are written, also the
    accuracy of the flexible reading, which is never judged.
    """
    if any(p.written_answer is not None for p in primary):
        return {
            "unterminated": _share([not p.answer_ended for p in primary]),
            "unparsable": _share([not p.readable for p in primary]),
            "flexible_accuracy": _share([bool(p.flexible) for p in primary]),
        }
    if placement.primary != "own":
        return {"unterminated": None, "unparsable": None}
    return {
        "unterminated": _share([not p.terminated for p in primary]),
        "unparsable": _share([p.parsed == -1 for p in primary]),
    }


def _follows(
    context: JobContext, start: _Start, run: RunConfig, test: list[Example], metric: str, produced: dict[str, str]
) -> dict[str, Any]:  # fmt: skip
    """Under the counterfactual objective: every tag with every rationale, as the product "followed", and the share of
    answers that are right by tag and rationale. Nothing for other objectives, and where nobody argues for a wrong
    choice of a test question."""
    condition = parse(run.condition)
    if condition.objective_parameters("counterfactual") is None:
        return {}
    try:
        argued = [
            e for e in supplied(start.task, test, condition, condition.reads(run.source)) if isinstance(e, Argued)
        ]
    except NoRationale:
        return {}
    table = followed(start.model, start.encoder, argued, condition.spec, metric=metric)
    produced["followed"] = context.keep(parquet(table), "followed", "parquet")
    right = {
        f"{tag}, {rationale}": float(part["right"].mean())
        for (tag, rationale), part in table.groupby(["tag", "rationale"], sort=False)
    }
    return {"follows": right}


def _asked(placement: Placement, mode: str, test: Sequence[Any]) -> bool:
    """Label only and the undistilled student have direct mode alone; "own" costs a generation, so only students trained
    for it are asked.
    """
    if mode == "direct" or mode == placement.primary:
        return True
    if mode == "own" and placement.name == "mixed":
        return True
    return mode == "given" and placement.uses_rationale and (bool(placement.fixed) or any(e.rationale for e in test))


def _batch_gap(model: Any, encoder: Encoder, examples: list[Any], placement: Placement, metric: str) -> float:
    """Self-check: the largest difference of a choice's score between batch size 1 and 16, asked directly."""
    single = score(model, encoder, examples, placement, "direct", metric=metric, limit=1, batch=1)
    many = score(model, encoder, examples, placement, "direct", metric=metric, limit=1, batch=16)
    return max(
        # Of a written answer the gold's: what was written may differ by more than rounding.
        (
            abs(a - b)
            for p, q in zip(single, many, strict=True)
            for a, b in zip(*(x.sums if x.written_answer is None else x.sums[:1] for x in (p, q)), strict=True)
        ),
        default=0.0,
    )


def _test_is(role: str, rows: int, every: int) -> str:
    """What the test questions are, as it is said beside every accuracy."""
    if rows == every:
        return role
    return ", ".join(part for part in (role, f"{rows:,} of its {every:,} questions, by hashed id") if part)


def _share(flags: list[bool]) -> float:
    return sum(flags) / len(flags) if flags else 0.0


def prediction_table(by_mode: dict[str, list[Prediction]]) -> bytes:
    """The product "predictions": a row a question and mode, with the columns of `students.evaluation.Prediction` and
    correct.
    """
    rows = [{**dataclasses.asdict(p), "correct": p.correct} for predictions in by_mode.values() for p in predictions]
    table = pd.DataFrame(rows).astype(PREDICTION_TYPES)
    if table["written_answer"].isna().all():
        table = table.drop(columns=list(WRITTEN_COLUMNS))
    return parquet(table)


def _kept(context: JobContext, model: Any, run: RunConfig) -> str:
    part = context.resume_file.with_name("weights.part")
    try:
        save_weights(model, part, run.student)
        return context.keep(part, "weights", "safetensors")
    finally:
        part.unlink(missing_ok=True)


def _curve(context: JobContext, log: Log) -> str:
    return context.keep(
        parquet(pd.DataFrame(log.curve, columns=["step", "tokens", "seconds", "name", "value"])), "curve", "parquet"
    )


def _cost(log: Log, model: Any) -> dict[str, Any]:
    return {
        "steps": log.step,
        "tokens": log.tokens,
        "padded_tokens": log.padded_tokens,
        "loss_tokens": log.loss_tokens,
        "flops": log.flops,
        "seconds": round(log.seconds, 3),
        "parameters": parameter_count(model),
        "trained_parameters": parameter_count(model, trained=True),
    }

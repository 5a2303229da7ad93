"""Selections of key tokens as a job: scores for every training rationale, and what they are like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

from cotdistill.config import RunConfig, StudentConfig
from cotdistill.errors import DataError, NotReadable
from cotdistill.execution.context import Outcome, as_planned
from cotdistill.execution.open_student import Opened, open_run
from cotdistill.execution.worker import WorkerContext
from cotdistill.keytokens.annotations import AnnotationSet, usable
from cotdistill.keytokens.selectors import SelectInput, Selector, parse_selector
from cotdistill.keytokens.summary import described
from cotdistill.rationales.conditions import Condition
from cotdistill.rationales.selection import selection_bytes
from cotdistill.store.store import Store
from cotdistill.students.preparation import part_of, usable_rows
from cotdistill.students.sources import encoder_of
from cotdistill.students.tokens import Encoded, Encoder
from cotdistill.studies.inputs import SelectConfig, file_digest
from cotdistill.tasks.example import Example
from cotdistill.tasks.task import Task


def job(context: WorkerContext) -> Outcome:
    """The job kind "select": product "selection" (see rationales.selection), made on training rows only."""
    config = SelectConfig.from_plain(context.config)
    task = context.task(config.task, config.world, config.task_settings)
    as_planned(task, config.task, config.task_digest, "this selection")
    if config.file and file_digest(parse_selector(config.selector)[1]) != config.file:
        raise DataError(
            f"The file of {config.selector} has changed since this selection was planned.", "Plan the study again."
        )
    scores, used, rows = selected(context.store, config, task, context.report)
    entry, _ = parse_selector(config.selector)
    produced = {"selection": context.keep(selection_bytes(scores), "selection", "parquet")}
    result = {"selector": config.selector, "reads": entry.reads, "rows": len(scores), **described(rows, scores)}
    return Outcome(result, produced, {**used, "task": task.digest})


def selected(
    store: Store, config: SelectConfig, task: Task, report: Any = None
) -> tuple[dict[str, tuple[float, ...]], dict[str, str], list[tuple[Example, Any]]]:
    """Scores by example, the digests of what was read, and the rows with their tokens."""
    entry, option = parse_selector(config.selector)
    examples = _rows(task, config)
    used: dict[str, str] = {}
    inputs: dict[str, Any] = {}
    if config.reads:
        opened = checked_reader(store, entry, config.reads)
        used["weights"] = opened.job.produced["weights@1"]
        encoder = opened.encoder

        def student(share: str) -> PreTrainedModel:
            opened_run = open_run(store, config.reads, share)
            used[f"weights@{share}"] = opened_run.job.produced[f"weights@{opened_run.checkpoint}"]
            return opened_run.model

        inputs = {
            "placement": opened.condition.spec, "metric": opened.metric, "student": student, "counts": opened.counts,
            "sequences": _sequences(opened, examples), "dev": task.examples("dev", config.source or None),
        }  # fmt: skip
    else:
        run = RunConfig(
            config.task,
            config.task_digest,
            "",
            source=config.source,
            tokenizer=config.tokenizer,
            student=StudentConfig(config.student),
        )
        encoder = encoder_of(task, run)
    passages = [encoder.read(e.rationale or "") for e in examples]
    if entry.name == "human":
        inputs["marks"] = marks(store, config, encoder, examples, option)
    scores = entry.compute(
        SelectInput(encoder, examples, passages, option=option, seed=config.seed, report=report, **inputs)
    )
    return scores, used, list(zip(examples, passages, strict=True))


def checked_reader(store: Store, entry: Selector, run: str) -> Opened:
    """The student that a selector reads; NotReadable for one of the wrong placement, with the reason."""
    opened = open_run(store, run)
    placement = opened.condition.placement
    if entry.reads == "pre_cot" and placement != "pre_cot":
        raise NotReadable(
            f"{entry.name} asks how the label depends on the rationale, and run {opened.job.id} is"
            f" {Condition(placement).label}: its label does not read a rationale, so every score would be zero.",
            "Read a pre_cot run, or use influence on a post_cot one.",
        )
    if entry.reads == "post_cot" and placement != "post_cot":
        raise NotReadable(
            f"{entry.name} reads how a student learns the rationale behind the label, and run {opened.job.id} is"
            f" {Condition(placement).label}.",
            "Read a post_cot run.",
        )
    if opened.condition.steps:
        raise NotReadable(
            f"Run {opened.job.id} was trained on changed rationales ({opened.condition.label}).",
            "Read a student that was trained on intact ones.",
        )
    return opened


def _rows(task: Task, config: SelectConfig) -> list[Example]:
    """The training rows that the study uses and that have a rationale of this source."""
    by_source = {name: task.examples("train", name or None) for name in config.sources or ("",)}
    examples = by_source[config.source]
    rows = part_of(
        usable_rows(by_source, config.missing_rationale, config.left_out), examples, config.fraction, config.split_seed
    )
    return [examples[i] for i in rows if examples[i].rationale]


def _sequences(opened: Opened, examples: Sequence[Example]) -> list[Encoded]:
    corpus = opened.encoder.corpus(examples)
    return [
        opened.encoder.sequences(corpus, i, opened.condition, opened.run.seeds.transform)[-1]
        for i in range(len(examples))
    ]


def marks(
    store: Store, config: SelectConfig, encoder: Encoder, examples: Sequence[Example], name: str
) -> dict[str, frozenset[int]]:
    """By example, the tokens that any annotator of a set has marked. DataError if the set has changed since the study
    was planned.
    """
    annotations = AnnotationSet(store.home, config.task, name)
    if annotations.digest() != config.annotations:
        raise DataError(
            f"The annotation set {name!r} has changed since this selection was planned.", "Plan the study again."
        )
    texts = {e.id: e.rationale or "" for e in examples}
    marked: dict[str, set[int]] = {}
    for mark in usable(annotations.marks(), examples):
        marked.setdefault(mark.example, set()).update(encoder.tokens_in(texts[mark.example], mark.spans))
    return {example: frozenset(places) for example, places in marked.items()}

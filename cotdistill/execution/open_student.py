"""Open a trained student to look inside: its weights at a checkpoint, its encoder, its task. The last few stay in
memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from cotdistill.config import RunConfig, StudentConfig, stable_seed
from cotdistill.errors import NotFound
from cotdistill.rationales.conditions import Condition, parse
from cotdistill.rationales.passage import Corpus
from cotdistill.rationales.selection import Selection
from cotdistill.store.records import Job
from cotdistill.store.store import Store
from cotdistill.students.files import here, missing
from cotdistill.students.loading import load_student, positions_of, prepare_torch, reopen
from cotdistill.students.models import entry_of
from cotdistill.students.preparation import training_rows
from cotdistill.students.reader import Forward
from cotdistill.students.scoring.suitability import suitability
from cotdistill.students.sources import encoder_of
from cotdistill.students.tokens import Encoder
from cotdistill.studies.inputs import selections_of
from cotdistill.studies.inspection_jobs import checked_checkpoint, source_of, task_of, trained
from cotdistill.tasks.example import Example
from cotdistill.tasks.task import Task

# Students kept open in one process, by the bytes of their weights.
KEPT_BYTES = 2 << 30
_open: OrderedDict[tuple[str, str, str], Opened] = OrderedDict()
_counts: OrderedDict[tuple[str, str, str, bool], npt.NDArray[np.int64]] = OrderedDict()


@dataclass(frozen=True)
class Opened:
    """A student ready to be asked. counts (vocabulary,): how often each token stands in the training text (questions,
    choices, rationales); metric: how its run scored the choices."""

    job: Job
    run: RunConfig
    condition: Condition
    checkpoint: str
    task: Task
    encoder: Encoder
    model: PreTrainedModel
    counts: npt.NDArray[np.int64]
    metric: str
    selections: Mapping[str, Selection]

    @property
    def limit(self) -> int:
        """The longest sequence that it was trained on."""
        positions = positions_of(self.model)
        return min(self.run.student.max_length or positions, positions)


def open_run(store: Store, run: int | str, checkpoint: str = "1", *, source: str = "", device: str = "cpu") -> Opened:
    """The student of a finished training run at a recorded checkpoint, in evaluation mode. UsageError, UnknownName,
    NotFound or CheckpointError.
    """
    job = trained(store, run)
    share = checked_checkpoint(job, checkpoint)
    key = (str(store.home), job.produced[f"weights@{share}"], f"{job.identity}{source}{device}")
    if key in _open:
        _open.move_to_end(key)
        return _open[key]
    config = RunConfig.from_plain(job.config)
    prepare_torch(config.training.threads, config.training.deterministic)
    task = task_of(store, job)
    encoder = encoder_of(task, config)
    weights = store.artifacts.path(job.produced[f"weights@{share}"])
    model = reopen(config.student, encoder.vocabulary_size, stable_seed("init", config.seeds.init), weights)
    model.to(torch.device(device))  # type: ignore[arg-type]
    result = job.result or {}
    opened = Opened(
        job,
        config,
        parse(config.condition),
        share,
        task,
        encoder,
        model,
        _token_counts(task, encoder, source_of(job, source)),
        str(result.get("metric") or "sum"),
        selections_of(store, config),
    )
    _open[key] = opened
    while (
        len(_open) > 1
        and sum(p.numel() * p.element_size() for one in _open.values() for p in one.model.parameters()) > KEPT_BYTES
    ):
        _open.popitem(last=False)
    return opened


def source_suitability(
    store: Store, task: Task, student: str, by_source: Mapping[str, Sequence[Example]]
) -> dict[str, dict[str, float | int | None]]:
    """How a student reads the rationales of some sources (see `students.scoring.suitability`). student: a finished
    run's number or id, or a pretrained student as a config names it (a folder, or one of the store's or the hub's
    that is on this machine). A StudentError, UsageError or NotFound says what cannot be opened.
    """
    config = StudentConfig(name=student)
    if (folder := here(config)) is not None:
        encoder = Encoder(folder / "tokenizer.json", task.template)
        prepare_torch(max(1, torch.get_num_threads()), deterministic=False)
        model = load_student(config, encoder.vocabulary_size, 0)
    elif "/" in student or entry_of(student) is not None:
        raise missing(config)
    else:
        opened = open_run(store, student)
        model, encoder = opened.model, Encoder(opened.encoder.path, task.template)
    model.eval()  # type: ignore[no-untyped-call]
    reader = Forward(model)
    return {name: suitability(reader, encoder, examples) for name, examples in by_source.items()}


def training_corpus(opened: Opened) -> Corpus:
    """The rows that a run was trained on, in its order, with the selections it used."""
    run = opened.run
    by_source = {name: opened.task.examples("train", name or None) for name in run.sources or ("",)}
    examples = by_source[source_of(opened.job) if run.sources else ""]
    rows = training_rows(by_source, run, opened.condition.fraction)
    return opened.encoder.corpus([examples[i] for i in rows], opened.selections)


def _token_counts(task: Task, encoder: Encoder, source: str) -> npt.NDArray[np.int64]:
    key = (task.digest, str(encoder.path), source, encoder.terminator)
    if key not in _counts:
        counts = np.zeros(encoder.vocabulary_size, np.int64)
        for example in task.examples("train", source or None):
            ids = encoder.prompt(example, ("question", "choices", "rationale_cue", "rationale", "label_cue"))
            np.add.at(counts, ids, 1)
            np.add.at(counts, encoder.targets(example)[example.gold], 1)
        if not counts.any():
            raise NotFound(f"The task {task.name!r} has no training text.", "Import it again.")
        _counts[key] = counts
        while len(_counts) > 4:
            _counts.popitem(last=False)
    return _counts[key]

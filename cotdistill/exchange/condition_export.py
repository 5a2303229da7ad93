"""A condition as files for other trainers: exactly what a student would read, a file per split and replicate, and a
card that says what the format cannot.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotdistill import __version__
from cotdistill.config import RunConfig, digest, plain
from cotdistill.errors import DataError, UsageError
from cotdistill.exchange.trainer_formats import (
    FORMATS,
    TrainerFormat,
    dataset_info,
    same_tokens,
    training_text,
    unsaid_tokens,
)
from cotdistill.planning.plan import Plan
from cotdistill.rationales.conditions import Condition, parse
from cotdistill.rationales.counterfactual import supplied
from cotdistill.rationales.passage import Passage
from cotdistill.store.artifacts import hash_file
from cotdistill.store.store import Store
from cotdistill.students.sources import encoder_of
from cotdistill.students.tokens import Encoder
from cotdistill.studies.inputs import selections_of
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.example import Example
from cotdistill.tasks.task import Task

if TYPE_CHECKING:
    from cotdistill.students.preparation import TrainingSet

CARD, INFO = "card.json", "dataset_info.json"
SPLITS = ("train", "dev", "test")
# What is counted in every file.
COUNTS = ("rows", "sequences", "tokens", "loss_tokens", "unsaid_tokens", "rows_with_the_same_tokens", "longest_tokens")


@dataclass(frozen=True)
class ExportedCondition:
    """One condition of an export."""

    condition: str  # canonical form
    folder: str  # where its files lie
    files: tuple[str, ...]  # names of its files
    rows: int  # training examples of the first replicate
    written: int  # files that were written now; the others were there already
    notes: tuple[str, ...]  # what the format cannot say of this condition


def export_conditions(
    store: Store,
    plan: Plan,
    form: str,
    out: Path,
    *,
    splits: Sequence[str] = ("train", "dev"),
    report: Callable[[str], None] = lambda text: None,
) -> list[ExportedCondition]:
    """Write every condition of a plan that trains on anything. A file is written whole or not at all, and one that is
    there already with the digest that its card names is left: an export that was interrupted goes on.

    UsageError for an unknown format or a folder that holds another export; NotFound where a selection of key tokens was
    not made yet.
    """
    chosen = FORMATS.get(form)
    by_condition: dict[str, list[RunConfig]] = {}
    for planned in plan.runs:
        if planned.condition.spec.sequences:
            by_condition.setdefault(str(planned.condition), []).append(RunConfig.from_plain(planned.job.config))
    if not by_condition:
        raise UsageError("No condition of this study trains on anything.", "Name one such as label_only or post_cot.")
    replicates: dict[str, list[int]] = {}
    for planned in plan.runs:
        replicates.setdefault(str(planned.condition), []).append(planned.replicate)
    exported = []
    for condition, runs in by_condition.items():
        folder = out / folder_name(condition)
        exported.append(_export(store, chosen, folder, runs, replicates[condition], splits, report))
    if form == "llamafactory":
        # Beside the files of each condition, and once for all of them.
        names = [
            (f"{each.folder}-{name.removesuffix('.jsonl')}", f"{each.folder}/{name}")
            for each in exported
            for name in each.files
        ]
        _write(out / INFO, dataset_info(names))
    return exported


def folder_name(condition: str) -> str:
    """A condition as the name of a folder."""
    name = re.sub(r"[^A-Za-z0-9_.=-]+", "-", condition).strip("-.")[:80]
    return name if name == condition else f"{name}-{hashlib.sha256(condition.encode()).hexdigest()[:8]}"


def _export(
    store: Store,
    form: TrainerFormat,
    folder: Path,
    runs: Sequence[RunConfig],
    replicates: Sequence[int],
    splits: Sequence[str],
    report: Callable[[str], None],
) -> ExportedCondition:
    condition = parse(runs[0].condition)
    card = _card(form, condition, runs, replicates)
    known = _known_files(folder, card)
    folder.mkdir(parents=True, exist_ok=True)
    files: list[dict[str, Any]] = []
    written = 0
    for replicate, run in zip(replicates, runs, strict=True):
        task = open_task(store.tasks_root, run.task, world=run.seeds.world, settings=dict(run.task_settings) or None)
        if task.digest != run.task_digest:
            raise DataError(f"The task {run.task!r} has changed meanwhile.", "Export again.")
        for split in splits:
            if not task.examples(split):
                continue
            name = f"{split}-{replicate}.jsonl"
            before = known.get(name)
            if before is None or not (folder / name).is_file() or hash_file(folder / name) != before["sha256"]:
                training_set, indices = _training_set(store, task, run, condition, split)
                before = {
                    "file": name,
                    "split": split,
                    "replicate": replicate,
                    "seeds": plain(run.seeds),
                    **_write_rows(folder / name, form, training_set, indices),
                }
                written += 1
                report(f"{folder.name}/{name}: {before['rows']:,} examples")
            files.append(before)
            _write(folder / CARD, {**card, "files": files})
    rows = next((file["rows"] for file in files if file["split"] == "train"), 0)
    names = tuple(file["file"] for file in files)
    return ExportedCondition(str(condition), folder.name, names, rows, written, tuple(card["cannot_say"]))


def _card(
    form: TrainerFormat, condition: Condition, runs: Sequence[RunConfig], replicates: Sequence[int]
) -> dict[str, Any]:
    """What an export says of itself, before its files. export: digest of everything that decides what they hold."""
    first = runs[0]
    cannot = list(form.cannot_say)
    if condition.objectives:
        names = ", ".join(objective.name for objective in condition.objectives)
        cannot.insert(0, f"The objective {names}: rows are those of plain cross-entropy, so another loss is trained.")
    if condition.tokens:
        cannot.insert(0, f"The token budget: train until as many tokens were seen as under {condition.tokens}.")
    if first.training.redraw:
        cannot.insert(0, "Draws anew in each epoch (training.redraw): these are the rows of the first one.")
    if first.base:
        cannot.insert(0, "The shared base that students of this study start from; it is trained here first.")
    identity = digest([form.name, __version__, str(condition), [run.job_config() for run in runs], list(replicates)])
    return {
        "export": identity,
        "made_by": f"cotdistill {__version__}",
        "format": form.name,
        "use": form.use,
        "cannot_say": cannot,
        "condition": str(condition),
        "label": condition.label,
        "task": first.task,
        "task_digests": list(dict.fromkeys(run.task_digest for run in runs)),
        "source": condition.source or first.source,
        "student": first.student.name,
        "tokenizer": first.tokenizer,
        "training": plain(first.training),
        "replicates": list(replicates),
    }


def _known_files(folder: Path, card: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The files of an earlier, perhaps interrupted, export of the same; UsageError where another one lies there."""
    path = folder / CARD
    if not path.is_file():
        if folder.is_dir() and any(file.suffix != ".part" for file in folder.iterdir()):
            raise UsageError(f"{folder} holds other files.", "Name another folder with --out, or move them away.")
        return {}
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        files = {str(file["file"]): dict(file) for file in before["files"]}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no card of an export.", "Name another folder with --out.") from error
    if before.get("export") != card["export"]:
        raise UsageError(
            f"{folder} holds an export of other data, settings or format ({before.get('format')}).",
            "Name another folder with --out, or delete it.",
        )
    return files


def _training_set(
    store: Store, task: Task, run: RunConfig, condition: Condition, split: str
) -> tuple[TrainingSet, Sequence[int]]:
    """The rows of a split as the condition reads them, and which of them a student trains on."""
    # Imported here: rows are read where they are written.
    from cotdistill.students.preparation import TrainingSet, training_rows

    source = condition.source or run.source if run.sources else ""
    examples = supplied(task, task.examples(split, source or None), condition, source)
    if split == "train":
        by_source = {name: task.examples(split, name or None) for name in run.sources or ("",)}
        examples = [examples[i] for i in training_rows(by_source, run, condition.fraction)]
    encoder = encoder_of(task, run)
    corpus = encoder.corpus(examples, selections_of(store, run), _Passages(encoder, examples))
    limit = run.student.max_length or 1_000_000_000
    return TrainingSet(encoder, corpus, condition, run, limit), range(len(examples))


class _Passages(Sequence[Passage]):
    """Rationales as tokens, each read when it is asked for: a corpus of any size takes no memory."""

    def __init__(self, encoder: Encoder, examples: Sequence[Example]) -> None:
        self._encoder, self._examples = encoder, examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: Any) -> Any:
        rationale = self._examples[index].rationale
        return self._encoder.read(rationale) if rationale else ()


def _write_rows(path: Path, form: TrainerFormat, training_set: TrainingSet, indices: Sequence[int]) -> dict[str, Any]:
    """Write a file, one row per sequence, and count what stands in it."""
    counts = dict.fromkeys(COUNTS, 0)
    checksum = hashlib.sha256()
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        for row in _rows(form, training_set, indices, counts):
            line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
            checksum.update(line)
            file.write(line)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    return {**counts, "truncated_rows": len(training_set.truncated), "sha256": checksum.hexdigest()}


def _rows(
    form: TrainerFormat, training_set: TrainingSet, indices: Sequence[int], counts: dict[str, int]
) -> Iterator[dict[str, Any]]:
    encoder = training_set.encoder
    end = encoder.tokenizer.id_to_token(encoder.specials.eos) or ""
    for index in indices:
        counts["rows"] += 1
        alike = True
        for encoded in training_set.sequences(index, 0):
            text = training_text(training_set.examples[index].id, encoder, encoded)
            counts["sequences"] += 1
            counts["tokens"] += len(encoded)
            counts["loss_tokens"] += int((encoded.loss != 0).sum())
            counts["unsaid_tokens"] += unsaid_tokens(encoded)
            counts["longest_tokens"] = max(counts["longest_tokens"], len(encoded))
            alike = alike and same_tokens(encoder, text, encoded)
            yield form.row(text, encoded, end)
        counts["rows_with_the_same_tokens"] += alike


def _write(path: Path, document: Mapping[str, Any]) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, path)

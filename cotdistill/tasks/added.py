"""Rationale sources that are added to a task after it was made: what a teacher was asked for later, and filtered views
of other sources.

The task's own files and its digest stay as they are, so nothing that was trained on it is trained anew. A source that
is added is named by a person and by its content (`concise-3f2a9c1b`): the name means the same rationales for ever, in
every store.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cotdistill.config import canonical_json, digest
from cotdistill.errors import DataError, NoRationale, UnknownName, UsageError
from cotdistill.tasks.example import Example
from cotdistill.tasks.importing.writing import new_folder, rationale_rows, settle, settle_all, train_tokenizers
from cotdistill.tasks.task import SPLITS, Rationale, Task, added_folder, folder_digest, open_folder

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")
# Digits of the digest that stand in a name; two contents of one name meet once in four thousand million times.
DIGITS = 8


def checked_name(name: str) -> str:
    """A name that a person gives to a source; UsageError for one that cannot stand in a condition or a file's name."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name[:80]!r} cannot name a rationale source.",
            "Use 1 to 48 letters, digits, dots, dashes and underscores.",
        )
    return name


def full_name(name: str, rationales: Sequence[Rationale]) -> str:
    """The name of a source with that content: `NAME-DIGEST`."""
    content = sorted(
        (r.id, r.text or "", r.teacher_label or "", *([r.thinking, r.answer or ""] if r.thinking is not None else []))
        for r in rationales
    )
    return f"{name}-{digest(content)[:DIGITS]}"


def add_source(task: Task, name: str, rationales: Sequence[Rationale], origin: Mapping[str, Any]) -> str:
    """Add the rationales of one source (their own `source` is ignored) with tokenizers of its own; gives its full name,
    `NAME-DIGEST`.

    origin: where they are from, plain values, for people; it is no part of the digest. The same rationales under the
    same name are there already. NoRationale if none of them speaks about a training row; UsageError for ids that the
    task lacks, or one id twice.
    """
    checked_name(name)
    examples = [example for split in SPLITS for example in task.examples(split)]
    known = {example.id: example.split for example in examples}
    ids = [rationale.id for rationale in rationales]
    if strange := [id for id in ids if id not in known]:
        raise UsageError(
            f"{len(strange)} rationales belong to no row of {task.name!r}, for example {strange[0][:60]!r}.",
            "Is it another task's?",
        )
    if len(set(ids)) < len(ids):
        raise UsageError("A source holds one rationale a row; these hold several.", "Pick one of each (--pick).")
    if not any(r.text and known[r.id] == "train" for r in rationales):
        raise NoRationale(
            f"No training row of {task.name!r} would have a rationale from {name!r}.",
            "Ask for the train split, or filter less.",
        )
    full = full_name(name, rationales)
    if full in task.info["sources"]:
        raise UsageError(f"The task {task.name!r} has a source {full!r} of its own.", "Choose another name.")
    home = added_folder(task.folder)
    if (home / full / "source.json").is_file():
        return full
    with new_folder(home) as part:
        _write(
            home,
            part,
            full,
            [replace(r, source=full) for r in rationales],
            task,
            examples,
            origin,
        )
    return full


def _write(
    home: Path,
    part: Path,
    full: str,
    rows: Sequence[Rationale],
    task: Task,
    examples: Sequence[Example],
    origin: Mapping[str, Any],
) -> None:
    # All words of a generated task are kept, as when it was made.
    minimum = 1 if task.artificial else 2
    train_tokenizers(part, examples, rows, task.template, task.base_documents(), minimum, lambda stage: None)
    rationale_rows(rows).to_parquet(part / "rationales.parquet", index=False, compression="zstd")
    note = {"name": full, "rows": len(rows), "origin": dict(origin), "files": folder_digest(part)}
    (part / "source.json").write_text(canonical_json(note), encoding="utf-8")
    _place(home, part, full)


def adopt_source(task: Task, folder: Path) -> None:
    """Copy a source's folder that was written in another store, whole or not at all; it keeps its name."""
    home = added_folder(task.folder)
    with new_folder(home) as part:
        shutil.copytree(folder, part, dirs_exist_ok=True)
        _place(home, part, folder.name)


def _place(home: Path, part: Path, full: str) -> None:
    settle_all(part)
    try:
        os.replace(part, home / full)
    except OSError:
        if not (home / full / "source.json").is_file():  # else another process added the same meanwhile
            raise
    settle(home)


def source_info(task: Task, source: str) -> dict[str, Any]:
    """What is noted of a source that was added: name, rows, origin. UnknownName for the task's own and for none."""
    if source not in task.added:
        raise UnknownName(f"added source of {task.name}", source, task.added)
    try:
        return dict(json.loads((added_folder(task.folder, source) / "source.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(f"The source {source!r} of {task.name!r} cannot be read: {error}", "Make it again.") from error


def changed_sources(task: Task) -> list[str]:
    """Added sources whose files do not agree with what was noted of them; empty if all is well."""
    problems = []
    for source in task.added:
        folder = added_folder(task.folder, source)
        try:
            noted = source_info(task, source)["files"]
            problems += (
                []
                if folder_digest(folder, leave_out="source.json") == noted
                else [f"source {source} of {task.name}: changed ({folder})"]
            )
        except (OSError, KeyError, DataError) as error:
            problems.append(f"source {source} of {task.name}: {error}")
    return problems


def reopened(task: Task) -> Task:
    """The same task with every source that was added meanwhile."""
    return open_folder(task.folder)

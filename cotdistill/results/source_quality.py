"""The figures of a rationale source, counted once and kept in the store: a large source takes seconds to read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cotdistill.config import canonical_json, digest
from cotdistill.store.store import Store
from cotdistill.tasks.importing.writing import disk_in_words, write_note
from cotdistill.tasks.task import Task
from cotdistill.teachers.answers import of_source, silent_of_source
from cotdistill.teachers.quality import quality

# Raised when the figures of `teachers.quality` change.
VERSION = 2


def known(store: Store, task: Task, source: str, splits: Sequence[str]) -> dict[str, Any] | None:
    """The figures if they have been counted; None otherwise."""
    try:
        return dict(json.loads(_path(store, task, source, splits).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def figures(store: Store, task: Task, source: str, splits: Sequence[str]) -> dict[str, Any]:
    """The figures of a source over some splits (see `teachers.quality.quality`), counted if need be. UnknownName for
    another source.
    """
    figures_ = known(store, task, source, splits)
    if figures_ is None:
        answers = [*of_source(task, source, splits), *silent_of_source(task, source, splits)]
        figures_ = quality(answers, sum(int(task.info["rows"][split]) for split in splits))
        path = _path(store, task, source, splits)
        with disk_in_words(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_note(path, canonical_json(figures_))
    return figures_


def _path(store: Store, task: Task, source: str, splits: Sequence[str]) -> Path:
    # The name of a source that was added holds the digest of its content.
    what = digest([VERSION, task.digest, source, sorted(splits)])
    return store.home / "teachers" / "figures" / f"{what[:24]}.json"

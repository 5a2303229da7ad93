"""A task's folder as it travels from one store to another: which files it has, whether they are what they say, and
where they go.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cotdistill.config import from_mapping
from cotdistill.errors import CotdistillError, DataError
from cotdistill.tasks.added import adopt_source, full_name
from cotdistill.tasks.catalog import TASKS
from cotdistill.tasks.importing.writing import adopt_folder
from cotdistill.tasks.task import SPLITS, Task, added_folder, folder_digest, open_folder, rationales_of
from cotdistill.tasks.template import Template
from cotdistill.tasks.vocabulary import KINDS

# Every file that a task's folder may hold.
FILE = re.compile(
    r"task\.json|examples\.parquet|rationales\.parquet|documents\.txt|tokenizers/(?:word|bpe)-[A-Za-z0-9._-]{1,64}\.json"
)
# Every file of a rationale source that was added to a task later (see `tasks.added`), under sources/NAME/ of the task.
SOURCE_FILE = re.compile(r"source\.json|rationales\.parquet|tokenizers/(?:word|bpe)-[A-Za-z0-9._-]{1,64}\.json")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Bytes that a table of rows may have in memory.
LARGEST_TABLE = 2 << 30


def files_of(folder: Path, known: re.Pattern[str] = FILE) -> dict[str, Path]:
    """The files of a task's folder by their names in it; DataError where there are others than a task has."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    if strange := [name for name in files if not known.fullmatch(name)]:
        raise DataError(
            f"The folder of the task {folder} holds {strange[0][:80]!r}, which is no file of a task.",
            "Import the task again.",
        )
    return files


def checked(folder: Path, name: str, digest: str) -> Task:
    """The task in a folder that came from elsewhere, once all of it was read. DataError for one that is not what it
    says.
    """
    if not NAME.fullmatch(name):
        raise DataError(
            f"{name[:80]!r} cannot name a task.", "Use letters, digits, dot, dash or underscore, at most 64 of them."
        )
    try:
        task = _checked(folder, name, digest)
        for source in sorted(path.name for path in added_folder(folder).glob("*")):
            _check_source(task, source)
        return task
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        pa.ArrowException,
        CotdistillError,
    ) as error:
        raise DataError(
            f"The task {name!r} cannot be used: {error}", "Ask for it anew, or leave the task out."
        ) from error


def _checked(folder: Path, name: str, digest: str) -> Task:
    if not any(file.startswith("tokenizers/") for file in files_of(folder)):
        raise DataError("it has no tokenizer")
    if (actual := folder_digest(folder)) != digest:
        raise DataError(f"its files hash to {actual[:12]}, expected {digest[:12]}")
    info: dict[str, Any] = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    if info["name"] != name:
        raise DataError(f"it calls itself {str(info['name'])[:80]!r}")
    texts = ("title", "help", "default_source", "tokenizer_kind")
    if not all(isinstance(info[key], str) for key in texts) or info["tokenizer_kind"] not in KINDS:
        raise DataError(f"{', '.join(texts)} should be text, and the last one of {', '.join(KINDS)}")
    if not all(isinstance(source, str) for source in info["sources"]) or not all(
        isinstance(role, str) for role in dict(info["roles"]).values()
    ):
        raise DataError("sources and roles should be text")
    if (
        not isinstance(info["artificial"], bool)
        or not math.isfinite(info["chance"])
        or not all(isinstance(info["rows"][s], int) for s in SPLITS)
    ):
        raise DataError("artificial, chance or rows are not what they should be")
    from_mapping(Template, info["template"]).check()
    for table in ("examples.parquet", "rationales.parquet"):
        held = pq.read_metadata(folder / table)
        if sum(held.row_group(i).total_byte_size for i in range(held.num_row_groups)) > LARGEST_TABLE:
            raise DataError(f"{table} unpacks to more than {LARGEST_TABLE >> 30} GiB")
    task = Task(folder, name, digest, info)
    for split in SPLITS:
        for example in task.examples(split):
            if example.answer not in {choice.label for choice in example.choices}:
                raise DataError(f"the answer of {example.id[:60]!r} is none of its choices")
    return task


def _check_source(task: Task, name: str) -> None:
    """That a source which came with a task is what its name and its note say, and speaks of the task's rows."""
    import pandas as pd

    folder = added_folder(task.folder, name)
    files_of(folder, SOURCE_FILE)
    rationales = rationales_of(pd.read_parquet(folder / "rationales.parquet"))
    noted = json.loads((folder / "source.json").read_text(encoding="utf-8"))
    known = {example.id for split in SPLITS for example in task.examples(split)}
    right = full_name(name.rpartition("-")[0], rationales) == name == noted["name"] and {
        r.source for r in rationales
    } == {name}
    if (
        not right
        or folder_digest(folder, leave_out="source.json") != noted["files"]
        or not known.issuperset(r.id for r in rationales)
    ):
        raise DataError(f"its source {name[:80]!r} is not what it says")


def adopt(root: Path, name: str, digest: str, folder: Path) -> Task:
    """Put a checked folder among the tasks of a store, as that version of the task; as its newest one only where the
    name is new there. The sources that were added to it come along."""
    task = version_of(root, name, digest)
    if task is None:
        task = adopt_folder(root, name, folder, newest=name not in TASKS and not (root / name / "newest").is_file())
    for source in sorted(added_folder(folder).glob("*")):
        if source.name not in task.added:
            adopt_source(task, source)
    return task


def version_of(root: Path, name: str, digest: str) -> Task | None:
    """The version of a task that has this digest, if the store has it."""
    with contextlib.suppress(DataError):
        task = open_folder(root / name / digest[:12])
        return task if task.digest == digest else None
    return None

"""Files of rows: JSONL, CSV and Parquet, plain or gzip; every row that cannot be read is told with its file, line and
reason.
"""

from __future__ import annotations

import csv
import glob
import gzip
import io
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from cotdistill.errors import DataError, RowProblem, UnknownName, UsageError
from cotdistill.tasks.importing.cells import Row

FORMATS = ("jsonl", "json", "csv", "tsv", "txt", "parquet", "arrow")
SPLIT_NAMES = {
    "train": "train", "training": "train", "test": "test",
    "dev": "dev", "validation": "dev", "valid": "dev", "val": "dev", "eval": "dev",
}  # fmt: skip
LARGEST = 2 << 30
EXPECTED = (
    "Expected {train,dev,test}.{jsonl,json,csv,tsv,parquet,arrow}, plain or .gz, and more rationales as "
    "rationales/SPLIT.SOURCE.jsonl."
)


@dataclass(frozen=True, slots=True)
class Record:
    """One row as it stands in a file. `line` is 1-based; of Parquet files it is the row."""

    file: str
    line: int
    row: Row


@dataclass(frozen=True, slots=True)
class SideFile:
    """More rationales for the rows of one official split, by one source."""

    split: str
    source: str
    path: Path


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """What there is to import."""

    # The files of each split; "" for a single file.
    main: dict[str, tuple[Path, ...]]
    # More rationales for the same rows.
    side: tuple[SideFile, ...] = ()


def kind_of(path: Path) -> str | None:
    """jsonl, json, csv, tsv, txt, parquet or arrow by the ending of the name, None for another."""
    name = path.name.casefold().removesuffix(".gz")
    return next((kind for kind in FORMATS if name.endswith(f".{kind}")), None)


def find_files(path: Path, splits: Mapping[str, str] | None = None) -> SourceFiles:
    """The files of a folder or the one file. splits: the names of the files by our splits, for a folder whose names do
    not say it; several are joined by +, and * stands for any letters (train=part_*).

    Raises:
        DataError: there is nothing to import.
        UsageError: a split of `splits` is none of a task's, or no file has that name.
    """
    try:
        return _locate(path, splits or {})
    except OSError as error:
        raise DataError(f"{str(path)[:200]} cannot be read: {error.strerror or error}", EXPECTED) from error


def _locate(path: Path, splits: Mapping[str, str]) -> SourceFiles:
    if path.is_file():
        if splits:
            raise UsageError(
                f"{path.name} is one file; splits are named for a folder of files.",
                "Name its folder, or the column that holds the split (--map split=COLUMN).",
            )
        if kind_of(path) is None:
            raise DataError(
                f"{path.name} is no file of rows.",
                f"Expected the ending {', '.join(f'.{kind}' for kind in FORMATS)}, plain or with .gz.",
            )
        return SourceFiles({"": (path,)})
    if not path.is_dir():
        raise DataError(f"There is no file or folder {str(path)[:200]}.", EXPECTED)
    main = _named_files(path, splits) if splits else _usual_files(path)
    # Training first: its rationales come before those of dev and test.
    main = {split: main[split] for split in ("train", "dev", "test") if split in main}
    if not main:
        held = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "nothing"
        raise DataError(f"The folder {path} has no file of a split; it holds {held}.", EXPECTED)
    side = []
    for file in rows_files(path / "rationales"):
        name, _, source = _stem(file).partition(".")
        if name.casefold() not in SPLIT_NAMES or not source:
            raise DataError(
                f"rationales/{file.name} names no split and source.",
                "Expected rationales/SPLIT.SOURCE.jsonl, such as train.human.jsonl.",
            )
        side.append(SideFile(SPLIT_NAMES[name.casefold()], source_name(source), file))
    return SourceFiles(main, tuple(side))


def _usual_files(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The files whose names speak of a split."""
    main: dict[str, tuple[Path, ...]] = {}
    for file in rows_files(folder):
        if split := split_of(_stem(file)):
            main[split] = (*main.get(split, ()), file)
    return main


def _named_files(folder: Path, splits: Mapping[str, str]) -> dict[str, tuple[Path, ...]]:
    """The files that a person has named for each split."""
    known = rows_files(folder)
    main: dict[str, tuple[Path, ...]] = {}
    for split, names in checked_splits(splits).items():
        for name in names.split("+"):
            fitting = [file for file in known if name.strip() in (file.name, _stem(file))]
            fitting = fitting or [file for file in known if fnmatchcase(_stem(file), name.strip())]
            if not fitting:
                raise UnknownName("file of rows", name.strip(), [file.name for file in known])
            main[split] = (*main.get(split, ()), *fitting)
    return main


def checked_splits(splits: Mapping[str, str]) -> Mapping[str, str]:
    """Names by our splits; UsageError for a split that no task has, and without training rows."""
    if strange := [split for split in splits if split not in ("train", "dev", "test")]:
        raise UsageError(f"{strange[0]!r} is no split of a task.", "Expected train, dev and test: --splits train=NAME")
    if splits and "train" not in splits:
        raise UsageError("No training split is named.", "For example --splits train=train,dev=validation")
    return splits


def split_of(stem: str) -> str | None:
    """The split that a file's name speaks of, as published: train, train_rand_split, esnli_train_1, validation; None if
    it names none, or two.
    """
    whole = SPLIT_NAMES.get(stem.casefold())
    words = {SPLIT_NAMES[word] for word in re.split(r"[^a-z]+", stem.casefold()) if word in SPLIT_NAMES}
    return whole or (words.pop() if len(words) == 1 else None)


def source_name(text: str) -> str:
    """The name of a rationale source, fit for file names and addresses: letters, digits, dot, dash, underscore."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:64] or "rationale"


def rows_files(folder: Path) -> list[Path]:
    """The files of rows in a folder, by name."""
    return (
        sorted(p for p in folder.iterdir() if p.is_file() and kind_of(p) and not p.name.startswith("."))
        if folder.is_dir()
        else []
    )


def _stem(path: Path) -> str:
    return re.sub(rf"\.({'|'.join(FORMATS)})(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def read_records(path: Path) -> tuple[list[Record], list[RowProblem]]:
    """The rows of a file in order, and the rows that cannot be read. DataError if the file as a whole cannot be."""
    content = _content(path)
    kind = kind_of(path)
    if kind in ("parquet", "arrow"):
        return _columnar(path.name, content, kind), []
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(
            f"{path.name} is UTF-16 text; expected UTF-8.", f"Convert it: iconv -f UTF-16 -t UTF-8 {path.name}"
        )
    content = content.removeprefix(b"\xef\xbb\xbf")
    if kind == "json":
        records, problems = _json(path.name, content)
    elif kind in ("csv", "tsv"):
        records, problems = _csv(path.name, content, "," if kind == "csv" else "\t")
    else:
        records, problems = _jsonl(path.name, content)
    if not records and not problems:
        raise DataError(f"{path.name} is empty: it has no rows.", "Name a file with rows.")
    return _with_labels(path, records), problems


def _with_labels(path: Path, records: list[Record]) -> list[Record]:
    """Rows with the labels that stand line by line in a second file (dev.jsonl and dev-labels.lst), as column label."""
    for file in sorted(path.parent.glob(f"{glob.escape(_stem(path))}[-_]labels.*")):
        lines = file.read_text(encoding="utf-8", errors="replace").split()
        if len(lines) == len(records) and not any("label" in record.row for record in records):
            return [Record(r.file, r.line, {**r.row, "label": label}) for r, label in zip(records, lines, strict=True)]
        raise DataError(
            f"{file.name} has {len(lines):,} labels, {path.name} {len(records):,} rows.",
            "Each row needs one label, in the same order; else move the file of labels away.",
        )
    return records


def _json(name: str, content: bytes) -> tuple[list[Record], list[RowProblem]]:
    """A .json file in any of its common shapes: an array, lines, rows by id, or rows under one key."""
    try:
        whole = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        return _jsonl(name, content)
    if isinstance(whole, dict):
        if lists := [value for value in whole.values() if isinstance(value, list) and _are_rows(value)]:
            whole = max(lists, key=len)
        elif len(whole) > 1 and _are_rows(list(whole.values())):
            whole = [{"id": id, **row} for id, row in whole.items()]
        else:
            whole = [whole]
    if not isinstance(whole, list):
        raise DataError(f"{name} holds a {type(whole).__name__}; expected rows.", EXPECTED)
    records = [Record(name, number, row) for number, row in enumerate(whole, 1) if isinstance(row, dict)]
    problems = [
        RowProblem(name, number, f"a {type(row).__name__}; expected a JSON object")
        for number, row in enumerate(whole, 1)
        if not isinstance(row, dict)
    ]
    return records, problems


def _are_rows(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(value, dict) for value in values)


def _content(path: Path) -> bytes:
    try:
        with gzip.open(path) if path.name.casefold().endswith(".gz") else path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.", EXPECTED) from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path.name} cannot be read: {error}", "Is it whole, and really of the kind its ending says?"
        ) from error
    if len(content) > LARGEST:
        raise DataError(f"{path.name} holds more than {LARGEST >> 30} GiB.", "Import a part of it.")
    if not content.strip():
        raise DataError(f"{path.name} is empty: it has no rows.", "Name a file with rows.")
    return content


def _jsonl(name: str, content: bytes) -> tuple[list[Record], list[RowProblem]]:
    records, problems = [], []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            problems.append(RowProblem(name, number, f"byte {error.start + 1} is not UTF-8 text"))
        except RecursionError:
            problems.append(RowProblem(name, number, "the JSON is nested too deeply"))
        except ValueError as error:
            problems.append(RowProblem(name, number, f"not JSON: {error}"))
        else:
            if isinstance(row, dict):
                records.append(Record(name, number, row))
            else:
                problems.append(RowProblem(name, number, f"a {type(row).__name__}; expected a JSON object"))
    return records, problems


def _csv(name: str, content: bytes, delimiter: str = ",") -> tuple[list[Record], list[RowProblem]]:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{name} line {line} is not UTF-8 text.", f"Convert it, for example: iconv -f LATIN1 -t UTF-8 {name}"
        ) from None
    csv.field_size_limit(max(csv.field_size_limit(), 1 << 27))
    # Tab-separated files as published quote nothing.
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter, quoting=quoting)
    records: list[Record] = []
    problems: list[RowProblem] = []
    header: list[str] = []
    start = 1
    try:
        for cells in reader:
            line, start = start, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                if len(set(header)) < len(header):
                    raise DataError(
                        f"{name} names a column twice: {', '.join(header)[:200]}", "Give every column its own name."
                    )
            elif len(cells) != len(header):
                problems.append(RowProblem(name, line, f"{len(cells)} cells; expected {len(header)}, as in the header"))
            else:
                records.append(Record(name, line, {key: cell or None for key, cell in zip(header, cells, strict=True)}))
    except csv.Error as error:
        problems.append(RowProblem(name, start, f"not CSV from here on: {error}"))
    return records, problems


def _columnar(name: str, content: bytes, kind: str) -> list[Record]:
    try:
        if kind == "parquet":
            table = pq.read_table(io.BytesIO(content))
        else:
            # A file begins with its magic word, a stream (as datasets writes them) does not.
            opened = pa.ipc.open_file if content[:6] == b"ARROW1" else pa.ipc.open_stream
            table = opened(pa.BufferReader(content)).read_all()
        rows: Sequence[Row] = table.to_pylist()
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise DataError(f"{name} cannot be read as {kind.capitalize()}: {error}", "Is it whole?") from error
    if not rows:
        raise DataError(f"{name} is empty: it has no rows.", "Name a file with rows.")
    return [Record(name, number, row) for number, row in enumerate(rows, start=1)]

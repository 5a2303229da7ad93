"""Files of rows: JSONL, CSV and Parquet, plain or gzip; every row that cannot be read is told with its file, line and
reason.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cotdistill.errors import DataError, RowProblem
from cotdistill.tasks.importing.columns import ColumnMap, Row, guess_columns, header_of

FORMATS = ("jsonl", "csv", "parquet")
SPLIT_NAMES = {"train": "train", "dev": "dev", "test": "test", "validation": "dev", "valid": "dev", "val": "dev"}
LARGEST = 2 << 30
EXPECTED = (
    "Expected {train,dev,test}.{jsonl,csv,parquet}, plain or .gz, and more rationales as rationales/SPLIT.SOURCE.jsonl."
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
    """What there is to import: a file a split ("" for a single file), and files of more rationales."""

    main: dict[str, Path]
    side: tuple[SideFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Preview:
    """The start of something to import: column names, the guessed map, a few rows, rows that cannot be read, rows in
    each file.
    """

    columns: list[str]
    guessed: ColumnMap
    rows: list[dict[str, Any]]
    problems: list[RowProblem]
    counts: dict[str, int]


def kind_of(path: Path) -> str | None:
    """jsonl, csv or parquet by the ending of the name, None for another."""
    name = path.name.casefold().removesuffix(".gz")
    return next((kind for kind in FORMATS if name.endswith(f".{kind}")), None)


def find_files(path: Path) -> SourceFiles:
    """The files of a folder or the one file; DataError if there is nothing to import."""
    try:
        return _locate(path)
    except OSError as error:
        raise DataError(f"{str(path)[:200]} cannot be read: {error.strerror or error}", EXPECTED) from error


def _locate(path: Path) -> SourceFiles:
    if path.is_file():
        if kind_of(path) is None:
            raise DataError(
                f"{path.name} is no file of rows.", "Expected the ending .jsonl, .csv or .parquet, plain or with .gz."
            )
        return SourceFiles({"": path})
    if not path.is_dir():
        raise DataError(f"There is no file or folder {str(path)[:200]}.", EXPECTED)
    main: dict[str, Path] = {}
    for file in _rows_files(path):
        split = SPLIT_NAMES.get(_stem(file).casefold())
        if split is None:
            continue
        if split in main:
            raise DataError(f"{main[split].name} and {file.name} are both the {split} split.", "Leave one of them.")
        main[split] = file
    # Training first: its rationales come before those of dev and test.
    main = {split: main[split] for split in ("train", "dev", "test") if split in main}
    if not main:
        held = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "nothing"
        raise DataError(f"The folder {path} has no file of a split; it holds {held}.", EXPECTED)
    side = []
    for file in _rows_files(path / "rationales"):
        name, _, source = _stem(file).partition(".")
        if name.casefold() not in SPLIT_NAMES or not source:
            raise DataError(
                f"rationales/{file.name} names no split and source.",
                "Expected rationales/SPLIT.SOURCE.jsonl, such as train.human.jsonl.",
            )
        side.append(SideFile(SPLIT_NAMES[name.casefold()], source_name(source), file))
    return SourceFiles(main, tuple(side))


def source_name(text: str) -> str:
    """The name of a rationale source, fit for file names and addresses: letters, digits, dot, dash, underscore."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:64] or "rationale"


def _rows_files(folder: Path) -> list[Path]:
    return (
        sorted(p for p in folder.iterdir() if p.is_file() and kind_of(p) and not p.name.startswith("."))
        if folder.is_dir()
        else []
    )


def _stem(path: Path) -> str:
    return re.sub(r"\.(jsonl|csv|parquet)(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def read_records(path: Path) -> tuple[list[Record], list[RowProblem]]:
    """The rows of a file in order, and the rows that cannot be read. DataError if the file as a whole cannot be."""
    content = _content(path)
    kind = kind_of(path)
    if kind == "parquet":
        return _parquet(path.name, content), []
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(
            f"{path.name} is UTF-16 text; expected UTF-8.", f"Convert it: iconv -f UTF-16 -t UTF-8 {path.name}"
        )
    content = content.removeprefix(b"\xef\xbb\xbf")
    records, problems = _jsonl(path.name, content) if kind == "jsonl" else _csv(path.name, content)
    if not records and not problems:
        raise DataError(f"{path.name} is empty: it has no rows.", "Name a file with rows.")
    return records, problems


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


def _csv(name: str, content: bytes) -> tuple[list[Record], list[RowProblem]]:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{name} line {line} is not UTF-8 text.", f"Convert it, for example: iconv -f LATIN1 -t UTF-8 {name}"
        ) from None
    csv.field_size_limit(max(csv.field_size_limit(), 1 << 27))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
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


def _parquet(name: str, content: bytes) -> list[Record]:
    try:
        table = pq.read_table(io.BytesIO(content))
        rows: Sequence[Row] = table.to_pylist()
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise DataError(f"{name} cannot be read as Parquet: {error}", "Is it whole?") from error
    if not rows:
        raise DataError(f"{name} is empty: it has no rows.", "Name a file with rows.")
    return [Record(name, number, row) for number, row in enumerate(rows, start=1)]


def read_source(path: Path, rows: int = 5) -> Preview:
    """What an import of this file or folder would start from, for a form to show. DataError if nothing can be read."""
    counts: dict[str, int] = {}
    first: list[dict[str, Any]] = []
    problems: list[RowProblem] = []
    seen: list[Row] = []
    for file in find_files(path).main.values():
        records, bad = read_records(file)
        counts[file.name] = len(records)
        problems += bad
        first = first or [dict(record.row) for record in records[:rows]]
        seen += [record.row for record in records[:100]]
    header = header_of(seen)
    return Preview(header, guess_columns(header, seen), first, problems, counts)

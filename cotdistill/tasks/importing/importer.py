"""Import of a task from files or from the hub: rows checked one by one, more rationales joined, all of it written whole
or not at all.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cotdistill.config import plain
from cotdistill.errors import BadRows, DataError, RowProblem, UnknownName, UsageError
from cotdistill.tasks.catalog import TASKS
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.importing.columns import (
    ColumnMap,
    Row,
    answer_of,
    at,
    choices_of,
    first_number,
    guess_columns,
    header_of,
    question_of,
    text_of,
)
from cotdistill.tasks.importing.files import SPLIT_NAMES, Record, SideFile, find_files, read_records, source_name
from cotdistill.tasks.importing.hub import HubSource, hub_columns, read_hub
from cotdistill.tasks.importing.writing import write_task
from cotdistill.tasks.splits import checks, pattern_of, with_clusters, with_roles
from cotdistill.tasks.task import Rationale, Task
from cotdistill.tasks.template import Template

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class ImportReport:
    """What an import made: the task, the rows that were left out, and what a person should know."""

    task: Task
    problems: tuple[RowProblem, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Found:
    """What there is to import, wherever it is from. by_split: rows that were read, and those that could not be.
    test_asked: a person has named the test split. info: where it is from, kept with the task."""

    by_split: Mapping[str, tuple[list[Record], list[RowProblem]]]
    guessed: ColumnMap | None = None
    side: tuple[SideFile, ...] = ()
    title: str = ""
    help: str = ""
    template: Template = field(default_factory=Template)
    test_asked: str = ""
    warnings: tuple[str, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class _ImportedRows:
    """What was read so far; `refused` holds the ids of rows that cannot be used, whose further rationales are no
    news.
    """

    examples: list[Example] = field(default_factory=list)
    rationales: list[Rationale] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)


def import_task(
    root: Path,
    source: Path | HubSource,
    name: str,
    *,
    columns: ColumnMap | None = None,
    keep_good_rows: bool = False,
    cluster: str | None = None,
    template: Template | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Import a file, a folder of splits with `rationales/SPLIT.SOURCE.*`, or a data set of the hub, as the newest
    version of the task `name`.

    cluster: a column, or "regex:PATTERN" whose first group on the question names the cluster. BadRows lists every row
    that cannot be used, unless keep_good_rows. Nothing is imported unless everything is.
    """
    tell = progress or (lambda share, what: None)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) or name in TASKS:
        taken = " (that name belongs to a generated task)" if name in TASKS else ""
        raise UsageError(
            f"{name!r} cannot name a task{taken}.", "Use letters, digits, dot, dash or underscore, at most 64 of them."
        )
    pattern = pattern_of(cluster) if cluster and cluster.startswith("regex:") else None
    tell(0.05, "reading rows")
    source_rows = _of_hub(source) if isinstance(source, HubSource) else _of_files(source)
    mapping = columns or source_rows.guessed
    chosen = _columns(
        mapping,
        cluster if cluster and not pattern else None,
        [r.row for records, _ in source_rows.by_split.values() for r in records],
    )
    rows = _read(source_rows, chosen)
    default = _usual(rows)
    tell(0.3, "reading rationales")
    for side in source_rows.side:
        _add_side(rows, side)
    tell(0.4, "checking rows")
    if rows.problems and not keep_good_rows:
        raise BadRows(rows.problems, "Correct them, or import the good rows alone (--keep-good-rows).")
    if not rows.examples:
        raise BadRows(rows.problems, "No row can be used. Check which column holds what (--columns).")
    warnings = rows.warnings
    examples, roles = with_roles(with_clusters(rows.examples, pattern, warnings), warnings)
    checked = checks(examples, warnings)
    if not any(rationale.text for rationale in rows.rationales):
        warnings.append("There are no rationales: only label_only can be trained.")
    tell(0.5, "writing, and training tokenizers")
    task = write_task(
        root,
        name,
        examples=examples,
        rationales=rows.rationales,
        template=template or source_rows.template,
        roles=roles,
        title=source_rows.title or name,
        help=source_rows.help,
        default_source=default,
        tokenizer_kind="bpe",
        info={
            "checks": checked,
            "columns": plain(chosen.noted()),
            "left_out": len(rows.problems),
            "warnings": warnings,
            **source_rows.info,
        },
        progress=lambda stage: tell(0.7, stage),
    )
    tell(1.0, "done")
    # How it was read is no part of the task: the same rows from the hub and from its cache are the same task.
    return ImportReport(task, tuple(rows.problems), (*source_rows.warnings, *warnings))


def _of_files(path: Path) -> _Found:
    files = find_files(path)
    return _Found(
        {split: read_records(file) for split, file in files.main.items()},
        side=files.side,
        help=f"imported from {path.name}",
    )


def _of_hub(source: HubSource) -> _Found:
    read = read_hub(source)
    known = source.known
    at = f" at {read.commit[:12]}" if read.commit else ""
    info = {
        "dataset": source.name,
        "config": source.config,
        "revision": source.revision,
        "commit": read.commit,
        "splits": dict(read.splits),
        "licence": known.licence if known else "see the data set's card",
        "note": known.note if known else "",
    }
    return _Found(
        {ours: (records, []) for ours, records in read.records.items()},
        guessed=hub_columns(source, read),
        title=known.title if known else "",
        help=f"{known.help}; from the hub, {source.description}{at}"
        if known
        else f"from the hub, {source.description}{at}",
        template=known.template if known else Template(),
        test_asked=source.splits.get("test", "") if known is None else "",
        warnings=read.warnings,
        info={"hub": info},
    )


def _columns(mapping: ColumnMap | None, cluster: str | None, rows: Sequence[Row]) -> ColumnMap:
    """The columns to read: those said, else those guessed. UnknownName for one that no row has, DataError where a
    needed one is not known.
    """
    header = header_of(rows)
    chosen = mapping or guess_columns(header, rows)
    if cluster:
        chosen = dataclasses.replace(chosen, cluster=cluster)
    if missing := chosen.missing():
        raise DataError(
            f"No column is known for {', '.join(missing)}; the file has: {', '.join(header)[:300] or 'none'}.",
            "Say which is which with --columns.",
        )
    for name in chosen.names():
        if name not in header and all(at(row, name) is None for row in rows):
            raise UnknownName("column", name, header)
    return chosen


def _usual(rows: _ImportedRows) -> str:
    """The source that the training rows' own column names most often; "" if they have none."""
    train = {e.id for e in rows.examples if e.split in ("train", "")}
    counts = Counter(r.source for r in rows.rationales if r.id in train)
    return counts.most_common(1)[0][0] if counts else ""


def _read(located: _Found, columns: ColumnMap) -> _ImportedRows:
    rows = _ImportedRows()
    for _, problems in located.by_split.values():
        rows.problems += problems
    placed = _placed(located, columns, rows)
    seen: dict[str, str] = {}
    for file in dict.fromkeys(record.file for record, _ in placed):
        read: list[tuple[Record, str, str, tuple[Choice, ...]]] = []
        for record, split in placed:
            if record.file == file:
                try:
                    read.append((record, split, question_of(record.row, columns), choices_of(record.row, columns)))
                except DataError as error:
                    _refuse(rows, record, columns, error)
        first = (
            columns.first_number
            if columns.first_number >= 0
            else first_number((at(r.row, columns.answer), c) for r, _, _, c in read)
        )
        for record, split, question, choices in read:
            try:
                _keep(rows, seen, record, split, question, choices, first, columns)
            except DataError as error:
                _refuse(rows, record, columns, error)
    return rows


def _placed(located: _Found, columns: ColumnMap, rows: _ImportedRows) -> list[tuple[Record, str]]:
    """Every row with its official split ("" where there is none). A test or dev split without a single answer is left
    out whole, and said so; DataError for such a test split that was asked for by name."""
    placed: list[tuple[Record, str]] = []
    for file_split, (records, _) in located.by_split.items():
        said = {r.line: at(r.row, columns.split) for r in records} if columns.split and not file_split else {}
        named = any(value not in (None, "") for value in said.values())
        for record in records:
            try:
                placed.append((record, _split(said[record.line]) if named else file_split))
            except DataError as error:
                _refuse(rows, record, columns, error)
    for kept_back in ("test", "dev"):
        held_back = [record for record, split in placed if split == kept_back]
        if (
            not held_back
            or len(held_back) == len(placed)
            or not all(_empty(at(record.row, columns.answer)) for record in held_back)
        ):
            continue
        if kept_back == "test" and located.test_asked:
            raise DataError(
                f"The split {located.test_asked!r} has no labels ({len(held_back)} rows): it cannot be a test set.",
                "Leave it out: then official dev is the test, and a hash-fixed 10 % of train is dev.",
            )
        rows.warnings.append(f"The {len(held_back)} rows of the {kept_back} split have no answers: they are left out.")
        rows.refused |= {_id(record, columns) for record in held_back}
        placed = [(record, split) for record, split in placed if split != kept_back]
    return placed


def _split(value: Any) -> str:
    said = text_of(value, "split")
    if said is None:
        raise DataError("the split is empty; other rows name theirs")
    if said.casefold() not in SPLIT_NAMES:
        raise DataError(f"the split {said[:40]!r} is none of train, dev, test")
    return SPLIT_NAMES[said.casefold()]


def _empty(value: Any) -> bool:
    # Files for leaderboards write -1 where the answer is kept back.
    return value in (None, "", -1, "-1") or (isinstance(value, float) and math.isnan(value))


def _refuse(rows: _ImportedRows, record: Record, columns: ColumnMap, error: DataError) -> None:
    rows.problems.append(RowProblem(record.file, record.line, error.message))
    rows.refused.add(_id(record, columns))


def _id(record: Record, columns: ColumnMap) -> str:
    """The id of a row, its file and line where it has none that can be read."""
    numbered = f"{record.file}:{record.line}"
    try:
        return text_of(at(record.row, columns.id), "id") or numbered
    except DataError:
        return numbered


def _keep(
    rows: _ImportedRows,
    seen: dict[str, str],
    record: Record,
    split: str,
    question: str,
    choices: tuple[Choice, ...],
    first: int,
    columns: ColumnMap,
) -> None:
    row = record.row
    text_of(at(row, columns.id), "id")
    id = _id(record, columns)
    if id in seen:
        raise DataError(f"the id {id[:60]!r} stands already in {seen[id]}")
    example = Example(
        id=id,
        question=question,
        choices=choices,
        answer=answer_of(at(row, columns.answer), choices, first),
        split=split,
        cluster=text_of(at(row, columns.cluster), "cluster") or "",
        metadata=_metadata(row, set(columns.names())),
    )
    held = columns.rationale_columns()
    texts = {(column, named): text_of(at(row, column), "rationale") for column, named in held}
    source = text_of(at(row, columns.rationale_source), "rationale source")
    seen[id] = f"{record.file} line {record.line}"
    rows.examples.append(example)
    for (column, named), text in texts.items():
        if text:
            usual = source or ("rationale" if len(held) == 1 else column)
            rows.rationales.append(Rationale(id, source_name(named or usual), text))


def _metadata(row: Row, used: set[str]) -> dict[str, Any]:
    """The other columns, and what stands under `metadata`, as far as they are short plain values; of QuaRel, the worlds
    that a story compares.
    """
    held: list[tuple[Any, Any]] = list(row.items())
    if isinstance(nested := row.get("metadata"), Mapping):
        held += nested.items()
    if isinstance(worlds := row.get("world_literals"), Mapping):
        held += [(key, ", ".join(map(str, value))) for key, value in worlds.items() if isinstance(value, list)]
    return {str(key): value for key, value in held if str(key) not in used and _is_plain(key) and _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        return len(value) < 200 and value.isprintable()
    return isinstance(value, int) and value.bit_length() < 64


def _add_side(rows: _ImportedRows, side: SideFile) -> None:
    """More rationales by one source, joined by id; ids that no row has are told. The main file's rationale by the same
    source stays.
    """
    known = {example.id for example in rows.examples}
    have = {(r.id, r.source): place for place, r in enumerate(rows.rationales)}
    records, problems = read_records(side.path)
    rows.problems += [dataclasses.replace(problem, file=f"rationales/{problem.file}") for problem in problems]
    header = header_of(record.row for record in records)
    columns = guess_columns(header)
    if records and not (columns.id and columns.rationale):
        lacking = " and ".join(name for name in ("id", "rationale") if not getattr(columns, name))
        raise DataError(
            f"rationales/{side.path.name} has no column {lacking}; it has: {', '.join(header)[:300]}.",
            "Each row needs id and rationale.",
        )
    for record in records:
        try:
            id = text_of(at(record.row, columns.id), "id")
            text = text_of(at(record.row, columns.rationale), "rationale")
            label = text_of(at(record.row, "teacher_label"), "teacher's label")
            if id is None or id not in known:
                if id in rows.refused:
                    continue
                raise DataError(f"the id {str(id)[:60]!r} is no row of the task")
        except DataError as error:
            rows.problems.append(RowProblem(f"rationales/{record.file}", record.line, error.message))
            continue
        place = have.get((id, side.source))
        if place is None:
            have[id, side.source] = len(rows.rationales)
            rows.rationales.append(Rationale(id, side.source, text, label))
        elif rows.rationales[place].teacher_label is None:
            rows.rationales[place] = dataclasses.replace(rows.rationales[place], teacher_label=label)

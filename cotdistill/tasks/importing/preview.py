"""What an import would make of a source, before anything is imported: the map with how sure it is, the columns of text
that nothing reads, and the first rows as they would be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from cotdistill.config import plain
from cotdistill.errors import CotdistillError, DataError, RowProblem
from cotdistill.tasks.importing.answers import READINGS
from cotdistill.tasks.importing.cells import Row, at
from cotdistill.tasks.importing.columns import NAMES, ColumnMap, choices_of, guess_columns, header_of, unread_texts
from cotdistill.tasks.importing.hub import HubSource
from cotdistill.tasks.importing.importer import ImportedRows, add_side, checked_columns, map_of, read_rows
from cotdistill.tasks.importing.source_rows import SideRows, rows_of
from cotdistill.tasks.splits import same_place
from cotdistill.text import plural

# Rows of each split that are read for a preview, and that are shown.
SAMPLE, SHOWN = 1_000, 3
# Columns of these names are taken for rationales, but often hold something else.
OFTEN_OTHERWISE = {"fact1", "solution", "response", "support", "lecture", "facts", "exp"}
Confidence = Literal["given", "high", "medium", "low"]


@dataclass(frozen=True, slots=True)
class FieldGuess:
    """One field of the map and how sure it is."""

    field: str  # question
    columns: str  # context+question; for fixed choices these themselves
    confidence: Confidence  # "given" for what a person has said
    why: str  # 12 of 12 rows


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One row as it would be read."""

    id: str
    split: str  # official split, "" where there is none
    passage: str  # what stands before the question, "" where there is none
    question: str
    choices: tuple[tuple[str, str], ...]  # (label, text) of each; none where answers are written
    gold: tuple[str, ...]  # labels of the right choices; the texts of written answers
    rationales: Mapping[str, str]  # source -> text


@dataclass(frozen=True)
class Preview:
    """The start of something to import."""

    columns: list[str]  # names of the columns, of nested values with a dot
    guessed: ColumnMap  # the map, with what a person has changed
    fields: list[FieldGuess]  # its fields that are set
    rows: list[dict[str, Any]]  # the first rows as they stand in the file
    examples: list[PreviewRow]  # the first rows as they would be read
    unread: list[str]  # columns of text that no field reads
    answers: str  # how answers are read: labels, texts or places; "" where that is not known
    problems: list[RowProblem]  # rows that cannot be read, of the first thousand per split
    counts: dict[str, int]  # file or split -> rows
    error: dict[str, str] | None = None  # why nothing can be imported like this: message, hint
    hub: dict[str, Any] | None = None  # dataset, config, commit and splits of a data set of the hub
    warnings: list[str] = field(default_factory=list)  # what deserves a look

    def document(self) -> dict[str, Any]:
        """As `tasks look` prints it and page Data draws it: plain values, of the map only the fields that are set."""
        examples = [
            {**plain(row), "choices": [{"label": label, "text": text} for label, text in row.choices]}
            for row in self.examples
        ]
        return {
            **plain(self),
            "guessed": self.guessed.set_fields(),
            "missing": self.guessed.missing(),
            "examples": examples,
        }


def preview_source(
    source: Path | HubSource, changes: Mapping[str, Any] | None = None, splits: Mapping[str, str] | None = None
) -> Preview:
    """Read the start of a source as an import would. changes, splits: see `import_task`.

    Raises:
        CotdistillError: no row of it can be read at all. A map that does not fit is told in `Preview.error`.
    """
    whole = rows_of(source, splits)
    counts: dict[str, int] = {}
    for records, _ in whole.by_split.values():
        for record in records:
            counts[record.file] = counts.get(record.file, 0) + 1
    start = whole.first(SAMPLE)
    rows = [record.row for records, _ in start.by_split.values() for record in records]
    header = header_of(rows)
    columns = map_of(start, rows, changes)
    error, imported = None, ImportedRows(problems=[p for _, problems in whole.by_split.values() for p in problems])
    try:
        imported = read_rows(start, checked_columns(columns, None, rows, whole.side))
        _add_rationales(imported, whole.side, columns)
    except CotdistillError as problem:
        error = {"message": problem.message, "hint": problem.hint}
    if not imported.examples and error is None:
        error = {"message": "No row can be used.", "hint": "Check which column holds what."}
    warnings = [*whole.warnings, *imported.warnings]
    if alarm := same_place(imported.examples):
        warnings.append(alarm)
    return Preview(
        header,
        columns,
        _fields(columns, rows, header, set(changes or {}), imported),
        [dict(row) for row in rows[:SHOWN]],
        _examples(imported),
        unread_texts(rows[:200], columns),
        READINGS[imported.reading][0] if imported.reading else "",
        imported.problems,
        counts,
        error,
        whole.info.get("hub"),
        warnings,
    )


def _add_rationales(imported: ImportedRows, side: Sequence[SideRows], columns: ColumnMap) -> None:
    """The rationales of other files for the rows that are shown."""
    shown = {example.id for example in imported.examples[:SHOWN]}
    shown |= {id.partition(":")[2] for id in shown}
    for one in side:
        guess = guess_columns(header_of(record.row for record in one.records[:20]))
        of_shown = [r for r in one.records if str(at(r.row, columns.id) or at(r.row, guess.id)) in shown]
        add_side(imported, replace(one, records=of_shown, problems=[]), columns)


def _examples(imported: ImportedRows) -> list[PreviewRow]:
    first = imported.examples[:SHOWN]
    by_id: dict[str, dict[str, str]] = {example.id: {} for example in first}
    for rationale in imported.rationales:
        if rationale.id in by_id and rationale.text:
            by_id[rationale.id][rationale.source] = rationale.text
    return [
        PreviewRow(
            e.id,
            e.split,
            *e.question_parts(),
            () if e.is_written else tuple((choice.label, choice.text) for choice in e.choices),
            e.golds if e.is_written else tuple(e.choices[place].label for place in e.right_places),
            by_id[e.id],
        )
        for e in first
    ]


def _fields(
    columns: ColumnMap, rows: Sequence[Row], header: Sequence[str], stated: set[str], imported: ImportedRows
) -> list[FieldGuess]:
    """Every field that is set: high where all rows have it and no other column could be meant, low where less than half
    have it, a name often means something else, or answers are no choices.
    """
    used = set(columns.names())
    read = len(imported.examples)
    chosen = {
        "id": [columns.id],
        "passage": columns.passage_columns(),
        "question": columns.question_columns(),
        "hypothesis": [columns.hypothesis],
        "choices": columns.choice_columns(),
        "fixed_choices": [columns.fixed_choices],
        "inline_choices": columns.question_columns()[-1:] if columns.inline_choices else [],
        "answer": [columns.answer],
        "answer_kind": [columns.answer_kind],
        "rationale": [column for column, _ in columns.rationale_columns()],
        "rationale_source": [columns.rationale_source],
        "cluster": [columns.cluster],
        "split": [columns.split],
    }
    guesses = []
    for name, of_field in chosen.items():
        if not any(of_field):
            continue
        filled = read if name in ("answer", "answer_kind") else _filled(name, of_field, rows, columns)
        others = [n for n in header if n.casefold() in NAMES.get(name, ()) and n not in used and _has_text(n, rows)]
        why = [f"{filled:,} of {plural(len(rows), 'row')}"]
        confidence: Confidence = "high" if filled == len(rows) else "medium" if 2 * filled >= len(rows) else "low"
        if name == "rationale":
            doubtful = [n for n in of_field if n.casefold() in OFTEN_OTHERWISE]
            confidence = "low" if doubtful or 2 * filled < len(rows) else "high"
            why += [f"{', '.join(doubtful)} may hold something else"] if doubtful else []
        elif name == "answer" and filled < len(rows):
            confidence = "low"
        if others:
            confidence = "medium" if confidence == "high" else confidence
            why.append(f"it could also be {', '.join(others[:5])}")
        shown = getattr(columns, name) if name != "inline_choices" else "+".join(of_field)
        guesses.append(FieldGuess(name, shown, "given" if name in stated else confidence, "; ".join(why)))
    return guesses


def _filled(name: str, of_field: Sequence[str], rows: Sequence[Row], columns: ColumnMap) -> int:
    """Rows that have the field."""
    if name in ("choices", "fixed_choices", "inline_choices"):
        return sum(_has_choices(row, columns) for row in rows)
    wanted = of_field[-1:] if name == "question" else of_field
    return sum(any(at(row, column) not in (None, "", []) for column in wanted) for row in rows)


def _has_choices(row: Row, columns: ColumnMap) -> bool:
    try:
        return bool(choices_of(row, columns))
    except DataError:
        return False


def _has_text(name: str, rows: Sequence[Row]) -> bool:
    return any(isinstance(value := at(row, name), (str, list)) and value for row in rows[:50])

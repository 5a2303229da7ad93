"""Import of a task from files or from the hub: rows checked one by one, more rationales joined, all of it written whole
or not at all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cotdistill.config import plain, stable_seed
from cotdistill.errors import BadRows, DataError, RowProblem, UnknownName, UsageError
from cotdistill.tasks.catalog import checked_task_name
from cotdistill.tasks.example import CHOICE, Choice, Example
from cotdistill.tasks.importing.answers import READINGS, answer_of, reading_of
from cotdistill.tasks.importing.cells import Row, at, metadata_of, rationale_text, rationale_texts, text_of
from cotdistill.tasks.importing.columns import (
    ColumnMap,
    choices_of,
    guess_columns,
    header_of,
    own_labels,
    passage_lines,
    question_of,
    unread_texts,
    used_columns,
    without_letters,
)
from cotdistill.tasks.importing.files import SPLIT_NAMES, Record, source_name
from cotdistill.tasks.importing.hub import HubSource
from cotdistill.tasks.importing.source_rows import SideRows, SourceRows, rows_of
from cotdistill.tasks.importing.traces import kept_traces
from cotdistill.tasks.importing.writing import write_task
from cotdistill.tasks.importing.written import CALCULATOR, checked_golds, golds_of, without_calculator
from cotdistill.tasks.splits import checks, pattern_of, same_place, with_clusters, with_roles
from cotdistill.tasks.task import Rationale, Task
from cotdistill.tasks.template import Template
from cotdistill.text import plural

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class ImportReport:
    """What an import made: the task, the rows that were left out, and what a person should know."""

    task: Task
    problems: tuple[RowProblem, ...]
    warnings: tuple[str, ...]


@dataclass
class ImportedRows:
    """What was read so far; `refused` holds the ids of rows that cannot be used, whose further rationales are no
    news.
    """

    examples: list[Example] = field(default_factory=list)
    rationales: list[Rationale] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    reading: str = ""
    # By file and line, the ids that had to be made unique.
    renamed: dict[tuple[str, int], str] = field(default_factory=dict)


def import_task(
    root: Path,
    source: Path | HubSource,
    name: str,
    *,
    columns: ColumnMap | None = None,
    changes: Mapping[str, Any] | None = None,
    splits: Mapping[str, str] | None = None,
    shuffle_choices: int | None = None,
    keep_good_rows: bool = False,
    cluster: str | None = None,
    template: Template | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Import a file, a folder of splits with `rationales/SPLIT.SOURCE.*`, or a data set of the hub, as the newest
    version of the task `name`.

    columns: the whole map; changes: fields of the map that differ from the guess, which stays for the others.
    splits: of a folder, the names of its files by our splits; several are joined by + (train=part_1+part_2).
    shuffle_choices: a seed by which the choices of each row are put into another order, drawn by the row's id.
    cluster: a column, or "regex:PATTERN" whose first group on the question names the cluster. BadRows lists every row
    that cannot be used, unless keep_good_rows. Nothing is imported unless everything is.
    """
    tell = progress or (lambda share, what: None)
    checked_task_name(name)
    pattern = pattern_of(cluster) if cluster and cluster.startswith("regex:") else None
    tell(0.05, "reading rows")
    with _without_collector():
        source_rows = rows_of(source, splits)
    every = [r.row for records, _ in source_rows.by_split.values() for r in records]
    mapping = columns or map_of(source_rows, every, changes)
    chosen = checked_columns(mapping, cluster if cluster and not pattern else None, every, source_rows.side)
    with _without_collector():
        rows = read_rows(source_rows, chosen)
    if unread := unread_texts(every[:200], chosen):
        rows.warnings.append(
            f"No field reads these columns of text: {', '.join(unread)[:300]}. "
            f"If one is a rationale or a part of the question, say so (rationale={unread[0]})."
        )
    if shuffle_choices is not None and chosen.is_written:
        raise UsageError("--shuffle-choices: answers of this task are written, not chosen.", "Leave it out.")
    shuffle_choices = source_rows.shuffle_choices if shuffle_choices is None else shuffle_choices
    if shuffle_choices is not None:
        rows.examples = [_shuffled(example, shuffle_choices) for example in rows.examples]
    default = _usual(rows)
    tell(0.3, "reading rationales")
    for side in source_rows.side:
        add_side(rows, side, chosen)
    tell(0.4, "checking rows")
    if rows.problems and not keep_good_rows:
        raise BadRows(rows.problems, "Correct them, or import the good rows alone (--keep-good-rows).")
    if not rows.examples:
        raise BadRows(rows.problems, "No row can be used. Check which column holds what (--columns).")
    warnings = rows.warnings
    examples, roles = with_roles(with_clusters(rows.examples, pattern, warnings), warnings)
    checked = checks(examples, warnings)
    if alarm := same_place(examples):
        warnings.append(f"{alarm} Put the choices into another order: --shuffle-choices 0.")
    rationales, template = kept_traces(rows.rationales, template or source_rows.template, warnings)
    if not any(rationale.text for rationale in rationales):
        warnings.append("There are no rationales: only label_only can be trained.")
    if chosen.passage:
        template = template.with_passage()
    tell(0.5, "writing, and training tokenizers")
    task = write_task(
        root,
        name,
        examples=examples,
        rationales=rationales,
        template=template,
        roles=roles,
        title=source_rows.title or name,
        help=source_rows.help,
        default_source=default,
        tokenizer_kind="bpe",
        info={
            "checks": checked,
            "columns": plain(chosen.noted()),
            **({"answers": READINGS[rows.reading][0]} if rows.reading else {}),
            **({"shuffle_choices": shuffle_choices} if shuffle_choices is not None else {}),
            "left_out": len(rows.problems),
            "warnings": warnings,
            **source_rows.info,
        },
        progress=lambda stage: tell(0.7, stage),
    )
    tell(1.0, "done")
    # How it was read is no part of the task: the same rows from the hub and from its cache are the same task.
    return ImportReport(task, tuple(rows.problems), (*source_rows.warnings, *warnings))


@contextmanager
def _without_collector() -> Iterator[None]:
    """Rows hold no cycles, so the collector would look through all of them again and again for nothing: a third of the
    time of reading.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def map_of(source_rows: SourceRows, rows: Sequence[Row], changes: Mapping[str, Any] | None = None) -> ColumnMap:
    """The map of a known data set, else the one that fits the columns; with the fields that a person has changed."""
    return _changed(source_rows.guessed or guess_columns(header_of(rows), rows), changes or {})


def _changed(mapping: ColumnMap, changes: Mapping[str, Any]) -> ColumnMap:
    """A map with some fields changed. Choices that are named take the place of those that were guessed."""
    if {"choices", "fixed_choices", "inline_choices"} & set(changes):
        mapping = dataclasses.replace(mapping, choices="", fixed_choices="", inline_choices=False)
    if "question" in changes and "hypothesis" not in changes:
        mapping = dataclasses.replace(mapping, hypothesis="")
    if "passage" in changes and "question" not in changes:
        passages = dataclasses.replace(mapping, passage=changes["passage"]).passage_columns()
        asked = [name for name in mapping.question_columns() if name not in passages]
        mapping = dataclasses.replace(mapping, question="+".join(asked))
    return dataclasses.replace(mapping, **changes)


def checked_columns(
    chosen: ColumnMap, cluster: str | None, rows: Sequence[Row], side: Sequence[SideRows] = ()
) -> ColumnMap:
    """The columns to read; those of rationales may stand in the files of further rationales alone.

    Raises:
        UnknownName: a column that no row has.
        DataError: no column is known for a field that is needed.
    """
    header = header_of(rows)
    if cluster:
        chosen = dataclasses.replace(chosen, cluster=cluster)
    if missing := chosen.missing():
        if missing == ["choices"]:
            raise DataError(
                f"No column is known for choices; the file has: {', '.join(header)[:300] or 'none'}.",
                "Name the choices (--map choices=COLUMN), or say that answers are written: --map answer_kind=number or"
                " answer_kind=text",
            )
        raise DataError(
            f"No column is known for {', '.join(missing)}; the file has: {', '.join(header)[:300] or 'none'}.",
            "Say which is which with --map FIELD=COLUMN; what is guessed stays.",
        )
    beside = {name for one in side for name in header_of(record.row for record in one.records[:20])}
    beside &= {column for column, _ in chosen.rationale_columns()}
    for name in chosen.names():
        if name not in header and name not in beside and all(at(row, name) is None for row in rows):
            raise UnknownName("column", name, header)
    return chosen


def _usual(rows: ImportedRows) -> str:
    """The source that the training rows' own column names most often; "" if they have none."""
    train = {e.id for e in rows.examples if e.split in ("train", "")}
    counts = Counter(r.source for r in rows.rationales if r.id in train)
    return counts.most_common(1)[0][0] if counts else ""


def read_rows(located: SourceRows, columns: ColumnMap) -> ImportedRows:
    """Every row as an example, or among the problems; DataError where answers can be read in two ways."""
    rows = ImportedRows()
    for _, problems in located.by_split.values():
        rows.problems += problems
    placed, further = _further_apart(_placed(located, columns, rows), columns)
    _make_ids_unique(rows, placed, columns)
    if columns.is_written:
        return _read_written(rows, placed, further, columns)
    named = columns.named_values()
    read: list[tuple[Record, str, str, tuple[Choice, ...], Any]] = []
    for record, split in placed:
        try:
            answer = [_meaning(one, named, columns) for one in _several(at(record.row, columns.answer))]
            read.append((record, split, question_of(record.row, columns), choices_of(record.row, columns), answer))
        except DataError as error:
            _refuse(rows, record, columns, error)
    bare = [without_letters(choices) for _, _, _, choices, _ in read]
    if read and all(bare):
        rows.warnings.append('The choices began with their own letters ("A)..."): these are taken off.')
        read = [(*r[:3], choices, r[4]) for r, choices in zip(read, bare, strict=True) if choices]
    rows.reading = reading_of(
        [(answer, choices) for _, _, _, choices, answers in read for answer in answers],
        own_labels=own_labels([record.row for record, *_ in read[:50]], columns) or (bool(read) and all(bare)),
        answer_is=columns.answer_is,
        first_number=columns.first_number,
    )
    for record, split, question, choices, answers in read:
        try:
            labels = list(dict.fromkeys(answer_of(answer, choices, rows.reading) for answer in answers))
            _keep(rows, record, split, question, choices, labels, columns)
        except DataError as error:
            _refuse(rows, record, columns, error)
    _keep_further(rows, further, columns)
    if several := sum(bool(e.also_right) for e in rows.examples):
        rows.warnings.append(
            f"{plural(several, 'row')} with several right choices: an answer is right when it is one of them, and"
            " students are trained on the first."
        )
    return rows


def _several(value: Any) -> list[Any]:
    """The answers in a cell: of a list (also one that is spelt out, ["A", "C"]) each of its parts."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, (list, tuple)):
        return list(value) or [None]
    return [value]


def _read_written(
    rows: ImportedRows,
    placed: Sequence[tuple[Record, str]],
    further: Sequence[tuple[Record, Record]],
    columns: ColumnMap,
) -> ImportedRows:
    """Rows whose answers are written; a rationale that stands before the answer in the same cell is the row's."""
    marks = 0
    for record, split in placed:
        try:
            question = question_of(record.row, columns)
            before, golds = golds_of(at(record.row, columns.answer))
            checked_golds(golds, columns.answer_kind)
            choices = tuple(Choice(str(place + 1), gold) for place, gold in enumerate(golds))
            if columns.calculator == "remove":
                marks += CALCULATOR.search(before) is not None
                before = without_calculator(before)
            _keep(rows, record, split, question, choices, [c.label for c in choices], columns, before)
        except DataError as error:
            _refuse(rows, record, columns, error)
    _keep_further(rows, further, columns)
    if marks:
        rows.warnings.append(
            f"The calculator's marks (<<48/2=24>>) are removed from {plural(marks, 'rationale')}. To keep them: --map"
            " calculator=keep"
        )
    return rows


def _further_apart(
    placed: Sequence[tuple[Record, str]], columns: ColumnMap
) -> tuple[list[tuple[Record, str]], list[tuple[Record, Record]]]:
    """The rows that are questions, and (row, earlier row) for each that repeats id, question, choices and answer of an
    earlier row with another rationale."""
    held = [column for column, _ in columns.rationale_columns()]
    if not columns.id or not held:
        return list(placed), []
    same = (*columns.question_columns(), columns.hypothesis, *columns.choice_columns(), columns.answer)
    rows: list[tuple[Record, str]] = []
    further: list[tuple[Record, Record]] = []
    first: dict[tuple[str, str], Record] = {}
    seen: set[tuple[str, str, str]] = set()
    for record, split in placed:
        key = (split, _id(record, columns))
        earlier = first.setdefault(key, record)
        said = repr([at(record.row, column) for column in held])
        repeats = all(at(record.row, column) == at(earlier.row, column) for column in same)
        if earlier is not record and repeats and (*key, said) not in seen:
            further.append((record, earlier))
        else:
            rows.append((record, split))
        seen.add((*key, said))
    return rows, further


def _meaning(value: Any, named: Mapping[str, str], columns: ColumnMap) -> Any:
    """The answer that a value stands for, as `values` says; true and false are yes and no where these are the
    choices.
    """
    stated = text_of(value, "answer")
    if stated is None:
        return value
    if named:
        return named.get(stated.casefold(), value)
    choices = {choice.strip().casefold() for choice in columns.fixed_choices.split("|")}
    if choices == {"yes", "no"}:
        return {"true": "yes", "false": "no"}.get(stated.casefold(), value)
    return value


def _make_ids_unique(rows: ImportedRows, placed: Sequence[tuple[Record, str]], columns: ColumnMap) -> None:
    """Ids that repeat get their split in front, and their line behind where they repeat within a split; said so."""
    ids = [_id(record, columns) for record, _ in placed]
    if len(set(ids)) == len(ids):
        return
    within = Counter((split, id) for id, (_, split) in zip(ids, placed, strict=True))
    repeated = sum(count - 1 for count in within.values())
    if repeated:
        rows.warnings.append(
            f"{plural(repeated, 'row')} with the id of an earlier row of the split: the line is put behind it."
        )
    else:
        rows.warnings.append("Ids begin anew in each split: each gets its split in front (train:0).")
    anew = len({id for _, id in within}) < len(within)
    taken: set[tuple[str, str]] = set()
    for id, (record, split) in zip(ids, placed, strict=True):
        front = f"{split}:{id}" if anew else id
        # The first row keeps the id, so that further rationales still find it.
        rows.renamed[record.file, record.line] = f"{front}:{record.line}" if (split, id) in taken else front
        taken.add((split, id))


def _shuffled(example: Example, seed: int) -> Example:
    """The same labels before texts in another order, drawn from the seed and the example's id."""
    order = np.random.default_rng(stable_seed("shuffle_choices", seed, example.id)).permutation(len(example.choices))
    texts = [example.choices[place].text for place in order]
    choices = tuple(Choice(c.label, text) for c, text in zip(example.choices, texts, strict=True))
    new_place = {int(old): new for new, old in enumerate(order)}
    labels = [choices[new_place[place]].label for place in example.right_places]
    return dataclasses.replace(example, choices=choices, answer=labels[0], also_right=tuple(labels[1:]))


def _placed(located: SourceRows, columns: ColumnMap, rows: ImportedRows) -> list[tuple[Record, str]]:
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


def _refuse(rows: ImportedRows, record: Record, columns: ColumnMap, error: DataError) -> None:
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
    rows: ImportedRows,
    record: Record,
    split: str,
    question: str,
    choices: tuple[Choice, ...],
    labels: Sequence[str],
    columns: ColumnMap,
    before: str = "",
) -> None:
    """labels: of the right choices; before: a rationale that stands before the answer in the same cell."""
    row = record.row
    text_of(at(row, columns.id), "id")
    id = rows.renamed.get((record.file, record.line)) or _id(record, columns)
    example = Example(
        id=id,
        question=question,
        choices=choices,
        answer=labels[0],
        also_right=tuple(labels[1:]),
        kind=columns.answer_kind or CHOICE,
        split=split,
        cluster=text_of(at(row, columns.cluster), "cluster") or "",
        metadata=metadata_of(row, used_columns(columns)),
        passage_lines=passage_lines(row, columns),
    )
    _keep_rationales(rows, record, id, columns, before)
    rows.examples.append(example)


def _keep_further(rows: ImportedRows, further: Sequence[tuple[Record, Record]], columns: ColumnMap) -> None:
    """Add the rationales of rows that repeat an earlier question, as further ones of it."""
    for record, first in further:
        id = rows.renamed.get((first.file, first.line)) or _id(first, columns)
        if id not in rows.refused:
            before = golds_of(at(record.row, columns.answer))[0] if columns.is_written else ""
            removes = columns.calculator == "remove"
            _keep_rationales(rows, record, id, columns, without_calculator(before) if removes else before)
    if further:
        rows.warnings.append(
            f"{plural(len(further), 'row')} repeat an earlier question with another rationale: they are further"
            " rationales of it (@rationales=2 reads two in turn)."
        )


def _keep_rationales(rows: ImportedRows, record: Record, id: str, columns: ColumnMap, before: str = "") -> None:
    """Add the rationales in a row; DataError before any is added where a cell cannot be text. before: what stands
    before the answer in the answer's cell, taken where no column holds a rationale."""
    held, listed = columns.rationale_columns(), columns.listed_rationales()
    texts = {(c, named): rationale_texts(at(record.row, c), c in listed) for c, named in held}
    source = text_of(at(record.row, columns.rationale_source), "rationale source")
    if before and not any(texts.values()):
        rows.rationales.append(Rationale(id, source_name(source or "rationale"), before))
    for (column, named), several in texts.items():
        usual = source or ("rationale" if len(held) == 1 else column)
        rows.rationales += [Rationale(id, source_name(named or usual), text) for text in several]


def add_side(rows: ImportedRows, side: SideRows, mapped: ColumnMap) -> None:
    """More rationales by one source, joined by id; ids that no row has are told. The main file's rationale by the same
    source stays. mapped: the map of the task, whose columns of rationales and ids count here where they stand.
    """
    known = {example.id for example in rows.examples}
    have = {(r.id, r.source): place for place, r in enumerate(rows.rationales)}
    before = len(rows.rationales)
    records = side.records
    rows.problems += side.problems
    header = header_of(record.row for record in records)
    columns = guess_columns(header, [record.row for record in records[:20]])
    named = [column for column, _ in mapped.rationale_columns() if column in header]
    columns = dataclasses.replace(
        columns,
        rationale=named[0] if named else columns.rationale,
        id=mapped.id if mapped.id in header else columns.id,
    )
    if records and not (columns.id and columns.rationale):
        lacking = " and ".join(name for name in ("id", "rationale") if not getattr(columns, name))
        raise DataError(
            f"rationales/{side.name} has no column {lacking}; it has: {', '.join(header)[:300]}.",
            "Each row needs id and rationale.",
        )
    for record in records:
        try:
            id = text_of(at(record.row, columns.id), "id")
            text = rationale_text(at(record.row, columns.rationale))
            label = text_of(at(record.row, "teacher_label"), "teacher's label")
            if id is not None and id not in known and f"{side.split}:{id}" in known:
                id = f"{side.split}:{id}"
            if id is None or id not in known:
                if id in rows.refused:
                    continue
                raise DataError(f"the id {str(id)[:60]!r} is no row of the task")
        except DataError as error:
            rows.problems.append(RowProblem(f"rationales/{record.file}", record.line, error.message))
            continue
        place = have.get((id, side.source))
        if place is None or (place >= before and text != rows.rationales[place].text):
            # A side file may hold several rationales of a question; the main file's own stays alone.
            have.setdefault((id, side.source), len(rows.rationales))
            rows.rationales.append(Rationale(id, side.source, text, label))
        elif rows.rationales[place].teacher_label is None:
            rows.rationales[place] = dataclasses.replace(rows.rationales[place], teacher_label=label)

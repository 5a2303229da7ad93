"""Import of a task from files: rows checked one by one, splits given their roles, clusters found, duplicates and overlaps counted."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotdistill.config import plain, stable_seed
from cotdistill.errors import BadRows, DataError, RowProblem, UsageError
from cotdistill.tasks.catalog import TASKS
from cotdistill.tasks.columns import ColumnMap, answer_of, at, choices_of, first_number, guess_columns, header_of, question_of, text_of
from cotdistill.tasks.example import Example
from cotdistill.tasks.files import SPLIT_NAMES, Record, SideFile, find_files, read_records, source_name
from cotdistill.tasks.task import SPLITS, Rationale, Task, write_task
from cotdistill.tasks.template import Template

DEV_SHARE = 0.10
PREMISE = re.compile(r"^premise:\s*(.+?)\s*hypothesis:", re.IGNORECASE | re.DOTALL)
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class ImportReport:
    """What an import made: the task, the rows that were left out, and what a person should know."""

    task: Task
    problems: tuple[RowProblem, ...]
    warnings: tuple[str, ...]


@dataclass
class _Rows:
    examples: list[Example]
    rationales: list[Rationale]
    problems: list[RowProblem]


def import_task(
    root: Path,
    path: Path,
    name: str,
    *,
    columns: ColumnMap | None = None,
    keep_good_rows: bool = False,
    cluster: str | None = None,
    template: Template | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Import a file, or a folder of splits with `rationales/SPLIT.SOURCE.*`, as the newest version of the task `name`.

    cluster: a column, or "regex:PATTERN" whose first group on the question names the cluster. BadRows lists every row that cannot be used,
    unless keep_good_rows. Nothing is imported unless everything is.
    """
    tell = progress or (lambda share, what: None)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) or name in TASKS or name in ("newest",):
        taken = " (that name belongs to a generated task)" if name in TASKS else ""
        raise UsageError(f"{name!r} cannot name a task{taken}.", "Use letters, digits, dot, dash or underscore, at most 64 of them.")
    found = find_files(path)
    tell(0.05, "reading rows")
    by_file = {split: read_records(file) for split, file in found.main.items()}
    records = [record for rows, _ in by_file.values() for record in rows]
    chosen = columns or guess_columns(header_of(record.row for record in records[:200]))
    if missing := chosen.missing():
        held = ", ".join(header_of(record.row for record in records[:200]))[:300]
        raise DataError(f"No column is known for {', '.join(missing)}; the file has: {held}.", "Say which is which with --columns.")
    rows = _read(by_file, chosen)
    own = _usual(rows)
    tell(0.3, "reading rationales")
    _add_sides(rows, found.side)
    if rows.problems and not keep_good_rows:
        raise BadRows(rows.problems, "Correct them, or import the good rows alone (--keep-good-rows).")
    if not rows.examples:
        raise BadRows(rows.problems, "No row can be used. Check which column holds what (--columns).")
    warnings: list[str] = []
    examples = _clustered(rows.examples, cluster, warnings)
    examples, roles = _with_roles(examples, warnings)
    checks = _checks(examples, warnings)
    if not rows.rationales:
        warnings.append("There are no rationales: only label_only can be trained.")
    tell(0.5, "writing, and training tokenizers")
    task = write_task(
        root,
        name,
        examples=examples,
        rationales=rows.rationales,
        template=template or Template(),
        roles=roles,
        title=name,
        help=f"imported from {path.name}",
        default_source=own,
        tokenizer_kind="bpe",
        info={"checks": checks, "columns": plain(chosen), "left_out": len(rows.problems), "warnings": warnings},
        progress=lambda stage: tell(0.7, stage),
    )
    tell(1.0, "done")
    return ImportReport(task, tuple(rows.problems), tuple(warnings))


def _usual(rows: _Rows) -> str:
    """The source that the training rows' own column names most often; "" if they have none."""
    train = {e.id for e in rows.examples if e.split in ("train", "")}
    counts = Counter(r.source for r in rows.rationales if r.id in train)
    return counts.most_common(1)[0][0] if counts else ""


def _read(by_file: dict[str, tuple[list[Record], list[RowProblem]]], columns: ColumnMap) -> _Rows:
    rows = _Rows([], [], [])
    seen: dict[str, str] = {}
    for split, (records, problems) in by_file.items():
        rows.problems += problems
        read: list[tuple[Record, Any, Any]] = []
        for record in records:
            try:
                read.append((record, question_of(record.row, columns), choices_of(record.row, columns)))
            except DataError as error:
                rows.problems.append(RowProblem(record.file, record.line, error.message))
        first = columns.first_number if columns.first_number >= 0 else first_number((at(r.row, columns.answer), c) for r, _, c in read)
        for record, question, choices in read:
            try:
                example = _example(record, question, choices, first, columns, split)
                if example.id in seen:
                    raise DataError(f"the id {example.id[:60]!r} stands already in {seen[example.id]}")
                seen[example.id] = f"{record.file} line {record.line}"
                rows.examples.append(example)
                text = text_of(at(record.row, columns.rationale), "rationale")
                source = text_of(at(record.row, columns.rationale_source), "rationale source")
            except DataError as error:
                rows.problems.append(RowProblem(record.file, record.line, error.message))
                continue
            if text:
                rows.rationales.append(Rationale(example.id, source_name(source or "rationale"), text))
    return rows


def _example(record: Record, question: str, choices: Any, first: int, columns: ColumnMap, file_split: str) -> Example:
    row = record.row
    said = text_of(at(row, columns.split), "split") if not file_split else None
    split = file_split or (SPLIT_NAMES.get(said.casefold(), "") if said else "")
    if said and not split:
        raise DataError(f"the split {said[:40]!r} is none of train, dev, test")
    used = set(columns.names())
    kept = {str(k): v for k, v in row.items() if k not in used and isinstance(v, (str, int, float, bool)) and len(str(v)) < 200}
    return Example(
        id=text_of(at(row, columns.id), "id") or f"{record.file}:{record.line}",
        question=question,
        choices=choices,
        answer=answer_of(at(row, columns.answer), choices, first),
        split=split,
        cluster=text_of(at(row, columns.cluster), "cluster") or "",
        metadata=kept,
    )


def _add_sides(rows: _Rows, sides: Sequence[SideFile]) -> None:
    """More rationales, joined by id; ids that no row has are told."""
    known = {example.id for example in rows.examples}
    have = {(r.id, r.source) for r in rows.rationales}
    for side in sides:
        records, problems = read_records(side.path)
        rows.problems += problems
        for record in records:
            try:
                id = text_of(at(record.row, "id"), "id")
                text = text_of(at(record.row, "rationale"), "rationale")
                label = text_of(at(record.row, "teacher_label"), "teacher's label")
                if id is None or id not in known:
                    raise DataError(f"the id {str(id)[:60]!r} is no row of the task")
            except DataError as error:
                rows.problems.append(RowProblem(f"rationales/{record.file}", record.line, error.message))
                continue
            if (id, side.source) not in have:
                have.add((id, side.source))
                rows.rationales.append(Rationale(id, side.source, text, label))


def _clustered(examples: list[Example], rule: str | None, warnings: list[str]) -> list[Example]:
    """Every row with its cluster: its column's, the pattern's, its premise, or the question itself."""
    if rule and rule.startswith("regex:"):
        try:
            pattern = re.compile(rule.removeprefix("regex:"), re.IGNORECASE | re.DOTALL)
        except re.error as error:
            raise UsageError(
                f"The cluster pattern cannot be read: {error}.", "For example regex:^(.+?)\\? where the first group names the cluster."
            ) from error
        if pattern.groups < 1:
            raise UsageError("The cluster pattern has no group.", "Put what names the cluster in brackets.")
    elif rule:
        missing = sum(rule not in example.metadata for example in examples)
        if missing == len(examples):
            raise UsageError(f"There is no column {rule!r} to cluster by.", "Name a column, or regex:PATTERN.")
        return [dataclasses.replace(e, cluster=str(e.metadata.get(rule, e.id))) for e in examples]
    else:
        pattern = PREMISE
    matches = {e.id: m.group(1) for e in examples if not e.cluster and (m := pattern.search(e.question))}
    if matches and not rule:
        warnings.append(f"{len(matches)} questions have a premise: questions on the same premise form one cluster.")
    return [dataclasses.replace(e, cluster=e.cluster or _folded(matches.get(e.id, e.question))) for e in examples]


def _folded(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))[:500] or text[:500]


def _with_roles(examples: list[Example], warnings: list[str]) -> tuple[list[Example], dict[str, str]]:
    """Give every row its split. A task without a labelled test: official dev becomes test, a hash-fixed tenth of train dev."""
    have = {e.split for e in examples}
    if have <= {""} or len(have) == 1:
        warnings.append("There is one split only: it is cut by hash into 80 % train, 10 % dev and 10 % test, cluster by cluster.")
        cut = [dataclasses.replace(e, split=_tenth(e.cluster, {0: "test", 1: "dev"})) for e in examples]
        roles = {"train": "80 % of the rows, by hash of the cluster", "dev": "10 % of the rows, by hash", "test": "10 % of the rows, by hash"}
    elif {"train", "test", "dev"} <= have:
        cut, roles = examples, {"train": "official train", "dev": "official dev", "test": "official test"}
    elif {"train", "test"} <= have:
        cut = [dataclasses.replace(e, split=_tenth(e.cluster, {0: "dev"})) if e.split == "train" else e for e in examples]
        roles = {"train": "official train less a hash-fixed 10 %", "dev": "a hash-fixed 10 % of train", "test": "official test"}
    elif {"train", "dev"} <= have:
        cut = [dataclasses.replace(e, split="test" if e.split == "dev" else _tenth(e.cluster, {0: "dev"})) for e in examples]
        roles = {"train": "official train less a hash-fixed 10 %", "dev": "a hash-fixed 10 % of train", "test": "official dev"}
        warnings.append("There is no test split with labels: official dev is the test, and a hash-fixed 10 % of train is dev.")
    else:
        raise DataError(f"There is no training split; found {', '.join(sorted(have))}.", "Add train.jsonl, or import one file alone.")
    for split in SPLITS:
        if not any(e.split == split for e in cut):
            raise DataError(f"No row falls into the {split} split: {len(cut)} rows are too few.", "Import more rows, or give every split its file.")
    return cut, roles


def _tenth(cluster: str, named: dict[int, str]) -> str:
    """The split of a cluster by hash: one of ten equal parts each for those named, train for the rest."""
    return named.get(stable_seed("split", cluster) % round(1 / DEV_SHARE), "train")


def _checks(examples: Sequence[Example], warnings: list[str]) -> dict[str, Any]:
    """Questions that occur twice, within a split and across splits."""
    keys: dict[str, list[str]] = {}
    for e in examples:
        keys.setdefault(_folded(e.question) + "|" + "|".join(sorted(_folded(c.text) for c in e.choices)), []).append(e.split)
    repeated = sum(len(splits) - len(set(splits)) for splits in keys.values())
    overlaps = Counter(" and ".join(sorted(set(splits))) for splits in keys.values() if len(set(splits)) > 1)
    across: dict[str, set[str]] = {}
    for e in examples:
        across.setdefault(e.cluster, set()).add(e.split)
    shared = sum(len(splits) > 1 for splits in across.values())
    if repeated:
        warnings.append(f"{repeated} questions occur twice within a split, with the same choices.")
    warnings += [f"{count} questions stand in {where}, with the same choices." for where, count in sorted(overlaps.items())]
    return {"repeated_within_a_split": repeated, "in_two_splits": dict(overlaps), "clusters_in_two_splits": shared}

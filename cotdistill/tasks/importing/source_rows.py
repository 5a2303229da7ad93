"""Where the rows of an import are: files of a folder or splits of the hub, found and opened but not yet read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cotdistill.errors import RowProblem
from cotdistill.tasks.importing.columns import ColumnMap
from cotdistill.tasks.importing.files import Record, SideFile, find_files, read_records
from cotdistill.tasks.importing.hub import HubSource, hub_columns, read_hub
from cotdistill.tasks.template import Template


@dataclass(frozen=True)
class SideRows:
    """Further rationales by one source, in a file of their own."""

    split: str  # official split of the rows that they speak of
    source: str  # whose they are
    records: list[Record]
    problems: list[RowProblem]
    name: str  # of the file


@dataclass(frozen=True)
class SourceRows:
    """What there is to import, wherever it is from."""

    by_split: Mapping[str, tuple[list[Record], list[RowProblem]]]  # rows that were read, and those that could not be
    guessed: ColumnMap | None = None  # the map of a data set of the hub
    side: tuple[SideRows, ...] = ()  # further rationales for the same rows
    title: str = ""
    help: str = ""
    template: Template = field(default_factory=Template)
    test_asked: str = ""  # the hub's split that a person has named as the test
    warnings: tuple[str, ...] = ()  # about the source; no part of the task
    info: Mapping[str, Any] = field(default_factory=dict)  # where it is from, kept with the task
    shuffle_choices: int | None = None  # seed for the order of the choices, of a data set whose right choice is first

    def first(self, number: int) -> SourceRows:
        """The same with the first rows of every split alone."""
        start = {split: (records[:number], problems) for split, (records, problems) in self.by_split.items()}
        return dataclasses.replace(self, by_split=start)


def rows_of(source: Path | HubSource, splits: Mapping[str, str] | None = None) -> SourceRows:
    """The rows of a source. splits: of a folder, the names of its files by our splits; a HubSource has its own."""
    if isinstance(source, HubSource):
        return _of_hub(source)
    files = find_files(source, splits)
    several = [
        f"The {split} split is {len(of_split)} files: {', '.join(file.name for file in of_split)[:200]}."
        for split, of_split in files.main.items()
        if len(of_split) > 1
    ]
    return SourceRows(
        {split: _together([read_records(file) for file in of_split]) for split, of_split in files.main.items()},
        side=tuple(_side_rows(file) for file in files.side),
        help=f"imported from {source.name}",
        warnings=tuple(several),
    )


def _side_rows(file: SideFile) -> SideRows:
    records, problems = read_records(file.path)
    placed = [dataclasses.replace(problem, file=f"rationales/{problem.file}") for problem in problems]
    return SideRows(file.split, file.source, records, placed, file.path.name)


def _together(
    parts: Sequence[tuple[list[Record], list[RowProblem]]],
) -> tuple[list[Record], list[RowProblem]]:
    """The rows and problems of several files of one split."""
    return [record for records, _ in parts for record in records], [p for _, problems in parts for p in problems]


def _of_hub(source: HubSource) -> SourceRows:
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
    return SourceRows(
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
        shuffle_choices=known.shuffle_choices if known else None,
    )

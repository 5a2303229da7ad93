"""The command of an analysis that has no file of its own here: options, document and text follow from its entry."""

from __future__ import annotations

import argparse
import dataclasses
from functools import partial
from typing import Any

from cotdistill.cli.command import Command, Result
from cotdistill.cli.inspect.shared import add_where, asked_about, records, run_analysis, write_table
from cotdistill.cli.output import printable, table
from cotdistill.store.store import Store
from cotdistill.studies.analyses import CONFIGS
from cotdistill.studies.analysis import Analysis, CheckpointConfig
from cotdistill.studies.inspection_jobs import ids_of, trained
from cotdistill.text import plural

# Rows that the text shows; --out and --json have all.
ROWS = 20


def command_of(entry: Analysis) -> Command:
    """`inspect NAME RUN` for an analysis over examples at one checkpoint."""
    config = CONFIGS[entry.kind]
    assert issubclass(config, CheckpointConfig), f"{entry.name} needs a command of its own: cli/inspect/{entry.name}.py"
    name, columns = next(iter(entry.tables.items()))
    return Command(
        "inspect",
        entry.name,
        entry.help,
        partial(_run, entry, config),
        {
            "run": "number of the training run",
            "condition": "its condition",
            "checkpoint": "share of its steps",
            "split": "which split the examples are from",
            "job": "number of the job; null if it was computed at once",
            "out": "file that was written, or null",
            "summary": "what the analysis says of all examples together",
            "results": f"the rows of the table {name!r}",
            **{f"results[].{column}": meaning for column, meaning in columns.items()},
        },
        partial(_arguments, entry, config),
        notes=entry.notes,
    )


def _arguments(entry: Analysis, config: type[CheckpointConfig], parser: argparse.ArgumentParser) -> None:
    add_where(parser, examples=str(entry.examples), split=entry.splits[0], splits=entry.splits)
    parser.add_argument(
        "--checkpoint",
        metavar="SHARE",
        default="1",
        help="share of the steps at which weights were kept; default 1, the end",
    )
    for field in _settings(config):
        choices = field.metadata.get("choices")
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(field.default),
            default=field.default,
            choices=choices,
            metavar=None if choices else "N" if isinstance(field.default, (int, float)) else "TEXT",
            help=f"{field.metadata.get('help', field.name)}; default {field.default}",
        )


def _settings(config: type[CheckpointConfig]) -> list[dataclasses.Field[Any]]:
    """The fields that this analysis has beside run, examples, checkpoint and source."""
    shared = {field.name for field in dataclasses.fields(CheckpointConfig)}
    return [field for field in dataclasses.fields(config) if field.name not in shared]


def _run(entry: Analysis, config: type[CheckpointConfig], arguments: argparse.Namespace) -> Result:
    store = Store.open()
    job = trained(store, arguments.run)
    checkpoint, examples = asked_about(store, job, arguments)
    settings = {field.name: getattr(arguments, field.name) for field in _settings(config)}
    asked = config(job.identity, arguments.split, ids_of(examples), checkpoint, arguments.source, **settings)
    result = run_analysis(store, job, asked, as_job=arguments.job)
    frame = result.tables[next(iter(entry.tables))]
    document = {
        "run": job.id,
        "condition": job.config["condition"],
        "checkpoint": checkpoint,
        "split": arguments.split,
        "job": result.number,
        "out": write_table(arguments.out, frame),
        "summary": result.summary,
        "results": records(frame),
    }
    lines = [
        f"{entry.name} of run {job.id} ({printable(job.label)}),"
        f" {plural(len(examples), 'example')} of {arguments.split}",
        *(f"{name}: {value}" for name, value in result.summary.items()),
        "",
        table(list(frame.columns), [[_cell(v) for v in row.values()] for row in document["results"][:ROWS]]),
    ]
    if len(frame) > ROWS:
        lines.append(f"{plural(len(frame) - ROWS, 'more row')}: --out FILE.parquet, or --json")
    return Result(document, "\n".join(lines))


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else printable(str(value))

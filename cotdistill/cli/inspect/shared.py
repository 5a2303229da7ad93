"""What the commands that look inside a student share: which run and examples are meant, and doing the work at once or
as a job.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cotdistill.cli.output import Progress, note, whole_file
from cotdistill.config import from_mapping
from cotdistill.errors import CotdistillError, UsageError
from cotdistill.execution.supervisor import ensure_supervisor
from cotdistill.saliency.settings import AttributionSettings
from cotdistill.store.records import Job
from cotdistill.store.store import Store
from cotdistill.studies.analysis import AnalysisConfig
from cotdistill.studies.inspection_jobs import (
    AT_ONCE_SECONDS,
    checked_checkpoint,
    existing_job,
    pick_examples,
    source_of,
    task_of,
    trained,
)
from cotdistill.tasks.example import Example

POLL_SECONDS = 0.5
RUN_HELP = "number of a finished training run, or the start of its identity"
EXAMPLES_HELP = "N (the first N of the split by id), ids with commas between, or a file with one id a line"


def add_where(parser: argparse.ArgumentParser, *, examples: str, split: str, splits: tuple[str, ...]) -> None:
    """The words that say which student and which examples."""
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument(
        "--examples", metavar="N|ID,ID|FILE", default=examples, help=f"{EXAMPLES_HELP}; default {examples}"
    )
    parser.add_argument("--split", choices=splits, default=split, help=f"default {split}")
    parser.add_argument("--source", metavar="S", default="", help="whose rationales are read; default: the run's")
    parser.add_argument("--out", metavar="FILE.parquet", type=Path, help="write the table there")
    parser.add_argument("--job", action="store_true", help="as a job in any case, so that the result is kept")


def asked_about(store: Store, job: Job, arguments: argparse.Namespace) -> tuple[str, list[Example]]:
    """The checkpoint of a run and the examples that the words of `add_where` and --checkpoint name."""
    checkpoint = checked_checkpoint(job, arguments.checkpoint)
    source = source_of(job, arguments.source)
    return checkpoint, pick_examples(task_of(store, job), arguments.split, arguments.examples, source)


def runs_of(store: Store, words: str) -> list[Job]:
    """The finished training runs of a list such as 4,15,26, each once; UsageError where none is named."""
    trained_jobs = [trained(store, run.strip()) for run in words.split(",") if run.strip()]
    jobs = list({job.id: job for job in trained_jobs}.values())
    if not jobs:
        raise UsageError("No run is named.", "Name one or more: 4,15,26")
    return jobs


def add_settings(parser: argparse.ArgumentParser, leave: tuple[str, ...] = ()) -> None:
    """One option for every setting of an attribution."""
    for field in dataclasses.fields(AttributionSettings):
        if field.name in leave:
            continue
        choices = field.metadata["choices"]
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(field.default),
            default=field.default,
            choices=choices,
            metavar=None if choices else "N" if isinstance(field.default, int) else "TEXT",
            help=f"{field.metadata['help']}; default {field.default}",
        )


def settings_of(arguments: argparse.Namespace, **more: Any) -> AttributionSettings:
    options = {
        f.name: getattr(arguments, f.name)
        for f in dataclasses.fields(AttributionSettings)
        if hasattr(arguments, f.name)
    }
    return from_mapping(AttributionSettings, {**options, **more})


@dataclasses.dataclass(frozen=True)
class AnalysisResult:
    """What an analysis said of one student."""

    tables: Mapping[str, pd.DataFrame]
    """By name, as its registry entry lists them."""
    summary: dict[str, Any]
    number: int | None
    """Of the job; None where it was computed at once."""


def run_analysis(store: Store, job: Job, config: AnalysisConfig, *, as_job: bool) -> AnalysisResult:
    """The result of an analysis: computed here when that takes a few seconds, else as a job that is waited for. A job
    that is done already is read. job: the training job that the config names."""
    spec = config.spec(job)
    if existing_job(store, spec) is None and config.seconds() <= AT_ONCE_SECONDS and not as_job:
        # Imported here: torch is loaded only when there is something to compute.
        from cotdistill.execution.jobs.analysis import AnalysisRequest, analyse

        analysed = analyse(AnalysisRequest(store, config))
        frames = {name: table for name, table in analysed.tables.items() if isinstance(table, pd.DataFrame)}
        return AnalysisResult(frames, dict(analysed.summary), None)
    store.queue.submit([spec])
    done = waited(store, store.queue.job(spec.identity).id)
    tables = {name: store.artifacts.table(done.produced[name]) for name in config.analysis.tables}
    return AnalysisResult(tables, dict(done.result or {}), done.id)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as JSON objects; a missing value is null."""
    values = frame.astype(object)
    return [{str(k): v for k, v in row.items()} for row in values.where(values.notna(), None).to_dict("records")]


def waited(store: Store, number: int) -> Job:
    """The job when it has finished; its failure is raised in its own words."""
    progress = Progress(1.0, "of the work")
    begun = time.monotonic()
    try:
        while True:
            job = store.queue.job(number)
            if job.state == "finished":
                return job
            if job.state == "failed":
                error = job.error or {}
                raise _Failed(
                    str(error.get("message", "The job failed.")),
                    str(error.get("hint") or f"cotdistill runs log {number}"),
                )
            if job.state == "stopped" or job.held or job.waits:
                why = job.waits or ("is paused" if job.held else "was stopped")
                raise UsageError(f"The job {number} {why}.", f"Let it go on: cotdistill runs resume {number}")
            total = job.progress.get("total") or 0
            share = job.progress.get("step", 0) / total if total else 0.0
            progress.show(share, f"job {number} {job.state}, {time.monotonic() - begun:.0f} s")
            ensure_supervisor(store)
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        note(f"\nThe job goes on. The same command finds it again; or: cotdistill runs show {number}")
        raise
    finally:
        progress.close()


class _Failed(CotdistillError):
    kind = "failed"


def write_table(path: Path | None, frame: pd.DataFrame) -> str | None:
    """Write a table as Parquet, whole or not at all; gives the path that was written."""
    if path is None:
        return None
    if path.suffix != ".parquet":
        raise UsageError(f"{path} does not end in .parquet.", "For example --out tokens.parquet")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent}.", "Make it first, or name another one.")
    with whole_file(path) as part:
        frame.to_parquet(part, index=False, compression="zstd")
    return str(path)

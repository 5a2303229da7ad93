"""Analyses as jobs or at once: one way from a config to tables, a summary and the digests of what was read."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from cotdistill.execution.context import Outcome
from cotdistill.execution.open_student import Opened, open_run
from cotdistill.execution.worker import WorkerContext
from cotdistill.statistics.intervals import numbered, one_replicate
from cotdistill.store.artifacts import parquet
from cotdistill.store.store import Store
from cotdistill.studies.analyses import CONFIGS
from cotdistill.studies.analysis import AnalysisConfig, CheckpointConfig
from cotdistill.studies.inspection_jobs import named_examples, source_of
from cotdistill.tasks.example import Example

C = TypeVar("C", bound=AnalysisConfig)


@dataclass
class Analysed:
    """What an analysis returns."""

    tables: Mapping[str, pd.DataFrame | bytes]
    """By name; bytes are Parquet already."""
    summary: Mapping[str, Any]
    """Plain JSON values."""


@dataclass
class AnalysisRequest(Generic[C]):
    """What the function of an analysis is handed."""

    store: Store
    config: C
    report: Callable[..., None] = lambda step, total: None
    """report(step, total): how far it is; raises StopRequested where a person has stopped the job."""
    resume_file: Path | None = None
    """Where an interrupted job may leave what it has; None where it is computed at once."""
    used: dict[str, str] = field(default_factory=dict)
    """Digests of what was read, by role."""

    def student(self) -> tuple[Opened, list[Example]]:
        """The student at the checkpoint of the config, and the examples that it names."""
        assert isinstance(self.config, CheckpointConfig)
        opened = self.open(self.config.checkpoint, source=self.config.source)
        source = source_of(opened.job, self.config.source)
        return opened, named_examples(opened.task, self.config.split, self.config.examples, source)

    def open(self, checkpoint: str = "1", *, source: str = "", role: str = "weights") -> Opened:
        """The student of the config's run at a checkpoint; its weights and its task are recorded as used."""
        opened = open_run(self.store, self.config.run, checkpoint, source=source)
        self.used |= {role: opened.job.produced[f"weights@{opened.checkpoint}"], "task": opened.task.digest}
        return opened


def analyse(request: AnalysisRequest[Any]) -> Analysed:
    """The tables of an analysis, computed in this process."""
    module, _, name = request.config.analysis.compute.partition(":")
    compute: Callable[[AnalysisRequest[Any]], Analysed] = getattr(importlib.import_module(module), name)
    return compute(request)


def job(context: WorkerContext) -> Outcome:
    """Every kind of job that is an analysis: one product per table."""
    config = CONFIGS[context.kind].from_plain(context.config)
    request = AnalysisRequest(context.store, config, context.report, context.resume_file)
    result = analyse(request)
    produced = {
        name: context.keep(table if isinstance(table, bytes) else parquet(table), name, "parquet")
        for name, table in result.tables.items()
    }
    return Outcome(result.summary, produced, request.used)


def clustered_mean(
    values: Sequence[float] | npt.NDArray[np.floating[Any]], clusters: Sequence[str]
) -> dict[str, float | None]:
    """Mean of the values with its 95 % interval over clusters (None below two of them): mean, low, high."""
    array = np.asarray(values, float)
    if len(set(clusters)) < 2:
        return {"mean": float(array.mean()), "low": None, "high": None}
    interval = one_replicate(array, numbered([str(name) for name in clusters]))
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}

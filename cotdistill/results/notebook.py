"""A store from Python, for a notebook: everything that the pages show, as documented data frames.

import cotdistill
study = cotdistill.open().study("starter")
study.predictions().groupby("condition")["correct"].mean()
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd

from cotdistill.results import prediction_matrix, results
from cotdistill.results.findings import findings
from cotdistill.statistics.intervals import Interval
from cotdistill.statistics.methods import every_interval
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.studies.spec import spec_from_mapping


class Library:
    """The studies of a store, read as they stand; nothing is changed."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def studies(self) -> pd.DataFrame:
        """One row a launched study, newest first: id, name, task, student, replicates, created (unix time),
        plan_hash.
        """
        rows = []
        for study in self._store.queue.studies():
            spec = spec_from_mapping(study.spec)
            rows.append(
                (study.id, study.name, spec.task, spec.student.name, spec.replicates, study.created, study.plan_hash)
            )
        return pd.DataFrame(rows, columns=["id", "name", "task", "student", "replicates", "created", "plan_hash"])

    def study(self, which: int | str) -> StudyFrames:
        """The study of that number, or the latest of that name; UnknownName with near matches otherwise."""
        return StudyFrames(self._store, self._store.queue.study(which))

    def artifact(self, digest: str) -> Path:
        """Where an artefact lies (Parquet tables, safetensors weights), by the digest that a run names."""
        return self._store.artifacts.path(digest)


class StudyFrames:
    """One study as data frames. A partial study gives what there is."""

    def __init__(self, store: Store, study: Study) -> None:
        self._store, self._study = store, study
        self.name, self.id = study.name, study.id

    def runs(self) -> pd.DataFrame:
        """One row a planned run: its state, accuracy, tokens, FLOPs, seconds; see results.RUN_COLUMNS."""
        return results.runs(self._store, self.id)

    def predictions(self, mode: str = "primary") -> pd.DataFrame:
        """One row a question, condition and replicate: item, cluster, condition, replicate, correct, predicted, answer,
        margin.

        mode: "primary" (the one a condition is judged in), "direct", "own" or "given".
        """
        return results.predictions(self._store, self.id, mode)

    def curves(self) -> pd.DataFrame:
        """Learning curves: condition, replicate, step, tokens, seconds, name, value."""
        return results.curves(self._store, self.id)

    def summary(self) -> pd.DataFrame:
        """One row a condition: mean accuracy with its 95 % interval and whom it speaks of, n items, clusters and
        replicates.
        """
        return pd.DataFrame([dataclasses.asdict(row) for row in results.summary(self._store, self.id)])

    def differences(self, baseline: str, margin: float | None = None) -> pd.DataFrame:
        """One row a condition against the baseline: paired difference (a share) with its 95 % interval, p and word,
        effect sizes. margin: a share.
        """
        compared = results.comparison(self._store, self.id, baseline, margin=margin)
        return pd.DataFrame([dataclasses.asdict(row) for row in compared.rows])

    def intervals(self, condition: str, baseline: str) -> pd.DataFrame:
        """All 95 % intervals of one difference (shares), the one that verdicts rest on first: mean, low, high, p, df,
        method, speaks_of. Empty where the two have no finished replicate in common.
        """
        pair = results.paired(self._store, self.id, condition, baseline)
        every = every_interval(pair.values, pair.clusters, pair.nested) if pair else ()
        return pd.DataFrame(
            [dataclasses.asdict(one) for one in every], columns=[field.name for field in dataclasses.fields(Interval)]
        )

    def examples(self, baseline: str = "", mode: str = "primary") -> pd.DataFrame:
        """One row a question: how each condition answers it, flips against the baseline, disagreement; see
        matrix.by_example for the columns.
        """
        return prediction_matrix.by_example(prediction_matrix.matrix(self._store, self.id, mode), baseline)

    def reliability(self, mode: str = "primary") -> pd.DataFrame:
        """One row a run: accuracy, expected calibration error, accuracy on the questions that the student is surest of;
        see matrix.reliability.
        """
        return prediction_matrix.reliability(prediction_matrix.matrix(self._store, self.id, mode))

    def findings(self, margin: float | None = None) -> dict[str, Any]:
        """The claims with every comparison, as `compare --json` prints them. margin: in points."""
        return findings(self._store, self.id, margin)


def open_library(home: str | Path | None = None) -> Library:
    """The store in a folder; default: $COTDISTILL_HOME, else the one that the dashboard uses."""
    return Library(Store.open(Path(home) if home is not None else None))

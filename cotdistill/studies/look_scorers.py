"""Every scorer as a job: one student in the mode that it is judged in; a row a question and scorer, and a small summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cotdistill.students.evaluation import asked
from cotdistill.students.full_text import likelihoods
from cotdistill.students.reader import Reader
from cotdistill.students.scorers import LABEL, SCORERS, Likelihoods, scores
from cotdistill.studies.artifacts import parquet
from cotdistill.studies.look_modes import longest_written
from cotdistill.studies.looking import open_run
from cotdistill.studies.looks import source_of
from cotdistill.studies.runner import JobContext, Outcome
from cotdistill.studies.scorers import ScorersConfig
from cotdistill.tasks.example import Example

COLUMNS = {
    "example": "id of the question",
    "cluster": "what it belongs to",
    "scorer": "how its choices were scored",
    "predicted": "index of the choice that scores highest",
    "correct": "whether it is the right one",
    "p_gold": "probability of the right one: softmax of the scores",
    "margin": "score of the right one less that of the best other",
    "agrees": "whether it is the choice of the scorer that the run is judged by",
}


def job(context: JobContext) -> Outcome:
    """The job kind "scorers": product "scored" (see COLUMNS)."""
    config = ScorersConfig.from_plain(context.config)
    opened = open_run(context.store, config.run)
    examples = opened.task.examples("test", source_of(opened.job) or None)
    if config.examples:
        examples = sorted(examples, key=lambda e: e.id)[: config.examples]
    mode = str((opened.job.result or {})["mode"])
    reader = Reader(opened.model)
    prompts, _ = asked(reader, opened.encoder, examples, opened.condition.spec, mode, longest_written(opened, examples))
    found = likelihoods(reader, opened.encoder, examples, prompts, lambda done, total: context.report(done, total))
    answers = table(examples, found, opened.metric)
    told = answers.groupby("scorer", sort=False)[["correct", "agrees"]].sum()
    n = len(examples)
    result: dict[str, Any] = {
        "n": n,
        "clusters": int(answers["cluster"].nunique()),
        "mode": mode,
        "chance": opened.task.chance,
        "scorers": {
            str(name): {"accuracy": int(row["correct"]) / n, "correct": int(row["correct"]), "agreement": int(row["agrees"]) / n}
            for name, row in told.iterrows()
        },
    }
    used = {"weights": opened.job.produced[f"weights@{opened.checkpoint}"], "task": opened.task.digest}
    return Outcome(result, {"scored": context.keep(parquet(answers), "scored", "parquet")}, used)


def table(examples: Sequence[Example], found: Sequence[Likelihoods], metric: str) -> pd.DataFrame:
    """One row a question and scorer; see COLUMNS. Ties go to the earlier choice."""
    rows = []
    for scorer in SCORERS.names():
        for example, one in zip(examples, found, strict=True):
            values, gold = scores(one, scorer, metric), example.gold
            shifted = np.exp(values - values.max())
            best, usual = int(values.argmax()), int(scores(one, LABEL, metric).argmax())
            rows.append(
                (
                    example.id, example.cluster or example.id, scorer, best, best == gold, float(shifted[gold] / shifted.sum()),
                    float(values[gold] - np.delete(values, gold).max()), best == usual,
                )
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"predicted": "int16", "p_gold": "float32", "margin": "float32"})

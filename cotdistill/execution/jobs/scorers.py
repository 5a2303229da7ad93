"""Every scorer on one student, in the mode that it is judged in: one row per question and scorer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from cotdistill.execution.jobs.analysis import Analysed, AnalysisRequest
from cotdistill.execution.jobs.modes import longest_written
from cotdistill.students.marginal import Marginal, marginals
from cotdistill.students.reader import Forward
from cotdistill.students.scoring.evaluation import asked
from cotdistill.students.scoring.full_text import likelihoods
from cotdistill.students.scoring.scorers import LABEL, SCORERS, Likelihoods, scores
from cotdistill.studies.analyses.scorers import COLUMNS, MARGINAL, ScorersConfig
from cotdistill.studies.inspection_jobs import source_of, test_rows_of
from cotdistill.tasks.example import Example
from cotdistill.tasks.splits import first_by_hash


def scorers(request: AnalysisRequest[ScorersConfig]) -> Analysed:
    """The analysis `scorers`: tables "scored" and, where rationales are drawn, "marginal"."""
    config, opened = request.config, request.open()
    examples = first_by_hash(opened.task.examples("test", source_of(opened.job) or None), test_rows_of(opened.job))
    if config.examples:
        examples = sorted(examples, key=lambda e: e.id)[: config.examples]
    mode = str((opened.job.result or {})["mode"])
    reader = Forward(opened.model)
    prompts, _ = asked(reader, opened.encoder, examples, opened.condition.spec, mode, longest_written(opened, examples))
    steps = 0

    def report(done: int, total: int) -> None:
        nonlocal steps
        steps = total
        request.report(done, total + config.samples)

    scored = likelihoods(reader, opened.encoder, examples, prompts, report)
    drawn: list[Marginal] = []
    if config.samples:
        drawn = marginals(
            reader,
            opened.encoder,
            examples,
            opened.condition.spec,
            samples=config.samples,
            seed=config.seed,
            limit=longest_written(opened, examples),
            metric=opened.metric,
            report=lambda k, total: request.report(steps + k, steps + total),
        )
        scored = [replace(one, marginal=marginal.choices) for one, marginal in zip(scored, drawn, strict=True)]
    answers = table(examples, scored, opened.metric)
    sums = answers.groupby("scorer", sort=False)[["correct", "agrees"]].sum()
    n = len(examples)
    tables: dict[str, pd.DataFrame | bytes] = {"scored": answers}
    result: dict[str, Any] = {
        "n": n,
        "clusters": int(answers["cluster"].nunique()),
        "mode": mode,
        "chance": opened.task.chance,
        "scorers": {
            str(name): {
                "accuracy": int(row["correct"]) / n,
                "correct": int(row["correct"]),
                "agreement": int(row["agrees"]) / n,
            }
            for name, row in sums.iterrows()
        },
    }
    if drawn:
        result["marginal"] = summary(config, drawn)
        tables["marginal"] = marginal_table(examples, drawn)
    return Analysed(tables, result)


def marginal_table(examples: Sequence[Example], drawn: Sequence[Marginal]) -> pd.DataFrame:
    """One row a question; see MARGINAL."""
    rows = [
        (e.id, e.cluster or e.id, one.log_likelihood, one.standard_error, float(one.probabilities[:, e.gold].mean()))
        for e, one in zip(examples, drawn, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(MARGINAL)).astype({"standard_error": "float64"})


def summary(config: ScorersConfig, drawn: Sequence[Marginal]) -> dict[str, Any]:
    """Means over the questions. standard_error: of their mean, from the draws alone; the questions are taken as they
    are.
    """
    errors = [one.standard_error for one in drawn if one.standard_error is not None]
    return {
        "samples": config.samples,
        "seed": config.seed,
        "log_likelihood": fmean(one.log_likelihood for one in drawn),
        "standard_error": math.sqrt(sum(error**2 for error in errors)) / len(drawn) if errors else None,
    }


def table(examples: Sequence[Example], scored: Sequence[Likelihoods], metric: str) -> pd.DataFrame:
    """One row a question and scorer; see COLUMNS. Ties go to the earlier choice."""
    rows = []
    for scorer in (one.name for one in SCORERS if not one.sampled or scored[0].marginal is not None):
        for example, one in zip(examples, scored, strict=True):
            values, gold = scores(one, scorer, metric), example.gold
            shifted = np.exp(values - values.max())
            best, usual = int(values.argmax()), int(scores(one, LABEL, metric).argmax())
            rows.append(
                (
                    example.id,
                    example.cluster or example.id,
                    scorer,
                    best,
                    best == gold,
                    float(shifted[gold] / shifted.sum()),
                    float(values[gold] - np.delete(values, gold).max()),
                    best == usual,
                )
            )
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(
        {"predicted": "int16", "p_gold": "float32", "margin": "float32"}
    )

"""Stability under paraphrase as a job: a row a question and scope, and means with their intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cotdistill.errors import NotReadable
from cotdistill.execution.open_student import open_run
from cotdistill.execution.worker import JobContext, Outcome
from cotdistill.saliency.attribution import attribute
from cotdistill.saliency.methods import METHODS
from cotdistill.saliency.paraphrased import SCOPES, Agreed, Version, agreements, units_of
from cotdistill.statistics.intervals import numbered, one_replicate
from cotdistill.store.artifacts import parquet
from cotdistill.store.store import Store
from cotdistill.studies.inspection_jobs import named_examples, source_of
from cotdistill.studies.paraphrases import ParaphrasesConfig
from cotdistill.tasks.paraphrases import paraphrases

COLUMNS = {
    "example": "id of the question",
    "cluster": "what it belongs to",
    "scope": "which words are compared: question (and choices), rationale, all",
    "rank": "rank correlation over the words that both versions have, mean over every two versions",
    "units": "words compared, mean over them",
    "same": "share of the pairs with the same answer",
    "control": "rank correlation with another question's version at the same places, or null",
}


def job(context: JobContext) -> Outcome:
    """The job kind "paraphrases": product "agreed" (see COLUMNS)."""
    config = ParaphrasesConfig.from_plain(context.config)
    agreed, summary, used = compared(context.store, config, lambda done, total: context.report(done, total))
    return Outcome(summary, {"agreed": context.keep(parquet(agreed), "agreed", "parquet")}, used)


def compared(
    store: Store, config: ParaphrasesConfig, report: Callable[[int, int], None] | None = None
) -> tuple[pd.DataFrame, dict[str, Any], dict[str, str]]:
    """The table of questions, its summary, and the digests of what was read."""
    opened = open_run(store, config.run, config.checkpoint, source=config.source)
    wanted = named_examples(opened.task, config.split, config.examples, source_of(opened.job, config.source))
    groups = [[example, *paraphrases(example)] for example in wanted]
    every = [version for group in groups for version in group]
    attributed = attribute(
        opened.model,
        opened.encoder,
        every,
        opened.condition.spec,
        config.settings,
        opened.counts,
        metric=opened.metric,
        report=report,
    )
    signed = METHODS.get(config.settings.method).signed
    variants = [Version(units_of(one.reading, one.scores, absolute=not signed), one.predicted) for one in attributed]
    versions, at = [], 0
    for group in groups:
        versions.append(variants[at : at + len(group)])
        at += len(group)
    agreed = agreements([e.id for e in wanted], [e.cluster or e.id for e in wanted], versions)
    if not agreed:
        raise NotReadable(
            "No question has three words that can be ranked in two of its wordings.", "Choose other examples."
        )
    frame = pd.DataFrame([dataclasses.asdict(one) for one in agreed], columns=list(COLUMNS)).astype(
        {"control": "Float64"}
    )
    summary = {
        "examples": len(wanted),
        "clusters": len({e.cluster or e.id for e in wanted}),
        "versions": float(np.mean([len(group) for group in groups])),
        "answers": _mean(
            [float(len({v.predicted for v in group}) == 1) for group in versions], [e.cluster or e.id for e in wanted]
        ),
        "scopes": {
            scope: _summary([one for one in agreed if one.scope == scope])
            for scope in SCOPES
            if any(o.scope == scope for o in agreed)
        },
    }
    return frame, summary, {"weights": opened.job.produced[f"weights@{opened.checkpoint}"], "task": opened.task.digest}


def _summary(agreed: Sequence[Agreed]) -> dict[str, Any]:
    controlled = [one for one in agreed if one.control is not None]
    return {
        "rank": _mean([one.rank for one in agreed], [one.cluster for one in agreed]),
        "control": _mean([one.control or 0.0 for one in controlled], [one.cluster for one in controlled])
        if controlled
        else None,
        "units": float(np.mean([one.units for one in agreed])),
        "examples": len(agreed),
        "clusters": len({one.cluster for one in agreed}),
    }


def _mean(values: Sequence[float], clusters: Sequence[str]) -> dict[str, float | None]:
    if len(set(clusters)) < 2:
        return {"mean": float(np.mean(values)), "low": None, "high": None}
    interval = one_replicate(np.array(values), numbered(list(clusters)))
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}

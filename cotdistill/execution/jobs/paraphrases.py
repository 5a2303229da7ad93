"""Stability under paraphrase: one row per question and scope, and means with their intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cotdistill.errors import NotReadable
from cotdistill.execution.jobs.analysis import Analysed, AnalysisRequest, clustered_mean
from cotdistill.saliency.attribution import attribute
from cotdistill.saliency.methods import METHODS
from cotdistill.saliency.paraphrased import SCOPES, Agreed, Version, agreements, units_of
from cotdistill.studies.analyses.paraphrases import COLUMNS, ParaphrasesConfig
from cotdistill.tasks.paraphrases import paraphrases


def agreement(request: AnalysisRequest[ParaphrasesConfig]) -> Analysed:
    """The analysis `paraphrases`: table "agreed"."""
    config = request.config
    opened, wanted = request.student()
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
        report=request.report,
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
        "answers": clustered_mean(
            [float(len({v.predicted for v in group}) == 1) for group in versions], [e.cluster or e.id for e in wanted]
        ),
        "scopes": {
            scope: _summary([one for one in agreed if one.scope == scope])
            for scope in SCOPES
            if any(o.scope == scope for o in agreed)
        },
    }
    return Analysed({"agreed": frame}, summary)


def _summary(agreed: Sequence[Agreed]) -> dict[str, Any]:
    controlled = [one for one in agreed if one.control is not None]
    return {
        "rank": clustered_mean([one.rank for one in agreed], [one.cluster for one in agreed]),
        "control": clustered_mean([one.control or 0.0 for one in controlled], [one.cluster for one in controlled])
        if controlled
        else None,
        "units": float(np.mean([one.units for one in agreed])),
        "examples": len(agreed),
        "clusters": len({one.cluster for one in agreed}),
    }

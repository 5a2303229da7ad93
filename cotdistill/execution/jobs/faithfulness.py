"""Faithfulness of a method: one row per example and share, one per example, and the areas with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cotdistill.execution.jobs.analysis import Analysed, AnalysisRequest, clustered_mean
from cotdistill.saliency.faithfulness import Judged, judge
from cotdistill.studies.analyses.faithfulness import COLUMNS, EXAMPLE_COLUMNS, FaithfulnessConfig

AREAS = ("comprehensiveness", "sufficiency", "random_comprehensiveness", "random_sufficiency")


def faithfulness(request: AnalysisRequest[FaithfulnessConfig]) -> Analysed:
    """The analysis `faithfulness`: tables "curves" and "examples"."""
    config = request.config
    opened, examples = request.student()
    judgements = judge(
        opened.model, opened.encoder, examples, opened.condition.spec, config.settings, opened.counts,
        metric=opened.metric, orders=config.orders, shares=config.shares, report=request.report,
    )  # fmt: skip
    tables = {"curves": table(judgements), "examples": example_table(judgements)}
    return Analysed(tables, summary(judgements, len(config.examples)))


def table(judgements: Sequence[Judged]) -> pd.DataFrame:
    """One row an example and share; see COLUMNS."""
    rows = [
        (
            one.id,
            one.cluster,
            one.tokens,
            one.probability,
            one.leave_one_out,
            share,
            *(float(curve[i]) for curve in curves),
        )
        for one in judgements
        for curves in [(one.without, one.alone, one.random_without, one.random_alone)]
        for i, share in enumerate(one.shares)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def example_table(judgements: Sequence[Judged]) -> pd.DataFrame:
    """One row an example; see EXAMPLE_COLUMNS."""
    rows = [
        (
            one.id, one.cluster, one.tokens, one.probability, *(one.aopc()[area] for area in AREAS),
            one.leave_one_out, one.leave_one_out_size, one.not_readable,
        )
        for one in judgements
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(EXAMPLE_COLUMNS)).astype(
        {"leave_one_out": "Float64", "leave_one_out_size": "Float64"}
    )


def summary(judgements: Sequence[Judged], asked: int) -> dict[str, Any]:
    """Areas (AOPC) of the ranking and of random orders, their difference, each with a 95 % interval over clusters; the
    rank correlations with leaving one out; and the curves with their intervals. asked: how many examples were; those
    without two ranked tokens are left out."""
    clusters = [one.cluster for one in judgements]
    areas = {name: np.array([one.aopc()[name] for one in judgements]) for name in AREAS}
    curves = {
        name: [
            clustered_mean(np.array([getattr(one, name)[i] for one in judgements]), clusters)
            for i in range(len(judgements[0].shares))
        ]
        for name in ("without", "alone", "random_without", "random_alone")
    }
    return {
        "examples": len(judgements),
        "clusters": len(set(clusters)),
        "left_out": asked - len(judgements),
        "not_readable": next((one.not_readable for one in judgements if one.not_readable), None),
        "shares": list(judgements[0].shares),
        **{name: clustered_mean(area, clusters) for name, area in areas.items()},
        "comprehensiveness_over_random": clustered_mean(
            areas["comprehensiveness"] - areas["random_comprehensiveness"], clusters
        ),
        "sufficiency_over_random": clustered_mean(areas["sufficiency"] - areas["random_sufficiency"], clusters),
        "leave_one_out": _correlation([(one.leave_one_out, one.cluster) for one in judgements]),
        "leave_one_out_size": _correlation([(one.leave_one_out_size, one.cluster) for one in judgements]),
        "curves": curves,
    }


def _correlation(correlations: Sequence[tuple[float | None, str]]) -> dict[str, Any] | None:
    """The mean over the examples that have one, and how many they are."""
    have = [(value, cluster) for value, cluster in correlations if value is not None]
    if not have:
        return None
    values, clusters = zip(*have, strict=True)
    return {**clustered_mean(values, clusters), "examples": len(have)}

"""Attributions as a job: tables of tokens and explanations, and a small summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cotdistill.errors import NotReadable
from cotdistill.execution.jobs.analysis import Analysed, AnalysisRequest
from cotdistill.saliency.attribution import Attribution, attribute
from cotdistill.saliency.tables import example_table, token_table
from cotdistill.studies.analyses.attribute import AttributeConfig


def attributions(request: AnalysisRequest[AttributeConfig]) -> Analysed:
    """The analysis `attribute`: tables "tokens" and "examples" (see saliency.tables)."""
    opened, examples = request.student()
    attributed = attribute(
        opened.model,
        opened.encoder,
        examples,
        opened.condition.spec,
        request.config.settings,
        opened.counts,
        metric=opened.metric,
        report=request.report,
    )
    return Analysed({"tokens": token_table(attributed), "examples": example_table(attributed)}, summary(attributed))


def summary(attributed: Sequence[Attribution]) -> dict[str, Any]:
    """n explanations and clusters, the median completeness gap, how many did not converge, and why a rationale is not
    readable.
    """
    if not attributed:
        raise NotReadable("There is nothing to explain in these examples.", "Choose other examples or another target.")
    gaps = [one.gap for one in attributed if one.gap is not None]
    return {
        "explanations": len(attributed),
        "examples": len({one.reading.id for one in attributed}),
        "clusters": len({one.reading.cluster for one in attributed}),
        "accuracy": float(np.mean([one.predicted == one.reading.gold for one in attributed])),
        "median_gap": float(np.median(gaps)) if gaps else None,
        "not_converged": sum(one.converged is False for one in attributed),
        "cut_short": sum(one.reading.left_out > 0 for one in attributed),
        "not_readable": next((one.not_readable for one in attributed if one.not_readable), None),
    }

"""Faithfulness of a method as a job: a row an example and share, and the areas with their intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cotdistill.saliency.faithfulness import SHARES, Judged, judge
from cotdistill.statistics.intervals import numbered, one_replicate
from cotdistill.studies.look_attribute import parquet
from cotdistill.studies.looking import open_run
from cotdistill.studies.looks import FaithfulnessConfig, named_examples, source_of
from cotdistill.studies.runner import JobContext, Outcome
from cotdistill.studies.store import Store

COLUMNS = {
    "example": "id of the example",
    "cluster": "what it belongs to",
    "tokens": "how many tokens are ranked",
    "probability": "of the preferred choice on the whole text",
    "leave_one_out": "rank correlation of the scores with the loss when each token alone is taken away; empty where it does not vary",
    "share": "share of the tokens, the highest first",
    "without": "loss of probability without them (comprehensiveness)",
    "alone": "loss of probability with them alone (sufficiency)",
    "random_without": "without as many random ones, mean over random orders",
    "random_alone": "with as many random ones alone",
}


def job(context: JobContext) -> Outcome:
    """The job kind "faithfulness": product "curves" (see COLUMNS)."""
    config = FaithfulnessConfig.from_plain(context.config)
    found, used = judged(context.store, config, lambda done, total: context.report(done, total))
    return Outcome(summary(found), {"curves": context.keep(parquet(table(found)), "curves", "parquet")}, used)


def judged(store: Store, config: FaithfulnessConfig, report: Callable[[int, int], None] | None = None) -> tuple[list[Judged], dict[str, str]]:
    """Every example, and the digests of what was read."""
    opened = open_run(store, config.run, config.checkpoint, source=config.source)
    examples = named_examples(opened.task, config.split, config.examples, source_of(opened.job, config.source))
    found = judge(
        opened.model, opened.encoder, examples, opened.condition.spec, config.settings, opened.counts,
        metric=opened.metric, orders=config.orders, report=report,
    )  # fmt: skip
    return found, {"weights": opened.job.produced[f"weights@{opened.checkpoint}"], "task": opened.task.digest}


def table(found: Sequence[Judged]) -> pd.DataFrame:
    """One row an example and share; see COLUMNS."""
    rows = [
        (one.id, one.cluster, one.tokens, one.probability, one.leave_one_out, share, *(float(curve[i]) for curve in curves))
        for one in found
        for curves in [(one.without, one.alone, one.random_without, one.random_alone)]
        for i, share in enumerate(SHARES)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def summary(found: Sequence[Judged]) -> dict[str, Any]:
    """Areas (AOPC) of the ranking and of random orders, their difference, each with a 95 % interval over clusters; the rank correlation with
    leaving one out; and the curves with their intervals."""
    clusters = [one.cluster for one in found]
    areas = [one.aopc() for one in found]
    curves = {
        name: [_mean(np.array([getattr(one, name)[i] for one in found]), clusters) for i in range(len(SHARES))]
        for name in ("without", "alone", "random_without", "random_alone")
    }
    told = [one.leave_one_out for one in found if one.leave_one_out is not None]
    return {
        "examples": len(found),
        "clusters": len(set(clusters)),
        "shares": list(SHARES),
        "comprehensiveness": _mean(np.array([a["comprehensiveness"] for a in areas]), clusters),
        "comprehensiveness_over_random": _mean(np.array([a["comprehensiveness"] - a["random_comprehensiveness"] for a in areas]), clusters),
        "sufficiency": _mean(np.array([a["sufficiency"] for a in areas]), clusters),
        "sufficiency_over_random": _mean(np.array([a["sufficiency"] - a["random_sufficiency"] for a in areas]), clusters),
        "leave_one_out": _mean(np.array(told), [o.cluster for o in found if o.leave_one_out is not None]) if told else None,
        "curves": curves,
    }


def _mean(values: np.ndarray[Any, Any], clusters: Sequence[str]) -> dict[str, float | None]:
    if len(set(clusters)) < 2:
        return {"mean": float(values.mean()), "low": None, "high": None}
    found = one_replicate(values.astype(float), numbered(list(clusters)))
    return {"mean": found.mean, "low": found.low, "high": found.high}

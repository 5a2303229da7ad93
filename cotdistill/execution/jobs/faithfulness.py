"""Faithfulness of a method as a job: a row an example and share, a row an example, and the areas with their
intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cotdistill.execution.open_student import open_run
from cotdistill.execution.worker import JobContext, Outcome
from cotdistill.saliency.faithfulness import Judged, judge
from cotdistill.statistics.intervals import numbered, one_replicate
from cotdistill.store.artifacts import parquet
from cotdistill.store.store import Store
from cotdistill.studies.inspection_jobs import FaithfulnessConfig, named_examples, source_of

COLUMNS = {
    "example": "id of the example",
    "cluster": "what it belongs to",
    "tokens": "how many tokens are ranked",
    "probability": "of the answer explained, on the whole text",
    "leave_one_out": (
        "rank correlation of the scores with the loss when each token alone is taken away; empty where it does not vary"
    ),
    "share": "share of the tokens, the highest first",
    "without": "loss of probability without them (comprehensiveness)",
    "alone": "loss of probability with them alone (sufficiency)",
    "random_without": "without as many random ones, mean over random orders",
    "random_alone": "with as many random ones alone",
}
EXAMPLE_COLUMNS = {
    "example": "id of the example",
    "cluster": "what it belongs to",
    "tokens": "how many tokens are ranked",
    "probability": "of the answer explained, on the whole text",
    "comprehensiveness": "mean loss of probability without the highest tokens, over the shares between 0 and 1 (AOPC)",
    "sufficiency": "mean loss with the highest tokens alone (AOPC)",
    "random_comprehensiveness": "the same without random tokens",
    "random_sufficiency": "the same with random tokens alone",
    "leave_one_out": (
        "rank correlation of the scores with the loss when each token alone is taken away; empty where it does not vary"
    ),
    "leave_one_out_size": "the same of their sizes, which is fair to methods without a sign",
    "not_readable": "why a part of the sequence is not ranked",
}
AREAS = ("comprehensiveness", "sufficiency", "random_comprehensiveness", "random_sufficiency")


def job(context: JobContext) -> Outcome:
    """The job kind "faithfulness": products "curves" (see COLUMNS) and "examples" (see EXAMPLE_COLUMNS)."""
    config = FaithfulnessConfig.from_plain(context.config)
    judgements, used = judged(context.store, config, lambda done, total: context.report(done, total))
    produced = {
        "curves": context.keep(parquet(table(judgements)), "curves", "parquet"),
        "examples": context.keep(parquet(example_table(judgements)), "examples", "parquet"),
    }
    return Outcome(summary(judgements, len(config.examples)), produced, used)


def judged(
    store: Store, config: FaithfulnessConfig, report: Callable[[int, int], None] | None = None
) -> tuple[list[Judged], dict[str, str]]:
    """Every example that can be judged, and the digests of what was read."""
    opened = open_run(store, config.run, config.checkpoint, source=config.source)
    examples = named_examples(opened.task, config.split, config.examples, source_of(opened.job, config.source))
    judgements = judge(
        opened.model, opened.encoder, examples, opened.condition.spec, config.settings, opened.counts,
        metric=opened.metric, orders=config.orders, shares=config.shares, report=report,
    )  # fmt: skip
    return judgements, {"weights": opened.job.produced[f"weights@{opened.checkpoint}"], "task": opened.task.digest}


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
            _mean(np.array([getattr(one, name)[i] for one in judgements]), clusters)
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
        **{name: _mean(area, clusters) for name, area in areas.items()},
        "comprehensiveness_over_random": _mean(
            areas["comprehensiveness"] - areas["random_comprehensiveness"], clusters
        ),
        "sufficiency_over_random": _mean(areas["sufficiency"] - areas["random_sufficiency"], clusters),
        "leave_one_out": _correlation([(one.leave_one_out, one.cluster) for one in judgements]),
        "leave_one_out_size": _correlation([(one.leave_one_out_size, one.cluster) for one in judgements]),
        "curves": curves,
    }


def _correlation(correlations: Sequence[tuple[float | None, str]]) -> dict[str, Any] | None:
    """The mean over the examples that have one, and how many they are."""
    have = [(value, cluster) for value, cluster in correlations if value is not None]
    if not have:
        return None
    return {**_mean(np.array([value for value, _ in have]), [cluster for _, cluster in have]), "examples": len(have)}


def _mean(values: np.ndarray[Any, Any], clusters: Sequence[str]) -> dict[str, float | None]:
    if len(set(clusters)) < 2:
        return {"mean": float(values.mean()), "low": None, "high": None}
    interval = one_replicate(values.astype(float), numbered(list(clusters)))
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}

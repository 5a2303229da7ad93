"""Attributions as a job: tables of tokens and explanations, and a small summary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cotdistill.errors import NotReadable
from cotdistill.execution.open_student import Opened, open_run
from cotdistill.execution.worker import JobContext, Outcome
from cotdistill.saliency.attribution import Attribution, attribute
from cotdistill.saliency.tables import example_table, token_table
from cotdistill.store.artifacts import parquet
from cotdistill.store.store import Store
from cotdistill.studies.inspection_jobs import AttributeConfig, named_examples, source_of
from cotdistill.tasks.example import Example


def job(context: JobContext) -> Outcome:
    """The job kind "attribute": products "tokens" and "examples" (see saliency.tables)."""
    config = AttributeConfig.from_plain(context.config)
    opened, examples = opened_for(context.store, config)
    attributed = attributions(opened, examples, config, report=lambda done, total: context.report(done, total))
    produced = {
        "tokens": context.keep(parquet(token_table(attributed)), "tokens", "parquet"),
        "examples": context.keep(parquet(example_table(attributed)), "examples", "parquet"),
    }
    used = {"weights": opened.job.produced[f"weights@{opened.checkpoint}"], "task": opened.task.digest}
    return Outcome(summary(attributed), produced, used)


def opened_for(store: Store, config: AttributeConfig) -> tuple[Opened, list[Example]]:
    """The student and the examples of a config."""
    opened = open_run(store, config.run, config.checkpoint, source=config.source)
    wanted = named_examples(opened.task, config.split, config.examples, source_of(opened.job, config.source))
    return opened, wanted


def attributions(
    opened: Opened,
    examples: Sequence[Example],
    config: AttributeConfig,
    report: Callable[[int, int], None] | None = None,
) -> list[Attribution]:
    return attribute(
        opened.model,
        opened.encoder,
        examples,
        opened.condition.spec,
        config.settings,
        opened.counts,
        metric=opened.metric,
        report=report,
    )


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

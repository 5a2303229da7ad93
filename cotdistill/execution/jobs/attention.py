"""Attention concentration as a job: a row a region, layer and head, and a small summary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cotdistill.execution.open_student import open_run
from cotdistill.execution.worker import JobContext, Outcome
from cotdistill.saliency.concentration import REGIONS, Values, attention_rows, regions, shares
from cotdistill.saliency.reading import read_example
from cotdistill.statistics.intervals import numbered, one_replicate
from cotdistill.store.artifacts import parquet
from cotdistill.store.store import Store
from cotdistill.studies.attention import ConcentrationConfig, relevant_texts
from cotdistill.studies.inspection_jobs import named_examples, source_of

# The head of a row that is the mean over a layer's heads, and the layer of the one over all of them.
EVERY = -1
COLUMNS = {
    "region": "which tokens the attention goes to",
    "layer": "from 1; -1: the mean over all layers",
    "head": "from 1; -1: the mean over the layer's heads",
    "share": "of the attention from the place where the answer is read",
    "low": "lower end of its 95 % interval over clusters, or null",
    "high": "upper end, or null",
    "uniform": "share of the tokens that can be seen from there",
    "over": "share minus uniform",
    "over_low": "lower end of its 95 % interval, or null",
    "over_high": "upper end, or null",
    "examples": "examples that have the region",
    "clusters": "independent groups of them",
}


EXAMPLE_COLUMNS = {
    "example": "id of the example",
    "cluster": "what it belongs to",
    "region": "as above",
    "share": "of the attention, mean over all layers and heads",
    "uniform": "share of the tokens that can be seen from there",
    "over": "share minus uniform",
}


@dataclass(frozen=True)
class Concentrated:
    """The tables of heads (see COLUMNS) and of examples (see EXAMPLE_COLUMNS), their summary, and the digests of what
    was read.
    """

    heads: pd.DataFrame
    examples: pd.DataFrame
    summary: dict[str, Any]
    used: dict[str, str]


def job(context: JobContext) -> Outcome:
    """The job kind "concentration": products "heads" and "examples"."""
    result = concentrated(context.store, ConcentrationConfig.from_plain(context.config))
    produced = {
        "heads": context.keep(parquet(result.heads), "heads", "parquet"),
        "examples": context.keep(parquet(result.examples), "examples", "parquet"),
    }
    return Outcome(result.summary, produced, result.used)


def concentrated(store: Store, config: ConcentrationConfig) -> Concentrated:
    """The attention of a student over some examples."""
    opened = open_run(store, config.run, config.checkpoint, source=config.source)
    wanted = named_examples(opened.task, config.split, config.examples, source_of(opened.job, config.source))
    encoder = opened.encoder
    readings = [
        read_example(encoder, e, opened.condition.spec, metric=opened.metric, limit=opened.limit) for e in wanted
    ]
    masks = [regions(reading, relevant_texts(opened.task, e)) for reading, e in zip(readings, wanted, strict=True)]
    rows = attention_rows(opened.model, readings, encoder.specials.pad)
    table: list[dict[str, Any]] = []
    each: list[tuple[str, str, str, float, float, float]] = []
    for region in REGIONS:
        indices = [i for i, found in enumerate(masks) if region in found]
        if indices:
            share, uniform = shares([rows[i] for i in indices], [masks[i][region] for i in indices])
            table += _rows(region, share, uniform, [wanted[i].cluster or wanted[i].id for i in indices])
            means = share.mean((1, 2))
            each += [
                (wanted[i].id, wanted[i].cluster or wanted[i].id, region, float(mean), float(by), float(mean - by))
                for i, mean, by in zip(indices, means, uniform, strict=True)
            ]
    layers, heads = rows[0].shape[:2]
    frame = pd.DataFrame(table, columns=list(COLUMNS)).astype(
        {name: "Float64" for name in ("low", "high", "over_low", "over_high")}
    )
    single = [row for row in table if row["head"] != EVERY]
    summary = {
        "examples": len(wanted),
        "clusters": len({e.cluster or e.id for e in wanted}),
        "layers": layers,
        "heads": heads,
        "regions": [region for region in REGIONS if any(row["region"] == region for row in table)],
        "best": {
            region: {
                name: best[name] for name in ("layer", "head", "share", "uniform", "over", "over_low", "over_high")
            }
            for region in REGIONS
            if (
                best := max(
                    (row for row in single if row["region"] == region), key=lambda row: float(row["over"]), default=None
                )
            )
        },
    }
    used = {"weights": opened.job.produced[f"weights@{opened.checkpoint}"], "task": opened.task.digest}
    return Concentrated(frame, pd.DataFrame(each, columns=list(EXAMPLE_COLUMNS)), summary, used)


def _rows(region: str, share: Values, uniform: Values, clusters: list[str]) -> list[dict[str, Any]]:
    """share (examples, layers, heads), uniform (examples,)."""
    table_rows = [_row(region, EVERY, EVERY, share.mean((1, 2)), uniform, clusters)]
    for layer in range(share.shape[1]):
        table_rows.append(_row(region, layer + 1, EVERY, share[:, layer].mean(1), uniform, clusters))
        table_rows += [
            _row(region, layer + 1, head + 1, share[:, layer, head], uniform, clusters)
            for head in range(share.shape[2])
        ]
    return table_rows


def _row(region: str, layer: int, head: int, share: Values, uniform: Values, clusters: list[str]) -> dict[str, Any]:
    mean, low, high = _mean(share, clusters)
    over, over_low, over_high = _mean(share - uniform, clusters)
    return {
        "region": region,
        "layer": layer,
        "head": head,
        "share": mean,
        "low": low,
        "high": high,
        "uniform": float(uniform.mean()),
        "over": over,
        "over_low": over_low,
        "over_high": over_high,
        "examples": len(clusters),
        "clusters": len(set(clusters)),
    }


def _mean(values: Values, clusters: list[str]) -> tuple[float, float | None, float | None]:
    if len(set(clusters)) < 2:
        return float(np.mean(values)), None, None
    interval = one_replicate(values, numbered(clusters))
    return interval.mean, interval.low, interval.high

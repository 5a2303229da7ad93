"""Where the attention goes from the place where the answer is read: one row per region, layer and head."""

from __future__ import annotations

from typing import Any

import pandas as pd

from cotdistill.execution.jobs.analysis import Analysed, AnalysisRequest, clustered_mean
from cotdistill.saliency.attention import REGIONS, Values, attention_rows, regions, shares
from cotdistill.saliency.reading import read_example
from cotdistill.studies.analyses.attention import COLUMNS, EXAMPLE_COLUMNS, AttentionConfig, relevant_texts

# The head of a row that is the mean over a layer's heads, and the layer of the one over all of them.
EVERY = -1


def attention(request: AnalysisRequest[AttentionConfig]) -> Analysed:
    """The analysis `attention`: tables "heads" and "examples"."""
    opened, wanted = request.student()
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
    return Analysed({"heads": frame, "examples": pd.DataFrame(each, columns=list(EXAMPLE_COLUMNS))}, summary)


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
    mean, over = (clustered_mean(values, clusters) for values in (share, share - uniform))
    return {
        "region": region,
        "layer": layer,
        "head": head,
        "share": mean["mean"],
        "low": mean["low"],
        "high": mean["high"],
        "uniform": float(uniform.mean()),
        "over": over["mean"],
        "over_low": over["low"],
        "over_high": over["high"],
        "examples": len(clusters),
        "clusters": len(set(clusters)),
    }

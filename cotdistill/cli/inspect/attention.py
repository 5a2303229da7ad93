"""attention: how much of a student's attention goes to the spans that decide, by layer and head."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import pandas as pd

from cotdistill.cli.command import Command, Result
from cotdistill.cli.inspect.shared import add_where, asked_about, records, run_analysis, runs_of, write_table
from cotdistill.cli.output import printable, table
from cotdistill.rationales.conditions import parse
from cotdistill.report.figures.attention import REGION_NAMES
from cotdistill.results.replicates import pooled
from cotdistill.store.records import Job
from cotdistill.store.store import Store
from cotdistill.studies.analyses.attention import AttentionConfig
from cotdistill.studies.inspection_jobs import ids_of
from cotdistill.text import between, between_points, percent, plural, points


def attention(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    jobs = runs_of(store, arguments.run)
    results = [_of_run(store, job, arguments) for job in jobs]
    heads = pd.concat(
        [heads.assign(run=job.id) for job, (heads, _, _) in zip(jobs, results, strict=True)], ignore_index=True
    )
    by: dict[str, list[pd.DataFrame]] = {}
    for job, (_, examples, _) in zip(jobs, results, strict=True):
        by.setdefault(str(job.config["condition"]), []).append(examples)
    document = {
        "split": arguments.split,
        "out": write_table(arguments.out, heads),
        "runs": [one for _, _, one in results],
        "conditions": [row for condition, tables in by.items() for row in _conditions(condition, tables)],
    }
    return Result(document, _text(document, jobs))


def _of_run(store: Store, job: Job, arguments: argparse.Namespace) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """The tables of heads and of examples, and what the document says of a run."""
    checkpoint, examples = asked_about(store, job, arguments)
    config = AttentionConfig(job.identity, arguments.split, ids_of(examples), checkpoint, arguments.source)
    result = run_analysis(store, job, config, as_job=arguments.job)
    heads = result.tables["heads"]
    document = {
        "run": job.id,
        "condition": job.config["condition"],
        "checkpoint": checkpoint,
        "job": result.number,
        **result.summary,
        "results": records(heads),
    }
    return heads, result.tables["examples"], document


def _conditions(condition: str, tables: Sequence[pd.DataFrame]) -> list[dict[str, Any]]:
    """One row a region: its share over the replicates that were named."""
    rows = []
    for region in REGION_NAMES:
        region_tables = [table[table["region"] == region] for table in tables]
        share, over = pooled(region_tables, "share"), pooled(region_tables, "over")
        if share is not None and over is not None:
            rows.append(
                {
                    "condition": condition,
                    "label": parse(condition).label,
                    "region": region,
                    "share": share.interval.mean,
                    "low": share.interval.low,
                    "high": share.interval.high,
                    "over": over.interval.mean,
                    "over_low": over.interval.low,
                    "over_high": over.interval.high,
                    "replicates": list(share.points),
                    "items": share.items,
                    "clusters": share.clusters,
                    "speaks_of": over.interval.speaks_of,
                }
            )
    return rows


def _text(document: dict[str, Any], jobs: Sequence[Job]) -> str:
    lines = []
    for job, one in zip(jobs, document["runs"], strict=True):
        lines += [
            f"attention in run {job.id} ({printable(job.label)}), at {100 * float(one['checkpoint']):g} % of its steps",
            (
                f"{plural(one['examples'], 'example')} of {document['split']} in {plural(one['clusters'], 'cluster')},"
                " from where the answer is read"
            ),
            "",
            _table(one),
            "",
        ]
    rows = [
        [
            row["label"], REGION_NAMES[row["region"]], f"{percent(row['share'])} ({between(row['low'], row['high'])})",
            f"{points(row['over'])} ({between_points(row['over_low'], row['over_high'])})", str(len(row["replicates"])),
        ]
        for row in document["conditions"] if len(row["replicates"]) > 1
    ]  # fmt: skip
    if rows:
        lines += [
            table(["condition", "on", "share", "less its length, points", "replicates"], rows, right=("replicates",)),
            "",
        ]
    lines += [
        (
            "Shares of the attention, mean over heads; by length: the share of the tokens that can be seen from there."
            " The head is chosen after"
        ),
        "looking. Where attention goes is not what the answer rests on: see attribute and faithfulness.",
    ]
    if document["out"]:
        lines += ["", f"Written to {document['out']}"]
    return "\n".join(lines)


def _table(result: dict[str, Any]) -> str:
    rows = []
    for region in result["regions"]:
        every = next(row for row in result["results"] if row["region"] == region and row["layer"] == -1)
        best = result["best"][region]
        rows.append(
            [
                REGION_NAMES[region], f"{every['examples']:,}", percent(every["share"]), percent(every["uniform"]),
                f"{points(every['over'])} ({between_points(every['over_low'], every['over_high'])})",
                f"layer {best['layer']}, head {best['head']}: {percent(best['share'])}",
            ]
        )  # fmt: skip
    return table(
        ["on", "examples", "share", "by length", "difference", "most over it"],
        rows,
        right=("examples", "share", "by length"),
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_where(parser, examples="400", split="dev", splits=("train", "dev", "test"))
    parser.add_argument(
        "--checkpoint",
        metavar="SHARE",
        default="1",
        help="share of the steps at which weights were kept; default 1, the end",
    )


COMMAND = Command(
    "inspect",
    "attention",
    "how much of the attention goes to the spans that decide, by layer and head, against their length (arXiv"
    " 2410.02167)",
    attention,
    {
        "split": "train, dev or test",
        "out": "file that was written, or null",
        "runs": "one entry a run",
        "runs[].run": "number of the training run",
        "runs[].condition": "its condition",
        "runs[].checkpoint": "share of its steps",
        "runs[].job": "number of the job; null if it was done at once",
        "runs[].examples": "how many were read",
        "runs[].clusters": "in how many clusters",
        "runs[].layers": "of the student",
        "runs[].heads": "of a layer",
        "runs[].regions": "what these sequences have of: " + ", ".join(REGION_NAMES),
        "runs[].best": (
            "by region, the head furthest over the share by length, chosen after looking: layer, head, share, uniform,"
            " over"
        ),
        "runs[].results": "one entry a region, layer and head",
        "runs[].results[].region": "which tokens the attention goes to",
        "runs[].results[].layer": "from 1; -1: the mean over all",
        "runs[].results[].head": "from 1; -1: the mean over the layer's heads",
        "runs[].results[].share": "of the attention from the place where the answer is read",
        "runs[].results[].low": "lower end of its 95 % interval over clusters, or null",
        "runs[].results[].high": "upper end, or null",
        "runs[].results[].uniform": "share of the tokens that can be seen from there",
        "runs[].results[].over": "share minus uniform",
        "runs[].results[].over_low": "lower end of its 95 % interval, or null",
        "runs[].results[].over_high": "upper end, or null",
        "runs[].results[].examples": "examples that have the region",
        "runs[].results[].clusters": "independent groups of them",
        "conditions": "one entry a condition and region, over the runs that were named; mean over all layers and heads",
        "conditions[].condition": "canonical form",
        "conditions[].label": "its name for people",
        "conditions[].region": "which tokens",
        "conditions[].share": "of the attention",
        "conditions[].low": "lower end of its 95 % interval, or null",
        "conditions[].high": "upper end, or null",
        "conditions[].over": "share minus that of the tokens",
        "conditions[].over_low": "lower end of its 95 % interval, or null",
        "conditions[].over_high": "upper end, or null",
        "conditions[].replicates": "share in each run",
        "conditions[].items": "examples that all of them have",
        "conditions[].clusters": "independent groups of them",
        "conditions[].speaks_of": "what the intervals generalise to",
    },
    _arguments,
    notes="RUN may be a list, for the replicates of one or several conditions: 3,14,25.",
)

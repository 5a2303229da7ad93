"""paraphrases: how far attributions agree between wordings of the same question, by condition."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import pandas as pd

from cotdistill.cli.command import Command, Result
from cotdistill.cli.inspect.shared import (
    add_settings,
    add_where,
    asked_about,
    run_analysis,
    runs_of,
    settings_of,
    write_table,
)
from cotdistill.cli.output import printable, table
from cotdistill.rationales.conditions import parse
from cotdistill.report.paraphrases import SCOPE_NAMES
from cotdistill.results.replicates import Pooled, pooled
from cotdistill.store.records import Job
from cotdistill.store.store import Store
from cotdistill.studies.analyses.paraphrases import ParaphrasesConfig
from cotdistill.studies.inspection_jobs import ids_of
from cotdistill.text import percent, plural


def paraphrases(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    jobs = runs_of(store, arguments.run)
    results = [_of_run(store, job, arguments) for job in jobs]
    every = pd.concat(
        [agreed.assign(run=job.id) for job, (agreed, _) in zip(jobs, results, strict=True)], ignore_index=True
    )
    by: dict[str, list[pd.DataFrame]] = {}
    for job, (agreed, _) in zip(jobs, results, strict=True):
        by.setdefault(str(job.config["condition"]), []).append(agreed)
    document = {
        "split": arguments.split,
        "method": arguments.method,
        "target": arguments.target,
        "out": write_table(arguments.out, every),
        "runs": [one for _, one in results],
        "conditions": [row for condition, tables in by.items() for row in _conditions(condition, tables)],
    }
    return Result(document, _text(document, jobs))


def _of_run(store: Store, job: Job, arguments: argparse.Namespace) -> tuple[pd.DataFrame, dict[str, Any]]:
    checkpoint, examples = asked_about(store, job, arguments)
    config = ParaphrasesConfig(
        job.identity, arguments.split, ids_of(examples), checkpoint, arguments.source, settings_of(arguments)
    )
    result = run_analysis(store, job, config, as_job=arguments.job)
    summary = result.summary
    scopes = [{"scope": scope, **one} for scope, one in summary.pop("scopes").items()]
    return result.tables["agreed"], {
        "run": job.id,
        "condition": job.config["condition"],
        "checkpoint": checkpoint,
        "job": result.number,
        **summary,
        "scopes": scopes,
    }


def _conditions(condition: str, tables: Sequence[pd.DataFrame]) -> list[dict[str, Any]]:
    """One row a scope: agreement over the replicates that were named, and the control."""
    rows = []
    for scope in SCOPE_NAMES:
        scope_tables = [table[table["scope"] == scope] for table in tables]
        rank, control = pooled(scope_tables, "rank"), pooled(scope_tables, "control")
        if rank is not None:
            rows.append(
                {
                    "condition": condition,
                    "label": parse(condition).label,
                    "scope": scope,
                    "rank": _ends(rank),
                    "control": _ends(control) if control else None,
                    "replicates": list(rank.points),
                    "items": rank.items,
                    "clusters": rank.clusters,
                    "speaks_of": rank.interval.speaks_of,
                }
            )
    return rows


def _ends(pooled_mean: Pooled) -> dict[str, float | None]:
    return {"mean": pooled_mean.interval.mean, "low": pooled_mean.interval.low, "high": pooled_mean.interval.high}


def _text(document: dict[str, Any], jobs: list[Job]) -> str:
    rows = []
    for job, one in zip(jobs, document["runs"], strict=True):
        for scope in one["scopes"]:
            student = printable(str(job.label).partition(" · ")[2])
            means = [
                _mean_text(scope["rank"]),
                _mean_text(scope["control"]),
                f"{scope['units']:.1f}",
                f"{scope['examples']:,}",
            ]
            rows.append([str(job.id), student, SCOPE_NAMES[scope["scope"]], *means])
    pooled_rows = [
        [
            row["label"],
            SCOPE_NAMES[row["scope"]],
            _mean_text(row["rank"]),
            _mean_text(row["control"]),
            str(len(row["replicates"])),
        ]
        for row in document["conditions"]
        if len(row["replicates"]) > 1
    ]
    by_condition = table(
        ["condition", "words of", "rank correlation", "another question's", "replicates"],
        pooled_rows,
        right=("replicates",),
    )
    first = document["runs"][0]
    return "\n".join(
        [
            (
                f"attributions ({document['method'].replace('_', ' ')} of {document['target']}) between wordings of the"
                " same question"
            ),
            (
                f"{plural(first['examples'], 'question')} of {document['split']} in"
                f" {plural(first['clusters'], 'cluster')}, {first['versions']:.0f} wordings each"
            ),
            *(
                f"run {one['run']}: the same answer in every wording: {percent(one['answers']['mean'])}"
                for one in document["runs"]
            ),
            "",
            table(
                ["run", "student", "words of", "rank correlation", "another question's", "words", "questions"],
                rows,
                right=("words", "questions"),
            ),
            *(["", by_condition] if pooled_rows else []),
            "",
            (
                "Spearman's correlation over the content words that both wordings have, mean over every two; in"
                " brackets 95 % intervals over clusters."
            ),
            (
                "Another question's: the same words by place, held against a question about something else: what the"
                " place alone explains."
            ),
            *(["", f"Written to {document['out']}"] if document["out"] else []),
        ]
    )


def _mean_text(ends: dict[str, float | None] | None) -> str:
    if ends is None or ends["mean"] is None:
        return "-"
    reach = "" if ends["low"] is None or ends["high"] is None else f" ({ends['low']:+.2f} to {ends['high']:+.2f})"
    return f"{ends['mean']:+.2f}{reach}".replace("-", "−")


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_where(parser, examples="200", split="dev", splits=("train", "dev", "test"))
    parser.add_argument(
        "--checkpoint",
        metavar="SHARE",
        default="1",
        help="share of the steps at which weights were kept; default 1, the end",
    )
    add_settings(parser)


_MEAN = {
    "mean": "over questions",
    "low": "lower end of its 95 % interval over clusters, or null",
    "high": "upper end, or null",
}

COMMAND = Command(
    "inspect",
    "paraphrases",
    "how far attributions agree between wordings of the same question, in the generated task (arXiv 2307.13339)",
    paraphrases,
    {
        "split": "train, dev or test",
        "method": "how was attributed",
        "target": "what",
        "out": "file that was written, or null",
        "runs": "one entry a run",
        "runs[].run": "number of the training run",
        "runs[].condition": "its condition",
        "runs[].checkpoint": "share of its steps",
        "runs[].job": "number of the job; null if it was done at once",
        "runs[].examples": "questions",
        "runs[].clusters": "in how many clusters",
        "runs[].versions": "wordings of a question, mean",
        "runs[].answers": "share of the questions with the same answer in every wording",
        **{f"runs[].answers.{key}": text for key, text in _MEAN.items()},
        "runs[].scopes": "one entry a scope that the student reads before its answer",
        "runs[].scopes[].scope": "which words: question (with choices), rationale, all",
        "runs[].scopes[].rank": (
            "rank correlation over the content words that both wordings have, mean over every two wordings"
        ),
        **{f"runs[].scopes[].rank.{key}": text for key, text in _MEAN.items()},
        "runs[].scopes[].control": (
            "the same with another question at the same places, or null where none has as many words"
        ),
        **{f"runs[].scopes[].control.{key}": text for key, text in _MEAN.items()},
        "runs[].scopes[].units": "words compared, mean",
        "runs[].scopes[].examples": "questions with three words to rank",
        "runs[].scopes[].clusters": "in how many clusters",
        "conditions": "one entry a condition and scope, over the runs that were named",
        "conditions[].condition": "canonical form",
        "conditions[].label": "its name for people",
        "conditions[].scope": "which words",
        "conditions[].rank": "rank correlation",
        **{
            f"conditions[].rank.{key}": text.replace("clusters", "replicates and clusters")
            for key, text in _MEAN.items()
        },
        "conditions[].control": "the same with another question at the same places, or null",
        **{
            f"conditions[].control.{key}": text.replace("clusters", "replicates and clusters")
            for key, text in _MEAN.items()
        },
        "conditions[].replicates": "rank correlation in each run",
        "conditions[].items": "questions that all of them have",
        "conditions[].clusters": "in how many clusters",
        "conditions[].speaks_of": "what the intervals generalise to",
    },
    _arguments,
    notes="RUN may be a list, for the replicates of one or several conditions: 3,14,25.",
)

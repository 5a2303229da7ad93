"""attention: how much of a student's attention goes to the spans that decide, by layer and head."""

from __future__ import annotations

import argparse
from typing import Any

import pandas as pd

from cotdistill.cli.command import Command, Noun, Result
from cotdistill.cli.looking import add_where, at_once_or_job, write_table
from cotdistill.cli.output import printable, table
from cotdistill.studies.concentrations import ConcentrationConfig, concentration_job, reading_seconds
from cotdistill.studies.jobs import Job
from cotdistill.studies.looks import checked_checkpoint, ids_of, pick_examples, source_of, task_of, trained
from cotdistill.studies.store import Store
from cotdistill.views.attended_figure import REGION_NAMES
from cotdistill.views.wording import between_points, percent, plural, points


def attention(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    job = trained(store, arguments.run)
    checkpoint = checked_checkpoint(job, arguments.checkpoint)
    examples = pick_examples(task_of(store, job), arguments.split, arguments.examples, source_of(job, arguments.source))
    config = ConcentrationConfig(job.identity, arguments.split, ids_of(examples), checkpoint, arguments.source)
    spec = concentration_job(job, config)

    def compute() -> tuple[pd.DataFrame, dict[str, Any]]:
        # Imported here: torch is loaded only when there is something to compute.
        from cotdistill.studies.look_concentration import concentrated

        return concentrated(store, config)[:2]

    def read(done: Job) -> tuple[pd.DataFrame, dict[str, Any]]:
        return store.artifacts.table(done.produced["heads"]), dict(done.result or {})

    (heads, told), number = at_once_or_job(store, spec, reading_seconds(config), arguments.job, compute, read)
    plain = heads.astype(object)
    document = {
        "run": job.id,
        "condition": job.config["condition"],
        "checkpoint": checkpoint,
        "split": arguments.split,
        "job": number,
        "out": write_table(arguments.out, heads),
        **told,
        "results": [{str(k): v for k, v in row.items()} for row in plain.where(plain.notna(), None).to_dict("records")],
    }
    return Result(document, _text(document, job))


def _text(document: dict[str, Any], job: Job) -> str:
    lines = [
        f"attention in run {job.id} ({printable(job.label)}), at {100 * float(document['checkpoint']):g} % of its steps",
        f"{plural(document['examples'], 'example')} of {document['split']} in {plural(document['clusters'], 'cluster')}, "
        "from where the answer is read",
        "",
    ]
    rows = []
    for region in document["regions"]:
        every = next(row for row in document["results"] if row["region"] == region and row["layer"] == -1)
        best = document["best"][region]
        rows.append(
            [
                REGION_NAMES[region], f"{every['examples']:,}", percent(every["share"]), percent(every["uniform"]),
                f"{points(every['over'])} ({between_points(every['over_low'], every['over_high'])})",
                f"layer {best['layer']}, head {best['head']}: {percent(best['share'])}",
            ]
        )  # fmt: skip
    lines.append(table(["on", "examples", "share", "by length", "difference", "most over it"], rows, right=("examples", "share", "by length")))
    lines += [
        "",
        "Shares of the attention, mean over heads; by length: the share of the tokens that can be seen from there. The head is chosen after",
        "looking. Where attention goes is not what the answer rests on: see attribute and faithfulness.",
    ]
    if document["out"]:
        lines += ["", f"Written to {document['out']}"]
    return "\n".join(lines)


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_where(parser, examples="400", split="dev", splits=("train", "dev", "test"))
    parser.add_argument("--checkpoint", metavar="SHARE", default="1", help="share of the steps at which weights were kept; default 1, the end")


NOUN = Noun(
    "attention",
    "attention on the spans that decide",
    (
        Command(
            "attention",
            "",
            "how much of the attention goes to the spans that decide, by layer and head, against their length (arXiv 2410.02167)",
            attention,
            {
                "run": "number of the training run",
                "condition": "its condition",
                "checkpoint": "share of its steps",
                "split": "train, dev or test",
                "job": "number of the job; null if it was done at once",
                "out": "file that was written, or null",
                "examples": "how many were read",
                "clusters": "in how many clusters",
                "layers": "of the student",
                "heads": "of a layer",
                "regions": "what these sequences have of: " + ", ".join(REGION_NAMES),
                "best": "by region, the head that is furthest over the share by length, chosen after looking: layer, head, share, uniform, over",
                "results": "one entry a region, layer and head",
                "results[].region": "which tokens the attention goes to",
                "results[].layer": "from 1; -1: the mean over all",
                "results[].head": "from 1; -1: the mean over the layer's heads",
                "results[].share": "of the attention from the place where the answer is read",
                "results[].low": "lower end of its 95 % interval over clusters, or null",
                "results[].high": "upper end, or null",
                "results[].uniform": "share of the tokens that can be seen from there",
                "results[].over": "share minus uniform",
                "results[].over_low": "lower end of its 95 % interval, or null",
                "results[].over_high": "upper end, or null",
                "results[].examples": "examples that have the region",
                "results[].clusters": "independent groups of them",
            },
            _arguments,
        ),
    ),
)

"""probe: where and when is the answer formed? Linear probes on hidden states by layer and place."""

from __future__ import annotations

import argparse
from typing import Any

from cotdistill.cli.command import Command, Result, whole_number
from cotdistill.cli.inspect.shared import add_where, records, run_analysis, write_table
from cotdistill.cli.output import printable, table
from cotdistill.errors import UsageError
from cotdistill.report.figures.probe import PLACES
from cotdistill.store.records import Job
from cotdistill.store.store import Store
from cotdistill.studies.analyses.probe import ProbeConfig, class_names
from cotdistill.studies.inspection_jobs import checked_checkpoint, ids_of, pick_examples, source_of, task_of, trained
from cotdistill.text import plural


def probe(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    job = trained(store, arguments.run)
    checkpoint = checked_checkpoint(job, arguments.checkpoint)
    task = task_of(store, job)
    examples = pick_examples(task, arguments.split, arguments.examples, source_of(job, arguments.source))
    if arguments.what not in (known := class_names(task.examples(arguments.split))):
        raise UsageError(
            f"The task {task.name!r} has no class {arguments.what!r} to probe for.",
            f"Choose one of: {', '.join(known)}",
        )
    config = ProbeConfig(
        job.identity,
        arguments.split,
        ids_of(examples),
        checkpoint,
        arguments.source,
        arguments.what,
        arguments.rows,
        arguments.penalty,
        arguments.seed,
    )
    result = run_analysis(store, job, config, as_job=arguments.job)
    cells = result.tables["cells"]
    document = {
        "run": job.id,
        "condition": job.config["condition"],
        "checkpoint": checkpoint,
        "split": arguments.split,
        "job": result.number,
        "out": write_table(arguments.out, cells),
        **result.summary,
        "results": records(cells),
    }
    return Result(document, _text(document, job))


def _text(document: dict[str, Any], job: Job) -> str:
    best = document["best"]
    reach = "" if best["over_low"] is None else f" ({100 * best['over_low']:+.1f} to {100 * best['over_high']:+.1f})"
    by_cell = {(row["layer"], row["place"]): row for row in document["results"]}
    rows = [
        [
            str(layer),
            *(
                f"{100 * by_cell[layer, p]['accuracy']:.1f} / {100 * by_cell[layer, p]['control']:.1f}"
                for p in document["places"]
            ),
        ]
        for layer in document["layers"]
    ]
    heads = [PLACES[place] for place in document["places"]]
    lines = [
        (
            f"linear probes for the {document['what']} in run {job.id} ({printable(job.label)}), "
            f"at {100 * float(document['checkpoint']):g} % of its steps"
        ),
        (
            f"{plural(document['examples'], 'example')} of {document['split']} in"
            f" {plural(document['clusters'], 'cluster')}; fitted on {plural(document['rows'], 'training row')},"
            f" {document['classes']} classes; guessing {100 * document['guess']:.1f} %"
        ),
        "",
        table(["layer", *heads], rows, right=tuple(heads)),
        "",
        f"accuracy / that of the control task (classes dealt anew over {document['control']}), percent",
        (
            f"furthest over the control: layer {best['layer']}, {PLACES[best['place']]}: {100 * best['accuracy']:.1f}"
            f" %, {100 * best['over']:+.1f} points{reach}; chosen after looking, so its interval is too narrow"
        ),
    ]
    first = [row for row in document["results"] if row["layer"] == document["layers"][0]]
    shown = [(PLACES[row["place"]], row["reads"]) for row in first if row["reads"] != "nothing"]
    if shown:
        lines.append("reads what the teacher wrote: " + "; ".join(f"{place} ({reads})" for place, reads in shown))
    if document["left_out"]:
        lines.append(
            f"{plural(document['left_out'], 'example')} left out: a place is missing, or no training row shows the"
            " class."
        )
    if document["out"]:
        lines += ["", f"Written to {document['out']}"]
    return "\n".join(lines)


def _above_zero(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_where(parser, examples="400", split="dev", splits=("dev", "test"))
    parser.add_argument(
        "--checkpoint",
        metavar="SHARE",
        default="1",
        help="share of the steps at which weights were kept; default 1, the end",
    )
    parser.add_argument(
        "--what",
        default="answer",
        help="answer, place, or a key of the task's metadata (generated task: group, the latent type)",
    )
    parser.add_argument(
        "--rows",
        type=whole_number(2),
        metavar="N",
        default=ProbeConfig.rows,
        help=f"training rows to fit on at most; default {ProbeConfig.rows}",
    )
    parser.add_argument(
        "--penalty",
        type=_above_zero,
        metavar="X",
        default=ProbeConfig.penalty,
        help=f"on the squared weights of a probe; default {ProbeConfig.penalty}",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0),
        metavar="N",
        default=0,
        help="of the rows drawn and of the control task; default 0",
    )


COMMAND = Command(
    "inspect",
    "probe",
    "where and when the answer is formed: linear probes by layer and place (arXiv 1610.01644), beside a control task"
    " (1909.03368)",
    probe,
    {
        "run": "number of the training run",
        "condition": "its condition",
        "checkpoint": "share of its steps",
        "split": "dev or test",
        "job": "number of the job; null if it was done at once",
        "out": "file that was written, or null",
        "what": "the class that is probed for",
        "classes": "how many the training rows show",
        "rows": "training rows that the probes were fitted on",
        "examples": "how many are judged",
        "clusters": "in how many clusters",
        "left_out": "examples without one of the places, or of a class that no training row shows",
        "control": "over what the control task deals the classes anew: rows, or clusters where each has one class",
        "guess": "accuracy of guessing: among the choices, or the most frequent class",
        "layers": "which are read",
        "places": "which are read, in their order",
        "best": "the cell that is furthest over its control, of those that do not read the label",
        "best.layer": "its layer",
        "best.place": "its place",
        "best.accuracy": "its accuracy",
        "best.over": "accuracy minus control",
        "best.over_low": "lower end of the 95 % interval, or null",
        "best.over_high": "upper end, or null",
        "results": "one entry a layer and place",
        "results[].layer": "0 the embeddings, then after each block",
        "results[].place": "the token read",
        "results[].order": "which place it is in the sequence",
        "results[].reads": "what the teacher wrote that stands before it or at it",
        "results[].accuracy": "share of the examples whose class the probe names",
        "results[].low": "lower end of the 95 % interval over clusters, or null",
        "results[].high": "upper end, or null",
        "results[].control": "the same of a probe fitted on the control task",
        "results[].over": "accuracy minus control",
        "results[].over_low": "lower end of its 95 % interval, or null",
        "results[].over_high": "upper end, or null",
    },
    _arguments,
    notes="A diagnostic: it says what can be read off the states, not what the student uses.",
)

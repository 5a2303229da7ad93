"""influence: does a training step on a rationale token also lower the loss of the label?"""

from __future__ import annotations

import argparse
from typing import Any

import pandas as pd

from cotdistill.cli.command import Command, Result, whole_number
from cotdistill.cli.inspect.shared import add_where, records, run_analysis, write_table
from cotdistill.cli.output import printable, table
from cotdistill.errors import UsageError
from cotdistill.store.records import Job
from cotdistill.store.store import Store
from cotdistill.studies.analyses.influence import InfluenceConfig
from cotdistill.studies.inspection_jobs import (
    checked_checkpoint,
    checkpoints,
    ids_of,
    pick_examples,
    source_of,
    task_of,
    trained,
)
from cotdistill.text import plural


def influence(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    job = trained(store, arguments.run)
    if arguments.source and arguments.source != source_of(job):
        raise UsageError(
            f"Run {job.id} was trained on rationales by {source_of(job) or 'nobody'}, not by {arguments.source}.",
            "Leave --source out.",
        )
    shares = (
        checkpoints(job)
        if arguments.checkpoints == "all"
        else [checked_checkpoint(job, s.strip()) for s in arguments.checkpoints.split(",")]
    )
    examples = pick_examples(task_of(store, job), arguments.split, arguments.examples, source_of(job))
    config = InfluenceConfig(
        job.identity,
        arguments.split,
        ids_of(examples),
        tuple(dict.fromkeys(shares)),
        arguments.parameters,
        arguments.steps,
    )
    result = run_analysis(store, job, config, as_job=arguments.job)
    frame = result.tables["alignment"]
    document = {
        "run": job.id,
        "condition": job.config["condition"],
        "split": arguments.split,
        "parameters": arguments.parameters,
        "job": result.number,
        "out": write_table(arguments.out, frame),
        **result.summary,
        "results": _results(frame),
    }
    return Result(document, _text(document, job, frame))


def _results(frame: pd.DataFrame) -> list[dict[str, Any]]:
    kept = frame[
        [
            "example",
            "checkpoint",
            "origin",
            "text",
            "word_text",
            "role",
            "label_text",
            "loss",
            "own",
            "matched",
            "random",
            "value",
            "cosine",
        ]
    ]
    return records(kept.rename(columns={"example": "id"}))


def _text(document: dict[str, Any], job: Job, frame: pd.DataFrame) -> str:
    lines = [
        f"alignment of rationale tokens with the label loss, run {job.id} ({printable(job.label)})",
        (
            f"{plural(document['examples'], 'example')} of {document['split']} in"
            f" {plural(document['clusters'], 'cluster')}, {plural(document['tokens'], 'token')}; parameters:"
            f" {document['parameters']}"
        ),
    ]
    for at in document["checkpoints"]:
        rows = [
            [g["group"], f"{g['tokens']:,}", _signed(g["mean"]), _between(g), f"{100 * g['positive']:.0f} %"]
            for g in at["groups"]
        ]
        head = ["matched minus random", "tokens", "mean", "95 % interval", "above 0"]
        lines += [
            "",
            f"at {100 * float(at['checkpoint']):g} % of the steps",
            table(head, rows, right=("tokens", "mean", "above 0")),
        ]
        if at["type_words"]:
            auc = at["type_words"]
            reach = "" if auc["low"] is None else f" ({auc['low']:.3f} to {auc['high']:.3f})"
            lines.append(
                f"type words above the other tokens of their rationale: AUC {auc['auc']:.3f}{reach},"
                f" {plural(auc['examples'], 'example')}"
            )
        step = at["adam_step"]
        if step["tokens"]:
            lines.append(
                f"rank agreement with a real AdamW step on {plural(step['tokens'], 'token')}, beyond what the optimiser"
                f" does without the token: raw {_rank(step['raw'])}, preconditioned {_rank(step['adam'])}; at a"
                f" hundredth of the rate {_rank(step['raw_small'])}, {_rank(step['adam_small'])}"
            )
    last = frame[
        (frame["checkpoint"] == document["checkpoints"][-1]["checkpoint"])
        & frame["value"].notna()
        & ~frame["label_text"]
    ]
    top = last.assign(word=last["word_text"].str.casefold()).groupby("word")["value"].agg(["mean", "size"])
    top = top[top["size"] >= 2].sort_values("mean", ascending=False)
    if len(top):
        parts = ", ".join(
            f"{printable(str(word))} {_signed(float(row['mean']))}" for word, row in top.head(8).iterrows()
        )
        lines += ["", f"Highest words at the last checkpoint: {parts}"]
    if document["out"]:
        lines += ["", f"Written to {document['out']}"]
    return "\n".join(lines)


def _signed(value: float) -> str:
    return f"{value:+.3g}"


def _rank(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _between(group: dict[str, Any]) -> str:
    return "no interval" if group["low"] is None else f"{_signed(group['low'])} to {_signed(group['high'])}"


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_where(parser, examples="10", split="train", splits=("train", "dev", "test"))
    parser.add_argument(
        "--checkpoints",
        "--checkpoint",
        metavar="all|SHARE,SHARE",
        default="all",
        help="shares of the steps at which weights were kept; default all",
    )
    parser.add_argument(
        "--parameters",
        choices=("blocks", "all"),
        default="blocks",
        help="whose gradients: the transformer blocks (default), or embeddings and output too",
    )
    parser.add_argument(
        "--steps",
        type=whole_number(0),
        metavar="N",
        default=16,
        help="tokens on which a real AdamW step is tried; default 16",
    )


COMMAND = Command(
    "inspect",
    "influence",
    "whether a training step on a rationale token also lowers the loss of the label, at every checkpoint",
    influence,
    {
        "run": "number of the training run",
        "condition": "its condition",
        "split": "train or dev",
        "parameters": "whose gradients",
        "job": "number of the job; null if it was done at once",
        "out": "file that was written, or null",
        "examples": "how many have rationale tokens that are trained on",
        "clusters": "in how many clusters",
        "tokens": "rationale tokens",
        "checkpoints": "one entry a checkpoint",
        "checkpoints[].checkpoint": "share of the steps",
        "checkpoints[].groups": "means of matched minus random, by kind of token",
        "checkpoints[].groups[].group": "which tokens",
        "checkpoints[].groups[].tokens": "how many",
        "checkpoints[].groups[].positive": "share of them with a value above 0",
        "checkpoints[].groups[].mean": "mean value",
        "checkpoints[].groups[].low": "lower end of the 95 % interval over clusters, or null",
        "checkpoints[].groups[].high": "upper end, or null",
        "checkpoints[].type_words": (
            "generated tasks: how well the value tells words of the latent type from the others; null elsewhere"
        ),
        "checkpoints[].type_words.examples": "rationales with both",
        "checkpoints[].type_words.clusters": "their clusters",
        "checkpoints[].type_words.auc": "mean share of pairs in which the type word is higher; .5 is chance",
        "checkpoints[].type_words.low": "lower end of the 95 % interval, or null",
        "checkpoints[].type_words.high": "upper end, or null",
        "checkpoints[].adam_step": (
            "rank agreement with real AdamW steps on single tokens, less what the optimiser does without the token"
        ),
        "checkpoints[].adam_step.tokens": "tokens tried",
        "checkpoints[].adam_step.raw": (
            "Spearman's correlation of the raw alignment, at the run's highest learning rate, or null"
        ),
        "checkpoints[].adam_step.adam": "of the preconditioned one, or null",
        "checkpoints[].adam_step.raw_small": "of the raw one with a step at a hundredth of that rate, or null",
        "checkpoints[].adam_step.adam_small": "of the preconditioned one with such a step, or null",
        "results": "one entry a token and checkpoint",
        "results[].id": "id of the example",
        "results[].checkpoint": "share of the steps",
        "results[].origin": "place in the intact rationale; -1 for a token from elsewhere",
        "results[].text": "its text",
        "results[].word_text": "its word",
        "results[].role": "generated tasks: type, value or other",
        "results[].label_text": "whether its word is one of the right answer's own text",
        "results[].loss": "its cross-entropy, in nats",
        "results[].own": "alignment with the own question",
        "results[].matched": "with dev questions of the same cluster or answer",
        "results[].random": "with other dev questions",
        "results[].value": "matched minus random",
        "results[].cosine": "cosine with the own question's gradient",
    },
    _arguments,
    notes="Positive where a plain gradient step on the token lowers the label loss. Never taken on test questions.",
)

"""attribute: what each token counts for a student's answer."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import pandas as pd

from cotdistill.cli.command import Command, Result
from cotdistill.cli.inspect.shared import add_settings, add_where, asked_about, run_analysis, settings_of, write_table
from cotdistill.cli.output import printable, table
from cotdistill.saliency.methods import METHODS
from cotdistill.saliency.settings import AttributionSettings
from cotdistill.saliency.tables import EXAMPLE_COLUMNS, TOKEN_COLUMNS
from cotdistill.store.records import Job
from cotdistill.store.store import Store
from cotdistill.studies.analyses.attribute import AttributeConfig
from cotdistill.studies.inspection_jobs import ids_of, trained
from cotdistill.tasks.example import Example
from cotdistill.text import plural

# Explanations whose tokens are printed in full; the rest goes to --out or --json.
SHOWN = 3
MOST_WORDS = 12

Tables = tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]


def attribute(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    job = trained(store, arguments.run)
    checkpoint, examples = asked_about(store, job, arguments)
    settings = settings_of(arguments)
    tokens, explained, summary_, number = attribution_tables(
        store, job, checkpoint, arguments.split, examples, arguments.source, settings, arguments.job
    )
    out = write_table(arguments.out, tokens)
    document = {
        "run": job.id,
        "condition": job.config["condition"],
        "checkpoint": checkpoint,
        "split": arguments.split,
        "method": settings.method,
        "signed": METHODS.get(settings.method).signed,
        "target": settings.target,
        "job": number,
        "out": out,
        **summary_,
        "results": _results(tokens, explained, with_tokens=out is None),
    }
    return Result(document, _text(document, job))


def attribution_tables(
    store: Store,
    job: Job,
    checkpoint: str,
    split: str,
    examples: Sequence[Example],
    source: str,
    settings: AttributionSettings,
    as_job: bool,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any], int | None]:
    """The tables of tokens and of explanations, their summary, and the number of the job (None when it was done at
    once).
    """
    config = AttributeConfig(job.identity, split, ids_of(examples), checkpoint, source, settings)

    result = run_analysis(store, job, config, as_job=as_job)
    return result.tables["tokens"], result.tables["examples"], result.summary, result.number


def _results(tokens: pd.DataFrame, explained: pd.DataFrame, *, with_tokens: bool) -> list[dict[str, Any]]:
    by_explanation = dict(iter(tokens.groupby(["example", "target_at"], sort=False))) if with_tokens else {}
    results = []
    for row in explained.to_dict("records"):
        entry: dict[str, Any] = {
            ("id" if k == "example" else str(k)): None if pd.isna(v) else v for k, v in row.items()
        }
        entry["not_readable"] = entry["not_readable"] or None
        if with_tokens:
            part = by_explanation[row["example"], row["target_at"]]
            kept = part[["column", "text", "segment", "word", "score"]].astype(object)
            entry["tokens"] = kept.where(kept.notna(), None).to_dict("records")
        results.append(entry)
    return results


def _text(document: dict[str, Any], job: Job) -> str:
    gap = "" if document["median_gap"] is None else f"; completeness gap {100 * document['median_gap']:.2g} % (median)"
    gap += f", {document['not_converged']} not converged" if document["not_converged"] else ""
    lines = [
        (
            f"{document['method'].replace('_', ' ')} of {document['target']} by run {job.id} ({printable(job.label)}), "
            f"at {100 * float(document['checkpoint']):g} % of its steps"
        ),
        (
            f"{plural(document['explanations'], 'explanation')} of {plural(document['examples'], 'example')} of"
            f" {document['split']}{gap}"
        ),
    ]
    if document["not_readable"]:
        lines.append(f"rationale: {document['not_readable']}")
    if document["cut_short"]:
        lines.append(f"{plural(document['cut_short'], 'rationale')} cut at what the student reads.")
    for entry in document["results"][:SHOWN]:
        right = "right" if entry["predicted"] == entry["gold"] else "wrong"
        lines += [
            "",
            (
                f"{printable(entry['id'])}: explains {entry['value']:.3f} nats; the answer is {right} (gold choice"
                f" {100 * entry['p_gold']:.1f} %)"
            ),
        ]
        if "tokens" in entry:
            lines.append(_words(entry["tokens"]))
    left = len(document["results"]) - SHOWN
    if left > 0:
        lines += ["", f"... and {left} more: --json shows all, --out FILE.parquet writes them."]
    if document["out"]:
        lines += ["", f"Written to {document['out']}"]
    return "\n".join(lines)


def _words(tokens: list[dict[str, Any]]) -> str:
    """The words with the largest scores, in the order of the text."""
    words: dict[int, list[Any]] = {}
    for token in tokens:
        if token["score"] is not None:
            entry = words.setdefault(token["word"], [token["segment"], "", 0.0])
            entry[1] += token["text"]
            entry[2] += token["score"]
    largest = sorted(words, key=lambda word: -abs(words[word][2]))[:MOST_WORDS]
    rows = [[words[w][0], printable(words[w][1].strip()), f"{words[w][2]:+.3f}"] for w in sorted(largest)]
    return table(["span", "word", "score"], rows, right=("score",))


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_where(parser, examples="1", split="dev", splits=("train", "dev", "test"))
    parser.add_argument(
        "--checkpoint",
        metavar="SHARE",
        default="1",
        help="the share of the steps at which the weights were kept; default 1, the end",
    )
    add_settings(parser)


COMMAND = Command(
    "inspect",
    "attribute",
    "what each token counts for a student's answer; a label that does not read a rationale says so",
    attribute,
    {
        "run": "number of the training run",
        "condition": "its condition",
        "checkpoint": "share of its steps",
        "split": "train, dev or test",
        "method": "how",
        "signed": "whether a score says for or against",
        "target": "what is explained",
        "job": "number of the job; null if it was done at once",
        "out": "file that was written, or null",
        "explanations": "how many",
        "examples": "of how many examples",
        "clusters": "in how many clusters",
        "accuracy": "share of them that the student answers right",
        "median_gap": "share of the explained difference that the scores miss, median; null without completeness",
        "not_converged": "explanations whose gap stays above 5 %",
        "cut_short": "examples whose rationale was cut at what the student reads",
        "not_readable": "why the rationale bears no scores, or null",
        "results": "one entry an explanation",
        **{f"results[].{'id' if name == 'example' else name}": help for name, help in EXAMPLE_COLUMNS.items()},
        "results[].tokens": "left out with --out",
        **{
            f"results[].tokens[].{name}": TOKEN_COLUMNS[name] for name in ("column", "text", "segment", "word", "score")
        },
    },
    _arguments,
    notes="Methods:\n" + "\n".join(f"  {entry.name.ljust(22)}{entry.help}" for entry in METHODS),
)

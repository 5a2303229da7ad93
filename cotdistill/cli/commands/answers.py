"""runs import: answers that other code made become a study with the same comparisons and verdicts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cotdistill.cli.command import Command, Result, parsed_pairs
from cotdistill.cli.output import printable, table
from cotdistill.config import from_mapping
from cotdistill.exchange.import_predictions import import_answers
from cotdistill.exchange.prediction_file import SCORES, AnswerColumns
from cotdistill.rationales.conditions import parse
from cotdistill.store.store import Store
from cotdistill.text import percent, plural


def run(arguments: argparse.Namespace) -> Result:
    done = import_answers(
        Store.open(),
        arguments.file.expanduser(),
        arguments.study,
        columns=from_mapping(AnswerColumns, arguments.columns) if arguments.columns else None,
        scores=arguments.scores,
        task=arguments.task or "",
        student=arguments.student or "",
        title=arguments.title or "",
        baseline=arguments.baseline or "",
        names=arguments.map,
        dry_run=arguments.dry_run,
    )
    document: dict[str, Any] = {
        "study": None if done.study is None else {"id": done.study, "name": done.name},
        "name": done.name,
        "digest": done.digest,
        "conditions": [
            {
                "name": name,
                "id": condition,
                "label": parse(condition).label,
                "replicates": [replicate for c, replicate, _ in done.runs if c == condition],
                "accuracies": [accuracy for c, _, accuracy in done.runs if c == condition],
            }
            for name, condition in done.conditions.items()
        ],
        "items": done.items,
        "clusters": done.clusters,
        "nested": done.nested,
        "dev_items": done.dev_items,
        "chance": done.chance,
        "told": list(done.notes),
    }
    rows = [
        [c["name"], c["id"], len(c["replicates"]), " ".join(percent(a) for a in c["accuracies"])]
        for c in document["conditions"]
    ]
    head = (
        "It can be imported; nothing was written"
        if done.study is None
        else f"Imported study {done.name} (number {done.study})"
    )
    lines = [
        f"{head}: {plural(done.items, 'question')} in {plural(done.clusters, 'cluster')}, {plural(len(done.runs), 'run')}.",
        "",
    ]
    lines += [table(["in the file", "condition", "replicates", "each"], rows, right=("replicates",)), ""]
    lines += [printable(text) for text in done.notes]
    if done.study is not None:
        lines.append(f"See it: cotdistill compare {done.name}")
    return Result(document, "\n".join(lines))


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="a .csv, .parquet or .jsonl file, plain or .gz: one row a question, condition and replicate",
    )
    parser.add_argument("--study", required=True, metavar="NAME", help="the study that it becomes")
    parser.add_argument(
        "--task",
        metavar="TASK",
        help="the task of this store that the questions are from: right answers, clusters and texts come from it",
    )
    parser.add_argument(
        "--baseline", metavar="CONDITION", help="what differences are taken to; default: label_only, or the first"
    )
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="NAME=CONDITION",
        help="which condition a name of the file stands for (repeatable)",
    )
    parser.add_argument(
        "--scores",
        choices=SCORES,
        default="prob",
        help="what the numbers of the choices are: probabilities (default), or log-likelihoods",
    )
    parser.add_argument(
        "--columns",
        type=parsed_pairs,
        metavar="FIELD=COLUMN,...",
        help="which column holds which field, where it is not guessed",
    )
    parser.add_argument("--student", metavar="TEXT", help="what the student is called; for people")
    parser.add_argument("--title", metavar="TEXT", help="one line; for people")
    parser.add_argument("--dry-run", action="store_true", help="check everything and write nothing")


IMPORT = Command(
    "runs",
    "import",
    "answers that other code made, as a study with the same comparisons and verdicts",
    run,
    {
        "study": "the study that stands here now; null with --dry-run",
        "study.id": "its number",
        "study.name": "its name",
        "name": "the name it has, or would get",
        "digest": "of the file; the runs are marked with it",
        "conditions": "every condition of the file",
        "conditions[].name": "as the file calls it",
        "conditions[].id": "canonical form",
        "conditions[].label": "its name for people",
        "conditions[].replicates": "replicates of it",
        "conditions[].accuracies": "accuracy of each, a share",
        "items": "test questions (of each replicate, where each has its own)",
        "clusters": "independent groups of them",
        "nested": "whether each replicate has questions of its own",
        "dev_items": "questions of dev, which fix the margin of 'no worse'",
        "chance": "accuracy of guessing",
        "told": "what deserves a look",
    },
    _arguments,
    notes="Columns: item, condition, replicate, answer (not needed with --task), and the choices' probabilities: a list in `probabilities`, or "
    "p_0, p_1 ...\nor prob_A, prob_B ...; optional cluster, prediction, tokens, split. Every row that cannot be used is listed with its line.",
)

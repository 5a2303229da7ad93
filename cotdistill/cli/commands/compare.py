"""compare: every condition of a study against one of them, and the planned claims with every comparison behind them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cotdistill.cli.command import Command, Noun, Result, parsed_pairs
from cotdistill.cli.output import printable, table
from cotdistill.cli.study_text import REPORT_KEYS, difference_document, report, report_text
from cotdistill.errors import UsageError
from cotdistill.exchange.frames import ComparedCondition, compare_frame, read_frame
from cotdistill.report.also_test import also_table, title
from cotdistill.report.export import extended_told, other_loss_told, setting, tables, tuned_told
from cotdistill.results.findings import also_test_document, findings
from cotdistill.statistics.verdicts import PROVISIONAL
from cotdistill.store.store import Store
from cotdistill.tasks.importing.files import kind_of
from cotdistill.text import plural


def compare(arguments: argparse.Namespace) -> Result:
    if kind_of(Path(arguments.study)) is not None:
        return compare_file(arguments)
    if arguments.columns:
        raise UsageError("--columns is for a file of answers.", "A study's answers have their columns.")
    store = Store.open()
    findings_document = findings(store, arguments.study, arguments.margin)
    if findings_document["id"] is None:
        # A built-in study that was never launched: every comparison is there, without numbers.
        document = {
            **{key: None for key in REPORT_KEYS if "." not in key},
            "runs": 0,
            "failures": [],
            **findings_document,
        }
        return Result(
            document,
            "\n".join(
                [
                    str(findings_document["title"] or findings_document["name"]),
                    setting(findings_document),
                    *claims_lines(findings_document),
                ]
            ),
        )
    if len(findings_document["conditions"]) < 2:
        raise UsageError(
            f"The study {arguments.study!r} has one condition, so there is nothing to compare.",
            "Run it with a baseline beside it: --conditions label_only,post_cot; study show STUDY shows its accuracy.",
        )
    compared = report(store, arguments.study, baseline=arguments.baseline, margin=arguments.margin)
    document = {**findings_document, **compared}
    document["also_test"] = also_test_document(store, store.queue.study(arguments.study), compared["baseline"])
    heading, _, *rows = report_text(compared).split("\n")
    return Result(document, "\n".join([heading, setting(findings_document), *rows, *claims_lines(document)]))


def compare_file(arguments: argparse.Namespace) -> Result:
    """The same table for a file of right and wrong answers, without a store."""
    path = Path(arguments.study).expanduser()
    frame, columns = read_frame(path, arguments.columns or {})
    margin = None if arguments.margin is None else arguments.margin / 100
    compared = compare_frame(frame, **columns, baseline=arguments.baseline, margin=margin, called=path.name)
    rows = compared.conditions
    finished = sum(len(row.replicates) for row in rows)
    planned = len(rows) * len(compared.replicates)
    document: dict[str, Any] = {
        **{key: None for key in _KEYS if "." not in key},
        "name": path.name,
        "answers": path.name,
        "artificial": False,
        "status": PROVISIONAL if finished < planned else "done",
        "replicates": len(compared.replicates),
        "runs": planned,
        "finished": finished,
        "missing_runs": planned - finished,
        **dict.fromkeys(("failed", "stopped", "running", "queued", "imported_runs"), 0),
        "failures": [],
        "claims": [],
        "baseline": compared.baseline,
        "provisional": finished < planned,
        "margin": arguments.margin,
        "conditions": [_frame_condition(row, len(compared.replicates)) for row in rows],
    }
    read = ", ".join(f"{field}: {name}" for field, name in columns.items())
    layout = rows[0].answers.layout
    size = f"{plural(layout.size, 'question')} in {plural(layout.cluster_count, 'cluster')}"
    heading, _, *lines = report_text(document).split("\n")
    head = [heading, f"{size}; columns {read}"]
    return Result(document, "\n".join([*head, *lines, *(f"! {printable(note)}." for note in compared.notes)]))


def _frame_condition(row: ComparedCondition, planned: int) -> dict[str, Any]:
    """An entry of `conditions`, as a study has it."""
    layout = row.answers.layout
    return {
        "id": row.condition,
        "label": row.condition,
        "planned": planned,
        "finished": len(row.replicates),
        "accuracy": row.accuracy.mean,
        "low": row.accuracy.low,
        "high": row.accuracy.high,
        "replicates": [float(replicate.mean()) for replicate in row.answers.correct],
        "speaks_of": row.accuracy.speaks_of,
        "items": layout.size,
        "clusters": layout.cluster_count,
        **dict.fromkeys(("chance", "tokens", "seconds")),
        "at_chance": False,
        "warnings": list(row.answers.warnings),
        "difference": difference_document(row.difference),
    }


def claims_lines(document: dict[str, Any]) -> list[str]:
    """The planned claims for a person: verdict, what equal tokens do to it, what would change it, and its
    comparisons.
    """
    lines = []
    if document["missing_runs"]:
        lines.append(f"! Provisional: {plural(document['missing_runs'], 'planned run')} still missing.")
    if extended := extended_told(document):
        lines.append(f"! {extended}")
    if tuned := tuned_told(document):
        lines.append(tuned)
    for claim, part in zip(document["claims"], tables(document), strict=False):
        lines += ["", f"{claim['id']}. {claim['title']}: {claim['word']}"]
        lines += [
            f"   {text}" for text in (claim["told"], claim["budget"], claim["change"], other_loss_told(claim)) if text
        ]
        lines += ["", table(list(part.columns), [list(row) for row in part.rows], right=part.right)]
    if also := document["also_test"]:
        part = also_table(also)
        lines += ["", title(also), "", table(list(part.columns), [list(row) for row in part.rows], right=part.right)]
        lines.append(part.caption)
    return lines


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "study",
        metavar="STUDY|FILE",
        help="its name (the latest of that name) or number, where a built-in one may not have run yet; or a .csv, .tsv,"
        " .jsonl or .parquet file of right and wrong answers, compared without a store",
    )
    parser.add_argument(
        "--baseline", metavar="CONDITION", help="reference condition for differences; default: the study's own"
    )
    parser.add_argument(
        "--margin",
        type=float,
        metavar="POINTS",
        help="non-inferiority margin ('no worse') in points, chosen beforehand; default: from the gain on dev",
    )
    parser.add_argument(
        "--columns",
        type=parsed_pairs,
        metavar="FIELD=COLUMN,...",
        help="of a file: which column holds condition, item, replicate, correct, cluster, where it is not guessed",
    )


def _comparison_keys(name: str, help: str) -> dict[str, str]:
    keys = {
        "first": "the condition",
        "second": "what it is held against",
        "first_label": "its name for people",
        "second_label": "its name for people",
        "kind": "better, or no worse",
        "status": "done, provisional, not_run, or cannot (nothing to judge by)",
        "points": "difference in points, or null",
        "low": "lower end of the 95 % interval, or null",
        "high": "upper end, or null",
        "p": "p in the direction of the claim, or null",
        "word": "verdict word, or null",
        "margin": "of non-inferiority in points, or null",
        "kept": "share of intact post-CoT's gain that is kept, with its interval; or null",
        "items": "test questions",
        "clusters": "independent groups of them",
        "replicates": "replicates of both",
        "method": "how the interval was made, or null",
        "speaks_of": "what it generalises to, or null",
        "settled_by": (
            "what would show the difference seen, were it true, in four of five studies: replicates, or items; null"
            " unless it is open"
        ),
        "told": "the numbers in a line, or what is missing",
    }
    return {f"claims[].{name}": help, **{f"claims[].{name}[].{key}": text for key, text in keys.items()}}


_KEYS = {
    **REPORT_KEYS,
    "status": "done, provisional (runs are missing), or not_run",
    "replicates": "replicates planned",
    "chance": "accuracy of guessing, or null",
    "plan_hash": "hash of the plan, frozen at launch",
    "created": "unix time of the launch, or null",
    "origin": "digest of the file that the study was imported from; null for one of this store",
    "imported_runs": "planned runs that were not run in this store",
    "missing_runs": "planned runs without a result",
    "extended": (
        "the earlier study whose ended runs this one shares in another composition, so that they could be seen when it"
        " was planned, or null"
    ),
    "extended.id": "its number; null if it is in the store that the study was imported from",
    "extended.name": "its name, or null",
    "extended.replicates": "its replicates",
    "extended.runs": "how many runs of this study had ended by then, or null",
    "extended.of": "runs of this study",
    "margin": "of 'no worse' in points if it was given, else null",
    "tuned": "the settings that conditions have of their own, chosen on dev (study run --tune), or null",
    "tuned.settings": "training settings by condition",
    "tuned.shared": "the same study at the shared setting, or null where nobody has run it",
    "tuned.claims": "its verdicts",
    "tuned.claims[].id": "number of the claim",
    "tuned.claims[].word": "its word",
    "also_test": "the same students on a second task (study run --also-test): exploratory, never judged; or null",
    "also_test.task": "the second task, as the study names it",
    "also_test.baseline": "the condition that differences are taken to",
    "also_test.questions": "its test questions; 0 before the first student was scored",
    "also_test.clusters": "independent groups of them",
    "also_test.chance": "accuracy of guessing, or null",
    "also_test.trained_on": "questions of it that stand word for word in the students' training split",
    "also_test.speaks_of": "what the intervals generalise to",
    "also_test.missing": "planned students that have not been scored",
    "also_test.conditions": "one entry a condition",
    "also_test.conditions[].id": "canonical form",
    "also_test.conditions[].label": "its name for people",
    "also_test.conditions[].planned": "replicates planned",
    "also_test.conditions[].finished": "replicates scored on the second task",
    "also_test.conditions[].accuracy": "mean over replicates, or null",
    "also_test.conditions[].low": "lower end of the 95 % interval, or null",
    "also_test.conditions[].high": "upper end, or null",
    "also_test.conditions[].replicates": "accuracy of each replicate",
    "also_test.conditions[].points": "paired difference to the baseline in points, or null",
    "also_test.conditions[].points_low": "lower end of the 95 % interval, or null",
    "also_test.conditions[].points_high": "upper end, or null",
    "claims": "one entry a claim",
    "claims[].id": "its number",
    "claims[].title": "what it says",
    "claims[].word": (
        "holds, fails, not shown (each with 'demonstration' below five replicates), this seed only, provisional, or"
        " cannot be asked here"
    ),
    "claims[].status": "done, provisional, not_run, or cannot",
    "claims[].p": "largest p of its comparisons, adjusted after Holm, or null",
    "claims[].told": "the numbers, or what is missing",
    "claims[].budget": "what equal training tokens do to it",
    "claims[].change": "what would change the verdict",
    "claims[].asked_by": "the built-in study that asks it, if this one cannot; else null",
    **_comparison_keys("comparisons", "at equal steps: the verdict rests on these"),
    **_comparison_keys("at_tokens", "at equal training tokens: exploratory"),
    "claims[].other_loss": "claims 2 and 3: the same study under the other loss; null elsewhere",
    "claims[].other_loss.loss": "token_mean or span",
    "claims[].other_loss.study": "its name, or null where nobody has run it",
    "claims[].other_loss.word": "its word, or null",
    "claims[].other_loss.told": "its numbers",
    "claims[].other_loss.command": "how to run it, or null",
    "claims[].controls": "conditions that stand beside it, each against label only; exploratory",
    "claims[].controls[].id": "canonical form",
    "claims[].controls[].label": "its name for people",
    "claims[].controls[].why": "why it is there",
    "claims[].controls[].accuracy": "mean over replicates",
    "claims[].controls[].low": "lower end of the 95 % interval, or null",
    "claims[].controls[].high": "upper end, or null",
    "claims[].controls[].points": "difference to label only in points, or null",
    "claims[].controls[].points_low": "lower end, or null",
    "claims[].controls[].points_high": "upper end, or null",
    "claims[].controls[].word": "verdict word, or null",
}

NOUN = Noun(
    "compare",
    "differences and claims",
    (
        Command(
            "compare",
            "",
            "every condition of a study against one of them, with intervals, and the planned claims with their"
            " comparisons",
            compare,
            _KEYS,
            _arguments,
            notes="A file has one row per condition, replicate and question, with 1 or 0 in the column `correct`; what"
            " only a study knows is null in its document.",
            example="answers.csv --baseline label_only",
        ),
    ),
)

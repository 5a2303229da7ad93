"""findings and report: the claims with their comparisons, as a document and as files for others."""

from __future__ import annotations

import argparse
from pathlib import Path

from cotdistill.cli.command import Command, Noun, Result
from cotdistill.cli.output import table, whole_file
from cotdistill.errors import UsageError
from cotdistill.report.export import FORMS, extended_told, published, setting, tables, verdict_rows
from cotdistill.results.findings import findings
from cotdistill.results.overview import overview
from cotdistill.store.store import Store
from cotdistill.text import plural


def tell(arguments: argparse.Namespace) -> Result:
    document = findings(Store.open(), arguments.study, arguments.margin)
    lines = [str(document["title"] or document["name"]), setting(document)]
    if document["missing_runs"]:
        lines.append(f"! Provisional: {plural(document['missing_runs'], 'planned run')} still missing.")
    if extended := extended_told(document):
        lines.append(f"! {extended}")
    for claim, one in zip(document["claims"], tables(document), strict=False):
        lines += ["", f"{claim['id']}. {claim['title']}: {claim['word']}"]
        lines += [f"   {text}" for text in (claim["budget"], claim["change"]) if text]
        lines += ["", table(list(one.columns), [list(row) for row in one.rows], right=one.right)]
    return Result(document, "\n".join(lines))


def every(arguments: argparse.Namespace) -> Result:
    document = overview(Store.open())
    head, rows = verdict_rows(document)
    text = (
        table(head, rows)
        if rows
        else "No study has a finished run yet. The first: python -m cotdistill study run starter --wait"
    )
    return Result(document, text)


def write(arguments: argparse.Namespace) -> Result:
    """Write the findings to a file, whole or not at all; its ending says the form."""
    form = arguments.out.suffix.lstrip(".")
    if form not in FORMS:
        raise UsageError(f"{arguments.out} ends in none of .{', .'.join(FORMS)}.", "For example --out findings.html")
    if not arguments.out.parent.is_dir():
        raise UsageError(f"There is no folder {arguments.out.parent}.", "Make it first, or name another one.")
    document = findings(Store.open(), arguments.study, arguments.margin)
    text = published(document, form)
    with whole_file(arguments.out) as part:
        part.write_text(text, encoding="utf-8")
    size = arguments.out.stat().st_size
    return Result(
        {"study": document["name"], "form": form, "out": str(arguments.out), "bytes": size},
        f"Written to {arguments.out} ({size:,} bytes)",
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "study",
        metavar="STUDY",
        help="its name (the latest of that name) or number; a built-in one may not have run yet",
    )
    parser.add_argument(
        "--margin", type=float, metavar="POINTS", help="of 'no worse', chosen beforehand; default: from the gain on dev"
    )


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    _arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=f"ends in .{', .'.join(FORMS)}")


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
        "settled_by": "what would show the difference seen, were it true, in four of five studies: replicates, or items; null unless it is open",
        "told": "the numbers in a line, or what is missing",
    }
    return {f"claims[].{name}": help, **{f"claims[].{name}[].{key}": text for key, text in keys.items()}}


FINDINGS = Noun(
    "findings",
    "the claims, as a study stands",
    (
        Command(
            "findings",
            "",
            "the planned claims with every comparison, at equal steps and at equal tokens, and what would change each verdict",
            tell,
            {
                "id": "number of the study, or null",
                "name": "name",
                "title": "one line",
                "status": "done, provisional (runs are missing), or not_run",
                "task": "task",
                "artificial": "whether the task is made by code",
                "worlds": "generated worlds, or null",
                "student": "student",
                "steps": "optimiser steps of a run; null where the answers were made elsewhere",
                "answers": "the file that the answers come from which were made by other code, or null",
                "replicates": "replicates planned",
                "source": "whose rationales; null: the task's default",
                "test_is": "what the test split is, or null",
                "chance": "accuracy of guessing, or null",
                "plan_hash": "hash of the plan, frozen at launch",
                "created": "unix time of the launch, or null",
                "origin": "digest of the file that the study was imported from; null for one of this store",
                "imported_runs": "planned runs that were not run in this store",
                "missing_runs": "planned runs without a result",
                "extended": "the earlier study whose ended runs this one shares in another composition, so that they could be seen when it was planned, or null",
                "extended.id": "its number; null if it is in the store that the study was imported from",
                "extended.name": "its name, or null",
                "extended.replicates": "its replicates",
                "extended.runs": "how many runs of this study had ended by then, or null",
                "extended.of": "runs of this study",
                "margin": "of 'no worse' in points if it was given, else null",
                "claims": "one entry a claim",
                "claims[].id": "its number",
                "claims[].title": "what it says",
                "claims[].word": "holds, fails, not shown, provisional, or cannot be asked here",
                "claims[].status": "done, provisional, not_run, or cannot",
                "claims[].p": "largest p of its comparisons, adjusted after Holm, or null",
                "claims[].told": "the numbers, or what is missing",
                "claims[].budget": "what equal training tokens do to it",
                "claims[].change": "what would change the verdict",
                "claims[].asked_by": "the built-in study that asks it, if this one cannot; else null",
                **_comparison_keys("comparisons", "at equal steps: the verdict rests on these"),
                **_comparison_keys("at_tokens", "at equal training tokens: exploratory"),
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
                "conditions": "every condition",
                "conditions[].id": "canonical form",
                "conditions[].label": "its name for people",
                "conditions[].accuracy": "mean over replicates, or null",
                "conditions[].low": "lower end of the 95 % interval, or null",
                "conditions[].high": "upper end, or null",
                "conditions[].finished": "replicates finished",
                "conditions[].planned": "replicates planned",
                "conditions[].items": "test questions",
                "conditions[].clusters": "independent groups of them",
                "conditions[].replicates": "accuracy of each finished replicate",
                "conditions[].speaks_of": "what the interval generalises to",
                "conditions[].tokens": "training tokens of a run, mean, or null",
                "conditions[].warnings": "what is wrong with single replicates, in words",
            },
            _arguments,
        ),
    ),
)

VERDICTS = Noun(
    "verdicts",
    "the claims in every study",
    (
        Command(
            "verdicts",
            "",
            "what the latest study of every name says of the three claims: several tasks and students in one table",
            every,
            {
                "id": "number of the study",
                "name": "name",
                "task": "task",
                "artificial": "whether the task is made by code",
                "student": "student",
                "source": "whose rationales; null: the task's default",
                "replicates": "replicates planned",
                "steps": "optimiser steps of a run",
                "status": "done, or provisional (runs are missing)",
                "finished": "runs finished",
                "planned": "runs planned",
                "claims": "one entry a claim",
                "claims[].id": "its number",
                "claims[].word": "holds, fails, not shown, provisional, or cannot be asked here",
                "claims[].first": "its first comparison: the condition",
                "claims[].second": "what it is held against",
                "claims[].points": "their difference in points, or null",
                "claims[].low": "lower end of the 95 % interval, or null",
                "claims[].high": "upper end, or null",
            },
            listed=True,
        ),
    ),
)

REPORT = Noun(
    "report",
    "the findings as a file",
    (
        Command(
            "report",
            "",
            "write the findings as one HTML page that opens offline, as Markdown, LaTeX or CSV",
            write,
            {"study": "name", "form": "html, md, tex or csv", "out": "file that was written", "bytes": "its size"},
            _report_arguments,
        ),
    ),
)

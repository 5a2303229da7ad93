"""study list, show, note: the studies of the store, one of them, and what people noted on it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from cotdistill.cli.command import Command, Result
from cotdistill.cli.output import printable, table
from cotdistill.cli.study_text import REPORT_KEYS, report, report_text
from cotdistill.rationales.conditions import parse
from cotdistill.report.rivals import HEAD, cells, gain_told
from cotdistill.results import training_size
from cotdistill.results.rivals import rivals
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.studies.annotations import Remark, remark, remarks, set_remark
from cotdistill.text import ago, between_points, count, percent, points


def list_(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    states = {job.id: job.state for job in store.queue.jobs()}
    said = remarks(store)
    document = [_listed(study, states, said.get(study.id, Remark())) for study in store.queue.studies()]
    if arguments.tag:
        document = [study for study in document if set(arguments.tag) <= set(study["tags"])]
    if arguments.claims:
        return _claims_of(store, document)
    rows = [
        [
            s["id"],
            s["name"],
            s["task"],
            s["student"],
            f"{s['finished']} of {s['runs']}",
            s["failed"] or "",
            _launched(s),
            ", ".join(s["tags"]),
        ]
        for s in document
    ]
    text = table(
        ["study", "name", "task", "student", "finished", "failed", "launched", "tags"], rows, right=("study", "failed")
    )
    none = (
        "No study has these tags." if arguments.tag else "No study yet. The first: cotdistill study run starter --wait"
    )
    return Result(document, text if document else none)


def _claims_of(store: Store, listed: list[dict[str, Any]]) -> Result:
    """The verdicts on the planned claims: of those listed, the latest study of every name that has a finished run."""
    # Imported here: the other lists need no statistics.
    from cotdistill.report.export import verdict_rows
    from cotdistill.results.overview import overview

    judged = {entry["id"]: entry for entry in overview(store) if entry["id"] in {study["id"] for study in listed}}
    head, rows = verdict_rows(list(judged.values()))
    document = [{**study, **judged[study["id"]]} for study in listed if study["id"] in judged]
    return Result(
        document,
        table(head, rows) if rows else "No study has a finished run. The first: cotdistill study run starter --wait",
    )


def _listed(study: Study, states: dict[int, str], said: Remark) -> dict[str, Any]:
    runs = [states.get(member.job_id, "deleted") for member in study.members if member.role == "run"]
    return {
        "id": study.id,
        "name": study.name,
        "task": study.spec["task"],
        "student": study.spec["student"]["name"],
        "created": study.created,
        "plan_hash": study.plan_hash,
        "tags": list(said.tags),
        "origin": study.origin or None,
        "runs": len(runs),
        **{state: runs.count(state) for state in ("finished", "failed", "stopped", "running", "queued")},
        **{key: None for key in CLAIM_KEYS if "." not in key},
    }


def _launched(study: Mapping[str, Any]) -> str:
    return ago(study["created"]) + (", elsewhere" if study["origin"] else "")


def show(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    shown = report(store, arguments.study, baseline=arguments.baseline, margin=arguments.margin)
    by_rival = rivals(store, shown["id"]) if arguments.by == "rival" else None
    by_size, sizes_text = (
        sizes(store, shown["id"], arguments.baseline or "label_only") if arguments.by == "size" else (None, "")
    )
    text = rivals_text(by_rival) if by_rival else sizes_text if by_size is not None else report_text(shown)
    return Result({**shown, "by_rival": by_rival, "by_size": by_size}, text)


def rivals_text(document: dict[str, Any]) -> str:
    """What each rival explanation accounts for of post-CoT's gain, as a table."""
    lines = [gain_told(document)]
    return "\n\n".join([*lines, table(list(HEAD), cells(document))] if document["rivals"] else lines)


def sizes(store: Store, which: int | str, baseline: str) -> tuple[list[dict[str, Any]], str]:
    """Accuracy at each share of the training rows, with the paired difference to `baseline` at the same share; the same as text."""
    study = store.queue.study(which)
    curves = training_size.size_curves(store, study.id)
    against = {
        (one.condition, one.fraction): one for one in training_size.gaps(store, study.id, curves, str(parse(baseline)))
    }
    document = []
    rows = []
    for curve in curves:
        for one in curve.sizes:
            gap, summary = against.get((curve.condition, one.fraction)), one.summary
            document.append(
                {
                    "condition": curve.condition, "label": curve.label, "fraction": one.fraction, "rows": one.rows, "epochs": one.epochs,
                    "accuracy": summary.mean, "low": summary.low, "high": summary.high, "replicates": list(summary.points),
                    "planned": summary.planned, "difference": gap and 100 * gap.difference,
                    "difference_low": None if gap is None or gap.low is None else 100 * gap.low,
                    "difference_high": None if gap is None or gap.high is None else 100 * gap.high,
                    "word": gap.word if gap else "",
                }
            )  # fmt: skip
            told = f"{points(gap.difference)} ({between_points(gap.low, gap.high)})" if gap else ""
            finished = f"{summary.finished} of {summary.planned}"
            rows.append(
                [
                    curve.label,
                    f"{100 * one.fraction:g} %",
                    count(one.rows),
                    f"{one.epochs:.1f}",
                    percent(summary.mean),
                    finished,
                    told,
                ]
            )
    against_told = f"against {parse(baseline).label}"
    heads = ["condition", "share", "examples", "epochs", "accuracy", "finished", against_told]
    none = "No condition of this study has finished runs at two sizes of the training set: study run --fractions 0.1,0.25,0.5,1"
    return document, table(heads, rows, right=("share", "examples", "epochs", "accuracy", "finished")) if rows else none


def say(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    study = store.queue.study(arguments.study)
    tags = None
    if arguments.tag or arguments.untag:
        tags = [*(tag for tag in remark(store, study.id).tags if tag not in arguments.untag), *arguments.tag]
    if arguments.text is None and tags is None and arguments.baseline is None:
        said = remark(store, study.id)
    else:
        baseline = arguments.baseline and str(parse(arguments.baseline))
        said = set_remark(store, study.id, note=arguments.text, tags=tags, baseline=baseline)
    document = {
        "study": study.id,
        "note": said.note,
        "tags": list(said.tags),
        "baseline": said.baseline or None,
        "changed": said.changed or None,
    }
    lines = [
        f"Study {study.name} (number {study.id})",
        f"tags: {', '.join(said.tags) or '-'}",
        f"pinned baseline: {said.baseline or 'as planned'}",
    ]
    return Result(document, "\n".join(printable(line) for line in [*lines, *(said.note.splitlines() or ["no note"])]))


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", help="its name (the latest of that name) or number")
    parser.add_argument(
        "--baseline", metavar="CONDITION", help="what differences are taken to; default: the study's own"
    )
    parser.add_argument(
        "--margin", type=float, metavar="POINTS", help="also judge 'no worse' by this margin, chosen beforehand"
    )
    parser.add_argument(
        "--by",
        choices=("rival", "size"),
        help="rival: what every other condition accounts for of post-CoT's gain over label only; "
        "size: accuracy against the number of training examples, against label only unless --baseline is given",
    )


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="TAG",
        help="only studies with this tag; may be given more than once",
    )
    parser.add_argument(
        "--claims", action="store_true", help="the verdicts on the planned claims, for the latest study of every name"
    )


def _say_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY", help="its name (the latest of that name) or number")
    parser.add_argument("--text", metavar="TEXT", help='the note, in place of the old one; "" removes it')
    parser.add_argument(
        "--tag", action="append", default=[], metavar="TAG", help="add a tag; may be given more than once"
    )
    parser.add_argument("--untag", action="append", default=[], metavar="TAG", help="remove a tag")
    parser.add_argument(
        "--baseline", metavar="CONDITION", help='pin the baseline of pages and tables; "" takes the plan\'s own again'
    )


# What --claims adds to a listed study; null without it.
CLAIM_KEYS = {
    "artificial": "with --claims: whether the task is made by code",
    "source": "with --claims: whose rationales; null: the task's default",
    "replicates": "with --claims: replicates planned",
    "steps": "with --claims: optimiser steps of a run",
    "status": "with --claims: done, or provisional (runs are missing)",
    "planned": "with --claims: runs planned",
    "claims": "with --claims: one entry per claim",
    "claims[].id": "its number",
    "claims[].word": "holds, fails, not shown, provisional, or cannot be asked here",
    "claims[].first": "its first comparison: the condition",
    "claims[].second": "what it is held against",
    "claims[].points": "their difference in points, or null",
    "claims[].low": "lower end of the 95 % interval, or null",
    "claims[].high": "upper end, or null",
}

BY_KEYS = {
    "by_rival": "with --by rival: what every other condition accounts for of post-CoT's gain over label only; else null",
    "by_rival.study": "name",
    "by_rival.gain": "post-CoT less label only, a share, with its 95 % interval; or null",
    "by_rival.margin": "of 'as much as the rationale', a share, from the gain on dev; or null",
    "by_rival.replicates": "replicates finished",
    "by_rival.items": "test questions",
    "by_rival.provisional": "whether planned runs are missing",
    "by_rival.word": "better if there is a gain to explain, else why not",
    "by_rival.rivals": "one entry a condition",
    "by_rival.rivals[].condition": "canonical form",
    "by_rival.rivals[].label": "its name for people",
    "by_rival.rivals[].why": "the explanation that it stands for",
    "by_rival.rivals[].accuracy": "mean over replicates, or null",
    "by_rival.rivals[].gain": "less label only: mean, low, high; or null",
    "by_rival.rivals[].short": "less intact post-CoT: mean, low, high; or null",
    "by_rival.rivals[].kept": "share of post-CoT's gain with its interval over replicates, or null",
    "by_rival.rivals[].p": "of a gain, adjusted after Holm over the rivals, or null",
    "by_rival.rivals[].word": "what it accounts for",
    "by_size": "with --by size: one entry per condition and share of the training rows; else null",
    "by_size[].condition": "the condition as it is at all rows",
    "by_size[].label": "its name for people",
    "by_size[].fraction": "share of the training rows",
    "by_size[].rows": "training examples, mean over replicates",
    "by_size[].epochs": "how often each was seen",
    "by_size[].accuracy": "mean over finished replicates (share)",
    "by_size[].low": "lower end of its 95 % interval, or null",
    "by_size[].high": "upper end, or null",
    "by_size[].replicates": "accuracy of each finished replicate",
    "by_size[].planned": "replicates planned",
    "by_size[].difference": "points against the baseline at the same share, paired; null for the baseline itself",
    "by_size[].difference_low": "lower end of its 95 % interval, or null",
    "by_size[].difference_high": "upper end, or null",
    "by_size[].word": "better, worse, not distinguishable or provisional; exploratory",
}

COMMANDS = (
    Command(
        "study",
        "list",
        "the studies of the store, newest first",
        list_,
        {
            "id": "number",
            "name": "name",
            "task": "task",
            "student": "student",
            "created": "unix time of the launch",
            "plan_hash": "hash of the plan",
            "tags": "what people tagged it with",
            "origin": "digest of the file that it was imported from; null for one of this store",
            "runs": "planned runs",
            **{state: f"runs that are {state}" for state in ("finished", "failed", "stopped", "running", "queued")},
            **CLAIM_KEYS,
        },
        _list_arguments,
        listed=True,
    ),
    Command(
        "study",
        "show",
        "accuracies, intervals and differences of a study; --by rival or size for another view of it",
        show,
        {**REPORT_KEYS, **BY_KEYS},
        _show_arguments,
    ),
    Command(
        "study",
        "note",
        "what people say of a study: a note, tags, the pinned baseline; without options, as it stands",
        say,
        {
            "study": "number of the study",
            "note": "the note",
            "tags": "its tags, sorted",
            "baseline": "the pinned baseline, or null for the plan's own",
            "changed": "unix time of the last change, or null",
        },
        _say_arguments,
    ),
)

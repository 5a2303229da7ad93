"""study list, show, note: the studies of the store, one of them, and what people noted on it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from cotdistill.cli.command import Command, Result
from cotdistill.cli.commands.study.by import BY_KEYS, rivals_text, sizes
from cotdistill.cli.commands.study.by import by_field as fields_of
from cotdistill.cli.output import printable, table
from cotdistill.cli.study_text import REPORT_KEYS, report, report_text
from cotdistill.rationales.conditions import parse
from cotdistill.results.rivals import rivals
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.studies.annotations import Remark, remark, remarks, set_remark
from cotdistill.text import ago


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
    by_field, field_text = None, ""
    if arguments.by not in (None, "rival", "size"):
        by_field, field_text = fields_of(store, shown["id"], arguments.by, shown["baseline"])
    text = rivals_text(by_rival) if by_rival else sizes_text or field_text or report_text(shown)
    return Result({**shown, "by_rival": by_rival, "by_size": by_size, "by_field": by_field}, text)


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
        metavar="WHAT",
        help="rival: what every other condition accounts for of post-CoT's gain over label only; "
        "size: accuracy against the number of training examples, against label only unless --baseline is given; "
        "a field of the test questions' metadata, such as relation: accuracy on each of its values",
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

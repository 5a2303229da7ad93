"""A study as the terminal tells it: accuracies with every replicate, differences to the baseline with interval and
word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from cotdistill.cli.output import printable, table
from cotdistill.config import plain
from cotdistill.errors import UnknownName
from cotdistill.rationales.conditions import parse
from cotdistill.report import captions
from cotdistill.results import claims, results
from cotdistill.results.replicates import DifferenceRow
from cotdistill.statistics.verdicts import checked_margin
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.studies import annotations as remarks
from cotdistill.studies.spec import StudySpec, spec_from_mapping
from cotdistill.tasks.catalog import TASKS
from cotdistill.text import between, between_points, count, p_value, percent, plural, points

STATES = ("finished", "failed", "stopped", "running", "queued")


def report(
    store: Store, which: str | int, *, baseline: str | None = None, margin: float | None = None
) -> dict[str, Any]:
    """The document of `study show`. Runs that are missing make it provisional, never an error. margin: in points."""
    study = store.queue.study(which)
    spec = spec_from_mapping(study.spec)
    pinned = str(parse(baseline)) if baseline else remarks.pinned(store, study)
    if pinned not in (trained := list(dict.fromkeys(m.condition for m in study.members if m.role == "run"))):
        raise UnknownName(f"condition of the study {study.name}", pinned, trained)
    summaries = results.summary(store, study.id)
    share = checked_margin(margin, results.chance_of(summaries))
    compared = results.comparison(store, study.id, pinned, margin=share)
    differences = {row.condition: row for row in compared.rows}
    conditions = []
    for summary in summaries:
        row = differences.get(summary.condition)
        conditions.append(
            {
                "id": summary.condition,
                "label": summary.label,
                "planned": summary.planned,
                "finished": summary.finished,
                "accuracy": summary.mean,
                "low": summary.low,
                "high": summary.high,
                "replicates": list(summary.points),
                "speaks_of": summary.speaks_of,
                "items": summary.items,
                "clusters": summary.clusters,
                "chance": summary.chance,
                "at_chance": summary.at_chance,
                "tokens": summary.tokens,
                "seconds": summary.seconds,
                "warnings": list(summary.warnings),
                "written": None if summary.written is None else plain(summary.written),
                "difference": difference_document(row),
            }
        )
    return {
        **_about(store, study, spec),
        "written": captions.written_told(summaries) or None,
        "worlds": spec.worlds,
        "baseline": pinned,
        "provisional": compared.provisional,
        "conditions": conditions,
    }


def difference_document(row: DifferenceRow | None) -> dict[str, Any] | None:
    """A difference in points, as documents have it."""
    if row is None:
        return None
    return {
        "points": 100 * row.difference,
        "low": _points(row.low),
        "high": _points(row.high),
        **{name: getattr(row, name) for name in ("p", "word", "kind", "cohens_h", "standardised")},
    }


def _points(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _about(store: Store, study: Study, spec: StudySpec) -> dict[str, Any]:
    jobs = {job.id: job for job in store.queue.jobs(study=study.id)}
    runs = [jobs.get(member.job_id) for member in study.members if member.role == "run"]
    states = Counter(job.state if job else "deleted" for job in runs)
    known = [job.result for job in runs if job and job.result]
    # The undistilled student has seen no row, and one with fraction= a share of them, so they cannot tell how many
    # there are.
    first: Mapping[str, Any] = max(known, key=lambda result: int(result.get("train_rows") or 0), default={})
    return {
        "id": study.id,
        "name": study.name,
        "title": spec.title,
        "task": spec.task,
        "artificial": spec.task in TASKS,
        "student": spec.student.name,
        "steps": None if spec.answers else spec.training.steps,
        "answers": spec.answers or None,
        "source": spec.source or None,
        "test_is": first.get("test_is"),
        "train_rows": first.get("train_rows"),
        "excluded_rows": first.get("excluded_rows"),
        "runs": len(runs),
        **{state: states[state] for state in STATES},
        "failures": [
            {"run": job.id, "label": job.label, "message": (job.error or {}).get("message", "")}
            for job in jobs.values()
            if job.state == "failed"
        ],
    }


def report_text(document: dict[str, Any]) -> str:
    """The same for a person: the table, and what it does not show."""
    worlds = document["worlds"]
    questions = "these questions" if document["answers"] else document["task"]
    where = f"on {questions}" if worlds is None else "in this world" if worlds == 1 else f"over {worlds} worlds"
    head = [f"{document['title'] or document['name']}", _setting(document), ""]
    rows = [_row(condition, document["baseline"]) for condition in document["conditions"]]
    shown = table(
        ["condition", "n", "accuracy", "95 % interval", "each replicate", "difference", "95 % interval", "p", ""],
        rows,
        right=("n",),
    )
    label = next((c["label"] for c in document["conditions"] if c["id"] == document["baseline"]), document["baseline"])
    tail = [
        "",
        f"Differences in points to {label}, paired on questions and replicates, {where}.",
    ]
    with_interval = next((c for c in document["conditions"] if c["speaks_of"]), None)
    if with_interval:
        tail.append(f"Intervals of accuracies: {with_interval['speaks_of']}.")
    kinds = dict.fromkeys(c["difference"]["kind"] for c in document["conditions"] if c["difference"])
    tail += [f"Intervals of differences: {kind}." for kind in kinds]
    chance = next((c["chance"] for c in document["conditions"] if c["chance"] is not None), None)
    if chance is not None:
        low = [c["label"] for c in document["conditions"] if c["at_chance"]]
        tail.append(
            f"Chance is {percent(chance)}." + (f" Not distinguishable from it: {', '.join(low)}." if low else "")
        )
    tail += [document["written"]] if document.get("written") else []
    tail += [f"! {text}" for text in _missing(document)]
    return "\n".join([*head, shown, *tail])


def claims_text(store: Store, document: dict[str, Any], margin: float | None = None) -> str:
    """The table and the planned claims, for a person."""
    titles = {claim.name: claim.title for claim in claims.CLAIMS}
    lines = [report_text(document), "", "The planned claims:"]
    for verdict in claims.judge(store, document["id"], None if margin is None else margin / 100):
        lines += [f"  {verdict.claim}. {titles[verdict.claim]}: {verdict.word}", f"     {verdict.message}"]
    return "\n".join(lines)


def _setting(document: dict[str, Any]) -> str:
    artificial = " (artificial)" if document["artificial"] else ""
    parts = [
        f"{'task ' if document['answers'] else ''}{document['task']}{artificial}",
        f"student {document['student']}",
        f"answers of other code ({document['answers']})" if document["answers"] else f"{document['steps']:,} steps",
    ]
    if document["train_rows"]:
        left = f", {count(document['excluded_rows'])} left out" if document["excluded_rows"] else ""
        parts.append(f"trained on {count(document['train_rows'])} rows{left}")
    if document["test_is"]:
        parts.append(f"test: {document['test_is']}")
    return "; ".join(parts)


def _row(condition: dict[str, Any], baseline: str) -> list[Any]:
    difference = condition["difference"]
    each = " ".join(f"{100 * accuracy:.1f}" for accuracy in condition["replicates"])
    shown = [
        condition["label"],
        f"{count(condition['items'])} x {condition['finished']}"
        + (f" of {condition['planned']}" if condition["finished"] < condition["planned"] else ""),
        percent(condition["accuracy"]),
        between(condition["low"], condition["high"]) if condition["accuracy"] is not None else None,
        each,
    ]
    if condition["id"] == baseline:
        return [*shown, "baseline", None, None, None]
    if difference is None:
        return [*shown, None, None, None, None]
    low, high = ((None if v is None else v / 100) for v in (difference["low"], difference["high"]))
    return [
        *shown,
        points(difference["points"] / 100),
        between_points(low, high),
        p_value(difference["p"]),
        difference["word"],
    ]


def _missing(document: dict[str, Any]) -> list[str]:
    warnings = []
    left = document["runs"] - document["finished"]
    if left:
        states = ", ".join(f"{document[state]} {state}" for state in STATES[1:] if document[state])
        warnings.append(
            f"Provisional: {plural(left, 'planned run')} of {document['runs']} not finished ({states or 'deleted'})."
        )
    warnings += [f"{c['label']}: {warning}." for c in document["conditions"] for warning in c["warnings"]]
    warnings += [f"failed: {failure['label']}: {printable(failure['message'])}" for failure in document["failures"]]
    if document["conditions"] and max(c["planned"] for c in document["conditions"]) < 5:
        warnings.append("Fewer than five replicates: a demonstration; claims want five or more.")
    return warnings


REPORT_KEYS = {
    "id": "number of the study",
    "name": "name",
    "title": "one line",
    "task": "task",
    "artificial": "whether the task is made by code: then everything said holds in its worlds only",
    "student": "student",
    "steps": "optimiser steps of a run; null where the answers were made elsewhere",
    "answers": "the file that the answers come from which were made by other code, or null",
    "source": "whose rationales; null: the task's default",
    "test_is": "what the test split is, or null before the first finished run",
    "train_rows": "training rows, the same in every condition (but for fraction=), or null",
    "excluded_rows": "rows left out for want of a rationale, or null",
    "runs": "planned runs",
    **{state: f"runs that are {state}" for state in STATES},
    "failures": "jobs that failed",
    "failures[].run": "number",
    "failures[].label": "what it is",
    "failures[].message": "why",
    "worlds": "in how many generated worlds the replicates stand; null on real text",
    "baseline": "what differences are taken to",
    "provisional": "whether planned runs are missing",
    "conditions": "one entry a condition",
    "conditions[].id": "canonical form",
    "conditions[].label": "its name for people",
    "conditions[].planned": "replicates planned",
    "conditions[].finished": "replicates finished",
    "conditions[].accuracy": "mean over replicates, or null",
    "conditions[].low": "lower end of the 95 % interval, or null",
    "conditions[].high": "upper end, or null",
    "conditions[].replicates": "accuracy of each finished replicate",
    "conditions[].speaks_of": "what the interval generalises to",
    "conditions[].items": "test questions",
    "conditions[].clusters": "independent groups of questions",
    "conditions[].chance": "accuracy of guessing",
    "conditions[].at_chance": "whether the interval contains chance",
    "conditions[].tokens": "training tokens of a run, mean",
    "conditions[].seconds": "compute of a run, mean",
    "written": "what stands beside the accuracies of written answers, in words; null where answers are chosen",
    "conditions[].written": "shares of a condition whose answers are written, or null",
    "conditions[].written.not_ended": "share of answers that the student did not end",
    "conditions[].written.unreadable": "share of answers that are none of their kind",
    "conditions[].written.flexible": "accuracy of the flexible reading, never judged",
    "conditions[].warnings": (
        "what is wrong with single replicates: one answer to every question, or an accuracy far from the others"
    ),
    "conditions[].difference": "to the baseline; null for the baseline itself or where runs are missing",
    "conditions[].difference.points": "difference in points",
    "conditions[].difference.low": "lower end of the 95 % interval",
    "conditions[].difference.high": "upper end",
    "conditions[].difference.p": "p of no difference",
    "conditions[].difference.word": (
        "better, worse, no worse, not distinguishable; with one replicate followed by 'this seed only'"
    ),
    "conditions[].difference.kind": "how the interval was made, and what it speaks of",
    "conditions[].difference.cohens_h": "Cohen's h of the two accuracies",
    "conditions[].difference.standardised": (
        "over its standard deviation between replicates, with Hedges' correction; null below three replicates"
    ),
}

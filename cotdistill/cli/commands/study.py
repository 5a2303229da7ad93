"""study plan, run, list, show, export, import: conditions x replicates of one task and one student."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any

from cotdistill.cli.command import Command, Noun, Result, whole_number
from cotdistill.cli.commands import archive
from cotdistill.cli.commands.study_by import BY_KEYS, by_field, rivals_text, sizes
from cotdistill.cli.output import note, printable, table
from cotdistill.cli.overrides import add_overrides, setting_of, spec_of
from cotdistill.cli.study_text import REPORT_KEYS, claims_text, report, report_text
from cotdistill.cli.waiting import wait
from cotdistill.config import plain
from cotdistill.execution.executor import EXECUTORS, Executor, executor
from cotdistill.execution.supervisor import ensure_supervisor, move_to
from cotdistill.planning.memory_fit import Fit
from cotdistill.planning.plan import Plan, PlannedRun, launch
from cotdistill.planning.plan import plan as make_plan
from cotdistill.planning.tuning import best_values, pilot_specs, tuned_spec
from cotdistill.rationales.conditions import parse
from cotdistill.results.rivals import rivals
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.studies.annotations import Remark, remark, remarks, set_remark
from cotdistill.text import about, ago, count, plural, size


def plan(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    document = _plan_document(make_plan(store, spec_of(store, arguments)))
    if arguments.workers is not None:
        # The plan counts with the store's number; a plan changes nothing, so the time is scaled instead.
        share = store.queue.workers() / arguments.workers
        document["seconds"] = {end: seconds * share for end, seconds in document["seconds"].items()}
    return Result(document, _plan_text(document))


def run(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    if arguments.workers is not None:
        store.queue.set_workers(arguments.workers)
    spec, pilots = spec_of(store, arguments), []
    if arguments.tune:
        setting, values = grid_of(arguments.tune)
        for pilot in pilot_specs(spec, setting, values):
            submitted = launch(store, make_plan(store, pilot)).study_id
            assert submitted is not None  # as below
            pilots.append(submitted)
        ensure_supervisor(store)
        for pilot_study in pilots if arguments.wait else ():
            wait(store, pilot_study)
        spec = tuned_spec(spec, setting, best_values(store, pilots, values))
        spec = dataclasses.replace(spec, name=arguments.name or f"{spec.name}-tuned")
    planned = make_plan(store, spec)
    if arguments.executor or arguments.address:
        move_to(store, Executor(arguments.executor or executor(store).name, arguments.address))
    if arguments.wait:
        note(_plan_text(_plan_document(planned)))
    submission = launch(store, planned)
    ensure_supervisor(store)
    assert submission.study_id is not None  # a plan always names its study
    study = store.queue.study(submission.study_id)
    started = {
        "study": {"id": study.id, "name": study.name, "plan_hash": study.plan_hash},
        "new": list(submission.new),
        "reused": list(submission.reused),
        "requeued": list(submission.requeued),
    }
    if not arguments.wait:
        text = [
            f"Study {study.name} (number {study.id}): {plural(len(submission.new), 'job')} queued, {len(submission.reused)} already there"
            + (f", {len(submission.requeued)} queued again" if submission.requeued else "")
            + ".",
            f"Training goes on in the background. See it:   cotdistill study show {study.name}",
            "                                   The queue: cotdistill runs list",
        ]
        return Result({**started, "report": None}, "\n".join(text))
    wait(store, study.id)
    found = report(store, study.id)
    told = claims_text(store, found)
    if any(parse(one["id"]).objectives for one in found["conditions"]):
        told += f"\n\n{rivals_text(rivals(store, study.id))}"
    return Result({**started, "report": found}, told, 1 if found["failed"] or found["stopped"] else 0)


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
    parts, parts_text = None, ""
    if arguments.by not in (None, "rival", "size"):
        parts, parts_text = by_field(store, shown["id"], arguments.by, shown["baseline"])
    text = (
        rivals_text(by_rival) if by_rival else sizes_text if by_size is not None else parts_text or report_text(shown)
    )
    return Result({**shown, "by_rival": by_rival, "by_size": by_size, "by_field": parts}, text)


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


def _plan_document(planned: Plan) -> dict[str, Any]:
    states = [run.state for run in planned.runs]
    return {
        "name": planned.spec.name,
        "task": planned.spec.task,
        "student": planned.spec.student.name,
        "baseline": planned.spec.pinned,
        "plan_hash": planned.plan_hash,
        "counts": {
            "runs": len(states),
            "new": states.count("new"),
            "bases": len(planned.bases),
            "replicates": planned.spec.replicates,
        },
        "runs": [_planned(run) for run in planned.runs],
        "bases": [_planned(base) for base in planned.bases],
        "inputs": [{"kind": one.job.kind, "what": one.job.label, **_planned(one)} for one in planned.inputs],
        "seconds": {"low": planned.seconds[0], "high": planned.seconds[1]},
        "memory_mb": planned.fit.needs / 1e6,
        "memory": _memory(planned.fit),
        "micro_batch": planned.spec.training.micro_batch,
        "train_rows": planned.train_rows,
        "fractions": [{"fraction": fraction, "rows": rows} for fraction, rows in planned.rows_at.items()],
        "excluded_rows": planned.excluded_rows,
        "test_items": planned.test_items,
        "effect": dict(planned.effect),
        "checks": list(planned.checks),
        "spec": plain(planned.spec),
    }


def _memory(fit: Fit) -> dict[str, Any]:
    told = fit.memory
    return {
        "device": fit.device, "weights": told.weights, "gradients": told.gradients, "optimiser": told.optimiser, "activations": told.activations,
        "logits": told.logits, "peak": told.peak, "when": told.when, "needs": fit.needs, "free": fit.free, "at_once": fit.at_once, "fits": fit.fits,
    }  # fmt: skip


def _planned(run: PlannedRun) -> dict[str, Any]:
    return {
        "id": run.job.identity,
        "condition": str(run.condition),
        "label": run.condition.label,
        "replicate": run.replicate,
        "state": run.state,
        "seconds": run.job.seconds,
    }


def _plan_text(document: dict[str, Any]) -> str:
    rows: dict[str, list[dict[str, Any]]] = {}
    for run in document["runs"]:
        rows.setdefault(run["label"], []).append(run)
    cells = [
        [label, len(runs), sum(r["state"] == "new" for r in runs), runs[0]["condition"]] for label, runs in rows.items()
    ]
    counts = document["counts"]
    effect = document["effect"]
    lines = [
        f"Study {document['name']}: {document['task']}, student {document['student']}, {plural(counts['replicates'], 'replicate')}",
        "",
        table(["condition", "runs", "new", "canonical form"], cells, right=("runs", "new")),
        "",
        f"{plural(counts['new'], 'run')} to train of {counts['runs']}"
        + (f", {plural(len(document['bases']), 'shared base')}" if document["bases"] else "")
        + (
            f", {plural(sum(i['kind'] == 'select' for i in document['inputs']), 'selection')}"
            if document["inputs"]
            else ""
        )
        + f"; {about(document['seconds']['low'], document['seconds']['high'])}.",
        _memory_text(document["memory"]),
        f"Trains on {count(document['train_rows'])} rows"
        + (
            f" ({count(document['excluded_rows'])} left out for want of a rationale)"
            if document["excluded_rows"]
            else ""
        )
        + "".join(f", {100 * at['fraction']:g} % of them: {count(at['rows'])}" for at in document["fractions"])
        + f"; judged on {count(document['test_items'])} test questions.",
        f"Smallest difference it would probably find: {_effect(effect)} ({effect['label']}).",
        *([] if effect["no_worse_low"] is None else [_no_worse(effect)]),
        *(f"! {printable(check)}" for check in document["checks"]),
    ]
    return "\n".join(lines)


def _memory_text(memory: Mapping[str, Any]) -> str:
    parts = ", ".join(
        f"{name} {size(memory[name])}"
        for name in ("weights", "gradients", "optimiser", "activations", "logits")
        if memory[name]
    )
    where = "of a GPU" if memory["device"] == "cuda" else "of this machine"
    free = f"; {size(memory['free'])} {where} are free" if memory["free"] is not None else ""
    return f"Memory of a run: about {size(memory['needs'])}, most in its {memory['when']} ({parts}){free}."


def _effect(effect: Mapping[str, Any]) -> str:
    if effect["points_low"] is None:
        return "none can be stated" if effect["no_worse_low"] is None else "none: not even 100 points"
    if effect["points_high"] is None:
        return f"{effect['points_low']:.1f} points, if the noise is low"
    return f"{effect['points_low']:.1f} to {effect['points_high']:.1f} points"


def _no_worse(effect: Mapping[str, Any]) -> str:
    low, high = (round(100 * effect[f"no_worse_{end}"]) for end in ("low", "high"))
    return f'Chance to show "no worse" by {effect["margin"]:g} points where there is no difference: {low} to {high} %.'


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    _plan_arguments(parser)
    parser.add_argument(
        "--wait",
        action="store_true",
        help="stay until every run has ended, then print the table; Ctrl-C leaves the training running",
    )

    parser.add_argument(
        "--tune",
        metavar="SETTING=A,B",
        help="choose a training setting per condition on dev, with pilot replicates outside the claims, then train each condition at its own "
        "best, for example training.lr=0.001,0.002,0.004",
    )
    parser.add_argument(
        "--executor",
        choices=list(EXECUTORS),
        help="where the store's jobs run, kept until changed: " + ", ".join(f"{n} ({t})" for n, t in EXECUTORS.items()),
    )
    parser.add_argument(
        "--address",
        default="",
        metavar="ADDRESS",
        help="with --executor ray: auto or HOST:PORT; default: Ray on this machine alone",
    )


def grid_of(text: str) -> tuple[str, list[Any]]:
    """`training.lr=0.001,0.002` as a setting and its values; UsageError or UnknownName where it is none."""
    key, _, values = text.partition("=")
    return setting_of(f"{key}=0")[0], [
        setting_of(f"{key}={value.strip()}")[1] for value in values.split(",") if value.strip()
    ]


def _plan_arguments(parser: argparse.ArgumentParser) -> None:
    add_overrides(parser)
    parser.add_argument(
        "--workers", type=whole_number(1), metavar="N", help="worker processes of the store, kept until changed"
    )


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


_PLANNED = {
    "id": "identity (hash) of the run",
    "condition": "canonical form",
    "label": "its name for people",
    "replicate": "replicate index",
    "state": "new, or the state of the same run in the store",
    "seconds": "estimated compute",
}

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

_NOTES = (
    "NAME is a built-in study (starter, starter-worlds), a study of the store, or a YAML file with the same keys as --set.\n"
    "Options laid over a named study make a variant under the same name; a name means its latest study.\n"
    "Without a name, --task starts a new study."
)

NOUN = Noun(
    "study",
    "conditions x replicates of one task and one student",
    (
        Command(
            "study",
            "plan",
            "what would be trained, how long it takes, what it could show; trains nothing",
            plan,
            {
                "name": "name of the study",
                "task": "task",
                "student": "student",
                "baseline": "what differences are taken to",
                "plan_hash": "hash of the plan",
                "counts": "how many",
                "counts.runs": "runs",
                "counts.new": "runs that are not in the store yet",
                "counts.bases": "shared bases",
                "counts.replicates": "replicates",
                "runs": "every run",
                **{f"runs[].{key}": help for key, help in _PLANNED.items()},
                "bases": "every shared base, with the keys of a run",
                "inputs": "selections of key tokens and the students they are read from, with the keys of a run, kind and what it is",
                "seconds": "wall time of what is new",
                "seconds.low": "if all goes fast",
                "seconds.high": "if not",
                "memory_mb": "memory of the largest run, megabytes: of its whole process on a CPU, of the GPU on one",
                "memory": "of the largest run, bytes; the parts do not all stand at the same time",
                "memory.device": "cpu or cuda",
                "memory.weights": "weights",
                "memory.gradients": "gradients",
                "memory.optimiser": "AdamW's moments",
                "memory.activations": "what a forward pass keeps for the backward pass",
                "memory.logits": "logits of the predicted tokens, once",
                "memory.peak": "the most at any moment, above what importing takes",
                "memory.when": "that moment",
                "memory.needs": "peak with what importing (or CUDA) takes",
                "memory.free": "free on this machine (or its smallest GPU) now, or null",
                "memory.at_once": "runs that share it",
                "memory.fits": "whether they fit, as far as is known",
                "micro_batch": "sequences in one forward pass, 0 for the whole batch; what -1 was settled to",
                "train_rows": "training rows, the same in every condition",
                "fractions": "the shares of them that conditions with fraction= see",
                "fractions[].fraction": "the share",
                "fractions[].rows": "how many rows that is",
                "excluded_rows": "rows left out for want of a rationale",
                "test_items": "test questions",
                "effect": "what it could show, from earlier runs of the task and student or from stated guesses",
                "effect.label": "from which",
                "effect.points_low": "smallest true difference, in points, that four of five such studies would find, if noise is low; or null",
                "effect.points_high": "the same if noise is high; null where not even 100 points would be found",
                "effect.margin": "the largest margin of 'no worse', in points",
                "effect.no_worse_low": "how often two conditions without a true difference are shown to be no worse by it, if noise is high; or null",
                "effect.no_worse_high": "the same if noise is low",
                "checks": "what deserves a look before launching",
                "spec": "the whole study, every setting",
            },
            _plan_arguments,
            notes=_NOTES,
        ),
        Command(
            "study",
            "run",
            "queue the runs that do not exist yet; --wait blocks until all have finished",
            run,
            {
                "study": "the study that was launched",
                "study.id": "its number",
                "study.name": "its name",
                "study.plan_hash": "hash of the plan",
                "new": "numbers of the jobs that were queued",
                "reused": "numbers of the jobs that were there already",
                "requeued": "numbers of failed or stopped jobs that were queued again",
                "report": "with --wait the document of `study show`, else null",
            },
            _run_arguments,
            notes=_NOTES,
        ),
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
        Command(
            "study",
            "show",
            "accuracies, intervals and differences of a study; --by rival or size for another view of it",
            show,
            {**REPORT_KEYS, **BY_KEYS},
            _show_arguments,
        ),
        *archive.COMMANDS,
    ),
)

"""study plan, run: what a study would train, and training it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from cotdistill.cli.command import Command, Result, whole_number
from cotdistill.cli.commands.study.by import rivals_text
from cotdistill.cli.output import note, printable, table
from cotdistill.cli.overrides import add_overrides, spec_of
from cotdistill.cli.study_text import claims_text, report
from cotdistill.cli.waiting import wait
from cotdistill.config import plain
from cotdistill.execution.executor import EXECUTORS, Executor, executor
from cotdistill.execution.supervisor import ensure_supervisor, move_to
from cotdistill.planning.memory_fit import Fit
from cotdistill.planning.plan import Plan, PlannedRun, launch
from cotdistill.planning.plan import plan as make_plan
from cotdistill.planning.tuning import (
    PILOTS,
    Tuning,
    best_values,
    dev_accuracies,
    parse_grid,
    planned_tuning,
    tuned_spec,
)
from cotdistill.rationales.conditions import parse
from cotdistill.results.rivals import rivals
from cotdistill.store.store import Store
from cotdistill.text import about, count, plural, size


def plan(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    spec = spec_of(store, arguments)
    document = _plan_document(make_plan(store, spec))
    if arguments.tune:
        document["tuning"] = _tuning_document(store, planned_tuning(store, spec, *parse_grid(arguments.tune)))
    if arguments.workers is not None:
        # The plan counts with the store's number; a plan changes nothing, so the time is scaled instead.
        share = store.queue.workers() / arguments.workers
        for part in (document, document["tuning"] or {}):
            part |= {"seconds": {end: share * seconds for end, seconds in part.get("seconds", {}).items()}}
    return Result(document, _plan_text(document))


def run(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    if arguments.workers is not None:
        store.queue.set_workers(arguments.workers)
    spec = spec_of(store, arguments)
    if arguments.tune:
        grid = parse_grid(arguments.tune)
        tuning = planned_tuning(store, spec, *grid)
        if arguments.wait:
            note(_tuning_text(_tuning_document(store, tuning)))
        pilots = [launch(store, pilot).study_id for pilot in tuning.pilots]
        ensure_supervisor(store)
        for pilot_study in pilots if arguments.wait else ():
            assert pilot_study is not None  # as below
            wait(store, pilot_study)
        spec = tuned_spec(spec, tuning.setting, best_values(store, planned_tuning(store, spec, *grid)))
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
            f"Study {study.name} (number {study.id}): {plural(len(submission.new), 'job')} queued, "
            f"{len(submission.reused)} already there"
            + (f", {len(submission.requeued)} queued again" if submission.requeued else "")
            + ".",
            f"Training runs in the background. Results: cotdistill study show {study.name}",
            "                                 Queue:   cotdistill runs list",
        ]
        return Result({**started, "report": None}, "\n".join(text))
    wait(store, study.id)
    document = report(store, study.id)
    shown = claims_text(store, document)
    if any(parse(condition["id"]).objectives for condition in document["conditions"]):
        shown += f"\n\n{rivals_text(rivals(store, study.id))}"
    return Result({**started, "report": document}, shown, 1 if document["failed"] or document["stopped"] else 0)


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
        "also_test": None
        if not planned.also
        else {
            "task": planned.spec.also_test,
            "questions": planned.also_items,
            "students": len(planned.also),
            "new": sum(one.state == "new" for one in planned.also),
        },
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
        "tuning": None,
        "spec": plain(planned.spec),
    }


def _memory(fit: Fit) -> dict[str, Any]:
    memory = fit.memory
    return {
        "device": fit.device,
        **{name: getattr(memory, name) for name in ("weights", "gradients", "optimiser", "activations", "logits")},
        **{name: getattr(memory, name) for name in ("peak", "when")},
        **{name: getattr(fit, name) for name in ("needs", "free", "at_once", "fits")},
    }


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
        f"Study {document['name']}: {document['task']}, student {document['student']}, "
        + plural(counts["replicates"], "replicate"),
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
        *([] if document["tuning"] is None else [_tuning_text(document["tuning"])]),
        *([] if document["also_test"] is None else [_also_text(document["also_test"])]),
        f"Smallest difference it would probably find: {_effect(effect)} ({effect['label']}).",
        *([] if effect["no_worse_low"] is None else [_no_worse(effect)]),
        *(f"! {printable(check)}" for check in document["checks"]),
    ]
    return "\n".join(lines)


def _tuning_document(store: Store, tuning: Tuning) -> dict[str, Any]:
    done = not tuning.unfinished
    return {
        "setting": tuning.setting,
        "values": list(tuning.values),
        "replicates": PILOTS,
        "runs": tuning.runs,
        "new": tuning.open,
        "seconds": dict(zip(("low", "high"), tuning.seconds, strict=True)),
        "dev": dev_accuracies(store, tuning) if done else None,
        "best": best_values(store, tuning) if done else None,
    }


def _tuning_text(tuning: Mapping[str, Any]) -> str:
    values = ", ".join(str(value) for value in tuning["values"])
    lines = [
        f"Tunes {tuning['setting']} over {values}: {plural(tuning['runs'], 'pilot run')} on "
        f"{plural(tuning['replicates'], 'replicate')} of their own, in no claim; {tuning['new']} to train, "
        f"{about(tuning['seconds']['low'], tuning['seconds']['high'])}."
    ]
    if tuning["best"]:
        best = ", ".join(f"{parse(name).label} {value}" for name, value in tuning["best"].items())
        lines.append(f"Best on dev: {best}.")
    return "\n".join(lines)


def _also_text(also: Mapping[str, Any]) -> str:
    scored = f"{plural(also['new'], 'student')} to score of {also['students']}"
    return f"Also tested on {also['task']}: {count(also['questions'])} questions, {scored}; exploratory, never judged."


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


def _plan_arguments(parser: argparse.ArgumentParser) -> None:
    add_overrides(parser)
    parser.add_argument(
        "--tune",
        metavar="SETTING=A,B",
        help="choose a training setting per condition on dev, with pilot replicates outside the claims, then train "
        "each condition at its own best, for example training.lr=0.001,0.002,0.004",
    )
    parser.add_argument(
        "--workers", type=whole_number(1), metavar="N", help="worker processes of the store, kept until changed"
    )


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    _plan_arguments(parser)
    parser.add_argument(
        "--wait",
        action="store_true",
        help="block until every run has ended, then print the table; Ctrl-C does not stop the training",
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


_PLANNED = {
    "id": "identity (hash) of the run",
    "condition": "canonical form",
    "label": "its name for people",
    "replicate": "replicate index",
    "state": "new, or the state of the same run in the store",
    "seconds": "estimated compute",
}

_NOTES = (
    "NAME is a built-in study (starter, starter-worlds), a study of the store, or a YAML file with the keys of --set.\n"
    "Options laid over a named study make a variant under the same name; a name means its latest study.\n"
    "Without a name, --task starts a new study."
)

COMMANDS = (
    Command(
        "study",
        "plan",
        "what would be trained, how long it would take, what it could show; trains nothing",
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
            "inputs": "selections of key tokens and the students behind them, with the keys of a run, kind and what",
            "also_test": "the second task that the same students are scored on, or null",
            "also_test.task": "as the study names it",
            "also_test.questions": "its test questions",
            "also_test.students": "students that are scored on it",
            "also_test.new": "of them, not scored yet",
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
            "effect.points_low": "smallest difference (points) that 4 of 5 such studies find, at low noise; or null",
            "effect.points_high": "the same at high noise; null where not even 100 points would be found",
            "effect.margin": "the largest margin of 'no worse', in points",
            "effect.no_worse_low": "how often equal conditions are shown to be no worse by it, at high noise; or null",
            "effect.no_worse_high": "the same at low noise",
            "checks": "what deserves a look before launching",
            "tuning": "the pilot runs of --tune, or null",
            "tuning.setting": "the setting",
            "tuning.values": "its grid",
            "tuning.replicates": "pilot replicates of each condition and value; none of them is in a claim",
            "tuning.runs": "pilot runs",
            "tuning.new": "of them, still to be trained",
            "tuning.seconds": "wall time of these",
            "tuning.seconds.low": "if all goes fast",
            "tuning.seconds.high": "if not",
            "tuning.dev": "mean accuracy on dev at each value, by condition; null before all pilots have finished",
            "tuning.best": "the value of each condition with the highest one, or null",
            "spec": "the whole study, every setting",
        },
        _plan_arguments,
        notes=_NOTES,
        example="starter --seeds 5 --steps 600",
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
        example="--task mytask --conditions label_only,pre_cot,post_cot --seeds 3 --wait",
    ),
)

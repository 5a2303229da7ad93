"""modes: what students answer without, after their own and after the teacher's rationale, and when that rationale is
perturbed.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cotdistill.cli.command import Command, Result, whole_number
from cotdistill.cli.output import note, table
from cotdistill.cli.waiting import wait_for
from cotdistill.execution.supervisor import ensure_supervisor
from cotdistill.rationales.conditions import parse_list
from cotdistill.rationales.perturbations import PERTURBATIONS
from cotdistill.rationales.placement import MODES
from cotdistill.report import direct_cot
from cotdistill.report.commands import command
from cotdistill.report.direct_cot import HEAD as CROSSED
from cotdistill.report.modes import (
    DIAGNOSTIC,
    MODE_NAMES,
    RATIONALE_NAMES,
    TEST_NAMES,
    grid_title,
    loss_told,
    n_told,
    over_told,
    read_told,
)
from cotdistill.results import modes
from cotdistill.results.direct_cot import Crossed, direct_by_own
from cotdistill.results.modes import ModeCell, PerturbationCurve, Read
from cotdistill.statistics.intervals import Interval
from cotdistill.store.planned_runs import planned_runs
from cotdistill.store.store import Store
from cotdistill.studies.modes import ModesRequest, Wanted, asked
from cotdistill.tasks.catalog import TASKS
from cotdistill.text import about, between, percent, plural, points

RATIONALES = tuple(RATIONALE_NAMES)
# With more conditions than this the text shows one number a test.
DETAILED = 3


def ask(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    study = store.queue.study(arguments.study)
    tests = tuple(name.strip() for name in arguments.tests.split(",") if name.strip())
    wanted = Wanted(tests, arguments.examples, arguments.source, arguments.paraphrases)
    conditions = list(dict.fromkeys(str(c) for text in arguments.condition for c in parse_list(text)))
    requests = asked(store, study.id, wanted, conditions)
    missing = [one.spec for one in requests if one.missing and one.spec is not None]
    if missing and not arguments.show:
        seconds = sum(spec.seconds for spec in missing) / max(1, store.queue.workers())
        note(f"{plural(len(missing), 'student')} to ask, {about(seconds / 2, seconds * 2)} of computing.")
        store.queue.submit(missing)
        ensure_supervisor(store)
    if arguments.wait and not arguments.show:
        identities = {
            one.job.identity if one.job is not None and not one.missing else one.spec.identity
            for one in requests
            if one.spec is not None
        }
        wait_for(
            store,
            lambda: [job for job in store.queue.jobs(kind="modes") if job.identity in identities],
            command("modes", study.name, "--show"),
        )
    requests = asked(store, study.id, wanted, conditions)
    states = Counter(_state(one) for one in requests)
    cells = modes.grid(store, requests, wanted)
    read = modes.read(requests)
    crossed = direct_by_own(store, requests, wanted)
    task = str(study.spec["task"])
    document: dict[str, Any] = {
        "id": study.id,
        "name": study.name,
        "task": task,
        "artificial": task in TASKS,
        "diagnostic": DIAGNOSTIC,
        "jobs": {
            name: states.get(name, 0)
            for name in ("finished", "running", "queued", "failed", "stopped", "missing", "untrained")
        },
        "chance": _chance(store, study.id),
        "read": [_read(condition, one) for condition, one in read.items()],
        "modes": [_cell(cell) for cell in cells],
        "crossed": [_crossed(one) for one in crossed],
        "tests": [],
    }
    measures = modes.MEASURES if arguments.json else ("correct",)
    by_rationale: dict[str, list[PerturbationCurve]] = {}
    for rationale in RATIONALES:
        for measure in measures:
            curves = modes.curves(store, requests, rationale, measure, wanted.tests)
            by_rationale.setdefault(rationale, curves)
            document["tests"] += [_curve(curve, measure) for curve in curves]
    lines = _text(document, cells, crossed, by_rationale, read)
    return Result(document, "\n".join(lines), 1 if arguments.wait and states["failed"] else 0)


def _state(request: ModesRequest) -> str:
    return "untrained" if request.spec is None else "missing" if request.job is None else request.job.state


def _read(condition: str, read: Read) -> dict[str, Any]:
    return {
        "condition": condition,
        "sources": dict(read.sources),
        "names_answer_given": read.leakage["given"],
        "names_answer_own": read.leakage["own"],
        "unterminated": read.unterminated,
        "empty_given": read.empty["given"],
        "empty_own": read.empty["own"],
    }


def _chance(store: Store, study: int) -> float | None:
    return next(
        (
            float(job.result["chance"]) or None
            for _, _, job in planned_runs(store, study)
            if job is not None and job.result
        ),
        None,
    )


def _ends(interval: Interval | None, name: str, factor: float = 1.0) -> dict[str, float | None]:
    """A mean with its interval under three keys."""
    values = (None, None, None) if interval is None else (interval.mean, interval.low, interval.high)
    keys = (name, f"{name}_low", f"{name}_high")
    return {key: None if value is None else factor * value for key, value in zip(keys, values, strict=True)}


def _cell(cell: ModeCell) -> dict[str, Any]:
    return {
        "condition": cell.condition,
        "label": cell.label,
        "mode": cell.mode,
        "trained": cell.trained,
        **_ends(cell.accuracy, "accuracy"),
        **_ends(cell.over_direct, "over_direct", 100.0),
        "replicates": list(cell.points),
        "planned": cell.planned,
        "items": cell.items,
        "clusters": cell.clusters,
        "speaks_of": cell.accuracy.speaks_of if cell.accuracy else None,
    }


def _crossed(crossed: Crossed) -> dict[str, Any]:
    names = ("both", "only_direct", "only_own", "neither")
    shares = {
        key: value for name, cell in zip(names, crossed.cells, strict=True) for key, value in _ends(cell, name).items()
    }
    return {
        "condition": crossed.condition,
        "label": crossed.label,
        "trained": crossed.trained,
        **shares,
        "replicates": [
            dict(zip(names, counts, strict=True)) | {"mcnemar_p": p}
            for counts, p in zip(crossed.counts, crossed.p, strict=True)
        ],
        **_ends(crossed.gain, "gain", 100.0),
        "planned": crossed.planned,
        "items": crossed.items,
        "clusters": crossed.clusters,
        "speaks_of": crossed.gain.speaks_of,
    }


def _curve(curve: PerturbationCurve, measure: str) -> dict[str, Any]:
    return {
        "condition": curve.condition,
        "label": curve.label,
        "rationale": curve.rationale,
        "test": curve.test,
        "measure": measure,
        "trained": curve.trained,
        "points": [{"share": p.share, **_ends(p.value, "value"), **_ends(p.control, "control")} for p in curve.points],
        **_ends(curve.loss, "loss", 100.0),
        **_ends(curve.control_loss, "control_loss", 100.0),
        **_ends(curve.over_control, "over_control", 100.0),
        "made": curve.applied,
        "touched": curve.touched,
        "items": curve.items,
        "clusters": curve.clusters,
        "replicates": curve.replicates,
        "speaks_of": curve.loss.speaks_of,
    }


def _text(
    document: dict[str, Any],
    cells: Sequence[ModeCell],
    crossed: Sequence[Crossed],
    by_rationale: dict[str, list[PerturbationCurve]],
    read: Mapping[str, Read],
) -> list[str]:
    jobs = document["jobs"]
    under_way = jobs["running"] + jobs["queued"]
    counts = [f"{number} {name}" for name, number in jobs.items() if number]
    lines = [f"modes of study {document['name']}: {grid_title(cells)}", f"students asked: {', '.join(counts)}"]
    if under_way or jobs["missing"]:
        lines.append(f"what is missing: {command('modes', str(document['name']), '--wait')}")
    lines += [
        "",
        table(["condition", *(MODE_NAMES[mode] for mode in MODES)], _grid_rows(cells)),
        "",
        "° not trained for this mode.",
    ]
    if crossed:
        lines += ["", table(list(CROSSED), direct_cot.rows(crossed)), "", direct_cot.caption(crossed)]
    for rationale, curves in by_rationale.items():
        if not curves:
            continue
        lines += ["", f"When {RATIONALE_NAMES[rationale]} is perturbed: points of accuracy lost. {DIAGNOSTIC}"]
        lines += [f"{read_told(read, rationale, document['artificial'])} {n_told(curves)}", ""]
        lines.append(_detailed(curves) if len({c.condition for c in curves}) <= DETAILED else _short(curves))
    lines += [
        "",
        (
            "A test of several shares: mean loss over them (area to the intact line). A control touches as many tokens,"
            " with random ones."
        ),
    ]
    return lines


def _grid_rows(cells: Sequence[ModeCell]) -> list[list[str | None]]:
    by: dict[str, list[str | None]] = {}
    for cell in cells:
        interval = cell.accuracy
        text = None if interval is None else f"{percent(interval.mean)} ({between(interval.low, interval.high)})"
        by.setdefault(cell.condition, [cell.label]).append(text if text is None or cell.trained else f"{text} °")
    return list(by.values())


def _detailed(curves: Sequence[PerturbationCurve]) -> str:
    rows = [
        [
            c.label + ("" if c.trained else " °"),
            TEST_NAMES[c.test],
            " ".join(f"{100 * p.value.mean:.1f}" for p in c.points),
            loss_told(c) if c.applied else "cannot be made",
            over_told(c) if c.applied else "–",
        ]
        for c in curves
    ]
    return table(["condition", "test", "accuracy by share", "lost", "against random tokens"], rows)


def _short(curves: Sequence[PerturbationCurve]) -> str:
    names = list(dict.fromkeys(c.test for c in curves))
    by: dict[str, dict[str, str]] = {}
    for c in curves:
        row = by.setdefault(c.label + ("" if c.trained else " °"), {})
        row[c.test] = points(c.loss.mean) if c.applied else "–"
    head = [TEST_NAMES[n] for n in names]
    return table(["condition", *head], [[label, *(row.get(n) for n in names)] for label, row in by.items()], right=head)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY", help="its name (the latest of that name) or number")
    parser.add_argument(
        "--condition", metavar="C,C", action="append", default=[], help="only these conditions; may be repeated"
    )
    parser.add_argument(
        "--tests",
        metavar="A,B",
        default="",
        help=f"tests of the rationale: {', '.join(PERTURBATIONS.names())}; default: all but paraphrase",
    )
    parser.add_argument(
        "--examples",
        type=whole_number(0),
        metavar="N",
        default=0,
        help="the first N test questions by id; default 0, all of them",
    )
    parser.add_argument("--source", metavar="S", default="", help="whose rationales are given; default: the study's")
    parser.add_argument(
        "--paraphrases",
        metavar="S",
        default="",
        help="test paraphrase: whose rationales say the same in other words; default: a generated task's rules",
    )
    parser.add_argument("--wait", action="store_true", help="until every student has been asked")
    parser.add_argument("--show", action="store_true", help="what there is; nothing is queued")


def _with_ends(name: str, help: str) -> dict[str, str]:
    return {name: help, f"{name}_low": "lower end of its 95 % interval, or null", f"{name}_high": "upper end, or null"}


_CROSSED = {
    "both": "right both ways",
    "only_direct": "right directly alone",
    "only_own": "right after its own rationale alone",
    "neither": "wrong both ways",
    "gain": "right after its own rationale less right directly, paired, in points",
}

COMMAND = Command(
    "inspect",
    "modes",
    "ask every student of a study without a rationale, after its own and after the teacher's, and when that rationale"
    " is perturbed",
    ask,
    {
        "id": "number of the study",
        "name": "its name",
        "task": "task",
        "artificial": "whether the task is made by code",
        "diagnostic": "what these numbers may not be used for",
        "jobs": "students by state of the job that asks them; untrained: not trained yet",
        **{
            f"jobs.{name}": "how many"
            for name in ("finished", "running", "queued", "failed", "stopped", "missing", "untrained")
        },
        "chance": "accuracy of guessing, or null",
        "read": "what stood before the answers, one entry a condition that was asked",
        "read[].condition": "canonical form",
        "read[].sources": "test rows by source of the given rationale",
        "read[].names_answer_given": "share of the teacher's rationales that name the right answer's text",
        "read[].names_answer_own": "the same of the students' own",
        "read[].unterminated": "share of own rationales that did not end with the answer cue",
        "read[].empty_given": "share of the rows without a teacher's rationale",
        "read[].empty_own": "share of the rows for which nothing was written",
        "modes": "one entry a condition and mode",
        "modes[].condition": "canonical form",
        "modes[].label": "its name for people",
        "modes[].mode": "direct (no rationale), own, or given (the teacher's)",
        "modes[].trained": "whether its students were trained for it",
        **{
            f"modes[].{key}": text
            for key, text in _with_ends("accuracy", "mean over replicates, or null before it was asked").items()
        },
        **{
            f"modes[].{k}": t
            for k, t in _with_ends("over_direct", "paired difference to direct in points, or null").items()
        },
        "modes[].replicates": "accuracy of each replicate asked",
        "modes[].planned": "replicates planned",
        "modes[].items": "test questions",
        "modes[].clusters": "independent groups of them",
        "modes[].speaks_of": "what the interval generalises to, or null",
        "crossed": (
            "one entry a condition whose students were asked directly and after their own rationale: shares of the"
            " questions"
        ),
        "crossed[].condition": "canonical form",
        "crossed[].label": "its name for people",
        "crossed[].trained": "whether its students were trained for both",
        **{f"crossed[].{key}": text for name, told in _CROSSED.items() for key, text in _with_ends(name, told).items()},
        "crossed[].replicates": "one entry a replicate asked",
        **{f"crossed[].replicates[].{name}": "questions" for name in ("both", "only_direct", "only_own", "neither")},
        "crossed[].replicates[].mcnemar_p": "of only_direct against only_own, exact, questions taken as independent",
        "crossed[].planned": "replicates planned",
        "crossed[].items": "test questions",
        "crossed[].clusters": "independent groups of them",
        "crossed[].speaks_of": "what the intervals generalise to",
        "tests": "one entry a condition, rationale, test and measure",
        "tests[].condition": "canonical form",
        "tests[].label": "its name for people",
        "tests[].rationale": "given (the teacher's) or own",
        "tests[].test": "what is done to it",
        "tests[].measure": "; ".join(f"{name}: {help}" for name, help in modes.MEASURES.items()),
        "tests[].trained": "whether its students were trained to read this rationale",
        "tests[].points": "by rising share; share 0 is the intact rationale",
        "tests[].points[].share": "share of the tokens that the test asks for",
        **{f"tests[].points[].{key}": text for key, text in _with_ends("value", "the measure, a share").items()},
        **{
            f"tests[].points[].{key}": t
            for key, t in _with_ends("control", "the same after as many random tokens, or null").items()
        },
        **{
            f"tests[].{k}": t
            for k, t in _with_ends("loss", "in points: area between intact line and curve, or the drop").items()
        },
        **{
            f"tests[].{k}": t
            for k, t in _with_ends("control_loss", "the same of as many random tokens, or null").items()
        },
        **{
            f"tests[].{k}": t
            for k, t in _with_ends("over_control", "their paired difference in points, or null").items()
        },
        "tests[].made": "share of the rows on which the test could be made",
        "tests[].touched": "share of the tokens that it touched at the largest share",
        "tests[].items": "test questions",
        "tests[].clusters": "independent groups of them",
        "tests[].replicates": "replicates asked",
        "tests[].speaks_of": "what the intervals generalise to",
    },
    _arguments,
    notes="Tests:\n" + "\n".join(f"  {entry.name.ljust(14)}{entry.help}" for entry in PERTURBATIONS),
)

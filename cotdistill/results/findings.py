"""What a study has found, as one document: the claims with every comparison, their controls, and what would change each
verdict.

Page Findings, its export and `compare --json` all read this one, so they agree to the last digit.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from cotdistill.errors import UnknownName
from cotdistill.rationales.conditions import parse
from cotdistill.results import claims, results
from cotdistill.results.also_test import also_tested
from cotdistill.results.claims import Compared, Verdict
from cotdistill.statistics.intervals import Interval
from cotdistill.statistics.verdicts import CANNOT, PROVISIONAL, checked_margin, word
from cotdistill.store.planned_runs import PlannedRuns, extended, planned_runs
from cotdistill.store.records import ANSWERS, Study
from cotdistill.store.store import Store
from cotdistill.studies.annotations import pinned
from cotdistill.studies.spec import STUDIES, StudySpec, plan_hash_of, spec_from_mapping
from cotdistill.tasks.catalog import TASKS

# Conditions that stand beside each claim: (what it must begin with, why it is there).
CONTROLS = {
    "1": (
        ("undistilled", "the student as it is"),
        ("label_only@tokens=post_cot", "more label-only training"),
        ("multitask", "both, as two tasks"),
    ),
    "2": (
        ("post_cot/shuffle(unit=sentence", "sentences in another order"),
        ("post_cot/random_tokens", "as many tokens that say nothing"),
        ("post_cot/swap", "another question's rationale"),
        ("label_only@tokens=post_cot", "more label-only training"),
    ),
    "3": (
        ("post_cot/drop_key_tokens", "everything but the key tokens"),
        ("post_cot/bottom_k", "the least key ones"),
        ("post_cot/strip_labels/key_tokens", "key tokens once the choices' texts are gone"),
        ("post_cot/label_text_only", "the answer's text alone"),
        ("label_only@tokens=post_cot", "more label-only training"),
    ),
}
# Which built-in study asks a claim that this one cannot.
ASKS = {"1": "starter", "2": "starter", "3": "keytokens"}


# Claims that depend on how much a rationale's token weighs, and so are shown under both losses.
BY_LOSS = ("2", "3")


def findings(store: Store, which: int | str, margin: float | None = None) -> dict[str, Any]:
    """The findings of a study. margin: of non-inferiority, in points, chosen beforehand. A study that is not launched
    yet answers with "not_run" for every comparison if it is a built-in one; UnknownName otherwise.
    """
    try:
        study = store.queue.study(which)
    except UnknownName:
        if str(which) not in STUDIES:
            raise
        return _not_run(str(which))
    spec = spec_from_mapping(study.spec)
    summaries = {s.condition: s for s in results.summary(store, study.id)}
    planned = planned_runs(store, study.id)
    verdicts = claims.judge(store, study.id, checked_margin(margin, results.chance_of(summaries.values())))
    other = {} if spec.answers else _other_loss(store, study, spec)
    kind = ANSWERS if spec.answers else "train"
    result = (
        next(
            (j.result for j in store.queue.jobs(state="finished", kind=kind, study=study.id, limit=20) if j.result),
            None,
        )
        or {}
    )
    missing = sum(s.planned - s.finished for s in summaries.values())
    return {
        "id": study.id,
        "name": study.name,
        "title": spec.title,
        "status": "not_run" if not any(s.finished for s in summaries.values()) else PROVISIONAL if missing else "done",
        "task": spec.task,
        "artificial": spec.task in TASKS,
        "worlds": spec.worlds,
        "student": spec.student.name,
        "steps": None if spec.answers else spec.training.steps,
        "answers": spec.answers or None,
        "replicates": spec.replicates,
        "source": spec.source or None,
        "test_is": result.get("test_is"),
        "chance": results.chance_of(summaries.values()),
        "plan_hash": study.plan_hash,
        "created": study.created,
        "origin": study.origin or None,
        "imported_runs": _imported(store, study),
        "missing_runs": missing,
        "extended": extended(store, study),
        "margin": margin,
        "tuned": _tuned(store, spec),
        "also_test": also_test_document(store, study, pinned(store, study)),
        "claims": [
            _claim(store, study.id, verdict, summaries, planned) | {"other_loss": other.get(verdict.claim)}
            for verdict in verdicts
        ],
        "conditions": [
            {
                "id": s.condition,
                "label": s.label,
                "accuracy": s.mean,
                "low": s.low,
                "high": s.high,
                "finished": s.finished,
                "planned": s.planned,
                "items": s.items,
                "clusters": s.clusters,
                "replicates": list(s.points),
                "speaks_of": s.speaks_of,
                "tokens": s.tokens,
                "warnings": list(s.warnings),
            }
            for s in summaries.values()
        ],
    }


def also_test_document(store: Store, study: Study, baseline: str) -> dict[str, Any] | None:
    """The second test of a study as plain values, with differences to this baseline; None for a study without one."""
    also = also_tested(store, study, baseline)
    return None if also is None else dataclasses.asdict(also)


def _tuned(store: Store, spec: StudySpec) -> dict[str, Any] | None:
    """The settings of conditions that were chosen on dev, and what the same study says at the shared setting; None for
    an untuned study.
    """
    if not spec.tuned:
        return None
    newest = _newest_with_plan(store, dataclasses.replace(spec, tuned={}))
    return {
        "settings": {condition: dict(settings) for condition, settings in spec.tuned.items()},
        "shared": None if newest is None else newest.name,
        "claims": [] if newest is None else [{"id": v.claim, "word": v.word} for v in claims.judge(store, newest.id)],
    }


def _newest_with_plan(store: Store, spec: StudySpec) -> Study | None:
    """The newest study with this plan; else the newest with the same plan for these conditions and more."""
    studies = store.queue.studies()  # newest first
    wanted, conditions = spec.plan_hash, list(spec.conditions)
    same = (study for study in studies if study.plan_hash == wanted)
    wider = (
        study
        for study in studies
        if set(conditions) < set(study.spec["conditions"])
        and plan_hash_of({**study.spec, "conditions": conditions}) == wanted
    )
    return next(same, None) or next(wider, None)


def _other_loss(store: Store, study: Study, spec: StudySpec) -> dict[str, dict[str, Any]]:
    """What the study's twin under the other loss says, by claim: the newest study that differs from it in the loss
    alone. study None: nobody has run it; command: how to.
    """
    loss = "token_mean" if spec.training.loss == "span" else "span"
    twin = dataclasses.replace(spec, training=dataclasses.replace(spec.training, loss=loss))
    newest = _newest_with_plan(store, twin)
    if newest is None:
        built_in = f"{study.name}-token-mean"
        options = (
            ""
            if built_in in STUDIES
            else f"{study.name} --name {study.name}-{loss.replace('_', '-')} --set training.loss={loss}"
        )
        command = f"study run {options or built_in}"
        return {claim: {"loss": loss, "study": None, "word": None, "told": "", "command": command} for claim in BY_LOSS}
    return {
        verdict.claim: {
            "loss": loss,
            "study": newest.name,
            "word": verdict.word,
            "told": verdict.message,
            "command": None,
        }
        for verdict in claims.judge(store, newest.id)
        if verdict.claim in BY_LOSS
    }


def _imported(store: Store, study: Study) -> int:
    """How many of a study's planned runs were not run here."""
    elsewhere = {job.id for job in store.queue.jobs(study=study.id) if job.origin}
    return sum(member.role == "run" and member.job_id in elsewhere for member in study.members)


def _claim(
    store: Store, study: int, verdict: Verdict, summaries: dict[str, results.ConditionSummary], planned: PlannedRuns
) -> dict[str, Any]:
    claim = next(c for c in claims.CLAIMS if c.name == verdict.claim)
    lacking = any(c.status == claims.NOT_RUN for c in verdict.comparisons)
    return {
        "id": verdict.claim,
        "title": claim.title,
        "word": verdict.word,
        "status": "not_run" if lacking else verdict.comparisons[0].status,
        "p": verdict.p,
        "told": verdict.message,
        "budget": verdict.budget,
        "change": verdict.change,
        "asked_by": ASKS[verdict.claim] if lacking else None,
        "comparisons": [_compared(c) for c in verdict.comparisons],
        "at_tokens": [_compared(c) for c in verdict.at_tokens],
        "controls": _controls(store, study, verdict.claim, summaries, planned, verdict.comparisons[0].first),
    }


def _compared(c: Compared) -> dict[str, Any]:
    return {
        "first": c.first,
        "second": c.second,
        "first_label": label(c.first),
        "second_label": label(c.second),
        "kind": "no worse" if c.no_worse else "better",
        "status": c.status,
        "points": _points(c.difference),
        "low": _points(c.low),
        "high": _points(c.high),
        "p": c.p,
        "word": c.word or None,
        "margin": _points(c.margin),
        "kept": None if c.kept is None else {"share": c.kept[0], "low": c.kept[1], "high": c.kept[2]},
        "items": c.items,
        "clusters": c.clusters,
        "replicates": c.replicates,
        "method": c.method or None,
        "speaks_of": c.speaks_of or None,
        "settled_by": None
        if c.settled_by is None
        else {
            "replicates": c.settled_by.replicates,
            "items": None if c.settled_by.times_items is None else round(c.settled_by.times_items * c.items),
        },
        "told": c.message,
    }


def label(condition: str) -> str:
    """A condition's name; a pattern that stands for any (it ends in *) is told by its transform."""
    if "*" in condition:
        return condition.removeprefix("post_cot/").partition("*")[0].replace("_", " ")
    return parse(condition).label


def selection_of(condition: str) -> tuple[Any, ...] | None:
    """Selector, number and unit of the selection of key tokens in a condition; None for one without."""
    if "*" in condition:
        return None
    values = {name: value for step in parse(condition).steps for name, value in step.parameters}
    return tuple(values.get(name) for name in ("selector", "k", "unit")) if "selector" in values else None


def _controls(
    store: Store,
    study: int,
    claim: str,
    summaries: dict[str, results.ConditionSummary],
    planned: PlannedRuns,
    primary: str,
) -> list[dict[str, Any]]:
    """The conditions of the study that stand beside a claim, each with its accuracy and its difference to label only;
    exploratory. primary: the first condition of the claim; controls that keep or drop a selection are those of its
    selection.
    """
    controls = []
    selection = selection_of(primary)
    for start, why in CONTROLS[claim]:
        for name, summary in summaries.items():
            fits = name == start if "@" in start else name.startswith(start) and "@" not in name
            if "selector=" in name and selection_of(name) != selection:
                continue
            if not fits or summary.mean is None:
                continue
            difference = results.difference(store, study, name, "label_only", planned) if name != "label_only" else None
            interval: Interval | None = difference[0] if difference else None
            controls.append(
                {
                    "id": name,
                    "label": summary.label,
                    "why": why,
                    "accuracy": summary.mean,
                    "low": summary.low,
                    "high": summary.high,
                    "points": _points(interval.mean) if interval else None,
                    "points_low": _points(interval.low) if interval else None,
                    "points_high": _points(interval.high) if interval else None,
                    "word": PROVISIONAL if summary.finished < summary.planned else word(interval) if interval else None,
                }
            )
    return controls


def _points(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _not_run(name: str) -> dict[str, Any]:
    """A built-in study that nobody has launched: what it would compare."""
    spec = STUDIES.get(name).make()
    asked = []
    for claim in claims.CLAIMS:
        compared = [
            _compared(Compared(c.first, c.second, c.no_worse, claims.NOT_RUN, "Not run yet."))
            for c in claim.comparisons
        ]
        entry = {
            "id": claim.name,
            "title": claim.title,
            "word": CANNOT,
            "status": "not_run",
            "p": None,
            "told": "Not run yet.",
            "budget": "",
        }
        change = {"change": f"Run the study {ASKS[claim.name]}.", "asked_by": ASKS[claim.name]}
        asked.append({**entry, **change, "comparisons": compared, "at_tokens": [], "controls": [], "other_loss": None})
    return {
        "id": None,
        "name": name,
        "title": spec.title,
        "status": "not_run",
        "task": spec.task,
        "artificial": spec.task in TASKS,
        "worlds": spec.worlds,
        "student": spec.student.name,
        "steps": None if spec.answers else spec.training.steps,
        "answers": spec.answers or None,
        "replicates": spec.replicates,
        "source": spec.source or None,
        "test_is": None,
        "chance": None,
        "plan_hash": spec.plan_hash,
        "created": None,
        "origin": None,
        "imported_runs": 0,
        "missing_runs": len(spec.conditions) * spec.replicates,
        "extended": None,
        "margin": None,
        "tuned": None,
        "also_test": None,
        "claims": asked,
        "conditions": [],
    }

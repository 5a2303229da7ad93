"""What every study says of the three claims, so that several tasks and students stand in one view."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from cotdistill.results import claims
from cotdistill.results.findings import label
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.studies.spec import spec_from_mapping
from cotdistill.tasks.catalog import TASKS

# Judging a study takes a tenth of a second; what was judged stays true until another of its runs ends.
_KEPT: OrderedDict[tuple[str, int, tuple[int, ...]], dict[str, Any]] = OrderedDict()
_MOST = 256


def overview(store: Store, most: int | None = None) -> list[dict[str, Any]]:
    """One entry for the latest study of every name of which a run has finished, newest first, at most `most`: name,
    task, student, source, replicates, status, and of each claim its word and its first comparison (points, low, high;
    None where it has no number).
    """
    states = store.queue.states()
    latest: dict[str, Study] = {}
    for study in store.queue.studies():
        latest.setdefault(study.name, study)
    entries = []
    for study in latest.values():
        done = tuple(m.job_id for m in study.members if m.role == "run" and states.get(m.identity) == "finished")
        if not done:
            continue
        key = (str(store.home), study.id, done)
        if key not in _KEPT:
            _KEPT[key] = _judged(store, study, len(done))
            while len(_KEPT) > _MOST:
                _KEPT.popitem(last=False)
        entries.append(_KEPT[key])
        if len(entries) == most:
            break
    return entries


def _judged(store: Store, study: Study, finished: int) -> dict[str, Any]:
    spec = spec_from_mapping(study.spec)
    planned = sum(member.role == "run" for member in study.members)
    return {
        "id": study.id,
        "name": study.name,
        "task": spec.task,
        "artificial": spec.task in TASKS,
        "student": spec.student.name,
        "source": spec.source or None,
        "replicates": spec.replicates,
        "steps": spec.training.steps,
        "status": "done" if finished == planned else "provisional",
        "finished": finished,
        "planned": planned,
        "claims": [_claim(verdict) for verdict in claims.judge(store, study.id)],
    }


def _claim(verdict: claims.Verdict) -> dict[str, Any]:
    first = verdict.comparisons[0]
    points = {
        name: None if value is None else 100 * value
        for name, value in (("points", first.difference), ("low", first.low), ("high", first.high))
    }
    return {
        "id": verdict.claim,
        "word": verdict.word,
        "first": label(first.first),
        "second": label(first.second),
        **points,
    }

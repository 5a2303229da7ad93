"""How noisy a study's differences will be, from what the store has seen of its task and student."""

from __future__ import annotations

from typing import Any

from cotdistill.errors import CotdistillError
from cotdistill.rationales.conditions import parse
from cotdistill.results import results
from cotdistill.results.replicates import Paired
from cotdistill.statistics.power import Noise, foretold, guesses, measured
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.studies.spec import StudySpec, spec_from_mapping

# Conditions of an earlier study that are looked at: a plan must answer in seconds.
MOST_CONDITIONS = 12
GUESSED = "from stated guesses of the noise"


def detectable_effect(store: Store, spec: StudySpec, items: int, clusters: int) -> dict[str, float | str | None]:
    """The smallest difference that a study would probably find, and its chance of showing "no worse" where there is no
    difference (keys of `statistics.power.foretold`): from earlier runs of the task and student if there are any, else
    from stated guesses.
    """
    nested = _nested(spec)
    label, low, high = earlier(store, spec) or (GUESSED, *guesses(items, clusters))
    return foretold(spec.replicates, clusters, low, high, label, nested=nested)


def earlier(store: Store, spec: StudySpec) -> tuple[str, Noise, Noise] | None:
    """The noise of paired differences, low and high, in the earlier study of the same task and student with the most
    finished replicates (at least two; the newest of these), and a line that names it. Crossed and nested studies do not
    speak for each other.
    """
    best: tuple[int, Study, tuple[Noise, Noise, Noise]] | None = None
    for study in store.queue.studies():
        try:
            other = spec_from_mapping(study.spec)
        except CotdistillError:
            continue  # launched by a version that knew other settings
        if _kind(other) != _kind(spec):
            continue
        differences = _differences(store, study.id, other)
        replicates = len(differences[0].values) if differences else 0
        seen = (
            measured([one.values for one in differences], differences[0].clusters, differences[0].nested)
            if differences
            else None
        )
        if seen is not None and (best is None or replicates > best[0]):
            best = (replicates, study, seen)
    if best is None:
        return None
    replicates, found_in, (low, _, high) = best
    # Their noise holds a collapsed replicate's, and so does the estimate: it is named beside.
    warnings = [f"{s.label}: {warning}" for s in results.summary(store, found_in.id) for warning in s.warnings]
    beside = f"; there {'; '.join(warnings)}" if warnings else ""
    return f"from the noise of {replicates} earlier replicates, study {found_in.name}{beside}", low, high


def _differences(store: Store, study: int, spec: StudySpec) -> list[Paired]:
    """Of the trained conditions to the study's baseline, over equally many replicates: those that have the most."""
    run_conditions = [
        c
        for c in map(parse, spec.conditions)
        if c.spec.sequences and not c.tokens and c.fraction == parse(spec.pinned).fraction
    ]
    conditions = [str(c) for c in run_conditions if str(c) != spec.pinned]
    pairs = (results.paired(store, study, condition, spec.pinned) for condition in conditions[:MOST_CONDITIONS])
    usable = [one for one in pairs if one is not None and one.nested == _nested(spec)]
    most = max((one.values.shape for one in usable), default=(0, 0))
    return [one for one in usable if one.values.shape == most]


def _kind(spec: StudySpec) -> tuple[Any, ...]:
    return spec.task, dict(spec.task_settings), spec.student.name, _nested(spec)


def _nested(spec: StudySpec) -> bool:
    """Whether each replicate has questions of its own."""
    return (spec.worlds or 1) > 1

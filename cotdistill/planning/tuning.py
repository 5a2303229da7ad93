"""A setting chosen fairly: a grid per condition, judged on dev with pilot replicates that no claim ever sees; each
condition then trains at its own best value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from cotdistill.config import TrainingConfig, from_mapping, plain
from cotdistill.errors import UsageError
from cotdistill.results import results
from cotdistill.store.store import Store
from cotdistill.studies.spec import StudySpec, checked

# Pilots have replicate indices from here on, far from those of any study: other seeds, and other worlds where worlds
# differ.
FIRST_PILOT, PILOTS = 1000, 2


def pilot_specs(spec: StudySpec, setting: str, values: Sequence[Any]) -> list[StudySpec]:
    """One pilot study per value of a training setting, such as "training.lr"; UsageError for another kind of setting or
    fewer than two values.
    """
    outer, _, name = setting.partition(".")
    if outer != "training" or name not in plain(TrainingConfig()):
        raise UsageError(
            f"{setting!r} cannot be tuned; expected a setting of the training.",
            "For example --tune training.lr=0.001,0.002",
        )
    if len(values) < 2:
        raise UsageError(
            f"The grid of {setting} has {len(values)} value; expected at least two.", "Separate them by commas."
        )
    return [
        checked(
            dataclasses.replace(
                spec,
                name=f"{spec.name[:60]}-pilot-{place}",
                title=f"Pilot of {spec.name[:60]}: {setting} = {value}",
                training=from_mapping(TrainingConfig, {**plain(spec.training), name: value}),
                replicates=PILOTS,
                first_replicate=FIRST_PILOT,
            )
        )
        for place, value in enumerate(values)
    ]


def best_values(store: Store, studies: Sequence[int], values: Sequence[Any]) -> dict[str, Any]:
    """The value with the highest mean accuracy on dev, by condition; of equal ones the first. studies: the pilots, in
    the order of the values. Conditions that are not trained have none. UsageError while pilots are missing, or without
    a dev split.
    """
    scores: dict[str, dict[int, float]] = {}
    for place, study in enumerate(studies):
        runs = results.runs(store, study)
        if (runs["state"] != "finished").any():
            raise UsageError(
                "Not all pilots have finished.", "Run the same command again when they have, or add --wait."
            )
        trained = runs[runs["steps"].fillna(0) > 0]
        for condition, accuracy in trained.groupby("condition")["dev_accuracy"].mean().items():
            scores.setdefault(str(condition), {})[place] = float(accuracy)
    if any(score != score for by_value in scores.values() for score in by_value.values()):
        raise UsageError("The pilots have no accuracy on dev to choose by.", "Use a task with a dev split.")
    return {condition: values[max(by_value, key=by_value.__getitem__)] for condition, by_value in scores.items()}


def tuned_spec(spec: StudySpec, setting: str, best: Mapping[str, Any]) -> StudySpec:
    """The study with each condition at its own value."""
    tuned = {
        condition: {setting.partition(".")[2]: value}
        for condition, value in best.items()
        if condition in spec.conditions
    }
    return checked(dataclasses.replace(spec, tuned=tuned))

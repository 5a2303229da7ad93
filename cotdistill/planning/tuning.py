"""A setting chosen fairly: a grid per condition, judged on dev with pilot replicates that no claim ever sees; each
condition then trains at its own best value.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from cotdistill.config import TrainingConfig, from_mapping, plain
from cotdistill.errors import UnknownName, UsageError
from cotdistill.planning.plan import Plan, plan
from cotdistill.store.store import Store
from cotdistill.studies.spec import StudySpec, checked

# Pilots have replicate indices from here on, far from those of any study: other seeds, and other worlds where worlds
# differ.
FIRST_PILOT, PILOTS = 1000, 2


def pilot_specs(spec: StudySpec, setting: str, values: Sequence[Any]) -> list[StudySpec]:
    """One pilot study per value of a training setting, such as "training.lr"; UsageError for another kind of setting or
    fewer than two values.
    """
    name = setting.partition(".")[2]
    known = [f"training.{key}" for key in plain(TrainingConfig())]
    if setting not in known:
        raise UnknownName("training setting to tune", setting, known)
    if len(values) < 2:
        raise UsageError(
            f"The grid of {setting} has {len(values)} value; expected at least two.", "Separate them by commas."
        )
    return [
        checked(
            dataclasses.replace(
                spec,
                also_test="",
                tuned={},
                name=f"{spec.name[:60]}-pilot-{place}",
                title=f"Pilot of {spec.name[:60]}: {setting} = {value}",
                training=from_mapping(TrainingConfig, {**plain(spec.training), name: value}),
                replicates=PILOTS,
                first_replicate=FIRST_PILOT,
            )
        )
        for place, value in enumerate(values)
    ]


@dataclass(frozen=True)
class Tuning:
    """A grid over one training setting: a pilot study per value, in the order of the values."""

    setting: str  # for example "training.lr"
    values: tuple[Any, ...]  # the grid
    pilots: tuple[Plan, ...]  # the plan of each pilot study

    @property
    def runs(self) -> int:
        """Pilot runs, those that are done included."""
        return sum(len(pilot.runs) for pilot in self.pilots)

    @property
    def open(self) -> int:
        """Pilot runs that a launch would queue: new ones, and those that failed or were stopped."""
        return sum(run.state in ("new", "failed", "stopped") for pilot in self.pilots for run in pilot.runs)

    @property
    def unfinished(self) -> int:
        return sum(run.state != "finished" for pilot in self.pilots for run in pilot.runs)

    @property
    def seconds(self) -> tuple[float, float]:
        """Wall time of what is new, (low, high)."""
        low, high = zip(*(pilot.seconds for pilot in self.pilots), strict=True)
        return sum(low), sum(high)


def parse_grid(text: str) -> tuple[str, list[Any]]:
    """`training.lr=0.001,0.002` as a setting and its values; UsageError where it has no values."""
    setting, equals, listed = text.partition("=")
    values = []
    for value in listed.split(","):
        if value.strip():
            try:
                values.append(json.loads(value))
            except ValueError:
                values.append(value.strip())
    if not equals or not values:
        raise UsageError(
            f"--tune {text!r} is not SETTING=A,B.", "Expected a setting and its values: training.lr=0.001,0.002"
        )
    return setting.strip(), values


def planned_tuning(
    store: Store,
    spec: StudySpec,
    setting: str,
    values: Sequence[Any],
    planner: Callable[[Store, StudySpec], Plan] = plan,
) -> Tuning:
    """The pilots of a grid, planned; raises what `pilot_specs` and `plan` raise."""
    pilots = pilot_specs(spec, setting, values)
    return Tuning(setting, tuple(values), tuple(planner(store, pilot) for pilot in pilots))


def dev_accuracies(store: Store, tuning: Tuning) -> dict[str, list[float]]:
    """The mean accuracy on dev at each value, by condition. Conditions that are not trained have none. UsageError while
    pilots are missing, or without a dev split.
    """
    if tuning.unfinished:
        raise UsageError("Not all pilots have finished.", "Run the same command again when they have, or add --wait.")
    scores: dict[str, list[float]] = {}
    for pilot in tuning.pilots:
        by_condition: dict[str, list[float | None]] = {}
        for run in pilot.runs:
            if run.condition.spec.sequences:
                result = store.queue.job(run.job.identity).result or {}
                by_condition.setdefault(str(run.condition), []).append(result.get("dev_accuracy"))
        for condition, accuracies in by_condition.items():
            known = [accuracy for accuracy in accuracies if accuracy is not None]
            if len(known) < len(accuracies):
                raise UsageError("The pilots have no accuracy on dev to choose by.", "Use a task with a dev split.")
            scores.setdefault(condition, []).append(fmean(known))
    return scores


def best_values(store: Store, tuning: Tuning) -> dict[str, Any]:
    """The value with the highest mean accuracy on dev, by condition; of equal ones the first. Raises what
    `dev_accuracies` raises.
    """
    return {
        condition: tuning.values[max(range(len(scores)), key=scores.__getitem__)]
        for condition, scores in dev_accuracies(store, tuning).items()
    }


def tuned_spec(spec: StudySpec, setting: str, best: Mapping[str, Any]) -> StudySpec:
    """The study NAME-tuned, with each condition at its own value."""
    tuned = {
        condition: {setting.partition(".")[2]: value}
        for condition, value in best.items()
        if condition in spec.conditions
    }
    return checked(dataclasses.replace(spec, name=f"{spec.name[:70]}-tuned", tuned=tuned))

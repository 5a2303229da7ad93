"""Accuracy against how much of the rationale is trained on: every condition of a study by the tokens that it predicts
for one training example.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean

from cotdistill.rationales.conditions import ChosenTransform, Condition, parse
from cotdistill.results import results
from cotdistill.results.results import ConditionSummary
from cotdistill.store.planned_runs import planned_runs
from cotdistill.store.store import Store

# The parameters that say how much: how many units, or what share of them.
DOSES = ("k", "fraction")


@dataclass(frozen=True)
class Dose:
    """One condition. predicted: loss-bearing tokens of a training example, mean over its finished runs. family: the
    condition without its dose, so that the members of a family differ in the dose alone; "" where it has none. dose: as
    it is told ("k 5", "fraction 0.5"). name: the family's for people ("post-CoT, key tokens by tfidf"), the condition's
    own where it has no dose.
    """

    summary: ConditionSummary
    predicted: float
    family: str
    dose: str
    name: str


def doses(store: Store, study: int | str) -> list[Dose]:
    """The trained conditions of a study, by family in the order planned and rising tokens. Left out: those without a
    finished run, students that were not trained, arms with a token budget, which see the same texts more often, and
    arms that see a share of the rows (`studies.size`).
    """
    predicted: dict[str, list[float]] = {}
    for condition, _, job in planned_runs(store, study):
        if job is None or job.state != "finished" or not job.result or not job.result.get("steps"):
            continue
        examples = int(job.result["steps"]) * int(job.config["training"]["batch_size"])
        predicted.setdefault(condition, []).append(float(job.result["loss_tokens"]) / examples)
    rows = []
    for summary in results.summary(store, study):
        parsed = parse(summary.condition)
        if summary.mean is None or parsed.tokens or parsed.fraction != 1 or summary.condition not in predicted:
            continue
        family, dose = _family(parsed)
        name = _name(parsed) if family else summary.label
        rows.append(Dose(summary, fmean(predicted[summary.condition]), family, dose, name))
    order = list(dict.fromkeys(one.family for one in rows))
    return sorted(rows, key=lambda dose: (order.index(dose.family), dose.predicted))


def _family(condition: Condition) -> tuple[str, str]:
    """The condition as text without its dose, and the dose; both empty where there is none."""
    amounts = []
    steps = []
    for step in condition.steps:
        amounts += [
            f"{name} {value:g}" for name, value in step.parameters if name in DOSES and isinstance(value, (int, float))
        ]
        kept = tuple((name, value) for name, value in step.parameters if name not in DOSES)
        steps.append(ChosenTransform(step.name, kept))
    if not amounts:
        return "", ""
    return str(replace(condition, steps=tuple(steps))), ", ".join(amounts)


def _name(condition: Condition) -> str:
    parts = [replace(condition, steps=()).label]
    for step in condition.steps:
        selector = dict(step.parameters).get("selector")
        parts.append(step.name.replace("_", " ") + (f" by {str(selector).replace('_', ' ')}" if selector else ""))
    return ", ".join(parts)

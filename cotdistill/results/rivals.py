"""Rival explanations of what a rationale after the label does: how much of its gain each of them brings about without it, or otherwise than it does.

The planned comparison of each rival is against label only, adjusted after Holm over the rivals; against intact post-CoT it is asked whether it is
no worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cotdistill.rationales.conditions import Condition, parse
from cotdistill.results import results
from cotdistill.results.claims import gain_kept, margin_of
from cotdistill.statistics.verdicts import BETTER, CANNOT, PROVISIONAL, WORSE, holm, superiority_p, word
from cotdistill.store.planned_runs import planned_runs
from cotdistill.store.store import Store

BASE, FULL = "label_only", "post_cot"
NONE, PART, ALL, MORE, UNCLEAR = (
    "no gain is shown",
    "part of the gain",
    "as much as the rationale",
    "more than the rationale",
    "not distinguishable",
)
# Why each stands beside post-CoT; by transform, objective, placement or option, the first that fits.
WHY = {
    "label_smoothing": "regularisation of the targets, no rationale",
    "word_dropout": "noise in what is read, no rationale",
    "self_distillation": "consistency with itself, no rationale",
    "margin": "the label against the other choices, no rationale",
    "token_weights": "the same rationale, its key tokens heavier",
    "stepwise_removal": "the rationale as a curriculum",
    "last_to_all": "the same rationale, learnt from its end",
    "self_generated": "its own words, kept where they lead to the answer",
    "counterfactual": "an answer that follows its rationale, also to a wrong end",
    "random_tokens": "as many tokens, no content",
    "label_text_only": "the answer said again, nothing else",
    "strip_labels": "the rationale without the answers",
    "swap": "somebody else's rationale",
    "shuffle": "the same tokens without order",
    "mask": "as many positions, no content",
    "tokens": "more steps, no rationale",
    "naive": "the label tokenised apart",
    "multitask": "the rationale as a task of its own",
    "mixed": "both orders at once",
    "pre_cot": "the rationale before the label",
}


@dataclass(frozen=True)
class Rival:
    """One rival. Differences are shares of accuracy with 95 % intervals: gain to label only, short to intact post-CoT. kept: the share of post-CoT's
    gain, with its interval over replicates. p: of a gain, adjusted after Holm over the rivals. word: what it accounts for."""

    condition: str
    label: str
    why: str
    accuracy: float | None
    gain: tuple[float, float | None, float | None] | None
    short: tuple[float, float | None, float | None] | None
    kept: tuple[float, float, float] | None
    p: float | None
    word: str


def rivals(store: Store, study: int | str) -> dict[str, Any]:
    """What every other condition of a study accounts for of post-CoT's gain over label only, as a plain document. Empty where the study lacks one of
    the two; provisional while runs are missing."""
    summaries = {one.condition: one for one in results.summary(store, study)}
    if BASE not in summaries or FULL not in summaries:
        return {
            "study": store.queue.study(study).name,
            "rivals": [],
            "gain": None,
            "margin": None,
            "provisional": False,
            "word": CANNOT,
        }
    planned, runs = planned_runs(store, study), results.runs(store, study)
    provisional = any(job is None or job.state != "finished" for _, _, job in planned)
    full = results.difference(store, study, FULL, BASE, planned)
    shown = full is not None and word(full[0]) == BETTER
    margin = margin_of(runs)
    found: list[Rival] = []
    for condition, summary in summaries.items():
        if condition in (BASE, FULL) or not parse(condition).spec.sequences or parse(condition).source:
            continue
        gain, short = (results.difference(store, study, condition, other, planned) for other in (BASE, FULL))
        found.append(
            Rival(
                condition, summary.label, why(parse(condition)), summary.mean,
                (gain[0].mean, gain[0].low, gain[0].high) if gain else None, (short[0].mean, short[0].low, short[0].high) if short else None,
                gain_kept(runs, condition), superiority_p(gain[0]) if gain else None,
                PROVISIONAL if provisional else CANNOT if not shown or gain is None or short is None else word(short[0], margin),
            )
        )  # fmt: skip
    asked = [one.p for one in found if one.p is not None]
    adjusted = iter(holm(asked))
    told = [asdict(one) | {"p": next(adjusted) if one.p is not None else None} for one in found]
    for one in told:
        one["word"] = _accounts(one)
    return {
        "study": store.queue.study(study).name,
        "gain": (full[0].mean, full[0].low, full[0].high) if full else None,
        "margin": margin,
        "replicates": summaries[FULL].finished,
        "items": summaries[FULL].items,
        "provisional": provisional,
        "word": PROVISIONAL if provisional else BETTER if shown else CANNOT,
        "rivals": told,
    }


def _accounts(one: Mapping[str, Any]) -> str:
    against, p = str(one["word"]), one["p"]
    if against in (PROVISIONAL, CANNOT):
        return against
    if p is None or p >= 0.05:
        # A rival that beats nothing explains nothing, however wide the other interval.
        return NONE if against == WORSE else UNCLEAR
    return {BETTER: MORE, WORSE: PART, "no worse": ALL}.get(against, "some of the gain")


def why(condition: Condition) -> str:
    """Why a condition is a rival, in a few words; "" for one that no list names."""
    marks = (
        [one.name for one in condition.objectives]
        + [one.name for one in condition.steps]
        + (["naive"] if condition.naive else [])
        + (["tokens"] if condition.tokens else [])
    )
    return next((WHY[mark] for mark in (*marks, condition.placement) if mark in WHY), "")

"""Rival explanations of what a rationale after the label does: how much of its gain each of them brings about without
it, or otherwise than it does.

The planned comparison of each rival is against label only; against intact post-CoT it is asked whether it is better,
worse or no worse. All are adjusted after Holm over the rivals.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cotdistill.rationales.conditions import Condition, parse
from cotdistill.results import results
from cotdistill.results.claims import gain_kept, margin_of
from cotdistill.statistics.intervals import Interval
from cotdistill.statistics.verdicts import (
    BETTER,
    BETTER_HERE,
    CANNOT,
    PROVISIONAL,
    holm,
    noninferiority_p,
    superiority_p,
    verdict_word,
    word,
)
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
    """One rival. Differences are shares of accuracy with 95 % intervals: gain to label only, short to intact post-CoT.
    kept: the share of post-CoT's gain, with its interval over replicates. p: of a gain, adjusted after Holm over the
    rivals. word: what it accounts for.
    """

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
    """What every other condition of a study accounts for of post-CoT's gain over label only, as a plain document. Empty
    where the study lacks one of the two; provisional while runs are missing.
    """
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
    shown = full is not None and word(full[0]) in (BETTER, BETTER_HERE)
    margin = margin_of(runs)
    shorts: dict[str, Interval] = {}
    rows: list[Rival] = []
    for condition, summary in summaries.items():
        if condition in (BASE, FULL) or not parse(condition).spec.sequences or parse(condition).source:
            continue
        gain, short = (results.difference(store, study, condition, other, planned) for other in (BASE, FULL))
        if short is not None:
            shorts[condition] = short[0]
        rows.append(
            Rival(
                condition,
                summary.label,
                why(parse(condition)),
                summary.mean,
                (gain[0].mean, gain[0].low, gain[0].high) if gain else None,
                (short[0].mean, short[0].low, short[0].high) if short else None,
                gain_kept(runs, condition),
                superiority_p(gain[0]) if gain else None,
                PROVISIONAL if provisional else CANNOT if not shown or gain is None or short is None else "",
            )
        )
    gains = dict(
        zip([r.condition for r in rows if r.p is not None], holm([r.p for r in rows if r.p is not None]), strict=True)
    )
    # Holm over the rivals for each of the two questions that are asked against intact post-CoT, too.
    apart = dict(zip(shorts, holm([one.p if one.p is not None else 1.0 for one in shorts.values()]), strict=True))
    same = dict(zip(shorts, holm([noninferiority_p(one, margin or 0.0) for one in shorts.values()]), strict=True))
    documents = [asdict(rival) | {"p": gains.get(rival.condition)} for rival in rows]
    for one in documents:
        name = one["condition"]
        if not one["word"]:
            said = _accounts(one["p"], shorts[name].mean, apart[name], same[name] if margin else 1.0)
            one["word"] = verdict_word(said, min(summaries[name].finished, summaries[FULL].finished))
    return {
        "study": store.queue.study(study).name,
        "gain": (full[0].mean, full[0].low, full[0].high) if full else None,
        "margin": margin,
        "replicates": summaries[FULL].finished,
        "items": summaries[FULL].items,
        "provisional": provisional,
        "word": PROVISIONAL if provisional else BETTER if shown else CANNOT,
        "rivals": documents,
    }


def _accounts(gain_p: float | None, short: float, apart_p: float, same_p: float) -> str:
    """What a rival accounts for, from p values adjusted over the rivals: of a gain on label only, of a difference to
    intact post-CoT whose sign is that of `short`, and of being no worse than it.
    """
    if gain_p is None or gain_p >= 0.05:
        # A rival that beats nothing explains nothing, however wide the other interval.
        return NONE if short < 0 and apart_p < 0.05 else UNCLEAR
    if apart_p < 0.05:
        return MORE if short > 0 else PART
    return ALL if same_p < 0.05 else "some of the gain"


def why(condition: Condition) -> str:
    """Why a condition is a rival, in a few words; "" for one that no list names."""
    marks = (
        [one.name for one in condition.objectives]
        + [one.name for one in condition.steps]
        + (["naive"] if condition.naive else [])
        + (["tokens"] if condition.tokens else [])
    )
    return next((WHY[mark] for mark in (*marks, condition.placement) if mark in WHY), "")

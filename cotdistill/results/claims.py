"""The paper's three claims as planned comparisons. A claim is a conjunction: every one of its comparisons must hold, and its p is the largest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cotdistill.rationales.conditions import parse
from cotdistill.results import results
from cotdistill.statistics.intervals import Interval, over_replicates
from cotdistill.statistics.power import Settling, measured, settling
from cotdistill.statistics.shares import share_kept
from cotdistill.statistics.verdicts import (
    BETTER,
    CANNOT,
    OPEN,
    PROVISIONAL,
    WORSE,
    holm,
    noninferiority_margin,
    noninferiority_p,
    superiority_p,
    word,
)
from cotdistill.store.planned_runs import PlannedRuns, planned_runs
from cotdistill.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

SHUFFLED = "post_cot/shuffle(unit=token,fraction=1.0)"
# Two conditions whose mean training tokens differ by less are at equal tokens as they stand.
SAME_TOKENS = 0.05
DONE, WAITING, NOT_RUN, NOT_ASKED = "done", "provisional", "not_run", "cannot"
HOLDS, FAILS, NOT_SHOWN = "holds", "fails", "not shown"


@dataclass(frozen=True)
class PlannedComparison:
    """One comparison of a claim: `first` better than `second`, or no worse. A name that ends in * stands for any condition that begins so."""

    first: str
    second: str
    no_worse: bool = False


@dataclass(frozen=True)
class Claim:
    name: str
    title: str
    help: str
    comparisons: tuple[PlannedComparison, ...]


@dataclass(frozen=True)
class Compared:
    """One comparison as it stands: differences are shares of accuracy with their 95 % interval.

    status: done; provisional (planned runs have not finished); not_run (the study has no such condition); cannot (there is nothing to judge by).
    told: the numbers in a line, or what is missing. margin: of non-inferiority, a share. kept: share of intact post-CoT's gain that is kept,
    with its interval. settled_by: where it is not distinguishable, what would show the difference that was seen, were it the true one.
    """

    first: str
    second: str
    no_worse: bool
    status: str
    told: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    word: str = ""
    margin: float | None = None
    kept: tuple[float, float, float] | None = None
    items: int = 0
    clusters: int = 0
    replicates: int = 0
    method: str = ""
    speaks_of: str = ""
    nested: bool = False
    settled_by: Settling | None = None


@dataclass(frozen=True)
class Verdict:
    """What a study says of a claim. word: holds, fails, not shown, provisional, or cannot be asked here; told: the numbers, or what is missing.

    p: the claim's largest p, adjusted after Holm over the claims that could be asked; None if it could not. comparisons: at equal steps, which
    the verdict rests on; at_tokens: the same at equal training tokens, exploratory. budget: what equal tokens do to it, in words. change: what
    would change the verdict.
    """

    claim: str
    word: str
    told: str
    p: float | None = None
    comparisons: tuple[Compared, ...] = ()
    at_tokens: tuple[Compared, ...] = ()
    budget: str = ""
    change: str = ""


CLAIMS = (
    Claim(
        "1",
        "A rationale after the label beats one before it, and none",
        "Needs post-CoT, label only and pre-CoT.",
        (PlannedComparison("post_cot", "label_only"), PlannedComparison("post_cot", "pre_cot")),
    ),
    Claim(
        "2",
        "A rationale after the label need not be coherent",
        "Needs post-CoT with shuffled tokens, with random tokens and intact, and label only.",
        (
            PlannedComparison(SHUFFLED, "label_only"),
            PlannedComparison(SHUFFLED, "post_cot/random_tokens"),
            PlannedComparison(SHUFFLED, "post_cot", no_worse=True),
        ),
    ),
    Claim(
        "3",
        "A few key tokens give as much as the whole rationale",
        "Needs key-token conditions with their matched controls: the study keytokens has them.",
        (
            PlannedComparison("post_cot/key_tokens*", "label_only"),
            PlannedComparison("post_cot/key_tokens*", "post_cot/matched_random_k*"),
            PlannedComparison("post_cot/key_tokens*", "post_cot", no_worse=True),
        ),
    ),
)


def judge(store: Store, study: int | str, margin: float | None = None) -> list[Verdict]:
    """A verdict for each claim, at equal steps, on the study's own source. Missing arms and missing runs are named, never an error.

    margin: of non-inferiority, a share that was chosen beforehand; None takes the one that dev gives.
    """
    ground = _ground(store, study, margin)
    found = [_asked(ground, claim) for claim in CLAIMS]
    ps = {verdict.claim: verdict.p for verdict in found if verdict.p is not None}
    adjusted = dict(zip(ps, holm(list(ps.values())), strict=True))
    verdicts = []
    for verdict in found:
        if verdict.claim in adjusted:
            p = adjusted[verdict.claim]
            state = verdict.word if verdict.word == FAILS else HOLDS if p < 0.05 else NOT_SHOWN
            verdict = replace(verdict, word=state, p=p)
        verdicts.append(replace(verdict, change=_change(verdict)))
    return verdicts


@dataclass(frozen=True, eq=False)
class _ClaimData:
    """What a study's claims are judged on, read once. margin: of non-inferiority, a share; None where there is none to be had."""

    store: Store
    study: int | str
    planned: PlannedRuns
    runs: pd.DataFrame
    margin: float | None

    def difference(self, first: str, second: str) -> tuple[Interval, results.ConditionAnswers] | None:
        return results.difference(self.store, self.study, first, second, self.planned)


def _ground(store: Store, study: int | str, margin: float | None) -> _ClaimData:
    runs = results.runs(store, study)
    return _ClaimData(store, study, planned_runs(store, study), runs, margin if margin is not None else margin_of(runs))


def _asked(ground: _ClaimData, claim: Claim) -> Verdict:
    """The claim with its own p, before Holm."""
    runs = ground.runs
    conditions = list(dict.fromkeys(runs["condition"]))
    names = {name: _named(name, conditions) for c in claim.comparisons for name in (c.first, c.second)}
    compared = tuple(_compared(ground, c, names[c.first], names[c.second]) for c in claim.comparisons)
    equal = [_at_tokens(c, names, runs) for c in claim.comparisons]
    at_tokens = tuple(_compared(ground, c, first, second) for c, first, second in equal)
    verdict = Verdict(claim.name, CANNOT, "", None, compared, at_tokens, _budget(compared, at_tokens))
    if lacking := sorted(name for name, condition in names.items() if condition is None):
        return replace(verdict, told=f"This study has no {', '.join(_said(name) for name in lacking)}.")
    mine = runs[runs["condition"].isin([c for c in names.values() if c])]
    if left := int((mine["state"] != "finished").sum()):
        return replace(
            verdict,
            word=PROVISIONAL,
            told=f"{left} of {len(mine)} planned runs of this claim have not finished: no verdict yet.",
        )
    if barred := next((c for c in compared if c.status != DONE), None):
        return replace(verdict, told=barred.told)
    fails = any(
        (c.high is not None and c.high < -(c.margin or 0.0)) if c.no_worse else c.word == WORSE for c in compared
    )
    first, last = _said(claim.comparisons[0].first), compared[-1]
    questions = f"{last.items:,} questions in {last.clusters:,} clusters"
    size = (
        f"{questions} of each of {last.replicates} worlds" if last.nested else f"{questions}, {_times(last.replicates)}"
    )
    demonstration = " Fewer than five replicates: a demonstration." if last.replicates < 5 else ""
    told = f"{first[0].upper()}{first[1:]}, in points: {'; '.join(c.told for c in compared)}. {size}.{demonstration}"
    return replace(
        verdict, word=FAILS if fails else NOT_SHOWN, told=told, p=max(c.p if c.p is not None else 1.0 for c in compared)
    )


def _times(replicates: int) -> str:
    return f"{replicates} replicate{'s' if replicates > 1 else ''}"


def _compared(ground: _ClaimData, planned: PlannedComparison, first: str | None, second: str | None) -> Compared:
    """One comparison of two conditions of the study; None stands for a condition that it does not have."""
    one, other = first or planned.first, second or planned.second
    open_ = Compared(one, other, planned.no_worse, NOT_RUN, "")
    if first is None or second is None:
        lacking = " or ".join(_said(name) for name, there in ((one, first), (other, second)) if there is None)
        return replace(open_, told=f"This study has no {lacking}.")
    mine = ground.runs[ground.runs["condition"].isin([first, second])]
    left = int((mine["state"] != "finished").sum())
    found = ground.difference(first, second)
    if found is None:
        if left:
            return replace(open_, status=WAITING, told=f"{left} of {len(mine)} planned runs have not finished.")
        return replace(
            open_, status=NOT_ASKED, told=f"{_said(one)} and {_said(other)} did not answer the same questions."
        )
    interval, answers = found
    seen = replace(
        open_, status=WAITING if left else DONE, difference=interval.mean, low=interval.low, high=interval.high, p=superiority_p(interval),
        word=PROVISIONAL if left else word(interval), items=answers.correct.shape[1], clusters=answers.layout.cluster_count,
        replicates=len(answers.replicates), method=interval.method, speaks_of=interval.speaks_of, nested=answers.layout.nested,
        told=f"{_points(interval)} against {_said(other)}",
    )  # fmt: skip
    judged = seen if not planned.no_worse else _no_worse(ground, seen, interval)
    return replace(judged, settled_by=_settling(ground, judged)) if judged.word == OPEN else judged


def _settling(ground: _ClaimData, open_: Compared) -> Settling | None:
    """What would settle a comparison that is not distinguishable; None with one replicate, or where what was seen lies beyond the margin."""
    pair = results.paired(ground.store, ground.study, open_.first, open_.second, ground.planned)
    noise = measured([pair.values], pair.clusters, pair.nested) if pair else None
    effect = (open_.difference or 0.0) + (open_.margin or 0.0)
    if noise is None or effect == 0 or (open_.no_worse and effect < 0):
        return None
    return settling(effect, open_.replicates, open_.clusters, noise[1], open_.nested)


def _no_worse(ground: _ClaimData, seen: Compared, interval: Interval) -> Compared:
    """The same comparison as non-inferiority; nothing can be kept where intact post-CoT gains nothing."""
    margin = ground.margin
    if margin is None:
        told = "Intact post-CoT is not shown to be better than label only on dev, so there is no gain to keep."
        return replace(seen, status=seen.status if seen.status != DONE else NOT_ASKED, told=told, p=None, word=CANNOT)
    full = ground.difference("post_cot", "label_only")
    if full is None or word(full[0]) != BETTER:
        told = "Intact post-CoT is not shown to be better than label only, so there is no gain to keep."
        return replace(seen, status=seen.status if seen.status != DONE else NOT_ASKED, told=told, p=None, word=CANNOT)
    kept = gain_kept(ground.runs, seen.first)
    share = "the share of the gain kept cannot be told"
    if kept is not None:
        share = "keeping {:.0f} % of the gain ({:.0f} to {:.0f})".format(*(100 * value for value in kept))
    said = seen.word if seen.status != DONE else word(interval, margin)
    told = f"{seen.told} (margin {100 * margin:.1f}), {share}"
    return replace(seen, p=noninferiority_p(interval, margin), margin=margin, kept=kept, word=said, told=told)


def gain_kept(runs: pd.DataFrame, first: str) -> tuple[float, float, float] | None:
    """The share of intact post-CoT's gain over label only that is kept, with its interval over the replicates."""
    used = [first, "label_only", "post_cot"]
    wide = (
        runs[runs["condition"].isin(used)]
        .pivot_table(index="replicate", columns="condition", values="accuracy")
        .dropna()
    )
    if not set(used) <= set(wide.columns) or wide.empty:
        return None
    own, none, full = (wide[name].to_numpy(dtype=float) for name in used)
    return share_kept(own - none, full - none)


def _at_tokens(
    planned: PlannedComparison, names: Mapping[str, str | None], runs: pd.DataFrame
) -> tuple[PlannedComparison, str | None, str | None]:
    """A comparison at intact post-CoT's training tokens: conditions as they stand where they see as many, else their own arms for it; None for
    one that the study does not have."""
    tokens = runs["tokens"].astype(float).groupby(runs["condition"]).mean()
    whole = float(tokens.get("post_cot", float("nan")))

    def arm(name: str) -> tuple[str, str | None]:
        own = names[name]
        if own is not None and abs(float(tokens.get(own, float("nan"))) / whole - 1) <= SAME_TOKENS:
            return name, own
        wanted = f"{own or name}@tokens=post_cot"
        return wanted, wanted if wanted in tokens.index else None

    (first, one), (second, other) = arm(planned.first), arm(planned.second)
    return PlannedComparison(first, second, planned.no_worse), one, other


def _budget(compared: tuple[Compared, ...], at_tokens: tuple[Compared, ...]) -> str:
    """What becomes of the differences at equal training tokens."""
    told: list[str] = []
    if any(c.status == NOT_RUN for c in compared):
        return ""
    for steps, tokens in zip(compared, at_tokens, strict=True):
        if (
            steps.status == tokens.status == DONE
            and not steps.no_worse
            and steps.word == BETTER
            and tokens.word != BETTER
        ):
            told.append(
                f"The difference to {_said(steps.second)} is a gain of steps: at equal training tokens it is {_between(tokens)}."
            )
    if lacking := list(dict.fromkeys(c.told for c in at_tokens if c.status == NOT_RUN)):
        told.append(f"Not asked at equal training tokens. {' '.join(lacking)}")
    if not told and all(c.status == DONE for c in at_tokens):
        told.append("It says the same at equal training tokens.")
    return " ".join(told)


def _change(verdict: Verdict) -> str:
    """What would change the verdict: the comparison that it hangs on, and where its interval would have to lie."""
    if verdict.word in (CANNOT, PROVISIONAL):
        missing = list(dict.fromkeys(c.told for c in verdict.comparisons if c.status in (NOT_RUN, WAITING)))
        return f"It can be judged once the planned runs are there. {' '.join(missing)}".strip() if missing else ""
    weakest = max(verdict.comparisons, key=lambda c: c.p if c.p is not None else 1.0)
    edge = f"above −{100 * weakest.margin:.1f}" if weakest.no_worse and weakest.margin else "above 0"
    if verdict.word == HOLDS:
        return f"It hangs on the comparison with {_said(weakest.second)}: its interval lies {edge}, now {_between(weakest)}."
    return f"The comparison with {_said(weakest.second)} would have to lie wholly {edge}; it is {_between(weakest)}.{_settled(weakest)}"


def _settled(c: Compared) -> str:
    """What would settle an open comparison, as a sentence that begins with a space."""
    if c.settled_by is None:
        return ""
    worlds, questions = "worlds" if c.nested else "replicates", " of each" if c.nested else " with these replicates"
    ways = []
    if c.settled_by.replicates is not None:
        ways.append(f"about {c.settled_by.replicates} {worlds}{'' if c.nested else ' on these questions'}")
    if c.settled_by.times_items is not None:
        ways.append(f"about {c.settled_by.times_items * c.items:,.0f} questions{questions}")
    if not ways:
        return (
            f" Neither more {worlds} nor more questions alone would settle it, if the true difference is the one seen."
        )
    return f" If the true difference is the one seen, {' or '.join(ways)} would show it in four of five studies."


def _between(c: Compared) -> str:
    if c.difference is None:
        return "not known"
    if c.low is None or c.high is None:
        return f"{100 * c.difference:+.1f} points".replace("-", "−")
    return f"{100 * c.difference:+.1f} points ({100 * c.low:+.1f} to {100 * c.high:+.1f})".replace("-", "−")


def margin_of(runs: pd.DataFrame) -> float | None:
    """Fixed from dev, never from the scores it judges: from the gain of intact post-CoT over label only on dev."""
    wide = runs[runs["condition"].isin(["post_cot", "label_only"])].pivot_table(
        index="replicate", columns="condition", values="dev_accuracy"
    )
    if wide.shape[1] < 2 or len(wide.dropna()) < 2:
        return None
    gains = (wide["post_cot"] - wide["label_only"]).dropna().to_numpy(dtype=float)
    return noninferiority_margin(over_replicates(gains).low)


def _named(pattern: str, conditions: list[str]) -> str | None:
    if pattern.endswith("*"):
        return next((c for c in conditions if c.startswith(pattern[:-1]) and not set("@+") & set(c)), None)
    return pattern if pattern in conditions else None


def _said(name: str) -> str:
    """A condition's name in a sentence; a pattern or one that the study lacks is told by its transform."""
    if name == SHUFFLED:
        return "token-shuffled post-CoT"
    if "*" in name or name == "post_cot/random_tokens":
        whole = ", at the tokens of post-CoT" if "@" in name else ""
        return name.removeprefix("post_cot/").partition("*")[0].replace("_", " ") + whole
    return parse(name).label


def _points(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return f"{100 * interval.mean:+.1f}".replace("-", "−")
    return f"{100 * interval.mean:+.1f} ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})".replace("-", "−")

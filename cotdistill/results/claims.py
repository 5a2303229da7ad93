"""The paper's three claims as planned comparisons. A claim is a conjunction: every one of its comparisons must hold,
and its p is the largest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cotdistill.rationales.conditions import parse
from cotdistill.results import results
from cotdistill.results.replicates import ConditionAnswers
from cotdistill.statistics.intervals import Interval, Values, over_replicates
from cotdistill.statistics.power import Settling, measured, settling
from cotdistill.statistics.shares import share_kept
from cotdistill.statistics.verdicts import (
    BETTER,
    BETTER_HERE,
    CANNOT,
    FEWEST_REPLICATES,
    OPEN,
    PROVISIONAL,
    holm,
    inferiority_p,
    noninferiority_margin,
    noninferiority_p,
    superiority_p,
    verdict_word,
    word,
)
from cotdistill.store.planned_runs import PlannedRuns, planned_runs
from cotdistill.store.store import Store
from cotdistill.text import capital

if TYPE_CHECKING:
    import pandas as pd

KEY, MATCHED = "post_cot/key_tokens*", "post_cot/matched_random_k*"
KEPT_SPEAKS_OF = {False: "new seeds on these questions", True: "new worlds and new seeds"}
SHUFFLED = "post_cot/shuffle(unit=token,fraction=1.0)"
# Two conditions whose mean training tokens differ by less are at equal tokens as they stand.
SAME_TOKENS = 0.05
DONE, WAITING, NOT_RUN, NOT_ASKED = "done", "provisional", "not_run", "cannot"
HOLDS, FAILS, NOT_SHOWN = "holds", "fails", "not shown"


@dataclass(frozen=True)
class PlannedComparison:
    """One comparison of a claim: `first` better than `second`, or no worse. A name that ends in * stands for the
    key-token condition that the study names primary, or for the control matched to it.
    """

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

    status: done; provisional (planned runs have not finished); not_run (the study has no such condition); cannot (there
    is nothing to judge by). message: the numbers in a line, or what is missing. margin: of non-inferiority, a share.
    kept: share of intact post-CoT's gain that is kept, with its interval. settled_by: where it is not distinguishable,
    what would show the difference that was seen, were it the true one.
    """

    first: str
    second: str
    no_worse: bool
    status: str
    message: str
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
    # p of the comparison being refuted: the other way round, or worse by more than the margin.
    refuted_p: float = 1.0


@dataclass(frozen=True)
class Verdict:
    """What a study says of a claim. word: holds, fails, not shown, provisional, or cannot be asked here; message: the
    numbers, or what is missing.

    p: the claim's largest p, adjusted after Holm over the claims that were planned; None if it could not be asked.
    comparisons: at equal steps, which the verdict rests on; at_tokens: the same at equal training tokens, exploratory.
    budget: what equal tokens do to it, in words. change: what would change the verdict.
    """

    claim: str
    word: str
    message: str
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
            PlannedComparison(KEY, "label_only"),
            PlannedComparison(KEY, MATCHED),
            PlannedComparison(KEY, "post_cot", no_worse=True),
        ),
    ),
)


def judge(store: Store, study: int | str, margin: float | None = None) -> list[Verdict]:
    """A verdict for each claim, at equal steps, on the study's own source. Missing arms and missing runs are named,
    never an error.

    margin: of non-inferiority, a share that was chosen beforehand; None takes the one that dev gives.
    """
    ground = _ground(store, study, margin)
    judged = [_asked(ground, claim) for claim in CLAIMS]
    # Holm runs over the claims that the study has all the conditions of, also where one of them cannot be asked in the
    # end.
    planned = [verdict for verdict in judged if all(c.status != NOT_RUN for c in verdict.comparisons)]
    adjusted = holm([1.0 if verdict.p is None else verdict.p for verdict in planned])
    ps = {verdict.claim: p for verdict, p in zip(planned, adjusted, strict=True) if verdict.p is not None}
    verdicts = []
    for verdict in judged:
        said = verdict.word
        if verdict.claim in ps:
            said = said if said == FAILS else HOLDS if ps[verdict.claim] < 0.05 else NOT_SHOWN
            verdict = replace(verdict, p=ps[verdict.claim])
        if said in (HOLDS, FAILS, NOT_SHOWN):
            replicates = min(c.replicates for c in verdict.comparisons if c.replicates)
            said = verdict_word(said, replicates)
        verdict = replace(verdict, word=said)
        verdicts.append(replace(verdict, change=_change(verdict, len(planned))))
    return verdicts


@dataclass(frozen=True, eq=False)
class _ClaimData:
    """What a study's claims are judged on, read once. margin: of non-inferiority, a share; None where there is none to
    be had. primary: the key-token condition of claim 3; None where there is none, or several and none was named.
    """

    store: Store
    study: int | str
    planned: PlannedRuns
    runs: pd.DataFrame
    margin: float | None
    primary: str | None

    def difference(self, first: str, second: str) -> tuple[Interval, ConditionAnswers] | None:
        return results.difference(self.store, self.study, first, second, self.planned)


def _ground(store: Store, study: int | str, margin: float | None) -> _ClaimData:
    runs = results.runs(store, study)
    spec = getattr(store.queue.study(study), "spec", {})
    primary = primary_of(list(dict.fromkeys(runs["condition"])), str(spec.get("primary") or ""))
    margin = margin if margin is not None else margin_of(runs)
    return _ClaimData(store, study, planned_runs(store, study), runs, margin, primary)


def _asked(ground: _ClaimData, claim: Claim) -> Verdict:
    """The claim with its own p, before Holm."""
    runs = ground.runs
    conditions = list(dict.fromkeys(runs["condition"]))
    names = _names(claim, conditions, ground.primary)
    compared = tuple(_compared(ground, c, names[c.first], names[c.second]) for c in claim.comparisons)
    equal = [_at_tokens(c, names, runs) for c in claim.comparisons]
    at_tokens = tuple(_compared(ground, c, first, second) for c, first, second in equal)
    verdict = Verdict(claim.name, CANNOT, "", None, compared, at_tokens, _budget(compared, at_tokens))
    claim_runs = runs[runs["condition"].isin([c for c in names.values() if c])]
    left = int((claim_runs["state"] != "finished").sum())
    lacking = sorted({name for name, condition in names.items() if condition is None})
    if left and not lacking:
        message = f"{left} of {len(claim_runs)} planned runs of this claim have not finished: no verdict yet."
        return replace(verdict, word=PROVISIONAL, message=message)
    # Over the parts of a conjunction that was refuted the p is adjusted after Bonferroni.
    refuted = [c for c in compared if c.status == DONE and c.refuted_p * len(compared) < 0.05]
    if refuted and not left:
        done = [c for c in compared if c.status == DONE]
        rest = [c.message for c in compared if c.status != DONE]
        return replace(verdict, word=FAILS, message=_numbers(claim, done, rest), p=max(_p(c) for c in done))
    if lacking:
        several = _key_tokens(conditions) if any("*" in name for name in lacking) else []
        if len(several) > 1 and ground.primary is None:
            imported = bool(ground.store.queue.study(ground.study).spec.get("answers"))
            before, how = ("import", "--primary CONDITION") if imported else ("launch", "--set primary=CONDITION")
            message = (
                f"{len(several)} key-token conditions, and none was named primary before {before}: the best of a sweep"
                f" is no finding. Name one: {how}."
            )
            return replace(verdict, message=message)
        wanted = dict.fromkeys(
            _said(_matched(names) if name == MATCHED and _matched(names) else name) for name in lacking
        )
        return replace(verdict, message=f"This study has no {', '.join(wanted)}.")
    if barred := next((c for c in compared if c.status != DONE), None):
        return replace(verdict, message=barred.message)
    return replace(verdict, word=NOT_SHOWN, message=_numbers(claim, compared, ()), p=max(_p(c) for c in compared))


def _p(c: Compared) -> float:
    return c.p if c.p is not None else 1.0


def _numbers(claim: Claim, done: Sequence[Compared], rest: Sequence[str]) -> str:
    """The numbers of the comparisons that could be made, why others could not, and how many answers they rest on."""
    first, last = _said(claim.comparisons[0].first), done[-1]
    questions = f"{last.items:,} questions in {last.clusters:,} clusters"
    size = (
        f"{questions} of each of {last.replicates} worlds" if last.nested else f"{questions}, {_times(last.replicates)}"
    )
    few = "" if last.replicates >= FEWEST_REPLICATES else " Fewer than five replicates: a demonstration."
    if last.replicates == 1:
        few = " One replicate says nothing of other seeds: add replicates for a verdict."
    numbers = "; ".join(c.message for c in done)
    return " ".join([f"{capital(first)}, in points: {numbers}. {size}.{few}", *rest])


def _times(replicates: int) -> str:
    return f"{replicates} replicate{'s' if replicates > 1 else ''}"


def _compared(ground: _ClaimData, planned: PlannedComparison, first: str | None, second: str | None) -> Compared:
    """One comparison of two conditions of the study; None stands for a condition that it does not have."""
    first_name, second_name = first or planned.first, second or planned.second
    open_ = Compared(first_name, second_name, planned.no_worse, NOT_RUN, "")
    if first is None or second is None:
        lacking = " or ".join(
            _said(name) for name, there in ((first_name, first), (second_name, second)) if there is None
        )
        return replace(open_, message=f"This study has no {lacking}.")
    pair_runs = ground.runs[ground.runs["condition"].isin([first, second])]
    left = int((pair_runs["state"] != "finished").sum())
    pair = ground.difference(first, second)
    if pair is None:
        if left:
            return replace(open_, status=WAITING, message=f"{left} of {len(pair_runs)} planned runs have not finished.")
        message = f"{_said(first_name)} and {_said(second_name)} did not answer the same questions."
        return replace(open_, status=NOT_ASKED, message=message)
    interval, answers = pair
    if interval.low is None and not left:
        message = (
            f"{_points(interval)} against {_said(second_name)}, without an interval: the replicates have no spread, or"
            " there is one question."
        )
        return replace(open_, status=NOT_ASKED, message=message, difference=interval.mean, word=CANNOT)
    seen = replace(
        open_,
        status=WAITING if left else DONE,
        difference=interval.mean,
        low=interval.low,
        high=interval.high,
        p=superiority_p(interval),
        word=PROVISIONAL if left else word(interval),
        items=answers.correct.shape[1],
        clusters=answers.layout.cluster_count,
        replicates=len(answers.replicates),
        method=interval.method,
        speaks_of=interval.speaks_of,
        nested=answers.layout.nested,
        message=f"{_points(interval)} against {_said(second_name)}",
        refuted_p=inferiority_p(interval),
    )
    judged = seen if not planned.no_worse else _no_worse(ground, seen, interval)
    return replace(judged, settled_by=_settling(ground, judged)) if judged.word == OPEN else judged


def _settling(ground: _ClaimData, open_: Compared) -> Settling | None:
    """What would settle a comparison that is not distinguishable; None with one replicate, or where what was seen
    speaks against the claim.
    """
    pair = results.paired(ground.store, ground.study, open_.first, open_.second, ground.planned)
    noise = measured([pair.values], pair.clusters, pair.nested) if pair else None
    effect = (open_.difference or 0.0) + (open_.margin or 0.0)
    # A difference on the wrong side would not be settled in favour of the claim by more data, were it the true one.
    if noise is None or effect <= 0:
        return None
    return settling(effect, open_.replicates, open_.clusters, noise[1], open_.nested)


def _no_worse(ground: _ClaimData, seen: Compared, interval: Interval) -> Compared:
    """The same comparison as non-inferiority: what is better is no worse at any margin; otherwise there must be a gain
    to keep.
    """
    margin, seen = ground.margin, replace(seen, refuted_p=1.0)
    kept = gain_kept(ground.runs, seen.first)
    share = "the share of the gain kept cannot be given"
    if kept is not None:
        ends = f"{100 * kept[1]:.0f} to {100 * kept[2]:.0f}, for {KEPT_SPEAKS_OF[seen.nested]}"
        share = f"keeping {100 * kept[0]:.0f} % of the gain ({ends})"
    if seen.word in (BETTER, BETTER_HERE):
        # With a margin its own p, which is never larger: else a larger difference could show less than a smaller one.
        p = seen.p if margin is None or seen.p is None else min(seen.p, noninferiority_p(interval, margin))
        message = f"{seen.message} (better, so no worse by any margin), {share}"
        return replace(seen, p=p, margin=margin, kept=kept, message=message)
    full = ground.difference("post_cot", "label_only")
    reason = ""
    if full is None or word(full[0]) not in (BETTER, BETTER_HERE):
        reason = (
            "Intact post-CoT is not shown to be better than label only on test, so there is no gain to keep: more"
            " replicates could show one."
        )
    elif margin is None:
        reason = _no_margin(ground.runs)
    if reason or margin is None:
        word_ = seen.word if seen.status != DONE else CANNOT
        return replace(
            seen, status=seen.status if seen.status != DONE else NOT_ASKED, message=reason, p=None, word=word_
        )
    said = seen.word if seen.status != DONE else word(interval, margin)
    message = f"{seen.message} (margin {100 * margin:.1f}), {share}"
    p, refuted = noninferiority_p(interval, margin), inferiority_p(interval, margin)
    return replace(seen, p=p, refuted_p=refuted, margin=margin, kept=kept, word=said, message=message)


def _no_margin(runs: pd.DataFrame) -> str:
    """Why dev gives no margin, and what to do."""
    chosen = "or choose a margin beforehand: --margin POINTS."
    gains = _dev_gains(runs)
    if not len(gains):
        return (
            "No accuracy on dev is recorded for post-CoT and label only, so there is no margin: give the task a dev"
            f" split, {chosen}"
        )
    if len(gains) < 2:
        return f"A margin from dev needs two replicates, and there is one: add replicates, {chosen}"
    if gains.mean() > 0 and gains.std() < 1e-12:
        return (
            "The gain on dev is the same in every replicate, so it has no lower bound to take a margin from:"
            f" {chosen[3:]}"
        )
    return (
        "Intact post-CoT is not shown to be better than label only on dev, so there is no margin: add replicates,"
        f" {chosen}"
    )


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
    kept, none, full = (wide[name].to_numpy(dtype=float) for name in used)
    return share_kept(kept - none, full - none)


def _at_tokens(
    planned: PlannedComparison, names: Mapping[str, str | None], runs: pd.DataFrame
) -> tuple[PlannedComparison, str | None, str | None]:
    """A comparison at intact post-CoT's training tokens: conditions as they stand where they see as many, else their
    own arms for it; None for one that the study does not have.
    """
    tokens = runs["tokens"].astype(float).groupby(runs["condition"]).mean()
    whole = float(tokens.get("post_cot", float("nan")))

    def arm(name: str) -> tuple[str, str | None]:
        name_of = names[name]
        if name_of is not None and abs(float(tokens.get(name_of, float("nan"))) / whole - 1) <= SAME_TOKENS:
            return name, name_of
        wanted = f"{name_of or name}@tokens=post_cot"
        return wanted, wanted if wanted in tokens.index else None

    (first, first_arm), (second, second_arm) = arm(planned.first), arm(planned.second)
    return PlannedComparison(first, second, planned.no_worse), first_arm, second_arm


def _budget(compared: tuple[Compared, ...], at_tokens: tuple[Compared, ...]) -> str:
    """What becomes of the differences at equal training tokens."""
    sentences: list[str] = []
    if any(c.status == NOT_RUN for c in compared):
        return ""
    for steps, tokens in zip(compared, at_tokens, strict=True):
        if (
            steps.status == tokens.status == DONE
            and not steps.no_worse
            and steps.word == BETTER
            and tokens.word != BETTER
        ):
            sentences.append(
                f"The difference to {_said(steps.second)} is a gain of steps: at equal training tokens it is"
                f" {_between(tokens)}."
            )
    if lacking := list(dict.fromkeys(c.message for c in at_tokens if c.status == NOT_RUN)):
        sentences.append(f"Not asked at equal training tokens. {' '.join(lacking)}")
    if not sentences and all(c.status == DONE for c in at_tokens):
        sentences.append("It says the same at equal training tokens.")
    return " ".join(sentences)


def _change(verdict: Verdict, planned: int) -> str:
    """What would change the verdict: the comparison that it hangs on, and where its interval would have to lie.
    planned: claims that were planned together.
    """
    if verdict.p is None:
        # What is missing stands in the message.
        waits = any(c.status == WAITING for c in verdict.comparisons)
        return "It can be judged once the planned runs have finished." if waits else ""
    weakest = max((c for c in verdict.comparisons if c.status == DONE), key=_p)
    edge = f"above −{100 * weakest.margin:.1f}" if weakest.no_worse and weakest.margin else "above 0"
    if verdict.word.startswith(HOLDS):
        return (
            f"It hangs on the comparison with {_said(weakest.second)}: its interval lies {edge}, now"
            f" {_between(weakest)}."
        )
    if _p(weakest) < 0.05:
        # Three digits, since two may round to the threshold itself.
        unadjusted, adjusted = (f"{p:.3f}".removeprefix("0") for p in (_p(weakest), verdict.p))
        return (
            f"Each comparison passes by itself, the weakest with p {unadjusted} (against {_said(weakest.second)});"
            f" adjusted for {planned} claims planned together (Holm), p is {adjusted}."
        )
    return (
        f"The comparison with {_said(weakest.second)} would have to lie wholly {edge}; it is"
        f" {_between(weakest)}.{_settled(weakest)}"
    )


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
    gains = _dev_gains(runs)
    return noninferiority_margin(over_replicates(gains).low) if len(gains) > 1 else None


def _dev_gains(runs: pd.DataFrame) -> Values:
    """The gain of intact post-CoT over label only on dev, by replicate; empty where either has no accuracy on dev."""
    both = runs[runs["condition"].isin(["post_cot", "label_only"]) & runs["dev_accuracy"].notna()]
    wide = both.pivot_table(index="replicate", columns="condition", values="dev_accuracy") if len(both) else both
    if not {"post_cot", "label_only"} <= set(wide.columns):
        return np.zeros(0)
    return (wide["post_cot"] - wide["label_only"]).dropna().to_numpy(dtype=float)


def _key_tokens(conditions: Sequence[str]) -> list[str]:
    """The conditions that keep key tokens and do nothing else."""
    return [c for c in conditions if c.startswith(KEY[:-1]) and not set("@+") & set(c) and len(parse(c).steps) == 1]


def matched_control(condition: str) -> str:
    """The random control of a key-token condition: as many words of the same rationale, matched to that very
    selection.
    """
    (step,) = parse(condition).steps
    values = dict(step.parameters)
    shared = ",".join(f"{name}={values[name]}" for name in ("selector", "k", "unit", "rest") if name in values)
    return str(parse(f"post_cot/matched_random_k({shared})"))


def primary_of(conditions: Sequence[str], primary: str = "") -> str | None:
    """The key-token condition that claim 3 is judged by: the one named primary, else the only one with its own matched
    control, else the only one. None where there are several: the first or the best of a sweep is no planned
    comparison.
    """
    candidates = _key_tokens(conditions)
    if primary:
        return primary if primary in candidates else None
    controlled = [c for c in candidates if matched_control(c) in conditions]
    choice = controlled or candidates
    return choice[0] if len(choice) == 1 else None


def _names(claim: Claim, conditions: Sequence[str], primary: str | None) -> dict[str, str | None]:
    """The study's condition for each name in a claim, None where it has none."""
    control = matched_control(primary) if primary else None
    special = {KEY: primary, MATCHED: control if control in conditions else None}
    names = dict.fromkeys(name for c in claim.comparisons for name in (c.first, c.second))
    return {name: special.get(name, name if name in conditions else None) for name in names}


def _matched(names: Mapping[str, str | None]) -> str:
    """The control that a study's key-token condition would need; "" without one."""
    primary = names.get(KEY)
    return matched_control(primary) if primary else ""


def _said(name: str) -> str:
    """A condition's name in a sentence; a pattern or one that the study lacks is named after its transform."""
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

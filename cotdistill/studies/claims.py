"""The paper's three claims as planned comparisons. A claim is a conjunction: every one of its comparisons must hold, and its p is the largest."""

from __future__ import annotations

from dataclasses import dataclass

from cotdistill.statistics.intervals import Interval, over_replicates
from cotdistill.statistics.shares import share_kept
from cotdistill.statistics.verdicts import BETTER, CANNOT, PROVISIONAL, WORSE, holm, noninferiority_margin, noninferiority_p, superiority_p, word
from cotdistill.studies import results
from cotdistill.studies.store import Store

SHUFFLED = "post_cot/shuffle(unit=token,fraction=1.0)"


@dataclass(frozen=True)
class Planned:
    """One comparison of a claim: `first` better than `second`, or no worse. A name that ends in * stands for any condition that begins so."""

    first: str
    second: str
    no_worse: bool = False


@dataclass(frozen=True)
class Claim:
    name: str
    title: str
    help: str
    comparisons: tuple[Planned, ...]


@dataclass(frozen=True)
class Verdict:
    """What a study says of a claim. word: holds, fails, not shown, provisional, or cannot be asked here; told: the numbers, or what is missing.

    p: the claim's largest p, adjusted after Holm over the claims that could be asked; None if it could not.
    """

    claim: str
    word: str
    told: str
    p: float | None = None


CLAIMS = (
    Claim(
        "1",
        "A rationale after the label beats one before it, and none",
        "Needs post-CoT, label only and pre-CoT.",
        (Planned("post_cot", "label_only"), Planned("post_cot", "pre_cot")),
    ),
    Claim(
        "2",
        "A rationale after the label need not be coherent",
        "Needs post-CoT with shuffled tokens, with random tokens and intact, and label only.",
        (Planned(SHUFFLED, "label_only"), Planned(SHUFFLED, "post_cot/random_tokens"), Planned(SHUFFLED, "post_cot", no_worse=True)),
    ),
    Claim(
        "3",
        "A few key tokens give as much as the whole rationale",
        "Needs key-token conditions with their matched controls, which this version does not train yet.",
        (
            Planned("post_cot/key_tokens*", "label_only"),
            Planned("post_cot/key_tokens*", "post_cot/matched_random_k*"),
            Planned("post_cot/key_tokens*", "post_cot", no_worse=True),
        ),
    ),
)


def judge(store: Store, study: int | str) -> list[Verdict]:
    """A verdict for each claim, at equal steps, on the study's own source. Missing arms and missing runs are named, never an error."""
    planned = results.runs(store, study)
    asked: dict[str, tuple[str, str, float]] = {}
    closed: dict[str, Verdict] = {}
    for claim in CLAIMS:
        names = {name for c in claim.comparisons for name in (c.first, c.second)}
        found = {name: _named(name, list(planned["condition"])) for name in names}
        if lacking := sorted(name for name, condition in found.items() if condition is None):
            closed[claim.name] = Verdict(claim.name, CANNOT, f"This study has no {', '.join(_said(name) for name in lacking)}.")
            continue
        mine = planned[planned["condition"].isin([c for c in found.values() if c])]
        left = int((mine["state"] != "finished").sum())
        if left:
            closed[claim.name] = Verdict(
                claim.name, PROVISIONAL, f"{left} of {len(mine)} planned runs of this claim have not finished: no verdict yet."
            )
            continue
        verdict = _judged(store, study, claim, {name: str(condition) for name, condition in found.items()})
        if isinstance(verdict, Verdict):
            closed[claim.name] = verdict
        else:
            asked[claim.name] = verdict
    adjusted = dict(zip(asked, holm([p for _, _, p in asked.values()]), strict=True))
    verdicts = []
    for claim in CLAIMS:
        if claim.name in closed:
            verdicts.append(closed[claim.name])
            continue
        state, told, _ = asked[claim.name]
        p = adjusted[claim.name]
        said = state if state == "fails" else "holds" if p < 0.05 else "not shown"
        verdicts.append(Verdict(claim.name, said, told, p))
    return verdicts


def _judged(store: Store, study: int | str, claim: Claim, names: dict[str, str]) -> Verdict | tuple[str, str, float]:
    told, ps, fails = [], [], False
    for planned in claim.comparisons:
        found = results.difference(store, study, names[planned.first], names[planned.second])
        if found is None:
            return Verdict(claim.name, CANNOT, f"{_said(planned.first)} and {_said(planned.second)} did not answer the same questions.")
        interval, answers = found
        if planned.no_worse:
            margin = _margin(store, study)
            if margin is None:
                return Verdict(claim.name, CANNOT, "Intact post-CoT is not shown to be better than label only on dev, so there is no gain to keep.")
            full = results.difference(store, study, names[planned.second], names[claim.comparisons[0].second])
            if full is None or word(full[0]) != BETTER:
                return Verdict(claim.name, CANNOT, "Intact post-CoT is not shown to be better than label only, so there is no gain to keep.")
            ps.append(noninferiority_p(interval, margin))
            fails |= interval.high is not None and interval.high < -margin
            told.append(f"{_points(interval)} against {_said(planned.second)} (margin {100 * margin:.1f}), {_kept(store, study, names, claim)}")
        else:
            ps.append(superiority_p(interval))
            fails |= word(interval) == WORSE
            told.append(f"{_points(interval)} against {_said(planned.second)}")
    first = _said(claim.comparisons[0].first)
    questions, times = f"{answers.correct.shape[1]:,} questions in {len(set(answers.clusters)):,} clusters", len(answers.replicates)
    size = f"{questions} of each of {times} worlds" if answers.nested else f"{questions}, {times} replicate{'s' if times > 1 else ''}"
    demonstration = " Fewer than five replicates: a demonstration." if len(answers.replicates) < 5 else ""
    return (
        "fails" if fails else "open",
        f"{first[0].upper()}{first[1:]}, in points: {'; '.join(told)}. {size}.{demonstration}",
        max(ps),
    )


def _kept(store: Store, study: int | str, names: dict[str, str], claim: Claim) -> str:
    """The share of intact post-CoT's gain over label only that is kept, with its interval over the replicates."""
    runs = results.runs(store, study)
    used = [names[name] for name in (claim.comparisons[0].first, "label_only", "post_cot")]
    wide = runs[runs["condition"].isin(used)].pivot_table(index="replicate", columns="condition", values="accuracy").dropna()
    first, none, full = (wide[name].to_numpy(dtype=float) for name in used)
    share = share_kept(first - none, full - none)
    if share is None:
        return "the share of the gain kept cannot be told"
    return "keeping {:.0f} % of the gain ({:.0f} to {:.0f})".format(*(100 * value for value in share))


def _margin(store: Store, study: int | str) -> float | None:
    """Fixed from dev, never from the scores it judges: from the gain of intact post-CoT over label only on dev."""
    runs = results.runs(store, study)
    wide = runs[runs["condition"].isin(["post_cot", "label_only"])].pivot_table(index="replicate", columns="condition", values="dev_accuracy")
    if wide.shape[1] < 2 or len(wide.dropna()) < 2:
        return None
    gains = (wide["post_cot"] - wide["label_only"]).dropna().to_numpy(dtype=float)
    return noninferiority_margin(over_replicates(gains).low)


def _named(pattern: str, conditions: list[str]) -> str | None:
    if pattern.endswith("*"):
        return next((c for c in conditions if c.startswith(pattern[:-1]) and "@" not in c), None)
    return pattern if pattern in conditions else None


def _said(name: str) -> str:
    known = {"label_only": "label only", "pre_cot": "pre-CoT", "post_cot": "post-CoT", SHUFFLED: "token-shuffled post-CoT"}
    return known.get(name, name.removeprefix("post_cot/").rstrip("*").replace("_", " "))


def _points(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return f"{100 * interval.mean:+.1f}".replace("-", "−")
    return f"{100 * interval.mean:+.1f} ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})".replace("-", "−")

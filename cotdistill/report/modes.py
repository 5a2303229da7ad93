"""Modes and tests of the rationale in words: names, titles and captions, for page and terminal. No Streamlit, no
Plotly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cotdistill.rationales.conditions import parse
from cotdistill.results.modes import ModeCell, PerturbationCurve, Read
from cotdistill.text import between_points, capital, listed, percent, plural, points

MODE_NAMES = {"direct": "no rationale", "own": "its own rationale", "given": "the teacher's rationale"}
RATIONALE_NAMES = {"given": "the teacher's rationale", "own": "its own rationale"}
TEST_NAMES = {
    "truncate": "cut from the end",
    "shuffle": "tokens shuffled",
    "replace": "random tokens instead",
    "mistake": "one mistake",
    "mistakes": "mistake throughout",
    "wrong_type": "wrong group",
    "swap_same": "swapped, same answer",
    "swap_other": "swapped, other answer",
    "strip_labels": "choices removed",
    "paraphrase": "in other words",
}
# The same as the end of "A loses 3 points when ...".
WHEN = {
    "truncate": "{r} is cut from its end",
    "shuffle": "the tokens of {r} are shuffled",
    "replace": "tokens of {r} give way to random ones",
    "mistake": "the first choice that {r} names is made a wrong one",
    "mistakes": "{r} names a wrong choice throughout",
    "wrong_type": "{r} names a wrong group",
    "swap_same": "{r} is another question's, with the same answer",
    "swap_other": "{r} is that of a question with another answer",
    "strip_labels": "{r} names no choice",
    "paraphrase": "{r} is said in other words",
}
DIAGNOSTIC = "A diagnostic: never part of a claim."


def untrained_told(condition: str, rationale: str) -> str:
    """Why a student's reading of a rationale is marked."""
    return f"{parse(condition).label} was not trained to read {RATIONALE_NAMES[rationale]} before it answers"


def grid_title(cells: Sequence[ModeCell]) -> str:
    """The largest step that reading a rationale makes against answering directly."""
    steps = [(c.over_direct.mean, c) for c in cells if c.over_direct is not None]
    if not steps:
        return "No student has been asked in two modes yet"
    # What a student was trained for is what a reader asks first.
    gain, best = max(
        (s for s in steps if s[1].trained), key=lambda s: abs(s[0]), default=max(steps, key=lambda s: abs(s[0]))
    )
    accuracy = best.accuracy.mean if best.accuracy is not None else 0.0
    return (
        f"{capital(best.label)} answers {percent(accuracy)} after {MODE_NAMES[best.mode]}, {percent(accuracy - gain)}"
        " without one" + ("" if best.trained else " (not trained for it)")
    )


def curves_title(curves: Sequence[PerturbationCurve], measure: str) -> str:
    """Which condition loses most under which test, and whether as many random tokens cost as much."""
    shown = [c for c in curves if c.over_control is not None and c.applied] or list(curves)
    if not shown:
        return "Nothing has been asked yet"
    # A test that costs more than random tokens says more than one that costs much.
    beyond = [c for c in shown if c.over_control is not None and (c.over_control.low or 0.0) > 0]
    most = max(
        beyond or shown, key=lambda c: c.over_control.mean if beyond and c.over_control is not None else c.loss.mean
    )
    when = WHEN[most.test].format(r=RATIONALE_NAMES[most.rationale])
    who, lost = capital(most.label), abs(100 * most.loss.mean)
    if most.loss.low is not None and most.loss.low <= 0:
        return f"No test is seen to cost anything; most, {points(most.loss.mean)} points for {most.label}, when {when}"
    what = {"correct": " of accuracy", "p_gold": " of the right answer's probability", "changed": ""}[measure]
    said = f"changes {lost:.1f} % of its answers" if measure == "changed" else f"loses {lost:.1f} points{what}"
    over = ""
    if most.over_control is not None:
        side = "more" if most.over_control.mean > 0 else "fewer"
        over = f", {abs(100 * most.over_control.mean):.1f} {side} than with as many random tokens"
    return f"{who} {said}{' on average' if most.graded else ''} when {when}{over}"


def read_told(reads: Mapping[str, Read], rationale: str, artificial: bool) -> str:
    """Whose rationales were read, and how much of the answer they hold. reads: by condition, all of the same
    questions.
    """
    first = next(iter(reads.values()))
    if rationale == "given":
        whose = listed((f"{source} ({rows:,})" for source, rows in first.sources.items()), most=3)
        parts = [
            f"Teacher's rationales: {whose} questions, the same for every student; {percent(first.leakage['given'])}"
            " name the right answer's text."
        ]
    else:
        named = (f"{parse(condition).label} {percent(read.leakage['own'])}" for condition, read in reads.items())
        parts = [f"Each student wrote its own, greedily. They name the right answer's text: {listed(named, most=6)}."]
        endless = [
            f"{parse(condition).label} {percent(read.unterminated)}"
            for condition, read in reads.items()
            if read.unterminated > 0.005
        ]
        parts += [f"Not ended by the answer cue: {listed(endless, most=6)}."] if endless else []
    empty = max(read.empty[rationale] for read in reads.values())
    parts += [f"Up to {percent(empty)} of the rows have none and stay as they are."] if empty else []
    parts.append(
        "All test rows, also where the teacher believes a wrong group."
        if artificial
        else "All test rows, also where the teacher was wrong."
    )
    return " ".join(parts)


def n_told(curves: Sequence[PerturbationCurve]) -> str:
    """n, and what the intervals speak of."""
    first = curves[0]
    most = max(c.replicates for c in curves)
    return (
        f"{first.items:,} test questions in {plural(first.clusters, 'cluster')}, {plural(most, 'replicate')}. "
        f"95 % intervals; {first.points[0].value.speaks_of}."
    )


def loss_told(curve: PerturbationCurve) -> str:
    """A loss with its interval: "+12.3 (+10.1 to +14.5)"."""
    return f"{points(curve.loss.mean)} ({between_points(curve.loss.low, curve.loss.high)})"


def over_told(curve: PerturbationCurve) -> str:
    """The same against as many random tokens; a dash where the test is that control."""
    over = curve.over_control
    return "–" if over is None else f"{points(over.mean)} ({between_points(over.low, over.high)})"

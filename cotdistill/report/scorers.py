"""Scorers in words and rows, for page and terminal. No Streamlit, no Plotly."""

from __future__ import annotations

from collections.abc import Sequence

from cotdistill.results.scorers import MarginalCell, ScorerCell, ScorerRow
from cotdistill.statistics.intervals import Interval
from cotdistill.students.scoring.scorers import LABEL
from cotdistill.text import capital, percent, points

NAMES = {
    LABEL: "as judged",
    "text": "full text",
    "per_token": "by token",
    "per_byte": "by byte",
    "pmi": "PMI",
    "question": "question given choice",
    "marginal": "own rationales drawn",
}
HEAD = ("scorer", "accuracy", "answers as judged", "spread over restarts, points")


MARGINAL_HEAD = ("condition", "log p(right label), nats", "error of the draws", "rationales a question", "replicates")


def title(cells: Sequence[ScorerCell]) -> str:
    """The largest step that another scorer makes against the one that runs are judged by."""
    steps = [(cell.over_label.mean, cell) for cell in cells if cell.over_label is not None]
    if not steps:
        return "no student has been scored anew yet"
    gain, most = max(steps, key=lambda step: abs(step[0]))
    if gain == 0:
        return "every scorer gives the accuracy that the runs are judged by"
    seen = [
        (mean, cell)
        for mean, cell in steps
        if mean > 0 and cell.over_label is not None and (cell.over_label.low or 0.0) > 0
    ]
    if not seen:
        return (
            f"no other scorer is seen to do better; most is lost under {NAMES[most.scorer]}: {most.label},"
            f" {points(gain)} points"
        )
    more, best = max(seen, key=lambda step: step[0])
    return (
        f"{capital(best.label)} answers {percent(best.accuracy.mean)} under {NAMES[best.scorer]}, {points(more)} points"
        " on as judged"
    )


def rows(scored: Sequence[ScorerRow]) -> list[tuple[str, str, str, str]]:
    """One row a scorer, under HEAD."""
    return [(NAMES[one.scorer], percent(one.accuracy), percent(one.agreement), _spread(one)) for one in scored]


def marginal_rows(cells: Sequence[MarginalCell]) -> list[tuple[str, ...]]:
    """One row a condition whose students drew rationales, under MARGINAL_HEAD."""
    return [
        (
            one.label,
            _nats(one.log_likelihood),
            "–" if one.standard_error is None else f"{one.standard_error:.4f}",
            str(one.samples),
            str(one.replicates),
        )
        for one in cells
    ]


def _nats(interval: Interval) -> str:
    ends = (
        "no interval" if interval.low is None or interval.high is None else f"{interval.low:.3f} to {interval.high:.3f}"
    )
    return f"{interval.mean:.3f} ({ends})".replace("-", "−")


def _spread(row: ScorerRow) -> str:
    if row.spread is None or row.spread_low is None or row.spread_high is None:
        return "–"
    return f"{100 * row.spread:.1f} ({100 * row.spread_low:.1f} to {100 * row.spread_high:.1f})"

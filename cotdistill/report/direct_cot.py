"""Answers given directly and after the student's own rationale, side by side: words and rows for page and terminal. No
Streamlit.
"""

from __future__ import annotations

from collections.abc import Sequence

from cotdistill.results.direct_cot import Crossed
from cotdistill.text import between, between_points, listed, plural, points

HEAD = (
    "student",
    "right both ways",
    "only directly",
    "only after its own rationale",
    "wrong both ways",
    "its own against direct, points",
    "McNemar's p",
)


def rows(crossed: Sequence[Crossed]) -> list[list[str]]:
    """One row a condition, under HEAD."""
    return [
        [
            one.label + ("" if one.trained else " °"),
            *(f"{100 * cell.mean:.1f} ({between(cell.low, cell.high)})" for cell in one.cells),
            f"{points(one.gain.mean)} ({between_points(one.gain.low, one.gain.high)})",
            listed((_p(p) for p in one.p), most=10),
        ]
        for one in crossed
    ]


def _p(p: float) -> str:
    return "<.001" if p < 0.001 else f"{p:.3f}".lstrip("0") if p < 1 else "1"


def caption(crossed: Sequence[Crossed]) -> str:
    """n, and what the numbers may say."""
    first = crossed[0]
    most = max(len(one.counts) for one in crossed)
    untrained = " °: not trained for both ways." if any(not one.trained for one in crossed) else ""
    return (
        f"Every question answered directly and after the student's own rationale: {first.items:,} test questions in"
        f" {plural(first.clusters, 'cluster')}, {plural(most, 'replicate')}; 95 % intervals, {first.gain.speaks_of}."
        " McNemar's exact p is one a replicate, of the two columns that differ, and takes questions as independent;"
        f" the interval of the difference does not.{untrained}"
    )

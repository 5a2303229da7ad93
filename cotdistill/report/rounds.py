"""Students that learnt from students: words and rows for page and terminal, and the table on page Compare."""

from __future__ import annotations

from collections.abc import Sequence

from cotdistill.planning.rounds import Generation
from cotdistill.text import between, between_points, percent, plural, points

HEAD = (
    "learnt from",
    "rationales kept",
    "words",
    "tells of the label, nats",
    "accuracy",
    "against the teacher's, points",
)


def rows(generations: Sequence[Generation]) -> list[list[str]]:
    """One row a generation, under HEAD."""
    cells = []
    for one in generations:
        origin, over, summary = one.round, one.over_teacher, one.summary
        whose = ["the teacher", "", "", ""]
        if origin is not None:
            nats = f"{origin.gain:+.2f}".replace("-", "−")
            whose = [
                f"round {origin.number} ({origin.source})",
                f"{origin.kept:,} of {origin.written:,}",
                f"{origin.words:.1f}",
                nats,
            ]
        accuracy = "–" if summary.mean is None else f"{percent(summary.mean)} ({between(summary.low, summary.high)})"
        cells.append(
            [*whose, accuracy, "" if over is None else f"{points(over.mean)} ({between_points(over.low, over.high)})"]
        )
    return cells


def caption(generations: Sequence[Generation]) -> str:
    """n, and who wrote."""
    first = generations[0].summary
    return (
        f"{first.items:,} test questions, {plural(first.finished, 'replicate')}; {first.speaks_of}. One student writes"
        " for all: the first replicate of the round before. Filters and lineage of each source: rounds show, with"
        " --json."
    )

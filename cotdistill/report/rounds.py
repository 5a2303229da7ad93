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


def rows(found: Sequence[Generation]) -> list[list[str]]:
    """One row a generation, under HEAD."""
    told = []
    for one in found:
        made, over, summary = one.round, one.over_teacher, one.summary
        whose = ["the teacher", "", "", ""]
        if made is not None:
            nats = f"{made.gain:+.2f}".replace("-", "−")
            whose = [
                f"round {made.number} ({made.source})",
                f"{made.kept:,} of {made.written:,}",
                f"{made.words:.1f}",
                nats,
            ]
        accuracy = "–" if summary.mean is None else f"{percent(summary.mean)} ({between(summary.low, summary.high)})"
        told.append(
            [*whose, accuracy, "" if over is None else f"{points(over.mean)} ({between_points(over.low, over.high)})"]
        )
    return told


def caption(found: Sequence[Generation]) -> str:
    """n, and who wrote."""
    first = found[0].summary
    return (
        f"{first.items:,} test questions, {plural(first.finished, 'replicate')}; {first.speaks_of}. One student writes for all: the first replicate "
        "of the round before. Filters and lineage of each source: rounds show, with --json."
    )

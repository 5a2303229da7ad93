"""A second test as a table and its caption, for page, terminal and export. Takes the document of
`results.findings`: {"also_test": {...} or None}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cotdistill.rationales.conditions import parse
from cotdistill.report.tables import Table
from cotdistill.text import between, between_points, count, percent, plural, points


def title(also: Mapping[str, Any]) -> str:
    return f"Also tested on {also['task']}"


def also_table(also: Mapping[str, Any]) -> Table:
    """One row a condition, with its paired difference to the baseline. No words: nothing here is judged."""
    rows = []
    for row in also["conditions"]:
        low, high = (None if row[end] is None else row[end] / 100 for end in ("points_low", "points_high"))
        rows.append(
            (
                row["label"],
                f"{row['finished']} of {row['planned']}",
                percent(row["accuracy"]) if row["accuracy"] is not None else "–",
                between(row["low"], row["high"]) if row["accuracy"] is not None else "–",
                points(row["points"] / 100) if row["points"] is not None else "–",
                between_points(low, high) if row["points"] is not None else "–",
            )
        )
    against = f"against {parse(also['baseline']).label}"
    return Table(
        ("condition", "students", "accuracy", "95 % interval", against, "interval of it"),
        tuple(rows),
        caption(also),
        right=("accuracy", against),
    )


def caption(also: Mapping[str, Any]) -> str:
    """What the table rests on, in words."""
    parts = [f"The same students on {also['task']}, in the words of their own task: exploratory, never judged."]
    if also["questions"]:
        parts.append(
            f"{count(also['questions'])} questions in {plural(also['clusters'], 'cluster')}, chance "
            f"{percent(also['chance'])}; {also['speaks_of']}."
        )
    if also["trained_on"]:
        parts.append(f"{plural(also['trained_on'], 'question')} of it stand word for word in the training split.")
    if also["missing"]:
        parts.append(f"{plural(also['missing'], 'student')} not scored yet.")
    return " ".join(parts)

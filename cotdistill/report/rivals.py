"""Rival explanations as a table: what each one accounts for of post-CoT's gain. The same cells in the terminal and on
page Findings. No Streamlit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cotdistill.text import percent, points

HEAD = (
    "rival",
    "what it would mean",
    "accuracy",
    "gain on label only",
    "share of the gain",
    "less post-CoT",
    "p",
    "accounts for",
)


def _ends(ends: Sequence[float | None] | None) -> str:
    if ends is None or ends[0] is None:
        return "–"
    mean, low, high = ends
    return points(mean) + (f" ({points(low)} to {points(high)})" if low is not None and high is not None else "")


def _share(kept: Sequence[float] | None) -> str:
    if kept is None:
        return "–"
    share, low, high = (f"{one:.0%}".replace("-", "−").replace("%", " %") for one in kept)
    return f"{share} ({low.removesuffix(' %')} to {high})"


def cells(document: dict[str, Any]) -> list[list[str]]:
    """One row a rival, under HEAD."""
    return [
        [
            one["label"],
            one["why"],
            percent(one["accuracy"]),
            _ends(one["gain"]),
            _share(one["kept"]),
            _ends(one["short"]),
            "–" if one["p"] is None else f"{one['p']:.3f}".lstrip("0"),
            one["word"],
        ]
        for one in document["rivals"]
    ]


def gain_told(document: dict[str, Any]) -> str:
    """What there is to be explained, and by what."""
    if document["gain"] is None:
        return "Rivals need a study with label only and post-CoT that have results: study run neighbours"
    margin = f"; as much: no worse by {100 * document['margin']:.1f} points" if document["margin"] else ""
    state = {"provisional": " Planned runs are missing: no verdict yet.", "better": ""}.get(
        document["word"], " No gain is shown, so there is nothing to account for."
    )
    return (
        f"Post-CoT's gain on label only: {_ends(document['gain'])} points, {document['replicates']} x"
        f" {document['items']:,} questions{margin}.{state} p and words are adjusted after Holm over the rivals; the"
        " share of the gain has an interval for new seeds on these questions."
    )

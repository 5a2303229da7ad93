"""One colour and one mark for a condition, everywhere, on light and dark ground; from Okabe and Ito's colour-blind-safe
set.

The hue is the placement's. A transform changes the shade and the mark; controls are hollow; another teacher's
rationales get a dotted mark. All of it follows from the condition alone, so a condition looks the same in every study.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

from cotdistill.config import stable_seed
from cotdistill.rationales.conditions import Condition, parse

# Mid-tones near the Okabe-Ito set: at least 3:1 against both grounds, and apart for deuteranopes (its own green falls
# on our grey).
HUES = {
    "undistilled": "#8A8F94",
    "label_only": "#74797E",
    "pre_cot": "#D55E00",
    "post_cot": "#1B7FC2",
    "multitask": "#2FA84F",
}
OTHER_HUE = "#B565A7"

# Plotly marker names; the order is the order in which transforms were thought of, no ranking.
MARKS = {
    "shuffle": "diamond",
    "mask": "square",
    "drop": "triangle-down",
    "truncate": "triangle-left",
    "swap": "x",
    "random_tokens": "cross",
    "random_k": "star-triangle-up",
    "content_words": "pentagon",
    "function_words": "hexagon",
    "label_text_only": "star",
    "strip_labels": "bowtie",
    "key_tokens": "star-diamond",
    "drop_key_tokens": "star-square",
    "matched_random_k": "star-triangle-down",
    "bottom_k": "triangle-up",
    "human": "hexagram",
}
SPARE_MARKS = ("hourglass", "octagon", "triangle-right")

# How each verdict of a comparison looks; the words themselves come from the statistics.
GOOD, BAD, OPEN = "#008A64", "#C2410C", "#8A8F94"

# One a selector of key tokens, apart from the hues of the placements; what is drawn by lot is grey.
SELECTOR_HUES = (
    "#8257B8",
    "#A8611E",
    "#C2410C",
    "#A0522D",
    "#008A78",
    "#4C72B0",
    "#7A8B00",
    "#B565A7",
    "#2E8B8B",
    "#9B4F96",
    "#B07A00",
    "#B5485D",
    "#D0457B",
)
QUIET_SELECTOR = "#7E8388"

# States of a run: (mark, colour).
STATES = {
    "new": ("○", "#8A8F94"),
    "queued": ("○", "#8A8F94"),
    "running": ("◐", "#1B7FC2"),
    "finished": ("●", "#008A64"),
    "failed": ("✕", "#C2410C"),
    "stopped": ("■", "#B37400"),
}


@dataclass(frozen=True, slots=True)
class Look:
    """How a condition is drawn: colour (#rrggbb), Plotly mark, line dash, and whether it is hollow."""

    color: str
    mark: str
    dash: str
    hollow: bool


def look(condition: Condition | str) -> Look:
    """The look of a condition, given as such or as its text."""
    parsed = parse(condition) if isinstance(condition, str) else condition
    color = HUES.get(parsed.placement, OTHER_HUE)
    mark, dash = "circle", "solid"
    for step in parsed.steps:
        mark = MARKS.get(step.name) or SPARE_MARKS[stable_seed(step.name) % len(SPARE_MARKS)]
        if step.name == "shuffle":
            mark = {"word": "diamond-wide", "sentence": "diamond-tall"}.get(str(dict(step.parameters)["unit"]), mark)
        # Parameters move the shade a little, so two settings of one transform are told apart.
        color = _shade(color, (stable_seed(str(step)) % 5 - 2) * 0.045)
        dash = "dash"
    for one in parsed.objectives:
        mark, dash = SPARE_MARKS[stable_seed(one.name) % len(SPARE_MARKS)], "dash"
        color = _shade(color, (stable_seed(str(one)) % 5 - 2) * 0.045)
    if parsed.source:
        mark, color, dash = f"{mark}-dot", _shade(color, 0.07), "dashdot"
    # Fewer training rows are fainter.
    color = _shade(color, 0.12 * (1 - parsed.fraction)) if parsed.fraction != 1 else color
    if parsed.is_control:
        dash = "dot"
    hollow = parsed.is_control or parsed.placement == "undistilled"
    return Look(color, _open(mark) if hollow else mark, dash, hollow)


def hue(condition: Condition | str) -> str:
    """The plain hue of the condition's placement, for its name in a figure: text needs more contrast than a mark."""
    return HUES.get((parse(condition) if isinstance(condition, str) else condition).placement, OTHER_HUE)


def _open(mark: str) -> str:
    return mark.replace("-dot", "-open-dot") if mark.endswith("-dot") else f"{mark}-open"


def _shade(color: str, by: float) -> str:
    """The colour with its HLS lightness moved, kept where it reads on both grounds."""
    hue, light, depth = colorsys.rgb_to_hls(*channels(color))
    r, g, b = colorsys.hls_to_rgb(hue, min(0.56, max(0.34, light + by)), depth)
    return f"#{round(r * 255):02x}{round(g * 255):02x}{round(b * 255):02x}"


def channels(color: str) -> tuple[float, float, float]:
    """#rrggbb as three numbers from 0 to 1."""
    return int(color[1:3], 16) / 255, int(color[3:5], 16) / 255, int(color[5:7], 16) / 255


def tint(color: str, opacity: float) -> str:
    """The colour as a CSS or Plotly rgba() text."""
    r, g, b = (round(part * 255) for part in channels(color))
    return f"rgba({r},{g},{b},{opacity:g})"

"""Plotly's marker shapes as small images, so that a condition bears the same mark in a table as in a figure, whatever
fonts there are.
"""

from __future__ import annotations

import math
from urllib.parse import quote

from cotdistill.report.figures.palette import Look

# Outlines in a box of 12 x 12; shapes that are not listed are drawn as a circle.
PATHS = {
    "diamond": "M6 .8 11.2 6 6 11.2 .8 6Z",
    "diamond-wide": "M6 2.8 11.6 6 6 9.2 .4 6Z",
    "diamond-tall": "M6 .4 9.2 6 6 11.6 2.8 6Z",
    "square": "M1.8 1.8H10.2V10.2H1.8Z",
    "triangle-up": "M6 1.2 11 10H1Z",
    "triangle-down": "M6 10.8 1 2H11Z",
    "triangle-left": "M1.2 6 10 1V11Z",
    "triangle-right": "M10.8 6 2 11V1Z",
    "x": "M3.2 1 6 3.8 8.8 1 11 3.2 8.2 6 11 8.8 8.8 11 6 8.2 3.2 11 1 8.8 3.8 6 1 3.2Z",
    "cross": "M4.2 1H7.8V4.2H11V7.8H7.8V11H4.2V7.8H1V4.2H4.2Z",
    "bowtie": "M1 2V10L11 2V10Z",
    "hourglass": "M2 1H10L2 11H10Z",
}


def _ring(corners: int, inner: float = 0.0, turn: float = -90.0) -> str:
    """A regular polygon; with an inner radius, a star of that many points."""
    count = corners * (2 if inner else 1)
    places = []
    for corner in range(count):
        radius = 5.2 * (inner if inner and corner % 2 else 1.0)
        angle = math.radians(turn + 360 * corner / count)
        places.append(f"{6 + radius * math.cos(angle):.1f} {6 + radius * math.sin(angle):.1f}")
    return f"M{' '.join(places)}Z"


PATHS |= {
    "pentagon": _ring(5),
    "hexagon": _ring(6),
    "octagon": _ring(8, turn=-67.5),
    "star": _ring(5, 0.45),
    "hexagram": _ring(6, 0.58),
    "star-triangle-up": _ring(3, 0.4),
    "star-triangle-down": _ring(3, 0.4, turn=90.0),
    "star-square": _ring(4, 0.45, turn=-45.0),
    "star-diamond": _ring(4, 0.45),
}


def image(look: Look) -> str:
    """The mark of a look as an image the size of a letter. It stands in the address of the image, since bare SVG is
    taken out of a page's HTML.
    """
    name = look.mark.removesuffix("-dot").removesuffix("-open")
    shape = f'<path d="{PATHS[name]}"/>' if name in PATHS else '<circle cx="6" cy="6" r="4.4"/>'
    dot = '<circle cx="6" cy="6" r="1.3" fill="#fff" stroke="none"/>' if look.mark.endswith("-dot") else ""
    drawn = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 12 12" fill="{"none" if look.hollow else look.color}"'
        f' stroke="{look.color}" stroke-width="1.3" stroke-linejoin="round">{shape}{dot}</svg>'
    )
    return (
        '<img alt="" width="12" height="12" style="display:inline;vertical-align:-1px"'
        f' src="data:image/svg+xml,{quote(drawn)}">'
    )

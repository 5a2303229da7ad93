"""The figures of page Saliency that are no heat map of text. Plotly is imported on use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cotdistill.views.explanation import Matrix
from cotdistill.views.figures import GROUND, safe, titled
from cotdistill.views.heat import Scale, number, visible
from cotdistill.views.palette import tint

# More lines than this are neither read nor drawn in time.
MOST_ROWS = 120


def matrix(given: Matrix, scale: Scale, title: str) -> Any:
    """Rationale tokens by row, what each is explained onto by column, in reading order from the top left; spans are divided by thin lines."""
    rows = [visible(text.strip(), short=True) for text in given.rows[:MOST_ROWS]]
    columns = [visible(text.strip(), short=True) for text in given.columns]
    values = [[None if value != value else value for value in line] for line in given.values[:MOST_ROWS]]
    figure = titled(title, height=150 + 17 * len(rows))
    figure.add_heatmap(
        z=values,
        x=list(range(len(columns))),
        y=list(range(len(rows))),
        zmin=-scale.limit if scale.signed else 0.0,
        zmax=scale.limit or 1.0,
        colorscale=colors(scale),
        showscale=False,
        xgap=1,
        ygap=1,
        hoverongaps=False,
        text=[
            [f"{safe(row)} ← {safe(column)} ({segment}): {number(v, scale)} {scale.unit}" if v is not None else ""
             for column, segment, v in zip(columns, given.segments, line, strict=True)]
            for row, line in zip(rows, values, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
    for edge, (before, after) in enumerate(zip(given.segments, given.segments[1:], strict=False), start=1):
        if before != after:
            figure.add_vline(x=edge - 0.5, line={"width": 1, "color": tint(GROUND, 0.8)})
    for place, segment in _middles(given.segments):
        figure.add_annotation(
            x=place, y=1.0, yref="paper", yanchor="bottom", yshift=2, text=segment, showarrow=False, font={"size": 11, "color": GROUND}
        )
    size = 11 if max(len(rows), len(columns)) < 60 else 9
    figure.update_xaxes(tickvals=list(range(len(columns))), ticktext=[safe(c) for c in columns], tickangle=-60, tickfont_size=size, showgrid=False)
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=[safe(r) for r in rows], tickfont_size=size, autorange="reversed", showgrid=False)
    return figure


def colors(scale: Scale) -> list[list[Any]]:
    """The scale as Plotly takes it: nothing in the middle, so that the page's own ground shows through."""
    more, less = (scale.background(value) for value in (scale.limit, -scale.limit))
    half = [(0.0, _rgba(f"{more[:7]}00")), (1.0, _rgba(more))]
    if not scale.signed:
        return [list(stop) for stop in half]
    # Both ends fade in their own colour; blended into each other they would be grey around zero.
    return [[0.0, _rgba(less)], [0.5, _rgba(f"{less[:7]}00")], *([0.5 + place / 2, color] for place, color in half)]


def _rgba(color: str) -> str:
    return tint(color[:7], round(int(color[7:9], 16) / 255, 3))


def _middles(segments: Sequence[str]) -> list[tuple[float, str]]:
    """The middle of each run of one span, with its name."""
    found: list[tuple[float, str]] = []
    start = 0
    for place in range(1, len(segments) + 1):
        if place == len(segments) or segments[place] != segments[start]:
            found.append(((start + place - 1) / 2, segments[start]))
            start = place
    return found

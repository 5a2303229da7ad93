"""The figures of selections over a task. Plotly is imported on use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cotdistill.report.figures.base import GROUND, safe, titled
from cotdistill.report.figures.palette import tint
from cotdistill.text import percent

# Overlap, from nothing to the same; and against each other.
MORE, LESS = "#1B7FC2", "#D55E00"


def matrix(names: Sequence[str], values: Sequence[Sequence[float | None]], title: str, chance: float) -> Any:
    """Selections against each other, each number in its cell; the diagonal stays empty. Colour: how far from chance."""
    count = len(names)
    figure = titled(title, height=150 + 58 * count)
    shown = [[None if row == column else values[row][column] for column in range(count)] for row in range(count)]
    figure.add_heatmap(
        z=[[None if v is None else v - chance for v in row] for row in shown],
        zmin=-0.6,
        zmax=0.6,
        colorscale=[[0.0, tint(LESS, 0.75)], [0.5, tint(GROUND, 0.05)], [1.0, tint(MORE, 0.75)]],
        showscale=False,
        xgap=2,
        ygap=2,
        hoverongaps=False,
        text=[["" if v is None else _two(v) for v in row] for row in shown],
        customdata=[[f"{safe(names[r])} and {safe(names[c])}" for c in range(count)] for r in range(count)],
        hovertemplate="%{customdata}: %{text}<extra></extra>",
    )
    # Notes follow the page's ink on light and dark; a heat map's own text does not.
    for at, row in enumerate(shown):
        for column, value in enumerate(row):
            if value is not None:
                figure.add_annotation(x=column, y=at, text=_two(value), showarrow=False, font_size=13)
    ticks = [safe(name).replace(", ", "<br>") for name in names]
    figure.update_xaxes(
        tickvals=list(range(count)), ticktext=ticks, showgrid=False, fixedrange=True, tickangle=0, tickfont_size=11
    )
    figure.update_yaxes(
        tickvals=list(range(count)),
        ticktext=ticks,
        showgrid=False,
        fixedrange=True,
        autorange="reversed",
        tickfont_size=11,
    )
    return figure


def _two(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def shares(
    rows: Mapping[str, Sequence[tuple[str, str, float | None]]], marks: Mapping[str, float | None], title: str
) -> Any:
    """Groups of bars, one bar a selection (name, colour, share), its value at its end; marks: the share by chance of
    each group.
    """
    lines = [
        (group, name, color, share)
        for group, members in rows.items()
        for name, color, share in members
        if share is not None
    ]
    figure = titled(title, height=118 + 26 * len(lines) + 18 * len(rows))
    at, ticks, places = 0.0, list[str](), list[float]()
    for group in rows:
        first = at
        for _, name, color, share in (line for line in lines if line[0] == group):
            figure.add_bar(
                x=[100 * share],
                y=[at],
                orientation="h",
                width=0.72,
                marker_color=tint(color, 0.8),
                text=[f"{safe(name)}: {percent(share)}"],
                textposition="outside",
                cliponaxis=False,
                hovertemplate=f"{safe(name)}, {safe(group)}: {percent(share)}<extra></extra>",
            )
            at += 1
        chance = marks.get(group)
        if chance is not None and at > first:
            figure.add_shape(
                type="line",
                x0=100 * chance,
                x1=100 * chance,
                y0=first - 0.5,
                y1=at - 0.5,
                line={"dash": "dot", "width": 1.6, "color": GROUND},
            )
        places.append((first + at - 1) / 2)
        ticks.append(f"<b>{safe(group)}</b>")
        at += 0.7
    figure.update_yaxes(tickvals=places, ticktext=ticks, showgrid=False, fixedrange=True, autorange="reversed")
    figure.update_xaxes(title_text="percent of the key words", range=[0, 118], tickvals=[0, 25, 50, 75, 100])
    return figure

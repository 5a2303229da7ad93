"""Attention as heat maps, layer by head, students side by side on one scale. Plotly is imported on use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cotdistill.report.figures.base import GROUND, safe, titled
from cotdistill.report.figures.palette import hue, tint
from cotdistill.report.figures.probe import LESS, MORE
from cotdistill.text import between, between_points, percent, points

REGION_NAMES = {
    "relevant": "what decides",
    "gold": "right answer's text",
    "latent": "latent type",
    "subject": "what is asked about",
    "rationale": "rationale",
    "question": "question",
    "choices": "choices",
}
# Beyond so many heads a layer the cells are too narrow for numbers.
NUMBERED = 16


@dataclass(frozen=True)
class Attended:
    """The heads of one student for one region. cells: rows of the job's table, whose columns are in
    studies.analyses.attention.COLUMNS; head -1 is a layer's mean.
    """

    condition: str
    label: str
    layers: int
    heads: int
    cells: Sequence[Mapping[str, Any]]


def heat(attended: Sequence[Attended], title: str) -> Any:
    """One map a student: each cell shows its share in percent, its colour is the share less that of the length, on one
    diverging scale. The last column is the layer's mean."""
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=1,
        cols=len(attended),
        horizontal_spacing=0.07,
        subplot_titles=[
            f"<b style='color:{hue(one.condition)}'>{safe(one.label)}</b><br>{_by_length(one)}" for one in attended
        ],
    )
    figure.update_layout(titled(title, height=190 + 42 * max(one.layers for one in attended)).layout)
    top = max((100 * abs(cell["over"]) for one in attended for cell in one.cells), default=1.0) or 1.0
    for number, one in enumerate(attended, start=1):
        at = {(cell["layer"], cell["head"]): cell for cell in one.cells}
        heads = [*range(1, one.heads + 1), -1]
        rows = [[at[layer, head] for head in heads] for layer in range(1, one.layers + 1)]
        xs = list(range(one.heads + 1))
        figure.add_heatmap(
            z=[[100 * cell["over"] for cell in row] for row in rows],
            x=xs,
            y=list(range(one.layers)),
            zmin=-top,
            zmax=top,
            showscale=False,
            colorscale=[[0.0, tint(LESS, 0.5)], [0.5, tint(GROUND, 0.06)], [1.0, tint(MORE, 0.5)]],
            xgap=2,
            ygap=2,
            text=[[_hover(one, cell) for cell in row] for row in rows],
            hovertemplate="%{text}<extra></extra>",
            row=1,
            col=number,
        )
        for y, row in enumerate(rows if one.heads <= NUMBERED else []):
            for x, cell in zip(xs, row, strict=True):
                text = f"{100 * cell['share']:.0f}"
                figure.add_annotation(
                    x=x,
                    y=y,
                    text=f"<b>{text}</b>" if cell["head"] == -1 else text,
                    showarrow=False,
                    font_size=13,
                    row=1,
                    col=number,
                )
        figure.update_xaxes(
            tickvals=xs,
            ticktext=[*(f"{head}" for head in heads[:-1]), "all"],
            title_text="head",
            showgrid=False,
            fixedrange=True,
            row=1,
            col=number,
        )
        figure.update_yaxes(
            tickvals=list(range(one.layers)),
            ticktext=[f"layer {layer}" if number == 1 else "" for layer in range(1, one.layers + 1)],
            showgrid=False,
            fixedrange=True,
            range=[one.layers - 0.5, -0.5],
            row=1,
            col=number,
        )
    figure.update_annotations(selector={"yanchor": "bottom"}, font_size=13)
    figure.update_layout(margin={"t": 108, "b": 48})
    return figure


def _by_length(attended: Attended) -> str:
    return f"by its length {percent(attended.cells[0]['uniform'])}"


def _hover(attended: Attended, cell: Mapping[str, Any]) -> str:
    head = "mean over heads" if cell["head"] == -1 else f"head {cell['head']}"
    return (
        f"{safe(attended.label)}, layer {cell['layer']}, {head}: {percent(cell['share'])},"
        f" {between(cell['low'], cell['high'])}<br>by length {percent(cell['uniform'])}; {points(cell['over'])} points"
        f" ({between_points(cell['over_low'], cell['over_high'])})<br>{cell['examples']:,} examples in"
        f" {cell['clusters']:,} clusters"
    )

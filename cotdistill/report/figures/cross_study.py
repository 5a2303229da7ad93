"""The heat map of conditions x studies. Plotly is imported on use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cotdistill.rationales.conditions import parse
from cotdistill.report.figures.base import AROUND, GROUND, safe, titled
from cotdistill.report.figures.palette import hue, tint
from cotdistill.results.cross_study import Column, StudyCell
from cotdistill.text import between, between_points, percent, plural, points

BETTER, WORSE = "#1B7FC2", "#D55E00"


def heat(
    columns: Sequence[Column], conditions: Sequence[str], names: Sequence[str], title: str, *, difference: bool
) -> Any:
    """One row a condition, one column a study, each cell with its number. difference: one diverging scale, symmetric
    about zero; else from the lowest to the highest accuracy in view. A cell without a result is empty."""
    figure = titled(title, height=AROUND + 60 + 40 * len(conditions))
    values: list[list[float | None]] = []
    texts: list[list[str]] = []
    hovers: list[list[str]] = []
    for condition in reversed(conditions):
        row = [column.cells.get(condition) for column in columns]
        values.append([None if cell is None else 100 * cell.value for cell in row])
        texts.append([_text(cell, difference=difference) for cell in row])
        hovers.append(
            [_hover(condition, name, cell, difference=difference) for name, cell in zip(names, row, strict=True)]
        )
    every = [abs(v) if difference else v for line in values for v in line if v is not None]
    top = max(every, default=1.0) or 1.0
    diverging = [[0.0, tint(WORSE, 0.75)], [0.5, tint(GROUND, 0.06)], [1.0, tint(BETTER, 0.75)]]
    scale = diverging if difference else [[0.0, tint(BETTER, 0.05)], [1.0, tint(BETTER, 0.7)]]
    figure.add_heatmap(
        z=values,
        x=list(range(len(columns))),
        y=list(range(len(conditions))),
        text=texts,
        texttemplate="%{text}",
        hovertext=hovers,
        hovertemplate="%{hovertext}<extra></extra>",
        colorscale=scale,
        zmin=-top if difference else min(every, default=0.0),
        zmax=top,
        showscale=False,
        xgap=3,
        ygap=3,
        textfont={"size": 13},
    )
    figure.update_xaxes(
        tickvals=list(range(len(columns))),
        ticktext=[safe(name) for name in names],
        side="top",
        showgrid=False,
        fixedrange=True,
    )
    labels = [f"<span style='color:{hue(c)}'>{safe(parse(c).label)}</span>" for c in reversed(conditions)]
    figure.update_yaxes(
        tickvals=list(range(len(conditions))), ticktext=labels, tickfont_size=13, showgrid=False, fixedrange=True
    )
    figure.update_layout(margin_t=100, margin_b=16)
    return figure


def _text(cell: StudyCell | None, *, difference: bool) -> str:
    if cell is None:
        return ""
    missing = f" ({cell.finished} of {cell.planned})" if cell.finished < cell.planned else ""
    return (points(cell.value) if difference else f"{100 * cell.value:.1f}") + missing


def _hover(condition: str, study: str, cell: StudyCell | None, *, difference: bool) -> str:
    name = safe(f"{parse(condition).label}, {study}")
    if cell is None:
        return f"{name}: no result"
    number = (
        f"{points(cell.value)} points, {between_points(cell.low, cell.high)}" if difference else percent(cell.value)
    )
    interval = "" if difference else f", interval {between(cell.low, cell.high)}"
    return (
        f"{name}: {number}{interval}{f', {cell.word}' if cell.word else ''}; {cell.items:,} questions,"
        f" {plural(cell.finished, 'replicate')}"
    )

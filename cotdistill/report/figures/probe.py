"""Linear probes as heat maps, layer by place, students side by side on one scale. Plotly is imported on use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cotdistill.report.figures.base import GROUND, safe, titled
from cotdistill.report.figures.palette import hue, tint
from cotdistill.text import between_points, points

MORE, LESS = "#1B7FC2", "#D55E00"
PLACES = {
    "question": "end of the question",
    "choices": "end of the choices",
    "rationale_cue": "rationale cue",
    "rationale_half": "half of the rationale",
    "rationale": "end of the rationale",
    "label_cue": "answer cue",
    "label": "after the label",
}


@dataclass(frozen=True)
class Probed:
    """The cells of one student. cells: as rows of the job's table (see look_probe.COLUMNS)."""

    condition: str
    label: str
    layers: Sequence[int]
    places: Sequence[str]
    cells: Sequence[Mapping[str, Any]]


def heat(probed: Sequence[Probed], title: str) -> Any:
    """One map a student: colour is accuracy minus control in points, on one diverging scale; each cell shows its
    accuracy in percent. Places that read what the teacher wrote are marked with an asterisk."""
    from plotly.subplots import make_subplots

    deepest = max(len(one.layers) for one in probed)
    figure = make_subplots(rows=len(probed), cols=1, vertical_spacing=0.0 if len(probed) == 1 else 0.32 / len(probed))
    figure.update_layout(titled(title, height=110 + len(probed) * (110 + 36 * deepest)).layout)
    top = max((100 * abs(cell["over"]) for one in probed for cell in one.cells), default=1.0) or 1.0
    for number, one in enumerate(probed, start=1):
        at = {(cell["layer"], cell["place"]): cell for cell in one.cells}
        rows = [[at[layer, place] for place in one.places] for layer in one.layers]
        figure.add_heatmap(
            z=[[100 * cell["over"] for cell in row] for row in rows],
            x=list(range(len(one.places))),
            y=list(range(len(one.layers))),
            zmin=-top,
            zmax=top,
            colorscale=[[0.0, tint(LESS, 0.45)], [0.5, tint(GROUND, 0.05)], [1.0, tint(MORE, 0.45)]],
            showscale=False,
            xgap=2,
            ygap=2,
            text=[[_hover(one, cell) for cell in row] for row in rows],
            hovertemplate="%{text}<extra></extra>",
            row=number,
            col=1,
        )
        for y, row in enumerate(rows):
            for x, cell in enumerate(row):
                figure.add_annotation(
                    x=x, y=y, text=f"{100 * cell['accuracy']:.1f}", showarrow=False, font_size=13, row=number, col=1
                )
        ticks = [
            safe(PLACES[place]) + ("*" if rows[0][x]["reads"] != "nothing" else "")
            for x, place in enumerate(one.places)
        ]
        figure.update_xaxes(
            tickvals=list(range(len(one.places))),
            ticktext=ticks,
            showgrid=False,
            fixedrange=True,
            tickangle=0,
            tickfont_size=12,
            row=number,
            col=1,
        )
        figure.update_yaxes(
            tickvals=list(range(len(one.layers))),
            ticktext=[f"layer {layer}" if layer else "embeddings" for layer in one.layers],
            showgrid=False,
            fixedrange=True,
            title_text=f"<b style='color:{hue(one.condition)}'>{safe(one.label)}</b>",
            title_font_size=13,
            row=number,
            col=1,
        )
    return figure


def _hover(probed: Probed, cell: Mapping[str, Any]) -> str:
    reads = "" if cell["reads"] == "nothing" else f"; reads the teacher's {cell['reads']}"
    return (
        f"{safe(probed.label)}, layer {cell['layer']}, {PLACES[cell['place']]}: {100 * cell['accuracy']:.1f} %, control"
        f" {100 * cell['control']:.1f} %, {points(cell['over'])} points,"
        f" {between_points(cell['over_low'], cell['over_high'])}{reads}"
    )

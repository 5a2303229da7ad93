"""The figure of the sweep. Plotly is imported on use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cotdistill.report.figures.base import safe, titled
from cotdistill.report.figures.palette import hue, tint
from cotdistill.text import between, percent


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """Accuracy (a share) at k words with its interval (None: not to be had), each replicate's own, and how many were
    planned.
    """

    k: float
    mean: float
    low: float | None
    high: float | None
    replicates: tuple[float, ...]
    planned: int


@dataclass(frozen=True, slots=True)
class Line:
    """One selector's curve, by rising k."""

    name: str
    color: str
    points: Sequence[SweepPoint]
    control: bool = False


@dataclass(frozen=True, slots=True)
class Level:
    """A condition that knows no k: a line across, with the band of its interval."""

    condition: str
    name: str
    mean: float
    low: float | None
    high: float | None


def draw(lines: Sequence[Line], levels: Sequence[Level], kept: Mapping[float, float], title: str) -> Any:
    """Curves over evenly spaced k, their names at their ends; kept: share of tokens at each k, along the top."""
    figure = titled(title, height=560)
    ks = sorted({point.k for line in lines for point in line.points})
    place = {k: at for at, k in enumerate(ks)}
    ends: list[tuple[float, str, str]] = []
    for level in levels:
        color = hue(level.condition)
        if level.low is not None and level.high is not None:
            figure.add_hrect(
                y0=100 * level.low, y1=100 * level.high, fillcolor=tint(color, 0.1), line_width=0, layer="below"
            )
        figure.add_hline(y=100 * level.mean, line={"color": color, "width": 2, "dash": "dash"})
        ends.append((100 * level.mean, level.name, color))
    for line in lines:
        _band(figure, line, place)
    for line in lines:
        figure.add_scatter(
            x=[place[p.k] for p in line.points],
            y=[100 * p.mean for p in line.points],
            mode="lines+markers",
            line={"color": line.color, "width": 2.4, "dash": "dot" if line.control else "solid"},
            marker={
                "symbol": "circle-open" if line.control else "circle",
                "size": 8,
                "color": line.color,
                "line": {"width": 2, "color": line.color},
            },
            hovertemplate=[_hover(line, point) for point in line.points],
        )
        ends.append((100 * line.points[-1].mean, line.name, line.color))
    name_ends(figure, ends, gap=0.05, size=13)
    figure.update_xaxes(
        tickvals=list(place.values()),
        ticktext=[_k_label(k) for k in ks],
        range=[-0.25, len(ks) - 0.75],
        title_text="key words kept, k",
        showgrid=False,
    )
    figure.update_yaxes(title_text="accuracy on test, percent")
    figure.update_layout(margin_r=170)
    if kept:
        # A second axis is drawn only where a trace lies on it.
        figure.add_scatter(x=[0], y=[None], xaxis="x2", hoverinfo="skip")
        figure.update_layout(
            margin_t=96,
            xaxis2={
                "overlaying": "x",
                "side": "top",
                "range": [-0.25, len(ks) - 0.75],
                "showgrid": False,
                "title": {"text": "tokens kept", "standoff": 6},
                "tickvals": [place[k] for k in ks if k in kept],
                "ticktext": [f"{100 * kept[k]:.0f} %" for k in ks if k in kept],
                "zeroline": False,
            },
        )
    return figure


def _band(figure: Any, line: Line, place: Mapping[float, int]) -> None:
    whole = [p for p in line.points if p.low is not None and p.high is not None]
    if len(whole) == 1:
        p = whole[0]
        figure.add_scatter(
            x=[place[p.k]] * 2, y=[100 * (p.low or 0), 100 * (p.high or 0)], mode="lines", hoverinfo="skip",
            line={"color": tint(line.color, 0.3), "width": 7},
        )  # fmt: skip
        return
    figure.add_scatter(
        x=[*(place[p.k] for p in whole), *(place[p.k] for p in reversed(whole))],
        y=[*(100 * (p.high or 0) for p in whole), *(100 * (p.low or 0) for p in reversed(whole))],
        fill="toself",
        fillcolor=tint(line.color, 0.13),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
    )


def _k_label(k: float) -> str:
    return f"{100 * k:g} %" if k < 1 else f"{k:g}"


def _hover(line: Line, point: SweepPoint) -> str:
    missing = (
        f", {len(point.replicates)} of {point.planned} replicates" if len(point.replicates) < point.planned else ""
    )
    return (
        f"{safe(line.name)}, k {_k_label(point.k)}: {percent(point.mean)}, interval"
        f" {between(point.low, point.high)}{missing}<extra></extra>"
    )


def name_ends(
    figure: Any,
    ends: Sequence[tuple[float, str, str]],
    *,
    gap: float = 0.055,
    size: int = 12,
    shift: int = 8,
    height: float | None = None,
) -> None:
    """Names at the right end, pushed apart so that none covers another. ends: (y, name, colour); gap: the least
    distance, as a share of the height (in units of y; that of everything drawn so far where it is not given)."""
    if height is None:
        every = [v for trace in figure.data for v in trace.y or () if v is not None] + [value for value, _, _ in ends]
        height = max(every) - min(every)
    ordered = sorted(ends)
    for at, (_, name, color) in zip(
        spread([value for value, _, _ in ordered], (height or 1.0) * gap), ordered, strict=True
    ):
        figure.add_annotation(
            x=1.0,
            xref="paper",
            y=at,
            text=safe(name),
            showarrow=False,
            xanchor="left",
            xshift=shift,
            font={"color": color, "size": size},
        )


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Rising values moved as little as can be (by least squares) until neighbours are a gap apart: those that crowd
    share their middle.
    """
    blocks: list[tuple[float, int]] = []
    for place, value in enumerate(values):
        total, count = value - place * gap, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            before = blocks.pop()
            total, count = total + before[0], count + before[1]
        blocks.append((total, count))
    level = [total / count for total, count in blocks for _ in range(count)]
    return [at + place * gap for place, at in enumerate(level)]

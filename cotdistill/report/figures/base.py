"""The figures of the pages: plain rows in, Plotly figures out. Plotly is imported on use, so that the terminal never
pays for it.

Accuracies and differences come as shares (0.72) and are drawn in percent and points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cotdistill.report.figures.palette import BAD, GOOD, OPEN, hue, look, tint
from cotdistill.text import between, between_points, percent, points

GROUND = "#8A8F94"
ROW_HEIGHT, AROUND = 34, 118


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """One condition: its mean over replicates, interval (None: not to be had), one point a replicate, how many were
    planned.
    """

    condition: str
    label: str
    mean: float
    low: float | None
    high: float | None
    replicates: tuple[float, ...]
    planned: int


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One condition against the baseline: difference, interval, verdict word; color is one of palette's GOOD, BAD,
    OPEN.
    """

    condition: str
    label: str
    difference: float
    low: float | None
    high: float | None
    word: str
    color: str = OPEN


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """One condition's learning curve: x and y averaged over its replicates, and each replicate's own (x, y)."""

    condition: str
    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    replicates: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]


def verdict_color(word: str) -> str:
    """Better is green, worse is red-brown, all else grey."""
    return GOOD if word in ("better", "no worse") else BAD if word == "worse" else OPEN


def template() -> Any:
    """The one template: quiet grid, no boxes, titles at the left. Fonts and grid colours follow the page's theme."""
    import plotly.graph_objects as go

    axis = {
        "showgrid": True,
        "gridcolor": tint(GROUND, 0.22),
        "zeroline": False,
        "ticks": "",
        "automargin": True,
        "title": {"standoff": 12},
    }
    return go.layout.Template(
        layout={
            "title": {
                "x": 0.0,
                "xref": "container",
                "xanchor": "left",
                "y": 1.0,
                "yref": "container",
                "yanchor": "top",
                "font": {"size": 17},
                "pad": {"t": 6},
            },
            "font": {"size": 13},
            "margin": {"l": 8, "r": 24, "t": 52, "b": 48},
            "xaxis": axis,
            "yaxis": axis,
            "showlegend": False,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "hoverlabel": {"align": "left"},
        }
    )


def titled(title: str, rows: int | None = None, height: int | None = None) -> Any:
    """An empty figure of the one template with its title; as high as its rows need, or `height`."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.update_layout(
        template=template(), title_text=safe(title), height=height or AROUND + ROW_HEIGHT * (rows or 1)
    )
    return figure


@dataclass
class FigureItems:
    """Texts and shapes for a figure, in plotly's own words, added all at once: plotly checks every one that is there
    anew for each added alone.
    """

    figure: Any
    texts: list[dict[str, Any]] = field(default_factory=list)
    shapes: list[dict[str, Any]] = field(default_factory=list)

    def text(self, **words: Any) -> None:
        self.texts.append({"showarrow": False, **words})

    def shape(self, **words: Any) -> None:
        self.shapes.append(words)

    def place(self) -> None:
        there = self.figure.layout
        self.figure.update_layout(annotations=[*there.annotations, *self.texts], shapes=[*there.shapes, *self.shapes])


def accuracy(rows: Sequence[AccuracyRow], chance: float | None, title: str) -> Any:
    """Accuracy by condition, best on top: every replicate a point, the mean, its interval, and the chance line."""
    ordered = sorted(rows, key=lambda row: row.mean)
    figure = titled(title, len(ordered))
    beside = FigureItems(figure)
    for place, row in enumerate(ordered):
        seen = look(row.condition)
        if row.low is not None and row.high is not None:
            bar(
                figure,
                100 * row.low,
                100 * row.high,
                place,
                seen.color,
                f"{row.label}: {percent(row.mean)}, interval {between(row.low, row.high)}",
            )
        figure.add_scatter(
            x=[100 * value for value in row.replicates],
            y=[place + 0.26 for _ in row.replicates],
            mode="markers",
            marker={"symbol": "line-ns", "size": 9, "line": {"width": 1.6, "color": seen.color}},
            opacity=0.85,
            hovertemplate=[
                f"{safe(row.label)}, replicate {i}: {percent(value)}<extra></extra>"
                for i, value in enumerate(row.replicates)
            ],
        )
        figure.add_scatter(
            x=[100 * row.mean],
            y=[place],
            mode="markers",
            marker={"symbol": seen.mark, "size": 12, "color": seen.color, "line": {"width": 1.8, "color": seen.color}},
            hovertemplate=f"{safe(row.label)}: {percent(row.mean)}<extra></extra>",
        )
        missing = f"  ({len(row.replicates)} of {row.planned})" if len(row.replicates) < row.planned else ""
        beside.text(
            x=1.0,
            xref="paper",
            y=place,
            text=f"<b>{100 * row.mean:.1f}</b>{missing}",
            xanchor="left",
            xshift=10,
            font={"size": 13},
        )
    if chance is not None:
        figure.add_vline(x=100 * chance, line={"dash": "dot", "width": 1.4, "color": GROUND})
        text = f"chance {100 * chance:.0f} %"
        beside.text(
            x=100 * chance, y=1.0, yref="paper", text=text, yanchor="bottom", font={"size": 12, "color": GROUND}
        )
    beside.place()
    _rows_axis(figure, ordered)
    every = [v for row in rows for v in (*row.replicates, row.mean, row.low, row.high, chance) if v is not None]
    low, high = (min(every), max(every)) if every else (0.0, 1.0)
    room = max(0.02, 0.06 * (high - low))
    figure.update_xaxes(
        title_text="accuracy on test, percent", range=[max(-1.0, 100 * (low - room)), min(101.0, 100 * (high + room))]
    )
    return figure


def forest(rows: Sequence[ForestRow], baseline: str, title: str) -> Any:
    """Differences to the baseline in points, largest on top, each with its interval and its verdict in a word."""
    ordered = sorted(rows, key=lambda row: row.difference)
    figure = titled(title, len(ordered))
    beside = FigureItems(figure)
    figure.add_vline(x=0, line={"width": 1.4, "color": GROUND})
    for place, row in enumerate(ordered):
        seen = look(row.condition)
        hover = f"{row.label} against {baseline}: {points(row.difference)} points, {between_points(row.low, row.high)}"
        if row.low is not None and row.high is not None:
            bar(figure, 100 * row.low, 100 * row.high, place, seen.color, hover)
        figure.add_scatter(
            x=[100 * row.difference],
            y=[place],
            mode="markers",
            marker={"symbol": seen.mark, "size": 12, "color": seen.color, "line": {"width": 1.8, "color": seen.color}},
            hovertemplate=f"{safe(hover)}<extra></extra>",
        )
        text = f"<b>{points(row.difference)}</b>  <span style='color:{row.color}'>{safe(row.word)}</span>"
        beside.text(x=1.0, xref="paper", y=place, text=text, xanchor="left", align="left", xshift=10, font={"size": 13})
    beside.place()
    _rows_axis(figure, ordered)
    figure.update_xaxes(title_text=f"points of accuracy against {safe(baseline)}")
    figure.update_layout(margin_r=190)
    return figure


def curves(shown: Sequence[LearningCurve], x_title: str, y_title: str, title: str, *, share: bool) -> Any:
    """Learning curves by condition: the mean strong, each replicate faint, the name at the end of its line. share: y is
    a share, drawn in percent.
    """
    factor = 100.0 if share else 1.0
    figure = titled(title, height=440)
    ends: list[tuple[float, LearningCurve]] = []
    for curve in shown:
        seen = look(curve.condition)
        for x, y in curve.replicates if len(curve.replicates) > 1 else ():
            figure.add_scatter(
                x=list(x),
                y=[factor * v for v in y],
                mode="lines",
                line={"color": tint(seen.color, 0.22), "width": 1},
                hoverinfo="skip",
            )
        figure.add_scatter(
            x=list(curve.x),
            y=[factor * v for v in curve.y],
            mode="lines+markers" if len(curve.x) < 30 else "lines",
            line={"color": seen.color, "width": 2.2, "dash": seen.dash},
            marker={"symbol": seen.mark, "size": 7},
            hovertemplate=f"{safe(curve.label)}: %{{y:.3~g}}<extra></extra>",
        )
        if curve.y:
            ends.append((factor * curve.y[-1], curve))
    _name_ends(figure, ends)
    figure.update_xaxes(title_text=x_title, rangemode="tozero")
    figure.update_yaxes(title_text=y_title)
    figure.update_layout(margin_r=230)
    return figure


def bars(counts: Mapping[str, int], title: str, x_title: str) -> Any:
    """How often each thing occurs, the most frequent on top."""
    ordered = sorted(counts.items(), key=lambda pair: pair[1])
    figure = titled(title, height=AROUND + 20 * len(ordered))
    figure.add_bar(
        x=[number for _, number in ordered],
        y=list(range(len(ordered))),
        orientation="h",
        marker_color=tint(GROUND, 0.75),
        hovertemplate=[f"{safe(name)}: {number:,}<extra></extra>" for name, number in ordered],
    )
    figure.update_yaxes(
        tickvals=list(range(len(ordered))),
        ticktext=[safe(name) for name, _ in ordered],
        showgrid=False,
        fixedrange=True,
    )
    figure.update_xaxes(title_text=x_title, rangemode="tozero")
    return figure


def _name_ends(figure: Any, ends: list[tuple[float, LearningCurve]]) -> None:
    """Names beside the last points, pushed apart so that none covers another."""
    if not ends:
        return
    values = [value for value, _ in ends]
    every = [v for trace in figure.data for v in (trace.y or ())]
    gap = (max(every) - min(every) or 1.0) * 0.056
    previous = float("-inf")
    middle = sum(values) / len(values)
    placed: list[tuple[float, float, LearningCurve]] = []
    for value, curve in sorted(ends, key=lambda pair: pair[0]):
        at = max(value, previous + gap)
        previous = at
        placed.append((at, value, curve))
    shift = min(0.0, middle - sum(at for at, _, _ in placed) / len(placed))
    for at, _, curve in placed:
        figure.add_annotation(
            x=1.0,
            xref="paper",
            y=at + shift,
            text=safe(curve.label),
            showarrow=False,
            xanchor="left",
            xshift=8,
            font={"color": hue(curve.condition), "size": 12},
        )


def bar(figure: Any, low: float, high: float, place: float, color: str, text: str) -> None:
    """An interval as a thick line across a row."""
    figure.add_scatter(
        x=[low, high],
        y=[place, place],
        mode="lines",
        line={"color": tint(color, 0.45), "width": 5},
        hovertemplate=f"{safe(text)}<extra></extra>",
    )


def _rows_axis(figure: Any, rows: Sequence[AccuracyRow | ForestRow]) -> None:
    """One row a condition, its name in the condition's own colour."""
    names = [f"<span style='color:{hue(row.condition)}'>{safe(row.label)}</span>" for row in rows]
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=names,
        tickfont_size=13,
        range=[-0.6, len(rows) - 0.3],
        showgrid=False,
        fixedrange=True,
    )
    figure.update_layout(margin_r=90)


def safe(text: str) -> str:
    """Plotly reads a few tags in texts; what comes from data is shown as it stands."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

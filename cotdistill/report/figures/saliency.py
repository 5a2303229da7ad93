"""The figures of page Saliency that are no heat map of text. Plotly is imported on use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cotdistill.report.explanation import AttributionMatrix
from cotdistill.report.figures.base import GROUND, bar, safe, titled
from cotdistill.report.figures.palette import hue, look, tint
from cotdistill.report.heat import Scale, number, visible

# More lines than this are neither read nor drawn in time.
MOST_ROWS = 120


def matrix(shown: AttributionMatrix, scale: Scale, title: str) -> Any:
    """Rationale tokens by row, what each is explained onto by column, in reading order from the top left; spans are
    divided by thin lines.
    """
    rows = [visible(text.strip(), short=True) for text in shown.rows[:MOST_ROWS]]
    columns = [visible(text.strip(), short=True) for text in shown.columns]
    values = [[None if value != value else value for value in line] for line in shown.values[:MOST_ROWS]]
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
             for column, segment, v in zip(columns, shown.segments, line, strict=True)]
            for row, line in zip(rows, values, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
    for edge, (before, after) in enumerate(zip(shown.segments, shown.segments[1:], strict=False), start=1):
        if before != after:
            figure.add_vline(x=edge - 0.5, line={"width": 1, "color": tint(GROUND, 0.8)})
    for place, segment in _middles(shown.segments):
        figure.add_annotation(
            x=place,
            y=1.0,
            yref="paper",
            yanchor="bottom",
            yshift=2,
            text=segment,
            showarrow=False,
            font={"size": 11, "color": GROUND},
        )
    size = 11 if max(len(rows), len(columns)) < 60 else 9
    figure.update_xaxes(
        tickvals=list(range(len(columns))),
        ticktext=[safe(c) for c in columns],
        tickangle=-60,
        tickfont_size=size,
        showgrid=False,
    )
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[safe(r) for r in rows],
        tickfont_size=size,
        autorange="reversed",
        showgrid=False,
    )
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
    middles: list[tuple[float, str]] = []
    start = 0
    for place in range(1, len(segments) + 1):
        if place == len(segments) or segments[place] != segments[start]:
            middles.append(((start + place - 1) / 2, segments[start]))
            start = place
    return middles


@dataclass(frozen=True, slots=True)
class Dot:
    """A mean of one student with its interval (None: not to be had)."""

    condition: str
    label: str
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Drop:
    """One student's faithfulness curves, in shares of probability, over `shares` of its tokens; each point is mean,
    low, high.
    """

    condition: str
    label: str
    shares: Sequence[float]
    without: Sequence[Sequence[Any]]
    alone: Sequence[Sequence[Any]]
    random_without: Sequence[Sequence[Any]]
    random_alone: Sequence[Sequence[Any]]


def dots(
    rows: Mapping[str, Sequence[Dot]], title: str, x_title: str, *, share: bool = False, base: float | None = None
) -> Any:
    """One row a name, in it one mark a student with its interval and value; share: in percent; base: a line to compare
    with.
    """
    factor = 100.0 if share else 1.0
    lines = [(name, dot) for name, found in rows.items() for dot in found]
    figure = titled(title, height=118 + 26 * max(1, len(lines)) + 10 * len(rows))
    at, ticks, places = 0.0, [], []
    several = any(len(found) > 1 for found in rows.values())
    for name, found in rows.items():
        begun = at
        for dot in found:
            seen = look(dot.condition)
            hover = f"{safe(name)}, {safe(dot.label)}: {_short(dot.mean, share=share)}"
            if dot.low is not None and dot.high is not None:
                hover += f", interval {_short(dot.low, share=share)} to {_short(dot.high, share=share)}"
                bar(figure, factor * dot.low, factor * dot.high, at, seen.color, hover)
            figure.add_scatter(
                x=[factor * dot.mean],
                y=[at],
                mode="markers",
                hovertemplate=f"{hover}<extra></extra>",
                marker={
                    "symbol": seen.mark,
                    "size": 11,
                    "color": seen.color,
                    "line": {"width": 1.8, "color": seen.color},
                },
            )
            text = (
                f"<b>{_short(dot.mean, share=share)}</b>  <span"
                f" style='color:{hue(dot.condition)}'>{safe(dot.label if several else '')}</span>"
            )
            figure.add_annotation(
                x=1.0, xref="paper", y=at, text=text, showarrow=False, xanchor="left", xshift=8, font_size=12
            )
            at += 1.0
        ticks.append(safe(name))
        places.append((begun + at - 1.0) / 2)
        at += 0.5
    if base is not None:
        figure.add_vline(x=factor * base, line={"dash": "dot", "width": 1.4, "color": GROUND})
    figure.update_yaxes(
        tickvals=places, ticktext=ticks, tickfont_size=13, autorange="reversed", showgrid=False, fixedrange=True
    )
    figure.update_xaxes(title_text=x_title, rangemode="tozero")
    figure.update_layout(margin_r=250 if several else 70)
    return figure


def _short(value: float, *, share: bool) -> str:
    return (f"{100 * value:.1f}" if share else f"{value:.2f}").replace("-", "−")


def places(rows: Mapping[str, Sequence[Dot]], title: str, segment: str) -> Any:
    """A line a student over the tenths of a span (rows named "0" to "9"), with its interval as a band."""
    figure = titled(title, height=400)
    lines: dict[str, list[tuple[int, Dot]]] = {}
    for tenth, found in rows.items():
        for dot in found:
            lines.setdefault(dot.label, []).append((int(tenth), dot))
    for label, line in lines.items():
        seen = look(line[0][1].condition)
        x = [10 * tenth + 5 for tenth, _ in line]
        if all(dot.low is not None for _, dot in line):
            band(figure, x, [dot.low for _, dot in line], [dot.high for _, dot in line], seen.color)
        figure.add_scatter(
            x=x,
            y=[dot.mean for _, dot in line],
            mode="lines+markers",
            line={"color": seen.color, "width": 2.2, "dash": seen.dash},
            marker={"symbol": seen.mark, "size": 7},
            hovertemplate=f"{safe(label)}: %{{y:.2f}}<extra></extra>",
        )
        figure.add_annotation(
            x=1.0, xref="paper", y=line[-1][1].mean, text=safe(label), showarrow=False, xanchor="left", xshift=8,
            font={"color": hue(line[0][1].condition), "size": 12},
        )  # fmt: skip
    figure.add_hline(y=1.0, line={"dash": "dot", "width": 1.4, "color": GROUND})
    figure.update_xaxes(title_text=f"place in the {segment}, percent of its length", range=[0, 100])
    figure.update_yaxes(title_text="times the mean token", rangemode="tozero")
    figure.update_layout(margin_r=190)
    return figure


def band(
    figure: Any, x: Sequence[float], low: Sequence[float | None], high: Sequence[float | None], color: str
) -> None:
    """An interval as a band between two lines."""
    figure.add_scatter(
        x=[*x, *reversed(x)],
        y=[*high, *reversed(low)],
        fill="toself",
        fillcolor=tint(color, 0.16),
        line={"width": 0},
        hoverinfo="skip",
        mode="lines",
    )


def drops(shown: Sequence[Drop], title: str) -> Any:
    """Left: the loss of probability when the highest tokens are taken away; right: when only they are kept. Dotted: as
    many random tokens.
    """
    from plotly.subplots import make_subplots

    figure = make_subplots(cols=2, horizontal_spacing=0.09)
    figure.update_layout(titled(title, height=430).layout)
    for one in shown:
        seen = look(one.condition)
        for column, own, random in ((1, one.without, one.random_without), (2, one.alone, one.random_alone)):
            for curve, dash, told in ((own, "solid", one.label), (random, "dot", f"{one.label}, random tokens")):
                x, known = (
                    [100 * share for share in one.shares],
                    [point for point in curve if point[1] is not None and point[2] is not None],
                )
                if len(known) == len(curve):
                    edge = [*(100 * high for _, _, high in curve), *(100 * low for _, low, _ in reversed(curve))]
                    figure.add_scatter(
                        x=[*x, *reversed(x)],
                        y=edge,
                        fill="toself",
                        fillcolor=tint(seen.color, 0.14 if dash == "solid" else 0.07),
                        line={"width": 0},
                        hoverinfo="skip",
                        mode="lines",
                        row=1,
                        col=column,
                    )
                figure.add_scatter(
                    x=x, y=[100 * mean for mean, _, _ in curve], mode="lines+markers", row=1, col=column,
                    line={"color": seen.color, "width": 2.2 if dash == "solid" else 1.5, "dash": dash},
                    marker={"symbol": seen.mark, "size": 7 if dash == "solid" else 4},
                    hovertemplate=f"{safe(told)}: %{{y:.1f}} points<extra></extra>",
                )  # fmt: skip
    figure.update_xaxes(title_text="share of the tokens, highest first, percent")
    figure.update_yaxes(title_text="probability lost without them, points", row=1, col=1)
    figure.update_yaxes(title_text="probability lost with them alone, points", row=1, col=2)
    return figure

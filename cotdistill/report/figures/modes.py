"""The figures of modes and of perturbed rationales. Plotly is imported on use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cotdistill.rationales.perturbations import CONTROL
from cotdistill.rationales.placement import MODES
from cotdistill.report.figures.base import AROUND, GROUND, ROW_HEIGHT, FigureItems, bar, safe, titled
from cotdistill.report.figures.palette import hue, look, tint
from cotdistill.report.figures.saliency import band
from cotdistill.report.figures.sweep import name_ends
from cotdistill.report.modes import MODE_NAMES, TEST_NAMES, loss_told, over_told
from cotdistill.results.modes import ModeCell, PerturbationCurve
from cotdistill.text import between, between_points, capital, percent, plural
from cotdistill.text import points as signed

MEASURE_AXES = {
    "correct": "accuracy on test, percent",
    "p_gold": "probability of the right answer, percent",
    "changed": "answers that change, percent",
}
# Half a cell: what is left is the gap between two.
HALF_WIDTH, HALF_HEIGHT = 0.46, 0.4


def grid(cells: Sequence[ModeCell], chance: float | None, title: str) -> Any:
    """Conditions by modes, each cell its accuracy: full in the condition's colour where its students were trained for
    the mode, else hollow.
    """
    conditions = list(dict.fromkeys(cell.condition for cell in cells))
    figure = titled(title, height=AROUND - 26 + ROW_HEIGHT * len(conditions))
    means = [cell.accuracy.mean for cell in cells if cell.accuracy is not None]
    low, high = min([*means, chance or 1.0], default=0.0), max(means, default=1.0)
    drawn = FigureItems(figure)
    places, hovers = [], []
    for cell in cells:
        x, y, seen = MODES.index(cell.mode), conditions.index(cell.condition), look(cell.condition)
        places.append((x, y))
        hovers.append(_cell_told(cell))
        if cell.accuracy is None:
            drawn.text(x=x, y=y, text="–", font={"size": 14, "color": GROUND})
            continue
        # The better, the fuller; a hollow cell has its edge only.
        depth = (cell.accuracy.mean - low) / (high - low) if high > low else 1.0
        drawn.shape(
            type="rect",
            x0=x - HALF_WIDTH,
            x1=x + HALF_WIDTH,
            y0=y - HALF_HEIGHT,
            y1=y + HALF_HEIGHT,
            layer="below",
            fillcolor=tint(seen.color, 0.08 + 0.26 * depth) if cell.trained else "rgba(0,0,0,0)",
            line={
                "color": tint(seen.color, 1.0 if cell.trained else 0.75),
                "width": 1.2,
                "dash": "solid" if cell.trained else "dot",
            },
        )
        number = f"{100 * cell.accuracy.mean:.1f}"
        few = (
            f" <span style='font-size:11px'>({len(cell.points)} of {cell.planned})</span>"
            if len(cell.points) < cell.planned
            else ""
        )
        drawn.text(x=x, y=y, text=(f"<b>{number}</b>" if cell.trained else f"{number} °") + few, font={"size": 14})
    drawn.place()
    figure.add_scatter(
        x=[x for x, _ in places],
        y=[y for _, y in places],
        mode="markers",
        hovertemplate=[f"{text}<extra></extra>" for text in hovers],
        marker={"symbol": "square", "size": 30, "opacity": 0},
    )
    figure.update_xaxes(
        tickvals=list(range(len(MODES))),
        ticktext=[MODE_NAMES[mode] for mode in MODES],
        side="top",
        range=[-0.55, len(MODES) - 0.45],
        showgrid=False,
        fixedrange=True,
        tickfont_size=13,
    )
    names = [
        f"<span style='color:{hue(c)}'>{safe(next(cell.label for cell in cells if cell.condition == c))}</span>"
        for c in conditions
    ]
    figure.update_yaxes(
        tickvals=list(range(len(conditions))),
        ticktext=names,
        tickfont_size=13,
        range=[len(conditions) - 0.5, -0.5],
        showgrid=False,
        fixedrange=True,
    )
    figure.update_layout(margin={"t": 76, "b": 12})
    return figure


def _cell_told(cell: ModeCell) -> str:
    text = f"{safe(cell.label)}, {MODE_NAMES[cell.mode]}: "
    if cell.accuracy is None:
        return text + "not asked yet"
    text += f"{percent(cell.accuracy.mean)}, interval {between(cell.accuracy.low, cell.accuracy.high)}"
    text += f"<br>{cell.items:,} questions, {plural(len(cell.points), 'replicate')}"
    text += f" of {cell.planned}" if len(cell.points) < cell.planned else ""
    if cell.over_direct is not None:
        gain = cell.over_direct
        text += f"<br>against no rationale: {signed(gain.mean)} points ({between_points(gain.low, gain.high)})"
    return text + ("" if cell.trained else "<br>not trained for this mode")


def curves(shown: Sequence[PerturbationCurve], chance: float | None, measure: str, title: str) -> Any:
    """One panel a graded test: each condition's curve from the intact rationale on, its intact line, and as many random
    tokens (dotted).
    """
    from plotly.subplots import make_subplots

    tests = list(dict.fromkeys(c.test for c in shown))
    figure = make_subplots(
        cols=len(tests), shared_yaxes=True, horizontal_spacing=0.03, subplot_titles=[_panel_title(t) for t in tests]
    )
    figure.update_layout(titled(title, height=440).layout)
    ends: list[tuple[float, str, str]] = []
    for column, test in enumerate(tests, start=1):
        for c in (c for c in shown if c.test == test):
            _line(figure, c, column)
            if column == len(tests):
                ends.append((100 * c.points[-1].value.mean, c.label + ("" if c.trained else " °"), hue(c.condition)))
    every = [
        100 * v
        for c in shown
        for p in c.points
        for one in (p.value, p.control)
        if one
        for v in (one.mean, one.low, one.high)
        if v is not None
    ]
    every += [100 * chance] if chance is not None and measure == "correct" else []
    low, high = min(every, default=0.0), max(every, default=100.0)
    room = 0.06 * (high - low or 1.0)
    figure.update_yaxes(range=[max(-1.0, low - room), min(101.0, high + room)])
    if chance is not None and measure == "correct":
        figure.add_hline(y=100 * chance, line={"dash": "dot", "width": 1.4, "color": GROUND})
        figure.add_annotation(
            x=0,
            xref="paper",
            y=100 * chance,
            text=f"chance {100 * chance:.0f} %",
            showarrow=False,
            xanchor="left",
            yanchor="bottom",
            font={"size": 12, "color": GROUND},
        )
    name_ends(figure, ends, shift=10, height=high - low)
    figure.update_xaxes(
        title_text="share of its tokens touched, percent", range=[-4, 104], tickvals=[0, 25, 50, 75, 100]
    )
    figure.update_yaxes(title_text=MEASURE_AXES[measure], row=1, col=1)
    figure.update_layout(margin={"r": 200, "t": 96})
    return figure


def _panel_title(test: str) -> str:
    """The name, and what the dotted lines are; the control's own panel has none."""
    second = "the control of the others" if test == CONTROL else "dotted: as many random tokens instead"
    return f"{capital(TEST_NAMES[test])}<br><span style='font-size:11px'>{second}</span>"


def _line(figure: Any, c: PerturbationCurve, column: int) -> None:
    seen, where = look(c.condition), {"row": 1, "col": column}
    x = [100 * p.share for p in c.points]
    y = [100 * p.value.mean for p in c.points]
    mark = seen.mark if c.trained or seen.hollow else f"{seen.mark}-open"
    figure.add_scatter(
        x=[0, 100],
        y=[y[0], y[0]],
        mode="lines",
        line={"color": tint(seen.color, 0.45), "width": 1, "dash": "dash"},
        hoverinfo="skip",
        **where,
    )
    if all(p.value.low is not None and p.value.high is not None for p in c.points):
        edge = ([100 * (p.value.low or 0.0) for p in c.points], [100 * (p.value.high or 0.0) for p in c.points])
        before = len(figure.data)
        band(figure, x, *edge, seen.color)
        figure.data[before].update(xaxis=f"x{column if column > 1 else ''}", yaxis=f"y{column if column > 1 else ''}")
    if all(p.control is not None for p in c.points):
        controls = [100 * p.control.mean for p in c.points if p.control is not None]
        figure.add_scatter(
            x=x, y=controls, mode="lines", line={"color": seen.color, "width": 1.5, "dash": "dot"},
            hovertemplate=f"{safe(c.label)}, random tokens: %{{y:.1f}}<extra></extra>", **where,
        )  # fmt: skip
    hovers = [
        f"{safe(c.label)}, {100 * p.share:.0f} %: {percent(p.value.mean)}, interval"
        f" {between(p.value.low, p.value.high)}" + ("" if c.trained else "<br>not trained for this")
        for p in c.points
    ]
    figure.add_scatter(
        x=x, y=y, mode="lines+markers", line={"color": seen.color, "width": 2.2 if c.trained else 1.6},
        marker={"symbol": mark, "size": 8, "color": seen.color, "line": {"width": 1.8, "color": seen.color}},
        hovertemplate=[f"{text}<extra></extra>" for text in hovers], **where,
    )  # fmt: skip


def points(shown: Sequence[PerturbationCurve], measure: str, title: str) -> Any:
    """Tests made at one point: a row a test and condition, its value with the interval, as many random tokens (small
    cross), the intact line.
    """
    tests = list(dict.fromkeys(c.test for c in shown))
    figure = titled(title, height=96 + 25 * len(shown) + 12 * len(tests))
    at, ticks, places = 0.0, [], []
    for test in tests:
        begun, curves_of_test = at, [c for c in shown if c.test == test]
        for c in curves_of_test:
            _row(figure, c, at)
            at += 1.0
        ticks.append(capital(TEST_NAMES[test]))
        places.append((begun + at - 1.0) / 2)
        at += 0.6
    figure.update_yaxes(
        tickvals=places, ticktext=ticks, tickfont_size=13, range=[at - 0.6, -0.8], showgrid=False, fixedrange=True
    )
    figure.update_xaxes(title_text=MEASURE_AXES[measure])
    figure.update_layout(margin_r=330)
    return figure


def _row(figure: Any, c: PerturbationCurve, at: float) -> None:
    seen, value, intact, control = look(c.condition), c.points[-1].value, c.points[0].value, c.points[-1].control
    name = f"<span style='color:{hue(c.condition)}'>{safe(c.label)}{'' if c.trained else ' °'}</span>"
    if not c.applied:
        figure.add_annotation(
            x=1.0,
            xref="paper",
            y=at,
            text=f"cannot be made  {name}",
            showarrow=False,
            xanchor="left",
            xshift=8,
            font_size=12,
        )
        return
    figure.add_scatter(
        x=[100 * intact.mean] * 2,
        y=[at - 0.42, at + 0.42],
        mode="lines",
        line={"color": seen.color, "width": 1.4, "dash": "dash"},
        hovertemplate=f"{safe(c.label)}, intact: {percent(intact.mean)}<extra></extra>",
    )
    hover = (
        f"{safe(c.label)}, {TEST_NAMES[c.test]}: {percent(value.mean)}, interval"
        f" {between(value.low, value.high)}<br>lost {loss_told(c)} points"
    )
    hover += (
        f", against random tokens {over_told(c)}<br>made on {percent(c.applied)} of the rows, {percent(c.touched)} of"
        " the tokens"
    )
    if value.low is not None and value.high is not None:
        bar(
            figure,
            100 * value.low,
            100 * value.high,
            at,
            seen.color,
            f"{c.label}: interval {between(value.low, value.high)}",
        )
    if control is not None:
        figure.add_scatter(
            x=[100 * control.mean],
            y=[at],
            mode="markers",
            marker={"symbol": "x-thin", "size": 8, "line": {"width": 1.6, "color": GROUND}},
            hovertemplate=f"{safe(c.label)}, as many random tokens: {percent(control.mean)}<extra></extra>",
        )
    figure.add_scatter(
        x=[100 * value.mean], y=[at], mode="markers", hovertemplate=f"{hover}<extra></extra>",
        marker={
            "symbol": seen.mark if c.trained or seen.hollow else f"{seen.mark}-open", "size": 11, "color": seen.color,
            "line": {"width": 1.8, "color": seen.color},
        },
    )  # fmt: skip
    text = f"<b>{100 * value.mean:.1f}</b>  {name}"
    figure.add_annotation(x=1.0, xref="paper", y=at, text=text, showarrow=False, xanchor="left", xshift=8, font_size=12)

"""Compare: accuracy against the number of training examples, by condition, and the distance to the baseline at each
number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.report import captions, markup
from cotdistill.report.commands import command
from cotdistill.report.figures import base
from cotdistill.report.figures.base import GROUND, safe
from cotdistill.report.figures.palette import hue, look, tint
from cotdistill.report.figures.sweep import name_ends
from cotdistill.results import results, training_size
from cotdistill.results.results import ConditionSummary
from cotdistill.results.training_size import Gap, SizeCurve
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.text import between, between_points, capital, count, percent, plain_markdown, plural, points

BASELINE = "label_only"


def draw_size(store: Store, study: Study) -> None:
    """The figures of a study in which conditions were trained on shares of the rows; what to compose where there are
    none yet.
    """
    curves = training_size.size_curves(store, study.id)
    if not curves:
        st.info(
            plain_markdown(
                "No condition of this study has finished runs at two sizes of the training set. On page Train, cross"
                " the conditions with shares of the rows, such as 0.1, 0.25, 0.5 and 1; in the terminal: study run"
                " --fractions 0.1,0.25,0.5,1"
            ),
            icon=":material/info:",
        )
        return
    summaries = results.summary(store, study.id)
    gaps = training_size.gaps(store, study.id, curves, BASELINE)
    first = curves[0].sizes[0].summary
    frame.chart(
        figure(curves, levels(summaries), title(curves)),
        "size",
        f"Each mark a condition at one number of training examples: mean over its replicates, {first.items:,} test"
        f" questions in {plural(first.clusters, 'cluster')}. Bar: 95 % interval; {first.speaks_of}. At equal steps a"
        " smaller set is seen more often. A smaller set lies within each larger one. Exploratory: no verdict rests on"
        f" it. {captions.missing_told(summaries)}",
    )
    if gaps:
        frame.chart(
            gap_figure(gaps, gap_title(gaps)),
            "size-gaps",
            "Paired on questions and replicates: both students were trained on the same rows. Bar: 95 % interval of the"
            " difference. Exploratory.",
        )
    _numbers(curves, gaps)
    frame.terminal(command("study", "show", study.name, "--by", "size"))


def title(curves: Sequence[SizeCurve]) -> str:
    """What the smallest set costs: the condition that loses least, and the one that loses most."""
    losses = sorted(
        ((curve.sizes[-1].summary.mean or 0.0) - (curve.sizes[0].summary.mean or 0.0), curve.label) for curve in curves
    )
    (least, label), (most, other) = losses[0], losses[-1]
    rows = f"from {count(curves[0].sizes[0].rows)} to {count(curves[0].sizes[-1].rows)} training examples"
    if len(losses) == 1:
        return f"{capital(label)}: {points(least)} points {rows}"
    return f"{capital(rows)}, {other} changes by {points(most)} points, {label} by {points(least)}"


def gap_title(gaps: Sequence[Gap]) -> str:
    """The largest distance at the smallest set, and what it is at the largest one."""
    smallest = min(gap.fraction for gap in gaps)
    lead = max((gap for gap in gaps if gap.fraction == smallest), key=lambda gap: gap.difference)
    last = max((gap for gap in gaps if gap.condition == lead.condition), key=lambda gap: gap.fraction)
    return (
        f"{capital(lead.label)} stands {points(lead.difference)} points from label only on {count(lead.rows)} examples,"
        f" {points(last.difference)} on {count(last.rows)}"
    )


def levels(summaries: Sequence[ConditionSummary]) -> list[tuple[str, str, float]]:
    """What knows no training rows: the student as it was, and chance. (name, colour, share)."""
    values = [
        ("undistilled", hue(s.condition), s.mean)
        for s in summaries
        if s.condition == "undistilled" and s.mean is not None
    ]
    chance = results.chance_of(summaries)
    return [*values, *([("chance", GROUND, chance)] if chance is not None else [])]


def figure(curves: Sequence[SizeCurve], across: Sequence[tuple[str, str, float]], said: str) -> Any:
    """Accuracy by training examples (logarithmic), every replicate faint, the mean and its interval strong, names at
    the ends.
    """
    drawn = base.titled(said, height=520)
    for _, color, share in across:
        drawn.add_hline(y=100 * share, line={"dash": "dot", "width": 1.4, "color": color})
    for curve in curves:
        seen = look(curve.condition)
        texts = []
        for one in curve.sizes:
            texts.append(
                f"{safe(curve.label)}, {count(one.rows)} examples ({one.epochs:.1f} epochs):"
                f" {percent(one.summary.mean)}, interval {between(one.summary.low, one.summary.high)},"
                f" {one.summary.finished} of {one.summary.planned} replicates<extra></extra>"
            )
            _bar(drawn, one.rows, one.summary.low, one.summary.high, seen.color)
            drawn.add_scatter(
                x=[one.rows] * len(one.summary.points),
                y=[100 * v for v in one.summary.points],
                mode="markers",
                hoverinfo="skip",
                marker={"symbol": "line-ew", "size": 9, "line": {"width": 1.4, "color": tint(seen.color, 0.7)}},
            )
        drawn.add_scatter(
            x=[one.rows for one in curve.sizes],
            y=[100 * (one.summary.mean or 0) for one in curve.sizes],
            mode="lines+markers",
            hovertemplate=texts,
            line={"color": seen.color, "width": 2.2, "dash": seen.dash},
            marker={"symbol": seen.mark, "size": 10, "color": seen.color},
        )
    ends = [(100 * (curve.sizes[-1].summary.mean or 0), curve.label, hue(curve.condition)) for curve in curves]
    ends += [(100 * share, name, color) for name, color, share in across]
    _finish(drawn, curves_rows(curves), ends, "accuracy on test, percent")
    return drawn


def gap_figure(gaps: Sequence[Gap], said: str) -> Any:
    """Differences to the baseline by training examples, with their intervals."""
    drawn = base.titled(said, height=420)
    drawn.add_hline(y=0, line={"width": 1.4, "color": GROUND})
    ends = []
    for condition in dict.fromkeys(one.condition for one in gaps):
        condition_gaps, seen = [one for one in gaps if one.condition == condition], look(condition)
        texts = []
        for one in condition_gaps:
            against = f"{safe(one.label)} against label only, {count(one.rows)} examples"
            texts.append(
                f"{against}: {points(one.difference)} points, {between_points(one.low, one.high)},"
                f" {one.word}<extra></extra>"
            )
            _bar(drawn, one.rows, one.low, one.high, seen.color)
        drawn.add_scatter(
            x=[one.rows for one in condition_gaps],
            y=[100 * one.difference for one in condition_gaps],
            mode="lines+markers",
            hovertemplate=texts,
            line={"color": seen.color, "width": 2.2, "dash": seen.dash},
            marker={"symbol": seen.mark, "size": 10, "color": seen.color},
        )
        ends.append((100 * condition_gaps[-1].difference, condition_gaps[-1].label, hue(condition)))
    _finish(drawn, sorted({one.rows for one in gaps}), ends, "points of accuracy against label only")
    return drawn


def curves_rows(curves: Sequence[SizeCurve]) -> list[float]:
    """Every number of training examples in view, rising."""
    return sorted({one.rows for curve in curves for one in curve.sizes})


def _bar(drawn: Any, x: float, low: float | None, high: float | None, color: str) -> None:
    """An interval as a thick upright line, where there is one."""
    if low is not None and high is not None:
        drawn.add_scatter(
            x=[x, x],
            y=[100 * low, 100 * high],
            mode="lines",
            line={"color": tint(color, 0.3), "width": 6},
            hoverinfo="skip",
        )


def _finish(drawn: Any, rows: Sequence[float], ends: Sequence[tuple[float, str, str]], y_title: str) -> None:
    """A logarithmic axis with a tick at every size, and names beside the last points."""
    name_ends(drawn, ends)
    drawn.update_xaxes(
        type="log",
        tickvals=list(rows),
        ticktext=[count(one) for one in rows],
        title_text="training examples",
        showgrid=False,
    )
    drawn.update_yaxes(title_text=y_title)
    drawn.update_layout(margin_r=230)


def _numbers(curves: Sequence[SizeCurve], gaps: Sequence[Gap]) -> None:
    against = {(one.condition, one.fraction): one for one in gaps}
    cells = []
    for curve in curves:
        for one in curve.sizes:
            gap = against.get((curve.condition, one.fraction))
            cells.append(
                [
                    markup.TableCell(curve.label, condition=curve.condition),
                    markup.TableCell(f"{100 * one.fraction:g} %"),
                    markup.TableCell(count(one.rows)),
                    markup.TableCell(f"{one.epochs:.1f}", quiet=True),
                    markup.TableCell(percent(one.summary.mean)),
                    markup.TableCell(between(one.summary.low, one.summary.high), quiet=True),
                    markup.TableCell(f"{points(gap.difference)} ({between_points(gap.low, gap.high)})" if gap else "–"),
                ]
            )
    with st.expander("The numbers", type="compact"):
        heads = ("Condition", "Share", "Examples", "Epochs", "Accuracy", "95 % interval", "Against label only")
        st.html(markup.table(heads, cells, "accuracy by training examples"))

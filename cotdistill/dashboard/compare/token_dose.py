"""Compare: accuracy against how many rationale tokens are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.report import captions
from cotdistill.report.figures import base
from cotdistill.report.figures.base import safe
from cotdistill.report.figures.palette import hue, look, tint
from cotdistill.report.figures.sweep import name_ends
from cotdistill.results import token_dose
from cotdistill.results.results import ConditionSummary
from cotdistill.results.token_dose import Dose
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.text import between, capital, percent, plain_markdown, plural


def draw(store: Store, study: Study, summaries: Sequence[ConditionSummary]) -> None:
    doses = token_dose.doses(store, study.id)
    if len({round(one.predicted, 2) for one in doses}) < 2:
        st.info(
            plain_markdown(
                "The finished conditions of this study train on equally many tokens. Compose some that keep a part of"
                " the rationale on page Train, for example post_cot/drop(fraction=0.5) or"
                " post_cot/key_tokens(selector=tf_idf,k=5)."
            ),
            icon=":material/info:",
        )
        return
    first = next(s for s in summaries if s.finished)
    frame.chart(
        figure(doses, title(doses)),
        "dose",
        f"Each mark a condition at equal steps: mean over its replicates, {first.items:,} test questions in"
        f" {plural(first.clusters, 'cluster')}. Bar: 95 % interval; {first.speaks_of}. Lines join conditions that"
        " differ in the dose alone. Masked tokens without loss do not count. Exploratory: verdicts stand under"
        f" Accuracy. {captions.missing_told(summaries)}",
    )


def title(doses: Sequence[Dose]) -> str:
    """The condition that reaches the top with the fewest tokens: within a point of the best of its placement."""
    rated = [(dose, dose.summary.mean or 0.0) for dose in doses]
    best, top = max(rated, key=lambda pair: pair[1])
    near = [dose for dose, mean in rated if mean >= top - 0.01]
    least = min(near, key=lambda dose: dose.predicted)
    if least is best:
        return (
            f"{capital(best.summary.label)} is highest, with {plural(round(best.predicted), 'predicted token')} an"
            " example"
        )
    return (
        f"{capital(least.summary.label)} is within a point of the highest, with {least.predicted:.0f} of"
        f" {best.predicted:.0f} predicted tokens"
    )


def figure(doses: Sequence[Dose], said: str) -> Any:
    """Accuracy by predicted tokens of an example; families joined by lines, names beside their marks at the right."""
    drawn = base.titled(said, height=520)
    for family in dict.fromkeys(one.family for one in doses if one.family):
        family_doses = [one for one in doses if one.family == family]
        if len(family_doses) > 1:
            color = look(family_doses[0].summary.condition).color
            drawn.add_scatter(
                x=[one.predicted for one in family_doses],
                y=[100 * (one.summary.mean or 0) for one in family_doses],
                mode="lines",
                line={"color": tint(color, 0.6), "width": 2},
                hoverinfo="skip",
            )
    for one in doses:
        _mark(drawn, one)
    _names(drawn, doses)
    drawn.update_xaxes(title_text="predicted tokens of a training example (label and rationale)", rangemode="tozero")
    drawn.update_yaxes(title_text="accuracy on test, percent")
    drawn.update_layout(margin_r=300)
    return drawn


def _mark(drawn: Any, dose: Dose) -> None:
    summary, seen = dose.summary, look(dose.summary.condition)
    if summary.low is not None and summary.high is not None:
        drawn.add_scatter(
            x=[dose.predicted] * 2, y=[100 * summary.low, 100 * summary.high], mode="lines", hoverinfo="skip",
            line={"color": tint(seen.color, 0.35), "width": 4},
        )  # fmt: skip
    text = (
        f"{summary.label}: {percent(summary.mean)}, interval {between(summary.low, summary.high)}, {dose.predicted:.1f}"
        " predicted tokens, "
    )
    text += f"{summary.finished} of {summary.planned} replicates"
    drawn.add_scatter(
        x=[dose.predicted], y=[100 * (summary.mean or 0)], mode="markers", hovertemplate=f"{safe(text)}<extra></extra>",
        marker={"symbol": seen.mark, "size": 11, "color": seen.color, "line": {"width": 1.8, "color": seen.color}},
    )  # fmt: skip


def _names(drawn: Any, doses: Sequence[Dose]) -> None:
    """The whole name of a condition without a dose at the right edge, in the order of the accuracies; a dose beside its
    own mark.
    """
    for one in doses:
        if one.family:
            drawn.add_annotation(
                x=one.predicted,
                y=100 * (one.summary.mean or 0),
                text=safe(one.dose),
                showarrow=False,
                xanchor="left",
                xshift=8,
                yshift=9,
                font={"size": 11, "color": hue(one.summary.condition)},
            )
    last = {one.family or one.summary.condition: one for one in doses}
    name_ends(drawn, [(100 * (one.summary.mean or 0), one.name, hue(one.summary.condition)) for one in last.values()])

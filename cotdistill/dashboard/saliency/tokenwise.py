"""Each rationale token explained by itself, onto all that stands before it: one matrix a student. Where does a written
rationale come from?
"""

from __future__ import annotations

import dataclasses

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.saliency import attribution_cards
from cotdistill.dashboard.widgets import asking
from cotdistill.dashboard.widgets.pickers import method_name
from cotdistill.dashboard.widgets.view_state import Scene, commands
from cotdistill.report import heat
from cotdistill.report.explanation import AttributionMatrix, matrix
from cotdistill.report.figures import saliency
from cotdistill.report.heat import Scale
from cotdistill.text import capital, listed, plain_markdown

# How the spans are called where a rationale token is explained: its own span is what was written before it.
SPANS = {"rationale": "earlier rationale"}


def draw(scene: Scene) -> None:
    """By the first method in view; the matrices share one scale."""
    method = scene.methods[0]
    scene = dataclasses.replace(scene, methods=(method,))
    asked = attribution_cards.ask(scene)
    title, place = st.empty(), st.container()
    asking.wait(attribution_cards.questions_of(asked), lambda: None, "Explaining every token of the rationale")
    asking.failures(attribution_cards.questions_of(asked))
    matrices = [(one, matrix(explained, scene.unit)) for one in asked if (explained := one.explained(method))]
    if matrices:
        title.subheader(
            plain_markdown(_headline([(one.student.condition.label, m) for one, m in matrices if not one.which])),
            anchor=False,
        )
    limit = max((abs(v) for _, m in matrices for line in m.values for v in line if v == v), default=0.0)
    scale = (
        heat.signed_scale(limit)
        if attribution_cards.is_signed(scene, method)
        else heat.length_scale(limit, attribution_cards.LENGTHS.get(method, "nats"))
    )
    with place:
        if matrices:
            st.html(heat.legend(scale, _says(scale)))
        for one in asked:
            name = f"{one.student.label}{', edited' if one.which else ''}"
            own_matrix = next((m for other, m in matrices if other is one), None)
            if own_matrix is not None:
                frame.chart(
                    saliency.matrix(own_matrix, scale, f"{capital(name)}: {_shares(own_matrix)}"),
                    f"matrix.{one.student.key}.{one.which}",
                )
            elif one.refused:
                st.caption(plain_markdown(f"{name}: {one.refused}"))
    drawn = (
        f" Only the first {saliency.MOST_ROWS} are drawn."
        if any(len(m.rows) > saliency.MOST_ROWS for _, m in matrices)
        else ""
    )
    st.caption(
        plain_markdown(
            f"One example of {scene.split}; {method_name(method)}. Each row is a {scene.unit} of the rationale, read"
            " from left to right: what speaks for it among all that stands before it. Shares are of absolute scores,"
            f" averaged over rows.{drawn}"
        )
    )
    frame.terminal(*commands(scene, {one.student.key: one.target for one in asked if not one.which}))


def _says(scale: Scale) -> str:
    return (
        "blue speaks for the token of the row; orange against it (nats)"
        if scale.signed
        else f"how much, without a sign ({scale.unit})"
    )


def _shares(matrix_shown: AttributionMatrix) -> str:
    ordered = sorted(matrix_shown.shares.items(), key=lambda pair: -pair[1])
    return (
        ", ".join(f"{100 * share:.0f} % {SPANS.get(span, span)}" for span, share in ordered if share >= 0.005)
        or "nothing to read"
    )


def _headline(matrices: list[tuple[str, AttributionMatrix]]) -> str:
    """Which span the rationale rests on most, by student."""
    tops = [(name, max(m.shares, key=lambda s: m.shares[s]), m) for name, m in matrices if m.shares]
    if tops and {span for _, span, _ in tops} == {"rationale"}:
        parts = [f"{100 * m.shares['rationale']:.0f} % for {name}" for name, _, m in tops]
        return f"The rationale rests most on what is written before it: {listed(dict.fromkeys(parts))}"
    parts = [
        f"{name}'s rationale rests {100 * m.shares[span]:.0f} % on the {SPANS.get(span, span)}"
        for name, span, m in tops
    ]
    return capital(listed(dict.fromkeys(parts))) or "What the rationale rests on"

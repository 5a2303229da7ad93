"""Whether a method's ranking says what a student uses: curves of taking tokens away and keeping them alone, beside
random tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.widgets import job_requests
from cotdistill.dashboard.widgets.job_requests import RequestedJob
from cotdistill.dashboard.widgets.pickers import method_name
from cotdistill.dashboard.widgets.view_state import Scene
from cotdistill.report import markup
from cotdistill.report.figures import saliency
from cotdistill.report.figures.saliency import Drop
from cotdistill.text import between_points, capital, plain_markdown, points

WILL = (
    "Here will stand whether the highest tokens are really those that the student uses: how much probability its answer"
    " loses without them, and with them alone, always beside random tokens of the same number, with intervals."
)
CURVES = ("without", "alone", "random_without", "random_alone")


def draw(scene: Scene) -> None:
    """The figure of the first method in view, and a table of all of them."""
    requests = job_requests.faithfulness(scene)
    job_requests.offer(scene, requests, WILL, "judge", scene.split)
    done = [one for one in requests if one.finished]
    if not done:
        return
    method = next(m for m in scene.methods if any(one.method == m for one in done))
    finished = [one for one in done if one.method == method]
    drops = [_drop(one) for one in finished]
    frame.chart(saliency.drops(drops, _title(finished)), "many.faithfulness")
    st.html(
        markup.table(
            ("Student", "Method", "Without them", "Alone", "With leaving one out"),
            [_row(one) for one in done],
            "faithfulness",
        )
    )
    examples, clusters = done[0].result["examples"], done[0].result["clusters"]
    st.caption(
        plain_markdown(
            f"{examples:,} {scene.split} examples in {clusters:,} clusters; {method_name(method)}; answer explained:"
            f" {job_requests.answer_of(scene)}. Left (comprehensiveness): the higher above the dotted line, the more"
            " the ranking names what was needed. Right (sufficiency): the lower below it, the more its highest tokens"
            " are enough. Dotted: random tokens of the same number, mean over random orders. Bands: 95 % interval over"
            " clusters. A token is taken away by setting it to the baseline. Table: area between the curve and its"
            " random control, in points; rank correlation with taking each token away alone."
        )
    )


def _drop(request: RequestedJob) -> Drop:
    curves: dict[str, Sequence[Sequence[Any]]] = {
        name: [(point["mean"], point["low"], point["high"]) for point in request.result["curves"][name]]
        for name in CURVES
    }
    return Drop(str(request.student.condition), request.student.label, request.result["shares"], **curves)


def _title(finished: Sequence[RequestedJob]) -> str:
    first = finished[0]
    over = first.result["comprehensiveness_over_random"]
    what = f"the tokens that {method_name(first.method)} ranks highest"
    if over["low"] is not None and over["low"] > 0:
        return f"{capital(first.student.label)} needs {what}: {points(over['mean'])} points over random ones"
    if over["high"] is not None and over["high"] < 0:
        return f"{capital(first.student.label)} needs {what} less than random ones: {points(over['mean'])} points"
    return (
        f"{capital(first.student.label)}: {what} are not distinguishable from random ones ({points(over['mean'])}"
        " points)"
    )


def _row(request: RequestedJob) -> list[markup.TableCell]:
    return [
        markup.TableCell(request.student.label, condition=str(request.student.condition)),
        markup.TableCell(method_name(request.method)),
        markup.TableCell(_mean_text(request.result["comprehensiveness_over_random"])),
        markup.TableCell(_mean_text(request.result["sufficiency_over_random"])),
        markup.TableCell(_rank(request.result["leave_one_out"])),
    ]


def _mean_text(mean: Mapping[str, Any]) -> str:
    return f"{points(mean['mean'])} ({between_points(mean['low'], mean['high'])})"


def _rank(mean: Mapping[str, Any] | None) -> str:
    if mean is None:
        return "–"
    text = f"{mean['mean']:+.2f}"
    if mean["low"] is not None and mean["high"] is not None:
        text += f" ({mean['low']:+.2f} to {mean['high']:+.2f})"
    return text.replace("-", "−")

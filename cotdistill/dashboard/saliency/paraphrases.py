"""How far attributions agree between wordings of the same question: below their agreement between students and
methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.widgets import job_requests
from cotdistill.dashboard.widgets.job_requests import RequestedJob
from cotdistill.dashboard.widgets.pickers import method_name
from cotdistill.dashboard.widgets.view_state import Scene
from cotdistill.report.figures import saliency
from cotdistill.report.figures.saliency import Dot
from cotdistill.report.paraphrases import SCOPE_NAMES, title
from cotdistill.tasks.catalog import TASKS
from cotdistill.text import listed, percent, plain_markdown

WILL = (
    "Here will stand whether a student rests on the same words when the same question is asked in other words: the rank"
    " correlation of its attributions over the words that both wordings have, beside that with another question at the"
    " same places."
)
CONTROL = "the same places, another question"


def draw(scene: Scene) -> None:
    """For tasks whose wordings are known; nothing elsewhere."""
    if scene.study.spec["task"] not in TASKS:
        return
    frame.section("The same question in other words")
    requests = job_requests.paraphrases(scene)
    job_requests.offer(scene, requests, WILL, "reword", scene.split)
    done = [one for one in requests if one.finished]
    method = next((m for m in scene.methods if any(one.method == m for one in done)), "")
    finished = [one for one in done if one.method == method]
    if not finished:
        return
    results = {one.student.label: one.result for one in finished}
    frame.chart(
        saliency.dots(_rows(finished), title(results), "rank correlation between wordings", base=0.0),
        "many.paraphrases",
    )
    answers = listed(f"{name} ({percent(one['answers']['mean'])})" for name, one in results.items())
    first = finished[0].result
    st.caption(
        plain_markdown(
            f"{first['examples']:,} {scene.split} questions in {first['clusters']:,} clusters, each in"
            f" {first['versions']:.0f} wordings; {method_name(method)} of the target {job_requests.answer_of(scene)}."
            " Spearman's correlation over the content words that two wordings share, mean over every two; the"
            " rationale stays the teacher's. Beside it the same words by place, of a question about something else:"
            f" what the place alone explains. The same answer in every wording: {answers}. Intervals: 95 %, over"
            " clusters. After arXiv 2307.13339."
        )
    )


def _rows(finished: Sequence[RequestedJob]) -> dict[str, list[Dot]]:
    rows: dict[str, list[Dot]] = {}
    for scope in ("question", "rationale"):
        for key, name in (("rank", SCOPE_NAMES[scope]), ("control", CONTROL)):
            for one in finished:
                mean: dict[str, Any] | None = one.result["scopes"].get(scope, {}).get(key)
                if mean is not None and (key == "rank" or scope == "question"):
                    rows.setdefault(name, []).append(
                        Dot(str(one.student.condition), one.student.label, mean["mean"], mean["low"], mean["high"])
                    )
    return rows

"""Where the attention goes from the place where the answer is read: layer by head, students side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.widgets import job_requests, pickers
from cotdistill.dashboard.widgets.job_requests import RequestedJob
from cotdistill.dashboard.widgets.view_state import Scene
from cotdistill.report.figures import attention
from cotdistill.report.figures.attention import REGION_NAMES, Attended
from cotdistill.store.store import Store
from cotdistill.studies.analyses.attention import AttentionConfig
from cotdistill.text import capital, listed, percent, plain_markdown

WILL = (
    "Here will stand how much of each head's attention goes to the words that decide, from the place where the answer"
    " is read, against the share that their length alone would give."
)


def draw(scene: Scene) -> None:
    """The choice of a region, and the maps of the students in view."""
    requests = job_requests.by_student(scene, AttentionConfig)
    job_requests.offer(scene, requests, WILL, "read", scene.split, start=400)
    done = [one for one in requests if one.finished]
    if not done:
        return
    known = [name for name in REGION_NAMES if any(name in one.result["regions"] for one in done)]
    region = pickers.switch(
        "Attention on", known, key="region", start=known[0], label_of=lambda name: REGION_NAMES[name]
    )
    shown = [_attended(scene.store, one, region) for one in done if region in one.result["regions"]]
    frame.chart(attention.heat(shown, _title(shown, region)), "many.attention")
    lacking = [one.student.label for one in done if region not in one.result["regions"]]
    if lacking:
        st.info(
            plain_markdown(
                f"No map, and not 0: {listed(lacking)}. No {REGION_NAMES[region]} stands before their answer."
            ),
            icon=":material/block:",
        )
    st.caption(plain_markdown(_caption(shown, region, scene.split, artificial="latent" in known)))


@st.cache_data(max_entries=32)
def _heads(_store: Store, digest: str) -> pd.DataFrame:
    return _store.artifacts.table(digest)


def _attended(store: Store, request: RequestedJob, region: str) -> Attended:
    assert request.job is not None
    heads = _heads(store, request.job.produced["heads"])
    region_rows = heads[(heads["region"] == region) & (heads["layer"] > 0)].astype(object)
    rows: list[dict[Any, Any]] = region_rows.where(region_rows.notna(), None).to_dict("records")
    return Attended(
        str(request.student.condition),
        request.student.label,
        int(request.result["layers"]),
        int(request.result["heads"]),
        rows,
    )


def _title(shown: Sequence[Attended], region: str) -> str:
    cell, student = max(
        ((cell, student) for student in shown for cell in student.cells if cell["head"] > 0),
        key=lambda pair: float(pair[0]["over"]),
    )
    if cell["over"] <= 0:
        return f"No head attends to {REGION_NAMES[region]} more than its length would give"
    return (
        f"{capital(student.label)}: layer {cell['layer']}, head {cell['head']} has {percent(cell['share'])} of its"
        f" attention on {REGION_NAMES[region]}, {percent(cell['uniform'])} by length"
    )


def _caption(shown: Sequence[Attended], region: str, split: str, *, artificial: bool) -> str:
    first = shown[0].cells[0]
    what = {
        "relevant": (
            "What decides: the right answer's text in choices and rationale"
            + (", the creature and its group. " if artificial else ". ")
        ),
        "latent": "The latent type: the group's name in the rationale. ",
        "subject": "What is asked about: the creature in the question. ",
    }.get(region, "")
    return (
        f"{first['examples']:,} {split} examples in {first['clusters']:,} clusters, read from the last token before the"
        f" answer; a pre-CoT student after the teacher's rationale. {what}Numbers: percent of a head's attention."
        " Colour: less the share of the tokens that it can see, blue above it. 95 % interval on hover, over clusters,"
        " for this one student each; the title names the best of many heads, chosen after looking. Attention says"
        " where a head looks, not what the answer rests on. arXiv 2410.02167."
    )

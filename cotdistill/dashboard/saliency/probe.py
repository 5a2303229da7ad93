"""Where and when the answer is formed: linear probes on hidden states, by layer and place, students side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.widgets import job_requests
from cotdistill.dashboard.widgets.job_requests import RequestedJob
from cotdistill.dashboard.widgets.view_state import Scene, task_of_student
from cotdistill.report.figures import probe
from cotdistill.report.figures.probe import PLACES, Probed
from cotdistill.store.store import Store
from cotdistill.studies.analyses.probe import CLASSES, ProbeConfig, class_names
from cotdistill.text import capital, plain_markdown, points

WILL = (
    "Here will stand what a linear map can read off the student's hidden states, layer by layer and place by place: the"
    " answer, or a latent class of the task, always beside a control task that the probe can only learn by heart."
)


def draw(scene: Scene) -> None:
    """The choice of a class, and the maps of the students in view."""
    if scene.split == "train":
        st.info(
            "Probes are fitted on training rows, so they are judged on others: choose the dev or the test split above."
        )
        return
    known = class_names(task_of_student(scene.store, scene.students[0]).examples(scene.split))
    what = frame.choose(
        "Probe for",
        known,
        key="what",
        start=known[0],
        label_of=lambda name: f"{name}: {CLASSES[name]}" if name in CLASSES else name,
    )
    requests = job_requests.by_student(scene, ProbeConfig, what=what)
    job_requests.offer(scene, requests, WILL, "probe", scene.split, start=400)
    done = [one for one in requests if one.finished]
    if not done:
        return
    frame.chart(probe.heat([_probed(scene.store, one) for one in done], _title(done, what)), "many.probe")
    st.caption(plain_markdown(_caption(done[0].result, scene.split)))


@st.cache_data(max_entries=32)
def _cells(_store: Store, digest: str) -> pd.DataFrame:
    return _store.artifacts.table(digest)


def _probed(store: Store, request: RequestedJob) -> Probed:
    assert request.job is not None
    cells = _cells(store, request.job.produced["cells"]).astype(object)
    rows: list[dict[Any, Any]] = cells.where(cells.notna(), None).to_dict("records")
    return Probed(
        str(request.student.condition), request.student.label, request.result["layers"], request.result["places"], rows
    )


def _title(done: Sequence[RequestedJob], what: str) -> str:
    strongest = max(done, key=lambda strongest: float(strongest.result["best"]["over"]))
    best = strongest.result["best"]
    layer = f"layer {best['layer']}" if best["layer"] else "the embeddings"
    return (
        f"{capital(what)}: furthest over its control in {strongest.student.label}, {layer}, {PLACES[best['place']]}"
        f" ({points(best['over'])} points)"
    )


def _caption(result: Mapping[str, Any], split: str) -> str:
    guess = "guessing among the choices" if result["what"] == "answer" else "the most frequent class"
    left = (
        f" {result['left_out']:,} left out: a place is missing, or no training row shows the class."
        if result["left_out"]
        else ""
    )
    return (
        f"{result['examples']:,} {split} examples in {result['clusters']:,} clusters; logistic regression fitted on"
        f" {result['rows']:,} training rows, {result['classes']} classes; {guess}: {100 * result['guess']:.1f} %."
        " Numbers: accuracy in percent. Colour: accuracy over that of a control task (classes dealt anew over"
        f" {result['control']}), blue above it. * reads what the teacher wrote: rationale or label. The title names the"
        " best of many cells, so it is chosen after looking. It says what can be read off the states, not what the"
        f" student uses. Probes: arXiv 1610.01644; control tasks: arXiv 1909.03368.{left}"
    )

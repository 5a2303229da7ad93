"""The view of an analysis that has no file of its own here: its button, its summary and its table, by student."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from cotdistill.dashboard.widgets import job_requests
from cotdistill.dashboard.widgets.view_state import Scene
from cotdistill.store.store import Store
from cotdistill.studies.analyses import CONFIGS
from cotdistill.studies.analysis import Analysis, CheckpointConfig
from cotdistill.text import capital, listed, plain_markdown


def draw(scene: Scene, entry: Analysis) -> None:
    config = CONFIGS[entry.kind]
    assert issubclass(config, CheckpointConfig), f"{entry.name} needs a view of its own"
    if scene.split not in entry.splits:
        st.info(
            plain_markdown(f"{capital(entry.name)} is computed on {listed(entry.splits)}: choose that split above.")
        )
        return
    requests = job_requests.by_student(scene, config)
    job_requests.offer(scene, requests, f"{capital(entry.help)}.", entry.name, scene.split, start=entry.examples)
    name, columns = next(iter(entry.tables.items()))
    for request in requests:
        if request.job is not None and request.finished:
            st.markdown(f"**{plain_markdown(request.student.label)}**")
            st.caption(plain_markdown(", ".join(f"{key} {value}" for key, value in request.result.items())))
            st.dataframe(
                _rows(scene.store, request.job.produced[name]),
                hide_index=True,
                column_config={column: st.column_config.Column(help=text) for column, text in columns.items()},
            )


@st.cache_data(max_entries=32)
def _rows(_store: Store, digest: str) -> pd.DataFrame:
    return _store.artifacts.table(digest)

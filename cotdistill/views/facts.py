"""Counts and checks of a task: rows, label balance, lengths, leakage, duplicates."""

from __future__ import annotations

import streamlit as st

from cotdistill.tasks.describe import describe
from cotdistill.tasks.task import Task


@st.cache_data(max_entries=16, show_spinner="Counting…")
def _described(_task: Task, digest: str) -> dict[str, object]:
    return describe(_task)


def draw(task: Task) -> None:
    with st.expander("Counts and checks", icon=":material/fact_check:"):
        st.json(_described(task, task.digest))

"""Import of a task."""

from __future__ import annotations

import streamlit as st

from cotdistill.studies.store import Store


def draw(store: Store) -> None:
    st.caption("soon")

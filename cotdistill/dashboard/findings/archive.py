"""A study as one file: taken away from page Findings, or brought in from another group or from other code."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.exchange.export import SUFFIX, export_study
from cotdistill.report.commands import carried_out, command
from cotdistill.store.store import Store
from cotdistill.tasks.catalog import imported_names
from cotdistill.text import plain_markdown, plural

ROWS = ["csv", "parquet", "jsonl", "gz"]
TOLD = "archive.told"


def draw(store: Store, study: str | None) -> None:
    """The popover: the archive of a study to download, and a file to bring in; without a study, the latter alone."""
    if message := st.session_state.pop(TOLD, None):
        st.toast(plain_markdown(message), icon=":material/check:")
    with st.popover(
        "Archive", icon=":material/inventory_2:", help="This study for another group, or another group's here"
    ):
        if study is not None:
            _take(store, study)
            st.divider()
        _bring(store)


def _take(store: Store, study: str) -> None:
    st.markdown("**This study for another group**")
    st.caption("One file from which it sees the same numbers: plan, every run, predictions and curves.")
    texts = st.checkbox(
        "with the task's questions and what students wrote",
        value=True,
        key="archive.texts",
        help="Leave them out where a licence asks.",
    )
    weights = st.checkbox(
        "with the students' weights",
        key="archive.weights",
        help="So that others can look inside them; the file is then many times larger.",
    )
    # Made when it is asked for: with weights it takes a while.
    make = partial(_archive_bytes, store, study, weights=weights, texts=texts)
    st.download_button(
        "Download the archive",
        make,
        f"{study}{SUFFIX}",
        "application/zip",
        key="archive.download",
        icon=":material/download:",
    )
    words = [
        "study",
        "export",
        study,
        "--out",
        f"{study}{SUFFIX}",
        *(["--weights"] if weights else []),
        *([] if texts else ["--no-texts"]),
    ]
    st.code(command(*words), language="bash", wrap_lines=True)


def _archive_bytes(store: Store, study: str, *, weights: bool, texts: bool) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"study{SUFFIX}"
        export_study(store, study, out, weights=weights, texts=texts)
        return out.read_bytes()


def _bring(store: Store) -> None:
    st.markdown("**Bring one in**")
    st.caption(
        "An archive, or answers that other code made: one row a question, condition and replicate, with the choices'"
        " probabilities."
    )
    dropped = st.file_uploader(
        "Archive (.zip) or answers (.csv, .parquet, .jsonl)", type=["zip", *ROWS], key="archive.file"
    )
    if dropped is None:
        return
    words = _archive_words() if dropped.name.endswith(".zip") else _answer_words(store, dropped.name.split(".")[0])
    st.code(command(*words), language="bash", wrap_lines=True)
    if st.button("Import", type="primary", key="archive.go"):
        with tempfile.TemporaryDirectory() as folder, st.spinner("Checking every byte…"):
            path = Path(folder) / Path(dropped.name).name
            path.write_bytes(dropped.getvalue())
            _show_result(carried_out(store, [str(path) if word == "FILE" else word for word in words]))


def _archive_words() -> list[str]:
    name = st.text_input("Name it gets here", key="archive.name", placeholder="its own")
    return ["study", "import", "FILE", *(["--name", name.strip()] if name.strip() else [])]


def _answer_words(store: Store, stem: str) -> list[str]:
    name = st.text_input("Name of the study", value=stem[:80], key="archive.study")
    words = ["runs", "import", "FILE", "--study", name.strip()]
    if tasks := imported_names(store.tasks_root):
        task = st.selectbox(
            "Questions of the task", tasks, index=None, key="archive.task", placeholder="none of those here"
        )
        words += ["--task", task] if task else []
    if st.toggle("The numbers are log-likelihoods", key="archive.log"):
        words += ["--scores", "log"]
    names = st.text_area(
        "What its conditions are here, one a line: NAME=CONDITION", key="archive.map", placeholder="direct=label_only"
    )
    for line in filter(None, (line.strip() for line in names.splitlines())):
        words += ["--map", line]
    return words


def _show_result(document: dict[str, Any]) -> None:
    if error := document.get("error"):
        st.error(plain_markdown(f"{error['message']} {error.get('hint', '')}"), icon=":material/error:")
        if document.get("problems"):
            frame.bad_rows(document["problems"])
        return
    study = document["study"]
    extent = (
        f"{plural(document['items'], 'question')}"
        if "items" in document
        else plural(document["new"] + document["completed"], "job")
    )
    st.session_state[TOLD] = " ".join([f"Imported {study['name']}: {extent}.", *document["told"]])
    # The page shows what has just been imported.
    st.query_params["study"] = study["name"]
    st.rerun()

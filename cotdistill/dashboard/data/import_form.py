"""Import of a task: a folder or file by path, or a dropped file. The work is done by the terminal's own command in a
process of its own.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from cotdistill.config import digest
from cotdistill.errors import CotdistillError
from cotdistill.store.store import Store
from cotdistill.tasks.importing.columns import ColumnMap
from cotdistill.tasks.importing.files import Preview, read_source
from cotdistill.dashboard.widgets import forms
from cotdistill.dashboard import frame
from cotdistill.report.commands import carried_out, command
from cotdistill.text import plain_markdown, plural

# What a link says of one task only.
BELONGS = ("source", "example")


def draw(store: Store) -> None:
    """The form: where from, what it holds, which column is what; then the import with its bad rows. The imported task
    becomes the one shown.
    """
    st.caption("A folder with {train,dev,test}.{jsonl,csv,parquet}[.gz], and rationales/SPLIT.SOURCE.jsonl if there are more; or one file.")
    typed = st.text_input("Folder or file on this machine", key="import.path", placeholder="/data/commonsenseqa")
    dropped = st.file_uploader("or drop one file", type=["jsonl", "csv", "parquet", "gz"], key="import.file")
    if not typed.strip() and dropped is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(typed.strip()).expanduser()
        if dropped is not None:
            path = Path(folder) / Path(dropped.name).name
            path.write_bytes(dropped.getvalue())
        try:
            preview = read_source(path)
        except CotdistillError as error:
            frame.problem(error)
            return
        columns = columns_of(preview)
        name = st.text_input("Name of the task", value=path.name.split(".")[0][:64], key="import.name")
        keep = st.toggle("Import the good rows if some are bad", key="import.keep")
        words = ["tasks", "import", str(path), "--name", name.strip(), *(["--keep-good-rows"] if keep else []), *columns]
        if st.button("Import", type="primary", key="import.go"):
            with st.spinner("Reading rows and training tokenizers…"):
                show_result(carried_out(store, words))
        frame.terminal(command(*(words if dropped is None else ["FILE" if word == str(path) else word for word in words])))


def columns_of(preview: Preview) -> list[str]:
    """What there is to import, and which column is what; gives the options of the command."""
    st.caption(plain_markdown("; ".join(f"{file}: {plural(count, 'row')}" for file, count in preview.counts.items())))
    st.dataframe(pd.DataFrame([{k: str(v) for k, v in row.items()} for row in preview.rows[:3]]), hide_index=True)
    if preview.problems:
        st.warning(f"{plural(len(preview.problems), 'row')} cannot be read; each is listed when you import.", icon=":material/rule:")
    guessed = preview.guessed
    # Other columns are another form, so that no choice is carried over to them.
    key = f"import.columns.{digest([preview.columns, guessed])[:8]}"
    with st.expander("Which column is what", expanded=bool(guessed.missing())):
        chosen = forms.config(ColumnMap, guessed, key=key, columns=2)
    if chosen == guessed:
        return []
    said = {name: str(value) for name, value in vars(chosen).items() if value != getattr(ColumnMap(), name)}
    return ["--map", *(f"{name}={value}" for name, value in said.items())]


def show_result(document: dict[str, Any]) -> None:
    """What came of an import; the imported task becomes the one that is shown."""
    if error := document.get("error"):
        st.error(plain_markdown(f"{error['message']} {error.get('hint', '')}"), icon=":material/error:")
        return
    rows = ", ".join(f"{split} {count:,} ({document['roles'].get(split, '')})" for split, count in document["rows"].items())
    st.success(plain_markdown(f"Imported {document['task']}: {rows}."), icon=":material/check:")
    # The page below shows what has just been imported.
    st.query_params["task"] = document["task"]
    for name in BELONGS:
        st.query_params.pop(name, None)
    for warning in document["warnings"]:
        st.caption(plain_markdown(warning))
    if document["problems"]:
        st.dataframe(pd.DataFrame(document["problems"]), hide_index=True)

"""Import of a data set of the hub: one that is known, or any by its name and a column map. The terminal's own commands
do the work, each in a process of its own, so the page never loads the hub's library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from cotdistill.errors import CotdistillError
from cotdistill.store.store import Store
from cotdistill.tasks.importing.columns import ColumnMap
from cotdistill.tasks.importing.files import Preview
from cotdistill.tasks.importing.hub import PREFIX, hub_source
from cotdistill.tasks.importing.hub_catalog import HUB
from cotdistill.dashboard import frame
from cotdistill.dashboard.data import import_form
from cotdistill.report.commands import carried_out, command
from cotdistill.text import plain_markdown

LOOKED = "hub.looked"


def draw(store: Store) -> None:
    """The form: which data set, config, revision and splits; a look at its columns; then the import with its bad
    rows.
    """
    st.caption("Through the library `datasets`, at a pinned commit. Without a network its cache is used. Code of a data set is never run.")
    names = list(dict.fromkeys([*HUB.names(), st.session_state.get("hub.name") or HUB.names()[0]]))
    name = st.selectbox("Data set: a known one, or type OWNER/NAME", names, key="hub.name", accept_new_options=True, format_func=_told_name)
    known = HUB.get(name) if name in HUB else None
    if known is not None:
        st.caption(plain_markdown(f"{known.dataset}. Licence: {known.licence}. {known.note}"))
    with st.expander("Config, revision and splits", expanded=known is None):
        config = st.text_input("Config", key="hub.config", placeholder=(known.config if known else "") or "the data set's default")
        revision = st.text_input("Revision", key="hub.revision", placeholder=known.revision if known else "main")
        splits = st.text_input("Splits", key="hub.splits", placeholder="train=train,dev=validation,test=test", help="Ours by the hub's own names.")
    options = {"--config": config.strip(), "--revision": revision.strip(), "--splits": splits.strip()}
    asked = [f"{PREFIX}{name.removeprefix(PREFIX)}", *(word for option, value in options.items() if value for word in (option, value))]
    try:
        hub_source(asked[0], config.strip(), revision.strip())
    except CotdistillError as wrong:
        frame.problem(wrong)
        return
    if st.button("Look at it", key="hub.look", icon=":material/search:"):
        with st.spinner("Asking the hub…"):
            st.session_state[LOOKED] = (asked, carried_out(store, ["tasks", "look", *asked]))
    looked, document = st.session_state.get(LOOKED, ([], {}))
    seen = document if looked == asked else {}
    if error := seen.get("error"):
        st.error(plain_markdown(f"{error['message']} {error.get('hint', '')}"), icon=":material/cloud_off:")
    columns = import_form.columns_of(_preview(seen)) if "columns" in seen else []
    if known is None and not columns and not seen:
        return
    _import(store, name, asked, columns)


def _import(store: Store, name: str, asked: list[str], columns: list[str]) -> None:
    task = st.text_input("Name of the task", value=name.split("/")[-1][:64], key=f"hub.task.{name}")
    keep = st.toggle("Import the good rows if some are bad", key="hub.keep")
    words = ["tasks", "import", *asked, "--name", task.strip(), *(["--keep-good-rows"] if keep else []), *columns]
    if st.button("Import", type="primary", key="hub.go"):
        with st.spinner("Fetching rows and training tokenizers…"):
            import_form.show_result(carried_out(store, words))
    frame.terminal(command(*words))


def _told_name(name: str) -> str:
    return f"{HUB.get(name).title}: {HUB.get(name).help}" if name in HUB else name


def _preview(document: Mapping[str, Any]) -> Preview:
    """What `tasks look` has told, as the form of columns takes it."""
    return Preview(list(document["columns"]), ColumnMap(**document["guessed"]), list(document["rows"]), [], dict(document["counts"]))

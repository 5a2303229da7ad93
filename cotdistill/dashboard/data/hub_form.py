"""Import of a data set of the hub: one that is known, or any by its name and a column map. The terminal's own commands
do the work, each in a process of its own, so the page never loads the hub's library.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.data import import_form, map_form
from cotdistill.errors import CotdistillError
from cotdistill.report.commands import carried_out
from cotdistill.store.store import Store
from cotdistill.tasks.importing.columns import ColumnMap
from cotdistill.tasks.importing.hub import PREFIX, hub_source
from cotdistill.tasks.importing.hub_catalog import HUB
from cotdistill.text import plain_markdown

LOOKED = "hub.looked"


def draw(store: Store) -> None:
    """The form: which data set, config, revision and splits; a look at its columns; then the import with its bad
    rows.
    """
    st.caption(
        "Through the library `datasets`, at a pinned commit. Without a network its cache is used. Code of a data set is"
        " never run."
    )
    names = list(dict.fromkeys([*HUB.names(), st.session_state.get("hub.name") or HUB.names()[0]]))
    name = st.selectbox(
        "Data set: a known one, or type OWNER/NAME",
        names,
        key="hub.name",
        accept_new_options=True,
        format_func=_label,
    )
    known = HUB.get(name) if name in HUB else None
    if known is not None:
        st.caption(plain_markdown(f"{known.dataset}. Licence: {known.licence}. {known.note}"))
    with st.expander("Config, revision and splits", expanded=known is None):
        config = st.text_input(
            "Config", key="hub.config", placeholder=(known.config if known else "") or "the data set's default"
        )
        revision = st.text_input("Revision", key="hub.revision", placeholder=known.revision if known else "main")
        splits = st.text_input(
            "Splits",
            key="hub.splits",
            placeholder="train=train_r1+train_r2,dev=validation,test=test",
            help="Ours by the hub's own names, several joined by +.",
        )
    options = {"--config": config.strip(), "--revision": revision.strip(), "--splits": splits.strip()}
    asked = [
        f"{PREFIX}{name.removeprefix(PREFIX)}",
        *(word for option, value in options.items() if value for word in (option, value)),
    ]
    try:
        hub_source(asked[0], config.strip(), revision.strip())
    except CotdistillError as wrong:
        frame.problem(wrong)
        return
    looked, document = st.session_state.get(LOOKED, ([], {}))
    seen: dict[str, Any] = document if looked[: len(asked)] == asked else {}
    changes: dict[str, Any] = {}
    if "columns" in seen:
        start = st.session_state[f"{LOOKED}.guess"]
        changes = map_form.edited(seen["columns"], start, missing=bool(start.missing()))
    words = [*asked, *map_form.words_of(changes)]
    if st.button("Look at it" if looked != words else "Look again", key="hub.look", icon=":material/search:"):
        with st.spinner("Asking the hub…"):
            seen = carried_out(store, ["tasks", "look", *words])
        if "columns" in seen and not changes:
            st.session_state[f"{LOOKED}.guess"] = ColumnMap(**seen["guessed"])
        st.session_state[LOOKED] = (words, seen)
        if "columns" in seen:
            st.rerun()
    if error := seen.get("error"):
        map_form.problem(error)
    if "columns" in seen:
        map_form.show({**seen, "error": None})
        if changes and looked != words:
            st.caption("Look at it again to see the rows by this map.")
    elif known is None and not seen:
        return
    import_form.finish(
        ["tasks", "import", *words], _suggested(name), "hub", lambda all_words: carried_out(store, all_words)
    )


def _suggested(name: str) -> str:
    return name.split("/")[-1][:64]


def _label(name: str) -> str:
    return f"{HUB.get(name).title}: {HUB.get(name).help}" if name in HUB else name

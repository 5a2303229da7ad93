"""What people say of a study: a note, tags and the baseline they pin, beside its name."""

from __future__ import annotations

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.errors import CotdistillError
from cotdistill.report.commands import command
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.studies.annotations import LONGEST_NOTE, MOST_TAGS, Remark, remark, remarks, set_remark
from cotdistill.text import plain_markdown


def draw(store: Store, study: Study, baseline: str) -> None:
    """The tags in view, and a popover to change what is said."""
    said = remark(store, study.id)
    with st.popover("Note and tags", icon=":material/sticky_note_2:", help=plain_markdown(said.note[:300]) or None):
        known = sorted({tag for one in remarks(store).values() for tag in one.tags})
        with st.form(f"said{study.id}", border=False):
            st.text_area("Note", said.note, max_chars=LONGEST_NOTE, key=f"note{study.id}", height=120)
            st.multiselect(
                "Tags", known, list(said.tags), accept_new_options=True, max_selections=MOST_TAGS, key=f"tags{study.id}"
            )
            if st.form_submit_button("Keep", icon=":material/save:"):
                _keep(store, study)
        _pin(store, study, said, baseline)
        frame.terminal(command("study", "note", study.name, "--text", "TEXT", "--tag", "TAG", "--baseline", baseline))
    for tag in said.tags:
        st.badge(plain_markdown(tag), color="gray")


def _keep(store: Store, study: Study) -> None:
    try:
        set_remark(
            store, study.id, note=st.session_state[f"note{study.id}"] or "", tags=st.session_state[f"tags{study.id}"]
        )
    except CotdistillError as error:
        frame.problem(error)
        return
    st.rerun()


def _pin(store: Store, study: Study, said: Remark, baseline: str) -> None:
    """Pin the baseline in view, so that this study opens with it."""
    if said.baseline == baseline:
        st.button("Unpin this baseline", icon=":material/keep_off:", on_click=_set, args=(store, study.id, ""))
    else:
        st.button(
            "Pin this baseline",
            icon=":material/keep:",
            on_click=_set,
            args=(store, study.id, baseline),
            help="This study opens with it.",
        )


def _set(store: Store, study: int, baseline: str) -> None:
    set_remark(store, study, baseline=baseline)

"""How to read this: every term of the pages, defined once."""

from __future__ import annotations

from itertools import groupby

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.report.figures.terms import TERMS, Term, matching
from cotdistill.store.store import Store
from cotdistill.text import plain_markdown


def draw(store: Store) -> None:
    """The page: terms under their headings, those that hold the words looked for; one that a link names comes first."""
    frame.heading("How to read this", "Every term of the pages, once. The ? beside a figure names those that it needs.")
    wanted = st.query_params.get("term")
    linked = next((term for term in TERMS if term.anchor == wanted), None)
    if linked is not None:
        with st.container(border=True):
            _definition(linked)
    elif wanted:
        frame.lost("term", wanted)
    words = st.text_input("Find a term", key="reading.words", placeholder="interval", max_chars=80)
    terms = matching(words)
    if not terms:
        st.info(f"No term holds “{plain_markdown(words)}”.", icon=":material/search_off:")
    for group, members in groupby(terms, key=lambda term: term.group):
        frame.section(group)
        for term in members:
            _definition(term)


def _definition(term: Term) -> None:
    st.markdown(frame.definition(term, f"More in docs/{term.document}." if term.document else ""))

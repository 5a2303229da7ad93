"""Train: the conditions of a study crossed with shares of the training rows and with rationale sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.errors import CotdistillError
from cotdistill.rationales.conditions import Condition, crossed, parse, read_fraction
from cotdistill.tasks.task import Task
from cotdistill.text import plural

START = "0.1, 0.25, 0.5, 1"


def draw(task: Task, conditions: Sequence[str], field: str, source: str) -> None:
    """A popover that crosses these conditions and puts the product into the session under `field`. source: whose
    rationales the study takes unless told otherwise.
    """
    with st.popover(
        "Sizes and sources",
        icon=":material/grid_on:",
        help="Train every condition on shares of the rows, or with several teachers",
    ):
        shares = st.text_input(
            "Shares of the training rows",
            value=START,
            key="axes.fractions",
            help="Smaller ones lie within larger ones. Empty: all rows.",
        )
        named: Sequence[str] = ()
        if len(task.sources) > 1:
            named = st.multiselect(
                "Rationales by", list(task.sources), key="axes.sources", placeholder="the study's teacher alone",
                help="Every condition trains on the rows for which all of them have a rationale.",
            )  # fmt: skip
        try:
            product = cross([parse(text) for text in conditions], shares, named, source or task.default_source)
        except CotdistillError as error:
            frame.problem(error)
            return
        st.caption(
            f"{plural(len(product), 'condition')}. What is not trained, or says its own share or source, stays as"
            " it is."
        )
        st.button(
            "Cross the conditions",
            key="axes.go",
            type="primary",
            on_click=_put,
            args=(field, [str(c) for c in product]),
        )


def cross(conditions: Sequence[Condition], shares: str, sources: Sequence[str], default_source: str) -> list[Condition]:
    """`rationales.conditions.crossed` of shares as a person writes them; GrammarError for one that is none."""
    return crossed(
        conditions,
        sources=sources,
        fractions=[read_fraction(part.strip()) for part in shares.split(",") if part.strip()],
        default_source=default_source,
    )


def _put(field: str, conditions: list[Any]) -> None:
    st.session_state[field] = conditions

"""Finding an example: split, words in its text, what the chosen students answer, one step back or on; its id lives in
the URL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.widgets import editing, pickers
from cotdistill.tasks.example import Example
from cotdistill.text import plural

SPLITS = ("dev", "test", "train")
# Filters by the answers of the students in view: name in the URL -> how it reads.
FILTERS = {
    "any": "any answer",
    "all_right": "all right",
    "all_wrong": "all wrong",
    "differ": "they differ",
    "first_right": "the first is right",
    "first_wrong": "the first is wrong",
}


def kept(wanted: str, answers: Sequence[bool]) -> bool:
    """Whether an example with these answers passes a filter."""
    return {
        "any": True,
        "all_right": all(answers),
        "all_wrong": not any(answers),
        "differ": len(set(answers)) > 1,
        "first_right": bool(answers) and answers[0],
        "first_wrong": bool(answers) and not answers[0],
    }[wanted]


def matches(example: Example, words: str) -> bool:
    """Whether every word stands somewhere in the example: id, question, choices, rationale, metadata; case does not
    matter.
    """
    text = " ".join(
        [
            example.id,
            example.question,
            *(c.text for c in example.choices),
            example.rationale or "",
            *map(str, example.metadata.values()),
        ]
    ).casefold()
    return all(word in text for word in words.casefold().split())


def split() -> str:
    return pickers.switch("Split", SPLITS, key="split", start="dev")


def draw(examples: Sequence[Example], answers: Callable[[], Sequence[Mapping[str, bool]] | None]) -> Example | None:
    """The rest of the bar: search, filter and steps. answers: by student, called only when a person filters by them."""
    words = st.text_input("Search", key="search", placeholder="words, an id", bind="query-params", width=125)
    wanted = frame.choose(
        "Answered by them", list(FILTERS), key="answered", start="any", label_of=lambda f: FILTERS[f], width=140
    )
    matching = [e for e in examples if matches(e, words or "")]
    if wanted != "any":
        known = answers()
        if known is None:
            return None
        matching = [e for e in matching if all(e.id in a for a in known) and kept(wanted, [a[e.id] for a in known])]
    wanted_id = st.query_params.get("example")
    if wanted_id is not None and not any(example.id == wanted_id for example in examples):
        frame.lost("example", wanted_id)
    return matching[_step(matching)] if matching else None


def search(examples: Sequence[Example]) -> Example | None:
    """Search and steps alone, where no student answers."""
    words = st.text_input("Search", key="search", placeholder="words, an id", bind="query-params", width=125)
    matching = [e for e in examples if matches(e, words or "")]
    wanted_id = st.query_params.get("example")
    if wanted_id is not None and not any(example.id == wanted_id for example in examples):
        frame.lost("example", wanted_id)
    return matching[_step(matching)] if matching else None


def _step(matching: Sequence[Example]) -> int:
    """Where in the list we are: by the id in the URL, with buttons and arrow keys."""
    last = len(matching) - 1
    at = next((i for i, example in enumerate(matching) if example.id == st.query_params.get("example")), 0)
    st.query_params["example"] = matching[at].id
    ids = [example.id for example in matching]
    st.button(
        "Previous",
        icon=":material/arrow_back:",
        shortcut="Left",
        on_click=_go,
        args=(ids[max(0, at - 1)],),
        disabled=at == 0,
    )
    st.button(
        "Next",
        icon=":material/arrow_forward:",
        shortcut="Right",
        on_click=_go,
        args=(ids[min(last, at + 1)],),
        disabled=at == last,
    )
    st.session_state["place"] = at + 1
    st.number_input(
        f"Of {plural(last + 1, 'example')}",
        min_value=1,
        max_value=last + 1,
        step=1,
        key="place",
        on_change=_jump,
        args=(ids,),
        width=110,
    )
    return at


def _go(id: str) -> None:
    st.query_params["example"] = id
    # An edit belongs to the example it was made of.
    editing.reset()


def _jump(ids: Sequence[str]) -> None:
    _go(ids[int(st.session_state["place"]) - 1])

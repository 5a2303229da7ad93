"""The field for conditions: it takes names, labels, presets and the whole grammar, and marks in place what is none."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.errors import CotdistillError, UnknownName
from cotdistill.rationales.conditions import PRESETS, parse
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.studies.spec import STUDIES

# In front of what is no condition, in the field itself.
UNKNOWN_MARK = "⚠ not a condition: "


def offered(sources: Sequence[str] | None = None) -> list[str]:
    """Conditions to pick from without typing: those of the built-in studies, the placements and the presets, in
    canonical form.

    sources: only conditions that these sources can serve; None: all.
    """
    names = [
        str(c) for study in STUDIES for c in study.make().parsed() if sources is None or c.source in ("", *sources)
    ]
    names += [p.name for p in PLACEMENTS] + [preset.condition for preset in PRESETS]
    return list(dict.fromkeys(str(parse(text)) for text in names))


@cache
def _labels() -> dict[str, str]:
    return {text: parse(text).label for text in offered()}


@cache
def _by_label() -> dict[str, str]:
    """Labels as a person types them -> the condition: in full, and without the placement they share with most."""
    full = {label.casefold(): text for text, label in _labels().items()}
    short = {label.removeprefix("post-cot, "): text for label, text in full.items() if label.startswith("post-cot, ")}
    return short | full


def label_of(text: str) -> str:
    """A condition in a list to pick from: its label if it is one of the usual ones, else the text that a person has
    typed or composed; what is no condition is marked.
    """
    if text in _labels():
        return _labels()[text]
    try:
        parse(text)
    except CotdistillError:
        return f"{UNKNOWN_MARK}{text}"
    return text


def resolved(text: str) -> str:
    """The canonical condition that a name, label, preset or text in the grammar stands for; UnknownName or GrammarError
    where it stands for none.
    """
    words = " ".join(text.removeprefix(UNKNOWN_MARK).split())
    if (condition := _by_label().get(words.casefold())) is not None:
        return condition
    try:
        return str(parse(words))
    except UnknownName as error:
        spelled = words.casefold().replace(" ", "_").replace("-", "_")
        if spelled in PLACEMENTS or spelled in PRESETS:
            return str(parse(spelled))
        if error.message.startswith("There is no condition named"):
            names = [*PLACEMENTS.names(), *PRESETS.names(), *_by_label()]
            raise UnknownName("condition", words[:80], names) from None
        raise


def draw(place: Any, label: str, options: Sequence[str], *, key: str, **more: Any) -> tuple[list[str], bool]:
    """The field, with a sentence below it for each entry that is no condition. Gives the conditions in canonical form,
    and whether every entry is one."""
    _resolve(key)
    chosen = place.multiselect(
        f"{label}; type any, such as post_cot/mask(fraction=0.3)",
        list(dict.fromkeys([*options, *st.session_state.get(key, ())])),
        key=key,
        accept_new_options=True,
        format_func=label_of,
        wrap=True,
        **more,
    )
    conditions: list[str] = []
    complete = True
    for text in chosen:
        try:
            conditions.append(resolved(text))
        except CotdistillError as error:
            complete = False
            with place:
                frame.problem(error)
    return list(dict.fromkeys(conditions)), complete


def _resolve(key: str) -> None:
    """Write what a person has typed in canonical form, each condition once."""
    chosen = st.session_state.get(key)
    if chosen is None:
        return
    conditions: list[str] = []
    for text in chosen:
        try:
            conditions.append(resolved(text))
        except CotdistillError:
            # The mark is drawn, and comes back from the browser with the text.
            conditions.append(text.removeprefix(UNKNOWN_MARK))
    if (once := list(dict.fromkeys(conditions))) != list(chosen):
        st.session_state[key] = once

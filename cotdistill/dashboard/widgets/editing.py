"""Another question or rationale, typed by hand and kept in the URL, beside the example as it stands."""

from __future__ import annotations

import streamlit as st

from cotdistill.dashboard.widgets.view_state import changed
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Example
from cotdistill.text import listed, plain_markdown

# What the URL holds of an edit; it belongs to one example.
BELONGS = ("question", "rationale")
# A link longer than this is refused by many a server on its way.
MOST_IN_URL = 4000
# In the session: by part, a text that is longer than that.
REFUSED = "edit.refused"
KEYS = {part: f"edit.{part}" for part in BELONGS}


def _parts(example: Example) -> tuple[dict[str, str], dict[str, str]]:
    """The texts as they stand, and as the URL has them."""
    original = {"question": example.question, "rationale": example.rationale or ""}
    return original, {part: st.query_params.get(part, original[part]) for part in BELONGS}


def switch(example: Example) -> bool:
    """Whether the text is being edited; a link with an edit opens it."""
    original, edited = _parts(example)
    if edited != original:
        st.session_state["edit.open"] = True
    too_long = any(len(text) > MOST_IN_URL for text in original.values())
    help_text = "This text is too long for a link, so it is not edited here." if too_long else None
    return (
        bool(
            st.toggle(
                "Edit the text",
                key="edit.open",
                on_change=_closed,
                persist_state="session",
                disabled=too_long,
                help=help_text,
            )
        )
        and not too_long
    )


def _closed() -> None:
    if not st.session_state["edit.open"]:
        reset()


def draw(example: Example) -> Example | None:
    """The two text areas; gives the edited example, None where nothing differs or the edit cannot be used (which is
    told).
    """
    original, edited = _parts(example)
    touched = edited != original
    left, right = st.columns(2)
    refused = st.session_state.get(REFUSED, {})
    for place, part in zip((left, right), BELONGS, strict=True):
        st.session_state[KEYS[part]] = refused.get(part, edited[part])
        with place:
            st.text_area(part.capitalize(), key=KEYS[part], height=90, on_change=_keep, args=(part, original[part]))
            if part in refused:
                st.error(
                    f"This {part} has {len(refused[part]):,} characters; at most {MOST_IN_URL:,} are taken. Shorten it:"
                    " until then, what is shown below is of the text before.",
                    icon=":material/error:",
                )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Reset", icon=":material/undo:", on_click=reset, disabled=not touched, help="The example as it stands."
        )
        st.caption(
            "Ctrl+Enter asks again. The text as it stands and the edited one are shown side by side; choices and answer"
            " stay."
        )
    if not touched:
        return None
    if not edited["question"].strip():
        st.warning("The question is empty, so there is nothing to ask. Write one, or reset.", icon=":material/edit:")
        return None
    return changed(example, edited["question"], edited["rationale"])


def unknown_words(encoder: Encoder, original: str, edited: str) -> list[str]:
    """The words of an edited text that the student's tokenizer does not know, and that did not stand there before."""
    if encoder.unknown is None:
        return []
    before = set(original.split())
    words = (word for word in dict.fromkeys(edited.split()) if word not in before)
    return [word for word in words if any(token.id == encoder.unknown for token in encoder.read(f" {word}"))]


def warn(encoder: Encoder, example: Example, edited: Example) -> None:
    """Say which words of the edit the student cannot tell apart."""
    words = unknown_words(
        encoder, f"{example.question} {example.rationale or ''}", f"{edited.question} {edited.rationale or ''}"
    )
    if words:
        st.warning(
            f"The student does not know {plain_markdown(listed(words, 8))}: each of these words reads as the same"
            " unknown token, so what is shown says nothing of them.",
            icon=":material/question_mark:",
        )


def _keep(part: str, original: str) -> None:
    typed = str(st.session_state[KEYS[part]])
    st.session_state.get(REFUSED, {}).pop(part, None)
    if len(typed) > MOST_IN_URL:
        st.session_state.setdefault(REFUSED, {})[part] = typed
    elif typed == original:
        st.query_params.pop(part, None)
    else:
        st.query_params[part] = typed


def reset() -> None:
    """Forget the edit."""
    st.session_state.pop(REFUSED, None)
    for part in BELONGS:
        st.query_params.pop(part, None)

"""Which column is what, by clicks; and what an import would make of it: the map with how sure it is, the columns that
nothing reads, the first rows as they would be read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from cotdistill.config import digest, from_mapping
from cotdistill.dashboard.widgets import forms
from cotdistill.report import markup
from cotdistill.tasks.importing.columns import ColumnMap
from cotdistill.text import plain_markdown, plural

# Fields that are one column, and fields that are several in the order in which they are clicked.
SINGLE = ("id", "hypothesis", "answer", "rationale_source", "cluster", "split")
SEVERAL = ("question", "passage", "choices", "rationale")
CONFIDENCE = {"given": "as you say", "high": "high", "medium": "medium", "low": "low, please check"}
# What a message for the terminal names, and where it stands on the page.
OPTIONS = (
    (r"\(hf download [^)]*\)", "(with the hub's own command)"),
    (r"(?:with )?--(?:map|columns)\b", "under “Which column is what”"),
    (r"--keep-good-rows", "switch on “Import the good rows if some are bad”"),
    (r"--shuffle-choices(?: \d+)?", "switch on “Shuffle the choices”"),
    (r"--splits?\b", "under “Splits”"),
    (r"(?:add |by )?--(config|revision)\b", r"under “\1”"),
)


def in_page_words(text: str) -> str:
    """A message without options of the terminal: it names what stands on the page instead."""
    for option, words in OPTIONS:
        text = re.sub(option, words, text)
    return text


def problem(error: Mapping[str, Any]) -> None:
    """An error of a command, as the page says it."""
    st.error(plain_markdown(in_page_words(f"{error['message']} {error.get('hint') or ''}")), icon=":material/error:")


def edited(columns: Sequence[str], guessed: ColumnMap, *, missing: bool) -> dict[str, Any]:
    """The fields of the map that a person has changed. missing: some field is wanted, so the form is open."""
    # Other columns are another form, so that no choice is carried over to them.
    key = f"import.columns.{digest([list(columns), guessed])[:8]}"
    help_of = {name: one.metadata.get("help", "") for name, one in ColumnMap.__dataclass_fields__.items()}
    bounds = {name: one.metadata for name, one in ColumnMap.__dataclass_fields__.items()}
    values: dict[str, Any] = dict(vars(guessed))
    with st.expander("Which column is what", expanded=missing):
        for row in (
            SEVERAL,
            SINGLE[:3],
            SINGLE[3:],
            ("fixed_choices", "values"),
            ("answer_kind", "answer_is", "first_number"),
            ("inline_choices", "calculator"),
        ):
            for place, name in zip(st.columns(len(row)), row, strict=True):
                start = getattr(guessed, name)
                with place:
                    if name in SEVERAL:
                        values[name] = "+".join(_several(name, start, columns, f"{key}.{name}", help_of[name]))
                    elif name in SINGLE:
                        options = list(dict.fromkeys(["", *columns, start]))
                        values[name] = forms.field(name, start, help_of[name], key=f"{key}.{name}", choices=options)
                    else:
                        more = {k: bounds[name].get(k) for k in ("low", "high", "choices")}
                        values[name] = forms.field(name, start, help_of[name], key=f"{key}.{name}", **more)
    chosen = from_mapping(ColumnMap, values)
    return {name: value for name, value in vars(chosen).items() if value != getattr(guessed, name)}


def _several(name: str, start: str, columns: Sequence[str], key: str, help: str) -> list[str]:
    """Columns in the order in which they were clicked; a name may be typed (COLUMN:NAME)."""
    chosen = [part.strip() for part in start.split("+") if part.strip()]
    options = list(dict.fromkeys([*columns, *chosen, *st.session_state.get(key, ())]))
    if key not in st.session_state:
        st.session_state[key] = chosen
    return st.multiselect(
        forms.label_of(name),
        options,
        key=key,
        help=plain_markdown(help),
        accept_new_options=name == "rationale",
        persist_state="session",
    )


def words_of(changes: Mapping[str, Any]) -> list[str]:
    """The options of the command that say the same."""
    return ["--map", *(f"{name}={value}" for name, value in changes.items())] if changes else []


def show(document: Mapping[str, Any]) -> None:
    """A preview, as `tasks look` prints it."""
    counts = "; ".join(f"{name}: {plural(count, 'row')}" for name, count in document["counts"].items())
    st.caption(plain_markdown(counts))
    fields = [
        [
            markup.TableCell(guess["field"].replace("_", " ")),
            markup.TableCell(guess["columns"], code=True),
            markup.TableCell(CONFIDENCE[guess["confidence"]]),
            markup.TableCell(guess["why"], quiet=True),
        ]
        for guess in document["fields"]
    ]
    st.html(markup.table(("Field", "Read from", "Confidence", ""), fields, "columns and what they are read as"))
    if document["answers"]:
        st.caption(plain_markdown(f"Answers are read as {document['answers']}."))
    if document["unread"]:
        unread = ", ".join(document["unread"])[:300]
        st.warning(plain_markdown(f"Text that no field reads: {unread}"), icon=":material/visibility_off:")
    if document["problems"]:
        bad = plural(len(document["problems"]), "row")
        st.warning(f"{bad} cannot be read; each is listed when you import.", icon=":material/rule:")
    for warning in document["warnings"]:
        st.caption(f":material/rule: {plain_markdown(in_page_words(warning))}")
    if document["examples"]:
        with st.expander("The first rows as they would be read", expanded=True):
            st.html("".join(_row(row) for row in document["examples"]))
    if document["error"]:
        problem(document["error"])


def _row(row: Mapping[str, Any]) -> str:
    """One row as read: passage, question, choices with the right one marked, rationales with their line breaks."""
    escape = markup.escape
    quiet = '<div style="opacity:0.72;white-space:pre-wrap">'
    parts = [f"{quiet}{escape(row['passage'][:600])}</div>"] if row["passage"] else []
    parts.append(f"<div style='white-space:pre-wrap'><strong>{escape(row['question'][:600])}</strong></div>")
    for choice in row["choices"]:
        right = choice["label"] in row["gold"]
        text = f"({choice['label']}) {choice['text'][:300]}"
        parts.append(
            f"<div>{'✓ <strong>' if right else '&nbsp;&nbsp;'}{escape(text)}{'</strong>' if right else ''}</div>"
        )
    if not row["choices"]:
        parts.append(f"<div>✓ <strong>{escape(' or '.join(row['gold'])[:300])}</strong></div>")
    for source, text in row["rationales"].items():
        parts.append(f"{quiet}{escape(source)}: {escape(text[:900])}</div>")
    if not row["rationales"]:
        parts.append(f"{quiet}no rationale</div>")
    return f"<div style='margin-bottom:0.9rem;overflow-wrap:anywhere'>{''.join(parts)}</div>"

"""Forms that follow from what is registered: a frozen config's field metadata, a transform's parameters. Nothing is
written twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import streamlit as st

from cotdistill.config import from_mapping
from cotdistill.rationales.conditions import Condition, parse
from cotdistill.rationales.objectives import OBJECTIVES, Objective
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.rationales.transforms import TRANSFORMS, Transform
from cotdistill.text import plain_markdown

C = TypeVar("C")


def label_of(name: str) -> str:
    """weight_decay -> Weight decay."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def field(
    name: str,
    default: Any,
    help: str,
    *,
    key: str,
    low: float | None = None,
    high: float | None = None,
    choices: Collection[str] | None = None,
) -> Any:
    """One input for one value: the default's type says which. A value already in the session under `key` wins, and is
    kept while other pages are visited. Bounds stand in the help only: the browser would keep a number beyond them to
    itself without a word, so it is let through and the config says what is wrong with it."""
    bounds = " to ".join(f"{bound:,g}" for bound in (low, high) if bound is not None)
    label, help_text = label_of(name), plain_markdown(f"{help} ({bounds})" if bounds else help)
    if key not in st.session_state:
        st.session_state[key] = default
    if choices:
        return st.selectbox(label, list(choices), key=key, help=help_text, persist_state="session")
    if isinstance(default, bool):
        return st.toggle(label, key=key, help=help_text, persist_state="session")
    if isinstance(default, int):
        return st.number_input(label, step=1, key=key, help=help_text, persist_state="session")
    if isinstance(default, float):
        return st.number_input(
            label, step=_step(default), format="%.6g", key=key, help=help_text, persist_state="session"
        )
    return st.text_input(label, key=key, help=help_text, persist_state="session")


def _step(default: float) -> float:
    """A step a person would take: a tenth of the value's size, at least a thousandth."""
    return (
        10.0 ** (len(f"{int(abs(default))}") - 2) if abs(default) >= 1 else 0.001 if 0 < abs(default) < 0.02 else 0.05
    )


def config(
    cls: type[C], start: C, *, key: str, only: Collection[str] = (), skip: Collection[str] = (), columns: int = 3
) -> C:
    """A config edited by a person, starting from `start`; raises ConfigError with every problem at once."""
    fields = [f for f in dataclasses.fields(cls) if (not only or f.name in only) and f.name not in skip]  # type: ignore[arg-type]
    values = {f.name: getattr(start, f.name) for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    rows = [fields[i : i + columns] for i in range(0, len(fields), columns)]
    for row in rows:
        for place, one in zip(st.columns(columns), row, strict=False):
            with place:
                bounds = {name: one.metadata.get(name) for name in ("low", "high", "choices")}
                values[one.name] = field(
                    one.name, values[one.name], one.metadata.get("help", ""), key=f"{key}.{one.name}", **bounds
                )
    return from_mapping(cls, values)


def changed(chosen: Any) -> dict[str, Any]:
    """The settings of a config that are not at their default."""
    return {f.name: getattr(chosen, f.name) for f in dataclasses.fields(chosen) if getattr(chosen, f.name) != f.default}


def reset(cls: type[Any], values: Mapping[str, Any], *, key: str) -> None:
    """Put values into the form of that key; call it before the form is drawn (in a callback)."""
    for one in dataclasses.fields(cls):
        if one.name in values:
            st.session_state[f"{key}.{one.name}"] = values[one.name]


def condition(sources: Collection[str], *, key: str) -> Condition:
    """A condition composed from placement, transforms and objectives with their parameters, source and budget;
    GrammarError where it is none.
    """
    placement = st.selectbox(
        "Placement",
        [p.name for p in PLACEMENTS if p.uses_rationale],
        key=f"{key}.placement",
        format_func=_told_placement,
    )
    names = st.multiselect(
        "Transforms, applied in this order",
        [t.name for t in TRANSFORMS if t.name != "identity"],
        key=f"{key}.transforms",
        placeholder="none: the full rationale",
    )
    text = placement
    for place, name in enumerate(names):
        text += _with_parameters("/", TRANSFORMS.get(name), f"{key}.{place}.{name}")
    for name in _objectives(placement, key):
        text += _with_parameters("+", OBJECTIVES.get(name), f"{key}.objective.{name}")
    left, right = st.columns(2)
    fraction = st.number_input(
        "Share of the training rows", min_value=0.001, max_value=1.0, value=1.0, step=0.05, key=f"{key}.fraction"
    )
    source = left.selectbox(
        "Whose rationales", ["", *sources], key=f"{key}.source", format_func=lambda s: s or "the study's teacher"
    )
    tokens = right.text_input(
        "Train until it has seen the tokens of", key=f"{key}.tokens", placeholder="a condition, or empty: equal steps"
    )
    options = [f"source={source}"] if source else []
    options += [f"tokens={f'({tokens})' if set('@,') & set(tokens) else tokens}"] if tokens.strip() else []
    options += [f"fraction={fraction!r}"] if fraction != 1 else []
    naive = st.toggle(
        "Naive target",
        key=f"{key}.naive",
        help="The label is tokenised apart from the text before it (arXiv 2212.09912).",
    )
    options += ["target=naive"] if naive else []
    return parse(text + (f"@{','.join(options)}" if options else ""))


def _objectives(placement: str, key: str) -> list[str]:
    """The objectives that are added to a placement."""
    suited = [one.name for one in OBJECTIVES if not one.placements or placement in one.placements]
    return st.multiselect(
        "Objectives", suited, key=f"{key}.objectives.{placement}", placeholder="none: plain cross-entropy"
    )


def _with_parameters(sign: str, entry: Transform | Objective, key: str) -> str:
    """A transform or an objective as it stands in a condition, with the parameters that are chosen for it."""
    st.caption(plain_markdown(f"{entry.name}: {entry.help}"))
    with st.container(horizontal=True):
        values = [
            (p.name, field(p.name, p.default, p.help, key=f"{key}.{p.name}", low=p.low, high=p.high, choices=p.choices))
            for p in entry.parameters
        ]
    inside = ",".join(f"{parameter}={value}" for parameter, value in values)
    return f"{sign}{entry.name}({inside})" if inside else f"{sign}{entry.name}"


def _told_placement(name: str) -> str:
    return f"{name}: {PLACEMENTS.get(name).help}"

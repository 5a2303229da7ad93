"""What stands in the form of page Train: set by other pages before it is drawn, and kept in its link."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import streamlit as st

from cotdistill.config import StudentConfig, TrainingConfig, from_mapping, plain
from cotdistill.dashboard.widgets import forms
from cotdistill.errors import CotdistillError
from cotdistill.report.commands import changed
from cotdistill.studies.spec import StudySpec, spec_from_mapping
from cotdistill.tasks.catalog import TASKS

KEY = "compose"
NEW = "a new study"


def forget() -> None:
    """Another start: the form's values go, so that the new start's stand in it."""
    for key in [k for k in st.session_state if str(k).startswith(f"{KEY}.") and k != f"{KEY}.start"]:
        del st.session_state[key]


def begin(task: str, settings: Mapping[str, Any]) -> None:
    """Set the form up for a new study of a task; called by page Data, before the form is drawn."""
    forget()
    st.session_state[f"{KEY}.start"] = NEW
    st.session_state[f"{KEY}.task"] = st.session_state[f"{KEY}.name"] = task
    if task in TASKS:
        forms.reset(TASKS.get(task).dials, settings, key=f"{KEY}.dials")


def begin_with(spec: StudySpec, start: str = NEW) -> None:
    """Set the form up with everything a study says, under its name, as a study still to be launched: by another page,
    or from a link. start: what the form calls its start."""
    forget()
    values = {
        "start": start,
        "task": spec.task,
        "name": spec.name,
        "student": spec.student.name,
        "conditions": list(spec.conditions),
        "replicates": spec.replicates,
        "source": spec.source,
        "budget": spec.budget,
        "baseline": spec.baseline,
        "also_test": spec.also_test,
        "primary": spec.primary,
        "tokenizer": spec.tokenizer,
        "missing": spec.missing_rationale,
        "base_steps": spec.base_steps,
        "fixed": list(spec.fixed_seeds),
        "left_out": list(spec.left_out),
    }
    for name, value in values.items():
        st.session_state[f"{KEY}.{name}"] = value
    if spec.task in TASKS:
        dials = TASKS.get(spec.task).dials
        forms.reset(dials, plain(from_mapping(dials, spec.task_settings)), key=f"{KEY}.dials")
    forms.reset(TrainingConfig, plain(spec.training), key=f"{KEY}.training")
    forms.reset(StudentConfig, plain(spec.student), key=f"{KEY}.student_settings")
    st.session_state[f"{KEY}.seeds"] = dict(spec.fixed_seeds)


def restore(starts: Mapping[str, StudySpec]) -> None:
    """Set the form up as the link says, in a session that has not drawn it yet. starts: the studies it can start
    from, by name."""
    if f"{KEY}.start" in st.session_state:
        return
    start = st.query_params.get("start", "")
    if start in starts:
        st.session_state[f"{KEY}.start"] = start
    text = st.query_params.get("plan")
    if text is None:
        return
    try:
        spec = spec_from_mapping(dict(json.loads(text)), starts[start])
    except (CotdistillError, ValueError, KeyError, TypeError, RecursionError):
        del st.query_params["plan"]
        st.warning(
            "The plan in this link cannot be read; the form shows where it starts from.", icon=":material/link_off:"
        )
        return
    begin_with(spec, start)


def keep(start: str, base: StudySpec, spec: StudySpec) -> dict[str, Any]:
    """Write the composed plan into the link, as the settings that differ from its start; gives these."""
    changes = changed(spec, base)
    st.query_params["start"] = start
    if changes:
        st.query_params["plan"] = json.dumps(changes, ensure_ascii=False, separators=(",", ":"))
    else:
        st.query_params.pop("plan", None)
    return changes

"""What stands in the form of page Train, set by other pages before it is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from cotdistill.config import StudentConfig, TrainingConfig, plain
from cotdistill.dashboard.widgets import forms
from cotdistill.studies.spec import StudySpec
from cotdistill.tasks.generated.world import WorldSettings

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
    forms.reset(WorldSettings, settings, key=f"{KEY}.dials")


def begin_with(spec: StudySpec) -> None:
    """Set the form up with everything a study says, under its name, as a study still to be launched; called by page Key
    tokens.
    """
    begin(spec.task, spec.task_settings)
    values = {
        "name": spec.name,
        "student": spec.student.name,
        "conditions": list(spec.conditions),
        "replicates": spec.replicates,
        "source": spec.source,
        "budget": spec.budget,
        "baseline": spec.baseline,
        "also_test": spec.also_test,
        "tokenizer": spec.tokenizer,
        "missing": spec.missing_rationale,
        "base_steps": spec.base_steps,
        "fixed": list(spec.fixed_seeds),
    }
    for name, value in values.items():
        st.session_state[f"{KEY}.{name}"] = value
    forms.reset(TrainingConfig, plain(spec.training), key=f"{KEY}.training")
    forms.reset(StudentConfig, plain(spec.student), key=f"{KEY}.student_settings")
    st.session_state[f"{KEY}.seeds"] = dict(spec.fixed_seeds)

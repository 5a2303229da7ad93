"""Page Train: a setting chosen on dev for each condition. First the pilots, with their number and cost; once they have
finished, the study with each condition at its own best.
"""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

import streamlit as st

from cotdistill.config import TrainingConfig, plain
from cotdistill.dashboard import frame
from cotdistill.dashboard.widgets import plans
from cotdistill.dashboard.widgets.composer_state import KEY
from cotdistill.errors import CotdistillError
from cotdistill.planning.plan import Plan
from cotdistill.planning.tuning import (
    PILOTS,
    Tuning,
    best_values,
    dev_accuracies,
    parse_grid,
    planned_tuning,
    tuned_spec,
)
from cotdistill.rationales.conditions import parse
from cotdistill.report import markup
from cotdistill.report.commands import run_study
from cotdistill.store.store import Store
from cotdistill.studies.spec import StudySpec
from cotdistill.text import about, percent, plain_markdown, plural


def grid() -> str:
    """The grid that the form asks for, as `--tune` takes it: "training.lr=0.001,0.002"; "" for none."""
    with st.expander("Tune a setting on dev", icon=":material/tune:"):
        st.caption(
            f"Each condition gets the value with the highest accuracy on dev, by {PILOTS} pilot replicates that are in "
            "no claim; then the study trains each condition at its own."
        )
        left, right = st.columns([1, 2])
        names = [f.name for f in dataclasses.fields(TrainingConfig)]
        setting = left.selectbox(
            "Setting", names, index=names.index("lr"), key=f"{KEY}.tune_setting", persist_state="session"
        )
        values = right.text_input(
            "Values", key=f"{KEY}.tune_values", persist_state="session", placeholder="0.002, 0.004, 0.008"
        )
    return f"training.{setting}={''.join(values.split())}" if values.strip() else ""


def draw(store: Store, spec: StudySpec, tune: str, complete: bool) -> Plan | None:
    """The pilots of a grid with their launch; once they have finished, the best values and the tuned study's launch.
    The plan of the latter, None before. complete: whether the form is in order.
    """
    frame.section("2 · Tune, look at the plan, launch")
    try:
        tuning = planned_tuning(store, spec, *parse_grid(tune), planner=plans.plan_of)
        if tuning.unfinished:
            _pilots(store, spec, tuning, complete)
            planned = None
        else:
            _best(store, tuning)
            planned = plans.plan_of(store, tuned_spec(spec, tuning.setting, best_values(store, tuning)))
            plans.draw(planned)
            st.button(
                plans.launch_label(planned),
                type="primary",
                icon=":material/rocket_launch:",
                key="launch",
                disabled=not complete or not plans.open_runs(planned),
                on_click=plans.launched,
                args=(store, planned),
            )
    except CotdistillError as error:
        frame.problem(error)
        return None
    frame.terminal(*(f"{run_study(spec, verb)} --tune {shlex.quote(tune)}" for verb in ("plan", "run")))
    return planned


def _pilots(store: Store, spec: StudySpec, tuning: Tuning, complete: bool) -> None:
    values = ", ".join(str(value) for value in tuning.values)
    low, high = tuning.seconds
    with st.container(horizontal=True):
        st.metric("Pilot runs", str(tuning.runs), width="content", help="Conditions × values × pilot replicates.")
        st.metric("Time", about(low, high) if high > 0 else "none left", width="content")
    st.markdown(
        plain_markdown(
            f"{tuning.setting} = {values}, each with {plural(PILOTS, 'replicate')} of every condition of {spec.name}: "
            f"{tuning.runs - tuning.unfinished} of {plural(tuning.runs, 'pilot run')} finished."
        )
    )
    st.button(
        f"Launch {plural(tuning.open, 'pilot run')}" if tuning.open else "Every pilot is queued",
        type="primary",
        icon=":material/rocket_launch:",
        key="launch_pilots",
        disabled=not complete or not tuning.open,
        on_click=_launched,
        args=(store, tuning),
    )


def _launched(store: Store, tuning: Tuning) -> None:
    for pilot in tuning.pilots:
        plans.launched(store, pilot)


def _best(store: Store, tuning: Tuning) -> None:
    """Accuracy on dev by condition and value; the best of each row is marked."""
    best = best_values(store, tuning)
    rows = []
    for condition, scores in dev_accuracies(store, tuning).items():
        cells: list[Any] = [markup.TableCell(parse(condition).label, condition=condition)]
        for value, score in zip(tuning.values, scores, strict=True):
            chosen = value == best[condition]
            cells.append(markup.TableCell(percent(score) + (" (best)" if chosen else ""), quiet=not chosen))
        rows.append(cells)
    head = ["Condition", *(f"{tuning.setting.partition('.')[2]} {plain(value)}" for value in tuning.values)]
    st.html(markup.table(head, rows, "accuracy on dev of the pilots"))
    st.caption(f"Mean accuracy on dev over {plural(PILOTS, 'pilot replicate')}; of equal values the first is taken.")

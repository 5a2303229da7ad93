"""Page Data, part Teachers: what every source says of one question, its figures, filters that make a source, and asking
a teacher for more.
"""

from __future__ import annotations

import streamlit as st

from cotdistill.errors import CotdistillError
from cotdistill.store.store import Store
from cotdistill.tasks.task import Task
from cotdistill.teachers.answers import TeacherAnswer
from cotdistill.dashboard.data import elicit_form, elicitations, filter_form, teacher_cards, teacher_quality
from cotdistill.dashboard import frame
from cotdistill.report.commands import command
from cotdistill.text import plural

KEY = "teacher"
PARTS = {"sides": "Side by side", "figures": "In figures", "filter": "Filter", "ask": "Ask a teacher"}


def draw(store: Store, task: Task, world: int, *, dialled: bool) -> None:
    """dialled: the task is a generated one with dials of its own, which the terminal cannot name."""
    frame.section("Teachers", "What each source says, what its rationales are like, which of them are kept; and asking a teacher for more.")
    part = _part("sides" if task.sources else "ask")
    if dialled and part != "sides":
        st.info("This world has dials of its own. Figures, filters and teachers are for worlds with the usual dials.", icon=":material/tune:")
        return
    if part == "figures" and not task.sources:
        st.info("This task has no rationales yet. Ask a teacher for some.", icon=":material/school:")
        return
    if part == "sides":
        _sides(task, world)
    elif part == "figures":
        teacher_quality.draw(store, task, world)
    elif part == "filter":
        filter_form.draw(store, task, world)
    else:
        elicit_form.draw(store, task, world)
        elicitations.draw(store, task)


def _part(start: str) -> str:
    """Which part is shown; it lives in the URL by its own name."""
    wanted = st.query_params.get(KEY, "")
    st.session_state[KEY] = wanted if wanted in PARTS else start
    chosen = st.segmented_control(
        "Teachers",
        list(PARTS),
        key=KEY,
        required=True,
        format_func=PARTS.__getitem__,
        on_change=frame.keep,
        args=(KEY,),
        label_visibility="collapsed",
    )
    return str(chosen)


def _sides(task: Task, world: int) -> None:
    """The example in view, as every source tells it."""
    id = st.query_params.get("example", "")
    try:
        sides = [_side(task, id, source) for source in task.sources]
    except CotdistillError as error:
        frame.problem(error)
        return
    shown = [one for one in sides if one is not None]
    if not shown:
        st.info("No source says anything about the example in view.", icon=":material/search:")
        return
    st.html(teacher_cards.cards(shown))
    silent = len(sides) - len(shown)
    st.caption(
        "Underlaid: every choice that the text names, the right one in green. The answer is the one noted with the rationale, else the one that "
        "its text states." + (f" {plural(silent, 'source')} say nothing about this example." if silent else "")
    )
    words = ["--world", str(world)] if world else []
    frame.terminal(command("teacher", "show", "--task", task.name, "--example", id, *words))


def _side(task: Task, id: str, source: str) -> teacher_cards.Told | None:
    example = task.example(id, source)
    if example.source != source or not example.rationale:
        return None
    return teacher_cards.Told(source, TeacherAnswer(example, example.rationale, _labels(task, task.digest, source).get(id)))


@st.cache_data(max_entries=64, show_spinner=False)
def _labels(_task: Task, digest: str, source: str) -> dict[str, str]:
    return _task.teacher_labels(source)

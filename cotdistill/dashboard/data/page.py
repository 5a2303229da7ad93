"""Page Data: pick a task, see one example under every condition, read its counts and checks, import another."""

from __future__ import annotations

from typing import Any

import streamlit as st

from cotdistill.errors import CotdistillError
from cotdistill.store.store import Store
from cotdistill.tasks.example import CHOICE
from cotdistill.tasks.catalog import TASKS, list_tasks, open_task
from cotdistill.tasks.task import Task
from cotdistill.dashboard.widgets import example, forms
from cotdistill.dashboard.data import hub_form, import_form, lint as linted, task_admin, task_statistics, teachers
from cotdistill.dashboard import frame
from cotdistill.dashboard.widgets import composer_state
from cotdistill.report.commands import command
from cotdistill.text import capital, percent, plain_markdown

KEY = "world"


def draw(store: Store) -> None:
    frame.heading(
        "Data", "Questions with choices, answers and a teacher's rationales; and what becomes of a rationale under every condition, token by token."
    )
    left, middle, right = st.columns([3, 3, 2], vertical_alignment="bottom")
    # Before the tasks are listed, so that an imported one is among them, and shown, at once.
    with right, st.popover("Import a task", icon=":material/upload_file:", width="stretch"):
        origin = st.segmented_control("From", ("files", "the hub"), default="files", required=True, key="import.from")
        (hub_form if origin == "the hub" else import_form).draw(store)
    known = {str(row["id"]): row for row in list_tasks(store.tasks_root)}
    with left:
        name = frame.choose("Task", list(known), key="task", label_of=lambda n: _row_label(known[n]), drops=import_form.BELONGS)
    settings, world = _dials(name) if known[name].get("artificial") else (None, 0)
    try:
        with st.spinner("Opening the task…"):
            task = open_task(store.tasks_root, name, world=world, settings=settings)
    except CotdistillError as error:
        frame.problem(error)
        return
    with middle:
        source = frame.choose("Rationales by", list(task.sources), key="source", start=task.default_source) if task.sources else ""
    _numbers(task, settings or {})
    example.draw(task, source, world)
    teachers.draw(store, task, world, dialled=bool(settings))
    task_statistics.draw(task)
    lint = linted.draw(task, source)
    if not task.artificial:
        task_admin.draw(store, task)
    frame.terminal(command("tasks", "show", task.name), command("tasks", "list"), command("tasks", "export", task.name, "FOLDER"), lint)


def _row_label(row: dict[str, Any]) -> str:
    kind = " (generated, artificial)" if row.get("artificial") else ""
    return f"{row['id']}{kind}"


def _dials(name: str) -> tuple[dict[str, Any] | None, int]:
    """The dials of the generated task; None where all stand at their defaults, so that the usual world is named as
    everywhere.
    """
    dials = TASKS.get(name).dials
    with st.expander("Dials of the generated task", icon=":material/tune:"):
        world = st.number_input(
            "World",
            min_value=0,
            max_value=10_000,
            step=1,
            key=KEY,
            bind="query-params",
            help="The seed of what is generated: other facts, other numbers.",
            width=220,
        )
        try:
            chosen = forms.config(dials, dials(), key=f"{KEY}.dials", columns=4)
        except CotdistillError as error:
            frame.problem(error)
            chosen = dials()
    return forms.changed(chosen) or None, int(world)


def _numbers(task: Task, settings: dict[str, Any]) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        for split, name in (("train", "Training rows"), ("dev", "Dev rows"), ("test", "Test questions")):
            st.metric(name, f"{len(task.examples(split)):,}", width="content", help=plain_markdown(task.roles.get(split, "")) or None)
        chance = percent(task.chance) if task.answer_kind == CHOICE else "none"
        st.metric(
            "Chance", chance, width="content", help="The mean share of right choices, on test; none for written answers."
        )
        st.space("stretch")
        if st.button("Train on this task", icon=":material/model_training:"):
            composer_state.begin(task.name, settings)
            st.switch_page("pages/2_Train.py", query_params={"task": task.name})
    roles = "; ".join(f"{split}: {told}" for split, told in task.roles.items())
    st.caption(plain_markdown(". ".join(part.rstrip(". ") for part in (capital(task.help), roles) if part) + "."))

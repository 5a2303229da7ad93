"""An imported task gets another name, or goes: a part of page Data."""

from __future__ import annotations

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.errors import CotdistillError
from cotdistill.report.commands import command
from cotdistill.store.store import Store
from cotdistill.studies.stored_tasks import delete_task, rename_task
from cotdistill.tasks.task import Task
from cotdistill.text import plain_markdown


def draw(store: Store, task: Task) -> None:
    """The two buttons; refused in words while studies use the task. After either the page shows what is there now."""
    with st.expander("Rename or delete this task", icon=":material/edit:"):
        name = st.text_input("New name", value=task.name, key=f"rename.{task.name}").strip()
        left, right = st.columns(2, vertical_alignment="bottom")
        renamed = left.button("Rename", key="rename.go", disabled=not name or name == task.name)
        sure = right.toggle(plain_markdown(f"Delete {task.name} and its rationales for good"), key=f"delete.{task.name}")
        deleted = right.button("Delete", key="delete.go", disabled=not sure)
        frame.terminal(command("tasks", "rename", task.name, name), command("tasks", "delete", task.name))
        try:
            if renamed:
                st.query_params["task"] = rename_task(store, task.name, name).name
            elif deleted:
                delete_task(store, task.name)
                for parameter in ("task", "source", "example"):
                    st.query_params.pop(parameter, None)
        except CotdistillError as error:
            frame.problem(error)
            return
    if renamed or deleted:
        st.rerun()

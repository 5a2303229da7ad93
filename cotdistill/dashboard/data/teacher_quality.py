"""The figures of rationale sources side by side, and two of them compared by the students that they make."""

from __future__ import annotations

from typing import Any

import streamlit as st

from cotdistill.errors import CotdistillError
from cotdistill.results.source_quality import known
from cotdistill.store.store import Store
from cotdistill.studies.spec import StudySpec, checked
from cotdistill.tasks.task import SPLITS, Task
from cotdistill.dashboard import frame
from cotdistill.report import markup
from cotdistill.dashboard.widgets import composer_state
from cotdistill.report.commands import carried_out, command, run_study
from cotdistill.report.teachers import figures
from cotdistill.text import plain_markdown, plural

# More columns than this do not stand beside each other.
MOST = 6
START = 4


def draw(store: Store, task: Task, world: int) -> None:
    """Which sources, over which rows; their figures; and the study that compares two."""
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    start = list(task.sources) if len(task.sources) <= START else [*task.sources[: START - 1], task.sources[-1]]
    names = left.multiselect("Sources", list(task.sources), default=start, key="figures.sources", max_selections=MOST, wrap=True)
    splits = right.multiselect("Splits", list(SPLITS), default=["train"], key="figures.splits")
    if not names or not splits:
        st.caption("Choose a source and a split.")
        return
    counts = _counted(store, task, world, names, splits)
    if counts:
        st.html(_table(counts))
        st.caption(
            "Noted: the teacher's answer came with the rationale. Stated: its text says it for sure. Near-duplicates: Jaccard index of word triples "
            "of .8 and above. First named: where the teacher's own answer first stands; a student that writes the answer first learns from one "
            "kind, one that reasons first from the other."
        )
    frame.terminal(command("teacher", "quality", *_where(task, world), "--sources", ",".join(names), "--splits", ",".join(splits)))
    if len(task.sources) > 1:
        _by_students(task)


def _where(task: Task, world: int) -> list[str]:
    return ["--task", task.name, *(["--world", str(world)] if world else [])]


def _counted(store: Store, task: Task, world: int, names: list[str], splits: list[str]) -> dict[str, Any]:
    """The figures by source. What has not been counted yet is counted in a process of its own, one source after the
    other.
    """
    kept = {name: known(store, task, name, splits) for name in names}
    missing = [name for name in names if kept[name] is None]
    if missing:
        bar = st.progress(0.0)
        for number, name in enumerate(missing):
            bar.progress(number / len(missing), text=plain_markdown(f"Reading {name}: some seconds, this once"))
            document = carried_out(store, ["teacher", "quality", *_where(task, world), "--sources", name, "--splits", ",".join(splits)])
            if error := document.get("error"):
                st.error(plain_markdown(f"{name}: {error['message']} {error.get('hint', '')}"), icon=":material/error:")
            else:
                kept[name] = document["sources"][name]
        bar.empty()
    return {name: one for name, one in kept.items() if one is not None}


def _table(counts: dict[str, Any]) -> str:
    columns = {name: dict(figures(one)) for name, one in counts.items()}
    names = list(dict.fromkeys(figure for column in columns.values() for figure in column))
    rows = [[markup.TableCell(figure, quiet=True), *(markup.TableCell(column.get(figure, "–")) for column in columns.values())] for figure in names]
    return markup.table(("", *columns), rows, "figures of the sources")


def _by_students(task: Task) -> None:
    """What two sources are worth is what their students can do: the study that asks it, set up on page Train."""
    frame.section("By the students they make", "Figures describe rationales. Which of two sources teaches more, students trained on each tell.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first = st.selectbox("One source", task.sources, key="students.one", width=300)
        other = st.selectbox("Another source", [s for s in task.sources if s != first], key="students.other", width=300)
        seeds = int(st.number_input("Replicates", min_value=1, max_value=100, value=3, key="students.seeds", width=130))
    try:
        spec = compared(task, str(first), str(other), seeds)
    except CotdistillError as error:
        frame.problem(error)
        return
    st.caption(plain_markdown(f"{plural(len(spec.conditions) * spec.replicates, 'run')}, on the rows that both sources speak about."))
    if st.button("Set it up on page Train", type="primary", icon=":material/model_training:", key="students.go"):
        composer_state.begin_with(spec)
        st.switch_page("pages/2_Train.py", query_params={"task": task.name})
    frame.terminal(run_study(spec))


def compared(task: Task, first: str, second: str, replicates: int) -> StudySpec:
    """A study with the source as its axis: each placement under both teachers, and label only."""
    conditions = ("label_only", "pre_cot", f"pre_cot@source={second}", "post_cot", f"post_cot@source={second}")
    name = f"{task.name}-{first}-or-{second}"[:80]
    return checked(StudySpec(name=name, task=task.name, source=first, conditions=conditions, replicates=replicates, baseline="label_only"))

"""Page Train: compose a study, see its runs, cost and detectable effect, launch it, and watch the queue."""

from __future__ import annotations

import dataclasses
from typing import Any

import streamlit as st

from cotdistill.config import Seeds, StudentConfig, TrainingConfig, from_mapping, plain
from cotdistill.dashboard import frame
from cotdistill.dashboard.train import axes
from cotdistill.dashboard.widgets import example, forms, plans, queue
from cotdistill.dashboard.widgets.composer_state import KEY, NEW, forget
from cotdistill.errors import CotdistillError
from cotdistill.planning.plan import Plan
from cotdistill.report.commands import run_study
from cotdistill.store.store import Store
from cotdistill.students.models import PRETRAINED, STUDENTS, entry_of
from cotdistill.studies.spec import BUDGETS, MISSING, STUDIES, StudySpec, spec_from_mapping
from cotdistill.tasks.catalog import TASKS, list_tasks, open_task
from cotdistill.tasks.generated.world import WorldSettings
from cotdistill.tasks.task import Task
from cotdistill.text import plain_markdown


def draw(store: Store) -> None:
    frame.heading(
        "Train",
        "Conditions × replicates become runs; what the store has already is not trained again. Training goes on when"
        " this page is closed.",
    )
    left, right = st.columns([3, 2], gap="large")
    with left:
        spec = _compose(store)
    if spec is not None:
        with right:
            planned = _launch(store, spec)
        if planned is not None:
            with st.expander(
                f"Every run of this plan: {plans.summary_line(planned)}", expanded=True, icon=":material/table_rows:"
            ):
                st.html(plans.table(planned))
    st.divider()
    queue.draw(store)


def _compose(store: Store) -> StudySpec | None:
    """The form. None (with the problems told) while it does not make a study."""
    frame.section("1 · Compose")
    offered = _starts(store)
    name = st.selectbox(
        "Start from",
        list(offered),
        key=f"{KEY}.start",
        persist_state="session",
        format_func=_told_start,
        on_change=forget,
    )
    start = offered[name]
    try:
        task, settings = _task(store, start)
        values = _fields(task, start) | {"task_settings": settings}
        with st.expander("Training settings", icon=":material/tune:"):
            training = forms.config(TrainingConfig, start.training, key=f"{KEY}.training")
        with st.expander("Student, seeds and missing rationales", icon=":material/settings:"):
            values |= _more(task, start)
        return spec_from_mapping({**values, "training": plain(training)}, StudySpec())
    except CotdistillError as error:
        frame.problem(error)
        return None


def _starts(store: Store) -> dict[str, StudySpec]:
    """Studies to start from: the built-in ones, the store's own (newest of each name), and an empty one."""
    starts = {entry.name: entry.make() for entry in STUDIES}
    for study in store.queue.studies():
        if not study.spec.get("answers"):  # else made by other code: it cannot be trained
            starts.setdefault(study.name, spec_from_mapping(study.spec))
    return starts | {NEW: StudySpec(name="my-study", conditions=("label_only", "pre_cot", "post_cot"))}


def _told_start(name: str) -> str:
    return f"{name}: {STUDIES.get(name).help}" if name in STUDIES else name


def _task(store: Store, start: StudySpec) -> tuple[Task, dict[str, Any]]:
    """The chosen task, and those dials of a generated one that are not at their default."""
    known = [str(row["id"]) for row in list_tasks(store.tasks_root)]
    _first(f"{KEY}.task", st.query_params.get("task") if st.query_params.get("task") in known else start.task)
    if st.session_state[f"{KEY}.task"] not in known:
        st.session_state[f"{KEY}.task"] = known[0]
    name = st.selectbox(
        "Task",
        known,
        key=f"{KEY}.task",
        persist_state="session",
        help="Import others on page Data.",
        on_change=_rename,
        args=(start.name,),
    )
    settings: dict[str, Any] = {}
    if name in TASKS:
        with st.expander("Dials of the generated task", icon=":material/tune:"):
            dials = dict(start.task_settings) if name == start.task else {}
            settings = forms.changed(
                forms.config(WorldSettings, from_mapping(WorldSettings, dials), key=f"{KEY}.dials")
            )
    with st.spinner("Opening the task…"):
        return open_task(store.tasks_root, name, settings=settings or None), settings


def _rename(start: str) -> None:
    """A study that was only started from another one's settings gets its task's name, unless a person has named it."""
    if st.session_state.get(f"{KEY}.name") in (start, *TASKS.names()):
        st.session_state[f"{KEY}.name"] = st.session_state[f"{KEY}.task"]


def _fields(task: Task, start: StudySpec) -> dict[str, Any]:
    same = task.name == start.task
    _first(f"{KEY}.conditions", [str(c) for c in start.parsed() if same or not c.source])
    left, right = st.columns(2)
    name = left.text_input(
        "Name of the study",
        key=_first(f"{KEY}.name", start.name),
        persist_state="session",
        help="A name means its latest study.",
    )
    students = list(dict.fromkeys([*STUDENTS.names(), *PRETRAINED.names(), start.student.name]))
    student = right.selectbox(
        "Student",
        list(dict.fromkeys([*students, st.session_state.get(f"{KEY}.student", students[0])])),
        key=_first(f"{KEY}.student", start.student.name),
        persist_state="session",
        accept_new_options=True,
        help="Built-in, one of the paper's, or type a folder that save_pretrained wrote, or a hub id.",
        format_func=_told_student,
        on_change=_suit,
        args=(start,),
    )
    if (entry := entry_of(student)) is not None:
        text = f"Settings that suit {entry.name} are in the form: {entry.settings_text()}."
        st.caption(plain_markdown(f"{text} They are ours; the paper's are not known to us."))
    chosen = st.session_state[f"{KEY}.conditions"]
    conditions = st.multiselect(
        "Conditions; type any, such as post_cot/mask(fraction=0.3)",
        list(dict.fromkeys([*example.offered(task.sources), *chosen])),
        key=f"{KEY}.conditions",
        persist_state="session",
        accept_new_options=True,
        format_func=example.named,
        wrap=True,
    )
    with st.container(horizontal=True):
        example.composer(task, "composer", f"{KEY}.conditions")
        axes.draw(task, f"{KEY}.conditions", str(st.session_state.get(f"{KEY}.source", start.source)))
    first, second = st.columns(2)
    third, fourth = st.columns(2)
    replicates = first.number_input(
        "Replicates",
        min_value=1,
        max_value=1000,
        step=1,
        key=_first(f"{KEY}.replicates", start.replicates),
        persist_state="session",
    )
    sources = ["", *task.sources]
    _first(f"{KEY}.source", start.source if start.source in sources else "")
    source = second.selectbox(
        "Rationales by",
        sources,
        key=f"{KEY}.source",
        persist_state="session",
        format_func=lambda s: s or f"default: {task.default_source or 'none'}",
    )
    budget = third.selectbox(
        "Equal",
        BUDGETS,
        key=_first(f"{KEY}.budget", start.budget),
        persist_state="session",
        help="steps: the same number; tokens: as many as the longest sees",
    )
    baseline = fourth.selectbox(
        "Baseline",
        ["", *conditions],
        key=_first(f"{KEY}.baseline", start.baseline),
        persist_state="session",
        format_func=lambda c: example.named(c) if c else "label only, or the first",
    )
    return {
        "name": name,
        "title": start.title if same else "",
        "task": task.name,
        "source": source,
        "conditions": list(conditions),
        "replicates": int(replicates),
        "budget": budget,
        "baseline": baseline,
        "student": {"name": student},
    }


def _more(task: Task, start: StudySpec) -> dict[str, Any]:
    student = forms.config(
        StudentConfig,
        dataclasses.replace(start.student, name="nano"),
        key=f"{KEY}.student_settings",
        skip=("name", "tokenizer"),
    )
    first, second, third, fourth = st.columns(4)
    tokenizer = first.selectbox(
        "Tokenizer", ("auto", "word", "bpe"), key=_first(f"{KEY}.tokenizer", start.tokenizer), persist_state="session"
    )
    missing = second.selectbox(
        "Rows without a rationale",
        MISSING,
        key=_first(f"{KEY}.missing", start.missing_rationale),
        persist_state="session",
    )
    steps = start.base_steps if task.artificial else 0
    base_steps = third.number_input(
        "Steps of the shared base",
        min_value=0,
        step=100,
        key=_first(f"{KEY}.base_steps", steps),
        persist_state="session",
        disabled=not task.artificial,
        help="Generated tasks: a base trained once plays the pretrained model. 0: none.",
    )
    terminator = fourth.selectbox(
        "End token behind answers",
        ("auto", "on", "off"),
        key=_first(f"{KEY}.terminator", start.terminator),
        persist_state="session",
        help="Trained and scored with every answer. auto: where one choice begins another, as river and river bank.",
    )
    names = [f.name for f in dataclasses.fields(Seeds)]
    fixed = st.multiselect(
        "Seeds that are the same in every replicate",
        names,
        key=_first(f"{KEY}.fixed", list(start.fixed_seeds)),
        persist_state="session",
    )
    return {
        "student": {**plain(student), "name": st.session_state[f"{KEY}.student"]},
        "tokenizer": tokenizer,
        "missing_rationale": missing,
        "terminator": terminator,
        "base_steps": int(base_steps) if task.artificial else 0,
        "fixed_seeds": {
            n: int({**start.fixed_seeds, **st.session_state.get(f"{KEY}.seeds", {})}.get(n, 0)) for n in fixed
        },
    }


def _first(key: str, value: Any) -> str:
    """The key, with a first value in the session if there is none yet."""
    if key not in st.session_state:
        st.session_state[key] = value
    return key


def _told_student(name: str) -> str:
    entry = STUDENTS.get(name) if name in STUDENTS else entry_of(name)
    return f"{name}: {entry.help}" if entry is not None else name


def _suit(start: StudySpec) -> None:
    """Another student: what suits it goes into the form; a student without settings of its own gets those of the start
    back.
    """
    entry = entry_of(str(st.session_state.get(f"{KEY}.student")))
    for prefix, cls, key in (("training", TrainingConfig, "training"), ("student", StudentConfig, "student_settings")):
        # Only what the catalogue speaks of: the rest is as a person left it.
        spoken_of = {
            name.partition(".")[2] for one in PRETRAINED for name in one.defaults if name.startswith(f"{prefix}.")
        }
        values = {name: getattr(getattr(start, prefix), name) for name in spoken_of}
        values |= {
            name.partition(".")[2]: value
            for name, value in (entry.defaults.items() if entry else ())
            if name.startswith(f"{prefix}.")
        }
        forms.reset(cls, values, key=f"{KEY}.{key}")
    if entry is not None:
        st.session_state[f"{KEY}.base_steps"] = 0


def _launch(store: Store, spec: StudySpec) -> Plan | None:
    frame.section("2 · Look at the plan, launch")
    try:
        planned = plans.plan_of(store, spec)
    except CotdistillError as error:
        frame.problem(error)
        return None
    plans.draw(planned)
    st.button(
        plans.launch_label(planned),
        type="primary",
        icon=":material/rocket_launch:",
        key="launch",
        disabled=not plans.open_runs(planned),
        # Before the page is drawn again, so that the plan shows at once what is queued now.
        on_click=_launched,
        args=(store, planned),
    )
    frame.terminal(run_study(spec, "plan"), run_study(spec))
    return planned


def _launched(store: Store, planned: Plan) -> None:
    try:
        submission = plans.launch(store, planned)
    except CotdistillError as error:
        st.toast(plain_markdown(f"{error.message} {error.hint}"), icon=":material/error:")
        return
    st.toast(
        f"Launched: {len(submission.new)} new, {len(submission.reused)} already there.", icon=":material/rocket_launch:"
    )

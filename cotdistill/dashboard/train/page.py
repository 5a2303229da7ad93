"""Page Train: compose a study, see its runs, cost and detectable effect, launch it, and watch the queue."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import streamlit as st

from cotdistill.config import Seeds, StudentConfig, TrainingConfig, from_mapping, plain
from cotdistill.dashboard import frame
from cotdistill.dashboard.train import axes, fetching, tuning
from cotdistill.dashboard.widgets import condition_field, example, forms, plans, queue
from cotdistill.dashboard.widgets.composer_state import KEY, NEW, forget, keep, restore
from cotdistill.errors import CotdistillError
from cotdistill.planning.plan import Plan
from cotdistill.report.commands import run_study
from cotdistill.store.store import Store
from cotdistill.students.models import PRETRAINED, STUDENTS, entry_of, settings_text
from cotdistill.students.suited import suited
from cotdistill.studies.spec import BUDGETS, MISSING, STUDIES, StudySpec, spec_from_mapping
from cotdistill.tasks.catalog import TASKS, list_tasks, open_task
from cotdistill.tasks.task import Task
from cotdistill.text import listed, plain_markdown, plural


def draw(store: Store) -> None:
    frame.heading(
        "Train",
        "Conditions × replicates become runs; what the store has already is not trained again. Training goes on when"
        " this page is closed.",
    )
    left, right = st.columns([3, 2], gap="large")
    with left:
        spec, complete = _compose(store)
        tune = "" if spec is None else tuning.grid()
    with right:
        if spec is not None and tune:
            planned = tuning.draw(store, spec, tune, complete)
        else:
            planned = _launch(store, spec, complete)
    if planned is not None:
        with st.expander(
            f"Every run of this plan: {plans.summary_line(planned)}", expanded=True, icon=":material/table_rows:"
        ):
            st.html(plans.table(planned))
    st.divider()
    queue.draw(store)


def _compose(store: Store) -> tuple[StudySpec | None, bool]:
    """The form: its study, and whether every entry is in order. No study, and the problems in words, while it makes
    none."""
    frame.section("1 · Compose")
    offered = _starts(store)
    restore(offered)
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
        values, complete = _fields(store, task, start)
        values["task_settings"] = settings
        with st.expander("Training settings", icon=":material/tune:"):
            training = forms.config(TrainingConfig, start.training, key=f"{KEY}.training")
        with st.expander("Student, seeds and missing rationales", icon=":material/settings:"):
            values |= _more(task, start)
        spec = spec_from_mapping({**values, "training": plain(training)}, StudySpec())
    except CotdistillError as error:
        frame.problem(error)
        return None, False
    _changes(name, keep(name, start, spec))
    return spec, complete


def _changes(start: str, changes: Mapping[str, Any]) -> None:
    """What the composed study has otherwise than the one it starts from."""
    if not changes:
        st.caption(plain_markdown(f"As in {start}."))
        return
    with st.expander(f"{plural(len(changes), 'setting')} changed against {plain_markdown(start)}", type="compact"):
        for setting, value in changes.items():
            text = listed(map(str, value), 8) if isinstance(value, list) else str(value)
            st.markdown(f"`{setting}` {plain_markdown(text or 'none')}")


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
    if start.task not in known:
        fetching.draw_missing_task(start.task)
    settings: dict[str, Any] = {}
    if name in TASKS:
        with st.expander("Dials of the generated task", icon=":material/tune:"):
            dials = dict(start.task_settings) if name == start.task else {}
            settings = forms.changed(
                forms.config(TASKS.get(name).dials, from_mapping(TASKS.get(name).dials, dials), key=f"{KEY}.dials")
            )
    with st.spinner("Opening the task…"):
        return open_task(store.tasks_root, name, settings=settings or None), settings


def _rename(start: str) -> None:
    """Another task: rows left out were the other one's, and a study that was only started from another one's settings
    gets its task's name, unless a person has named it."""
    st.session_state[f"{KEY}.left_out"] = []
    if st.session_state.get(f"{KEY}.name") in (start, *TASKS.names()):
        st.session_state[f"{KEY}.name"] = st.session_state[f"{KEY}.task"]


def _fields(store: Store, task: Task, start: StudySpec) -> tuple[dict[str, Any], bool]:
    """The settings in sight, and whether every entry of the field of conditions is one."""
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
    if settings := suited(StudentConfig(name=student)):
        text = f"Settings that suit {student} are in the form: {settings_text(settings)}."
        st.caption(plain_markdown(f"{text} They are ours; the paper's are not known to us."))
    fetching.draw_student(store, student)
    conditions, complete = condition_field.draw(
        st.container(), "Conditions", condition_field.offered(task.sources), key=f"{KEY}.conditions",
        persist_state="session",
    )  # fmt: skip
    with st.container(horizontal=True):
        example.composer(task, "composer", f"{KEY}.conditions")
        axes.draw(task, conditions, f"{KEY}.conditions", str(st.session_state.get(f"{KEY}.source", start.source)))
    first, second = st.columns(2)
    third, fourth = st.columns(2)
    replicates = first.number_input(
        "Replicates",
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
    if not task.artificial and task.name == start.task and start.left_out:
        _first(f"{KEY}.left_out", list(start.left_out))
    budget = third.selectbox(
        "Equal",
        BUDGETS,
        key=_first(f"{KEY}.budget", start.budget),
        persist_state="session",
        help="steps: the same number; tokens: as many as the longest sees",
    )
    baseline = fourth.selectbox(
        "Baseline",
        list(dict.fromkeys(["", *conditions])),
        key=_first(f"{KEY}.baseline", start.baseline if start.baseline in conditions else ""),
        persist_state="session",
        format_func=lambda c: condition_field.label_of(c) if c else "label only, or the first",
    )
    values = {
        "also_test": _second_test(store, task, start),
        "name": name,
        "title": start.title if same else "",
        "primary": _primary(start, conditions),
        "first_replicate": start.first_replicate,
        "terminator": start.terminator,
        "tuned": {condition: settings for condition, settings in start.tuned.items() if condition in conditions},
        "task": task.name,
        "source": source,
        "conditions": list(conditions),
        "replicates": int(replicates),
        "budget": budget,
        "baseline": baseline,
        "student": {"name": student},
        "left_out": list(st.session_state.get(f"{KEY}.left_out", ())),
    }
    return values, complete


def _primary(start: StudySpec, conditions: list[str]) -> str:
    """The condition of several key-token ones that claim 3 is judged by, named before launch; "" for fewer than two."""
    swept = [condition for condition in conditions if "/key_tokens(" in condition and "@" not in condition]
    if len(swept) < 2:
        return start.primary if start.primary in conditions else ""
    if st.session_state.get(f"{KEY}.primary") not in ("", *swept):
        st.session_state[f"{KEY}.primary"] = start.primary if start.primary in swept else ""
    return str(
        st.selectbox(
            "Primary of the key-token conditions",
            ["", *swept],
            key=f"{KEY}.primary",
            persist_state="session",
            format_func=lambda c: condition_field.label_of(c) if c else "the one with a matched control of its own",
            help="Claim 3 is judged by one condition of a sweep, named before launch.",
        )
        or ""
    )


def _second_test(store: Store, task: Task, start: StudySpec) -> str:
    """A second task for the same students: another one, or the study's own with dials typed in."""
    others = [str(row["id"]) for row in list_tasks(store.tasks_root) if row["id"] != task.name]
    chosen = st.session_state.get(f"{KEY}.also_test", start.also_test)
    return str(
        st.selectbox(
            "Also test on",
            list(dict.fromkeys(["", *others, *([chosen] if chosen else [])])),
            key=_first(f"{KEY}.also_test", start.also_test),
            persist_state="session",
            accept_new_options=True,
            format_func=lambda text: text or "no second task",
            help="The same students on a second task, shown beside and never judged: another task, or type a generated "
            "one with other dials, such as field_guide(choices=6).",
        )
        or ""
    )


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
    if left_out := st.session_state.get(f"{KEY}.left_out"):
        st.multiselect(
            "Training rows left out of every condition", left_out, key=f"{KEY}.left_out", persist_state="session",
            accept_new_options=True, wrap=True,
        )  # fmt: skip
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
    settings = suited(StudentConfig(name=str(st.session_state.get(f"{KEY}.student"))))
    for prefix, cls, key in (("training", TrainingConfig, "training"), ("student", StudentConfig, "student_settings")):
        # Only what any student's settings speak of: the rest is as a person left it.
        names = {name for entry in PRETRAINED for name in suited(StudentConfig(name=entry.name))} | set(settings)
        spoken_of = {name.partition(".")[2] for name in names if name.startswith(f"{prefix}.")}
        values = {name: getattr(getattr(start, prefix), name) for name in spoken_of}
        values |= {name.partition(".")[2]: value for name, value in settings.items() if name.startswith(f"{prefix}.")}
        forms.reset(cls, values, key=f"{KEY}.{key}")
    if settings:
        st.session_state[f"{KEY}.base_steps"] = 0


def _launch(store: Store, spec: StudySpec | None, complete: bool) -> Plan | None:
    """The plan with its button; None, and the button off, where the form makes no study that can be planned."""
    frame.section("2 · Look at the plan, launch")
    planned = None
    if spec is not None:
        try:
            planned = plans.plan_of(store, spec)
        except CotdistillError as error:
            frame.problem(error)
    if spec is None or planned is None:
        st.button("Launch", type="primary", icon=":material/rocket_launch:", key="launch", disabled=True)
        st.caption("Nothing can be launched until the form is in order: see the red line.")
        return None
    plans.draw(planned)
    doomed = bool(planned.too_long and planned.new)
    if doomed:
        _too_long(planned)
    st.button(
        plans.launch_label(planned),
        type="primary",
        icon=":material/rocket_launch:",
        key="launch",
        disabled=doomed or not complete or not plans.open_runs(planned),
        # Before the page is drawn again, so that the plan shows at once what is queued now.
        on_click=plans.launched,
        args=(store, planned),
    )
    frame.terminal(run_study(spec, "plan"), run_study(spec))
    return planned


def _too_long(planned: Plan) -> None:
    """Rows that the student cannot read would end every run: what to do about them, a button each."""
    rows = planned.too_long_rows
    ways: list[tuple[str, str, Any]] = [("Shorten the question", "student_settings.truncate", "question")]
    if rows:
        ways.insert(0, ("Shorten the rationale", "student_settings.truncate", "rationale"))
        left_out = [*planned.spec.left_out, *rows]
        ways.insert(0, (f"Leave {plural(len(rows), 'row')} out", "left_out", left_out))
    with st.container(border=True):
        st.error(
            f"{plural(len(rows), 'training row') if rows else 'Questions'} cannot be read whole by this student: the"
            " runs named above would fail. Choose what becomes of them.",
            icon=":material/error:",
        )
        with st.container(horizontal=True):
            for label, key, value in ways:
                st.button(label, key=f"mend.{label}", on_click=_set, args=(key, value))
            st.button("Discard this plan", key="mend.discard", on_click=forget, icon=":material/undo:")
        if rows:
            st.caption(plain_markdown(f"Left out of every condition alike: {listed(rows)}."))


def _set(field: str, value: Any) -> None:
    """Put a value into the form before it is drawn again."""
    st.session_state[f"{KEY}.{field}"] = value

"""The form that asks a teacher: which one, how it is asked, what that looks like, what it would take. The asking itself
is a job.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import streamlit as st

from cotdistill.config import digest
from cotdistill.errors import CotdistillError, UsageError
from cotdistill.planning import elicitation
from cotdistill.store.store import Store
from cotdistill.execution.supervisor import ensure_supervisor
from cotdistill.tasks.importing.files import source_name
from cotdistill.tasks.task import SPLITS, Task
from cotdistill.teachers.asking import Pace
from cotdistill.teachers.elicitation import PARTS, Contrast, ElicitConfig, Sampling, TeacherConfig, checked, requests
from cotdistill.teachers.endpoint import address
from cotdistill.teachers.prompts import MOST_SHOTS, PRESETS, PromptTemplate, Shot, changed, draw_shots
from cotdistill.teachers.responses import Responses
from cotdistill.dashboard.widgets import forms
from cotdistill.dashboard import frame
from cotdistill.report import markup
from cotdistill.report.commands import command
from cotdistill.dashboard.data.filter_form import TAKEN
from cotdistill.report.teachers import estimated
from cotdistill.text import plain_markdown

KEY = "elicit"
KINDS = {"endpoint": "A server (OpenAI's protocol)", "local": "A model on this machine"}
SHOWN = {"gold": "the right answer", "nothing": "no answer", "wrong": "a wrong answer"}


def draw(store: Store, task: Task, world: int) -> None:
    """The form, the prompt as it will be sent, the estimate, and the button."""
    left, right = st.columns([3, 2], gap="large")
    try:
        with left:
            config, words = _composed(task, world)
            pace = _pace(store, config.teacher.model)
        with right:
            _prompt(task, config)
            if not config.teacher.model:
                st.caption(":material/arrow_back: Name a model, and what it would take is told here.")
                return
            checked(config)
            _go(store, task, config, pace)
    except CotdistillError as error:
        frame.problem(error)
        return
    frame.terminal(command(*words, *_changed_words(pace)))


def _composed(task: Task, world: int) -> tuple[ElicitConfig, list[str]]:
    """What the form says, and the words of the terminal for it."""
    teacher = _teacher()
    hint = str(
        st.segmented_control(
            "The teacher is shown",
            list(SHOWN),
            default="gold",
            key=f"{KEY}.given",
            required=True,
            format_func=SHOWN.__getitem__,
        )
    )
    first, two, three = st.columns(3)
    split = first.selectbox("Split", SPLITS, key=f"{KEY}.split")
    rows = int(
        two.number_input(
            "Rows, by a fixed hash; 0: all",
            min_value=0,
            max_value=len(task.examples(split)),
            value=20,
            step=20,
            key=f"{KEY}.rows",
        )
    )
    usual = source_name(teacher.model.rstrip("/").rpartition("/")[2])[:48] if teacher.model else "teacher"
    name = three.text_input("Name of the source", key=f"{KEY}.name", placeholder=usual).strip() or usual
    template = _template()
    shots, shown, drawn = _shots(task)
    with st.expander("How it writes", icon=":material/edit_note:"):
        sampling = forms.config(Sampling, Sampling(), key=f"{KEY}.sampling", skip=("stop",))
        part = st.selectbox(
            "What of an answer becomes the rationale",
            list(reversed(PARTS)),
            key=f"{KEY}.part",
            format_func=TAKEN.__getitem__,
        )
        contrast = Contrast()
        if teacher.kind == "local" and hint != "nothing":
            contrast = forms.config(Contrast, Contrast(), key=f"{KEY}.contrast")
    config = ElicitConfig(
        task=task.name,
        task_digest=task.digest,
        name=name,
        teacher=teacher,
        template=template,
        shots=shots,
        shown_shots=shown,
        given=hint,
        sampling=sampling,
        contrast=contrast,
        split=split,
        part=part,
        rows=rows,
        world=world,
    )
    words = [
        "teacher",
        "elicit",
        "--task",
        task.name,
        *(["--world", str(world)] if world else []),
        "--name",
        config.name,
        "--rows",
        str(rows),
    ]
    words += [f"--split={split}"] if split != "train" else []
    words += [f"--given={hint}"] if hint != "gold" else []
    words += [f"--part={part}"] if part != "reason" else []
    words += ["--template", json.dumps(changed(template))] if changed(template) else []
    words += drawn
    return config, [*words, *_changed_words(teacher), *_changed_words(sampling), *_changed_words(contrast)]


def _changed_words(config: Any) -> list[str]:
    """The options of the terminal that differ from their defaults."""
    words = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(field.default, bool):
            words += [f"--{field.name.replace('_', '-')}"] if value else []
        elif isinstance(field.default, (str, int, float)) and value != field.default:
            words += [f"--{field.name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
        elif field.name == "extra" and value:
            words += ["--extra", json.dumps(value)]
    return words


def _teacher() -> TeacherConfig:
    kind = str(
        st.segmented_control(
            "Teacher", list(KINDS), default="endpoint", key=f"{KEY}.kind", required=True, format_func=KINDS.__getitem__
        )
    )
    help_text = "its name on the server" if kind == "endpoint" else "a folder that save_pretrained wrote, or a hub id"
    model = st.text_input(
        f"Model: {help_text}",
        key=f"{KEY}.model",
        placeholder="mistral-7b-instruct" if kind == "endpoint" else "/models/teacher",
    )
    if kind == "endpoint":
        try:
            address()
        except UsageError as error:
            # The address itself is never shown, only whether there is one.
            st.info(plain_markdown(f"{error.message} {error.hint}"), icon=":material/link_off:")
    with st.expander("More about the teacher", icon=":material/school:"):
        skip = ("chat", "device") if kind == "endpoint" else ("limit_name",)
        base = forms.config(
            TeacherConfig, TeacherConfig(), key=f"{KEY}.teacher", skip=("kind", "model", "extra", *skip)
        )
        extra = st.text_input(
            "Further fields of the request, as JSON", key=f"{KEY}.extra", placeholder='{"reasoning_effort": "low"}'
        )
    return dataclasses.replace(base, kind=kind, model=model.strip(), extra=_extra(extra) if kind == "endpoint" else {})


def _extra(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text or "{}")
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise UsageError("The further fields are no JSON object.", 'For example {"reasoning_effort": "low"}')
    return values


def _template() -> PromptTemplate:
    """A preset, and every part of it in a field of its own."""
    name = st.selectbox(
        "Prompt",
        PRESETS.names(),
        key=f"{KEY}.preset",
        on_change=_fill,
        format_func=lambda n: f"{n}: {PRESETS.get(n).help}",
    )
    start = PRESETS.get(name).template
    with st.expander("The template, part by part", icon=":material/edit:"):
        values = {}
        for field in dataclasses.fields(PromptTemplate):
            key = f"{KEY}.template.{field.name}"
            st.session_state.setdefault(key, getattr(start, field.name))
            label = f"{forms.label_of(field.name)}: {plain_markdown(field.metadata['help'])}"
            values[field.name] = st.text_area(label, key=key, height="content", persist_state="session")
    return PromptTemplate(**values)


def _fill() -> None:
    """Another preset: its parts stand in the fields."""
    template = PRESETS.get(st.session_state[f"{KEY}.preset"]).template
    for field in dataclasses.fields(PromptTemplate):
        st.session_state[f"{KEY}.template.{field.name}"] = getattr(template, field.name)


def _shots(task: Task) -> tuple[tuple[Shot, ...], int, list[str]]:
    """The shots, how many are shown, and the words that draw the same; their rationales may be edited."""
    number = int(
        st.number_input(
            "Shots: worked examples it is shown first",
            min_value=0,
            max_value=MOST_SHOTS,
            value=0,
            key=f"{KEY}.shots",
            width=300,
        )
    )
    if not number:
        return (), 0, []
    with st.expander("The shots", icon=":material/format_list_numbered:", expanded=True):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            source = str(st.selectbox("Rationales by", task.sources, key=f"{KEY}.shots.source", width=300))
            seed = int(st.number_input("Drawn by seed", min_value=0, value=0, key=f"{KEY}.shots.seed", width=130))
        drawn = draw_shots(task, source, number, seed)
        table = [{"row": s.id, "question": s.question, "answer": s.answer, "rationale": s.rationale} for s in drawn]
        edited = st.data_editor(
            table,
            key=f"{KEY}.shots.{source}.{seed}.{number}",
            hide_index=True,
            disabled=("row", "question", "answer"),
            column_config={
                "rationale": st.column_config.TextColumn("rationale (may be edited)", width="large", required=True)
            },
        )
        st.caption(f"{number} are shown; the last one stands in where a row would be its own shot.")
    shots = tuple(
        dataclasses.replace(shot, rationale=str(row["rationale"])) for shot, row in zip(drawn, edited, strict=True)
    )
    words = ["--shots", str(number), "--shots-source", source, "--shots-seed", str(seed)]
    return shots, number, words if shots == drawn else ["--shots-file", "SHOTS.jsonl", "--shots", str(number)]


def _pace(store: Store, model: str) -> Pace:
    start = elicitation.pace_of(store, model)
    with st.expander("Pace and price", icon=":material/speed:"):
        return forms.config(Pace, start, key=f"{KEY}.pace.{model}")


def _prompt(task: Task, config: ElicitConfig) -> None:
    """The question in view as it is asked, else the first of those that are."""
    wanted = st.query_params.get("example", "")
    ids = (wanted,) if any(e.id == wanted for e in task.examples(config.split)) else ()
    request = requests(task, dataclasses.replace(config, ids=ids, rows=0 if ids else 1))[0]
    frame.section("As it is asked", f"Row {request.example.id}.")
    for turn in request.turns:
        st.caption(turn["role"])
        st.code(turn["content"], language=None, wrap_lines=True)
    if request.against:
        with st.expander("Held against it"):
            st.code(request.against[-1]["content"], language=None, wrap_lines=True)


def _go(store: Store, task: Task, config: ElicitConfig, pace: Pace) -> None:
    kept = Responses(store.home).path
    changed_at = kept.stat().st_mtime_ns if kept.is_file() else 0
    expected = _estimate(digest(config), digest(pace), changed_at, store, task, config, pace)
    rows = [[markup.TableCell(what, quiet=True), markup.TableCell(told)] for what, told in estimated(expected, pace)]
    st.html(markup.table(("What it takes", ""), rows, "estimate"))
    if st.button("Ask the teacher", type="primary", icon=":material/forum:", key=f"{KEY}.go"):
        job = elicitation.submit(store, config, pace)
        ensure_supervisor(store)
        st.toast(f"Job {job.id} is {job.state}. It goes on when this page is closed.")


@st.cache_data(max_entries=16, show_spinner="Counting what there is to ask…")
def _estimate(
    config: str, pace: str, changed_at: int, _store: Store, _task: Task, _config: ElicitConfig, _pace: Pace
) -> elicitation.Estimate:
    """Counted once for a form as it stands: thousands of rows with shots take seconds."""
    return elicitation.estimate(_store, _task, _config, _pace)

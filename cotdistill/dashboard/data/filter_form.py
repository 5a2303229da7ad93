"""Filters of rationales: what each would take away, with examples; and a source made of what stays. Nothing is
deleted.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from cotdistill.store.records import Job
from cotdistill.store.store import Store
from cotdistill.tasks.task import SPLITS, Task
from cotdistill.teachers.elicitation import PARTS
from cotdistill.teachers.filters import FILTERS
from cotdistill.teachers.sources import PICKS
from cotdistill.dashboard.widgets import forms
from cotdistill.dashboard import frame
from cotdistill.report import markup
from cotdistill.report.commands import carried_out, command
from cotdistill.text import plain_markdown, plural

START = ("agrees", "one_answer", "consistent")
KEY = "filter"
PICKED = {
    "first": "the first",
    "shortest": "the shortest",
    "longest": "the longest",
    "majority": "the first whose answer is the commonest",
}
TAKEN = {"all": "all of its text", "reason": "its reason, without the sentences that state the answer"}


def draw(store: Store, task: Task, world: int) -> None:
    """Whose rationales, which filters, what they do, and under which name what stays is kept."""
    jobs = {
        f"job {job.id}": job
        for job in store.queue.jobs(kind="elicit")
        if _answered(job) and job.config["task_digest"] == task.digest
    }
    options = [*task.sources, *jobs]
    if not options:
        st.info("This task has no rationales yet. Ask a teacher for some.", icon=":material/school:")
        return
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    of = str(
        left.selectbox(
            "Rationales by",
            options,
            key=f"{KEY}.of",
            format_func=lambda name: f"{name}: {jobs[name].label}" if name in jobs else name,
        )
    )
    splits = (
        right.multiselect("Splits", list(SPLITS), default=["train"], key=f"{KEY}.splits", disabled=of in jobs)
        if of not in jobs
        else []
    )
    labels = {entry.name: f"{entry.name}: {entry.help}" for entry in FILTERS}
    chosen = st.multiselect(
        "Filters, one after the other",
        list(labels),
        default=START,
        key=f"{KEY}.names",
        format_func=labels.__getitem__,
        wrap=True,
    )
    text = ",".join(_parameters(name) for name in chosen)
    with st.expander("What is taken of each answer", icon=":material/content_cut:"), st.container(horizontal=True):
        pick = st.selectbox(
            "Of several answers to one question", PICKS, key=f"{KEY}.pick", format_func=PICKED.__getitem__
        )
        part = st.selectbox("Of an answer", PARTS, key=f"{KEY}.part", format_func=TAKEN.__getitem__)
    which = (
        ["--job", str(jobs[of].id)]
        if of in jobs
        else ["--task", task.name, "--source", of, *(["--splits", ",".join(splits)] if splits else [])]
    )
    words = [
        "teacher",
        "filter",
        *which,
        *(["--world", str(world)] if world and of not in jobs else []),
        "--filters",
        text,
    ]
    words += ["--pick", str(pick), "--part", str(part)]
    if st.button("Count what stays", type="primary", icon=":material/filter_alt:", key=f"{KEY}.count"):
        with st.spinner("Reading the rationales…"):
            st.session_state[f"{KEY}.done"] = (words, carried_out(store, words))
    # What was counted stays on the page until something else is asked.
    asked, document = st.session_state.get(f"{KEY}.done", (None, {}))
    if asked == words:
        _show_result(store, words, document)
    frame.terminal(command(*words))


def _answered(job: Job) -> bool:
    return bool(job.produced.get("answers") or job.progress.get("answered"))


def _parameters(name: str) -> str:
    """The form of one filter's parameters; its canonical text."""
    entry = FILTERS.get(name)
    if not entry.parameters:
        return name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.markdown(f"**{plain_markdown(name)}**", width=150)
        values = [
            (
                p.name,
                forms.field(
                    p.name, p.default, p.help, key=f"{KEY}.{name}.{p.name}", low=p.low, high=p.high, choices=p.choices
                ),
            )
            for p in entry.parameters
        ]
    return f"{name}({','.join(f'{parameter}={value}' for parameter, value in values)})"


def _show_result(store: Store, words: list[str], document: dict[str, Any]) -> None:
    if error := document.get("error"):
        st.error(plain_markdown(f"{error['message']} {error.get('hint', '')}"), icon=":material/error:")
        return
    rows = [
        [
            markup.TableCell(one["filter"], code=True),
            markup.TableCell(f"{one['seen']:,}"),
            markup.TableCell(f"{one['dropped']:,}"),
            markup.TableCell(f"{one['alone']:,}"),
        ]
        for one in document["filters"]
    ]
    if rows:
        st.html(markup.table(("Filter", "Seen", "Taken away", "Alone it would take away"), rows, "filters"))
    st.markdown(
        plain_markdown(
            f"{document['kept']:,} of {plural(document['answers'], 'rationale')} stay, for {plural(document['questions'], 'question')}."
        )
    )
    if left_out := document["left_out"]:
        others = ", ".join(f"{why} {number:,}" for why, number in left_out.items())
        st.caption(
            plain_markdown(
                f"{plural(document['rationales'], 'row')} of the source would hold a rationale; left out: {others}."
            )
        )
    for one in document["filters"]:
        if one["examples"]:
            with st.expander(
                f"Taken away by {one['filter'].partition('(')[0]}: examples", icon=":material/visibility:"
            ):
                for example in one["examples"]:
                    st.markdown(f"**{plain_markdown(example['id'])}**: {plain_markdown(example['reason'])}")
                    st.text(example["text"])
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name of the new source", key=f"{KEY}.name", placeholder="concise", width=300)
        if st.button(
            "Make what stays a source",
            icon=":material/add:",
            key=f"{KEY}.make",
            disabled=not name.strip() or not document["kept"],
        ):
            with st.spinner("Writing the source and training its tokenizers…"):
                result = carried_out(store, [*words, "--name", name.strip()])
            if error := result.get("error"):
                st.error(plain_markdown(f"{error['message']} {error.get('hint', '')}"), icon=":material/error:")
            else:
                st.query_params["source"] = result["source"]
                st.session_state[f"{KEY}.made"] = result["source"]
                st.rerun()
    if done := st.session_state.get(f"{KEY}.made"):
        st.success(
            plain_markdown(f"{done} is a source of this task now: study, preview and every condition can name it."),
            icon=":material/check:",
        )

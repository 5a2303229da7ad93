"""Which students and which methods are looked at, kept in the URL by their own names, so that a link restores the
view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from cotdistill.config import RunConfig
from cotdistill.dashboard import frame
from cotdistill.rationales.conditions import Condition, parse
from cotdistill.saliency.methods import METHODS
from cotdistill.store.records import Job, Study
from cotdistill.store.store import Store

MOST = 4
# The pair that the first claim is about, if the study has it.
FIRST = ("pre_cot", "post_cot")


@dataclass(frozen=True)
class PickedStudent:
    """A finished run to look into: its condition and replicate, and the job that trained it. place: the condition's
    place in the study.
    """

    condition: Condition
    replicate: int
    job: Job

    @property
    def key(self) -> str:
        """How the URL names it."""
        return f"{self.condition}~{self.replicate}"

    @property
    def label(self) -> str:
        return f"{self.condition.label}, replicate {self.replicate}"

    @property
    def run(self) -> RunConfig:
        return RunConfig.from_plain(self.job.config)

    @property
    def source(self) -> str:
        """Whose rationales it was trained on."""
        return self.condition.reads(self.run.source)


def finished(store: Store, study: Study) -> list[PickedStudent]:
    """The study's students that can be looked into, by condition and replicate, in the order planned."""
    jobs = {job.id: job for job in store.queue.jobs(state="finished", kind="train", study=study.id)}
    students = [
        PickedStudent(parse(m.condition), m.replicate, jobs[m.job_id])
        for m in study.members
        if m.role == "run" and m.job_id in jobs
    ]
    order = list(dict.fromkeys(str(s.condition) for s in students))
    return sorted(students, key=lambda s: (order.index(str(s.condition)), s.replicate))


def students(known: Sequence[PickedStudent]) -> list[PickedStudent]:
    """Up to four of them. A condition alone (a link from Compare) stands for its first replicate."""
    by_key = {student.key: student for student in known}
    first = {str(student.condition): student.key for student in reversed(known)}
    start = [first[name] for name in FIRST if name in first] or [s.key for s in known[:1]]
    chosen = several(
        "Students, up to four", list(by_key), key="student", start=start, label_of=lambda k: by_key[k].label, also=first
    )
    return [by_key[key] for key in chosen]


def methods() -> list[str]:
    """Up to four attribution methods."""
    return several(
        "Methods, up to four", METHODS.names(), key="method", start=["integrated_gradients"], label_of=method_name,
        help="  \n".join(f"**{method_name(m.name)}**: {m.help}" for m in METHODS),
    )  # fmt: skip


def method_name(name: str) -> str:
    """input_x_gradient -> input × gradient."""
    return name.replace("_x_", " × ").replace("_", " ")


def several(
    label: str,
    options: Sequence[str],
    *,
    key: str,
    start: Sequence[str],
    label_of: Callable[[str], str] = str,
    also: dict[str, str] | None = None,
    most: int = MOST,
    **more: Any,
) -> list[str]:
    """Up to `most` of the options, kept in the URL; what the URL names and is not there is said to be so. also: other
    names for options.
    """
    wanted = list(dict.fromkeys((also or {}).get(name, name) for name in st.query_params.get_all(key)))
    for name in wanted:
        if name not in options:
            frame.lost(key, name)
    st.session_state[key] = ([name for name in wanted if name in options] or list(start))[:most]
    return list(
        st.multiselect(
            label,
            options,
            key=key,
            format_func=label_of,
            max_selections=most,
            wrap=True,
            on_change=keep_several,
            args=(key,),
            **more,
        )
        or start[:1]
    )


def keep_several(key: str) -> None:
    """Write a list into the URL; none, no parameter."""
    if st.session_state[key]:
        st.query_params[key] = list(st.session_state[key])
    else:
        st.query_params.pop(key, None)


def switch(
    label: str, options: Sequence[str], *, key: str, start: str, label_of: Callable[[str], str] = str, **more: Any
) -> str:
    """A switch between a few options that lives in the URL; nonsense there is taken for the start."""
    wanted = st.query_params.get(key)
    if wanted is not None and wanted not in options:
        frame.lost(key, wanted)
    st.session_state[key] = wanted if wanted in options else start
    chosen = st.segmented_control(
        label,
        options,
        key=key,
        format_func=label_of,
        required=True,
        on_change=frame.keep,
        args=(key,),
        wrap=True,
        **more,
    )
    return str(chosen or start)

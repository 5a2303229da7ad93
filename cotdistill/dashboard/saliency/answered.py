"""Which examples the students in view answer rightly: from the scored test, else asked of the warm process when a
person filters by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from cotdistill.dashboard.widgets import asking
from cotdistill.dashboard.widgets.pickers import PickedStudent
from cotdistill.store.store import Store
from cotdistill.studies.inspection_jobs import source_of

# Example id -> whether it is answered rightly.
Answers = Mapping[str, bool]


def mode_of(student: PickedStudent) -> str:
    """How the panels ask a student: a rationale before the label is the teacher's, since that is the text whose tokens
    are looked at.
    """
    spans = student.condition.spec.sequences
    reads = any("rationale" in s and "label" in s and s.index("rationale") < s.index("label") for s in spans)
    return "given" if reads else "direct"


def of(store: Store, students: Sequence[PickedStudent], split: str, checkpoint: str) -> list[Answers] | None:
    """One a student; None if they could not be had, which is told then."""
    known = {s.key: _scored(store, s) if split == "test" and checkpoint == "1" else None for s in students}
    where = {"do": "answers", "checkpoint": checkpoint, "split": split}
    asked = {
        s.key: asking.ask(store, {**where, "run": s.job.identity, "source": source_of(s.job)})
        for s in students
        if known[s.key] is None
    }
    questions = list(asked.values())
    if questions:
        asking.wait(questions, lambda: None, f"Asking the students all of {split}")
        asking.failures(questions)
    for key, question in asked.items():
        if question.answer is not None:
            known[key] = dict(zip(question.answer["ids"], question.answer["correct"], strict=True))
    known_answers = [answers for answers in known.values() if answers is not None]
    return known_answers if len(known_answers) == len(students) else None


@st.cache_data(max_entries=32, show_spinner=False)
def _right(_store: Store, digest: str, mode: str) -> dict[str, bool] | None:
    table = _store.artifacts.table(digest)
    rows = table[table["mode"] == mode]
    return dict(zip(rows["id"].astype(str), rows["correct"].astype(bool), strict=True)) if len(rows) else None


def _scored(store: Store, student: PickedStudent) -> Answers | None:
    return (
        _right(store, student.job.produced["predictions"], mode_of(student))
        if "predictions" in student.job.produced
        else None
    )

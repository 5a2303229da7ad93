"""Home: what can be asked here, the one button, what is running, and what the findings say today."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import streamlit as st

from cotdistill.errors import CotdistillError
from cotdistill.students.models import STUDENTS
from cotdistill.studies import claims
from cotdistill.studies.jobs import Study
from cotdistill.studies.store import Store
from cotdistill.studies.study import STUDIES, StudySpec
from cotdistill.views import frame, markup, plans, queue
from cotdistill.views.commands import command
from cotdistill.views.wording import ago, between_points, capital, p_value, plain_markdown, plural, points, size

BADGES = {"holds": "green", "fails": "red"}


def draw(store: Store) -> None:
    frame.heading(
        "Why do rationales help a small student?",
        "A student learns from questions, answers and a teacher's rationales. Here you take the rationales apart (before or after the answer, shuffled, masked, swapped, "
        "replaced by noise), train a student under each condition, and see which difference stands up to its own noise.",
    )
    studies = store.queue.studies()
    _starter(store, studies)
    if studies:
        _today(store, studies)
    else:
        _claims(None, None)
    _machine(store)


def _starter(store: Store, studies: Sequence[Study]) -> None:
    """The one button: everything generated, nothing to download or set up."""
    spec = STUDIES.get("starter").make()
    launched = any(study.plan_hash == spec.plan_hash for study in studies)
    with st.container(border=not launched, horizontal=not launched, vertical_alignment="center", horizontal_alignment="distribute"):
        if not launched:
            with st.container():
                st.markdown("**Start here.** A generated task, a small student, the conditions with their controls. Nothing to download, nothing to configure.")
                st.caption(f"{_size(spec)}; time and detectable effect are stated before anything starts.")
        if st.button(
            "Run the starter study", type="secondary" if launched else "primary", icon=":material/play_circle:", key="starter", help=None if not launched else "It is here already; this shows its plan again."
        ):
            plans.confirm(store, spec)


def _size(spec: StudySpec) -> str:
    return f"{len(spec.conditions)} conditions × {plural(spec.replicates, 'replicate')} = {len(spec.conditions) * spec.replicates} students"


def _today(store: Store, studies: Sequence[Study]) -> None:
    names = list(dict.fromkeys(study.name for study in studies))
    left, right = st.columns([3, 2], gap="large")
    with left:
        name = frame.choose("Study", names, key="study")
        study = next(s for s in studies if s.name == name)
        _claims(store, study)
    with right:
        frame.section("Now")
        queue.live(store, short=True)
        st.page_link("pages/2_Train.py", label="The whole queue", icon=":material/list:", query_params=frame.carry())
        _latest(store, studies)


def _claims(store: Store | None, study: Study | None) -> None:
    """Three cards: the claim, today's verdict, and the numbers it rests on."""
    frame.section("Three claims", "From “Investigating Mysteries of CoT-Augmented Distillation” (Wadhwa, Amir, Wallace; EMNLP 2024), tested on your own runs.")
    verdicts = {v.claim: v for v in claims.judge(store, study.id)} if store is not None and study is not None else {}
    for claim in claims.CLAIMS:
        _card(claim, verdicts.get(claim.name))
    if study is not None:
        st.page_link("pages/3_Compare.py", label="Accuracies, intervals and curves", icon=":material/leaderboard:", query_params=frame.carry(study=study.name))


def _card(claim: claims.Claim, verdict: claims.Verdict | None) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, horizontal_alignment="distribute"):
            st.markdown(f"**{plain_markdown(claim.title)}**", width="stretch")
            st.badge(verdict.word if verdict else "not asked yet", color=BADGES.get(verdict.word, "gray") if verdict else "gray")
        if verdict is None:
            st.caption(plain_markdown(claim.help))
            return
        st.caption(plain_markdown(verdict.told))


def _latest(store: Store, studies: Sequence[Study]) -> None:
    frame.section("Latest studies")
    states = {job.id: job.state for job in store.queue.jobs()}
    rows = []
    for study in studies[:6]:
        runs = [states.get(member.job_id, "deleted") for member in study.members if member.role == "run"]
        rows.append([
            markup.Cell(study.name), markup.Cell(str(study.spec.get("task", "")), quiet=True), markup.Cell(f"{runs.count('finished')} of {len(runs)}"),
            markup.Cell(ago(study.created), quiet=True),
        ])  # fmt: skip
    st.html(markup.table(("Study", "Task", "Finished", "Launched"), rows, "latest studies"))


def _machine(store: Store) -> None:
    st.divider()
    used = sum(path.stat().st_size for path in store.home.rglob("*") if path.is_file())
    free = shutil.disk_usage(store.home).free
    told = [f"store {store.home} ({size(used)}, {size(free)} free)", f"{plural(store.queue.workers(), 'worker process', 'worker processes')} on the CPU", f"built-in students: {', '.join(STUDENTS.names())}"]
    st.caption(plain_markdown(" · ".join(told)))
    frame.terminal(command("study", "run", "starter", "--wait"), command("study", "list"), command("doctor"))

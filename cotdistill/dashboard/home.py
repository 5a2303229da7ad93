"""Home: what can be asked here, the one button, what is running, and what the findings say today."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.widgets import accuracies, failures, plans, queue
from cotdistill.execution.mirrors import settings
from cotdistill.report import captions, markup
from cotdistill.report.commands import command
from cotdistill.report.mirrors import mirror_told
from cotdistill.results import claims, results
from cotdistill.store.budget import held_by
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.students.models import STUDENTS
from cotdistill.studies.spec import STUDIES, StudySpec, spec_from_mapping
from cotdistill.text import ago, plain_markdown, plural, size

BADGES: dict[str, Literal["green", "red", "gray"]] = {"holds": "green", "fails": "red"}


def draw(store: Store) -> None:
    frame.heading(
        "Why do rationales help a small student?",
        "A student learns from questions, answers and a teacher's rationales. Here you take the rationales apart "
        "(before or after the answer, shuffled, masked, swapped, "
        "replaced by noise), train a student under each condition, and see which difference stands up to its own"
        " noise.",
    )
    spec = STUDIES.get("starter").make()
    studies = store.queue.studies()
    launched = any(study.plan_hash == spec.plan_hash for study in studies)
    _doors(store, spec, launched)
    failures.draw(store, key="home")
    if studies:
        _today(store, studies)
    else:
        _claims(None, None)
    _machine(store)


def _doors(store: Store, spec: StudySpec, launched: bool) -> None:
    """The two ways in: the starter study, with nothing to download or set up, and data of one's own."""
    students = (
        f"{len(spec.conditions)} conditions × {plural(spec.replicates, 'replicate')} ="
        f" {len(spec.conditions) * spec.replicates} students"
    )
    left, right = st.columns(2)
    with left, st.container(border=True, height="stretch"):
        st.markdown("**Run the starter study.** A generated task, a small student, the conditions with their controls.")
        st.caption(f"{students}. Time and detectable effect are stated before anything starts.")
        _buttons(store, spec, "secondary" if launched else "primary")
    with right, st.container(border=True, height="stretch"):
        st.markdown("**Bring your data.** Questions with choices, answers and rationales, from files or from the hub.")
        st.caption("Columns are guessed and shown, and every row that cannot be used is listed with its reason.")
        st.page_link("pages/1_Data.py", label="Import a task on page Data", icon=":material/upload_file:")


def _buttons(store: Store, spec: StudySpec, kind: Literal["primary", "secondary"]) -> None:
    """The starter study, and the one whose answers are computed instead of remembered."""
    with st.container(horizontal=True, width="content"):
        if st.button("Run the starter study", type=kind, icon=":material/play_circle:", key="starter"):
            plans.confirm(store, spec)
        if st.button(
            "Run the study arithmetic",
            icon=":material/calculate:",
            key="arithmetic",
            help="Answers are numbers that are computed and written, where the starter's are remembered and chosen.",
        ):
            plans.confirm(store, STUDIES.get("arithmetic").make())


def _today(store: Store, studies: Sequence[Study]) -> None:
    names = list(dict.fromkeys(study.name for study in studies))
    name = frame.choose("Study", names, key="study", width=420) if len(names) > 1 else names[0]
    study = next(s for s in studies if s.name == name)
    _claims(store, study)
    busy = not {"running", "queued"}.isdisjoint(store.queue.states().values())
    if busy:
        _now(store)
    accuracies.accuracy(store, study, results.summary(store, study.id))
    st.page_link(
        "pages/3_Compare.py",
        label="Differences, intervals and curves",
        icon=":material/leaderboard:",
        query_params=frame.carry(study=study.name),
    )
    left, right = st.columns(2, gap="large")
    with left:
        _latest(store, studies)
    if not busy:
        with right:
            _now(store)


def _now(store: Store) -> None:
    frame.section("Now")
    queue.live(store, short=True)
    st.page_link("pages/2_Train.py", label="The whole queue", icon=":material/list:", query_params=frame.carry())


def _claims(store: Store | None, study: Study | None) -> None:
    """Three cards: the claim, today's verdict, and the numbers it rests on."""
    where = (
        f"as the study {study.name} stands today{captions.world_told(spec_from_mapping(study.spec))}"
        if study is not None
        else "to be tested on your own runs"
    )
    frame.section(
        "Three claims",
        f"From “Investigating Mysteries of CoT-Augmented Distillation” (Wadhwa, Amir, Wallace; EMNLP 2024), {where}.",
    )
    verdicts = {v.claim: v for v in claims.judge(store, study.id)} if store is not None and study is not None else {}
    for place, claim in zip(st.columns(len(claims.CLAIMS)), claims.CLAIMS, strict=True):
        with place:
            _card(claim, verdicts.get(claim.name))


def _card(claim: claims.Claim, verdict: claims.Verdict | None) -> None:
    with st.container(border=True, height="stretch"):
        st.badge(
            verdict.word if verdict else "not asked yet",
            color=BADGES.get(verdict.word.removesuffix(" (demonstration)"), "gray") if verdict else "gray",
        )
        st.markdown(f"**{plain_markdown(claim.title)}**")
        st.caption(plain_markdown(verdict.message if verdict else claim.help))


def _latest(store: Store, studies: Sequence[Study]) -> None:
    frame.section("Latest studies")
    states = store.queue.states()
    rows = []
    for study in studies[:6]:
        runs = [states.get(member.identity, "deleted") for member in study.members if member.role == "run"]
        rows.append(
            [
                markup.TableCell(study.name, title=f"{study.spec.get('task', '')}, {study.spec.get('title', '')}"),
                markup.TableCell(f"{runs.count('finished')} of {len(runs)}"),
                markup.TableCell(ago(study.created), quiet=True),
            ]
        )
    st.html(markup.table(("Study", "Finished", "Launched"), rows, "latest studies"))


def _machine(store: Store) -> None:
    st.divider()
    free = shutil.disk_usage(store.home).free
    held = _held(str(store.home))
    parts = ", ".join(
        f"{name} {size(number)}" for name, number in sorted(held.items(), key=lambda entry: -entry[1]) if number
    )
    lines = [
        f"store {store.home} ({size(sum(held.values()))}: {parts}; {size(free)} free)",
        f"{plural(store.queue.workers(), 'worker process', 'worker processes')} on the CPU",
        f"built-in students: {', '.join(STUDENTS.names())}",
    ]
    st.caption(plain_markdown(" · ".join(lines)))
    for mirror in settings.mirrors(store):
        st.caption(plain_markdown(mirror_told(mirror, settings.state(store, mirror.name))))
    frame.terminal(command("study", "run", "starter", "--wait"), command("study", "list"), command("doctor"))


@st.cache_data(ttl=300, max_entries=4, show_spinner=False)
def _held(home: str) -> dict[str, int]:
    """Bytes of a store by what they are. Thousands of runs are many files, so they are not counted for every click."""
    return held_by(Path(home))

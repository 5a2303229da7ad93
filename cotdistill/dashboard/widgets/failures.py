"""What failed, each cause once: which runs, why, and buttons that mend the cause and launch again."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

from cotdistill.dashboard.widgets import plans
from cotdistill.errors import CotdistillError, SequenceTooLong
from cotdistill.execution.supervisor import ensure_supervisor
from cotdistill.store.memory_shortage import KIND as OUT_OF_MEMORY
from cotdistill.store.memory_shortage import half_of, retry_at_half
from cotdistill.store.records import Job, Study
from cotdistill.store.store import Store
from cotdistill.studies.spec import StudySpec, spec_from_mapping
from cotdistill.text import listed, plain_markdown, plural

# What differs between two messages of the same cause: names in quotes and numbers.
_OF_ONE_RUN = re.compile(r"'[^']*'|\d[\d,.]*")


@dataclass(frozen=True)
class Cause:
    """Runs that failed for the same reason."""

    kind: str  #: of the error, such as sequence_too_long
    message: str  #: of the newest of them
    hint: str  #: what to do, as the error says it
    jobs: tuple[Job, ...]  #: newest first


def causes(jobs: Sequence[Job]) -> list[Cause]:
    """Failed jobs by cause, the most frequent one first: the same kind of error whose messages differ in names and
    numbers alone.
    """
    groups: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        error = job.error or {}
        kind, message = str(error.get("kind", "error")), str(error.get("message", "no cause was recorded"))
        groups.setdefault((kind, _OF_ONE_RUN.sub("…", message)), []).append(job)
    causes = []
    for (kind, _), same in groups.items():
        error = same[0].error or {}
        message, hint = str(error.get("message", "No cause was recorded.")), str(error.get("hint", ""))
        causes.append(Cause(kind, message, hint, tuple(same)))
    return sorted(causes, key=lambda cause: -len(cause.jobs))


def failed_jobs(store: Store, study: Study | None = None) -> tuple[list[Job], list[Study]]:
    """The failed jobs, newest first, and the studies they may be of: one study, or the newest of each name. Jobs of
    older studies of the same name are left out: a relaunch has replaced them.
    """
    jobs = store.queue.jobs(state="failed", study=study.id if study else None)
    if study is not None or not jobs:
        return jobs, [study] if study else []
    every = store.queue.studies()
    latest = list({one.name: one for one in reversed(every)}.values())
    current = {member.identity for one in latest for member in one.members}
    replaced = {member.identity for one in every for member in one.members} - current
    return [job for job in jobs if job.identity not in replaced], latest


def draw(store: Store, study: Study | None = None, *, key: str) -> None:
    """A red card per cause. study: only its runs; None: those of the whole store."""
    jobs, studies = failed_jobs(store, study)
    for place, cause in enumerate(causes(jobs)):
        identities = {job.identity for job in cause.jobs}
        affected = [one for one in studies if any(member.identity in identities for member in one.members)]
        _card(store, cause, affected, f"{key}.{place}")


def _card(store: Store, cause: Cause, studies: Sequence[Study], key: str) -> None:
    with st.container(border=True):
        of = f" of {plain_markdown(listed(study.name for study in studies))}" if studies else ""
        st.error(
            f"**{plural(len(cause.jobs), 'run')}{of} failed.** {plain_markdown(cause.message)}",
            icon=":material/error:",
        )
        labels = dict.fromkeys(job.label.split(" · ", 1)[-1] or job.kind for job in reversed(cause.jobs))
        st.caption(plain_markdown(f"{listed(labels, 6)}."))
        if cause.hint:
            st.caption(f"What to do: {plain_markdown(cause.hint)}")
        with st.container(horizontal=True):
            trained = [study for study in studies if not study.spec.get("answers") and not study.origin]
            if cause.kind == SequenceTooLong.kind and trained:
                for label, change in (
                    ("Leave the long rows out and relaunch", "left_out"),
                    ("Shorten the rationale and relaunch", "rationale"),
                    ("Shorten the question and relaunch", "question"),
                ):
                    st.button(
                        label,
                        key=f"{key}.{change}",
                        on_click=_relaunch,
                        args=(store, trained, change),
                        type="primary" if change == "left_out" else "secondary",
                        help="As a new study of the same name, so that all its conditions train on the same rows.",
                    )
            if cause.kind == OUT_OF_MEMORY and any(half_of(job) for job in cause.jobs):
                st.button(
                    "Retry at half the micro-batch",
                    key=f"{key}.half",
                    type="primary",
                    on_click=_again,
                    args=(store, cause.jobs, True),
                    help="As new runs in place of these: steps as large as before, half as many sequences in memory.",
                )
            st.button(
                "Retry" if len(cause.jobs) == 1 else f"Retry all {len(cause.jobs)}",
                key=f"{key}.retry",
                on_click=_again,
                args=(store, cause.jobs, False),
                icon=":material/refresh:",
            )
            st.page_link(
                "pages/2_Train.py",
                label="Log of the newest",
                icon=":material/article:",
                query_params={"run": str(cause.jobs[0].id)},
            )


def mended(store: Store, spec: StudySpec, change: str) -> StudySpec:
    """The study with its over-long rows left out ("left_out"), or with the "question" or "rationale" shortened."""
    if change != "left_out":
        return dataclasses.replace(spec, student=dataclasses.replace(spec.student, truncate=change))
    rows = plans.plan_of(store, spec).too_long_rows
    if not rows:
        raise SequenceTooLong(
            "No training row alone is too long, so there is none to leave out.",
            "Shorten the rationale or the question.",
        )
    return spec_from_mapping({"left_out": [*spec.left_out, *rows]}, spec)


def _relaunch(store: Store, studies: Sequence[Study], change: str) -> None:
    _queue_and_say(lambda: sum(_launch(store, study, change) for study in studies))


def _launch(store: Store, study: Study, change: str) -> int:
    spec = mended(store, spec_from_mapping(study.spec), change)
    submission = plans.launch(store, plans.plan_of(store, spec))
    return len(submission.new) + len(submission.requeued)


def _again(store: Store, jobs: Sequence[Job], smaller: bool) -> None:
    def retried() -> int:
        for job in jobs:
            if smaller and half_of(job) is not None:
                retry_at_half(store.queue, job)
            else:
                store.queue.retry(job.id)
        ensure_supervisor(store)
        return len(jobs)

    _queue_and_say(retried)


def _queue_and_say(action: Callable[[], int]) -> None:
    """Do it and say how many runs it queued, or why it could not be done."""
    try:
        st.toast(f"{plural(action(), 'run')} queued.", icon=":material/rocket_launch:")
    except CotdistillError as error:
        st.toast(plain_markdown(f"{error.message} {error.hint}"), icon=":material/error:")

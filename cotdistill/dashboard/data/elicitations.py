"""What has been asked of teachers: progress, answers as they come, what got no answer and why; and what can be done
next.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import streamlit as st

from cotdistill.errors import CotdistillError
from cotdistill.planning import elicitation
from cotdistill.store.records import Job
from cotdistill.store.store import Store
from cotdistill.execution.supervisor import ensure_supervisor
from cotdistill.tasks.task import Task
from cotdistill.teachers.answers import of_rows
from cotdistill.teachers.responses import Responses
from cotdistill.dashboard import frame
from cotdistill.dashboard.data import teacher_cards
from cotdistill.report.commands import command
from cotdistill.report.teachers import outcome, spending
from cotdistill.text import ago, duration, plain_markdown, plural

# Jobs shown, newest first, and answers of one that runs.
JOBS = 6
LATEST = 3
FAILURES = 20
OPEN = ("running", "queued")


@st.fragment(run_every=2)
def draw(store: Store, task: Task) -> None:
    """The elicitations of a task; refreshes by itself."""
    with frame.told_errors():
        _draw(store, task)


def _draw(store: Store, task: Task) -> None:
    jobs = [job for job in store.queue.jobs(kind="elicit") if job.config["task_digest"] == task.digest]
    frame.section(
        "Asked so far", "Refreshes by itself. Every answer is kept as it comes; what was answered is never asked again."
    )
    if not jobs:
        st.caption("No teacher was asked about this task yet.")
        return
    if any(job.state in OPEN for job in jobs):
        # Whoever looks at the work sees to it that somebody does it.
        ensure_supervisor(store)
    responses = Responses(store.home)
    for job in jobs[:JOBS]:
        with st.container(border=True, key=f"elicited.{job.id}"):
            _job(store, task, responses, job)
    if len(jobs) > JOBS:
        st.caption(f"… and {len(jobs) - JOBS} older ones: {command('teacher', 'list')}")
    # A source that has just been made stands in the lists of the page.
    ended = sum(job.state not in OPEN for job in jobs)
    if st.session_state.setdefault("elicited.ended", ended) != ended:
        st.session_state["elicited.ended"] = ended
        st.rerun(scope="app")


def _job(store: Store, task: Task, responses: Responses, job: Job) -> None:
    counted = responses.count(job.identity)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain_markdown(job.label)}**  \n:small[:gray[{plain_markdown(_state(job))}]]", width="stretch")
        _buttons(store, job)
    if counted.asked:
        parts = [f"{counted.answered:,} of {counted.asked:,} answered", *_progress_parts(job)]
        st.progress(
            min(1.0, (counted.answered + counted.failed) / counted.asked), text=plain_markdown(" · ".join(parts))
        )
    if job.error:
        st.error(plain_markdown(f"{job.error.get('message', '')} {job.error.get('hint', '')}"), icon=":material/error:")
    if job.result:
        _result(job, job.result)
    if counted.failed:
        _failures(responses, job, counted.failed)
    if job.state == "running" or (counted.answered and job.state in ("stopped", "failed")):
        _latest(task, responses, job)


def _state(job: Job) -> str:
    parts = [f"job {job.id}", "paused" if job.held and job.state == "queued" else job.state]
    parts += [f"{job.request} asked for"] if job.request else []
    parts += [f"{duration(job.seconds)} of work"] if job.seconds else []
    return " · ".join([*parts, *([ago(job.finished)] if job.finished else [])])


def _progress_parts(job: Job) -> list[str]:
    """What the job says of itself while it runs."""
    if job.state != "running":
        return []
    now: dict[str, Any] = dict(job.progress)
    pace = now.get("pace")
    parts = [f"{now['failed']:,} without an answer"] if now.get("failed") else []
    if now.get("stage"):
        return [*parts, str(now["stage"])]
    parts += [f"{pace:.2g} a second"] if pace else []
    return parts + spending(now, now.get("tokens_in") or 0, now.get("tokens_out") or 0)


def _buttons(store: Store, job: Job) -> None:
    held = job.held and job.state == "queued"
    if job.state in OPEN and not held:
        st.button(
            "Pause",
            key=f"elicited.pause.{job.id}",
            icon=":material/pause:",
            on_click=_act,
            args=(store, "pause", job.id),
        )
        st.button(
            "Stop", key=f"elicited.stop.{job.id}", icon=":material/stop:", on_click=_act, args=(store, "stop", job.id)
        )
    elif held or job.state in ("failed", "stopped"):
        st.button(
            "Go on",
            key=f"elicited.resume.{job.id}",
            icon=":material/play_arrow:",
            on_click=_act,
            args=(store, "resume", job.id),
        )
    elif (job.result or {}).get("failed"):
        st.button(
            "Ask again",
            key=f"elicited.again.{job.id}",
            icon=":material/refresh:",
            on_click=_act,
            args=(store, "resume", job.id),
        )


def _act(store: Store, verb: str, job: int) -> None:
    """Do what a button says, and tell the command that does the same."""
    try:
        if verb == "resume":
            elicitation.resume(store, job)
            ensure_supervisor(store)
        else:
            {"pause": store.queue.pause, "stop": store.queue.stop}[verb](job)
        terminal = command("teacher", "resume", str(job)) if verb == "resume" else command("runs", verb, str(job))
        st.toast(f"In the terminal: `{terminal}`")
    except CotdistillError as error:
        st.toast(plain_markdown(f"{error.message} {error.hint}"), icon=":material/error:")


def _result(job: Job, result: dict[str, Any] | Any) -> None:
    source = result.get("source")
    st.caption("  \n".join(plain_markdown(line) for line in outcome(result, job.config, job.id)))
    if source:
        st.markdown(f":material/check: Its answers are a source now: **{plain_markdown(source)}**")
    else:
        st.caption("No source was made of them: they speak about no training row, or none gives a reason.")


def _failures(responses: Responses, job: Job, number: int) -> None:
    rows = responses.failures(job.identity)
    causes = Counter(row["cause"] for row in rows)
    with st.expander(
        f"{plural(number, 'question')} without an answer: {', '.join(f'{c} {n}' for c, n in causes.most_common())}",
        icon=":material/report:",
    ):
        shown = [
            {"row": r["id"], "cause": r["cause"], "tries": r["tries"], "what was said": r["detail"]}
            for r in rows[:FAILURES]
        ]
        st.dataframe(shown, hide_index=True)
        if len(rows) > FAILURES:
            st.caption(f"… and {len(rows) - FAILURES} more: {command('teacher', 'progress', str(job.id), '--json')}")


def _latest(task: Task, responses: Responses, job: Job) -> None:
    rows = responses.answers(job.identity, newest=LATEST)
    shown = [teacher_cards.Told(one.example.id, one, one.example.question) for one in of_rows(task, rows)]
    if shown:
        st.caption("The latest answers")
        st.html(teacher_cards.cards(shown))

"""The live queue: what runs now and how far it is, what waits, what failed and why; and one run looked at closely."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.widgets import failures
from cotdistill.errors import CotdistillError
from cotdistill.execution import devices
from cotdistill.execution.supervisor import ensure_supervisor, no_supervisor
from cotdistill.report.commands import command
from cotdistill.store import hardware
from cotdistill.store.records import Job, Study
from cotdistill.store.store import Store
from cotdistill.text import ago, capital, count, duration, percent, plain_markdown, plural

# More rows than this are counted, not drawn: a queue of thousands must not slow the page.
SHOWN = 8
# Runs offered in the list of details, newest first; older ones are reached by their number in the URL.
LISTED = 300

# What can be done to a run: verb of the terminal -> its name on the page.
ACTIONS = {
    "first": "Move to the front",
    "last": "Move to the end",
    "stop": "Stop",
    "pause": "Pause",
    "resume": "Resume",
    "retry": "Retry",
    "delete": "Delete",
    "log": "Log and details",
}
OFFERED = {
    "queued": ("first", "last", "pause", "stop", "delete", "log"),
    "held": ("resume", "stop", "delete", "log"),
    "running": ("pause", "stop", "log"),
    "failed": ("retry", "delete", "log"),
    "stopped": ("resume", "delete", "log"),
    "finished": ("log", "delete"),
}


def draw(store: Store) -> None:
    """The queue of page Train, with one run's details below it."""
    frame.section("Queue", "Refreshes by itself. Runs go on when the page, or the whole dashboard, is closed.")
    _controls(store)
    live(store)
    _details(store)
    frame.terminal(
        command("runs", "list"),
        command("runs", "stop", "RUN"),
        command("runs", "move", "RUN", "--first"),
        command("queue", "pause"),
        command("queue", "resume"),
        label="The queue in the terminal",
    )


def _controls(store: Store) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        paused = store.queue.paused
        st.button(
            "Go on" if paused else "Pause the queue",
            icon=":material/play_arrow:" if paused else ":material/pause:",
            key="queue.pause",
            on_click=_pause,
            args=(store, not paused),
            help="Runs that have begun go on to their end; nothing new is begun.",
        )
        st.number_input(
            "Workers",
            min_value=1,
            max_value=256,
            step=1,
            value=store.queue.workers(),
            key="queue.workers",
            on_change=_workers,
            args=(store,),
            width=140,
            help="How many runs are trained side by side, each in a process of its own.",
        )
        if here := {gpu.index: gpu for gpu in _gpus()}:
            chosen = list(dict.fromkeys(devices.chosen(store.queue)))
            together = [devices.TOGETHER.join(here)] if len(here) > 1 else []
            st.multiselect(
                "GPUs",
                list(dict.fromkeys([*here, *together, *chosen])),
                default=chosen,
                key="queue.gpus",
                on_change=_choose,
                args=(store,),
                format_func=lambda slot: (
                    f"{slot}: {here[slot].name if slot in here else 'together, for one run with training.processes'}"
                ),
                width="stretch",
                help=(
                    "Runs that ask for a GPU (training.device is cuda) get one each. Runs that have begun keep theirs."
                ),
            )
    if paused:
        st.info("The queue is paused: nothing new is begun.", icon=":material/pause:")
    if full := store.refusal:
        st.warning(plain_markdown(full), icon=":material/hard_drive:")
    if (reason := no_supervisor(store)) is not None:
        st.error(plain_markdown(f"{reason.message}. {reason.hint}"), icon=":material/error:")


def _pause(store: Store, wanted: bool) -> None:
    store.queue.set_paused(wanted)
    st.toast(f"In the terminal: `{command('queue', 'pause' if wanted else 'resume')}`")


def _workers(store: Store) -> None:
    store.queue.set_workers(int(st.session_state["queue.workers"]))


@st.cache_data(ttl=60, show_spinner=False)
def _gpus() -> tuple[hardware.Gpu, ...]:
    return hardware.gpus()


def _choose(store: Store) -> None:
    wanted = [str(index) for index in st.session_state["queue.gpus"]]
    devices.choose(store.queue, wanted)
    st.toast(f"In the terminal: `{command('queue', 'gpus', ','.join(wanted) or 'none')}`")


@st.fragment(run_every=2)
def live(store: Store, *, short: bool = False, study: Study | None = None) -> None:
    """What changes by itself. short: only what runs now, for Home and Compare; there the page is drawn again when a run
    ends. study: only its jobs.
    """
    with frame.told_errors():
        _live(store, short=short, study=study)


def _live(store: Store, *, short: bool, study: Study | None) -> None:
    number = study.id if study else None
    running = store.queue.jobs(state="running", study=number)
    waiting = sorted(store.queue.jobs(state="queued", study=number), key=lambda job: job.position)
    states = store.queue.states()
    if study is not None:
        states = {m.identity: states[m.identity] for m in study.members if m.identity in states}
    counted = Counter(states.values())
    if running or waiting:
        # Somebody may have killed it, or the machine was started again: whoever looks at the queue brings it back.
        ensure_supervisor(store)
    _summary(store, running, waiting, counted)
    names = store.queue.study_names([job.id for job in running])
    for job in sorted(running, key=lambda job: job.started or 0):
        _running(store, job, names.get(job.id, ""), short=short)
    # Home and Compare show every run that ends; page Train only strikes out its plan when all have ended, so that
    # nobody is disturbed in the form.
    ended = counted.total() - len(running) - len(waiting)
    if st.session_state.setdefault("queue.ended", ended) != ended and (short or not (running or waiting)):
        st.session_state["queue.ended"] = ended
        st.rerun(scope="app")
    if short:
        return
    failures.draw(store, key="queue")
    _rows(store, "failed", "Failed", store.queue.jobs(state="failed", limit=SHOWN), counted["failed"])
    _rows(store, "queued", "Waiting", [job for job in waiting if not job.held])
    _rows(store, "held", "Paused", [job for job in waiting if job.held])
    for state, title in (("stopped", "Stopped"), ("finished", "Finished")):
        if counted[state]:
            _rows(store, state, title, store.queue.jobs(state=state, limit=SHOWN), counted[state])
    if not counted:
        frame.empty("Nothing has been queued yet", "Launch a study above, or run the starter study.")


def _summary(store: Store, running: Sequence[Job], waiting: Sequence[Job], counted: Mapping[str, int]) -> None:
    held = sum(job.held for job in waiting)
    parts = [
        f"{number} {name}"
        for number, name in ((len(running), "running"), (len(waiting) - held, "waiting"), (held, "paused"))
        if number
    ]
    parts += [f"{counted[state]} {state}" for state in ("finished", "failed", "stopped") if counted.get(state)]
    left = sum(job.estimate for job in waiting if not job.held) + sum(time_left(job) or job.estimate for job in running)
    if left and not store.queue.paused:
        parts.append(f"about {duration(left / max(1, store.queue.workers()))} left")
    st.markdown(f"**{capital(' · '.join(parts))}**" if parts else ":gray[Nothing runs.]")


def time_left(job: Job, now: float | None = None) -> float | None:
    """Seconds until a running job ends, from its own pace; None before there is one."""
    step, total, seconds = (job.progress.get(key) for key in ("step", "total", "seconds"))
    if not step or not total:
        return None
    if not seconds:
        seconds = (time.time() if now is None else now) - (job.started or time.time())
    return float(seconds) * (float(total) - float(step)) / float(step)


def _running(store: Store, job: Job, study: str, *, short: bool) -> None:
    """One running job with its progress, under the name of its study."""
    label = job.label or job.kind
    if study:
        label = f"{study} · {label.removeprefix(str(job.config.get('task', '')) + ' · ')}"
    step, total = int(job.progress.get("step") or 0), int(job.progress.get("total") or 0)
    parts = [f"step {step:,} of {total:,}"] if total else ["starting"]
    loss, dev = job.progress.get("loss"), job.progress.get("dev_accuracy")
    parts += [f"loss {loss:.3f}"] if isinstance(loss, (int, float)) else []
    parts += [f"dev {percent(float(dev))}"] if isinstance(dev, (int, float)) else []
    parts += [f"{duration(left)} left"] if (left := time_left(job)) is not None else []
    parts += [str(job.progress["device"])] if job.progress.get("device") else []
    parts += [f"on {job.progress['node']}"] if job.progress.get("node") else []
    parts += [f"{job.request} asked for"] if job.request else []
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(
            min(1.0, step / total) if total else 0.0,
            text=f"{plain_markdown(label)}  \n{plain_markdown(' · '.join(parts))}",
        )
        if not short:
            _menu(store, job, "running")


def _rows(store: Store, state: str, title: str, jobs: Sequence[Job], total: int = 0) -> None:
    if not jobs:
        return
    number = max(total, len(jobs))
    with st.expander(
        f"{title}: {plural(number, 'run')}", expanded=state not in ("finished", "failed"), key=f"queue.{state}"
    ):
        for job in jobs[:SHOWN]:
            with st.container(
                horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key=f"row.{job.id}"
            ):
                st.markdown(
                    f"{plain_markdown(job.label or job.kind)}  \n:small[:gray[{plain_markdown(_ended_line(job))}]]"
                )
                _menu(store, job, state)
        if number > SHOWN:
            st.caption(f"… and {number - SHOWN:,} more. Any run can be opened under “One run” below.")


def _ended_line(job: Job) -> str:
    result = job.result or {}
    parts = [f"run {job.id}"]
    if isinstance(result.get("accuracy"), (int, float)):
        parts.append(f"accuracy {percent(float(result['accuracy']))}")
    if job.state == "finished":
        parts += [duration(job.seconds), ago(job.finished), *(["imported"] if job.origin else [])]
    elif job.estimate:
        parts.append(f"about {duration(job.estimate)}")
    parts += [job.waits] if job.waits else []
    return " · ".join(parts)


def _menu(store: Store, job: Job, state: str) -> None:
    chosen = st.menu_button(
        "…",
        OFFERED[state],
        key=f"menu.{job.id}",
        format_func=lambda verb: ACTIONS[verb],
        type="tertiary",
        help="What to do with this run",
    )
    if chosen:
        act(store, chosen, job.id)
        st.rerun(scope="app")


def act(store: Store, verb: str, job: int) -> None:
    """Do to a run what its menu says, and tell the command that does the same."""
    queue, done = store.queue, f"{ACTIONS.get(verb, verb)}: done"
    try:
        if verb == "log":
            st.query_params["run"] = str(job)
            return
        if verb in ("first", "last"):
            queue.move(job, before=verb)
            terminal = command("runs", "move", str(job), f"--{verb}")
        else:
            {
                "stop": queue.stop,
                "pause": queue.pause,
                "resume": queue.resume,
                "retry": queue.retry,
                "delete": queue.delete,
            }[verb](job)
            terminal = command("runs", verb, str(job))
        if verb in ("resume", "retry"):
            ensure_supervisor(store)
        st.toast(f"{done}. In the terminal: `{terminal}`")
    except CotdistillError as error:
        st.toast(plain_markdown(f"{error.message} {error.hint}"), icon=":material/error:")


def _details(store: Store) -> None:
    jobs = {str(job.id): job for job in store.queue.jobs(limit=LISTED)}
    if not jobs:
        return
    frame.section("One run")
    wanted = st.query_params.get("run", "")
    if wanted and wanted not in jobs:
        try:
            run = store.queue.job(wanted)
            jobs[str(run.id)], wanted = run, str(run.id)
        except CotdistillError as error:
            frame.problem(error)
    st.session_state["run"] = wanted if wanted in jobs else None
    chosen = st.selectbox(
        "Run",
        list(jobs),
        key="run",
        placeholder="choose a run",
        label_visibility="collapsed",
        format_func=lambda id: f"{id} · {jobs[id].label or jobs[id].kind}",
        index=None,
        on_change=frame.keep,
        args=("run",),
    )
    if chosen is not None:
        details(store, jobs[chosen])


def details(store: Store, job: Job) -> None:
    """One run: state, result, cause of failure, log."""
    with st.container(horizontal=True):
        state = "held" if job.held and job.state == "queued" else job.state
        for verb in OFFERED[state]:
            if verb != "log":
                st.button(ACTIONS[verb], key=f"act.{verb}.{job.id}", on_click=act, args=(store, verb, job.id))
    if job.error:
        st.error(
            plain_markdown(f"{job.error.get('kind', 'error')}: {job.error.get('message', '')}"), icon=":material/error:"
        )
        if job.error.get("hint"):
            st.caption(f"What to do: {plain_markdown(str(job.error['hint']))}")
    result = job.result or {}
    if result:
        with st.container(horizontal=True):
            for name, value in (
                ("Accuracy", percent(result.get("accuracy"))),
                ("Steps", count(result.get("steps"))),
                ("Tokens", count(result.get("tokens"))),
                ("Operations", count(result.get("flops"))),
                ("Training", duration(result.get("seconds"))),
            ):
                st.metric(name, value, width="content")
    log, config, outcome = st.tabs(["Log", "Configuration", "Result"])
    log.code(store.queue.log(job.id) or "Nothing has been written yet.", language=None, height=320)
    if job.error and job.error.get("traceback"):
        log.code(job.error["traceback"], language="python", height=240)
    config.json(dict(job.config), expanded=1)
    outcome.json({**result, "produced": dict(job.produced), "used": dict(job.used)}, expanded=1)
    frame.terminal(command("runs", "show", str(job.id)), command("runs", "log", str(job.id)))

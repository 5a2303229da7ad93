"""A plan before it is launched: how many runs, how long, how much memory, what difference it could find, and each run
with its state.
"""

from __future__ import annotations

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.errors import CotdistillError
from cotdistill.execution.supervisor import ensure_supervisor
from cotdistill.planning import plan
from cotdistill.report import markup
from cotdistill.store.records import Submission
from cotdistill.store.store import Store
from cotdistill.studies.spec import StudySpec
from cotdistill.text import about, duration, plain_markdown, plural, size


def plan_of(store: Store, spec: StudySpec) -> plan.Plan:
    """The plan of a study. Kept until a job of the store changes its state: lengths and partners are not counted again
    for every click.
    """
    states = tuple(sorted(store.queue.states().items()))
    return _plan(
        store, str(store.home), spec.plan_hash, f"{spec.name} {spec.also_test}", states, store.queue.workers(), spec
    )


@st.cache_resource(max_entries=8, show_spinner="Planning: opening the task, counting tokens, looking up what is done…")
def _plan(
    _store: Store,
    home: str,
    plan_hash: str,
    unhashed: str,
    states: tuple[tuple[str, str], ...],
    workers: int,
    _spec: StudySpec,
) -> plan.Plan:
    return plan.plan(_store, _spec)


def open_runs(planned: plan.Plan) -> int:
    """Jobs that a launch would put into the queue: new ones, and those that failed or were stopped."""
    return sum(job.state in ("new", "failed", "stopped") for job in (*planned.runs, *planned.bases, *planned.also))


def launch_label(planned: plan.Plan) -> str:
    number = open_runs(planned)
    if number:
        return f"Launch {plural(number, 'job' if planned.also else 'run')}"
    return "Everything is done" if all(run.state == "finished" for run in planned.runs) else "Everything is queued"


def launch(store: Store, planned: plan.Plan) -> Submission:
    """Queue the runs and see to it that somebody works on them."""
    submission = plan.launch(store, planned)
    ensure_supervisor(store)
    return submission


def launched(store: Store, planned: plan.Plan) -> None:
    """Launch in answer to a click: a toast says what was queued, or why nothing was."""
    try:
        submission = launch(store, planned)
    except CotdistillError as error:
        st.toast(plain_markdown(f"{error.message} {error.hint}"), icon=":material/error:")
        return
    st.toast(
        f"Launched: {len(submission.new)} new, {len(submission.reused)} already there.", icon=":material/rocket_launch:"
    )


def effect_told(planned: plan.Plan) -> str:
    """The smallest true difference the study would find in four of five tries: "2.1 to 4.0 points"."""
    low, high = (planned.effect.get(f"points_{end}") for end in ("low", "high"))
    if not isinstance(low, (int, float)) or not isinstance(high, (int, float)) or low != low or high != high:
        return "none: too few questions" if planned.spec.replicates > 1 else "needs two replicates"
    return f"{low:.1f} to {high:.1f} points"


def no_worse_told(planned: plan.Plan) -> str:
    """How often the study would show "no worse" where there is no difference; nothing where that cannot be told."""
    low, high = (planned.effect.get(f"no_worse_{end}") for end in ("low", "high"))
    if not isinstance(low, float) or not isinstance(high, float):
        return ""
    margin = planned.effect["margin"]
    return (
        f' Chance to show "no worse" by {margin:g} points where there is no difference: {100 * low:.0f} to'
        f" {100 * high:.0f} %."
    )


def memory_told(planned: plan.Plan) -> str:
    """What the largest run takes, part by part, and what is free for it."""
    fit, memory = planned.fit, planned.fit.memory
    parts = {
        "weights": memory.weights,
        "gradients": memory.gradients,
        "optimiser": memory.optimiser,
        "activations": memory.activations,
        "logits": memory.logits,
    }
    listed_parts = ", ".join(f"{name} {size(value)}" for name, value in parts.items() if value)
    where = "of a GPU" if fit.device == "cuda" else "of this machine"
    free = f" {size(fit.free)} {where} are free." if fit.free is not None else ""
    return (
        f"The largest run: {listed_parts}; most at once while in its {memory.when}. Parts do not all stand at the same"
        f" time.{free}"
    )


def numbers(planned: plan.Plan) -> None:
    """The four numbers that decide whether to launch."""
    done = sum(run.state == "finished" for run in planned.runs)
    bases = f" + {plural(len(planned.bases), 'base')}" if planned.bases else ""
    with st.container(horizontal=True):
        st.metric(
            "Runs",
            f"{len(planned.runs)}{bases}",
            help=f"{done} of the runs are done already and are reused.",
            width="content",
        )
        low, high = planned.seconds
        st.metric(
            "Time",
            about(low, high) if high > 0 else "none left",
            help="Of what is not done yet, from this store's own runs where there are some.",
            width="content",
        )
        help = f"True difference found in four of five such studies, {planned.effect['label']}.{no_worse_told(planned)}"
        st.metric("Detects", effect_told(planned), width="content", help=plain_markdown(help))
        st.metric("Memory a run", size(planned.fit.needs), width="content", help=plain_markdown(memory_told(planned)))


def draw(planned: plan.Plan) -> None:
    """Numbers and checks."""
    numbers(planned)
    excluded = (
        f"; {plural(planned.excluded_rows, 'row')} without a rationale left out of every condition"
        if planned.excluded_rows
        else ""
    )
    parts = "".join(f", {100 * fraction:g} % of them: {rows:,}" for fraction, rows in planned.rows_at.items())
    st.caption(f"{planned.train_rows:,} training rows{parts}{excluded}; {planned.test_items:,} test questions.")
    if planned.also:
        st.caption(
            plain_markdown(
                f"The same students are also tested on {planned.spec.also_test} ({planned.also_items:,} questions): "
                "exploratory, never judged."
            )
        )
    for check in planned.checks:
        st.warning(plain_markdown(check), icon=":material/rule:")
    if not planned.checks:
        st.caption(":material/check: Lengths, rationales and partners are in order.")


def summary_line(planned: plan.Plan) -> str:
    """How much of a plan is there already: "33 runs, 12 done"."""
    done = sum(run.state == "finished" for run in planned.runs)
    return plural(len(planned.runs), "run") + (f", {done} done and struck out" if done else ", none done yet")


def table(planned: plan.Plan) -> str:
    """One row a condition, one mark a replicate; what is done already is struck out."""
    rows: list[list[markup.TableCell | markup.Marks]] = []
    if planned.bases:
        states = [run.state for run in planned.bases]
        label = f"shared base, {plural(len(states), 'world')}" if len(states) > 1 else "shared base"
        rows.append(_row("", label, states, sum(b.job.seconds for b in planned.bases)))
    for condition in dict.fromkeys(run.condition for run in planned.runs):
        runs = [run for run in planned.runs if run.condition == condition]
        rows.append(
            _row(str(condition), condition.label, [run.state for run in runs], sum(run.job.seconds for run in runs))
        )
    return markup.table(("Condition", "Written as", "Replicates", "State", "Computing"), rows, "runs of the plan")


def _row(condition: str, label: str, states: list[str], seconds: float) -> list[markup.TableCell | markup.Marks]:
    done = all(state == "finished" for state in states)
    counted = {state: states.count(state) for state in dict.fromkeys(states)}
    shown = (
        "done"
        if done
        else ", ".join(f"{number} {state}" if len(counted) > 1 else state for state, number in counted.items())
    )
    return [
        markup.TableCell(label, struck=done, condition=condition, title=condition),
        markup.TableCell(condition, code=bool(condition), quiet=True),
        markup.Marks(tuple(states)),
        markup.TableCell(shown, quiet=True),
        markup.TableCell(duration(seconds), struck=done, quiet=True),
    ]


@st.dialog("Run this study?", width="large")
def confirm(store: Store, spec: StudySpec) -> None:
    """Count, time and detectable effect, then one button that starts it."""
    try:
        planned = plan_of(store, spec)
    except CotdistillError as error:
        frame.problem(error)
        return
    st.markdown(f"**{plain_markdown(spec.title or spec.name)}**")
    numbers(planned)
    st.markdown(
        f"{plural(len(planned.runs), 'small student')} on"
        f" {plural(store.queue.workers(), 'worker process', 'worker processes')}. The tab may be closed: training goes"
        " on, and this page finds it again."
    )
    for check in planned.checks:
        st.caption(f":material/rule: {plain_markdown(check)}")
    with st.expander("Every run"):
        st.html(table(planned))
    if st.button(
        "Start training" if open_runs(planned) else launch_label(planned),
        type="primary",
        key="confirm",
        disabled=not open_runs(planned),
    ):
        launch(store, planned)
        st.rerun()
    st.caption("The same in the terminal:")
    st.code(f"cotdistill study run {spec.name} --wait", language="bash")

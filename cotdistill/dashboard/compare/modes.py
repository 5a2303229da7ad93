"""What a student answers without, after its own and after the teacher's rationale, and when that rationale is
perturbed: a part of page Compare.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.compare import scorers
from cotdistill.dashboard.widgets import job_requests, pickers, queue
from cotdistill.errors import CotdistillError
from cotdistill.rationales.conditions import parse
from cotdistill.rationales.perturbations import PERTURBATIONS
from cotdistill.report import captions, direct_cot, markup
from cotdistill.report import following as views_following
from cotdistill.report.commands import command
from cotdistill.report.figures import modes as modes_figures
from cotdistill.report.modes import (
    DIAGNOSTIC,
    RATIONALE_NAMES,
    TEST_NAMES,
    curves_title,
    grid_title,
    loss_told,
    n_told,
    over_told,
    read_told,
)
from cotdistill.results import modes
from cotdistill.results.direct_cot import direct_by_own
from cotdistill.results.following import following
from cotdistill.results.modes import MEASURES, ModeCell, PerturbationCurve
from cotdistill.results.results import ConditionSummary, chance_of
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.studies.modes import ModesRequest, Wanted, asked, sizes
from cotdistill.tasks.catalog import TASKS
from cotdistill.text import about, capital, percent, plain_markdown, plural

WILL = (
    "Here will stand what each student answers after a rationale of its own and after the teacher's, also where it was"
    " not trained for it, and what becomes of its answers when that rationale is cut short, shuffled, swapped, given"
    " mistakes or stripped of the choices: curves with intervals, always beside as many random tokens."
)
# Shown at first, if they were asked: the three that the first claim is about.
FIRST = ("pre_cot", "post_cot", "label_only")
FEWEST = 10


def draw(store: Store, study: Study, summaries: Sequence[ConditionSummary]) -> None:
    """The grid of modes, the tests of the rationale, and the button that asks the students that have not been asked."""
    frame.section(
        "Modes: what a student answers after which rationale",
        f"{DIAGNOSTIC} The accuracies of the first view stay the ones that are judged.",
    )
    if not any(s.finished for s in summaries):
        st.info(plain_markdown(WILL), icon=":material/hourglass_top:")
        return
    counted = sizes(store, study.id)
    # What most of the students were asked; of several such numbers, the largest.
    wanted = Wanted(examples=max(counted, key=lambda n: (counted[n], n == 0, n), default=0))
    try:
        requests = asked(store, study.id, wanted)
    except CotdistillError as error:
        frame.problem(error)
        return
    chance = chance_of(summaries)
    cells = modes.grid(store, requests, wanted)
    left, right = st.columns([3, 2], gap="large")
    with left:
        frame.chart(modes_figures.grid(cells, chance, grid_title(cells)), "modes.grid")
    with right:
        st.caption(plain_markdown(_grid_caption(cells, chance)))
        _offer(store, study, requests, wanted)
    if crossed := direct_by_own(store, requests, wanted):
        frame.section("Directly, and after its own rationale")
        title = "answers given directly by answers after the student's own rationale"
        st.html(_table(direct_cot.HEAD, direct_cot.rows(crossed), title, [one.condition for one in crossed]))
        st.caption(plain_markdown(direct_cot.caption(crossed)))
    followed = _following(store, study)
    done = [one for one in requests if one.finished]
    if done:
        _tests(store, study, done, chance)
    frame.terminal(
        command("inspect", "modes", study.name, "--wait"),
        command("inspect", "modes", study.name, "--show", "--json"),
        *followed,
    )
    scorers.draw(store, study)


def _following(store: Store, study: Study) -> list[str]:
    """Where students were trained on counterfactual rationales: whether answers follow the rationale or the tag. Gives
    the command that says so.
    """
    rows = following(store, study.id)
    for one in rows:
        frame.section(views_following.title(one), DIAGNOSTIC)
        st.html(_table(views_following.HEAD, views_following.rows(one), f"{one.label}: every tag with every rationale"))
    if rows:
        st.caption(plain_markdown(views_following.caption(rows)))
    return [command("inspect", "follows", study.name)] if rows else []


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], label: str, conditions: Sequence[str] = ()) -> str:
    """conditions: of each row, where its first cell names one."""
    cells: list[list[markup.TableCell | markup.Marks | markup.Shares]] = [
        [
            markup.TableCell(text, condition=conditions[at] if conditions and not place else "")
            for place, text in enumerate(row)
        ]
        for at, row in enumerate(rows)
    ]
    return markup.table([capital(one) for one in head], cells, label)


def _grid_caption(cells: Sequence[ModeCell], chance: float | None) -> str:
    known = [cell for cell in cells if cell.accuracy is not None]
    parts = [
        "Percent right on test. Filled: trained for this mode. Hollow, with °: not trained for it. – : not asked yet;"
        " in brackets: replicates asked, where some are missing."
    ]
    if known:
        first = known[0]
        most = max(len(cell.points) for cell in known)
        speaks = first.accuracy.speaks_of if first.accuracy else ""
        parts.append(
            f"{first.items:,} test questions in {plural(first.clusters, 'cluster')}, up to {plural(most, 'replicate')}"
            " a cell."
        )
        parts.append(f"95 % interval on hover; {speaks}.")
    parts += [f"Chance {percent(chance)}."] if chance is not None else []
    if any(parse(cell.condition).source for cell in cells):
        parts.append(
            "The teacher's rationale is the study's own source for all students, also for those of another teacher."
        )
    return " ".join(parts)


def _offer(store: Store, study: Study, requests: Sequence[ModesRequest], wanted: Wanted) -> None:
    """The button that asks the students not asked yet; while they are, how far it is."""
    missing = [one for one in requests if one.missing]
    under_way = [one for one in requests if one.job is not None and one.job.state in ("queued", "running")]
    if not missing and not under_way:
        return
    with st.container(border=True):
        if under_way:
            st.markdown(
                plain_markdown(f"{plural(len(under_way), 'student')} being asked; the figures fill as they answer.")
            )
            queue.live(store, short=True)
            return
        if len(missing) == sum(one.spec is not None for one in requests):
            st.markdown(plain_markdown(WILL))
        for cause in {
            str((one.job.error or {}).get("message", "The job failed."))
            for one in missing
            if one.job is not None and one.job.error
        }:
            st.caption(f":material/error: {plain_markdown(cause)}")
        number = int(
            st.number_input(
                "Test questions, 0: all", min_value=0, value=wanted.examples, step=100, key="modes.n", width=170,
                help="The first of them by id. All give the narrowest intervals.",
            )
        )  # fmt: skip
        number = max(FEWEST, number) if number else 0
        specs = [
            one.spec for one in asked(store, study.id, Wanted(examples=number)) if one.missing and one.spec is not None
        ]
        seconds = sum(spec.seconds for spec in specs) / max(1, store.queue.workers())
        st.button(
            f"Ask {plural(len(specs), 'student')}",
            type="primary",
            icon=":material/playlist_add:",
            key="modes.go",
            on_click=job_requests.submit,
            args=(store, specs),
            disabled=not specs,
        )
        st.caption(
            plain_markdown(
                f"{plural(len(specs), 'job')}, {about(seconds / 2, seconds * 2)} of computing. The tab may be closed"
                " meanwhile."
            )
        )
        st.code(
            command("inspect", "modes", study.name, *(["--examples", str(number)] if number else []), "--wait"),
            language="bash",
            wrap_lines=True,
        )


def _tests(store: Store, study: Study, done: Sequence[ModesRequest], chance: float | None) -> None:
    """The tests of one rationale for up to four conditions."""
    frame.section("When the rationale is perturbed")
    labels = {condition.condition: condition.label for condition in modes.grid(store, done)}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        rationale = pickers.switch(
            "Which rationale",
            list(RATIONALE_NAMES),
            key="rationale",
            start="given",
            label_of=lambda r: capital(RATIONALE_NAMES[r]),
        )
        measure = pickers.switch(
            "What is measured", list(MEASURES), key="measure", start="correct", label_of=lambda m: MEASURES[m]
        )
    start = [c for c in FIRST if c in labels] or list(labels)[:2]
    shown = pickers.several(
        "Students, up to four", list(labels), key="reader", start=start, label_of=lambda c: labels[c]
    )
    requests = [one for one in done if one.condition in shown]
    curves = _curves(tuple(sorted(_digest(one) for one in requests)), rationale, measure, store, requests)
    curves.sort(key=lambda c: shown.index(c.condition))
    graded, single = ([c for c in curves if c.graded is wanted] for wanted in (True, False))
    if graded:
        frame.chart(modes_figures.curves(graded, chance, measure, curves_title(graded, measure)), "modes.curves")
    if single:
        ordered = [p.name for p in PERTURBATIONS]
        single.sort(key=lambda c: (ordered.index(c.test), shown.index(c.condition)))
        frame.chart(modes_figures.points(single, measure, curves_title(single, measure)), "modes.points")
    if curves:
        st.caption(plain_markdown(_caption(curves, requests, rationale, artificial=str(study.spec["task"]) in TASKS)))
        _numbers(study, curves, rationale, measure)


def _digest(request: ModesRequest) -> str:
    return request.job.produced["answers"] if request.job is not None else ""


@st.cache_data(max_entries=32, show_spinner="Reading the answers…")
def _curves(
    digests: tuple[str, ...], rationale: str, measure: str, _store: Store, _found: Sequence[ModesRequest]
) -> list[PerturbationCurve]:
    return modes.curves(_store, _found, rationale, measure)


def _caption(
    curves: Sequence[PerturbationCurve], requests: Sequence[ModesRequest], rationale: str, *, artificial: bool
) -> str:
    parts = [
        f"{DIAGNOSTIC} {n_told(curves)}",
        read_told(modes.read(requests), rationale, artificial),
        (
            "Left end, and dashed: the intact rationale. Bands and bars: 95 % intervals. Dotted, and grey crosses: as"
            " many tokens replaced by random ones of the training rationales."
        ),
        (
            "Hollow, with °: not trained to read a rationale before the answer."
            if any(not c.trained for c in curves)
            else ""
        ),
    ]
    return " ".join(part for part in parts if part)


def _numbers(study: Study, curves: Sequence[PerturbationCurve], rationale: str, measure: str) -> None:
    head = (
        "Student",
        "Test",
        "Intact",
        "At the end",
        "Lost, points (95 %)",
        "Against random tokens, points (95 %)",
        "Rows",
        "Tokens",
    )
    rows = [
        (
            c.label + ("" if c.trained else " °"),
            TEST_NAMES[c.test],
            percent(c.points[0].value.mean),
            percent(c.points[-1].value.mean),
            loss_told(c) if c.applied else "cannot be made",
            over_told(c) if c.applied else "–",
            percent(c.applied),
            percent(c.touched),
        )
        for c in curves
    ]
    with st.expander("The numbers", type="compact"):
        cells: list[list[markup.TableCell | markup.Marks | markup.Shares]] = [
            [
                markup.TableCell(row[0], condition=c.condition),
                *(markup.TableCell(text, quiet=place > 4) for place, text in enumerate(row[1:])),
            ]
            for row, c in zip(rows, curves, strict=True)
        ]
        st.html(markup.table(head, cells, "tests of the rationale"))
        st.caption(
            plain_markdown(
                f"Lost, of {MEASURES[measure]}: for a test of several shares the area between the intact line and the"
                " curve (the mean loss over the shares), else the drop. Rows: on how many the test could be made; the"
                " others keep their answer. Tokens: touched at the end."
            )
        )
        text = captions.csv_text(list(head), rows)
        st.download_button(
            "This table as CSV",
            text,
            f"{study.name}-{rationale}-{measure}.csv",
            "text/csv",
            icon=":material/download:",
            key="modes.csv",
        )

"""How students would answer under another scorer: a part of page Compare, below the modes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.widgets import job_requests, queue
from cotdistill.errors import CotdistillError
from cotdistill.report import markup
from cotdistill.report.commands import command
from cotdistill.report.figures.base import AROUND, GROUND, ROW_HEIGHT, FigureItems, safe, titled
from cotdistill.report.figures.palette import hue, tint
from cotdistill.report.figures.probe import LESS, MORE
from cotdistill.report.modes import DIAGNOSTIC
from cotdistill.report.scorers import HEAD, MARGINAL_HEAD, NAMES, marginal_rows, rows, title
from cotdistill.results import scorers
from cotdistill.results.scorers import ScorerCell
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.students.scoring.scorers import SCORERS
from cotdistill.studies.modes import ModesRequest
from cotdistill.text import about, between, between_points, capital, percent, plain_markdown, plural, points

WILL = (
    "Here will stand how every finished student would answer if its choices were scored by their full text, by its"
    " length, against how likely they are without the question, or by how well they foretell the question; and by how"
    " much restarts differ under each."
)

# Points at which the colour is full.
FULL_COLOUR = 20.0


def draw(store: Store, study: Study) -> None:
    """The grid of conditions and scorers, the table by scorer, and the button that scores the students anew."""
    frame.section("Under another scorer", f"The same students, their choices scored in another way. {DIAGNOSTIC}")
    try:
        before, seed = scorers.drawn_before(store, study.id)
        samples = st.number_input(
            "Rationales drawn for each question",
            min_value=0,
            max_value=64,
            value=before,
            key="scorers.samples",
            width=240,
            help=(
                "By students that were trained to write one first: the probability of each choice is the mean over"
                " them. 0: none are drawn."
            ),
        )
        requests = scorers.asked(store, study.id, 0, (), int(samples), seed)
    except CotdistillError as error:
        frame.problem(error)
        return
    cells = scorers.table(store, requests)
    _offer(store, study, requests, new=not cells)
    if cells:
        frame.chart(grid(cells), "modes.scorers")
        left, right = st.columns([3, 2], gap="large")
        by = scorers.by_scorer(cells)
        with left:
            table_rows: list[list[markup.TableCell | markup.Marks | markup.Shares]] = [
                [markup.TableCell(row[0], title=scorer.help), *(markup.TableCell(text) for text in row[1:])]
                for row, scorer in zip(rows(by), (SCORERS.get(one.scorer) for one in by), strict=True)
            ]
            st.html(markup.table([capital(head) for head in HEAD], table_rows, "scorers over all conditions"))
            if drawn := marginal_rows(scorers.marginals(store, requests)):
                st.html(
                    markup.table(
                        [capital(head) for head in MARGINAL_HEAD],
                        [[markup.TableCell(text) for text in row] for row in drawn],
                        "marginal likelihood",
                    )
                )
                st.caption(
                    "Log of the mean, over rationales that the student draws itself, of the probability of the right"
                    " label (arXiv 2312.02179)."
                )
        with right:
            st.caption(plain_markdown(_caption(cells)))
    words = ["--samples", str(int(samples))] if samples else []
    frame.terminal(
        command("inspect", "scorers", study.name, *words, "--wait"),
        command("inspect", "scorers", study.name, "--show", "--json"),
    )


def _caption(cells: Sequence[ScorerCell]) -> str:
    first = cells[0]
    most = max(len(cell.points) for cell in cells)
    return (
        f"Percent right on test; colour: against as judged, blue above it. {first.items:,} questions in"
        f" {plural(first.clusters, 'cluster')}, up to {plural(most, 'replicate')} a cell, each student in the mode that"
        f" it is judged in. 95 % interval on hover; {first.accuracy.speaks_of}. Spread: standard deviation over"
        " restarts, pooled over conditions, with its 95 % interval. Full text and question given choice: arXiv"
        " 2004.14074; PMI: 2104.08315."
    )


def _offer(store: Store, study: Study, requests: Sequence[ModesRequest], *, new: bool) -> None:
    specs = [one.spec for one in requests if one.missing and one.spec is not None]
    under_way = [one for one in requests if one.job is not None and one.job.state in ("queued", "running")]
    if not specs and not under_way:
        return
    with st.container(border=True):
        if under_way:
            st.markdown(
                plain_markdown(f"{plural(len(under_way), 'student')} being scored anew; the table fills as they end.")
            )
            queue.live(store, short=True)
            return
        if new:
            st.markdown(plain_markdown(WILL))
        for cause in {
            str((one.job.error or {}).get("message", "The job failed."))
            for one in requests
            if one.job is not None and one.job.error
        }:
            st.caption(f":material/error: {plain_markdown(cause)}")
        seconds = sum(spec.seconds for spec in specs) / max(1, store.queue.workers())
        st.button(
            f"Score {plural(len(specs), 'student')} anew",
            type="primary" if new else "secondary",
            icon=":material/playlist_add:",
            key="scorers.go",
            on_click=job_requests.submit,
            args=(store, specs),
        )
        st.caption(
            plain_markdown(
                f"{plural(len(specs), 'job')}, {about(seconds / 2, seconds * 2)} of computing. The tab may be closed"
                " meanwhile."
            )
        )


def grid(cells: Sequence[ScorerCell]) -> Any:
    """Conditions by scorers: the number is accuracy, the colour its paired difference to the scorer that runs are
    judged by.
    """
    conditions = list(dict.fromkeys(cell.condition for cell in cells))
    names = [name for name in NAMES if any(cell.scorer == name for cell in cells)]
    figure = titled(capital(title(cells)), height=AROUND - 26 + ROW_HEIGHT * len(conditions))
    at = {(cell.condition, cell.scorer): cell for cell in cells}
    differences = [
        [100 * (over.mean if (over := at[c, s].over_label) else 0.0) if (c, s) in at else None for s in names]
        for c in conditions
    ]
    # One scorer that is all wrong would leave no colour to the others.
    top = min(FULL_COLOUR, max(abs(value) for row in differences for value in row if value is not None)) or 1.0
    figure.add_heatmap(
        z=differences,
        x=list(range(len(names))),
        y=list(range(len(conditions))),
        zmin=-top,
        zmax=top,
        xgap=3,
        ygap=3,
        showscale=False,
        colorscale=[[0.0, tint(LESS, 0.45)], [0.5, tint(GROUND, 0.06)], [1.0, tint(MORE, 0.45)]],
        text=[[_hover(at[c, s]) if (c, s) in at else "" for s in names] for c in conditions],
        hovertemplate="%{text}<extra></extra>",
    )
    drawn = FigureItems(figure)
    for y, condition in enumerate(conditions):
        for x, scorer in enumerate(names):
            if (condition, scorer) not in at:
                continue
            cell = at[condition, scorer]
            number = f"{100 * cell.accuracy.mean:.1f}"
            few = (
                f" <span style='font-size:11px'>({len(cell.points)} of {cell.planned})</span>"
                if x == 0 and len(cell.points) < cell.planned
                else ""
            )
            drawn.text(x=x, y=y, text=(f"<b>{number}</b>" if x == 0 else number) + few, font={"size": 14})
    drawn.place()
    figure.update_xaxes(
        tickvals=list(range(len(names))),
        ticktext=[NAMES[s] for s in names],
        side="top",
        showgrid=False,
        fixedrange=True,
        tickfont_size=13,
    )
    names_in_color = [f"<span style='color:{hue(c)}'>{safe(at[c, names[0]].label)}</span>" for c in conditions]
    figure.update_yaxes(
        tickvals=list(range(len(conditions))),
        ticktext=names_in_color,
        tickfont_size=13,
        range=[len(conditions) - 0.5, -0.5],
        showgrid=False,
        fixedrange=True,
    )
    figure.update_layout(margin={"t": 76, "b": 12})
    return figure


def _hover(cell: ScorerCell) -> str:
    text = (
        f"{safe(cell.label)}, {NAMES[cell.scorer]}: {percent(cell.accuracy.mean)},"
        f" {between(cell.accuracy.low, cell.accuracy.high)}"
    )
    if cell.over_label is not None:
        over = cell.over_label
        text += f"<br>against as judged: {points(over.mean)} points ({between_points(over.low, over.high)})"
        text += f"<br>the same answer on {percent(cell.agreement.mean)}"
    text += f"<br>replicates: {', '.join(f'{100 * p:.1f}' for p in cell.points)}"
    return text + (f"; standard deviation {100 * cell.spread:.1f}" if cell.spread is not None else "")

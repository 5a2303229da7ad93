"""Compare: several tasks and students in one view, and the settings in which their studies differ."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.widgets import pickers
from cotdistill.rationales.conditions import parse
from cotdistill.report import markup
from cotdistill.report.commands import command
from cotdistill.report.figures import cross_study as across_figure
from cotdistill.results import cross_study
from cotdistill.results.cross_study import Column
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.text import capital, listed, plain_markdown

ACCURACY = "accuracy"
MOST = 8


def draw(store: Store, study: Study, baseline: str) -> None:
    latest = {one.name: one for one in reversed(store.queue.studies())}
    names = [study.name, *(name for name in reversed(list(latest)) if name != study.name)]
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        chosen = pickers.several(f"Studies, up to {MOST}", names, key="with", start=names[:MOST], most=MOST)
    with right:
        value = pickers.switch("Value", (ACCURACY, "difference"), key="value", start=ACCURACY)
    difference = value != ACCURACY
    columns = cross_study.grid(store, [latest[name] for name in chosen], baseline if difference else "")
    rows = cross_study.conditions(columns)
    if not rows:
        st.info(
            plain_markdown(
                f"None of these studies has a finished run{f' beside {parse(baseline).label}' if difference else ''}"
                " yet."
            )
        )
        return
    heads = [column_label(column) for column in columns]
    chances = sorted({round(100 * column.chance, 1) for column in columns if column.chance is not None})
    kind = (
        f"Points against {parse(baseline).label}, paired within each study; blue is better, orange worse, one scale"
        " for all"
        if difference
        else f"Accuracy in percent; chance {listed(f'{c:g}' for c in chances)} %"
    )
    drawn = across_figure.heat(
        columns, rows, heads, title(columns, baseline, difference=difference), difference=difference
    )
    frame.chart(
        drawn,
        "across",
        f"{kind}. Hover over a cell for its 95 % interval, questions and replicates. Empty: not in that study, or not"
        " run.",
    )
    _settings(columns)
    frame.terminal(*(command("compare", column.study.name, "--baseline", baseline) for column in columns))


def column_label(column: Column) -> str:
    """A study by its task and student, its name last."""
    return f"{column.spec.task}, {column.spec.student.name}\n{column.study.name}".replace("\n", " · ")


def title(columns: Sequence[Column], baseline: str, *, difference: bool) -> str:
    """Which condition is highest in how many of the studies; of differences, where post-CoT is better."""
    filled = [column for column in columns if column.cells]
    if difference:
        lead = (
            "post_cot"
            if any("post_cot" in column.cells for column in filled) and baseline != "post_cot"
            else cross_study.conditions(columns)[0]
        )
        seen = [column.cells[lead] for column in filled if lead in column.cells]
        better = sum(cell.word == "better" for cell in seen)
        return f"{capital(parse(lead).label)} is better than {parse(baseline).label} in {better} of {len(seen)} studies"
    highest = [max(column.cells, key=lambda c: column.cells[c].value) for column in filled]
    most = max(dict.fromkeys(highest), key=highest.count)
    return f"{capital(parse(most).label)} is highest in {highest.count(most)} of {len(filled)} studies"


def _settings(columns: Sequence[Column]) -> None:
    """What the studies set differently, and nothing else."""
    if len(columns) < 2:
        return
    frame.section("Where their settings differ")
    # Their conditions are the rows of the figure above.
    rows = [row for row in cross_study.differing([column.study.spec for column in columns]) if row[0] != "conditions"]
    if not rows:
        st.caption("They are set alike.")
        return
    cells = [[markup.TableCell(name), *(markup.TableCell(value) for value in values)] for name, values in rows]
    st.html(markup.table(("Setting", *(column.study.name for column in columns)), cells, "settings that differ"))

"""Compare: every test question under every condition, a page at a time; a click on a cell opens page Saliency on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.widgets import pickers
from cotdistill.rationales.conditions import parse
from cotdistill.report import markup
from cotdistill.report.figures.palette import BAD, GOOD, tint
from cotdistill.results import prediction_matrix
from cotdistill.results.prediction_matrix import Filters, Page, PredictionMatrix
from cotdistill.results.results import ConditionSummary
from cotdistill.results.slices import fields, slices
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.text import between, capital, percent, plain_markdown, plural

SHOWN = {
    "all": "all",
    "lost": "baseline right, this wrong",
    "gained": "baseline wrong, this right",
    "flips": "they differ in a replicate",
}
SORTS = {
    "disagreement": "conditions disagree most",
    "undecided": "smallest margin first",
    "gained": "gained most often",
    "lost": "lost most often",
    "item": "id",
}
ROWS = 25
NO_SLICE = "whole test"


def draw(store: Store, study: Study, summaries: Sequence[ConditionSummary], baseline: str) -> None:
    key = (str(store.home), study.id, sum(s.finished for s in summaries))
    answers = prediction_matrix.matrix(store, study.id)
    if baseline not in answers.conditions or len(answers.conditions) < 2:
        st.info(
            "Two conditions with finished runs are needed, the baseline among them.", icon=":material/hourglass_top:"
        )
        return
    texts = _texts(key, store)
    others = [s.condition for s in summaries if s.condition in answers.conditions and s.condition != baseline]
    start = next((c for c in ("post_cot", *others) if c in others), others[0])
    with st.container(horizontal=True, vertical_alignment="bottom"):
        this = frame.choose(
            "This condition",
            others,
            key="this",
            start=start,
            label_of=lambda c: parse(c).label,
            drops=("rows",),
            width=230,
        )
        shown = frame.choose("Show", list(SHOWN), key="show", label_of=lambda s: SHOWN[s], drops=("rows",), width=200)
        words = st.text_input(
            "Find", key="find", placeholder="words of the question, an id", bind="query-params", width=170
        )
        field, values = _slice(texts)
        sort = frame.choose("Sort by", list(SORTS), key="sort", label_of=lambda s: SORTS[s], drops=("rows",), width=190)
    table = _table(key, baseline, answers)
    filters = Filters(
        right={"lost": baseline, "gained": this}.get(shown, ""),
        wrong={"lost": this, "gained": baseline}.get(shown, ""),
        flips=this if shown == "flips" else "",
        text=words or "",
        slices={field: values} if values else {},
    )
    column = {"gained": f"{prediction_matrix.GAINED} {this}", "lost": f"{prediction_matrix.LOST} {this}"}.get(
        sort, sort
    )
    at = _place()
    seen = _page(table, filters, texts, column, at)
    if at and at * ROWS >= seen.total:
        at, seen = 0, _page(table, filters, texts, column, 0)
    _flips(answers, baseline, this)
    if not seen.total:
        st.info("No test question passes these filters.", icon=":material/filter_alt_off:")
        return
    _grid(study, answers, seen, texts, [baseline, this, *(c for c in others if c != this)])
    _turn(at, seen.total, len(table))
    if field:
        _by_slice(answers, texts, field, [baseline, this])


@st.cache_resource(max_entries=8, show_spinner="Reading the questions")
def _texts(_key: tuple[str, int, int], _store: Store) -> pd.DataFrame:
    return prediction_matrix.texts(_store, _key[1])


@st.cache_resource(max_entries=8, show_spinner="Reading the answers")
def _table(key: tuple[str, int, int], baseline: str, _found: PredictionMatrix) -> pd.DataFrame:
    return prediction_matrix.by_example(_found, baseline)


def _page(table: pd.DataFrame, filters: Filters, texts: pd.DataFrame, column: str, at: int) -> Page:
    rising = column in ("undecided", "item")
    return prediction_matrix.page(
        table, filters, texts=texts, sort=column, descending=not rising, offset=at * ROWS, limit=ROWS
    )


def _slice(texts: pd.DataFrame) -> tuple[str, tuple[str, ...]]:
    """A field of the metadata and those of its values that are kept; none where the task has none."""
    known = fields(list(texts["metadata"]))
    if not known:
        return "", ()
    field = frame.choose("Slice by", [NO_SLICE, *known], key="slice", drops=("kept", "rows"), width=130)
    if field == NO_SLICE:
        return "", ()
    kept = pickers.several("Only", known[field], key="kept", start=(), most=len(known[field]), width=220)
    return field, tuple(kept)


def _place() -> int:
    wanted = st.query_params.get("rows", "1")
    return max(0, int(wanted) - 1) if wanted.isdecimal() and len(wanted) < 9 else 0


def _flips(answers: PredictionMatrix, baseline: str, this: str) -> None:
    """Both conditions over all questions and the replicates that both have, in four numbers."""
    before, after = (answers.right[answers.conditions.index(c)] for c in (baseline, this))
    both = (before >= 0) & (after >= 0)
    number = int(both.sum())
    parts = [
        ("both right", (before == 1) & (after == 1)), (f"only {parse(this).label}", (before == 0) & (after == 1)),
        (f"only {parse(baseline).label}", (before == 1) & (after == 0)), ("both wrong", (before == 0) & (after == 0)),
    ]  # fmt: skip
    shares = [f"{name} {percent(float((both & where).sum()) / number)}" for name, where in parts] if number else []
    items = int(both.any(0).sum())
    replicates = int(both.any(1).sum())
    st.caption(
        plain_markdown(f"{capital(', '.join(shares))} (of {items:,} questions, {plural(replicates, 'replicate')}).")
    )


def _grid(study: Study, answers: PredictionMatrix, seen: Page, texts: pd.DataFrame, conditions: Sequence[str]) -> None:
    index = {item: place for place, item in enumerate(answers.items)}
    places = [index[item] for item in seen.rows["item"]]
    data: dict[str, list[Any]] = {
        "question": [str(texts["question"].get(item, "")) or item for item in seen.rows["item"]],
        "answer": [str(texts["answer"].get(item, "")) for item in seen.rows["item"]],
    }
    heads = {condition: parse(condition).label for condition in conditions}
    shares = np.full((len(places), len(data) + len(conditions)), np.nan)
    for at, condition in enumerate(conditions):
        right, gold = (
            answers.right[answers.conditions.index(condition)],
            answers.gold[answers.conditions.index(condition)],
        )
        data[heads[condition]] = [_cell(right[:, place], gold[:, place]) for place in places]
        shares[:, at + 2] = [_share(right[:, place]) for place in places]
    drawn = pd.DataFrame(data, index=pd.Index(seen.rows["item"], name="id"))
    styled = drawn.style.apply(lambda _: np.vectorize(_paint, otypes=[object])(shares), axis=None)
    config: dict[str, Any] = {
        "id": st.column_config.TextColumn(width="small", pinned=True),
        "question": st.column_config.TextColumn(width=330),
    }
    config["answer"] = st.column_config.TextColumn(width=90)
    # A key of its own for each page of rows: what was selected on one must not be taken for a cell of the next.
    rows = f"{study.id} {' '.join(seen.rows['item'])}"
    event = st.dataframe(
        styled,
        height="content",
        column_config=config,
        on_select="rerun",
        selection_mode="single-cell",
        key=f"grid {hash(rows)}",
        alt="Answers by question",
    )
    st.caption(
        "A dot a replicate: ● right, ○ wrong, – not asked; then the mean probability of the right choice in percent. "
        "Click on a cell to open that student on that question on page Saliency."
    )
    cells = event.selection.cells
    if cells:
        row, name = cells[0]
        condition = next((c for c, head in heads.items() if head == name), conditions[1])
        item = str(drawn.index[int(row)])
        query = [
            *frame.carry(study=study.name).items(),
            ("split", "test"),
            ("example", item),
            ("student", _student(answers, condition, index[item])),
        ]
        st.switch_page("pages/4_Saliency.py", query_params=query)


def _student(answers: PredictionMatrix, condition: str, place: int) -> str:
    """How page Saliency names a student of this condition that was asked this question; the first that is wrong, if one
    is.
    """
    right = answers.right[answers.conditions.index(condition)][:, place]
    wrong, asked = np.flatnonzero(right == 0), np.flatnonzero(right >= 0)
    return f"{condition}~{answers.replicates[int((wrong if len(wrong) else asked)[0])]}"


def _cell(right: Any, gold: Any) -> str:
    dots = "".join({1: "●", 0: "○"}.get(int(one), "–") for one in right)
    there = gold[~np.isnan(gold)]
    return f"{dots} {100 * float(there.mean()):.0f}" if len(there) else dots


def _share(right: Any) -> float:
    asked = right[right >= 0]
    return float(asked.mean()) if len(asked) else float("nan")


def _paint(share: float) -> str:
    """Green where most replicates are right, red-brown where most are wrong; the dots say the same without colour."""
    if np.isnan(share):
        return ""
    return f"background-color: {tint(GOOD if share >= 0.5 else BAD, 0.08 + 0.3 * abs(share - 0.5))}"


def _turn(at: int, total: int, every: int) -> None:
    last = (total - 1) // ROWS
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Previous", icon=":material/arrow_back:", shortcut="Left", on_click=_go, args=(at - 1,), disabled=at == 0
        )
        st.button(
            "Next", icon=":material/arrow_forward:", shortcut="Right", on_click=_go, args=(at + 1,), disabled=at == last
        )
        st.caption(
            f"{at * ROWS + 1:,} to {min(total, (at + 1) * ROWS):,} of {total:,}"
            + (f", filtered from {every:,}" if total < every else "")
        )


def _go(page: int) -> None:
    st.query_params["rows"] = str(page + 1)


def _by_slice(answers: PredictionMatrix, texts: pd.DataFrame, field: str, conditions: Sequence[str]) -> None:
    """The two conditions on each value of the field."""
    known = dict(zip(texts.index, texts["metadata"], strict=True))
    rows = slices(answers, [known.get(item, {}) for item in answers.items], field, conditions)
    cells = [
        [
            markup.TableCell(one.value),
            markup.TableCell(parse(one.condition).label, condition=one.condition),
            markup.TableCell(percent(one.interval.mean)),
            markup.TableCell(between(one.interval.low, one.interval.high), quiet=True),
            markup.TableCell(f"{one.items:,}", quiet=True),
        ]
        for one in rows
    ]
    with st.expander(plain_markdown(f"Accuracy by {field}"), expanded=True):
        st.html(
            markup.table((field, "Condition", "Accuracy", "95 % interval", "Questions"), cells, f"accuracy by {field}")
        )
        st.caption("Exploratory: the more slices one looks at, the more likely is a difference that means nothing.")

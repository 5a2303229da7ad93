"""Page Key tokens: selectors side by side on one example, marks made by people, what selections are like over a task,
the sweep of their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.keytokens import launch_selection, marking, marks, overlaps, selections, sweep
from cotdistill.dashboard.keytokens.selections import FinishedSelection, TrainingRationales
from cotdistill.dashboard.widgets import example_finder, pickers, plans, queue
from cotdistill.errors import CotdistillError
from cotdistill.keytokens.agreement import jaccard
from cotdistill.keytokens.spans import word_spans
from cotdistill.report import markup, wordmap
from cotdistill.report.commands import command
from cotdistill.saliency.stability import spearman
from cotdistill.store.store import Store
from cotdistill.studies.spec import STUDIES
from cotdistill.tasks.example import Example
from cotdistill.text import capital, listed, plain_markdown, plural

ABOUT = "Which words of a rationale count: by selectors, by people, and by what a student learns from them alone."
PARTS = {
    "example": "selectors side by side",
    "mark": "mark your own",
    "task": "over the task",
    "sweep": "accuracy against k",
}
MOST_K = 20


def draw(store: Store) -> None:
    frame.heading("Key tokens", ABOUT)
    part = pickers.switch(
        "What", list(PARTS), key="part", start="example", label_of=lambda p: PARTS[p], label_visibility="collapsed"
    )
    if part != "mark" and not store.queue.studies():
        wanting(store)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        ground = selections.ground(store)
    if ground is None:
        return
    known = selections.finished(ground)
    if not known and part != "mark":
        wanting(store, f" Nothing has been selected from these {len(ground.examples):,} rationales yet.")
        st.divider()
        launch_selection.draw(ground, known, part)
        return
    {"example": _side_by_side, "mark": marking.draw, "task": overlaps.draw, "sweep": sweep.draw}[part](ground, known)
    st.divider()
    launch_selection.draw(ground, known, part)


def wanting(store: Store, more: str = "") -> None:
    """What will stand here, and the button that brings it."""
    spec = STUDIES.get("keytokens").make()
    runs = len(spec.conditions) * spec.replicates
    with st.container(border=True):
        st.markdown(
            "**Selectors side by side will stand here, and how far a student gets with the few words they choose**"
        )
        st.markdown(
            plain_markdown(
                "Every rationale word shaded by its score, the key words framed; overlap between selectors, top words,"
                " word classes; accuracy against the number of words kept, beside the whole rationale and the label"
                f" alone.{more}"
            )
        )
        launched = any(study.plan_hash == spec.plan_hash for study in store.queue.studies())
        with st.container(horizontal=True, vertical_alignment="center"):
            if st.button(
                "Run the study keytokens",
                type="secondary" if launched else "primary",
                icon=":material/play_circle:",
                key="keytokens",
            ):
                plans.confirm(store, spec)
            st.caption(
                f"{len(spec.conditions)} conditions × {plural(spec.replicates, 'replicate')} = {runs} students on the"
                " generated task; nothing to download. Time and detectable effect are stated before anything starts."
                " You can mark words yourself meanwhile."
            )
        if launched:
            queue.live(store, short=True)
    frame.terminal(command("study", "run", "keytokens", "--wait"))


def number_of_words(most: int) -> int:
    """k, in the URL."""
    wanted = st.query_params.get("k", "")
    most = max(2, min(MOST_K, most))
    st.session_state["k"] = min(most, max(1, int(wanted))) if wanted.isdecimal() and len(wanted) < 4 else min(5, most)
    return int(st.slider("Key words, k", 1, most, key="k", on_change=frame.keep, args=("k",), width=260))


def _side_by_side(ground: TrainingRationales, known: Sequence[FinishedSelection]) -> None:
    chosen = selections.choose(known)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        example = example_finder.search(ground.examples)
        if example is None:
            st.info("No example fits. Search for less.")
            return
        k = number_of_words(len(word_spans(example.rationale or "")))
    st.html(wordmap.question(example))
    rows, failed = rows_of(ground, chosen, example)
    title, place = st.empty(), st.empty()
    shown = [
        wordmap.WordRanking(capital(one.label), one.hue, row, marks.top(row, k), (), selections.lineage(ground, one))
        for one, row in rows
    ]
    if rows:
        title.subheader(plain_markdown(_headline(example.rationale or "", rows, k)), anchor=False)
        place.html(wordmap.legend(k) + wordmap.cards(example.rationale or "", shown))
        _pairs(rows, k)
    for told in failed:
        st.warning(plain_markdown(told), icon=":material/rule:")
    st.caption(
        plain_markdown(
            f"Training example {example.id}, rationale by {ground.source}. A word bears the sum of its tokens. Scores"
            " of different selectors count in different units, so only their order is compared."
        )
    )


def rows_of(
    ground: TrainingRationales, chosen: Sequence[FinishedSelection], example: Example
) -> tuple[list[tuple[FinishedSelection, list[float]]], list[str]]:
    """Each selection with the scores of the example's words; and why some have none."""
    rows, failed = [], []
    for one in chosen:
        try:
            row = selections.row(ground, one, example)
        except CotdistillError as error:
            failed.append(f"{capital(one.label)}: {error.message} {error.hint}")
            continue
        if row is None:
            failed.append(
                f"{capital(one.label)} has not scored this rationale: it was left out of the selection, or the text was"
                " another."
            )
        else:
            rows.append((one, row))
    return rows, failed


def _headline(rationale: str, rows: Sequence[tuple[FinishedSelection, Sequence[float]]], k: int) -> str:
    """What all name; or which two come closest."""
    words = [rationale[a:b] for a, b in word_spans(rationale)]
    sets = [marks.top(row, k) for _, row in rows]
    if len(rows) == 1:
        return f"{capital(rows[0][0].label)} chooses {listed((words[i] for i in sorted(sets[0])), most=8)}"
    common = sorted(set.intersection(*sets))
    if common and len(rows) > 2:
        return f"All {len(rows)} choose {listed((f'“{words[i]}”' for i in common), most=6)}"
    first, second = max(combinations(range(len(rows)), 2), key=lambda pair: jaccard(sets[pair[0]], sets[pair[1]]))
    shared = len(sets[first] & sets[second])
    return (
        f"{capital(rows[first][0].label)} and {rows[second][0].label} share {shared} of {min(k, len(words))} key words"
        " here"
    )


def _pairs(ranked: Sequence[tuple[FinishedSelection, Sequence[float]]], k: int) -> None:
    """Every two selections on this example: what they share, and how alike they rank all words."""
    if len(ranked) < 2:
        return
    rows: list[list[markup.TableCell | markup.Marks | markup.Shares]] = []
    for (one, first), (other, second) in combinations(ranked, 2):
        a, b = marks.top(first, k), marks.top(second, k)
        rank = spearman(np.array(first), np.array(second))
        by_chance = len(a) * len(b) / len(first)
        rows.append(
            [
                markup.TableCell(one.label),
                markup.TableCell(other.label),
                markup.TableCell(f"{len(a & b)} of {len(a)}"),
                markup.TableCell(f"{by_chance:.1f}", quiet=True),
                markup.TableCell(f"{jaccard(a, b):.2f}"),
                markup.TableCell(signed(rank)),
            ]
        )
    head = ("One", "Other", "Key words shared", "By chance", "Jaccard", "Rank correlation")
    st.html(markup.table(head, rows, "overlap of the selections on this example"))


def signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}".replace("-", "−")

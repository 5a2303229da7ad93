"""Compare: learning curves by condition, against steps, tokens or seconds."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.report import captions
from cotdistill.report.figures import base
from cotdistill.results import results
from cotdistill.results.results import ConditionSummary
from cotdistill.store.records import Study
from cotdistill.store.store import Store

CURVES = {
    "dev_accuracy": ("accuracy on dev, percent", True),
    "loss": ("training loss", False),
    "label_loss": ("loss of the label", False),
    "rationale_loss": ("loss of the rationale", False),
    "lr": ("learning rate", False),
    # What an objective draws a step with: named by those that have it alone.
    "rationale_left": ("share of the rationale that is left, percent", True),
    "rationale_told": ("share of the sentences that bear loss, percent", True),
    "acceptance": ("drawn rationales that led to the right answer, percent", True),
    "memory_own": ("remembered rationales that the student wrote, percent", True),
    "memory_age": ("mean age of the remembered rationales, steps", False),
}
AXES = {"step": "optimiser steps", "tokens": "training tokens seen", "seconds": "seconds of training"}


def draw(store: Store, study: Study, summaries: Sequence[ConditionSummary]) -> None:
    table = results.curves(store, study.id)
    names = [name for name in CURVES if name in set(table["name"])]
    if not names:
        st.info(
            "No finished run of this study has recorded a curve: its students were scored once, or brought from"
            " elsewhere."
        )
        return
    left, right, _ = st.columns([2, 2, 3])
    with left:
        name = frame.choose("What", names, key="curve", label_of=lambda n: CURVES[n][0])
    with right:
        axis = frame.choose("Against", list(AXES), key="against", label_of=lambda a: AXES[a])
    title, share = CURVES[name]
    # A mean over fewer replicates than planned says so in its name.
    labels = {
        s.condition: s.label + (f" ({s.finished} of {s.planned})" if s.finished < s.planned else "") for s in summaries
    }
    rows = captions.curve_rows(table, labels, name, axis)
    lone = [row.label for row in rows if len(row.replicates) == 1]
    caption = (
        "Strong line: mean over replicates; faint lines: each of them. Dotted: controls; dashed: transformed"
        " rationales. "
    )
    on_dev = name == "dev_accuracy"
    caption += (
        f"Dev questions, so no verdict rests on it. {captions.missing_told(summaries)}"
        if on_dev
        else captions.missing_told(summaries)
    )
    caption += " One replicate only: a single line." if len(lone) == len(rows) else ""
    frame.chart(
        base.curves(rows, AXES[axis], title, captions.curve_title(rows, title, share=on_dev), share=share),
        "curves",
        caption,
    )

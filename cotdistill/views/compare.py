"""Page Compare: accuracies, differences to a pinned baseline with verdicts, learning curves, and the numbers as a table."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from cotdistill.rationales.conditions import parse
from cotdistill.studies import results
from cotdistill.studies.jobs import Study
from cotdistill.studies.store import Store
from cotdistill.studies.study import StudySpec, spec_from_mapping
from cotdistill.views import figures, frame, queue, report
from cotdistill.views.commands import changed, command
from cotdistill.views.wording import ago, between, between_points, count, p_value, percent, plain_markdown, plural, points

CURVES = {
    "dev_accuracy": ("accuracy on dev, percent", True),
    "loss": ("training loss", False),
    "label_loss": ("loss of the label", False),
    "rationale_loss": ("loss of the rationale", False),
    "lr": ("learning rate", False),
}
AXES = {"step": "optimiser steps", "tokens": "training tokens seen", "seconds": "seconds of training"}


def draw(store: Store) -> None:
    studies = store.queue.studies()
    if not studies:
        frame.heading("Compare")
        frame.empty("Accuracies, differences and learning curves will stand here", "They appear run by run, as soon as a study has been launched.")
        return
    left, right = st.columns([3, 4], vertical_alignment="bottom")
    names = list(dict.fromkeys(study.name for study in studies))
    with left:
        name = frame.choose("Study", names, key="study", drops=("baseline", "curve"))
    study = next(s for s in studies if s.name == name)
    spec = spec_from_mapping(study.spec)
    summaries = results.summary(store, study.id)
    with right:
        # Under a token budget the conditions that were trained carry it, so they are read from the results, not from the spec.
        planned = [s.condition for s in summaries]
        pinned = next((c for c in planned if c == spec.pinned or c.startswith(f"{spec.pinned}@tokens=")), planned[0])
        baseline = frame.choose("Baseline", planned, key="baseline", start=pinned, told=lambda c: parse(c).label)
    frame.heading(spec.title or study.name, _about(study, spec))
    if any(s.finished < s.planned for s in summaries):
        st.info(plain_markdown(report.missing_told(summaries)), icon=":material/hourglass_top:")
        queue.live(store, short=True)
    if not any(s.finished for s in summaries):
        frame.empty("No run of this study has finished yet", "The first point appears with the first finished run.")
        return
    accuracy(store, study, summaries)
    _inside(study, summaries, baseline)
    _differences(store, study, baseline)
    _curves(store, study, {s.condition: s.label for s in summaries})
    _table(store, study, summaries, baseline)


def _about(study: Study, spec: StudySpec) -> str:
    """Task, student and sizes in one line; an artificial task is called so."""
    told = [f"task {spec.task}{report.world_told(spec)}", f"student {spec.student.name}", plural(spec.replicates, "replicate")]
    told += [f"{spec.training.steps:,} steps", f"rationales by {spec.source}" if spec.source else "", f"study {study.id}, {ago(study.created)}"]
    return " · ".join(part for part in told if part)


def accuracy(store: Store, study: Study, summaries: Sequence[results.ConditionSummary]) -> None:
    """The accuracy figure with its caption; Home shows it too."""
    rows = report.accuracy_rows(summaries)
    if not rows:
        st.caption("The first accuracy appears with the first finished run.")
        return
    chance = next((s.chance for s in summaries if s.chance is not None), None)
    frame.chart(figures.accuracy(rows, chance, report.accuracy_title(rows, chance)), "accuracy")
    first = next(s for s in summaries if s.finished)
    each = " of each world" if (spec_from_mapping(study.spec).worlds or 1) > 1 else ""
    st.caption(
        plain_markdown(
            f"{first.items:,} test questions in {plural(first.clusters, 'cluster')}{each}. {report.rows_told(store, study)} "
            "Small ticks: each replicate. Large mark: their mean. "
            f"Bar: 95 % interval; {first.speaks_of}. Hollow marks are controls. Dotted line: chance. {report.missing_told(summaries)}"
        )
    )


def _inside(study: Study, summaries: Sequence[results.ConditionSummary], baseline: str) -> None:
    """Links to page Saliency: the baseline beside any other condition."""
    finished = [s for s in summaries if s.finished]
    with st.popover("Look inside", icon=":material/ink_highlighter:", help="What each token counts for an answer, on page Saliency"):
        for s in finished:
            pair = [s.condition] if s.condition == baseline or not any(o.condition == baseline for o in finished) else [s.condition, baseline]
            label = s.label if len(pair) == 1 else f"{s.label} beside {parse(baseline).label}"
            query = [*frame.carry(study=study.name).items(), *(("student", condition) for condition in pair)]
            st.page_link("pages/4_Saliency.py", label=plain_markdown(label), query_params=query)


def _differences(store: Store, study: Study, baseline: str) -> None:
    compared = results.comparison(store, study.id, baseline)
    rows = report.difference_rows(compared)
    name = parse(baseline).label
    if not rows:
        st.info(plain_markdown(f"No condition can be compared with {name} yet: both need a finished run of the same replicate."))
        return
    frame.chart(figures.forest(rows, name, report.difference_title(rows, name)), "forest")
    kinds = list(dict.fromkeys(row.kind for row in compared.rows))
    st.caption(
        plain_markdown(
            f"Paired on questions and replicates, to {name}. Bar: 95 % interval; {'; '.join(kinds)}.{' Provisional.' if compared.provisional else ''}"
        )
    )


def _curves(store: Store, study: Study, labels: dict[str, str]) -> None:
    table = results.curves(store, study.id)
    if table.empty:
        return
    names = [name for name in CURVES if name in set(table["name"])]
    frame.section("Learning curves")
    left, right, _ = st.columns([2, 2, 3])
    with left:
        name = frame.choose("What", names, key="curve", told=lambda n: CURVES[n][0])
    with right:
        axis = frame.choose("Against", list(AXES), key="against", told=lambda a: AXES[a])
    title, share = CURVES[name]
    rows = report.curve_rows(table, labels, name, axis)
    frame.chart(figures.curves(rows, AXES[axis], title, report.curve_title(rows, title, share=share), share=share), "curves")
    st.caption(plain_markdown("Strong line: mean over replicates; faint lines: each of them. Dotted: controls; dashed: transformed rationales."))


def _table(store: Store, study: Study, summaries: list[results.ConditionSummary], baseline: str) -> None:
    compared = {row.condition: row for row in results.comparison(store, study.id, baseline).rows}
    frame.section("The numbers")
    shown = []
    for s in sorted(summaries, key=lambda s: -(s.mean if s.mean is not None else -1)):
        row = compared.get(s.condition)
        shown.append(
            {
                "condition": s.label,
                "accuracy": percent(s.mean) + (", at chance" if s.at_chance else ""),
                "95 % interval": between(s.low, s.high),
                f"against {parse(baseline).label}": points(row.difference) if row else "–",
                "interval of it": between_points(row.low, row.high) if row else "–",
                "p": p_value(row.p) if row else "–",
                "verdict": row.word if row else "–",
                "runs": f"{s.finished} of {s.planned}",
                "tokens": count(s.tokens),
                "written as": s.condition,
            }
        )
    st.dataframe(pd.DataFrame(shown), hide_index=True, height="content")
    runs = results.runs(store, study.id)
    with st.container(horizontal=True):
        table = report.csv_text(list(shown[0]), [list(row.values()) for row in shown])
        st.download_button("This table as CSV", table, f"{study.name}.csv", "text/csv", icon=":material/download:")
        every = report.csv_text(list(runs.columns), runs.itertuples(index=False))
        st.download_button("Every run as CSV", every, f"{study.name}-runs.csv", "text/csv", icon=":material/download:")
    with st.expander("What this study set, where it is not the default"):
        st.json(changed(spec_from_mapping(study.spec), StudySpec()))
    frame.terminal(
        command("compare", study.name, "--baseline", baseline),
        command("study", "show", study.name),
        command("runs", "list", "--study", study.name, "--json"),
    )

"""Compare: accuracies, differences to the pinned baseline with their verdicts, and the numbers as a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import pandas as pd
import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.rationales.conditions import parse
from cotdistill.report import captions, markup
from cotdistill.report.figures import base
from cotdistill.results import results
from cotdistill.results.replicates import DifferenceRow
from cotdistill.statistics.methods import every_interval
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.studies.spec import spec_from_mapping
from cotdistill.text import between, between_points, count, p_value, percent, plain_markdown, plural, points


def draw(store: Store, study: Study, summaries: Sequence[results.ConditionSummary], baseline: str) -> None:
    accuracy(store, study, summaries)
    _inside(study, summaries, baseline)
    compared = results.comparison(store, study.id, baseline)
    _differences(store, study, compared)
    _table(store, study, summaries, compared)


def accuracy(store: Store, study: Study, summaries: Sequence[results.ConditionSummary]) -> None:
    """The accuracy figure with its caption; Home shows it too."""
    rows = captions.accuracy_rows(summaries)
    if not rows:
        st.caption("The first accuracy appears with the first finished run.")
        return
    chance = results.chance_of(summaries)
    first = next(s for s in summaries if s.finished)
    line = " Dotted line: chance." if chance is not None else ""
    each = " of each world" if (spec_from_mapping(study.spec).worlds or 1) > 1 else ""
    frame.chart(
        base.accuracy(rows, chance, captions.accuracy_title(rows, chance)),
        "accuracy",
        f"{first.items:,} test questions in {plural(first.clusters, 'cluster')}{each}."
        f" {captions.rows_told(store, study)} Small ticks: each replicate ({max(s.finished for s in summaries)}). Large"
        f" mark: their mean. Bar: 95 % interval; {first.speaks_of}. Hollow marks are controls.{line}"
        f" {captions.missing_told(summaries)}",
    )
    if written := captions.written_told(summaries):
        st.caption(plain_markdown(written))
    if warnings := [f"{s.label}: {warning}." for s in summaries for warning in s.warnings]:
        st.warning(plain_markdown(" ".join(warnings)), icon=":material/warning:")


def _inside(study: Study, summaries: Sequence[results.ConditionSummary], baseline: str) -> None:
    """Links to page Saliency: the baseline beside any other condition."""
    finished = [s for s in summaries if s.finished]
    with st.popover(
        "Look inside", icon=":material/ink_highlighter:", help="What each token counts for an answer, on page Saliency"
    ):
        for s in finished:
            pair = (
                [s.condition]
                if s.condition == baseline or not any(o.condition == baseline for o in finished)
                else [s.condition, baseline]
            )
            label = s.label if len(pair) == 1 else f"{s.label} beside {parse(baseline).label}"
            query = [*frame.carry(study=study.name).items(), *(("student", condition) for condition in pair)]
            st.page_link("pages/4_Saliency.py", label=plain_markdown(label), query_params=query)


def _differences(store: Store, study: Study, compared: results.Comparison) -> None:
    rows = captions.difference_rows(compared)
    name = parse(compared.baseline).label
    if not rows:
        st.info(
            plain_markdown(
                f"No condition can be compared with {name} yet: both need a finished run of the same replicate."
            )
        )
        return
    kinds = list(dict.fromkeys(row.kind for row in compared.rows))
    first = compared.rows[0]
    size = (
        f"{first.items:,} questions in {plural(first.clusters, 'cluster')},"
        f" {plural(max(r.replicates for r in compared.rows), 'replicate')}"
    )
    frame.chart(
        base.forest(rows, name, captions.difference_title(rows, name)),
        "forest",
        f"Paired on questions and replicates, to {name}; {size}. Bar: 95 % interval; {'; '.join(kinds)}."
        f"{' Provisional.' if compared.provisional else ''}",
    )
    _every_interval(store, study, compared)


def _every_interval(store: Store, study: Study, compared: results.Comparison) -> None:
    """The other ways to judge the same difference, each with the population it speaks of."""
    with st.expander("The same differences under other methods", type="compact"):
        labels = {row.condition: row.label for row in compared.rows}
        start = "post_cot" if "post_cot" in labels else None
        chosen = frame.choose(
            "Condition", list(labels), key="judged", start=start, label_of=lambda c: labels[c], width=420
        )
        pair = results.paired(store, study.id, chosen, compared.baseline)
        if pair is None:
            return
        row = next(r for r in compared.rows if r.condition == chosen)
        cells = [
            [
                markup.TableCell(one.method),
                markup.TableCell(points(one.mean)),
                markup.TableCell(between_points(one.low, one.high)),
                markup.TableCell(p_value(one.p)),
                markup.TableCell(one.speaks_of, quiet=True),
            ]
            for one in every_interval(pair.values, pair.clusters, pair.nested)
        ]
        st.html(
            markup.table(
                ("Method", "Points", "95 % interval", "p", "What it speaks of"), cells, "intervals of one difference"
            )
        )
        scaled = (
            ""
            if row.standardised is None
            else f"; {row.standardised:+.1f} standard deviations of the replicates' differences"
        )
        st.caption(
            plain_markdown(
                f"Verdicts rest on the first. Effect size: Cohen's h {row.cohens_h:+.2f}{scaled}. The two-level"
                " bootstrap raises too many false alarms at three replicates, so it is shown and never judged."
            )
        )


def _table(
    store: Store, study: Study, summaries: Sequence[results.ConditionSummary], compared: results.Comparison
) -> None:
    by_condition = {row.condition: row for row in compared.rows}
    frame.section("The numbers")
    shown = []
    for s in sorted(summaries, key=lambda s: -(s.mean if s.mean is not None else -1)):
        row = by_condition.get(s.condition)
        shown.append(
            {
                "condition": s.label,
                "accuracy": percent(s.mean) + (", at chance" if s.at_chance else ""),
                "95 % interval": between(s.low, s.high),
                f"against {parse(compared.baseline).label}": points(row.difference) if row else "–",
                "interval of it": between_points(row.low, row.high) if row else "–",
                "p": p_value(row.p) if row else "–",
                "verdict": row.word if row else "–",
                "runs": f"{s.finished} of {s.planned}",
                "tokens": count(s.tokens),
                "written as": s.condition,
            }
        )
    st.dataframe(pd.DataFrame(shown), hide_index=True, height="content")
    with st.container(horizontal=True):
        table = captions.csv_text(list(shown[0]), [list(row.values()) for row in shown])
        st.download_button("This table as CSV", table, f"{study.name}.csv", "text/csv", icon=":material/download:")
        # Made when it is asked for: it reads every run again.
        st.download_button(
            "Every run as CSV",
            partial(_runs_csv, store, study.id),
            f"{study.name}-runs.csv",
            "text/csv",
            icon=":material/download:",
        )
        exact = captions.csv_text(
            [f.name for f in dataclasses.fields(DifferenceRow)], [dataclasses.astuple(r) for r in compared.rows]
        )
        st.download_button(
            "Every difference as CSV", exact, f"{study.name}-differences.csv", "text/csv", icon=":material/download:"
        )


def _runs_csv(store: Store, study: int) -> str:
    runs = results.runs(store, study)
    return captions.csv_text(list(runs.columns), runs.itertuples(index=False))

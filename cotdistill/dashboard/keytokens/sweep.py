"""Accuracy against the number of key words, one curve a selector, between the whole rationale and the label alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.keytokens import selections
from cotdistill.dashboard.keytokens.selections import FinishedSelection, TrainingRationales
from cotdistill.dashboard.widgets import queue
from cotdistill.rationales.conditions import parse
from cotdistill.rationales.keyed import number
from cotdistill.rationales.passage import units
from cotdistill.report import captions, markup
from cotdistill.report.figures import sweep
from cotdistill.report.figures.sweep import Level, Line, SweepPoint
from cotdistill.results import results
from cotdistill.results.results import ConditionSummary
from cotdistill.text import between, count, percent, plain_markdown, plural

# Rationales on which the share of kept tokens is counted.
COUNTED = 300


@dataclass(frozen=True)
class Swept:
    """One condition of a sweep: whose key words, how many, how much of it is done."""

    selector: str
    k: float
    summary: ConditionSummary


def swept(
    summaries: Sequence[ConditionSummary], transform: str = "key_tokens", placement: str = "post_cot"
) -> list[Swept]:
    """The conditions that differ in selector and k alone, by selector in the order planned and rising k: one step on
    the intact rationale, words in the order of the text, the rest dropped, at the steps of the study."""
    points = []
    for summary in summaries:
        condition = parse(summary.condition)
        if condition.placement != placement or [s.name for s in condition.steps] != [transform]:
            continue
        if condition.source or condition.tokens or condition.fraction != 1 or condition.objectives:
            continue
        values = dict(condition.steps[0].parameters)
        if values["unit"] == "word" and values["rest"] == "drop" and values.get("order", "text") == "text":
            points.append(Swept(str(values["selector"]), float(values["k"]), summary))
    order = list(dict.fromkeys(point.selector for point in points))
    return sorted(points, key=lambda point: (order.index(point.selector), point.k))


def draw(ground: TrainingRationales, known: Sequence[FinishedSelection]) -> None:
    if ground.study is None:
        st.info("A sweep belongs to a study: choose one above, or compose one below.", icon=":material/info:")
        return
    summaries = results.summary(ground.store, ground.study.id)
    points = swept(summaries)
    if not points:
        st.info(
            plain_markdown(
                f"The study {ground.study.name} has no sweep: none of its conditions keeps a number of key words."
                " Compose one below."
            ),
            icon=":material/info:",
        )
        return
    done = [one for one in points if one.summary.mean is not None]
    planned, finished = sum(one.summary.planned for one in points), sum(one.summary.finished for one in points)
    provisional = any(s.finished < s.planned for s in summaries)
    if provisional:
        st.info(
            plain_markdown(
                f"{finished} of {planned} runs of the sweep have finished. {captions.missing_told(summaries)}"
            ),
            icon=":material/hourglass_top:",
        )
        queue.live(ground.store, short=True)
    if not done:
        st.caption("The first point appears with the first finished run of the sweep.")
        return
    levels = _levels(summaries)
    frame.chart(sweep.draw(lines(done), levels, _kept(ground, known, done), title(done, levels)), "sweep")
    _caption(ground, done, levels, provisional=provisional)
    _numbers(done)


def lines(done: Sequence[Swept]) -> list[Line]:
    """One a selector; every point with its interval and the replicates behind it."""
    curves = []
    for selector in dict.fromkeys(one.selector for one in done):
        points = [
            SweepPoint(
                one.k, one.summary.mean, one.summary.low, one.summary.high, one.summary.points, one.summary.planned
            )
            for one in done
            if one.selector == selector and one.summary.mean is not None
        ]
        curves.append(
            Line(
                selections.selector_name(selector),
                selections.selector_hue(selector),
                tuple(points),
                control=selector == "random",
            )
        )
    return curves


def _levels(summaries: Sequence[ConditionSummary]) -> list[Level]:
    """What the curves lie between."""
    named = {"post_cot": "whole rationale", "label_only": "label only"}
    by_condition = {s.condition: s for s in summaries}
    levels = [(c, by_condition[c]) for c in named if c in by_condition]
    return [Level(c, named[c], s.mean, s.low, s.high) for c, s in levels if s.mean is not None]


def title(done: Sequence[Swept], levels: Sequence[Level]) -> str:
    """Every curve at the number nearest to five, best first, and the two lines."""
    five = min({point.k for point in done}, key=lambda k: (abs(k - 5), k))
    there = sorted((point for point in done if point.k == five), key=lambda point: -(point.summary.mean or 0.0))
    words = f"{five:.0%} of the words" if five < 1 else plural(round(five), "word")
    parts = [f"{selections.selector_name(point.selector)} {100 * (point.summary.mean or 0):.1f}" for point in there[:4]]
    rest = [f"{level.name} {100 * level.mean:.1f}" for level in levels]
    return f"With {words}: {', '.join(parts)}{'; ' if rest else ''}{', '.join(rest)} percent"


@st.cache_data(max_entries=64, show_spinner=False)
def _share(digest: str, source: str, k: float, _ground: TrainingRationales, _one: FinishedSelection) -> float | None:
    """The share of rationale tokens that the k highest words hold, over some examples."""
    examples = _ground.examples[:: max(1, len(_ground.examples) // COUNTED)]
    scores = selections.selection_of(_ground, _one).scores or {}
    kept = every = 0
    for example, passage in zip(examples, selections.passages(_ground, _one, examples), strict=True):
        token_scores = scores.get(example.id)
        if token_scores is None or len(token_scores) != len(passage):
            continue
        words = sorted(units(passage, "word"), key=lambda word: -sum(token_scores[t.origin] for t in word))
        kept += sum(len(word) for word in words[: number(k, len(words))])
        every += len(passage)
    return kept / every if every else None


def _kept(ground: TrainingRationales, known: Sequence[FinishedSelection], done: Sequence[Swept]) -> dict[float, float]:
    """By k, the share of tokens kept, in the mean of the selectors."""
    first = {one.selector: one for one in reversed(known)}
    kept: dict[float, float] = {}
    for k in sorted({one.k for one in done}):
        shares = [
            _share(first[s].digest, ground.source, k, ground, first[s])
            for s in {one.selector for one in done if one.k == k}
            if s in first
        ]
        if known_shares := [share for share in shares if share is not None]:
            kept[k] = fmean(known_shares)
    return kept


def _caption(ground: TrainingRationales, done: Sequence[Swept], levels: Sequence[Level], *, provisional: bool) -> None:
    first = done[0].summary
    most = max(one.summary.finished for one in done)
    parts = [
        (
            f"{first.items:,} test questions in {plural(first.clusters, 'cluster')}, up to {plural(most, 'replicate')}"
            " a point."
        ),
        (
            "Band: 95 % interval of each accuracy; "
            + f"{first.speaks_of}. Intervals of two curves may overlap where their paired difference does not: see"
            " Compare."
            if first.speaks_of
            else ""
        ),
        "Equal steps: shorter texts are seen in fewer tokens.",
        "Top: share of rationale tokens kept." if levels else "",
        "The sweep is exploratory: no verdict rests on it." + (" Provisional." if provisional else ""),
    ]
    st.caption(plain_markdown(" ".join(part for part in parts if part)))
    st.page_link(
        "pages/3_Compare.py", label="Differences and verdicts of this study", icon=":material/leaderboard:",
        query_params=frame.carry(study=ground.study.name if ground.study else ""),
    )  # fmt: skip


def _numbers(done: Sequence[Swept]) -> None:
    with st.expander("The numbers", type="compact"):
        rows: list[list[Any]] = [
            [
                markup.TableCell(selections.selector_name(one.selector)),
                markup.TableCell(f"{one.k:g}"),
                markup.TableCell(percent(one.summary.mean)),
                markup.TableCell(between(one.summary.low, one.summary.high), quiet=True),
                markup.TableCell(f"{one.summary.finished} of {one.summary.planned}", quiet=True),
                markup.TableCell(count(one.summary.tokens), quiet=True),
            ]
            for one in done
        ]
        st.html(
            markup.table(
                ("Selector", "k", "Accuracy", "95 % interval", "Replicates", "Training tokens"),
                rows,
                "numbers of the sweep",
            )
        )

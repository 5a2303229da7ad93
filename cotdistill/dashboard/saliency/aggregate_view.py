"""Over many examples: where the mass lies by span, place, word class and word, and how far students and methods agree.
From finished jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.saliency import attention, attribution_cards, faithfulness, paraphrases, probe, registered
from cotdistill.dashboard.widgets import job_requests, pickers
from cotdistill.dashboard.widgets.job_requests import RequestedJob
from cotdistill.dashboard.widgets.pickers import method_name
from cotdistill.dashboard.widgets.view_state import Scene
from cotdistill.rationales.conditions import parse
from cotdistill.report import markup
from cotdistill.report.figures import saliency
from cotdistill.report.figures.saliency import Dot
from cotdistill.saliency import aggregates, stability
from cotdistill.saliency.aggregates import Mean
from cotdistill.store.store import Store
from cotdistill.studies.analyses import ANALYSES
from cotdistill.text import capital, listed, plain_markdown

PARTS = {
    "span": "by span",
    "rationale": "question against rationale",
    "place": "by place in the rationale",
    "class": "by word class",
    "words": "top words",
    "faithfulness": "faithfulness",
    "stability": "agreement",
    "probe": "probe of the states",
    "attention": "attention",
}
# Analyses that are drawn elsewhere: above, within another part, or on page Compare.
DRAWN_ELSEWHERE = ("attribute", "influence", "paraphrases", "modes", "scorers")
# Analyses whose part is drawn by a file of their own; any other registered one is drawn as a table.
OWN_VIEWS = {"faithfulness": faithfulness.draw, "probe": probe.draw, "attention": attention.draw}
WILL = (
    "Here will stand what these students rest on over many examples, each mean with its n and interval: by span, by"
    " place in the rationale, by word class and word; question against rationale by condition; and how far students and"
    " methods agree."
)
SPAN_NAMES = {"content": "content words", "function": "function words"}


def draw(scene: Scene) -> None:
    """The section below the single example."""
    frame.section("Over many examples")
    more = [name for name in ANALYSES.names() if name not in (*PARTS, *DRAWN_ELSEWHERE)]
    part = pickers.switch(
        "What",
        [*PARTS, *more],
        key="part",
        start="span",
        label_of=lambda p: PARTS.get(p, p.replace("_", " ")),
        label_visibility="collapsed",
    )
    if part in OWN_VIEWS:
        OWN_VIEWS[part](scene)
        return
    if part in more:
        registered.draw(scene, ANALYSES.get(part))
        return
    requests = job_requests.attributions(scene)
    done = [one for one in requests if one.finished]
    job_requests.offer(scene, requests, WILL, "attribute", scene.split)
    if part == "stability":
        if done:
            _stability(scene, done)
        paraphrases.draw(scene)
        return
    if not done:
        return
    method = next((m for m in scene.methods if any(one.method == m for one in done)), scene.methods[0])
    finished = [one for one in done if one.method == method]
    {"span": _span, "rationale": _rationale, "place": _place, "class": _class, "words": _words}[part](scene, finished)


@st.cache_data(max_entries=32, show_spinner="Reading the attributions…")
def _tokens(_store: Store, digest: str) -> pd.DataFrame:
    return _store.artifacts.table(digest)


def tokens_of(scene: Scene, request: RequestedJob) -> pd.DataFrame:
    """The token table of a finished job."""
    assert request.job is not None
    return _tokens(scene.store, request.job.produced["tokens"])


def _dots(
    scene: Scene, finished: Sequence[RequestedJob], means: Callable[[pd.DataFrame], Sequence[Mean]]
) -> dict[str, list[Dot]]:
    """By name of the mean, one dot a student, in the order of the students."""
    rows: dict[str, list[Dot]] = {}
    for one in finished:
        for mean in means(tokens_of(scene, one)):
            rows.setdefault(mean.name, []).append(
                Dot(str(one.student.condition), one.student.label, mean.mean, mean.low, mean.high)
            )
    return rows


def _caption(scene: Scene, finished: Sequence[RequestedJob], more: str) -> None:
    """What every figure here rests on: method, target, n, clusters, interval."""
    counted = {(int(one.result["examples"]), int(one.result["clusters"])) for one in finished}
    n = " and ".join(
        f"{examples:,} {scene.split} examples in {clusters:,} clusters" for examples, clusters in sorted(counted)
    )
    left = sum(int(one.result.get("not_converged") or 0) for one in finished)
    missed = f" {left} explanations did not converge." if left else ""
    st.caption(
        plain_markdown(
            f"{n}. {capital(method_name(finished[0].method))} of the target {job_requests.target_of(scene)}. {more} "
            f"Intervals: 95 %, over clusters of questions, for this one student each.{missed}"
        )
    )


def _span(scene: Scene, finished: Sequence[RequestedJob]) -> None:
    rows = _dots(scene, finished, aggregates.by_span)
    frame.chart(
        saliency.dots(rows, _span_title(rows), "share of the absolute scores, percent", share=True), "many.span"
    )
    each = _dots(scene, finished, aggregates.per_token)
    with st.expander("Per token: spans differ in length", type="compact"):
        title = "What one token of each span bears, against the example's mean token"
        frame.chart(saliency.dots(each, title, "times the mean token of the example", base=1.0), "many.token")
    _caption(
        scene, finished, "The shares of an example add up to 100 %. A span that a student cannot read has no mark."
    )


def _span_title(rows: Mapping[str, Sequence[Dot]]) -> str:
    by_student: dict[str, dict[str, Dot]] = {}
    for span, found in rows.items():
        for dot in found:
            by_student.setdefault(dot.label, {})[span] = dot
    parts: list[str] = []
    for spans in by_student.values():
        top = "rationale" if "rationale" in spans else max(spans, key=lambda s: spans[s].mean)
        rests = "" if parts else "rests "
        parts.append(f"{parse(spans[top].condition).label} {rests}{100 * spans[top].mean:.0f} % on the {top}")
    return capital(listed(dict.fromkeys(parts)))


def _rationale(scene: Scene, finished: Sequence[RequestedJob]) -> None:
    def means(tokens: pd.DataFrame) -> list[Mean]:
        mean = aggregates.question_against_rationale(tokens)
        return [] if mean is None else [mean]

    rows = _dots(scene, finished, means)
    by_student = {dot.label: [dot] for found in rows.values() for dot in found}
    blind = [g.student.label for g in finished if g.student.label not in by_student]
    if by_student:
        top = max((d for found in by_student.values() for d in found), key=lambda d: d.mean)
        title = (
            f"{capital(top.label)}: {100 * top.mean:.0f} % of the mass lies on the rationale, the rest on the question"
            " and its choices"
        )
        frame.chart(
            saliency.dots(
                by_student, title, "rationale's share of question, choices and rationale, percent", share=True
            ),
            "many.rationale",
        )
    if blind:
        st.info(
            plain_markdown(
                f"Not readable, so no mark and not 0: {listed(blind)}. Their label stands before the rationale, or they"
                " read none; what their rationales do is seen in training, below."
            ),
            icon=":material/block:",
        )
    if by_student:
        _caption(
            scene, finished, "Question, choices and rationale are all compared with the baseline; absolute scores."
        )


def _place(scene: Scene, finished: Sequence[RequestedJob]) -> None:
    rows = _dots(scene, finished, aggregates.by_place)
    segment = "rationale"
    if not rows:
        segment = "question"
        rows = _dots(scene, finished, lambda tokens: aggregates.by_place(tokens, "question"))
    title = f"Where in the {segment} the mass lies"
    frame.chart(saliency.places(rows, title, segment), "many.place")
    _caption(scene, finished, f"By tenth of the {segment}, in units of the example's mean token there: 1 is even.")


def _class(scene: Scene, finished: Sequence[RequestedJob]) -> None:
    rows = {SPAN_NAMES.get(name, name): found for name, found in _dots(scene, finished, aggregates.by_class).items()}
    title = "What a content word's token bears, and a function word's"
    frame.chart(saliency.dots(rows, title, "times the mean token of the example", base=1.0), "many.class")
    _caption(
        scene, finished, "Function words: articles, pronouns, prepositions, conjunctions, auxiliaries and punctuation."
    )


def _words(scene: Scene, finished: Sequence[RequestedJob]) -> None:
    absolute = not attribution_cards.is_signed(scene, finished[0].method)
    for place, one in zip(st.columns(len(finished)), finished, strict=True):
        tokens = tokens_of(scene, one)
        segment = "rationale" if ((tokens["segment"] == "rationale") & tokens["score"].notna()).any() else "question"
        best = aggregates.top_words(tokens, segment, 10, absolute=absolute)
        rows = [
            [
                markup.TableCell(w.name),
                markup.TableCell(_signed(w.mean)),
                markup.TableCell(_range(w.low, w.high), quiet=True),
                markup.TableCell(f"{w.tokens}", quiet=True),
            ]
            for w in best
        ]
        with place:
            st.markdown(f"**{plain_markdown(capital(one.student.label))}**, {segment}")
            if rows:
                st.html(
                    markup.table(("Word", "Mean", "95 % interval", "Times"), rows, f"top words of {one.student.label}")
                )
            else:
                st.caption(f"No word of the {segment} occurs {aggregates.LEAST} times.")
    _caption(scene, finished, f"The words with the largest mean score, scored at least {aggregates.LEAST} times; nats.")


def _stability(scene: Scene, done: Sequence[RequestedJob]) -> None:
    """Every two of the attributions in view: between students (replicates, conditions) and between methods."""
    if len(done) < 2:
        st.caption("Agreement needs two: choose a second method, or another replicate of the student.")
        return
    with_methods, with_students = len({one.method for one in done}) > 1, len({one.student.key for one in done}) > 1
    scored, unsigned, clusters = {}, [], dict[str, str]()
    for one in done:
        parts = [one.student.label if with_students else "", method_name(one.method) if with_methods else ""]
        name = ", ".join(part for part in parts if part) or one.student.label
        tokens = tokens_of(scene, one)
        scored[name] = aggregates.scores_by_example(tokens)
        clusters |= dict(zip(tokens["example"].astype(str), tokens["cluster"].astype(str), strict=True))
        unsigned += [] if attribution_cards.is_signed(scene, one.method) else [name]
    agreements = sorted(stability.every_pair(scored, clusters, k=5, unsigned=unsigned), key=lambda pair: -pair.rank)
    if not agreements:
        st.caption("No example is scored by two of them on the same tokens: these students read different sequences.")
        return
    rows = [
        [
            markup.TableCell(pair.one), markup.TableCell(pair.other),
            markup.TableCell(_signed(pair.rank)), markup.TableCell(_range(pair.rank_low, pair.rank_high), quiet=True),
            markup.TableCell(f"{100 * pair.overlap:.0f} %"), markup.TableCell(f"{100 * pair.chance:.0f} %", quiet=True),
        ]
        for pair in agreements
    ]  # fmt: skip
    best = agreements[0]
    agreed = f"{capital(best.one)} and {best.other} agree most: rank correlation {_signed(best.rank)}"
    st.markdown(f"**{plain_markdown(agreed)}**")
    st.html(
        markup.table(
            ("One", "Other", "Rank correlation", "95 % interval", "Top 5 shared", "By chance"),
            rows,
            "agreement of attributions",
        )
    )
    st.caption(
        plain_markdown(
            f"{best.examples:,} {scene.split} examples in {best.clusters:,} clusters. Spearman's correlation over an"
            " example's tokens, averaged; random scores would give 0. Top 5 shared: how many of the five highest"
            " tokens both name, beside what five random tokens would share. Where one method has no sign, absolute"
            " scores are compared. Interval over clusters."
        )
    )


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _range(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{_signed(low)} to {_signed(high)}"

"""What selections are like over a task: how far they overlap, what share of their key words is content or the answer's
own text, their top words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.keytokens import selections
from cotdistill.dashboard.keytokens.selections import FinishedSelection, TrainingRationales
from cotdistill.errors import CotdistillError
from cotdistill.keytokens.summary import LEAST, TOP, described, overlap
from cotdistill.report import markup
from cotdistill.report.figures import overlap as overlap_figure
from cotdistill.text import capital, percent, plain_markdown, plural

# Rationales that an overlap is counted on, evenly over the training rows; every pair of selections takes about a tenth
# of a second.
COUNTED = 300
WORDS = 12


def draw(ground: TrainingRationales, known: Sequence[FinishedSelection]) -> None:
    chosen = selections.choose(known)
    try:
        _matrix(ground, chosen)
        _classes(ground, chosen)
        _top_words(ground, chosen)
        _replicates(ground, chosen, known)
    except CotdistillError as error:
        frame.problem(error)


@st.cache_data(max_entries=256, show_spinner="Comparing the selections…")
def _overlap(
    digests: tuple[str, str],
    source: str,
    k: int,
    number: int,
    _ground: TrainingRationales,
    _one: FinishedSelection,
    _other: FinishedSelection,
) -> dict[str, Any]:
    examples = _ground.examples[:: max(1, len(_ground.examples) // number)]
    rows = list(zip(examples, selections.passages(_ground, _one, examples), strict=True))
    first, second = (_fitting(rows, selections.selection_of(_ground, c).scores or {}) for c in (_one, _other))
    return overlap(rows, first, second, k)


def _fitting(rows: Sequence[tuple[Any, Any]], scores: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """The scores that were made on these very tokens."""
    return {e.id: scores[e.id] for e, passage in rows if e.id in scores and len(scores[e.id]) == len(passage)}


def between(ground: TrainingRationales, first: FinishedSelection, second: FinishedSelection) -> dict[str, Any]:
    """Mean Jaccard of the key words and mean rank correlation of two selections, beside chance; kept by what was
    compared.
    """
    return _overlap((first.digest, second.digest), ground.source, TOP, COUNTED, ground, first, second)


def _matrix(ground: TrainingRationales, chosen: Sequence[FinishedSelection]) -> None:
    if len(chosen) < 2:
        st.caption("Overlap needs two: choose another selection.")
        return
    overlaps = {(a.key, b.key): between(ground, a, b) for a, b in combinations(chosen, 2)}
    pair_rows = [
        (a, b, overlaps[a.key, b.key])
        for a, b in combinations(chosen, 2)
        if overlaps[a.key, b.key]["jaccard"] is not None
    ]
    if not pair_rows:
        st.info("These selections score no rationale in common on the same tokens.", icon=":material/info:")
        return
    a, b, best = max(pair_rows, key=lambda cell: cell[2]["jaccard"])
    title = (
        f"{capital(a.label)} and {b.label} overlap most: Jaccard {best['jaccard']:.2f}, by chance {best['chance']:.2f}"
    )
    frame.section(title)
    names = [cell.label for cell in chosen]
    cells: dict[str, list[list[float | None]]] = {"jaccard": [], "rank": []}
    for name in cells:
        for cell in chosen:
            cells[name].append(
                [
                    1.0 if cell is two else (overlaps.get((cell.key, two.key)) or overlaps[two.key, cell.key])[name]
                    for two in chosen
                ]
            )
    left, right = st.columns(2, gap="large")
    with left:
        frame.chart(
            overlap_figure.matrix(names, cells["jaccard"], f"Jaccard of the {TOP} key words", best["chance"]),
            "overlap.jaccard",
        )
    with right:
        frame.chart(overlap_figure.matrix(names, cells["rank"], "Rank correlation of all words", 0.0), "overlap.rank")
    st.caption(
        plain_markdown(
            f"{best['examples']:,} of {len(ground.examples):,} training rationales by {ground.source}, evenly taken."
            " Jaccard: words that both choose over words that either chooses; two choices by lot give"
            f" {best['chance']:.2f}. Rank correlation: Spearman's, by lot 0."
        )
    )


@st.cache_data(max_entries=64, show_spinner=False)
def _all_words(digest: str, source: str, _ground: TrainingRationales, _one: FinishedSelection) -> dict[str, Any]:
    """The same counts for every word of the rationales: what a choice by lot would give."""
    examples = _ground.examples[:: max(1, len(_ground.examples) // COUNTED)]
    rows = list(zip(examples, selections.passages(_ground, _one, examples), strict=True))
    return described(rows, {e.id: [0.0] * len(p) for e, p in rows}, k=10**6)


def _classes(ground: TrainingRationales, chosen: Sequence[FinishedSelection]) -> None:
    base = _all_words(ground.task.digest, ground.source, ground, chosen[0])
    results = [(one, one.job.result or {}) for one in chosen]
    leaky = max(results, key=lambda pair: pair[1].get("label_text_share") or 0.0)
    share = leaky[1].get("label_text_share")
    frame.section(f"{percent(share)} of the words that {leaky[0].label} chooses are the right answer's own text")
    rows = {
        "the right answer's own text": [
            (one.label, one.hue, result.get("label_text_share")) for one, result in results
        ],
        "content words": [(one.label, one.hue, result.get("content_share")) for one, result in results],
    }
    marks = {"the right answer's own text": base["label_text_share"], "content words": base["content_share"]}
    frame.chart(
        overlap_figure.shares(rows, marks, f"Of the {TOP} key words a rationale, the share that is"), "overlap.classes"
    )
    counted = max(int(result.get("rows") or 0) for _, result in results)
    st.caption(
        plain_markdown(
            f"{counted:,} training rationales. Dotted line: the same share among all words, what a choice by lot would"
            " give. A selection rich in the answer's text hands the student the label twice; the condition"
            " strip_labels takes it away."
        )
    )


def _top_words(ground: TrainingRationales, chosen: Sequence[FinishedSelection]) -> None:
    frame.section(
        "Words chosen most often",
        f"Of the words met at least {LEAST} times: in how many of their places each is a key word.",
    )
    for place, one in zip(st.columns(len(chosen)), chosen, strict=True):
        words = (one.job.result or {}).get("top_words") or []
        with place:
            st.markdown(f"**{plain_markdown(capital(one.label))}**")
            rows: list[list[Any]] = [
                [
                    markup.TableCell(str(w["word"])),
                    markup.TableCell(f"{100 * w['share']:.0f} %"),
                    markup.TableCell(f"{w['met']:,}", quiet=True),
                ]
                for w in words[:WORDS]
            ]
            if rows:
                st.html(markup.table(("Word", "Chosen", "Met"), rows, f"top words of {one.label}"))
            else:
                st.caption(f"No word is met {LEAST} times.")


def _replicates(
    ground: TrainingRationales, chosen: Sequence[FinishedSelection], known: Sequence[FinishedSelection]
) -> None:
    """Whether a selection made anew chooses the same words."""
    rows: list[list[Any]] = []
    for selector in dict.fromkeys(one.selector for one in chosen):
        selections_shown = [one for one in known if one.selector == selector and one.ours]
        if len(selections_shown) < 2:
            continue
        overlaps = [between(ground, a, b) for a, b in combinations(selections_shown, 2)]
        fitting = [f for f in overlaps if f["jaccard"] is not None]
        if not fitting:
            continue
        mean, rank = (
            sum(f["jaccard"] for f in fitting) / len(fitting),
            [f["rank"] for f in fitting if f["rank"] is not None],
        )
        rows.append(
            [
                markup.TableCell(selections.selector_name(selector)),
                markup.TableCell(f"{mean:.2f}"),
                markup.TableCell(f"{fitting[0]['chance']:.2f}", quiet=True),
                markup.TableCell(f"{sum(rank) / len(rank):+.2f}".replace("-", "−") if rank else "–"),
                markup.TableCell(plural(len(selections_shown), "replicate"), quiet=True),
            ]
        )
    if not rows:
        return
    frame.section("Made anew for each replicate, how far a selection stays the same")
    st.html(
        markup.table(("Selector", "Jaccard", "By chance", "Rank correlation", "Of"), rows, "stability over replicates")
    )
    st.caption(
        "Every two replicates, averaged; each reads a student of its own, or draws anew. What is not listed is the same"
        " in all of them."
    )

"""What the marks of a set say: how plausible each selection is to people, how far people agree, and marks in and out as
files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import numpy as np
import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.keytokens import selections
from cotdistill.dashboard.keytokens.selections import FinishedSelection, TrainingRationales
from cotdistill.errors import CotdistillError, DataError
from cotdistill.keytokens.agreement import average_precision, cohen_kappa, jaccard, krippendorff_alpha, token_f1
from cotdistill.keytokens.annotations import (
    AnnotationSet,
    Mark,
    checked_name,
    export_jsonl,
    export_label_studio,
    read_marks,
    text_hash,
)
from cotdistill.keytokens.spans import touched, word_spans
from cotdistill.keytokens.summary import top_places
from cotdistill.report import markup, wordmap
from cotdistill.statistics.intervals import numbered, one_replicate
from cotdistill.tasks.example import Example
from cotdistill.text import capital, listed, plain_markdown, plural

# By annotator and example: the numbers of the marked words.
Judged = Mapping[str, Mapping[str, set[int]]]


@dataclass(frozen=True)
class Plausible:
    """A selection against marks: means over marked rationales. precision: AUPRC; chance: the share of words that is
    marked; low, high: 95 % interval of F1 over clusters of questions, None below two."""

    marks: int
    f1: float
    low: float | None
    high: float | None
    iou: float
    precision: float | None
    chance: float


@dataclass(frozen=True)
class Pair:
    """Two annotators on the rationales that both have marked."""

    first: str
    second: str
    examples: int
    kappa: float | None
    f1: float


def top(row: Sequence[float], k: int) -> set[int]:
    """The places of the k highest scores, ties to the earlier."""
    return top_places([("", score) for score in row], k)


def card(
    ground: TrainingRationales, selection: FinishedSelection, example: Example, marked_words: set[int]
) -> wordmap.WordRanking | None:
    """A selection beside the marks, with as many key words as were marked; None where it did not score this
    rationale.
    """
    try:
        row = selections.row(ground, selection, example)
    except CotdistillError:
        row = None
    if row is None:
        return None
    chosen = top(row, len(marked_words))
    text = (
        f"token F1 {token_f1(marked_words, chosen):.2f} · IoU {jaccard(marked_words, chosen):.2f} · AUPRC"
        f" {two(average_precision(marked_words, np.array(row)))}"
    )
    return wordmap.WordRanking(capital(selection.label), selection.hue, row, chosen, marked_words, text)


def draw(ground: TrainingRationales, annotations: AnnotationSet, known: Sequence[FinishedSelection]) -> None:
    """Below the words: judged, agreed, and in and out."""
    examples = ground.by_id
    hashes = {id: text_hash(e.rationale or "") for id, e in examples.items()}
    every = annotations.marks()
    fitting = [m for m in every if hashes.get(m.example) == m.text]
    marks = [m for m in fitting if not m.skipped]
    if len(fitting) < len(every):
        other = len(every) - len(fitting)
        st.caption(plain_markdown(f"{plural(other, 'mark')} of this set made on other rationales left out here."))
    if marks:
        _plausible(ground, annotations, marks, known)
        _agreement(ground, marks)
    _files(ground, annotations, fitting)


def _plausible(
    ground: TrainingRationales, annotations: AnnotationSet, marks: Sequence[Mark], known: Sequence[FinishedSelection]
) -> None:
    if not known:
        return
    people = listed(sorted({m.annotator for m in marks}))
    plausibility: list[tuple[FinishedSelection, Plausible]] = []
    # A selection made from marks would be held against itself.
    for one in (c for c in known if not c.selector.startswith("human:")):
        try:
            judged = _judged(
                ground.store.home.as_posix(), annotations.digest(), one.digest, ground.source, ground, tuple(marks), one
            )
        except CotdistillError as error:
            st.warning(plain_markdown(f"{capital(one.label)}: {error.message}"), icon=":material/rule:")
            continue
        if judged is not None:
            plausibility.append((one, judged))
    if not plausibility:
        return
    plausibility.sort(key=lambda pair: -pair[1].f1)
    best = plausibility[0]
    frame.section(f"{capital(best[0].label)} comes closest to what people mark: token F1 {best[1].f1:.2f}")
    rows: list[list[markup.TableCell | markup.Marks | markup.Shares]] = [
        [
            markup.TableCell(one.label),
            markup.TableCell(f"{p.f1:.2f}"),
            markup.TableCell("–" if p.low is None else f"{p.low:.2f} to {p.high:.2f}", quiet=True),
            markup.TableCell(f"{p.iou:.2f}"),
            markup.TableCell(two(p.precision)),
            markup.TableCell(f"{p.chance:.2f}", quiet=True),
            markup.TableCell(f"{p.marks}", quiet=True),
        ]
        for one, p in plausibility
    ]
    st.html(
        markup.table(
            ("Selection", "Token F1", "95 % interval", "IoU", "AUPRC", "By chance", "Marked rationales"),
            rows,
            "plausibility",
        )
    )
    st.caption(
        plain_markdown(
            f"Against the marks of {people} in the set {annotations.name}; each selection with as many key words as"
            " were marked. AUPRC needs no number of words; random scores would give the share of words that is marked."
            " Interval over clusters of questions. Plausible is what people would choose; it is not yet what teaches a"
            " student."
        )
    )


@st.cache_data(max_entries=64, show_spinner=False)
def _judged(
    home: str,
    marks: str,
    digest: str,
    source: str,
    _ground: TrainingRationales,
    _made: tuple[Mark, ...],
    _one: FinishedSelection,
) -> Plausible | None:
    return plausible(_ground, _made, _one)


def plausible(ground: TrainingRationales, marks: Sequence[Mark], selection: FinishedSelection) -> Plausible | None:
    """A selection against marks; None where it scored none of these rationales."""
    encoder, examples = selections.encoder_of(ground, selection), ground.by_id
    f1, iou, precision, chance, clusters = [], [], [], [], []
    for mark in marks:
        example = examples[mark.example]
        row = selections.row(ground, selection, example, encoder)
        if row is None:
            continue
        marked_words = touched(word_spans(example.rationale or ""), mark.spans)
        chosen = top(row, len(marked_words))
        f1.append(token_f1(marked_words, chosen))
        iou.append(jaccard(marked_words, chosen))
        chance.append(len(marked_words) / len(row) if row else 0.0)
        clusters.append(example.cluster or example.id)
        if (area := average_precision(marked_words, np.array(row))) is not None:
            precision.append(area)
    if not f1:
        return None
    interval = one_replicate(np.array(f1), numbered(clusters)) if len(set(clusters)) > 1 else None
    low, high = (interval.low, interval.high) if interval else (None, None)
    return Plausible(
        len(f1),
        fmean(f1),
        None if low is None else max(0.0, low),
        None if high is None else min(1.0, high),
        fmean(iou),
        fmean(precision) if precision else None,
        fmean(chance),
    )


def judged_words(marks: Sequence[Mark], examples: Mapping[str, Example]) -> dict[str, dict[str, set[int]]]:
    """By annotator and example, the numbers of the marked words."""
    judged: dict[str, dict[str, set[int]]] = {}
    for mark in marks:
        judged.setdefault(mark.annotator, {})[mark.example] = touched(
            word_spans(examples[mark.example].rationale or ""), mark.spans
        )
    return judged


def pairs(judged: Judged, sizes: Mapping[str, int]) -> list[Pair]:
    """Every two annotators that have marked a rationale in common. sizes: words of each example."""
    pair_list = []
    for one, other in combinations(sorted(judged), 2):
        shared = sorted(set(judged[one]) & set(judged[other]))
        if not shared:
            continue
        said = [[i in judged[who][id] for id in shared for i in range(sizes[id])] for who in (one, other)]
        f1 = fmean(token_f1(judged[one][id], judged[other][id]) for id in shared)
        pair_list.append(Pair(one, other, len(shared), cohen_kappa(*said), f1))
    return pair_list


def alpha(judged: Judged, sizes: Mapping[str, int]) -> float | None:
    """Krippendorff's alpha over the words of all rationales that somebody has marked."""
    ids = sorted({id for by_example in judged.values() for id in by_example})
    return krippendorff_alpha(
        [{who: i in judged[who][id] for who in judged if id in judged[who]} for id in ids for i in range(sizes[id])]
    )


def _agreement(ground: TrainingRationales, marks: Sequence[Mark]) -> None:
    judged = judged_words(marks, ground.by_id)
    sizes = {
        id: len(word_spans(e.rationale or ""))
        for id, e in ground.by_id.items()
        if any(id in ids for ids in judged.values())
    }
    agreements = pairs(judged, sizes)
    if not agreements:
        if len(judged) > 1:
            st.caption("No two annotators have marked the same rationale yet, so there is no agreement to tell.")
        return
    over = alpha(judged, sizes)
    frame.section(f"Krippendorff's alpha of {plural(len(judged), 'annotator')}: {two(over)}")
    rows: list[list[markup.TableCell | markup.Marks | markup.Shares]] = [
        [
            markup.TableCell(p.first),
            markup.TableCell(p.second),
            markup.TableCell(two(p.kappa)),
            markup.TableCell(f"{p.f1:.2f}"),
            markup.TableCell(f"{p.examples}", quiet=True),
        ]
        for p in agreements
    ]
    st.html(
        markup.table(
            ("One", "Other", "Cohen's kappa", "Token F1", "Rationales in common"), rows, "agreement of annotators"
        )
    )
    st.caption(
        "Each word is a unit: marked or not. Kappa and alpha are 0 by chance and 1 in full agreement; a dash where"
        " nothing varies."
    )


def _files(ground: TrainingRationales, annotations: AnnotationSet, fitting: Sequence[Mark]) -> None:
    """In and out; the forms are told apart by themselves, and nothing is half-imported."""
    with st.expander("Import and export", icon=":material/swap_vert:", type="compact"):
        if fitting:
            with st.container(horizontal=True):
                stem = f"{ground.name}-{annotations.name}"
                st.download_button(
                    "Marks as JSONL",
                    export_jsonl(fitting, ground.by_id),
                    f"{stem}.jsonl",
                    key="mark.jsonl",
                    icon=":material/download:",
                )
                st.download_button(
                    "For Label Studio",
                    export_label_studio(fitting, ground.by_id),
                    f"{stem}.json",
                    key="mark.studio",
                    icon=":material/download:",
                )
        upload = st.file_uploader("Marks as JSONL, or a Label Studio export", type=["jsonl", "json"], key="mark.file")
        if upload is None:
            return
        try:
            marks = imported(upload.getvalue(), ground.by_id, upload.name)
        except CotdistillError as error:
            frame.problem(error)
            return
        who = listed(sorted({m.annotator for m in marks}))
        label = f"Import {plural(len(marks), 'mark')} into {annotations.name}"
        st.button(
            plain_markdown(label),
            key="mark.import",
            type="primary",
            icon=":material/upload:",
            on_click=_import,
            args=(annotations, marks),
        )
        st.caption(
            plain_markdown(
                f"By {who}. Where an annotator has marked an example already, the imported mark counts from then on."
            )
        )


def imported(data: bytes, examples: Mapping[str, Example], file: str) -> list[Mark]:
    """The marks in a file, under names that can be kept (an address's @ becomes a dot); BadRows, DataError,
    UsageError.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is no text in UTF-8: {error.reason}.", "Export as JSON or JSONL in UTF-8.") from error
    marks = read_marks(text, examples, file)
    return [
        dataclasses.replace(m, annotator=checked_name(m.annotator.replace("@", "."), "an annotator")) for m in marks
    ]


def _import(annotations: AnnotationSet, marks: Sequence[Mark]) -> None:
    try:
        annotations.add_all(marks)
    except CotdistillError as error:
        st.toast(plain_markdown(f"{error.message} {error.hint}"), icon=":material/error:")
        return
    st.toast(f"Imported {plural(len(marks), 'mark')}.", icon=":material/check:")


def two(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")

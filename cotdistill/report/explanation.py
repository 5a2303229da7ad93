"""One explanation as the page shows it: tokens with scores, gathered into words or sentences, and what share of the
mass each span bears.

Plain data, no HTML. A score of NaN means that nothing can be read there, which is never the same as 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

UNITS = ("token", "word", "sentence")
# Spans whose words belong to the example; everything else is the template's.
OF_EXAMPLE = ("question", "choices", "rationale", "label")


@dataclass(frozen=True, slots=True)
class Explanation:
    """One explanation of one example, column by column.

    pieces: text of each token; segments: the span it stands in; words, sentences: numbers rising over the sequence;
    scores: NaN where nothing can be read. first, last: the columns of what is explained (-1: it has none).
    probabilities: over the choices. gap, steps, converged: None for methods without completeness. left_out: rationale
    tokens cut off. noted: columns that are pointed out.
    """

    pieces: Sequence[str]
    segments: Sequence[str]
    words: Sequence[int]
    sentences: Sequence[int]
    scores: Sequence[float]
    first: int
    last: int
    value: float
    probabilities: Sequence[float]
    choices: Sequence[str]
    gold: int
    predicted: int
    gap: float | None = None
    steps: int | None = None
    converged: bool | None = None
    not_readable: str = ""
    left_out: int = 0
    noted: frozenset[int] = frozenset()


def explanations(answer: Mapping[str, Any]) -> list[Explanation]:
    """What the warm process answered (see studies.answering), one explanation a target."""
    reading = answer["reading"]
    explained = []
    for one in answer["explanations"]:
        first, last = _explained(one, reading)
        explained.append(
            Explanation(
                pieces=reading["pieces"],
                segments=reading["segments"],
                words=reading["words"],
                sentences=reading["sentences"],
                scores=[math.nan if score is None else float(score) for score in one["scores"]],
                first=first,
                last=last,
                value=float(one["value"]),
                probabilities=answer["probabilities"],
                choices=reading["choice_texts"],
                gold=int(answer["gold"]),
                predicted=int(answer["predicted"]),
                gap=one["gap"],
                steps=one["steps"],
                converged=one["converged"],
                not_readable=answer["not_readable"],
                left_out=int(reading["left_out"]),
            )
        )
    return explained


def _explained(row: Mapping[str, Any], reading: Mapping[str, Any]) -> tuple[int, int]:
    """The first and last column of what is explained; (-1, -1) where it stands in none."""
    if row["target_at"] >= 0:
        return int(row["target_at"]), int(row["target_at"])
    kind, _, inside = row["target"].partition(":")
    if kind == "span":
        first, _, last = inside.partition("-")
        return int(first), int(last or first)
    places = [column for column, segment in enumerate(reading["segments"]) if segment == "label"]
    return (places[0], places[-1]) if places else (-1, -1)


@dataclass(frozen=True, slots=True)
class ScoredUnit:
    """One token, word or sentence of a heat map. state: "" (has a score), "target" (what is explained), "template",
    "unreadable" or "behind" (stands after what is explained, or was not asked for). members: how many tokens it
    gathers; noted: whether it is pointed out."""

    text: str
    segment: str
    score: float
    state: str
    members: int
    noted: bool


def marks(explanation: Explanation, unit: str = "token") -> list[ScoredUnit]:
    """The marks of a heat map in reading order. The score of a word or a sentence is the sum of its tokens'."""
    keys = {"token": range(len(explanation.pieces)), "word": explanation.words, "sentence": explanation.sentences}[unit]
    units = []
    for _, columns in groupby(
        range(len(explanation.pieces)), key=lambda c: (explanation.segments[c], keys[c], _state(explanation, c))
    ):
        inside = list(columns)
        scores = [explanation.scores[c] for c in inside if not math.isnan(explanation.scores[c])]
        units.append(
            ScoredUnit(
                text="".join(explanation.pieces[c] for c in inside),
                segment=explanation.segments[inside[0]],
                score=math.fsum(scores) if scores else math.nan,
                state=_state(explanation, inside[0]),
                members=len(inside),
                noted=not explanation.noted.isdisjoint(inside),
            )
        )
    return units


def _state(explanation: Explanation, column: int) -> str:
    if explanation.first <= column <= explanation.last:
        return "target"
    if not math.isnan(explanation.scores[column]):
        return ""
    if explanation.segments[column] not in OF_EXAMPLE:
        return "template"
    return "unreadable" if explanation.not_readable and explanation.segments[column] == "rationale" else "behind"


@dataclass(frozen=True, slots=True)
class Mass:
    """What one span bears: the sum of the absolute scores of its tokens, its share of all of them, and the mean per
    token.
    """

    segment: str
    total: float
    share: float
    per_token: float
    tokens: int


def masses(explanation: Explanation) -> list[Mass]:
    """The spans of the example that have scores, in reading order."""
    by_segment: dict[str, list[float]] = {}
    for segment, score in zip(explanation.segments, explanation.scores, strict=True):
        if segment in OF_EXAMPLE and not math.isnan(score):
            by_segment.setdefault(segment, []).append(abs(score))
    whole = math.fsum(score for scores in by_segment.values() for score in scores)
    return [
        Mass(s, math.fsum(v), math.fsum(v) / whole if whole else 0.0, math.fsum(v) / len(v), len(v))
        for s, v in by_segment.items()
    ]


def largest(explained: Sequence[Explanation], unit: str) -> float:
    """The largest absolute score of any mark: what a scale shared by these must reach. 0 where nothing has a score."""
    return max(
        (abs(mark.score) for one in explained for mark in marks(one, unit) if not math.isnan(mark.score)), default=0.0
    )


@dataclass(frozen=True, slots=True)
class AttributionMatrix:
    """Each rationale token (or word, sentence) explained by itself. rows: what is explained; columns: what it is
    explained onto, with their spans; values: (rows x columns), NaN where nothing can be read; shares: by span, what it
    bears of the absolute scores, averaged over rows."""

    rows: Sequence[str]
    columns: Sequence[str]
    segments: Sequence[str]
    values: Sequence[Sequence[float]]
    shares: Mapping[str, float]


def matrix(explained: Sequence[Explanation], unit: str = "token") -> AttributionMatrix:
    """From one explanation a rationale token. Log-probabilities of tokens add up to that of their word, so their scores
    do as well.
    """
    if not explained:
        return AttributionMatrix((), (), (), (), {})
    first = explained[0]
    keys = {"token": range(len(first.pieces)), "word": first.words, "sentence": first.sentences}[unit]
    scored = [
        c for c in range(len(first.pieces)) if any(not math.isnan(explanation.scores[c]) for explanation in explained)
    ]
    columns = [list(group) for _, group in groupby(scored, key=lambda c: (first.segments[c], keys[c]))]
    rows = [list(group) for _, group in groupby(explained, key=lambda explanation: keys[explanation.first])]
    values = [
        [_sum(explanation.scores[c] for explanation in row for c in column) for column in columns] for row in rows
    ]
    names = [first.segments[column[0]] for column in columns]
    spread = []
    for line in values:
        whole = math.fsum(abs(v) for v in line if not math.isnan(v))
        if whole:
            spread.append({s: _sum(abs(v) for v, n in zip(line, names, strict=True) if n == s) / whole for s in names})
    shares = (
        {
            s: math.fsum(0.0 if math.isnan(explanation[s]) else explanation[s] for explanation in spread) / len(spread)
            for s in dict.fromkeys(names)
        }
        if spread
        else {}
    )
    return AttributionMatrix(
        ["".join(first.pieces[explanation.first] for explanation in row) for row in rows],
        ["".join(first.pieces[c] for c in column) for column in columns],
        names,
        values,
        shares,
    )


def _sum(values: Iterable[float]) -> float:
    """The sum of what has a score; NaN where nothing has."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) if known else math.nan

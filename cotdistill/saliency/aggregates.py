"""Attributions over many examples: mass by span, place, word class and word; each mean with n and its interval over
clusters of examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from cotdistill.statistics.intervals import numbered, one_replicate

# Spans of the example; every other token belongs to the template, "cues", which bear scores only where all spans move.
SPANS = ("question", "choices", "label", "rationale")
CUES = "cues"
DECILES = 10
# A word is ranked once it has been scored so often.
LEAST = 5


@dataclass(frozen=True)
class Mean:
    """A mean over examples with its 95 % interval (None below two clusters); n examples in so many clusters."""

    name: str
    mean: float
    low: float | None
    high: float | None
    examples: int
    clusters: int
    tokens: int


def readable(tokens: pd.DataFrame) -> pd.DataFrame:
    """The rows of a token table (see tables.TOKEN_COLUMNS) that bear a score, each explanation in the order of its
    columns.
    """
    return tokens[tokens["score"].notna()].sort_values(["example", "target_at", "column"], kind="stable")


def words(tokens: pd.DataFrame) -> pd.DataFrame:
    """One row a word: its score is the sum of its tokens'. Columns as in a token table, without those that only tokens
    have.
    """
    return _joined(tokens, "word")


def sentences(tokens: pd.DataFrame) -> pd.DataFrame:
    """One row a sentence: its score is the sum of its tokens'."""
    return _joined(tokens, "sentence")


def _joined(tokens: pd.DataFrame, unit: str) -> pd.DataFrame:
    keys = ["example", "target_at", "segment", unit]
    joined = readable(tokens).groupby(keys, sort=False).agg(
        cluster=("cluster", "first"), text=("text", "".join), column=("column", "min"), origin=("origin", "min"),
        word_text=("word_text", "first"), word_class=("word_class", "first"), score=("score", "sum"),
    )  # fmt: skip
    return joined.reset_index()


def by_span(tokens: pd.DataFrame) -> list[Mean]:
    """The share of an example's absolute mass in each span; the shares of an example add up to one, with 0 for a span
    that it lacks.
    """
    return _shares(_with_cues(tokens), "segment", (*SPANS, CUES))


def by_class(tokens: pd.DataFrame) -> list[Mean]:
    """The mean absolute score of a content word's and a function word's token, in units of the example's mean over all
    its tokens.
    """
    return _relative(readable(tokens), "word_class", ("content", "function"))


def per_token(tokens: pd.DataFrame) -> list[Mean]:
    """The mean absolute score of a token of each span, in units of the example's mean over all its tokens: spans differ
    in length.
    """
    return _relative(_with_cues(tokens), "segment", (*SPANS, CUES))


def _with_cues(tokens: pd.DataFrame) -> pd.DataFrame:
    rows = readable(tokens)
    return rows.assign(segment=rows["segment"].where(rows["segment"].isin(SPANS), CUES))


def by_place(tokens: pd.DataFrame, segment: str = "rationale") -> list[Mean]:
    """The mean absolute score by tenth of a span, in units of the example's mean over the span."""
    rows = readable(tokens)
    rows = rows[rows["segment"] == segment].copy()
    if rows.empty:
        return []
    size = rows.groupby(["example", "target_at"])["column"].transform("size")
    place = rows.groupby(["example", "target_at"]).cumcount()
    rows["tenth"] = (place * DECILES // size).clip(upper=DECILES - 1).astype(str)
    return _relative(rows, "tenth", [str(i) for i in range(DECILES)])


def question_against_rationale(tokens: pd.DataFrame) -> Mean | None:
    """The rationale's share of the absolute mass of question, choices and rationale, over the examples whose rationale
    bears scores; None where there is none."""
    rows = readable(tokens)
    rows = rows[rows["segment"].isin(["question", "choices", "rationale"])]
    there = (rows["segment"] == "rationale").groupby([rows["example"], rows["target_at"]]).transform("any")
    rows = rows[there]
    if rows.empty:
        return None
    return next((m for m in _shares(rows, "segment", ("rationale",))), None)


def top_words(
    tokens: pd.DataFrame, segment: str = "rationale", most: int = 15, *, absolute: bool = False
) -> list[Mean]:
    """The words of a span with the largest mean score (absolute score for methods without a sign), case folded, scored
    at least LEAST times.
    """
    rows = words(tokens)
    rows = rows[rows["segment"] == segment]
    if rows.empty:
        return []
    rows = rows.assign(score=rows["score"].abs() if absolute else rows["score"], name=rows["word_text"].str.casefold())
    counted = rows.groupby("name")["score"].agg(["mean", "size"])
    ranked = counted[counted["size"] >= LEAST].sort_values(["mean"], ascending=False).head(most)
    return [_mean(str(name), rows[rows["name"] == name], "score") for name in ranked.index]


def _shares(rows: pd.DataFrame, key: str, names: Sequence[str]) -> list[Mean]:
    mass = rows.assign(score=rows["score"].abs())
    each = mass.pivot_table(
        index=["example", "target_at", "cluster"], columns=key, values="score", aggfunc="sum", fill_value=0.0
    )
    whole = each.sum(axis=1)
    each = each[whole > 0].div(whole[whole > 0], axis=0).reset_index()
    if each.empty:
        return []
    counts = rows.groupby(key).size()
    return [_mean(name, each, name, int(counts[name])) for name in names if name in each]


def _relative(rows: pd.DataFrame, key: str, names: Sequence[str]) -> list[Mean]:
    mass = rows.assign(score=rows["score"].abs())
    level = mass.groupby(["example", "target_at"])["score"].transform("mean")
    mass = mass[level > 0].assign(score=(mass["score"] / level)[level > 0])
    each = mass.groupby(["example", "target_at", "cluster", key])["score"].mean().reset_index()
    counts = rows.groupby(key).size()
    return [
        _mean(name, each[each[key] == name], "score", int(counts[name])) for name in names if (each[key] == name).any()
    ]


def _mean(name: str, rows: pd.DataFrame, column: str, tokens: int | None = None) -> Mean:
    values, names = rows[column].to_numpy(dtype=float), [str(c) for c in rows["cluster"]]
    n = int(rows["example"].nunique())
    if len(set(names)) < 2:
        return Mean(name, float(values.mean()), None, None, n, len(set(names)), len(rows) if tokens is None else tokens)
    interval = one_replicate(values, numbered(names))
    return Mean(
        name, interval.mean, interval.low, interval.high, n, len(set(names)), len(rows) if tokens is None else tokens
    )


def scores_by_example(tokens: pd.DataFrame) -> dict[tuple[str, str], dict[tuple[str, ...], npt.NDArray[np.float64]]]:
    """What stability compares, from a whole token table: (example, explained) -> the scores of each span, by the span's
    name and its tokens' texts; NaN where nothing can be read. explained: "" or, where each rationale token is explained
    by itself, its place in the rationale and its text, so that sequences in which it stands elsewhere can be
    compared."""
    ordered = tokens.sort_values(["example", "target_at", "column"], kind="stable")
    examples, targets, segments = (
        ordered["example"].astype(str).tolist(),
        ordered["target_at"].tolist(),
        ordered["segment"].tolist(),
    )
    columns, origins, texts = ordered["column"].tolist(), ordered["origin"].tolist(), ordered["text"].tolist()
    scores = ordered["score"].to_numpy(dtype=float)
    explained = {
        (examples[i], targets[i]): f"{origins[i]} {texts[i]}" for i in range(len(scores)) if columns[i] == targets[i]
    }
    by_example: dict[tuple[str, str], dict[tuple[str, ...], npt.NDArray[np.float64]]] = {}
    keys = list(zip(examples, targets, segments, strict=True))
    starts = [i for i, key in enumerate(keys) if not i or key != keys[i - 1]]
    for start, end in zip(starts, [*starts[1:], len(keys)], strict=True):
        example, target, segment = keys[start]
        spans = by_example.setdefault((example, explained.get((example, target), "")), {})
        spans[segment, *texts[start:end]] = scores[start:end]
    return by_example

"""Transforms that keep or drop the tokens which a selection calls key, and their controls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cotdistill.rationales.passage import UNITS, Passage, Token, Unit, joined, units
from cotdistill.rationales.transforms import Draw, Label, Parameter, as_symbol, plural, quantity, transform
from cotdistill.rationales.words import is_function_word

Parts = list[Unit]

SELECTOR = Parameter("selector", "integrated_gradients", "what scores the tokens: a name of `keytokens selectors`")
K = Parameter("k", 5.0, "how many units; below 1 it is a share of the rationale", low=0.0, high=1e6)
WORDS = Parameter("unit", "word", "what counts as one piece", choices=UNITS)
REST = Parameter("rest", "drop", "what happens to all others", choices=("drop", "mask"))
ORDER = Parameter("order", "text", "in which order the kept ones stand", choices=("text", "score"))
# What stands where a token was masked; it is read, never predicted.
SYMBOL = "_"


def _label(words: str) -> Label:
    """What tables call a selection: `words` with {k} and {units} filled in, and whatever is not the default."""

    def label(values: dict[str, Any]) -> str:
        text = words.format(k=quantity(values), units=plural(values))
        by_score = ", by score" if values.get("order") == "score" else ""
        rest = ", rest masked" if values["rest"] == "mask" else ""
        return f"{text} by {str(values['selector']).replace('_', ' ')}{by_score}{rest}"

    return label


def ranked(passage: Passage, draw: Draw, selector: str, unit: str) -> tuple[Parts, list[int]] | None:
    """The passage's units and their places from the highest score to the lowest, ties by the earlier position; None
    where nothing is known.
    """
    scores = draw.corpus.selection(selector).of(draw.example.id, [token.origin for token in passage])
    if scores is None:
        return None
    parts = units(passage, unit)
    sums = [sum(scores[token.origin] for token in part) for part in parts]
    return parts, sorted(range(len(parts)), key=lambda i: (-sums[i], i))


def number(k: float, count: int) -> int:
    """k as a number of units: itself, or a share of `count` below 1; never more than there are."""
    return min(count, round(k * count) if k < 1 else round(k))


def ranked_weights(scores: Sequence[float], floor: float) -> npt.NDArray[np.float64]:
    """(n,) weights from `floor` for the lowest score to 1 for the highest, evenly by rank; of equal ones the earlier
    ranks higher.
    """
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    weights = np.ones(len(scores))
    for rank, place in enumerate(order):
        weights[place] = 1 - (1 - floor) * rank / max(1, len(scores) - 1)
    return weights


def _kept(parts: Parts, chosen: Sequence[int], draw: Draw, rest: str, order: str = "text") -> Passage:
    """The chosen units (by place); the others dropped or masked."""
    if rest == "drop":
        return joined(parts[i] for i in (chosen if order == "score" else sorted(chosen)))
    symbol, wanted = draw.corpus.symbol_id(SYMBOL), set(chosen)
    return joined(
        part if i in wanted else part.filled(as_symbol(t, symbol, SYMBOL, loss=False) for t in part)
        for i, part in enumerate(parts)
    )


@transform(
    "key_tokens",
    "keeps the k units that a selector scores highest (claim 3)",
    SELECTOR, K, WORDS, ORDER, REST,
    label=_label("{k} key {units}"),
)  # fmt: skip
def key_tokens(passage: Passage, draw: Draw, *, selector: str, k: float, unit: str, order: str, rest: str) -> Passage:
    ranking = ranked(passage, draw, selector, unit)
    if ranking is None:
        return ()
    parts, places = ranking
    return _kept(parts, places[: number(k, len(parts))], draw, rest, order)


@transform(
    "drop_key_tokens",
    "removes exactly those units: are they necessary?",
    SELECTOR, K, WORDS, REST,
    control=True,
    label=_label("without {k} key {units}"),
)  # fmt: skip
def drop_key_tokens(passage: Passage, draw: Draw, *, selector: str, k: float, unit: str, rest: str) -> Passage:
    ranking = ranked(passage, draw, selector, unit)
    if ranking is None:
        return ()
    parts, places = ranking
    return _kept(parts, places[number(k, len(parts)) :], draw, rest)


@transform(
    "bottom_k",
    "keeps the k units that a selector scores lowest",
    SELECTOR, K, WORDS, REST,
    control=True,
    label=_label("{k} least key {units}"),
)  # fmt: skip
def bottom_k(passage: Passage, draw: Draw, *, selector: str, k: float, unit: str, rest: str) -> Passage:
    ranking = ranked(passage, draw, selector, unit)
    if ranking is None:
        return ()
    parts, places = ranking
    return _kept(parts, places[len(places) - number(k, len(parts)) :], draw, rest)


@transform(
    "matched_random_k",
    "as many units of the same rationale, none of the selected, nearest to them in training frequency and word class",
    SELECTOR, K, WORDS, REST,
    control=True,
    label=_label("{k} {units} matched to the key ones"),
)  # fmt: skip
def matched_random_k(passage: Passage, draw: Draw, *, selector: str, k: float, unit: str, rest: str) -> Passage:
    ranking = ranked(passage, draw, selector, unit)
    if ranking is None:
        return ()
    parts, places = ranking
    return _kept(parts, [match for _, match, _ in matches(parts, places[: number(k, len(parts))], draw)], draw, rest)


def matches(parts: Parts, selected: Sequence[int], draw: Draw) -> list[tuple[int, int, float]]:
    """(selected unit, its match, gap in log training frequency): each unit once, the same class (content or function)
    as long as it lasts, the nearest frequency, ties by lot. Fewer than were selected where the rationale has no more
    units."""
    spare = [i for i in range(len(parts)) if i not in set(selected)]
    spare = [spare[int(i)] for i in draw.rng.permutation(len(spare))]
    rarity = [_log_frequency(part, draw) for part in parts]
    function = [all(is_function_word(token.text) for token in part) for part in parts]
    pairs: list[tuple[int, int, float]] = []
    for unit in selected:
        if not spare:
            break
        match = min(spare, key=lambda i: (function[i] != function[unit], abs(rarity[i] - rarity[unit])))
        spare.remove(match)
        pairs.append((unit, match, abs(rarity[match] - rarity[unit])))
    return pairs


def _log_frequency(part: Sequence[Token], draw: Draw) -> float:
    """Of a unit: the mean over its words of the log of how often each stands in the training rationales."""
    words = [word[0].text.casefold() for word in units(part, "word")]
    return sum(math.log(draw.corpus.word_counts[word]) for word in words) / len(words)


@transform(
    "human",
    "keeps the tokens that people marked; rows without marks train without a rationale",
    Parameter("annotations", "marks", "the annotation set"),
    REST,
    label=lambda values: (
        f"tokens marked by people ({values['annotations']})" + (", rest masked" if values["rest"] == "mask" else "")
    ),
)
def human(passage: Passage, draw: Draw, *, annotations: str, rest: str) -> Passage:
    scores = draw.corpus.selection(f"human:{annotations}").of(draw.example.id, [token.origin for token in passage])
    if scores is None:
        return ()
    parts = units(passage, "token")
    return _kept(parts, [i for i, (token,) in enumerate(parts) if scores[token.origin] > 0], draw, rest)


def selectors_of(steps: Sequence[tuple[str, dict[str, object]]]) -> list[str]:
    """The selectors that some transform steps (name, parameters) read, each once."""
    named = [str(p["selector"]) for _, p in steps if "selector" in p]
    return list(dict.fromkeys([*named, *(f"human:{p['annotations']}" for name, p in steps if name == "human")]))

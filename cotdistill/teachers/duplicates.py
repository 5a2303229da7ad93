"""Near-duplicates among many texts: MinHash over word shingles finds candidates, their exact Jaccard index decides."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# Words of a shingle; a text with fewer is one shingle as a whole.
WORDS = 3
PERMUTATIONS = 128
# Rows of a band for thresholds from here on: more rows, fewer candidates; a pair at the threshold is still found in 996
# of 1,000 cases or more.
BANDING = ((0.8, 5), (0.65, 4), (0.0, 3))
# Shingles hashed at a time, so that memory does not grow with the texts.
_BLOCK = 1 << 18

Ids = npt.NDArray[np.uint64]


def shingles(text: str) -> tuple[str, ...]:
    """Every run of three words, without case and punctuation, each once; () for a text without words."""
    words = re.findall(r"\w+", text.casefold())
    return (
        tuple(dict.fromkeys(" ".join(words[i : i + WORDS]) for i in range(max(1, len(words) - WORDS + 1))))
        if words
        else ()
    )


def near_duplicates(texts: Sequence[str], similarity: float = 0.8) -> list[int | None]:
    """For each text the first text before it, itself no duplicate, whose shingles it shares to that Jaccard index or
    above; None without one.

    The first of a family is kept and the rest point to it, so a chain of small changes ends where it has gone too far.
    A text without words has none. similarity: 0.5 to 1 (Broder 1997; banding as in Leskovec, Rajaraman, Ullman, Mining
    of Massive Datasets, ch. 3).
    """
    ids, starts = _hashed([shingles(text) for text in texts])
    rows = next(rows for least, rows in BANDING if similarity >= least)
    signatures = _signatures(ids, starts)
    number = PERMUTATIONS // rows
    bands = signatures[:, : number * rows].reshape(len(texts), number, rows)
    originals: list[int | None] = []
    kept: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    sets: dict[int, frozenset[int]] = {}
    for place in range(len(texts)):
        row_shingles = frozenset(ids[starts[place] : starts[place + 1]].tolist())
        if not row_shingles:
            originals.append(None)
            continue
        keys = [(band, bands[place, band].tobytes()) for band in range(number)]
        candidates = np.array(sorted({other for key in keys for other in kept.get(key, ())}), dtype=np.intp)
        # The share of equal minima estimates the index with a deviation of at most .045: what lies four of them below
        # is not looked at.
        likely = candidates[(signatures[candidates] == signatures[place]).mean(1) >= similarity - 0.18]
        match = next((other for other in likely.tolist() if _jaccard(row_shingles, sets[other]) >= similarity), None)
        originals.append(match)
        if match is None:
            sets[place] = row_shingles
            for key in keys:
                kept[key].append(place)
    return originals


def _jaccard(first: frozenset[int], second: frozenset[int]) -> float:
    return len(first & second) / len(first | second)


def _hashed(sets: Sequence[Sequence[str]]) -> tuple[Ids, npt.NDArray[np.int64]]:
    """Every shingle as a number of its own, all in a row, and where each text's begin (one more than there are
    texts).
    """
    known: dict[str, int] = {}
    flat = [known.setdefault(one, len(known)) for each in sets for one in each]
    starts = np.cumsum([0, *(len(each) for each in sets)], dtype=np.int64)
    return np.array(flat, dtype=np.uint64), starts


def _signatures(ids: Ids, starts: npt.NDArray[np.int64]) -> Ids:
    """(texts, permutations): the smallest of a text's shingles under each of 128 fixed hash functions; all ones for a
    text without any.
    """
    generator = np.random.default_rng(20230503)
    odd = generator.integers(0, 1 << 63, PERMUTATIONS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    shift = generator.integers(0, 1 << 63, PERMUTATIONS, dtype=np.uint64)
    count = len(starts) - 1
    signatures = np.full((count, PERMUTATIONS), np.iinfo(np.uint64).max, dtype=np.uint64)
    begin = 0
    while begin < count:
        end = max(begin + 1, int(np.searchsorted(starts, starts[begin] + _BLOCK, side="right")) - 1)
        block = ids[starts[begin] : starts[end]]
        filled = np.flatnonzero(np.diff(starts[begin : end + 1])) + begin
        if len(block):
            for p in range(PERMUTATIONS):
                signatures[filled, p] = np.minimum.reduceat(
                    _mixed(block * odd[p] + shift[p]), (starts[filled] - starts[begin]).astype(np.intp)
                )
        begin = end
    return signatures


def _mixed(values: Ids) -> Ids:
    """The finaliser of splitmix64, so that every bit of a number depends on all (Steele, Lea, Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))

"""How far the attributions of a question agree with those of the same question in other words (after arXiv 2307.13339):
rank correlation over the words that decide and that both versions have."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from cotdistill.rationales.words import is_function_word
from cotdistill.saliency.reading import EncodedExample
from cotdistill.saliency.stability import spearman

# Which words are compared: those that every student reads, the rationale's where it stands before the answer, and both.
SCOPES = {"question": ("question", "choices"), "rationale": ("rationale",), "all": ("question", "choices", "rationale")}
# A word by its span, its text in small letters, and which of its kind in that span it is.
Unit = tuple[str, str, int]
Units = Mapping[Unit, float]


@dataclass(frozen=True)
class Agreed:
    """One question in one scope: mean rank correlation over every two of its versions; units: words compared, mean over
    them; same: share of the pairs with the same answer; control: rank correlation with another question's version at
    the same places, None where none fits."""

    example: str
    cluster: str
    scope: str
    rank: float
    units: float
    same: float
    control: float | None


@dataclass(frozen=True)
class Version:
    """One wording of a question: its content words with their scores, in order, and the choice that the student
    prefers.
    """

    units: Units
    predicted: int


def units_of(reading: EncodedExample, scores: npt.NDArray[np.float64], *, absolute: bool) -> dict[Unit, float]:
    """The content words of question, choices (what may be answered, no template) and rationale that bear scores; a
    word's score is the sum of its tokens', or the size of that."""
    answers = {word for text in reading.choice_texts for word in re.findall(r"\w+", text.casefold())}
    summed: dict[int, float] = {}
    spans: dict[int, str] = {}
    for span in SCOPES["all"]:
        for column in reading.columns(span):
            if not np.isnan(scores[column]):
                word = int(reading.words[column])
                summed[word] = summed.get(word, 0.0) + float(scores[column])
                spans[word] = span
    seen: Counter[tuple[str, str]] = Counter()
    by_unit: dict[Unit, float] = {}
    for word in sorted(summed):
        text = reading.word_texts[word].casefold()
        if not is_function_word(text) and (spans[word] != "choices" or text in answers):
            by_unit[spans[word], text, seen[spans[word], text]] = abs(summed[word]) if absolute else summed[word]
            seen[spans[word], text] += 1
    return by_unit


def _within(units: Units, scope: str) -> dict[Unit, float]:
    return {unit: score for unit, score in units.items() if unit[0] in SCOPES[scope]}


def compared(first: Units, second: Units) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(n,) each: the scores of the words that both have, in the order of the first."""
    shared = [unit for unit in first if unit in second]
    return np.array([first[unit] for unit in shared]), np.array([second[unit] for unit in shared])


def agreements(ids: Sequence[str], clusters: Sequence[str], versions: Sequence[Sequence[Version]]) -> list[Agreed]:
    """Every question with two versions at least, in every scope in which three of its words can be ranked."""
    agreed = []
    for scope in SCOPES:
        units_by_version = [[_within(version.units, scope) for version in group] for group in versions]
        for i, group in enumerate(versions):
            pairs = [
                (*compared(units_by_version[i][a], units_by_version[i][b]), a, b)
                for a, b in combinations(range(len(group)), 2)
            ]
            ranks = [
                (rank, len(x), group[a].predicted == group[b].predicted)
                for x, y, a, b in pairs
                if (rank := spearman(x, y)) is not None
            ]
            if ranks:
                mean, units, same = (float(np.mean([one[k] for one in ranks])) for k in range(3))
                agreed.append(
                    Agreed(ids[i], clusters[i], scope, mean, units, same, _control(i, units_by_version, clusters))
                )
    return agreed


def _control(i: int, units: Sequence[Sequence[Units]], clusters: Sequence[str]) -> float | None:
    """The words that the first two versions of a question share, held against those of the next question of another
    cluster that has as many: the first by the first, the second by the second. What a place alone explains."""
    original, _ = compared(units[i][0], units[i][1]) if len(units[i]) > 1 else (np.zeros(0), None)
    for step in range(1, len(units)):
        j = (i + step) % len(units)
        if clusters[j] != clusters[i] and len(units[j]) > 1:
            _, theirs = compared(units[j][0], units[j][1])
            if len(theirs) == len(original):
                return spearman(original, theirs)
    return None

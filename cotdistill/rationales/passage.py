"""A rationale as tokens that remember where they came from, and the rows a transform may draw from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from cotdistill.config import stable_seed
from cotdistill.errors import NotFound
from cotdistill.rationales.selection import Selection
from cotdistill.tasks.example import Example

UNITS = ("token", "word", "sentence", "line", "step")


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a rationale."""

    id: int
    word: int
    """Index of the word that it belongs to."""
    sentence: int
    """Index of its sentence."""
    text: str
    """The text of its word."""
    origin: int
    """Its place in the intact rationale; -1: it comes from elsewhere."""
    loss: bool = True
    """Whether it is predicted in training."""
    line: int = 0
    """Index of its line; 0 throughout where white space is folded."""
    step: int = 0
    """Index of its step: a match of the task's pattern begins one; else a line where there are two or more, else a
    sentence."""
    piece: str = ""
    """The characters that it covers, with the white space before them; none before the first token."""
    gap: bool = False
    """A line break of a text whose white space is kept: it is no part of a word, sentence, line or step."""


Passage = tuple[Token, ...]
Reader = Callable[[str], Passage]


class Unit(list[Token]):
    """The tokens of a unit, with its place among the units of its passage and the line breaks around it."""

    __slots__ = ("after", "before", "place", "total")

    def __init__(self, tokens: Iterable[Token], place: int = 0, total: int = 0) -> None:
        super().__init__(tokens)
        self.place, self.total = place, total
        self.before: list[Token] = []
        self.after: list[Token] = []

    def filled(self, tokens: Iterable[Token]) -> Unit:
        """Other tokens in the same place."""
        unit = Unit(tokens, self.place, self.total)
        unit.before, unit.after = self.before, self.after
        return unit


def units(passage: Sequence[Token], unit: str) -> list[Unit]:
    """The passage cut into tokens, words, sentences, lines or steps: neighbours of the same word (sentence, line, step)
    form one unit. Line breaks stand between units; among tokens each is a unit itself."""
    if unit == "token":
        return [Unit([token], i, len(passage)) for i, token in enumerate(passage)]
    key = attrgetter(unit)
    parts: list[Unit] = []
    gaps: list[Token] = []
    for token in passage:
        if token.gap:
            gaps.append(token)
            continue
        if parts and key(parts[-1][-1]) == key(token):
            # A line break within a sentence, or within a step of the task's own pattern, moves with it.
            parts[-1] += [*gaps, token]
        else:
            if parts:
                parts[-1].after = gaps
            parts.append(Unit([token], len(parts)))
            parts[-1].before = gaps
        gaps = []
    if parts:
        parts[-1].after = gaps
    for part in parts:
        part.total = len(parts)
    return parts


def joined(parts: Iterable[Sequence[Token]]) -> Passage:
    """Units put together again. If there are as many as before, line breaks stay where they were, between the same
    places; else each unit takes the line break behind it along, and none stands at the end."""
    listed = list(parts)
    placed = [part for part in listed if isinstance(part, Unit)]
    gaps: list[Sequence[Token]] = [()] * len(listed)
    if placed and len(placed) == len(listed) == placed[0].total:
        gaps = [part.after for part in sorted(placed, key=lambda part: part.place)]
    elif placed and len(placed) == len(listed):
        gaps = [part.after if part.place < part.total - 1 else part.before for part in placed[:-1]] + [()]
    return tuple(token for part, gap in zip(listed, gaps, strict=True) for token in (*part, *gap))


class Corpus:
    """The rows of one split with their rationales as tokens: what a transform may draw from.

    `read` turns a text into a Passage; the corpus knows neither models nor tokenizers. Rows without a rationale have an
    empty passage. passages: the rationales as tokens where they are known as such (a student wrote them), so that none
    is read from its text.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        read: Reader,
        symbol_id: Callable[[str], int],
        selections: Mapping[str, Selection] | None = None,
        passages: Sequence[Passage] | None = None,
        read_bare: Reader | None = None,
    ) -> None:
        """read_bare: reads a text that goes on where another ends, without a space before it."""
        self.examples = list(examples)
        self.read = read
        self.read_bare = read_bare or read
        self.symbol_id = symbol_id
        self._selections = dict(selections or {})
        self._known = passages
        self._partners: dict[tuple[str, int], list[int | None]] = {}

    @cached_property
    def passages(self) -> Sequence[Passage]:
        if self._known is not None:
            return self._known
        return [self.read(e.rationale) if e.rationale else () for e in self.examples]

    @cached_property
    def unigrams(self) -> npt.NDArray[np.int64]:
        """Every rationale token of the corpus, repeated as often as it occurs: a uniform draw from it is a unigram
        draw.
        """
        return np.array([token.id for passage in self.passages for token in passage], dtype=np.int64)

    @cached_property
    def word_counts(self) -> Counter[str]:
        """How often each word (case folded) stands in the rationales of the corpus."""
        return Counter(word[0].text.casefold() for passage in self.passages for word in units(passage, "word"))

    def selection(self, name: str) -> Selection:
        """The scores of a selector; NotFound where none were made."""
        if name not in self._selections:
            raise NotFound(
                f"There is no selection {name!r} here yet.",
                "It is made when a study with this condition runs, or by: cotdistill keytokens select",
            )
        return self._selections[name]

    def partner(self, index: int, rule: str, seed: int) -> int | None:
        """Whose rationale the row gets under `swap`: a row of another cluster, a permutation without fixed points.

        rule: "any", "same_label" or "other_label", where label means the answer's text. None where no partner is left.
        """
        key = (rule, seed)
        if key not in self._partners:
            self._partners[key] = self._derange(rule, seed)
        return self._partners[key][index]

    def _derange(self, rule: str, seed: int) -> list[int | None]:
        rng = np.random.default_rng(stable_seed("swap", rule, seed))
        rows = sorted((i for i, e in enumerate(self.examples) if e.rationale), key=lambda i: self.examples[i].id)
        answers = [e.answer_text.casefold() for e in self.examples]
        clusters = [e.cluster or e.id for e in self.examples]

        def fits(i: int, j: int) -> bool:
            if i == j or clusters[i] == clusters[j]:
                return False
            return rule == "any" or (answers[i] == answers[j]) == (rule == "same_label")

        groups: dict[str, list[int]] = {}
        for i in rows:
            groups.setdefault(answers[i] if rule == "same_label" else "", []).append(i)
        partners: list[int | None] = [None] * len(self.examples)
        for members in groups.values():
            drawn = [members[k] for k in rng.permutation(len(members))]
            # Repair what does not fit by exchanging with a random row for which both sides then fit.
            for a, i in enumerate(members):
                if fits(i, drawn[a]):
                    continue
                for b in rng.permutation(len(members)):
                    if fits(i, drawn[b]) and fits(members[b], drawn[a]):
                        drawn[a], drawn[b] = drawn[b], drawn[a]
                        break
            for i, j in zip(members, drawn, strict=True):
                partners[i] = j if fits(i, j) else None
        return partners

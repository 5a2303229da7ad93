"""A rationale as tokens that remember where they came from, and the rows a transform may draw from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import numpy.typing as npt

from cotdistill.config import stable_seed
from cotdistill.errors import NotFound
from cotdistill.rationales.selection import Selection
from cotdistill.tasks.example import Example

UNITS = ("token", "word", "sentence")


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a rationale: its id, the word and sentence it belongs to (indices), that word's text,
    its place in the intact rationale (-1: it comes from elsewhere), and whether it bears loss."""

    id: int
    word: int
    sentence: int
    text: str
    origin: int
    loss: bool = True


Passage = tuple[Token, ...]
Reader = Callable[[str], Passage]


def units(passage: Sequence[Token], unit: str) -> list[list[Token]]:
    """The passage cut into tokens, words or sentences: neighbours of the same word (sentence) form one unit."""
    if unit == "token":
        return [[token] for token in passage]
    key: Callable[[Token], int] = (lambda t: t.word) if unit == "word" else (lambda t: t.sentence)
    return [list(group) for _, group in groupby(passage, key=key)]


def joined(parts: Iterable[Sequence[Token]]) -> Passage:
    return tuple(token for part in parts for token in part)


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
    ) -> None:
        self.examples = list(examples)
        self.read = read
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

"""Where the words of a rationale stand in its text, and which of them some character ranges touch: marks are kept by
character, shown by word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

Span = tuple[int, int]

# As `students.tokens` tells words apart; a word never holds white space, so folding it changes no word's number.
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]+")


def word_spans(text: str) -> list[Span]:
    """(start, end) in characters of each word of a text, in order; the number of a word is that of `Token.word` in what
    `Encoder.read` gives.
    """
    return [match.span() for match in _WORD.finditer(text)]


def touched(words: Sequence[Span], ranges: Iterable[Span]) -> set[int]:
    """The numbers of the words that share a character with one of the ranges."""
    wanted = list(ranges)
    return {
        number for number, (start, end) in enumerate(words) if any(low < end and start < high for low, high in wanted)
    }


def ranges_of(words: Sequence[Span], chosen: Iterable[int]) -> tuple[Span, ...]:
    """The character ranges of some words, one a word, in order."""
    return tuple(words[number] for number in sorted(set(chosen)))

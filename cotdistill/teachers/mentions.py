"""Where a text names the choices of a question: by their text, inflected or not, or by their letter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from cotdistill.rationales.words import is_function_word
from cotdistill.tasks.example import Choice

WORD = re.compile(r"\w+(?:['’]\w+)*")
SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)]*\s+|\n+")
ARTICLES = frozenset({"a", "an", "the", "to"})


@dataclass(frozen=True, slots=True)
class Mention:
    """One place (start, end in characters) where a choice is named. how: "text", "letter" in brackets or before one,
    "bare" for a letter alone, which may as well be an article or a number."""

    start: int
    end: int
    label: str
    how: str


def sentences(text: str) -> list[tuple[int, int]]:
    """(start, end) in characters of the sentences and lines of a text, spaces around them left out."""
    ranges, start = [], 0
    for cut in [*SENTENCE_END.finditer(text), None]:
        end = len(text) if cut is None else cut.start()
        piece = text[start:end]
        if piece.strip():
            ranges.append((start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())))
        start = end if cut is None else cut.end()
    return ranges


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """A word without case and its commonest English endings ("getting wet happens", "banks have"): enough to meet a
    choice that was inflected.
    """
    low = word.casefold().replace("’", "'").removesuffix("'s")
    for endings in (("ies", "es", "s"), ("ing", "ed"), ("y", "e")):
        for ending in endings:
            if low.endswith(ending) and len(low) - len(ending) >= 3 and not low.endswith("ss"):
                low = low[: -len(ending)]
                break
    # "getting", "jogged": the consonant was doubled for the ending.
    return low[:-1] if len(low) > 3 and low[-1] == low[-2] and low[-1] not in "aeiouls" else low


def mentions(text: str, choices: Sequence[Choice]) -> tuple[Mention, ...]:
    """Every place where a choice is named, in order. Of choices that contain each other ("bank", "river bank") the
    longest counts, of choices with one stem ("act", "acting") the one that stands there word for word. A choice that is
    all function words ("no") is left out: it would be met everywhere. Bare letters are left out too (see `letters`)."""
    return _mentions(text, tuple(choices))


# A text is asked for its mentions some three times in a row: for its statements, its conclusion, and where its answer
# is first named.
@lru_cache(maxsize=1024)
def _mentions(text: str, choices: tuple[Choice, ...]) -> tuple[Mention, ...]:
    spans = [(m.start(), m.end()) for m in WORD.finditer(text)]
    words = [text[start:end].casefold() for start, end in spans]
    stems = [stem(word) for word in words]
    where: dict[str, list[int]] = {}
    for place, one in enumerate(stems):
        where.setdefault(one, []).append(place)
    # (length, word for word, -order): the best claim to a place comes first.
    claims: list[tuple[int, bool, int, int, str]] = []
    for order, choice in enumerate(choices):
        wanted = words_of(choice.text)
        first = stem(wanted[0]) if wanted else ""
        if first not in where or all(map(is_function_word, wanted)):
            continue
        inflected = [stem(word) for word in wanted]
        claims += [
            (len(wanted), words[place : place + len(wanted)] == list(wanted), -order, place, choice.label)
            for place in where[first]
            if stems[place : place + len(wanted)] == inflected
        ]
    by_letter = [m for m in letters(text, choices) if m.how == "letter"]
    taken: set[int] = set()
    for length, _, _, place, label in sorted(claims, reverse=True):
        if not taken.intersection(range(place, place + length)):
            taken.update(range(place, place + length))
            by_letter.append(Mention(spans[place][0], spans[place + length - 1][1], label, "text"))
    return tuple(sorted(by_letter, key=lambda m: (m.start, -m.end)))


@lru_cache(maxsize=65_536)
def words_of(text: str) -> tuple[str, ...]:
    """The words of a choice without case, and without the articles at its start."""
    words = [word.casefold() for word in WORD.findall(text)]
    while len(words) > 1 and words[0] in ARTICLES:
        words = words[1:]
    return tuple(words)


def letters(text: str, choices: Sequence[Choice]) -> list[Mention]:
    """Every place where a label stands: in brackets or with one behind it ("(b)", "B)"), or bare."""
    known = {c.label.casefold(): c.label for c in choices}
    mentions = []
    for match in _letter_pattern(tuple(known)).finditer(text):
        bracketed, behind, bare = match.groups()
        label = known[(bracketed or behind or bare).casefold()]
        # A lower-case letter alone is a letter only where something says so; "a" almost never is.
        mentions.append(Mention(match.start(), match.end(), label, "bare" if bare else "letter"))
    return mentions


@lru_cache(maxsize=256)
def _letter_pattern(labels: tuple[str, ...]) -> re.Pattern[str]:
    key = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    return re.compile(rf"[(\[]\s*({key})\s*[)\]]|(?<![\w(])({key})\)|(?<![\w'’])({key})(?![\w'’)])", re.IGNORECASE)


def exact(text: str, choice: Choice, start: int) -> int | None:
    """The end of a choice's text if it stands right at `start`, quotes and articles before it aside, case ignored; None
    if it does not.
    """
    wanted = words_of(choice.text)
    at = past(_OPENS, text, start)
    for place, word in enumerate(wanted):
        if place:
            at = past(_GAP, text, at)
        match = WORD.match(text, at)
        if match is None or match.group().casefold() != word:
            return None
        at = match.end()
    return at if wanted else None


def past(pattern: re.Pattern[str], text: str, start: int) -> int:
    """The end of what a pattern matches at a place; the place itself where it matches nothing."""
    match = pattern.match(text, start)
    return match.end() if match else start


_OPENS = re.compile(r"[\"'“‘]?(?:(?:an?|the|to)\s+)*[\"'“‘]?", re.IGNORECASE)
_GAP = re.compile(r"\W*")

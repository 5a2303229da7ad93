"""What the rationales of a source are like, in numbers that stand beside those of another source."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from statistics import fmean, quantiles
from typing import Any

from cotdistill.rationales.words import is_function_word
from cotdistill.tasks.leakage import folded_words, holds_answer, names_key
from cotdistill.teachers.answers import TeacherAnswer
from cotdistill.teachers.duplicates import near_duplicates
from cotdistill.teachers.filters import longest_run
from cotdistill.teachers.mentions import WORD, Mention, letters, mentions
from cotdistill.teachers.parse import HOWS, PROBLEMS
from cotdistill.teachers.sources import flaw

# Where in a rationale an answer is first named, by thirds of its words.
THIRDS = ("first third", "middle third", "last third", "never")
# Rationales that begin by speaking of the question instead of answering it.
_ABOUT = re.compile(
    r"\W*(?:(?:from|in|according\s+to|based\s+on)\s+)?(?:the|this)\s+(?:question|passage|sentence|statement|scenario)\b",
    re.IGNORECASE,
)
# Words over which the variety of a vocabulary is taken: type-token ratios of texts of different length do not compare.
SEGMENT = 1000


def quality(answers: Sequence[TeacherAnswer], rows: int, *, duplicates: float = 0.8) -> dict[str, Any]:
    """The figures of a source. rows: questions that were asked or could be. Shares are of all answers, with and without
    a rationale, unless a key says otherwise; None where there is nothing to take a share of. Means are over the answers
    with a text.

    rationales: answers that give a reason; left_out: by cause, how many do not.

    noted, noted_right: answers whose label was noted with them, and how many of these are gold; known, agrees: the same
    for labels noted or read for sure, agrees_all: the gold ones among all answers. words: mean, p5, median, p95,
    longest. leak_text, leak_letter: the gold choice's text, a choice's letter. overlap: mean share of a rationale's
    content words that stand in the question; recall: of the question's in the rationale; run: longest run of words in
    common, mean. about_question: share that opens by speaking of the question. variety: different words in a thousand.
    style: where the teacher's own answer (gold, where it is not known) is first named. stated: how the answer is read
    from the text, and why it is not.
    """
    if not answers:
        return {"rows": rows, "answers": 0}
    count, everyone = len(answers), answers
    left_out = Counter(why for one in answers if (why := flaw(one)))
    noted = [one for one in answers if one.label is not None]
    known = [one for one in answers if one.answer is not None]
    right = sum(one.answer == one.example.answer for one in known)
    answers = [one for one in answers if one.shown]
    examples = [one.as_example for one in answers]
    texts = [one.shown for one in answers]
    places = [first_named(one) for one in answers]
    return {
        "rows": rows,
        "answers": count,
        "rationales": count - left_out.total(),
        "left_out": dict(left_out),
        "covered": len({one.example.id for one in answers}) / rows if rows else None,
        "noted": len(noted) / count,
        "noted_right": sum(one.label == one.example.answer for one in noted) / len(noted) if noted else None,
        "known": len(known) / count,
        "agrees": right / len(known) if known else None,
        "agrees_all": right / count if known else None,
        "words": lengths(texts),
        "leak_text": sum(map(holds_answer, examples)) / count,
        "leak_letter": sum(map(names_key, examples)) / count,
        "overlap": mean_known([_covered(text, one.example.question) for one, text in zip(answers, texts, strict=True)]),
        "recall": mean_known([_covered(one.example.question, text) for one, text in zip(answers, texts, strict=True)]),
        "run": mean_known([longest_run(one.example.question, text) for one, text in zip(answers, texts, strict=True)]),
        "about_question": sum(bool(_ABOUT.match(text)) for text in texts) / count,
        "vocabulary": len({word for text in texts for word in _words(text)}),
        "variety": variety(texts),
        "near_duplicates": sum(place is not None for place in near_duplicates(texts, duplicates)) / count,
        "cut_off": sum(one.finish == "length" for one in everyone) / count,
        "contradicts": sum(one.stated.contradicts for one in answers) / count,
        "label_alone": sum(one.stated.bare for one in everyone) / count,
        "style": _style(places),
        "stated": _stated(everyone),
    }


def lengths(texts: Sequence[str]) -> dict[str, float]:
    """Words of some texts: mean, p5, median, p95, longest."""
    counts = [len(text.split()) for text in texts] or [0]
    cut = quantiles(counts, n=20, method="inclusive") if len(counts) > 1 else [float(counts[0])] * 19
    return {"mean": fmean(counts), "p5": cut[0], "median": cut[9], "p95": cut[18], "longest": max(counts)}


def first_named(answer: TeacherAnswer) -> float | None:
    """Where a rationale first names the teacher's own answer (gold, where that is not known): the share of its words
    that stand before, 0 for the first word; None where it never does."""
    wanted, text = answer.answer or answer.example.answer, answer.shown
    named = [m for m in mentions(text, answer.example.choices) if m.label == wanted]
    # A bare letter is meant only where the text states its answer by letter; a lower-case one may be a word.
    bare = answer.stated.how == "letter" and answer.stated.label == wanted
    named += [
        m
        for m in letters(text, answer.example.choices)
        if bare and m.how == "bare" and m.label == wanted and not _low(text, m)
    ]
    if not named:
        return None
    before = len(text[: min(m.start for m in named)].split())
    return before / max(1, len(text.split()))


def _low(text: str, mention: Mention) -> bool:
    return text[mention.start : mention.end].islower()


def variety(texts: Sequence[str]) -> float | None:
    """Different words in a thousand, the mean over segments of a thousand words in a row; None for less than one
    segment.
    """
    words = [word for text in texts for word in _words(text)]
    segments = [words[i : i + SEGMENT] for i in range(0, len(words) - SEGMENT + 1, SEGMENT)]
    return fmean(len(set(segment)) for segment in segments) if segments else None


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold())


def _covered(text: str, other: str) -> float | None:
    """Share of the content words of one text that stand in the other; None without any."""
    inside = folded_words(other)
    words = [word for word in _words(text) if not is_function_word(word)]
    return sum(folded_words(word) in inside for word in words) / len(words) if words else None


def answer_overlap(rationale: str, answer: str) -> float | None:
    """Share of a rationale's words that are words of the answer; None without a word."""
    words, answers = _words(rationale), set(_words(answer))
    return sum(word in answers for word in words) / len(words) if words else None


def mean_known(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are known; None without any."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _style(places: Sequence[float | None]) -> dict[str, Any]:
    named = [place for place in places if place is not None]
    counts = [sum(low <= place < high for place in named) for low, high in ((0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1.1))]
    shares = [number / max(1, len(places)) for number in (*counts, len(places) - len(named))]
    return {"place": fmean(named) if named else None, **dict(zip(THIRDS, shares, strict=True))}


def _stated(answers: Sequence[TeacherAnswer]) -> dict[str, float]:
    """How answers are stated, as shares; how often a text states for sure another answer than the one noted of its
    teacher.
    """
    counted = Counter(one.stated.how or one.stated.problem for one in answers)
    both = [one for one in answers if one.label is not None and one.stated.sure]
    shares = {name: counted[name] / len(answers) for name in (*HOWS, *PROBLEMS)}
    return shares | {
        "other_than_noted": sum(one.label != one.stated.label for one in both) / len(both) if both else 0.0
    }

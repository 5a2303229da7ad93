"""How much of the answer a rationale gives away: the right choice's own text, or the key of a choice."""

from __future__ import annotations

import re
from functools import cache

from cotdistill.tasks.example import Example


def folded_words(text: str) -> str:
    """A text as its words alone, without case and punctuation, one space between and one at either end."""
    return " " + " ".join(re.findall(r"\w+", text.casefold())) + " "


def holds_answer(example: Example) -> bool:
    """Whether the rationale holds the gold choice's text as whole words, case and punctuation ignored."""
    gold = folded_words(example.answer_text)
    return bool(gold.strip()) and gold in folded_words(example.rationale or "")


def names_key(example: Example) -> bool:
    """Whether the rationale names one of the row's answer keys: (B), B: or option B."""
    return bool(_key_pattern(tuple(c.label for c in example.choices)).search(example.rationale or ""))


@cache
def _key_pattern(labels: tuple[str, ...]) -> re.Pattern[str]:
    key = f"(?:{'|'.join(re.escape(label) for label in labels)})"
    return re.compile(rf"\(\s?{key}\s?\)|(?<!\w){key}[:)]|\b(?i:options?|choices?|answers?)\s(?:is\s)?\(?{key}(?!\w)")

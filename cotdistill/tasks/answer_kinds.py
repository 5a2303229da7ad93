"""What kinds of answers a task has: chosen among choices, or written, as a number or as a text; and when a written
answer is right.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from cotdistill.tasks.example import CHOICE, NUMBER
from cotdistill.tasks.task import SPLITS, Task, open_folder

# A written number is right when it is off by no more than this share of the gold (of 1, for golds within 1).
TOLERANCE = Fraction(1, 1_000_000)
# No student writes longer numbers, and exact arithmetic with powers beyond this takes for ever.
LONGEST_NUMBER = 60
CURRENCY = "$€£¥₹"
# Digits with or without thousands separators, a decimal part, a power of ten: 1,234.50 or .5 or 3e4.
DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+"
NUMBER_IN_TEXT = re.compile(rf"(?<![\w.])[-+]?(?:{DIGITS})(?:[eE][-+]?\d{{1,2}})?(?:\s*/\s*\d+)?")
WHOLE_NUMBER = re.compile(rf"([-+]?)({DIGITS})(?:[eE]([-+]?\d{{1,2}}))?")
MIXED = re.compile(r"([-+]?)(\d+)\s+(\d+)\s*/\s*(\d+)")
RATIO = re.compile(r"([-+]?)([\d.,]+)\s*/\s*([\d.,]+)")
LATEX_RATIO = re.compile(r"([-+]?)\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
ARTICLES = re.compile(r"\b(?:a|an|the)\b")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of one written answer."""

    #: Equal to a gold after normalising.
    right: bool
    #: Whether it is an answer of its kind at all: a number, or a text that is not empty.
    readable: bool


def number_of_text(text: str) -> Fraction | None:
    """The number that a text is, None if it is none or more than one.

    Read alike: thousands separators (1,234), a currency sign before it, a percent sign behind it (dropped: 50 % is 50),
    trailing zeros and a trailing full stop, signs (also the minus sign of typography), fractions (3/4, 1 1/2,
    \\frac{3}{4}), powers (3e4).
    """
    plain = text.strip().replace("−", "-").replace("\\!", "").replace("\\,", "").replace("{,}", ",")
    plain = plain.replace("\\$", "$").replace("\\%", "%").strip("$ \t\n").rstrip(".").rstrip()
    plain = re.sub(rf"^([-+]?)\s*[{re.escape(CURRENCY)}]\s*", r"\1", plain)
    plain = re.sub(rf"\s*[%{re.escape(CURRENCY)}]$", "", plain)
    if len(plain) > LONGEST_NUMBER:
        return None
    if latex := LATEX_RATIO.fullmatch(plain):
        plain = f"{latex[1]}{latex[2].strip()}/{latex[3].strip()}"
    if mixed := MIXED.fullmatch(plain):
        return _signed(mixed[1], _ratio(Fraction(mixed[3]), Fraction(mixed[4]), whole=Fraction(mixed[2])))
    if ratio := RATIO.fullmatch(plain):
        above, below = number_of_text(ratio[2]), number_of_text(ratio[3])
        return None if above is None or below is None else _signed(ratio[1], _ratio(above, below))
    whole = WHOLE_NUMBER.fullmatch(plain)
    if whole is None:
        return None
    value = Fraction(whole[2].replace(",", "").rstrip("."))
    return _signed(whole[1], value * Fraction(10) ** int(whole[3] or 0))


def _ratio(above: Fraction, below: Fraction, whole: Fraction = Fraction(0)) -> Fraction | None:
    return whole + above / below if below else None


def _signed(sign: str, value: Fraction | None) -> Fraction | None:
    return -value if value is not None and sign == "-" else value


def last_number(text: str) -> str:
    """The flexible reading: what stands in the last \\boxed{}, else the last number of a text; "" if there is none."""
    if box := boxed(text):
        return box
    numbers = NUMBER_IN_TEXT.findall(text.replace("−", "-"))
    return numbers[-1] if numbers else ""


def boxed(text: str) -> str:
    """What stands in the last \\boxed{} of a text, braces matched; "" if there is none, or if it is never closed."""
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if start < 0:
        return ""
    first = text.index("{", start) + 1
    depth = 1
    for place in range(first, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return text[first:place].strip()
    return ""


def folded_text(text: str) -> str:
    """A text as SQuAD compares it (arXiv 1606.05250): no case, articles, punctuation, nor white space."""
    bare = "".join(letter for letter in text.casefold() if letter not in string.punctuation)
    return " ".join(ARTICLES.sub(" ", bare).split())


def judge(kind: str, golds: Sequence[str], written: str) -> Judgement:
    """A written answer against every gold; the best of them counts."""
    if kind == NUMBER:
        number = number_of_text(written)
        right = number is not None and any(same_number(number, gold) for gold in map(number_of_text, golds))
        return Judgement(right, number is not None)
    text = folded_text(written)
    return Judgement(any(text == folded_text(gold) for gold in golds), bool(written.strip()))


def same_number(number: Fraction, gold: Fraction | None) -> bool:
    """Equal within TOLERANCE."""
    return gold is not None and abs(number - gold) <= TOLERANCE * max(Fraction(1), abs(gold))


def flexible(kind: str, golds: Sequence[str], written: str) -> bool:
    """Shown beside, never judged: for numbers the last one written (a boxed one first), for texts a gold that stands in
    what was written.
    """
    if kind == NUMBER:
        return judge(kind, golds, last_number(written)).right
    text = f" {folded_text(written)} "
    return any(f" {folded_text(gold)} " in text for gold in golds)


def nested_choices(task: Task) -> tuple[str, str] | None:
    """Two choices of one question of which one begins the other, the first that is met; None if there are none.

    Without a terminator no question can decide between the two: right after the shorter one, both were as likely.
    """
    return _nested_choices(task.folder, task.digest)


@lru_cache(maxsize=16)
def _nested_choices(folder: Path, _digest: str) -> tuple[str, str] | None:
    task = open_folder(folder)
    template = task.template
    for split in SPLITS:
        for example in task.examples(split):
            # In sorted order a text that begins another begins the one behind it.
            for a, b in pairwise(sorted(" ".join(text.split()) for text in template.target_texts(example))):
                if a != b and b.startswith(a):
                    return a, b
    return None


def needs_terminator(task: Task) -> bool:
    """Whether the answers of new runs of a task end in a terminator, unless the study says otherwise: always where they
    are written, since nothing else ends them.
    """
    return task.answer_kind != CHOICE or nested_choices(task) is not None

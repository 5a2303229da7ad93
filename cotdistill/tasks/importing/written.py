"""Answers that are written instead of chosen, as files hold them: behind ####, in a box, or in a column."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from cotdistill.errors import DataError
from cotdistill.tasks.answer_kinds import boxed, number_of_text
from cotdistill.tasks.example import NUMBER, TEXT
from cotdistill.tasks.importing.cells import needed, text_of

# GSM8K ends a rationale in its answer: "... 72 clips altogether.\n#### 72".
FINAL = "####"
# GSM8K's marks for a calculator: "48/2 = <<48/2=24>>24".
CALCULATOR = re.compile(r"<<[^<>\n]*>>")
# Below this share of numbers the answers of a file are texts.
MOSTLY_NUMBERS = 0.9


def split_answer(cell: Any) -> tuple[str, str]:
    """The rationale ("" without one) and the answer in one cell; DataError with the reason for an empty one."""
    text = needed(cell, "answer")
    before, mark, after = text.rpartition(FINAL)
    if mark:
        return before.strip(), needed(after, f"answer behind {FINAL}")
    if "\\boxed" in text or "\\fbox" in text:
        box = boxed(text)
        if not box:
            raise DataError("the box of the answer is empty or never closed")
        return (text, box) if len(text) > len(box) + len("$\\boxed{}$.") else ("", box)
    return "", text


def golds_of(cell: Any) -> tuple[str, list[str]]:
    """The rationale that stands before the answer, and every gold; a list of answers holds several."""
    if isinstance(cell, Sequence) and not isinstance(cell, str):
        golds = [text for part in cell if (text := text_of(part, "answer"))]
        return "", list(dict.fromkeys(golds)) or [needed(None, "answer")]
    rationale, answer = split_answer(cell)
    return rationale, [answer]


def checked_golds(golds: Sequence[str], kind: str) -> None:
    """DataError (the reason only) for a gold of another kind."""
    if kind == NUMBER:
        for gold in golds:
            if number_of_text(gold) is None:
                raise DataError(f"the answer {gold[:60]!r} is no number")


def without_calculator(text: str) -> str:
    return CALCULATOR.sub("", text)


def guessed_kind(cells: Sequence[Any]) -> str:
    """The kind of some answers that have no choices; "" where nothing says that they are written: they stand neither
    behind #### nor in a box, and are no numbers.
    """
    answers: list[str] = []
    marked = 0
    for cell in cells:
        try:
            answers += golds_of(cell)[1]
        except DataError:
            continue
        marked += isinstance(cell, str) and (FINAL in cell or "\\boxed" in cell)
    if not answers:
        return ""
    numbers = sum(number_of_text(answer) is not None for answer in answers) / len(answers)
    if numbers >= MOSTLY_NUMBERS:
        return NUMBER
    return TEXT if marked == len(cells) else ""

"""How the answers of a task are read: by one rule for all of its rows, chosen by what fits every one of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from cotdistill.errors import DataError
from cotdistill.tasks.example import Choice
from cotdistill.tasks.importing.cells import needed

# (A), A. and A) stand for the label A.
BRACKETED = re.compile(r"\(?\s*(\w{1,3})\s*[.):\]]?")
# What a reading is called in messages, and the words of --map that ask for it.
READINGS = {
    "label": ("labels", "answer_is=label"),
    "text": ("texts of the choices", "answer_is=text"),
    "number_from_0": ("places counted from 0", "answer_is=number first_number=0"),
    "number_from_1": ("places counted from 1", "answer_is=number first_number=1"),
}
AnswerRow = tuple[Any, Sequence[Choice]]


def number_of(value: Any) -> int | None:
    """An answer that is a whole number, also as text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,6}\s*", value):
        value = int(value)
    return value if isinstance(value, int) else None


def read_answer(value: Any, choices: Sequence[Choice], reading: str) -> str | None:
    """The label of the right choice under one reading; None if the value is no choice under it.

    Raises:
        DataError: the reason only, for an empty answer or one that is the text of two choices.
    """
    stated = needed(value, "answer")
    if reading == "label":
        return _by_label(stated, choices)
    if reading == "text":
        fitting = [choice.label for choice in choices if choice.text.casefold() == stated.casefold()]
        if len(fitting) > 1:
            raise DataError(f"the answer {stated[:60]!r} is the text of two choices")
        return fitting[0] if fitting else None
    number = number_of(value)
    place = None if number is None else number - int(reading[-1])
    return choices[place].label if place is not None and 0 <= place < len(choices) else None


def _by_label(stated: str, choices: Sequence[Choice]) -> str | None:
    labels = [choice.label for choice in choices]
    if stated in labels:
        return stated
    bare = BRACKETED.fullmatch(stated)
    for wanted in (stated.casefold(), bare.group(1).casefold() if bare else ""):
        fitting = [label for label in labels if label.casefold() == wanted]
        if len(fitting) == 1:
            return fitting[0]
    return None


def answer_of(value: Any, choices: Sequence[Choice], reading: str) -> str:
    """The label of the right choice; DataError with the reason if the value is no choice under the task's reading."""
    label = read_answer(value, choices, reading)
    if label is None:
        labels = ", ".join(choice.label for choice in choices)[:80]
        raise DataError(
            f"the answer {needed(value, 'answer')[:60]!r} is no choice; answers are read as {READINGS[reading][0]}, "
            f"and the labels here are {labels}"
        )
    return label


def reading_of(rows: Sequence[AnswerRow], *, own_labels: bool, answer_is: str = "", first_number: int = -1) -> str:
    """The one reading of a task's answers.

    rows: (answer, choices) of every row of every split; own_labels: the file names its choices itself, so that labels
    are more than our numbering; answer_is and first_number: what a person has said, obeyed where it fits.

    Raises:
        DataError: two readings fit every row and disagree; both are shown with the words of --map that decide.
    """
    if own_labels and not answer_is and first_number < 0 and all(_tried(*row, "label") for row in rows):
        return "label"
    wanted = _wanted(answer_is, first_number)
    read = {reading: [_tried(value, choices, reading) for value, choices in rows] for reading in wanted}
    fits = Counter({reading: sum(label is not None for label in labels) for reading, labels in read.items()})
    most = max(fits.values(), default=0)
    best = [reading for reading in wanted if fits[reading] == most]
    if first_number >= 0 and f"number_from_{first_number}" in best:
        return f"number_from_{first_number}"
    if answer_is or not most:
        # What was asked for is obeyed, and a row that does not fit it is told by itself.
        best = best if answer_is == "number" and len(best) > 1 else best[:1]
    if "text" in best and "label" in best and not own_labels:
        best = [reading for reading in best if reading != "label"]
    if "label" in best and (own_labels or len(best) == 1):
        return "label"
    if len({tuple(read[reading]) for reading in best}) > 1:
        raise _ambiguous(rows, {reading: read[reading] for reading in best})
    return best[0]


def _wanted(answer_is: str, first_number: int) -> list[str]:
    numbers = [f"number_from_{first_number}"] if first_number >= 0 else ["number_from_0", "number_from_1"]
    if answer_is:
        return numbers if answer_is == "number" else [answer_is]
    return [*numbers, "label", "text"] if first_number >= 0 else ["label", "text", *numbers]


def _tried(value: Any, choices: Sequence[Choice], reading: str) -> str | None:
    try:
        return read_answer(value, choices, reading)
    except DataError:
        return None


def _ambiguous(rows: Sequence[AnswerRow], read: dict[str, list[str | None]]) -> DataError:
    """The readings side by side on the first row where they disagree."""
    place = next(i for i in range(len(rows)) if len({labels[i] for labels in read.values()}) > 1)
    value, choices = rows[place]
    texts = {choice.label: choice.text for choice in choices}
    sides = [
        f"as {READINGS[reading][0]} it is {texts.get(labels[place] or '', 'no choice')[:60]!r}"
        for reading, labels in read.items()
    ]
    return DataError(
        f"The answers can be read in {len(sides)} ways. The answer {str(value)[:60]!r} to the choices "
        f"{', '.join(map(repr, texts.values()))[:120]}: {'; '.join(sides)}.",
        "Say which one is meant: " + ", or ".join(f"--map {READINGS[reading][1]}" for reading in read),
    )

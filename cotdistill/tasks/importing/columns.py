"""Which column of a file holds what, guessed from names; and one row of a file read into question, choices and
answer.
"""

from __future__ import annotations

import json
import math
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from cotdistill.config import param
from cotdistill.errors import DataError
from cotdistill.tasks.example import Choice

Row = Mapping[str, Any]
# Names met in the wild, the likeliest first; compared without case.
NAMES: dict[str, tuple[str, ...]] = {
    "id": ("id", "pairid", "qid", "question_id", "guid", "uid"),
    "question": (
        "question.stem",
        "question_stem",
        "question",
        "premise",
        "sentence1",
        "stem",
        "query",
        "prompt",
        "goal",
        "ctx",
    ),
    "hypothesis": ("hypothesis", "sentence2"),
    "choices": ("question.choices", "choices", "options", "endings", "answers", "candidates"),
    "answer": (
        "answerkey",
        "answer_key",
        "answer",
        "gold_label",
        "label",
        "gold",
        "target",
        "correct",
        "answer_index",
        "answer_idx",
    ),
    "rationale": (
        "rationale",
        "explanation",
        "abstractive_explanation",
        "explanation_1",
        "reasoning",
        "fact1",
        "solution",
    ),
    "rationale_source": ("rationale_source",),
    "cluster": ("cluster",),
    "split": ("split",),
}
SEPARATE = (
    ("a", "b", "c", "d", "e", "f", "g", "h"),
    ("option{}", "option_{}", "choice{}", "choice_{}", "opt{}", "sol{}", "ending{}", "answer{}", "op{}"),
)
NLI = "entailment|neutral|contradiction"
# "(A) this (B) that" within a question.
INLINE = re.compile(r"\(\s?([A-Z]|[1-9])\s?\)")


@dataclass(frozen=True)
class ColumnMap:
    """Which column holds which field; empty where the file has none. A dot goes into nested values
    (`question.stem`).
    """

    id: str = param("", "the row's id; without one rows are numbered")
    question: str = param("", "the question")
    hypothesis: str = param("", "a second sentence: the question becomes 'Premise: ... Hypothesis: ...'")
    choices: str = param("", "the choices: one column, or several joined by + (a+b+c+d)")
    fixed_choices: str = param("", "choices that are the same in every row, separated by | (no|yes)")
    inline_choices: bool = param(False, "the choices end the question: '... (A) this (B) that'")
    answer: str = param("", "the right choice: its label, its text or its number")
    first_number: int = param(
        -1, "what number the first choice has where answers are numbers; -1 tells 0 from 1 by the data", low=-1, high=1
    )
    rationale: str = param(
        "", "the rationale; several columns joined by + are several sources, and COLUMN:NAME names one"
    )
    rationale_source: str = param("", "who wrote the rationale")
    cluster: str = param("", "what groups rows that are not independent")
    split: str = param("", "train, dev or test, where one file holds them all")

    def missing(self) -> list[str]:
        """The fields an import cannot do without."""
        absent = [name for name in ("question", "answer") if not getattr(self, name)]
        return absent if self.choices or self.fixed_choices or self.inline_choices else [*absent, "choices"]

    def names(self) -> list[str]:
        """Every column that is used."""
        single = (self.id, self.question, self.hypothesis, self.answer, self.rationale_source, self.cluster, self.split)
        return [
            name
            for name in (*single, *(column for column, _ in self.rationale_columns()), *self.choice_columns())
            if name
        ]

    def rationale_columns(self) -> list[tuple[str, str]]:
        """(column, name of its source or "") of every column that holds rationales."""
        parts = [part.strip().partition(":") for part in self.rationale.split("+") if part.strip()]
        return [(column.strip(), name.strip()) for column, _, name in parts]

    def noted(self) -> dict[str, Any]:
        """The map as it is kept with a task. What was added later and is not used is left out, so that the same files
        make the same task.
        """
        return {name: value for name, value in vars(self).items() if name != "inline_choices" or value}

    def choice_columns(self) -> list[str]:
        return [name.strip() for name in self.choices.split("+") if name.strip()]


def header_of(rows: Iterable[Row]) -> list[str]:
    """The column names of some rows, those of nested objects with a dot, in order of appearance."""
    header: dict[str, None] = {}
    for row in rows:
        for name, value in row.items():
            header[str(name)] = None
            if isinstance(value, Mapping):
                header.update({f"{name}.{inner}": None for inner in value})
    return list(header)


def guess_columns(header: Sequence[str], rows: Iterable[Row] = ()) -> ColumnMap:
    """The map that fits a header: hub and original forms of CommonsenseQA, OpenBookQA, QuaRel, CoS-E and e-SNLI, and
    choices in columns of their own. rows: some of the rows, by whose questions one can see whether the choices stand in
    them."""
    known = {name.casefold(): name for name in reversed(header)}
    chosen = {field: next((known[n] for n in names if n in known), "") for field, names in NAMES.items()}
    if not chosen["hypothesis"] and chosen["question"].casefold() in ("premise", "sentence1"):
        chosen["question"] = ""
    if chosen["hypothesis"]:
        chosen["question"] = next((known[n] for n in ("premise", "sentence1") if n in known), "")
        if not chosen["question"]:
            chosen["question"] = next((known[n] for n in NAMES["question"] if n in known), "")
    if not chosen["choices"]:
        chosen["choices"] = "+".join(_separate(known))
    fixed = NLI if chosen["hypothesis"] and not chosen["choices"] else ""
    guess = replace(ColumnMap(fixed_choices=fixed), **chosen)  # type: ignore[arg-type]
    if guess.missing() == ["choices"]:
        questions = [at(row, guess.question) for row in islice(rows, 20)]
        guess = replace(
            guess,
            inline_choices=bool(questions) and all(isinstance(q, str) and len(inline(q)[1]) > 1 for q in questions),
        )
    return guess


def inline(question: str) -> tuple[str, list[tuple[str, str]]]:
    """A question that ends in "(A) this (B) that", cut into its stem and (label, text) pairs; none if it does not."""
    marks = list(INLINE.finditer(question))
    starts = [place for place, mark in enumerate(marks) if mark.group(1) in "A1"]
    if not starts:
        return question, []
    run = marks[starts[-1] :]
    first = ord(run[0].group(1))
    if [mark.group(1) for mark in run] != [chr(first + place) for place in range(len(run))]:
        return question, []
    ends = [mark.start() for mark in run[1:]] + [len(question)]
    pairs = [(mark.group(1), question[mark.end() : end].strip(" ,;\t\n")) for mark, end in zip(run, ends, strict=True)]
    return question[: run[0].start()].strip(), pairs


def _separate(known: Mapping[str, str]) -> list[str]:
    letters, patterns = SEPARATE
    runs = [
        letters,
        *(tuple(p.format(x) for x in series) for p in patterns for series in (letters, "12345678", "01234567")),
    ]
    best: list[str] = []
    for run in runs:
        held = []
        for name in run:
            if name not in known:
                break
            held.append(known[name])
        best = held if len(held) > max(1, len(best)) else best
    return best


def at(row: Row, path: str) -> Any:
    """The value at a column name or dotted path; None if there is none."""
    if not path:
        return None
    if path in row:
        return row[path]
    value: Any = row
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def text_of(value: Any, what: str) -> str | None:
    """A cell as trimmed text, None if it is empty; DataError (the reason only) if it cannot be text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str):
        raise DataError(f"the {what} is a {type(value).__name__}; expected text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(f"the {what} holds half a character (an unpaired surrogate)") from None
    return value.strip().replace("\0", "") or None


def needed(value: Any, what: str) -> str:
    """As `text_of`, but an empty cell is refused."""
    text = text_of(value, what)
    if text is None:
        raise DataError(f"the {what} is empty")
    return text


def question_of(row: Row, columns: ColumnMap) -> str:
    question = needed(at(row, columns.question), "question")
    if columns.inline_choices:
        question = needed(inline(question)[0], "question before its choices")
    if columns.hypothesis:
        return f"Premise: {question} Hypothesis: {needed(at(row, columns.hypothesis), 'hypothesis')}"
    return question


def choices_of(row: Row, columns: ColumnMap) -> tuple[Choice, ...]:
    """The choices of a row, two or more with labels of their own; DataError with the reason."""
    pairs: Sequence[tuple[Any, Any]]
    if columns.inline_choices:
        pairs = inline(needed(at(row, columns.question), "question"))[1]
        if not pairs:
            raise DataError("the question does not end in its choices; expected ... (A) this (B) that")
    elif columns.fixed_choices:
        pairs = _labelled(columns.fixed_choices.split("|"))
    elif len(several := columns.choice_columns()) > 1:
        cells = [text_of(at(row, name), f"choice in column {name}") for name in several]
        # A question with fewer choices leaves the last columns empty.
        while cells and cells[-1] is None:
            cells.pop()
        pairs = _labelled(cells)
    else:
        pairs = _pairs(at(row, columns.choices))
    choices = tuple(
        Choice(needed(label, "label of a choice"), needed(text, "text of a choice")) for label, text in pairs
    )
    if len(choices) < 2:
        raise DataError(f"there {'is one choice' if choices else 'are no choices'}; expected two or more")
    labels = [choice.label for choice in choices]
    if len(set(labels)) < len(labels):
        raise DataError(f"two choices have the same label ({', '.join(labels)})")
    return choices


def _labelled(texts: Iterable[Any]) -> list[tuple[Any, Any]]:
    listed = list(texts)
    names: Sequence[str] = string.ascii_uppercase if len(listed) <= 26 else [str(i + 1) for i in range(len(listed))]
    return list(zip(names, listed, strict=False))


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, Mapping):
        texts, labels = value.get("text"), value.get("label")
        if isinstance(texts, Sequence) and not isinstance(texts, str):
            if labels is None:
                return _labelled(texts)
            if isinstance(labels, str) or not isinstance(labels, Sequence) or len(labels) != len(texts):
                raise DataError("the choices have not as many labels as texts")
            return list(zip(labels, texts, strict=True))
        if value and all(isinstance(text, str) for text in value.values()):
            return list(value.items())
        raise DataError("the choices are an object without a list 'text'")
    if value is None:
        raise DataError("there are no choices; expected two or more")
    if not isinstance(value, Sequence):
        raise DataError(f"the choices are a {type(value).__name__}; expected a list")
    if value and all(isinstance(item, Mapping) for item in value):
        if all("label" in item for item in value):
            return [(item["label"], item.get("text")) for item in value]
        return _labelled([item.get("text") for item in value])
    return _labelled(value)


def _parsed(text: str) -> Any:
    """Choices in one cell of a CSV: JSON, or texts between bars."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise DataError("the choices look like JSON but cannot be read") from None
    return text.split("|")


def number_of(value: Any) -> int | None:
    """An answer that is a whole number, also as text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,6}\s*", value):
        value = int(value)
    return value if isinstance(value, int) else None


def first_number(rows: Iterable[tuple[Any, Sequence[Choice]]]) -> int:
    """Whether numbers as answers count from 0 or from 1: from 1 if some answer equals the number of choices and none is
    0.
    """
    numbers = [(number_of(answer), len(choices)) for answer, choices in rows]
    return 1 if any(n == count for n, count in numbers) and not any(n == 0 for n, _ in numbers) else 0


def answer_of(value: Any, choices: Sequence[Choice], first: int) -> str:
    """The label of the right choice, given by label, text or number; DataError with the reason if it is no choice."""
    stated = needed(value, "answer")
    labels = [choice.label for choice in choices]
    for same in (str.strip, str.casefold):
        if same(stated) in [same(label) for label in labels]:
            return labels[[same(label) for label in labels].index(same(stated))]
    texts = [choice.text.casefold() for choice in choices]
    if texts.count(stated.casefold()) == 1:
        return labels[texts.index(stated.casefold())]
    if stated.casefold() in texts:
        raise DataError(f"the answer {stated[:60]!r} is the text of two choices")
    number = number_of(value)
    if number is not None and 0 <= number - first < len(choices):
        return labels[number - first]
    raise DataError(
        f"the answer {stated[:60]!r} is no choice; expected one of {', '.join(labels)[:80]} or the text of one"
    )

"""Which column of a file holds what, guessed from names; and one row of a file read into question, choices and
answer.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import Any

from cotdistill.config import param
from cotdistill.errors import DataError
from cotdistill.tasks.example import ANSWER_KINDS, NUMBER, TEXT, Choice
from cotdistill.tasks.importing.cells import Row, at, needed, text_of
from cotdistill.tasks.importing.conversations import is_conversation
from cotdistill.tasks.importing.written import FINAL, guessed_kind

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
        "explanation.open-ended",
        "reason",
        "exp",
        "response",
        "support",
        "lecture",
        "facts",
        "cot",
        "chain_of_thought",
        "thinking",
        "thought",
        "justification",
        "generations",
    ),
    "rationale_source": ("rationale_source",),
    "cluster": ("cluster",),
    "split": ("split",),
}
SEPARATE = (
    ("a", "b", "c", "d", "e", "f", "g", "h"),
    ("option{}", "option_{}", "choice{}", "choice_{}", "opt{}", "sol{}", "ending{}", "answer{}", "op{}"),
)
# Lists of whole rationales; other lists hold the sentences of one.
SAMPLES = ("generations", "rationales", "explanations", "solutions")
NLI = "entailment|neutral|contradiction"
# A text that the question is about, joined before it in this order.
PASSAGES = ("passage", "context", "article", "hint", "support")
# "(A) this (B) that" within a question; "A. this" or "A) this" on lines of their own; "- this" below OPTIONS.
INLINE = re.compile(r"\(\s?([A-Z]|[1-9])\s?\)")
LINES = re.compile(r"^[ \t]*([A-Z]|[1-9])[.)][ \t]*", re.MULTILINE)
DASHES = re.compile(r"^[ \t]*[-•*][ \t]+", re.MULTILINE)
HEADING = re.compile(r"\s*(?:options|choices|answer choices)\s*:?\s*\Z", re.IGNORECASE)
# How a choice that is an object names its label and its text.
LABEL_NAMES = ("label", "key", "letter", "id")
TEXT_NAMES = ("text", "value", "content", "option")
# A letter that stands before the text of a choice: "(A) this", "A) this", "A. this".
LETTERED = re.compile(r"\(?([A-Z])[).:]\s*")


@dataclass(frozen=True)
class ColumnMap:
    """Which column holds which field; empty where the file has none. A dot goes into nested values
    (`question.stem`).
    """

    id: str = param("", "the row's id; without one rows are numbered")
    question: str = param("", "the question; several columns joined by + are joined in that order (context+question)")
    passage: str = param("", "what the question is about, with a place of its own in the template ({passage})")
    hypothesis: str = param("", "a second sentence: the question becomes 'Premise: ... Hypothesis: ...'")
    choices: str = param("", "the choices: one column, or several joined by + (a+b+c+d)")
    fixed_choices: str = param("", "choices that are the same in every row, separated by | (no|yes)")
    inline_choices: bool = param(False, "the choices end the question: '... (A) this (B) that'")
    answer: str = param("", "the right choice: its label, its text or its number")
    answer_is: str = param(
        "",
        "how answers are read: label, text or number; by what fits every row if empty",
        choices=("", "label", "text", "number"),
    )
    answer_kind: str = param(
        "",
        "choice, or written: number or text; by the answers if empty",
        choices=("", *ANSWER_KINDS),
    )
    calculator: str = param(
        "remove", "marks such as <<48/2=24>> in rationales of written answers", choices=("remove", "keep")
    )
    values: str = param("", "what other values of the answer stand for (false=no,true=yes)")
    first_number: int = param(
        -1, "what number the first choice has where answers are numbers; -1 tells 0 from 1 by the data", low=-1, high=1
    )
    rationale: str = param(
        "",
        "the rationale; several columns joined by + are several sources, COLUMN:NAME names one, and of COLUMN[] each"
        " entry of a list is a rationale of its own",
    )
    rationale_source: str = param("", "who wrote the rationale")
    cluster: str = param("", "what groups rows that are not independent")
    split: str = param("", "train, dev or test, where one file holds them all")

    def missing(self) -> list[str]:
        """The fields an import cannot do without."""
        absent = [name for name in ("question", "answer") if not getattr(self, name)]
        if self.is_written:
            return absent
        return absent if self.choices or self.fixed_choices or self.inline_choices else [*absent, "choices"]

    @property
    def is_written(self) -> bool:
        return self.answer_kind in (NUMBER, TEXT)

    def names(self) -> list[str]:
        """Every column that is used."""
        single = (
            self.id,
            *self.passage_columns(),
            *self.question_columns(),
            self.hypothesis,
            self.answer,
            self.rationale_source,
            self.cluster,
            self.split,
        )
        return [
            name
            for name in (*single, *(column for column, _ in self.rationale_columns()), *self.choice_columns())
            if name
        ]

    def rationale_columns(self) -> list[tuple[str, str]]:
        """(column, name of its source or "") of every column that holds rationales."""
        parts = [part.partition(":") for part in _joined(self.rationale)]
        return [(column.strip().removesuffix("[]"), name.strip()) for column, _, name in parts]

    def listed_rationales(self) -> set[str]:
        """The columns of rationales in which each entry of a list is a rationale of its own."""
        parts = (part.partition(":")[0].strip() for part in _joined(self.rationale))
        return {part.removesuffix("[]") for part in parts if part.endswith("[]")}

    def noted(self) -> dict[str, Any]:
        """The map as it is kept with a task. What was added later and is not used is left out, so that the same files
        make the same task.
        """
        later = ("inline_choices", "answer_is", "values", "passage", "answer_kind", "calculator")
        unused = {name for name in later if getattr(self, name) == getattr(ColumnMap, name)}
        return {name: value for name, value in vars(self).items() if name not in unused}

    def set_fields(self) -> dict[str, Any]:
        """The fields that differ from an empty map."""
        empty = vars(ColumnMap())
        return {name: value for name, value in vars(self).items() if value != empty[name]}

    def question_columns(self) -> list[str]:
        return list(_joined(self.question))

    def asked_column(self) -> str:
        """The last column of the question, which holds what is asked; "" where no column was recognised."""
        return (self.question_columns() or [""])[-1]

    def passage_columns(self) -> list[str]:
        return list(_joined(self.passage))

    def named_values(self) -> dict[str, str]:
        """What other values of the answer stand for, without case."""
        pairs = (part.partition("=") for part in self.values.split(",") if part.strip())
        return {value.strip().casefold(): meaning.strip() for value, _, meaning in pairs}

    def choice_columns(self) -> list[str]:
        return list(_joined(self.choices))


@lru_cache(maxsize=256)
def _joined(names: str) -> tuple[str, ...]:
    """The names in context+question; asked once per row and field."""
    return tuple(name.strip() for name in names.split("+") if name.strip())


@lru_cache(maxsize=16)
def used_columns(columns: ColumnMap) -> frozenset[str]:
    """Every column that a map reads."""
    return frozenset(columns.names())


def header_of(rows: Iterable[Row]) -> list[str]:
    """The column names of some rows, those of nested objects with a dot, in order of appearance."""
    header: dict[str, None] = {}
    for row in rows:
        for name, value in row.items():
            header[str(name)] = None
            # The quick test first: the other asks an abstract class, for every cell of a file.
            if not isinstance(value, (str, list, int, float)) and isinstance(value, Mapping):
                header.update({f"{name}.{inner}": None for inner in value})
    return list(header)


def guess_columns(header: Sequence[str], rows: Iterable[Row] = ()) -> ColumnMap:
    """The map that fits a header: hub and original forms of CommonsenseQA, OpenBookQA, QuaRel, CoS-E and e-SNLI, and
    choices in columns of their own. rows: some of the rows, by whose questions one can see whether the choices stand in
    them."""
    known = {name.casefold(): name for name in reversed(header)}
    seen = list(islice(rows, 20))
    nested = {name for name in header if any(isinstance(at(row, name), Mapping) for row in seen)}
    chosen = {
        field: next((known[n] for n in names if n in known and (field == "choices" or known[n] not in nested)), "")
        for field, names in NAMES.items()
    }
    if chosen["rationale"] in (chosen["answer"], chosen["question"]):
        chosen["rationale"] = ""
    for name in header:
        if any(is_conversation(at(row, name)) for row in seen):
            # Chat data: the last turns of user and assistant.
            chosen["question"] = chosen["question"] or f"{name}.user"
            chosen["rationale"] = chosen["rationale"] or f"{name}.assistant"
    if chosen["rationale"].casefold() in SAMPLES and any(
        isinstance(at(row, chosen["rationale"]), list) for row in seen
    ):
        chosen["rationale"] += "[]"
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
    if guess.question and not guess.hypothesis:
        used = set(guess.names())
        texts = [name for name in PASSAGES if name in known and known[name] not in used]
        passages = [known[name] for name in texts if any(isinstance(at(row, known[name]), str) for row in seen)]
        guess = replace(guess, question="+".join([*passages, guess.question]))
    if not guess.answer and guess.question and not guess.choices and not guess.fixed_choices:
        # A worked solution that ends in its answer, without a column for the answer alone.
        solution = next((name for name, _ in guess.rationale_columns()), "")
        if guessed_kind([at(row, solution) for row in seen]) and any(
            FINAL in str(at(row, solution)) or "boxed" in str(at(row, solution)) for row in seen
        ):
            guess = replace(guess, answer=solution, rationale="")
    if guess.missing() == ["choices"]:
        questions = [at(row, guess.asked_column()) for row in seen]
        guess = replace(
            guess,
            inline_choices=bool(questions) and all(isinstance(q, str) and len(inline(q)[1]) > 1 for q in questions),
        )
    if guess.missing() == ["choices"]:
        guess = replace(guess, answer_kind=guessed_kind([at(row, guess.answer) for row in seen]))
    return guess


def inline(question: str) -> tuple[str, list[tuple[str, str]]]:
    """A question that ends in its choices, cut into its stem and (label, text) pairs; no pairs if it does not.

    Forms: "... (A) this (B) that"; "A. this" or "A)this" on lines of their own; "- this" on lines below OPTIONS.
    """
    for pattern in (INLINE, LINES):
        marks = list(pattern.finditer(question))
        starts = [place for place, mark in enumerate(marks) if mark.group(1) in "A1"]
        run = marks[starts[-1] :] if starts else []
        if len(run) > 1 and [m.group(1) for m in run] == [chr(ord(run[0].group(1)) + i) for i in range(len(run))]:
            return _stem(question, run[0].start()), _cut(question, run, [mark.group(1) for mark in run])
    marks = list(DASHES.finditer(question))
    if len(marks) > 1 and HEADING.search(question[: marks[0].start()]):
        return _stem(question, marks[0].start()), _cut(question, marks, list(string.ascii_uppercase))
    return question, []


def _stem(question: str, end: int) -> str:
    return HEADING.sub("", question[:end]).strip()


def _cut(question: str, marks: Sequence[re.Match[str]], labels: Sequence[str]) -> list[tuple[str, str]]:
    """The texts between marks, each with a label."""
    ends = [mark.start() for mark in marks[1:]] + [len(question)]
    texts = [question[mark.end() : end].strip(" ,;\t\n") for mark, end in zip(marks, ends, strict=True)]
    return list(zip(labels, texts, strict=False))


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


def question_of(row: Row, columns: ColumnMap) -> str:
    """The question of a row: its passages first, each on lines of its own, then what is asked."""
    before = columns.question_columns()[:-1]
    question = needed(at(row, columns.asked_column()), "question")
    if columns.inline_choices:
        question = needed(inline(question)[0], "question before its choices")
    if columns.hypothesis:
        question = f"Premise: {question} Hypothesis: {needed(at(row, columns.hypothesis), 'hypothesis')}"
    return "\n".join([*_texts(row, columns.passage_columns()), *_texts(row, before), question])


def passage_lines(row: Row, columns: ColumnMap) -> int:
    """How many lines of a row's question are its passage: the columns of `passage`, else all but the last of
    `question`.
    """
    names = columns.passage_columns() or columns.question_columns()[:-1]
    if not names:
        return 0
    passages = _texts(row, names)
    return sum(text.count("\n") + 1 for text in passages)


def _texts(row: Row, columns: Sequence[str]) -> list[str]:
    """The texts in some columns of a row, without the empty ones."""
    texts = [text_of(at(row, name), f"passage in column {name}") for name in columns]
    return [text for text in texts if text]


def unread_texts(rows: Sequence[Row], columns: ColumnMap) -> list[str]:
    """Columns that hold text in most of these rows and that no field reads: 20 letters on average, not all the same."""
    used = set(columns.names())
    unread = []
    for name in header_of(rows):
        values = [value for row in rows if isinstance(value := at(row, name), str) and value.strip()]
        long = len(set(values)) > 1 and sum(map(len, values)) >= 20 * len(values)
        if name not in used and 2 * len(values) > len(rows) and long:
            unread.append(name)
    return unread


def own_labels(rows: Sequence[Row], columns: ColumnMap) -> bool:
    """Whether the file names its choices itself; else their labels are our numbering."""
    if columns.inline_choices:
        return bool(rows) and all(LINES.search(q) or INLINE.search(q) for q in _asked(rows, columns))
    if columns.fixed_choices or len(columns.choice_columns()) > 1:
        return False
    cells = [at(row, columns.choices) for row in rows]
    parsed = [_parsed(cell) if isinstance(cell, str) and cell.lstrip()[:1] in ("[", "{") else cell for cell in cells]
    return bool(parsed) and all(
        (isinstance(cell, Mapping) and set(cell) != {"text"})
        or (isinstance(cell, list) and cell and all(_has_label(part) for part in cell))
        for cell in parsed
    )


def _has_label(part: Any) -> bool:
    return isinstance(part, Mapping) and bool(_first_of(part, LABEL_NAMES))


def _asked(rows: Sequence[Row], columns: ColumnMap) -> list[str]:
    return [str(at(row, columns.asked_column())) for row in rows]


def without_letters(choices: Sequence[Choice]) -> tuple[Choice, ...] | None:
    """Choices whose texts begin with their own letters, in order ("A)324"), without them; None if they do not."""
    if not choices or not LETTERED.match(choices[0].text):
        return None
    marks = [LETTERED.match(choice.text) for choice in choices]
    if not all(marks) or [m.group(1) for m in marks if m] != list(string.ascii_uppercase[: len(choices)]):
        return None
    texts = [choice.text[mark.end() :].strip() for choice, mark in zip(choices, marks, strict=True) if mark]
    return tuple(Choice(c.label, text) for c, text in zip(choices, texts, strict=True)) if all(texts) else None


def choices_of(row: Row, columns: ColumnMap) -> tuple[Choice, ...]:
    """The choices of a row, two or more with labels of their own; DataError with the reason."""
    pairs: Sequence[tuple[Any, Any]]
    if columns.inline_choices:
        pairs = inline(needed(at(row, columns.asked_column()), "question"))[1]
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
        # A question with fewer choices leaves the others empty.
        filled = {label: text for label, text in value.items() if text is not None}
        if filled and all(isinstance(text, str) for text in filled.values()):
            return list(filled.items())
        raise DataError("the choices are an object without a list 'text'")
    if value is None:
        raise DataError("there are no choices; expected two or more")
    if not isinstance(value, Sequence):
        raise DataError(f"the choices are a {type(value).__name__}; expected a list")
    if value and all(isinstance(item, dict) for item in value):
        texts = [_first_of(item, TEXT_NAMES) for item in value]
        labels = [_first_of(item, LABEL_NAMES) for item in value]
        return list(zip(labels, texts, strict=True)) if all(labels) else _labelled(texts)
    return _labelled(value)


def _first_of(item: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The value of the first of these names that an object has."""
    for name in names:
        if (value := item.get(name)) is not None:
            return value
    return None


def _parsed(text: str) -> Any:
    """Choices in one cell of a CSV: JSON, or texts between bars."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise DataError("the choices look like JSON but cannot be read") from None
    return text.split("|")

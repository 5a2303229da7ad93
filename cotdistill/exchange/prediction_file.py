"""Answers that any other code made, read from a file: one row a question, condition and replicate, with a probability
for every choice.

Every row is checked by itself, then all of them together: what cannot be compared is told, row by row, before anything
is believed.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotdistill.config import param
from cotdistill.errors import BadRows, DataError, RowProblem, UnknownName
from cotdistill.exchange.scorer_logs import TABLES, LogChoice, log_files, read_logs
from cotdistill.tasks.example import Example
from cotdistill.tasks.importing.cells import Row
from cotdistill.tasks.importing.columns import header_of
from cotdistill.tasks.importing.files import Record, read_records
from cotdistill.tasks.task import Task

# Names met in the wild, the likeliest first; compared without case.
NAMES = {
    "item": ("item", "item_id", "id", "example", "example_id", "question_id", "qid"),
    "condition": ("condition",),
    "replicate": ("replicate", "seed"),
    "probabilities": ("probabilities", "probs", "choice_probabilities", "scores", "logprobs", "log_likelihoods"),
    "answer": ("answer", "gold", "label"),
    "cluster": ("cluster",),
    "prediction": ("prediction", "predicted"),
    "tokens": ("tokens", "training_tokens"),
    "split": ("split",),
    "correct": ("correct", "is_correct", "acc", "right", "exact_match"),
    "choices": ("choices",),
}
NEEDED = ("item", "condition", "replicate")
SEPARATE = re.compile(r"(p|prob|probability|score|logprob)_(.+)", re.IGNORECASE)
SCORES = ("prob", "log")
# How far probabilities may be from a sum of 1.
TOLERANCE = 1e-3
# A choice of probability 0 counts as this much where logarithms are taken, which is for margins alone.
FLOOR = 1e-12
NO_ANSWER = ("-1", "none")
RIGHT = {**dict.fromkeys(("1", "1.0", "true"), 1.0), **dict.fromkeys(("0", "0.0", "false"), 0.0)}


@dataclass(frozen=True)
class AnswerColumns:
    """Which column holds which field; empty where the file has none."""

    item: str = param("", "the question's id")
    condition: str = param("", "what the student was trained under")
    replicate: str = param(
        "", "which repetition, a whole number; the same number in two conditions means the same questions and seeds"
    )
    probabilities: str = param(
        "",
        "a number for every choice: a list, or the text of a JSON list; without it, columns p_0, p_1 ... or prob_A,"
        " prob_B ...",
    )
    answer: str = param("", "the right choice: its label, or its place counted from 0; not needed with a task")
    cluster: str = param("", "what groups questions that are not independent")
    prediction: str = param("", "what was answered, if not the likeliest choice; -1 where no answer could be read")
    tokens: str = param("", "tokens that the student was trained on, the same in all rows of a run")
    split: str = param("", "test, or dev for rows that only fix the margin of 'no worse'")
    correct: str = param("", "1 or 0, for answers in free text: instead of probabilities and answer")
    choices: str = param("", "beside correct: how many choices the question had, which says how good guessing is")


@dataclass(frozen=True)
class AnswersConfig:
    """What makes a run of imported answers: its identity is that of its content. answers: digest of its rows."""

    task: str
    task_digest: str
    student: str
    condition: str
    replicate: int
    answers: str


@dataclass(slots=True)
class PredictionRow:
    """One row. answer, predicted: places of choices; parsed: that of what was said, -1 where nothing could be read.
    scores: in nats.
    """

    line: int
    item: str
    cluster: str
    condition: str
    replicate: int
    split: str
    answer: int
    predicted: int
    parsed: int
    probabilities: tuple[float, ...]
    scores: tuple[float, ...]
    tokens: float | None
    file: str = ""
    # Of an answer that is only right or wrong, its places are right (0) and wrong (1): accuracy of guessing.
    guessed: float | None = None

    @property
    def chance(self) -> float:
        return 1 / len(self.scores) if self.guessed is None else self.guessed

    @property
    def correct(self) -> bool:
        return self.parsed == self.answer

    @property
    def margin(self) -> float:
        """Score of the right choice minus that of the best other one."""
        return self.scores[self.answer] - max(score for place, score in enumerate(self.scores) if place != self.answer)


@dataclass(frozen=True)
class PredictionFile:
    """A file of answers, all of which can be compared. columns: which were read. nested: each replicate has questions
    of its own.
    """

    rows: tuple[PredictionRow, ...]
    columns: AnswerColumns
    nested: bool
    notes: tuple[str, ...] = ()  # what a person should know of the files

    def runs(self, split: str = "test") -> dict[tuple[str, int], list[PredictionRow]]:
        """The rows of each (condition, replicate), by item."""
        runs: dict[tuple[str, int], list[PredictionRow]] = defaultdict(list)
        for row in self.rows:
            if row.split == split:
                runs[row.condition, row.replicate].append(row)
        return {key: sorted(mine, key=lambda row: row.item) for key, mine in runs.items()}


def read_answers(
    path: Path,
    columns: AnswerColumns | None = None,
    *,
    scores: str = "prob",
    task: Task | None = None,
    choice: LogChoice | None = None,
) -> PredictionFile:
    """The answers in a CSV, Parquet or JSONL file, in what another library wrote, or in a folder of either
    (`scorer_logs`). scores: "prob" for probabilities, "log" for log-likelihoods, of
    which the softmax is taken.

    DataError if a column is not known; BadRows with every row that cannot be used; DataError where rows are missing
    that others have.
    """
    if not path.is_dir() and not log_files(path):
        records, problems = read_records(path)
        return answers_of(records, problems, path.name, columns, scores=scores, task=task)
    logs = read_logs(path, choice or LogChoice())
    if logs.kind == TABLES:
        return answers_of(logs.records, list(logs.problems), path.name, columns, scores=scores, task=task)
    answers = answers_of(
        logs.records, list(logs.problems), path.name, None, scores="log" if logs.log else "prob", task=task
    )
    return dataclasses.replace(answers, notes=logs.notes)


def answers_of(
    records: Sequence[Record],
    problems: list[RowProblem],
    name: str,
    columns: AnswerColumns | None,
    *,
    scores: str,
    task: Task | None,
) -> PredictionFile:
    """The same for rows that were read already. problems: rows that could not be; name: what refusals call the file."""
    header = header_of(record.row for record in records)
    chosen = _columns(columns, header)
    labels = _separate(header) if not chosen.probabilities else {}
    if not chosen.probabilities and not labels and not chosen.correct:
        raise DataError(
            f"{name} has no column with probabilities.",
            "Expected a list in a column `probabilities`, or columns p_0, p_1 ... or prob_A, prob_B ...; for free text"
            " a column `correct` with 1 or 0.",
        )
    judged = not chosen.probabilities and not labels
    if judged and task is not None:
        raise DataError(
            f"{name} says only which answers are right, not which choice was taken: it fits no task's choices.",
            "Leave out --task.",
        )
    if not chosen.answer and task is None and not judged:
        raise DataError(
            f"{name} has no column with the right answer.",
            "Add a column `answer`, or name the imported task (--task).",
        )
    read = RowReader(
        chosen,
        labels,
        scores == "log",
        {s: {e.id: e for e in task.examples(s)} for s in ("test", "dev")} if task else {},
    )
    rows: list[PredictionRow] = []
    for record in records:
        try:
            rows.append(read(record))
        except DataError as error:
            problems.append(RowProblem(record.file, record.line, error.message))
    problems += _contradictions(rows)
    if problems:
        raise BadRows(sorted(problems, key=lambda p: (p.file, p.line)), "Correct them; nothing was imported.")
    if gaps := _gaps(rows):
        raise incomparable(name, gaps)
    if not any(row.split == "test" for row in rows):
        raise DataError(f"{name} has no row of the test split.", "Rows of dev only fix the margin of 'no worse'.")
    sets = {frozenset(row.item for row in mine) for mine in PredictionFile(tuple(rows), chosen, False).runs().values()}
    return PredictionFile(tuple(rows), chosen, len(sets) > 1)


def incomparable(what: str, gaps: Sequence[str]) -> DataError:
    """The refusal of answers with gaps; what: a file, or a data frame."""
    shown = "; ".join(gaps[:20]) + (f"; and {len(gaps) - 20} more" if len(gaps) > 20 else "")
    return DataError(
        f"{what} cannot be compared: {shown}.",
        "Every condition answers the same questions in each of its replicates.",
    )


def _columns(mapping: AnswerColumns | None, header: Sequence[str]) -> AnswerColumns:
    """The columns to read: those said, and those guessed for the rest."""
    known = {name.casefold(): name for name in reversed(header)}
    guessed = {field: next((known[n] for n in names if n in known), "") for field, names in NAMES.items()}
    said = {} if mapping is None else {field: name for field, name in vars(mapping).items() if name}
    for name in said.values():
        if name not in header:
            raise UnknownName("column", name, header)
    chosen = AnswerColumns(**{**guessed, **said})
    if missing := [field for field in NEEDED if not getattr(chosen, field)]:
        raise DataError(
            f"No column is known for {', '.join(missing)}; the file has: {', '.join(header)[:300] or 'none'}.",
            "Say which is which with --columns.",
        )
    return chosen


def _separate(header: Sequence[str]) -> dict[str, str]:
    """Column -> label of its choice, in the order of the choices: p_0, p_1 ... or prob_A, prob_B ...; empty if there
    are no such columns.
    """
    values: dict[str, dict[str, str]] = defaultdict(dict)
    for name in header:
        if match := SEPARATE.fullmatch(name):
            values[match.group(1).casefold()][name] = match.group(2)
    best = max(values.values(), key=len, default={})
    if len(best) < 2:
        return {}
    if all(label.isdecimal() for label in best.values()):
        return dict(sorted(best.items(), key=lambda item: int(item[1])))
    return best


class RowReader:
    """Reads one row; DataError says what is wrong with it."""

    def __init__(
        self,
        columns: AnswerColumns,
        labels: Mapping[str, str],
        log: bool,
        examples: Mapping[str, Mapping[str, Example]],
    ) -> None:
        self.columns, self.labels, self.log, self.examples = columns, labels, log, examples

    def __call__(self, record: Record) -> PredictionRow:
        row, columns = record.row, self.columns
        item, condition = _text(row, columns.item, "item"), _text(row, columns.condition, "condition")
        replicate = _whole(row.get(columns.replicate), "replicate")
        split = (_optional(row, columns.split) or "test").casefold()
        if split not in ("test", "dev"):
            raise DataError(f"the split is {split[:40]!r}; expected test or dev")
        if not columns.probabilities and not self.labels:
            return self._judged(record, item, condition, replicate, split)
        numbers = self._numbers(row)
        example = self._example(item, split, len(numbers))
        probabilities, scores = _from_log(numbers) if self.log else _from_probabilities(numbers)
        labels = [choice.label for choice in example.choices] if example else list(self.labels.values())
        answer = self._answer(row, example, labels, len(numbers))
        likeliest = max(range(len(scores)), key=scores.__getitem__)
        said = _optional(row, columns.prediction)
        parsed = (
            likeliest
            if said is None
            else -1
            if said.casefold() in NO_ANSWER
            else _choice(said, labels, len(numbers), "prediction")
        )
        tokens = self._tokens(row)
        cluster = _optional(row, columns.cluster) or (example.cluster if example else "") or item
        predicted = parsed if parsed >= 0 else likeliest
        return PredictionRow(
            record.line,
            item,
            cluster,
            condition,
            replicate,
            split,
            answer,
            predicted,
            parsed,
            probabilities,
            scores,
            tokens,
            record.file,
        )

    def _judged(self, record: Record, item: str, condition: str, replicate: int, split: str) -> PredictionRow:
        """A row that is only right or wrong."""
        row, columns = record.row, self.columns
        right = RIGHT.get((_optional_answer(row, columns.correct) or "").casefold())
        if right is None:
            raise DataError(
                f"{columns.correct} is {str(row.get(columns.correct))[:40]!r}; expected 1 for a right answer, 0 for a"
                " wrong one"
            )
        choices = _optional(row, columns.choices)
        if choices is not None and _whole(choices, "number of choices") < 2:
            raise DataError(f"the number of choices is {choices[:40]}; expected at least 2, or nothing for free text")
        numbers = (1.0, 0.0) if right else (0.0, 1.0)
        probabilities, scores = _from_probabilities(numbers)
        cluster = _optional(row, columns.cluster) or item
        taken = 0 if right else 1
        return PredictionRow(
            record.line, item, cluster, condition, replicate, split, 0, taken, taken, probabilities, scores,
            self._tokens(row), record.file, 1 / int(choices) if choices else 0.0,
        )  # fmt: skip

    def _tokens(self, row: Row) -> float | None:
        count = row.get(self.columns.tokens) if self.columns.tokens else None
        tokens = None if count in (None, "") else _number(count, "tokens")
        if tokens is not None and tokens < 0:
            raise DataError(f"tokens are {tokens:g}; expected a number that is not negative")
        return tokens

    def _numbers(self, row: Row) -> list[float]:
        if self.columns.probabilities:
            cell = row.get(self.columns.probabilities)
            if isinstance(cell, str):
                try:
                    cell = json.loads(cell)
                except (ValueError, RecursionError):
                    raise DataError(
                        f"{self.columns.probabilities} is {cell[:40]!r}; expected a list such as [0.1, 0.9]"
                    ) from None
            if not isinstance(cell, (list, tuple)):
                raise DataError(f"{self.columns.probabilities} is {str(cell)[:40]!r}; expected a list of numbers")
        else:
            cells = [row.get(name) for name in self.labels]
            # A question with fewer choices than others leaves the last cells empty.
            filled = [value not in (None, "") for value in cells]
            cell = cells[: filled.index(False)] if False in filled else cells
            if any(filled[len(cell) :]):
                raise DataError(f"{list(self.labels)[len(cell)]} is empty, and a later choice has a number")
        if len(cell) < 2:
            raise DataError(f"{len(cell)} choices have a number; expected at least two")
        return [_number(value, f"choice {place}") for place, value in enumerate(cell)]

    def _example(self, item: str, split: str, choices: int) -> Example | None:
        if not self.examples:
            return None
        example = self.examples[split].get(item)
        if example is None:
            raise DataError(f"the {split} split of the task has no question {item[:60]!r}")
        if len(example.choices) != choices:
            raise DataError(f"{choices} choices have a number; the question has {len(example.choices)} in the task")
        return example

    def _answer(self, row: Row, example: Example | None, labels: Sequence[str], choices: int) -> int:
        said = _optional(row, self.columns.answer)
        if example is None:
            if said is None:
                raise DataError("the right answer is missing")
            return _choice(said, labels, choices, "answer")
        if said is not None and said not in (example.answer, str(example.gold)):
            raise DataError(
                f"the right answer is {said[:40]!r}; in the task it is {example.answer!r} (number {example.gold})"
            )
        return example.gold


def _from_probabilities(numbers: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if any(number < 0 for number in numbers):
        raise DataError(f"a probability is {min(numbers):g}; expected none below 0 (log-likelihoods: --scores log)")
    if abs((total := math.fsum(numbers)) - 1) > TOLERANCE:
        raise DataError(f"the probabilities sum to {total:.6g}; expected 1 (within {TOLERANCE:g})")
    return tuple(numbers), tuple(math.log(max(number, FLOOR)) for number in numbers)


def _from_log(numbers: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    most = max(numbers)
    shifted = [math.exp(number - most) for number in numbers]
    total = math.fsum(shifted)
    return tuple(value / total for value in shifted), tuple(numbers)


def _choice(said: str, labels: Sequence[str], choices: int, what: str) -> int:
    """The place of a choice that is named by its label, by its place counted from 0, or by a letter where there are no
    labels.
    """
    if said in labels[:choices]:
        return list(labels).index(said)
    # A column of whole numbers with an empty cell is written as 1.0 by some.
    said = re.sub(r"\.0+$", "", said)
    if said.isdecimal() and int(said[:9]) < choices:
        return int(said[:9])
    if not labels and re.fullmatch("[A-Z]", said) and ord(said) - ord("A") < choices:
        return ord(said) - ord("A")
    known = ", ".join(labels[:choices]) or f"0 to {choices - 1}, or A to {chr(ord('A') + choices - 1)}"
    raise DataError(f"the {what} is {said[:40]!r}; expected one of {known}")


def _text(row: Row, column: str, what: str) -> str:
    said = _optional(row, column)
    if said is None:
        raise DataError(f"the {what} is missing")
    if not said.isprintable() or len(said) > 500:
        raise DataError(f"the {what} is {said[:40]!r}; expected at most 500 printable characters")
    return said


def _optional(row: Row, column: str) -> str | None:
    value = row.get(column) if column else None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (bool, list, dict)):
        raise DataError(f"{column} is {str(value)[:40]!r}; expected text or a number")
    return str(value).strip() or None


def _optional_answer(row: Row, column: str) -> str | None:
    """As `_optional`, where true and false are values."""
    value = row.get(column)
    return str(value) if isinstance(value, bool) else _optional(row, column)


def _number(value: Any, what: str) -> float:
    try:
        number = math.nan if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{what} is {str(value)[:40]!r}; expected a finite number")
    return number


def _whole(value: Any, what: str) -> int:
    number = _number(value, f"the {what}")
    if not number.is_integer() or not 0 <= number < 2**31:
        raise DataError(f"the {what} is {str(value)[:40]!r}; expected a whole number that is not negative")
    return int(number)


def _contradictions(rows: Iterable[PredictionRow]) -> list[RowProblem]:
    """Rows that do not go with an earlier one: the same answer twice, another right answer, another number of choices,
    other tokens of one run.
    """
    problems: list[RowProblem] = []
    seen: dict[tuple[str, str, int, str], PredictionRow] = {}
    first: dict[tuple[str, str], PredictionRow] = {}
    run: dict[tuple[str, str, int], PredictionRow] = {}
    for row in rows:
        earlier = seen.setdefault((row.split, row.condition, row.replicate, row.item), row)
        other = first.setdefault((row.split, row.item), row)
        same = run.setdefault((row.split, row.condition, row.replicate), row)
        reasons = []
        if earlier is not row:
            reasons.append(
                f"{row.item[:60]!r} was answered by {row.condition[:60]}, replicate {row.replicate}, in"
                f" {_place(earlier, row)} already"
            )
        if (row.answer, row.cluster, len(row.scores)) != (other.answer, other.cluster, len(other.scores)):
            for what, here, there in (
                ("right answer", row.answer, other.answer), ("cluster", row.cluster, other.cluster),
                ("number of choices", len(row.scores), len(other.scores)),
            ):  # fmt: skip
                if here != there:
                    reasons.append(
                        f"the {what} of {row.item[:60]!r} is {here!r} here and {there!r} in {_place(other, row)}"
                    )
        if row.tokens != same.tokens:
            reasons.append(f"the tokens of this run are {row.tokens} here and {same.tokens} in {_place(same, row)}")
        problems += [RowProblem(row.file, row.line, reason) for reason in reasons]
    return problems


def _place(row: PredictionRow, other: PredictionRow) -> str:
    """Where a row stands, for a reader of the other one."""
    return f"line {row.line}" if row.file == other.file else f"{row.file} line {row.line}"


def _gaps(rows: Sequence[PredictionRow]) -> list[str]:
    """Which questions conditions lack, in both splits."""
    gaps: list[str] = []
    for split in ("test", "dev"):
        by_run: dict[tuple[str, str], set[str]] = defaultdict(set)
        for row in rows:
            if row.split == split:
                by_run[row.condition, str(row.replicate)].add(row.item)
        gaps += gaps_between(by_run, split)
    return gaps


def gaps_between(by_run: Mapping[tuple[str, str], AbstractSet[str]], split: str = "test") -> list[str]:
    """Which questions a condition lacks that others have answered in the same replicate; and replicates that share some
    questions but not all. by_run: the questions of each (condition, replicate).
    """
    gaps: list[str] = []
    asked: dict[str, set[str]] = defaultdict(set)
    for (_, replicate), items in by_run.items():
        asked[replicate] |= items
    for (condition, replicate), items in sorted(by_run.items()):
        if lacking := sorted(asked[replicate] - items):
            named = ", ".join(item[:40] for item in lacking[:5]) + (" ..." if len(lacking) > 5 else "")
            gaps.append(
                f"{condition[:60]}, replicate {replicate}, lacks {len(lacking)} of {len(asked[replicate])} {split}"
                f" questions: {named}"
            )
    sets = {frozenset(items) for items in asked.values()}
    if split == "test" and not gaps and len(sets) > 1:
        most = frozenset[str]().union(*sets)
        if sum(map(len, sets)) != len(most) or len({len(items) for items in sets}) > 1:
            sizes = ", ".join(f"{replicate}: {len(items)}" for replicate, items in sorted(asked.items()))
            gaps.append(
                "replicates answer neither the same questions nor equally many of their own (questions by"
                f" replicate: {sizes})"
            )
    return gaps


def renamed(answers: PredictionFile, names: Callable[[str], str]) -> PredictionFile:
    """The same answers under other names of conditions."""
    for row in answers.rows:
        row.condition = names(row.condition)
    return answers

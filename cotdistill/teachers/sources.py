"""From answers to a rationale source: which of several samples is taken, what of its text, under which name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from cotdistill.errors import UnknownName
from cotdistill.tasks.added import add_source
from cotdistill.tasks.task import Rationale, Task
from cotdistill.teachers.answers import TeacherAnswer
from cotdistill.teachers.elicitation import PARTS

# Why an answer gives no rationale.
CUT_OFF = "cut off by the limit of tokens"
ANSWER_ALONE = "an answer without a reason"
THOUGHT_ALONE = "a thought and nothing said"
EMPTY = "no text"
NOT_PICKED = "another answer to the same question is taken"
# Which of several answers to one question is taken.
PICKS = ("first", "shortest", "longest", "majority")


def pick(answers: Sequence[TeacherAnswer], how: str) -> list[TeacherAnswer]:
    """One answer a question, in the order of the questions. majority: the first one whose answer is the commonest (Wang
    et al. 2203.11171).
    """
    if how not in PICKS:
        raise UnknownName("way to pick", how, PICKS)
    by_id: dict[str, list[TeacherAnswer]] = {}
    for answer in answers:
        by_id.setdefault(answer.example.id, []).append(answer)
    best: dict[str, Callable[[list[TeacherAnswer]], TeacherAnswer]] = {
        "first": lambda few: few[0],
        "shortest": lambda few: min(few, key=lambda answer: len(answer.shown)),
        "longest": lambda few: max(few, key=lambda answer: len(answer.shown)),
        "majority": _majority,
    }
    return [best[how](few) for few in by_id.values()]


def _majority(few: list[TeacherAnswer]) -> TeacherAnswer:
    counted = Counter(one.answer for one in few if one.answer is not None)
    most = counted.most_common(1)[0][0] if counted else None
    return next(one for one in few if one.answer == most)


def rationales(
    answers: Sequence[TeacherAnswer], part: str, *, how: str = "first", drop: Collection[str] = ()
) -> tuple[list[Rationale], Counter[str]]:
    """(the rows of a source, why the other answers are in none of them), one row a question in the order of the
    questions.

    part: all of the text, or the reason alone, without the sentences that state the answer. drop: flaws for which an
    answer gives no rationale (CUT_OFF, ANSWER_ALONE); one without text never does. A question without a rationale keeps
    the teacher's label: its own answer, or where that cannot be read the one that it was shown.
    """
    if part not in PARTS:
        raise UnknownName("part of a text", part, PARTS)
    reasons = [flaw(answer, drop) or ("" if _text(answer, part) else ANSWER_ALONE) for answer in answers]
    giving = [answer for answer, why in zip(answers, reasons, strict=True) if not why]
    taken = {answer.example.id: answer for answer in pick(giving, how)}
    left_out = Counter(why for why in reasons if why)
    if len(giving) > len(taken):
        left_out[NOT_PICKED] = len(giving) - len(taken)
    first = {answer.example.id: answer for answer in reversed(answers)}
    rows = []
    for id in dict.fromkeys(answer.example.id for answer in answers):
        answer = taken.get(id, first[id])
        text = _text(answer, part) if id in taken else None
        rows.append(Rationale(id, "", text, answer.answer or answer.given or None))
    return rows, left_out


def flaw(answer: TeacherAnswer, drop: Collection[str] = (CUT_OFF, ANSWER_ALONE)) -> str:
    """Why an answer gives no reason that a student could learn from, in words; "" where it gives one. drop: the flaws
    that count, beside having no text.
    """
    if answer.finish == "length" and CUT_OFF in drop:
        return CUT_OFF
    if not answer.shown:
        return THOUGHT_ALONE if answer.thinking else EMPTY
    # "B", or "The answer is (B).": whatever part of it is taken, there is no reason in it.
    return ANSWER_ALONE if ANSWER_ALONE in drop and answer.stated.label_alone else ""


def _text(answer: TeacherAnswer, part: str) -> str:
    return answer.rationale if part == "reason" else answer.shown


def add(
    task: Task,
    name: str,
    answers: Sequence[TeacherAnswer],
    *,
    how: str = "first",
    part: str = "all",
    drop: Collection[str] = (),
    origin: Mapping[str, Any],
) -> str:
    """Make answers a source of a task; gives its full name. Errors as of `tasks.added.add_source`."""
    rows, _ = rationales(answers, part, how=how, drop=drop)
    return add_source(task, name, rows, {**origin, "pick": how, "part": part})

"""From answers to a rationale source: which of several samples is taken, what of its text, under which name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cotdistill.errors import UnknownName
from cotdistill.tasks.added import add_source
from cotdistill.tasks.task import Rationale, Task
from cotdistill.teachers.answers import TeacherAnswer
from cotdistill.teachers.elicitation import PARTS

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


def rationales(answers: Sequence[TeacherAnswer], part: str) -> list[Rationale]:
    """Answers as rows of a source. part: all of the text, or the reason alone, without the sentences that state the
    answer. The teacher's label is its own answer; where that cannot be read, the one that it was shown."""
    if part not in PARTS:
        raise UnknownName("part of a text", part, PARTS)
    return [
        Rationale(
            one.example.id,
            "",
            (one.rationale if part == "reason" else one.shown) or None,
            one.answer or one.given or None,
        )
        for one in answers
    ]


def add(
    task: Task,
    name: str,
    answers: Sequence[TeacherAnswer],
    *,
    how: str = "first",
    part: str = "all",
    origin: Mapping[str, Any],
) -> str:
    """Make answers a source of a task; gives its full name. Errors as of `tasks.added.add_source`."""
    return add_source(task, name, rationales(pick(answers, how), part), {**origin, "pick": how, "part": part})

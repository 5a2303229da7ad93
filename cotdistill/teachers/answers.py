"""The answers of a teacher, one after the other, wherever they are from: a source of a task, or what was just
elicited.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from cotdistill.errors import UnknownName
from cotdistill.tasks.example import Example
from cotdistill.tasks.task import SPLITS, Task
from cotdistill.tasks.thinking import split_thinking
from cotdistill.teachers.parse import Stated, parse, visible


@dataclass(frozen=True)
class TeacherAnswer:
    """What a teacher wrote about one question.

    text: all of it. label: the answer that the teacher is known to have given, None where only the text can tell.
    given: the label that it was shown, "" for none. finish: why it ended ("stop", "length"), "" where nobody noted it.
    sample: the number among several to one question. gain: by how many nats the text raises the right label's
    log-likelihood for the student that wrote it, None where no student did.
    """

    example: Example
    text: str
    label: str | None = None
    given: str = ""
    finish: str = ""
    sample: int = 0
    gain: float | None = None

    @cached_property
    def stated(self) -> Stated:
        """What the text itself says the answer is."""
        return parse(self.text, self.example.choices)

    @property
    def answer(self) -> str | None:
        """The teacher's own answer: the known one, else the one that its text states for sure; what is only implied is
        left open.
        """
        return self.label if self.label is not None else self.stated.sure

    @property
    def shown(self) -> str:
        """The text without what a model only thought."""
        return visible(self.text)

    @property
    def thinking(self) -> str:
        """What a reasoning model only thought; "" without any."""
        return split_thinking(self.text)[0]

    @property
    def rationale(self) -> str:
        """The text without the sentences that do nothing but state the answer."""
        return self.stated.reason

    @property
    def as_example(self) -> Example:
        """The example with this text as its rationale, for what looks at examples."""
        return replace(self.example, rationale=self.shown)


def of_source(task: Task, source: str, splits: Iterable[str] = SPLITS) -> list[TeacherAnswer]:
    """The rationales of one source of a task, by split and id; rows that it says nothing about are left out.
    UnknownName for another source.
    """
    if source not in task.sources:
        raise UnknownName(f"rationale source of {task.name}", source, task.sources)
    labels = task.teacher_labels(source)
    rows = [e for split in splits for e in task.examples(split, source) if e.source == source and e.rationale]
    return [TeacherAnswer(e, e.rationale or "", labels.get(e.id)) for e in rows]


def silent_of_source(task: Task, source: str, splits: Iterable[str] = SPLITS) -> list[TeacherAnswer]:
    """The answers of a source of which only the label is left: they gave no rationale."""
    labels = task.teacher_labels(source)
    rows = [e for split in splits for e in task.examples(split, source) if e.id in labels]
    return [TeacherAnswer(e, "", labels[e.id]) for e in rows if e.source != source or not e.rationale]


def of_rows(task: Task, rows: Sequence[Mapping[str, Any]]) -> list[TeacherAnswer]:
    """Elicited answers from their table (columns id, sample, text, given, finish), in its order; rows of another task's
    questions are left out.
    """
    examples = {e.id: e for split in SPLITS for e in task.examples(split)}
    return [
        TeacherAnswer(
            examples[r["id"]], str(r["text"]), given=str(r["given"]), finish=str(r["finish"]), sample=int(r["sample"])
        )
        for r in rows
        if r["id"] in examples
    ]

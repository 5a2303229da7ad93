"""One question with its choices, its answer and a teacher's rationale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

# How questions are answered: by one of the choices, or by what a student writes.
CHOICE, NUMBER, TEXT = "choice", "number", "text"
ANSWER_KINDS = (CHOICE, NUMBER, TEXT)


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice: its label ("A") and its text ("bank")."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Example:
    """A row of a task.

    `more` are further rationales of the same source, for conditions that read several per question.
    `answer` is the label of the right choice. `rationale` is None where its source gave none.
    `cluster` groups examples that are not independent (a latent entity, a premise, a repeated question); its default is
    the id. `metadata` holds plain JSON values, for slices.
    """

    id: str
    question: str
    choices: tuple[Choice, ...]
    answer: str
    split: str
    rationale: str | None = None
    source: str | None = None
    cluster: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    more: tuple[str, ...] = ()
    # How many lines of the question, from the first, are the passage that it is about (see `Template.question`).
    passage_lines: int = 0
    # Labels of further right choices. The first, `answer`, is the one that students are trained on.
    also_right: tuple[str, ...] = ()
    # How it is answered. Where answers are written, `choices` holds the golds and nothing else.
    kind: str = CHOICE

    @property
    def is_written(self) -> bool:
        return self.kind != CHOICE

    @property
    def right_places(self) -> tuple[int, ...]:
        """Indices of all right choices, the one that is trained on first."""
        return (self.gold, *(i for i, choice in enumerate(self.choices) if choice.label in self.also_right))

    @property
    def golds(self) -> tuple[str, ...]:
        """The texts of all right choices."""
        return tuple(self.choices[place].text for place in self.right_places)

    @property
    def gold(self) -> int:
        """Index of the right choice that students are trained on."""
        return next(i for i, choice in enumerate(self.choices) if choice.label == self.answer)

    @property
    def answer_text(self) -> str:
        return self.choices[self.gold].text

    def question_parts(self) -> tuple[str, str]:
        """The passage ("" without one) and what is asked about it."""
        lines = self.question.split("\n")
        return "\n".join(lines[: self.passage_lines]), "\n".join(lines[self.passage_lines :])


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """The label of a wrong choice, and what a teacher says for it."""

    answer: str
    rationale: str


@dataclass(frozen=True, slots=True)
class Argued(Example):
    """An example with what is said for one of its wrong choices: see `rationales.counterfactual`."""

    counterfactual: Counterfactual = field(kw_only=True)

    @classmethod
    def of(cls, example: Example, counterfactual: Counterfactual) -> Argued:
        return cls(**{one.name: getattr(example, one.name) for one in fields(Example)}, counterfactual=counterfactual)

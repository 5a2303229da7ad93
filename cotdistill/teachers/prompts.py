"""How a teacher is asked: a template is data, the shots are data, and what is sent follows from both. Every part may be
seen and edited.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cotdistill.config import check, from_mapping, param, stable_seed
from cotdistill.errors import ConfigError, DataError, NoRationale
from cotdistill.registry import Registry
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.task import Task
from cotdistill.tasks.template import fill

MOST_SHOTS = 8
# One turn of a conversation as the protocol has it: {"role": "system" | "user" | "assistant", "content": ...}.
Message = dict[str, str]


@dataclass(frozen=True)
class PromptTemplate:
    """The parts of what a teacher reads. In a plain prompt (a model without a chat template) the turns stand one after
    the other.
    """

    system: str = param(
        "You explain the answers to multiple-choice questions, in plain words and without repeating the question.",
        "who it is to be",
    )
    question: str = param(
        "Question: {question}\nChoices:\n{choices}", "the question; {question} and {choices} are filled in"
    )
    choice: str = param("({label}) {text}", "one choice; {label} and {text} are filled in")
    between: str = param("\n", "what stands between two choices")
    given: str = param(
        "\nThe right answer is ({label}) {text}.",
        "added where the teacher is shown an answer; {label} and {text} are filled in",
    )
    ask: str = param(
        "\nThink it through in one to three sentences. End with: The answer is (X).",
        "what is asked of it where it is shown no answer",
    )
    ask_given: str = param(
        "\nSay in one to three sentences why this is the right answer. End with: The answer is ({label}).",
        "what is asked where it is shown one",
    )
    reply: str = param(
        "{rationale} The answer is ({label}).", "how a shot is answered; {rationale}, {label} and {text} are filled in"
    )
    separator: str = param("\n\n", "plain prompts: what stands between two turns")

    def problems(self) -> list[str]:
        """What is wrong with this template, in words."""
        needs = {"question": ("question", "choices"), "choice": ("text",), "reply": ("rationale",)}
        problems = [
            f"prompt part {part!r} lacks {{{name}}}"
            for part, names in needs.items()
            for name in names
            if f"{{{name}}}" not in getattr(self, part)
        ]
        if "{label}" not in self.given and "{text}" not in self.given:
            problems.append("prompt part 'given' shows no answer: it lacks {label} and {text}")
        return problems + [
            f"prompt part {part!r} is empty" for part in ("ask", "ask_given") if not getattr(self, part).strip()
        ]


@dataclass(frozen=True, slots=True)
class PromptPreset:
    """A template that comes with the product."""

    name: str
    help: str
    template: PromptTemplate


PRESETS: Registry[PromptPreset] = Registry("prompt template")
PRESETS.register(PromptPreset("deductive", "reasons first, the answer last", PromptTemplate()))
PRESETS.register(
    PromptPreset(
        "answer_first",
        "the answer first, then why",
        PromptTemplate(
            ask="\nAnswer and give your reason in one to three sentences. Begin with: The answer is (X) because",
            ask_given="\nSay in one to three sentences why. Begin with: The answer is ({label}) because",
            reply="The answer is ({label}) because {rationale}",
        ),
    )
)


@dataclass(frozen=True, slots=True)
class Shot:
    """One worked example that a teacher is shown. id: the row it is from, "" for one that a person wrote."""

    question: str
    choices: tuple[Choice, ...]
    answer: str
    rationale: str
    id: str = ""

    @property
    def example(self) -> Example:
        return Example(self.id, self.question, self.choices, self.answer, "train", self.rationale)


def template_of(text: str) -> PromptTemplate:
    """A template by the name of a preset, or from the JSON text of parts laid over the first one; ConfigError with
    every problem at once.
    """
    if text.lstrip().startswith("{"):
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ConfigError(
                [f"the prompt template cannot be read as JSON: {error}"],
                'For example {"ask": "\\nWhy? End with: The answer is (X)."}',
            ) from error
        return checked(from_mapping(PromptTemplate, values))
    return PRESETS.get(text).template


def checked(template: PromptTemplate) -> PromptTemplate:
    """The template if it can be used; ConfigError with every problem at once."""
    check(template)
    if problems := template.problems():
        raise ConfigError(problems, "Correct the parts; the names in braces are filled in.")
    return template


def draw_shots(task: Task, source: str, number: int, seed: int) -> tuple[Shot, ...]:
    """Shots from the training rows of a source, `number` and one to spare: a row that is asked about is never its own
    shot. Rows whose teacher is known to have answered otherwise are left out. NoRationale if there are too few."""
    if not number:
        return ()
    if number > MOST_SHOTS:
        raise ConfigError([f"shots is {number}; expected 0 to {MOST_SHOTS}"])
    labels = task.teacher_labels(source) if source in task.sources else {}
    rows = [e for e in task.examples("train", source) if e.rationale and labels.get(e.id, e.answer) == e.answer]
    if len(rows) <= number:
        raise NoRationale(
            f"{source!r} has {len(rows)} training rationales to draw {number} shots from.",
            "Take fewer shots or another source.",
        )
    rows.sort(key=lambda e: stable_seed("shots", seed, e.id))
    return tuple(Shot(e.question, e.choices, e.answer, e.rationale or "", e.id) for e in rows[: number + 1])


def read_shots(text: str) -> tuple[Shot, ...]:
    """Shots that a person wrote, one JSON object a line: question, choices (label to text, or a list), answer,
    rationale. DataError with the line.
    """
    shots = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            listed = row["choices"]
            pairs = (
                listed.items()
                if isinstance(listed, Mapping)
                else [(c["label"], c["text"]) if isinstance(c, Mapping) else c for c in listed]
            )
            choices = tuple(Choice(str(label), str(text)) for label, text in pairs)
            shot = Shot(
                str(row["question"]), choices, str(row["answer"]), str(row["rationale"]), str(row.get("id", ""))
            )
            if shot.answer not in [c.label for c in choices]:
                raise ValueError(f"the answer {shot.answer!r} is the label of no choice")
        except (ValueError, KeyError, TypeError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(
                f"Line {number} of the shots cannot be read: {reason}",
                "Each line: question, choices, answer, rationale.",
            ) from error
        shots.append(shot)
    if len(shots) > MOST_SHOTS:
        raise DataError(f"There are {len(shots)} shots; expected at most {MOST_SHOTS}.", "Leave some out.")
    return tuple(shots)


def asked(template: PromptTemplate, example: Example, hint: str) -> str:
    """What a teacher is asked about one example. given: the label that it is shown, "" for none."""
    listed = template.between.join(fill(template.choice, label=c.label, text=c.text) for c in example.choices)
    text = fill(template.question, question=example.question, choices=listed)
    if not hint:
        return text + template.ask
    shown = next(c.text for c in example.choices if c.label == hint)
    return text + fill(template.given, label=hint, text=shown) + fill(template.ask_given, label=hint, text=shown)


def messages(
    template: PromptTemplate, shots: Sequence[Shot], number: int, example: Example, hint: str
) -> list[Message]:
    """The whole conversation: who the teacher is, `number` shots as turns, the question. given: the label that it is
    shown, "" for none; the shots are then shown with their own."""
    turns: list[Message] = [{"role": "system", "content": template.system}] if template.system.strip() else []
    for shot in [shot for shot in shots if not shot.id or shot.id != example.id][:number]:
        text = next(c.text for c in shot.choices if c.label == shot.answer)
        turns.append({"role": "user", "content": asked(template, shot.example, shot.answer if hint else "")})
        turns.append(
            {
                "role": "assistant",
                "content": fill(template.reply, rationale=shot.rationale, label=shot.answer, text=text),
            }
        )
    return [*turns, {"role": "user", "content": asked(template, example, hint)}]


def plain_prompt(template: PromptTemplate, turns: Sequence[Message]) -> str:
    """A conversation as one text, for a model that knows no turns; it ends where the teacher is to go on."""
    return template.separator.join(turn["content"] for turn in turns) + "\n"


def changed(template: PromptTemplate) -> dict[str, Any]:
    """The parts that differ from the first preset: what a person has edited."""
    return {
        f.name: getattr(template, f.name)
        for f in dataclasses.fields(template)
        if getattr(template, f.name) != f.default
    }

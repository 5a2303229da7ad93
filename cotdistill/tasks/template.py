"""How a question becomes text: a template is data, kept with the task, and part of what makes a run."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from cotdistill.config import param
from cotdistill.errors import ConfigError
from cotdistill.tasks.example import Example

PASSAGE = "{passage}"


@dataclass(frozen=True)
class Template:
    """The parts of a prompt. Every part is its own named span, tokenised on its own, so a label has the same ids
    wherever it stands.
    """

    question: str = param(
        "Question: {question}",
        "the question; {question} is filled in, and {passage}, where it stands, by the passage that comes before it",
    )
    choices: str = param("\nChoices: {choices}", "the choices; {choices} is filled in; empty leaves them out")
    choice: str = param("({label}) {text}", "one choice; {label} and {text} are filled in")
    between: str = param(" ", "what stands between two choices")
    label_cue: str = param("\nAnswer:", "what asks for the label; also ends a rationale that comes first")
    rationale_cue: str = param("\nBecause:", "what asks for the rationale")
    rationale_end: str = param(
        "", "what ends a rationale that comes before the answer, such as </think>; empty: the label cue", later=True
    )
    label_task: str = param("[label] ", "multitask: what asks for a label")
    rationale_task: str = param("[rationale] ", "multitask: what asks for a rationale")
    target: str = param("text", "what the student answers with", choices=("text", "letter"))
    white_space: str = param(
        "",
        "white space of a rationale: folded into single blanks, or kept, so that line breaks are tokens; empty: an"
        " import keeps it if there are line breaks",
        choices=("", "folded", "kept"),
        later=True,
    )
    step: str = param(
        "",
        "regular expression of what begins a step of a rationale; empty: a line where there are two or more, else a"
        " sentence",
        later=True,
    )

    @property
    def after_rationale(self) -> str:
        """What stands between a rationale that comes first and the label."""
        return self.rationale_end or self.label_cue

    def question_text(self, example: Example) -> str:
        if PASSAGE not in self.question:
            return fill(self.question, question=example.question)
        passage, question = example.question_parts()
        pattern = (
            self.question
            if passage
            else "\n".join(line for line in self.question.split("\n") if PASSAGE not in line or "{question}" in line)
        )
        return fill(pattern, passage=passage, question=question)

    def with_passage(self) -> Template:
        """This template with a place for the passage: a line before the question, unless it has one already."""
        return self if PASSAGE in self.question else replace(self, question=f"Passage: {PASSAGE}\n{self.question}")

    def choices_text(self, example: Example) -> str:
        if example.is_written:
            # Its choices are the golds.
            return ""
        listed = self.between.join(fill(self.choice, label=c.label, text=c.text) for c in example.choices)
        return fill(self.choices, choices=listed)

    def target_texts(self, example: Example) -> list[str]:
        """What the student may answer, one text a choice, in the order of the choices."""
        return [c.text if self.target == "text" or example.is_written else c.label for c in example.choices]

    def problems(self) -> list[str]:
        """What is wrong with this template, in words."""
        needs = {"question": ["question"], "choice": ["text"] if self.target == "text" else ["label"]}
        problems = [
            f"template part {part!r} lacks {{{name}}}"
            for part, names in needs.items()
            for name in names
            if f"{{{name}}}" not in getattr(self, part)
        ]
        if self.choices and "{choices}" not in self.choices:
            problems.append("template part 'choices' lacks {choices}")
        problems += [
            f"template part {part!r} is empty"
            for part in ("label_cue", "rationale_cue")
            if not getattr(self, part).strip()
        ]
        if self.label_cue.strip() == self.rationale_cue.strip():
            problems.append("label_cue and rationale_cue are the same")
        try:
            re.compile(self.step)
        except re.error as error:
            problems.append(f"step {self.step!r} is not a regular expression: {error}")
        return problems

    def check(self) -> None:
        """ConfigError with every problem at once."""
        if problems := self.problems():
            raise ConfigError(problems, "Edit the template of the task.")


def fill(pattern: str, **values: str) -> str:
    """A pattern with {name} replaced by the value of that name; other braces stay as they are."""
    # One pass, so that braces inside the data are never read as a pattern.
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match.group(1), match.group(0)), pattern)

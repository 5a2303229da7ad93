"""The students of a study scored on a second task: the config of the jobs, and whether the students can answer it at
all. Exploratory and never judged. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cotdistill.config import RunConfig
from cotdistill.errors import UsageError
from cotdistill.students.sources import encoder_of
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.answer_kinds import nested_choices
from cotdistill.tasks.catalog import open_task, parse_reference
from cotdistill.tasks.example import Example
from cotdistill.tasks.leakage import folded_words
from cotdistill.tasks.task import Task
from cotdistill.text import count, plural

# A task is refused with more unknown words or questions with two choices that read alike than the first share, or more
# questions that hold an unknown word than the second: what is asked about is then often the unknown word.
MOST_UNKNOWN, MOST_QUESTIONS = 0.10, 0.5


@dataclass(frozen=True)
class AlsoTestConfig:
    """One trained student, scored on the test questions of a second task."""

    run: str  # identity of its training job
    task: str  # name of the second task
    task_digest: str  # SHA-256 of its files
    world: int = 0  # seed of a generated task
    task_settings: Mapping[str, Any] = field(default_factory=dict)  # dials of a generated task

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> AlsoTestConfig:
        """The config of a job, as the store holds it."""
        return cls(**values)


@dataclass(frozen=True)
class SecondTest:
    """The test questions of a second task as the students of a study would read them."""

    task: Task
    settings: Mapping[str, Any]  # dials of a generated task
    examples: Sequence[Example]  # its test questions
    unknown: float  # share of the words of its questions and choices that the students have no token for
    holding_unknown: int  # questions with such a word, choices aside
    alike: int  # questions with two choices that the students read as the same
    trained_on: int  # questions that stand word for word in the training split of the students' own task
    longest: int  # tokens of the longest question with its longest choice


def second_test(root: Any, trained_task: Task, run: RunConfig, reference: str, limit: int) -> SecondTest:
    """The second task of a study, in the world of a replicate; UsageError where its students cannot answer it.

    trained_task: the task that the students are trained on; run: any run of the replicate; limit: tokens that a student
    reads. Dials are laid over those of the study where the second task is the study's own.
    """
    name, dials = parse_reference(reference)
    settings = {**(run.task_settings if name == run.task else {}), **dials}
    task = open_task(root, name, world=run.seeds.world, settings=settings or None)
    if task.digest == trained_task.digest:
        raise UsageError(
            f"{reference} is the task that the students are trained on and judged by.",
            "Name another task, or other dials of a generated one: 'field_guide(choices=6)'",
        )
    examples = task.examples("test")
    if not examples:
        raise UsageError(f"The task {reference!r} has no test questions.", "Import it with a test split.")
    encoder = encoder_of(trained_task, run)
    if not encoder.terminator and (pair := nested_choices(task)):
        raise UsageError(
            f"The students cannot answer {reference}: one choice begins another ({pair[0]!r} and {pair[1]!r}), and "
            "their answers have no end token to tell them apart.",
            "Train them with one: --set terminator=on",
        )
    return checked_answerable(
        SecondTest(task, settings, examples, *_read(encoder, trained_task, examples)), reference, limit
    )


def _read(encoder: Encoder, trained_task: Task, examples: Sequence[Example]) -> tuple[float, int, int, int, int]:
    """The last five fields of SecondTest."""
    unknown = total = holding = alike = longest = 0
    for example in examples:
        ids = encoder.prompt(example, ("question", "choices", "label_cue"))
        unknown += sum(id == encoder.unknown for id in ids)
        total += len(ids)
        holding += encoder.unknown in encoder.prompt(example, ("question",))
        targets = encoder.targets(example)
        alike += len(set(map(tuple, targets))) < len(targets)
        longest = max(longest, len(ids) + max(map(len, targets)))
    return unknown / total, holding, alike, trained_on(trained_task, examples), longest


def trained_on(trained_task: Task, examples: Sequence[Example]) -> int:
    """How many questions stand word for word in the training split of a task; case and punctuation ignored."""
    questions = {folded_words(example.question) for example in trained_task.examples("train")}
    return sum(folded_words(example.question) in questions for example in examples)


def checked_answerable(second: SecondTest, reference: str, limit: int) -> SecondTest:
    """The same; UsageError for questions that are too long for the students, or in words that they do not know."""
    questions = len(second.examples)
    holding = second.holding_unknown / questions
    if second.unknown > MOST_UNKNOWN or holding > MOST_QUESTIONS:
        raise UsageError(
            f"The students cannot answer {reference}: they do not know {100 * second.unknown:.0f} % of its words "
            f"(at most {100 * MOST_UNKNOWN:.0f} %), and {100 * holding:.0f} % of its questions hold "
            f"an unknown word (at most {100 * MOST_QUESTIONS:.0f} %).",
            "Name a task in the words of the study's own, or train students with --tokenizer bpe, or pretrained ones.",
        )
    if second.alike > MOST_UNKNOWN * questions:
        raise UsageError(
            f"The students cannot answer {reference}: in {count(second.alike)} of "
            f"{plural(questions, 'question')} they read two choices as the same.",
            "Name a task whose choices are in words that the students know, or a pretrained student.",
        )
    if second.longest > limit:
        raise UsageError(
            f"The students cannot answer {reference}: its longest question has {count(second.longest)} tokens; they "
            f"read {count(limit)}.",
            "Name a task with shorter questions, or a student that reads more.",
        )
    return second


def remarks(second: SecondTest, reference: str) -> list[str]:
    """What a person should know of a second test before it is read, in words."""
    said = []
    if second.unknown:
        said.append(
            f"The students do not know {100 * second.unknown:.1f} % of the words of {reference}; "
            f"{plural(second.holding_unknown, 'question')} of {count(len(second.examples))} hold such a word."
        )
    if second.alike:
        said.append(f"In {plural(second.alike, 'question')} of {reference} two choices read the same to the students.")
    if second.trained_on:
        said.append(
            f"{plural(second.trained_on, 'test question')} of {reference} stand word for word in the training split."
        )
    return said

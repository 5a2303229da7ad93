"""Small real things that many tests use: a word-level tokenizer, a few examples, a tiny student."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Split

from cotdistill.config import RECIPES
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.template import Template

WORDS = (
    "<pad> <eos> <unk> _ \n question choices answer because : , . ? ! the a is it lives in what where does bird fish cat dog tree pond house kennel "
    "has wings fins swims flies sleeps so not and of animal an one water air red blue [ ] label rationale"
).split(" ")

# Generated inputs are the same in every run, so that what passed does not fail by chance later; whoever asks for their number gets new ones.
hypothesis.settings.register_profile("same", derandomize=True, database=None)
if "COTDISTILL_EXAMPLES" not in os.environ:
    hypothesis.settings.load_profile("same")


@pytest.fixture
def quick_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of tests.quick_jobs, in this process and in those that it starts."""
    monkeypatch.setitem(RECIPES, "count", 1)
    monkeypatch.setenv("COTDISTILL_KINDS", "tests.quick_jobs")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]))


@pytest.fixture
def words() -> list[str]:
    return WORDS


@pytest.fixture
def terse() -> Template:
    return Template(
        question="{question}",
        choices=" choices : {choices}",
        choice="{text}",
        between=" , ",
        label_cue=" answer :",
        rationale_cue=" because :",
        label_task="[ label ] ",
        rationale_task="[ rationale ] ",
    )


@pytest.fixture
def encoder(tmp_path: Path, terse: Template) -> Encoder:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Split(Regex(r"\n|\w+|[^\w\s]"), "removed", invert=True)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    return Encoder(path, terse)


def example(id: str, animal: str, answer: str, rationale: str | None, **more: object) -> Example:
    """A question with the choices tree, pond, house, kennel."""
    choices = tuple(
        Choice(label, text) for label, text in zip("ABCD", ("tree", "pond", "house", "kennel"), strict=True)
    )
    gold = next(c.label for c in choices if c.text == answer)
    return Example(
        id,
        f"where does the {animal} live ?".replace("live", "lives"),
        choices,
        gold,
        "train",
        rationale,
        "teacher" if rationale else None,
        **more,
    )


@pytest.fixture
def examples() -> list[Example]:
    return [
        example("e1", "bird", "tree", "it has wings . it flies so it lives in the tree ."),
        example("e2", "fish", "pond", "it has fins and it swims in water . the pond has water ."),
        example("e3", "cat", "house", "the animal sleeps in a house ."),
        example("e4", "dog", "kennel", "one of the red kennel ."),
        example("e5", "bird", "tree", "an animal of the air lives in a tree ."),
    ]

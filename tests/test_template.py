"""Templates: data that turn a question into text, and are checked as data."""

import pytest

from cotdistill.errors import ConfigError
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.template import Template

BIRD = Example(
    "e", "where does a bird sleep ?", (Choice("A", "in a tree"), Choice("B", "on {text} \\1 {label}")), "A", "train"
)


def test_the_default_prompt_lists_lettered_choices():
    template = Template()
    assert template.question_text(BIRD) == "Question: where does a bird sleep ?"
    assert template.choices_text(BIRD).startswith("\nChoices: (A) in a tree (B) on ")
    assert template.label_cue == "\nAnswer:"


def test_braces_and_backslashes_in_the_data_stay_what_they_are():
    assert Template().choices_text(BIRD).endswith("(B) on {text} \\1 {label}")


def test_the_answer_is_the_text_of_the_choice_or_its_letter():
    assert Template().target_texts(BIRD) == ["in a tree", "on {text} \\1 {label}"]
    assert Template(target="letter").target_texts(BIRD) == ["A", "B"]


def test_an_empty_choices_part_leaves_the_choices_out():
    assert Template(choices="").choices_text(BIRD) == ""
    Template(choices="").check()


def test_every_problem_of_a_template_is_told_at_once():
    template = Template(question="Q", choices="C", choice="({label})", label_cue=" ", rationale_cue="")
    with pytest.raises(ConfigError) as error:
        template.check()
    told = " | ".join(error.value.problems)
    for part in (
        "'question' lacks {question}",
        "'choices' lacks {choices}",
        "'choice' lacks {text}",
        "'label_cue' is empty",
        "the same",
    ):
        assert part in told


def test_letters_as_targets_need_the_label_in_the_listed_choice():
    assert Template(choice="{text}", target="letter").problems() == ["template part 'choice' lacks {label}"]
    assert Template(choice="({label})", target="letter").problems() == []

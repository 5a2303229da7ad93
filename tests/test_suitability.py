"""How a student reads the rationales of a source before training, against numbers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from cotdistill.students.loading import new_built_in, output_matrix
from cotdistill.students.models import STUDENTS
from cotdistill.students.reader import Forward
from cotdistill.students.scoring.suitability import suitability
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Example
from cotdistill.teachers.quality import answer_overlap


def test_a_student_that_knows_nothing_is_surprised_by_the_logarithm_of_its_vocabulary(
    encoder: Encoder, examples: list[Example]
) -> None:
    model = new_built_in(next(iter(STUDENTS)), encoder.vocabulary_size, 1).eval()
    with torch.no_grad():
        output_matrix(model).weight.zero_()
    read = suitability(Forward(model), encoder, examples)
    nats = math.log(encoder.vocabulary_size)
    assert read["read"] == sum(bool(one.rationale) for one in examples)
    assert read["surprisal"] == pytest.approx(nats, rel=1e-5)
    assert read["naturalness"] == pytest.approx(-nats, rel=1e-5)
    # All tokens tie for the first rank.
    assert read["rank_surprisal"] == pytest.approx(1 / nats, rel=1e-5)


def test_without_rationales_nothing_is_measured(encoder: Encoder, examples: list[Example]) -> None:
    model = new_built_in(next(iter(STUDENTS)), encoder.vocabulary_size, 1).eval()
    read = suitability(Forward(model), encoder, [replace(one, rationale=None) for one in examples])
    assert (read["read"], read["surprisal"], read["rank_surprisal"], read["naturalness"]) == (0, None, None, None)


def test_overlap_with_the_answer_is_the_share_of_words_that_are_the_answers() -> None:
    # "red" and "fish" of "a red fish swims": 2 of 4.
    assert answer_overlap("A red fish swims.", "red fish") == 0.5
    assert answer_overlap("", "red fish") is None

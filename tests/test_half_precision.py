"""Students whose weights are in bf16 are looked into as others are; their numbers are those of full precision, to bf16's digits."""

import copy

import numpy as np
import pytest
import torch

from cotdistill.keytokens.selectors import SELECTORS, SelectInput
from cotdistill.rationales.conditions import parse
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.saliency.attention import attention_rows
from cotdistill.saliency.attribution import attribute
from cotdistill.saliency.influence import Aligner
from cotdistill.saliency.linear import hidden_states
from cotdistill.saliency.methods import METHODS
from cotdistill.saliency.probe import StudentQueries
from cotdistill.saliency.reading import read_example
from cotdistill.saliency.settings import AttributionSettings
from cotdistill.students.loading import new_built_in
from cotdistill.students.models import BuiltIn

TINY = BuiltIn("tiny", "for tests", layers=2, width=16, heads=2, positions=128)


@pytest.fixture
def full(words):
    """A student in full precision; all its weights are numbers that bf16 can hold."""
    torch.manual_seed(0)
    student = new_built_in(TINY, len(words), seed=3)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.copy_((parameter + 0.4 * torch.randn_like(parameter)).bfloat16())
    return student.eval()


@pytest.fixture
def half(full):
    return copy.deepcopy(full).bfloat16().eval()


def near(of_half, of_full):
    """To a twentieth of the largest; differences of two log-probabilities of 4 nats, rounded to 8 bits each, to 2 x 4 / 256 = 0.03."""
    of_half, of_full = np.asarray(of_half, float), np.asarray(of_full, float)
    assert np.isfinite(of_half).all()
    return np.abs(of_half - of_full).max() <= 0.03 + 0.05 * np.abs(of_full).max()


@pytest.mark.parametrize("method", METHODS.names())
def test_every_method_attributes_a_student_in_bf16(method, full, half, encoder, examples):
    placement, settings = PLACEMENTS.get("pre_cot"), AttributionSettings(method=method)
    expected, got = (
        attribute(model, encoder, examples[:2], placement, settings, np.ones(52, int)) for model in (full, half)
    )
    for one, other in zip(got, expected, strict=True):
        moved = ~np.isnan(other.scores)
        assert moved.any() and (moved == ~np.isnan(one.scores)).all()
        assert near(one.scores[moved], other.scores[moved])


@pytest.mark.parametrize("name", [selector.name for selector in SELECTORS if selector.reads])
def test_every_selector_that_reads_a_student_reads_one_in_bf16(name, full, half, encoder, examples):
    selector = SELECTORS.get(name)
    placement = "pre_cot" if selector.reads == "any" else selector.reads
    corpus = encoder.corpus(examples)
    sequences = [encoder.sequences(corpus, i, parse(placement), 0)[0] for i in range(len(examples))]

    def scores(model):
        inputs = SelectInput(
            encoder, examples, corpus.passages, placement=PLACEMENTS.get(placement), sequences=sequences,
            dev=examples[3:], student=lambda share: model, counts=np.ones(52, int),
        )  # fmt: skip
        return np.concatenate([np.asarray(row, float) for row in selector.compute(inputs).values()])

    assert near(scores(half), scores(full))


@pytest.mark.parametrize("parameters", ["blocks", "all"])
def test_a_student_in_bf16_has_training_signals(parameters, full, half, encoder, examples):
    placement = PLACEMENTS.get("post_cot")
    encoded = encoder.sequences(encoder.corpus(examples), 0, parse("post_cot"), 0)[0]
    expected, got = (
        Aligner(model, encoder, placement, examples[3:], parameters=parameters).align(examples[0], encoded)
        for model in (full, half)
    )
    assert near(got.loss, expected.loss) and near(got.norm, expected.norm) and near(got.cosine[0], expected.cosine[0])


def test_states_attention_and_answers_of_a_student_in_bf16_are_read(full, half, encoder, examples):
    readings = [read_example(encoder, examples[0], PLACEMENTS.get("post_cot"))]
    for of_half, of_full in (
        [hidden_states(model, readings, ["choices"], pad=0)[1] for model in (half, full)],
        [attention_rows(model, readings, pad=0)[0] for model in (half, full)],
        [StudentQueries(model, 0).choice_probabilities(readings)[0] for model in (half, full)],
    ):
        assert near(of_half, of_full)

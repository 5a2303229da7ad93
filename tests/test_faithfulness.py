"""Taking tokens away, against a student whose answer hangs on one of them."""

import numpy as np
import pytest
import torch

from cotdistill.errors import NotReadable
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.saliency import faithfulness
from cotdistill.saliency.attribution import attribute
from cotdistill.saliency.faithfulness import SHARES, judge
from cotdistill.saliency.probe import Probe
from cotdistill.saliency.settings import AttributionSettings
from cotdistill.students.loading import new_built_in
from cotdistill.students.models import BuiltIn
from tests.conftest import example

TINY = BuiltIn("tiny", "for tests", layers=2, width=16, heads=2, positions=96)


@pytest.fixture
def model(words):
    torch.manual_seed(0)
    found = new_built_in(TINY, len(words), seed=3)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return found


@pytest.fixture
def counts(words):
    return np.ones(len(words), int)


@pytest.fixture
def hangs_on_wings(monkeypatch, encoder):
    """The first choice has probability .9 while "wings" stands there, else .1."""
    wings = encoder.tokenizer.token_to_id("wings")

    def told(self, readings, replaced=None, baseline=None):
        found = []
        for i, reading in enumerate(readings):
            there = (reading.ids == wings) & (np.ones(len(reading), bool) if replaced is None else ~replaced[i])
            p = 0.9 if there.any() else 0.1
            found.append(np.array([p, *[(1 - p) / 3] * 3]))
        return found

    monkeypatch.setattr(Probe, "choice_probabilities", told)
    return wings


def ranking(monkeypatch, wings, where):
    """Attributions that put "wings" first, or last."""

    def made(*args, **kwargs):
        found = attribute(*args, **kwargs)
        for one in found:
            own = np.where(one.reading.ids == wings, where, np.linspace(0, 0.5, len(one.reading)))
            one.scores[:] = np.where(np.isnan(one.scores), np.nan, own)
        return found

    monkeypatch.setattr(faithfulness, "attribute", made)


def test_the_right_ranking_is_comprehensive_and_sufficient_from_the_first_token_on(model, encoder, examples, counts, hangs_on_wings, monkeypatch):
    ranking(monkeypatch, hangs_on_wings, 9.0)
    (one,) = judge(model, encoder, examples[:1], PLACEMENTS.get("pre_cot"), AttributionSettings(method="saliency"), counts, orders=200)
    assert one.probability == 0.9 and one.tokens == 28
    # A share of .05 of 28 tokens is one token.
    assert one.without == pytest.approx([0.0] + [0.8] * 7) and one.alone == pytest.approx([0.8] + [0.0] * 7)
    # A random order has taken "wings" away with probability k / n.
    expected = [0.8 * round(q * one.tokens) / one.tokens for q in SHARES]
    assert one.random_without == pytest.approx(expected, abs=0.09)
    assert one.random_alone == pytest.approx(0.8 - np.array(expected), abs=0.09)
    aopc = one.aopc()
    assert aopc["comprehensiveness"] == pytest.approx(0.8) and aopc["sufficiency"] == pytest.approx(0.0)
    assert aopc["random_comprehensiveness"] == pytest.approx(np.mean(expected[1:-1]), abs=0.06)


def test_the_wrong_ranking_is_neither(model, encoder, examples, counts, hangs_on_wings, monkeypatch):
    ranking(monkeypatch, hangs_on_wings, -9.0)
    (one,) = judge(model, encoder, examples[:1], PLACEMENTS.get("pre_cot"), AttributionSettings(method="saliency"), counts, orders=1)
    assert one.without == pytest.approx([0.0] * 7 + [0.8]) and one.alone == pytest.approx([0.8] * 7 + [0.0])
    assert one.leave_one_out < 0


def test_occlusion_ranks_as_leaving_one_out_does(model, encoder, examples, counts):
    settings = AttributionSettings(method="occlusion", target="predicted")
    for one in judge(model, encoder, examples, PLACEMENTS.get("pre_cot"), settings, counts, orders=2):
        assert one.leave_one_out > 0.6
        assert one.without[0] == pytest.approx(0, abs=1e-6) and one.alone[-1] == pytest.approx(0, abs=1e-6)
        assert one.without[-1] == pytest.approx(one.alone[0], abs=1e-6) == pytest.approx(one.random_without[-1], abs=1e-6)


def test_random_orders_are_the_same_every_time_and_do_not_depend_on_neighbours(model, encoder, examples, counts):
    settings = AttributionSettings(method="input_x_gradient")
    together = judge(model, encoder, examples[:3], PLACEMENTS.get("pre_cot"), settings, counts, orders=3)
    (alone,) = judge(model, encoder, examples[2:3], PLACEMENTS.get("pre_cot"), settings, counts, orders=3)
    assert together[2].random_without == pytest.approx(alone.random_without, abs=1e-5)


def test_a_post_cot_student_is_judged_on_the_question(model, encoder, examples, counts):
    (one,) = judge(model, encoder, examples[:1], PLACEMENTS.get("post_cot"), AttributionSettings(method="saliency"), counts, orders=1)
    (label_only,) = judge(model, encoder, examples[:1], PLACEMENTS.get("label_only"), AttributionSettings(method="saliency"), counts, orders=1)
    assert one.tokens == label_only.tokens and one.without == pytest.approx(label_only.without, abs=1e-6)


def test_what_cannot_be_judged_is_refused_with_the_reason(model, encoder, examples, counts):
    with pytest.raises(NotReadable, match="judged on the answer"):
        judge(model, encoder, examples[:1], PLACEMENTS.get("post_cot"), AttributionSettings(target="rationale"), counts)
    settings = AttributionSettings(method="saliency", moves="rationale")
    with pytest.raises(NotReadable, match="fewer than two tokens"):
        judge(model, encoder, [example("e", "cat", "house", None)], PLACEMENTS.get("pre_cot"), settings, counts)

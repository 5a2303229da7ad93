"""Taking tokens away, against a student whose answer hangs on one of them."""

import numpy as np
import pytest
import torch

from cotdistill.errors import NotReadable, UsageError
from cotdistill.execution.jobs.faithfulness import example_table, summary
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.saliency import faithfulness
from cotdistill.saliency.attribution import attribute
from cotdistill.saliency.faithfulness import Judged, judge
from cotdistill.saliency.probe import StudentQueries
from cotdistill.saliency.reading import read_example
from cotdistill.saliency.settings import SHARES, AttributionSettings, checked_shares
from cotdistill.students.loading import new_built_in
from cotdistill.students.models import BuiltIn
from cotdistill.studies.analyses.faithfulness import EXAMPLE_COLUMNS
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

    monkeypatch.setattr(StudentQueries, "choice_probabilities", told)
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


def test_the_right_ranking_is_comprehensive_and_sufficient_from_the_first_token_on(
    model, encoder, examples, counts, hangs_on_wings, monkeypatch
):
    ranking(monkeypatch, hangs_on_wings, 9.0)
    settings = AttributionSettings(method="saliency", target="label:A")
    (one,) = judge(model, encoder, examples[:1], PLACEMENTS.get("pre_cot"), settings, counts, orders=200)
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
    settings = AttributionSettings(method="saliency", target="label:A")
    (one,) = judge(model, encoder, examples[:1], PLACEMENTS.get("pre_cot"), settings, counts, orders=1)
    assert one.without == pytest.approx([0.0] * 7 + [0.8]) and one.alone == pytest.approx([0.8] * 7 + [0.0])
    assert one.leave_one_out < 0


def test_areas_are_means_over_the_shares_between_0_and_1(model, encoder, examples, counts, hangs_on_wings, monkeypatch):
    ranking(monkeypatch, hangs_on_wings, 0.25)
    settings = AttributionSettings(method="saliency", target="label:A")
    (one,) = judge(
        model,
        encoder,
        examples[:1],
        PLACEMENTS.get("pre_cot"),
        settings,
        counts,
        orders=1,
        shares=(1.0, 0.25, 0.75, 0.0),
    )
    # "wings" ranks in the middle: the first quarter lacks it, three quarters hold it. Ends count for nothing.
    assert one.shares == (0, 0.25, 0.75, 1)
    assert one.without == pytest.approx([0, 0, 0.8, 0.8]) and one.alone == pytest.approx([0.8, 0.8, 0, 0])
    assert (one.aopc()["comprehensiveness"], one.aopc()["sufficiency"]) == pytest.approx((0.4, 0.4))


def test_a_word_that_stands_there_twice_is_needed_only_when_both_are_gone(
    model, encoder, counts, hangs_on_wings, monkeypatch
):
    ranking(monkeypatch, hangs_on_wings, 9.0)
    twice = example("e", "cat house", "house", "wings cat wings")
    settings = AttributionSettings(method="saliency", target="label:A", moves="rationale")
    (one,) = judge(
        model, encoder, [twice], PLACEMENTS.get("pre_cot"), settings, counts, orders=600, shares=(1 / 3, 2 / 3)
    )
    assert one.tokens == 3
    # One of three away: the other is still there. Both away, which two of three random tokens are in one of three cases; either alone is enough.
    assert one.without == pytest.approx([0, 0.8]) and one.alone == pytest.approx([0, 0])
    assert one.random_without == pytest.approx([0, 0.8 / 3], abs=0.05) and one.random_alone == pytest.approx(
        [0.8 / 3, 0], abs=0.05
    )
    # No token alone costs anything, so there is nothing to correlate with.
    assert one.leave_one_out is None and one.leave_one_out_size is None


def test_a_ranking_is_held_against_the_choice_that_it_speaks_for(model, encoder, counts, hangs_on_wings):
    wrong = example("e", "cat", "house", "it has wings .")

    def told(target):
        settings = AttributionSettings(method="saliency", target=target)
        return judge(model, encoder, [wrong], PLACEMENTS.get("pre_cot"), settings, counts, orders=1)[0]

    # The student prefers A (.9), and house is C. The others have a thirtieth each, and gain what A loses.
    for target in ("predicted", "label:A", "contrast:A-B"):
        assert told(target).probability == pytest.approx(0.9) and told(target).without[-1] == pytest.approx(0.8)
    for target in ("gold", "contrast", "contrast:B", "label:C", "contrast:C-A"):
        assert told(target).probability == pytest.approx(0.1 / 3) and told(target).without[-1] == pytest.approx(
            (0.1 - 0.9) / 3
        )


def test_a_span_is_judged_by_its_mean_log_probability(model, encoder, examples, counts):
    placement = PLACEMENTS.get("post_cot")
    reading = read_example(encoder, examples[0], placement)
    first = int(reading.columns("rationale")[0])
    settings = AttributionSettings(method="input_x_gradient", target=f"span:{first}-{first + 1}")
    (one,) = judge(model, encoder, examples[:1], placement, settings, counts, orders=2)
    ids = torch.tensor(reading.ids[None].astype(np.int64))
    logs = torch.log_softmax(model(input_ids=ids).logits[0], -1)
    mean = (logs[first - 1, ids[0, first]] + logs[first, ids[0, first + 1]]) / 2
    assert one.probability == pytest.approx(float(mean.exp()), rel=1e-4)
    assert one.tokens == len(reading.columns("question", "choices", "label"))
    assert one.without[0] == pytest.approx(0, abs=1e-6) and one.without[-1] == pytest.approx(one.alone[0], abs=1e-6)


def test_a_method_without_a_sign_is_held_against_the_size_of_what_is_lost(
    model, encoder, examples, counts, hangs_on_wings, monkeypatch
):
    ranking(monkeypatch, hangs_on_wings, 9.0)
    # Without "wings" B gains: it counts most, and against B.
    settings = AttributionSettings(method="saliency", target="label:B")
    (one,) = judge(model, encoder, examples[:1], PLACEMENTS.get("pre_cot"), settings, counts, orders=1)
    assert one.leave_one_out < 0 < one.leave_one_out_size == pytest.approx(-one.leave_one_out)


def test_occlusion_ranks_as_leaving_one_out_does(model, encoder, examples, counts):
    settings = AttributionSettings(method="occlusion", target="predicted")
    for one in judge(model, encoder, examples, PLACEMENTS.get("pre_cot"), settings, counts, orders=2):
        assert one.leave_one_out > 0.6
        assert one.without[0] == pytest.approx(0, abs=1e-6) and one.alone[-1] == pytest.approx(0, abs=1e-6)
        assert (
            one.without[-1] == pytest.approx(one.alone[0], abs=1e-6) == pytest.approx(one.random_without[-1], abs=1e-6)
        )


def test_random_orders_are_the_same_every_time_and_do_not_depend_on_neighbours(model, encoder, examples, counts):
    settings = AttributionSettings(method="input_x_gradient")
    together = judge(model, encoder, examples[:3], PLACEMENTS.get("pre_cot"), settings, counts, orders=3)
    (alone,) = judge(model, encoder, examples[2:3], PLACEMENTS.get("pre_cot"), settings, counts, orders=3)
    assert together[2].random_without == pytest.approx(alone.random_without, abs=1e-5)


def test_a_post_cot_student_is_judged_on_the_question(model, encoder, examples, counts):
    (one,) = judge(
        model,
        encoder,
        examples[:1],
        PLACEMENTS.get("post_cot"),
        AttributionSettings(method="saliency"),
        counts,
        orders=1,
    )
    (label_only,) = judge(
        model,
        encoder,
        examples[:1],
        PLACEMENTS.get("label_only"),
        AttributionSettings(method="saliency"),
        counts,
        orders=1,
    )
    assert one.tokens == label_only.tokens and one.without == pytest.approx(label_only.without, abs=1e-6)
    assert "stands before the rationale" in one.not_readable and label_only.not_readable == ""


def test_a_pre_cot_student_is_judged_given_the_teachers_rationale(model, encoder, examples, counts):
    placement, settings = (
        PLACEMENTS.get("pre_cot"),
        AttributionSettings(method="saliency", target="predicted", moves="rationale"),
    )
    (one,) = judge(model, encoder, examples[:1], placement, settings, counts, orders=1)
    assert one.tokens == len(encoder.read(examples[0].rationale)) and one.not_readable == ""


def test_examples_without_a_rationale_are_left_out_and_the_others_judged(model, encoder, examples, counts):
    settings = AttributionSettings(method="saliency", moves="rationale")
    none = example("e", "cat", "house", None)
    found = judge(model, encoder, [none, examples[0]], PLACEMENTS.get("pre_cot"), settings, counts, orders=1)
    assert [one.id for one in found] == [examples[0].id]


def test_what_cannot_be_judged_is_refused_with_the_reason(model, encoder, examples, counts):
    with pytest.raises(NotReadable, match="judged on one answer"):
        judge(model, encoder, examples[:1], PLACEMENTS.get("post_cot"), AttributionSettings(target="rationale"), counts)
    settings = AttributionSettings(method="saliency", moves="rationale")
    with pytest.raises(NotReadable, match="No example has two tokens to rank"):
        judge(model, encoder, [example("e", "cat", "house", None)], PLACEMENTS.get("pre_cot"), settings, counts)
    for method in ("saliency", "integrated_gradients", "occlusion"):
        settings = AttributionSettings(method=method, moves="rationale")
        with pytest.raises(
            NotReadable, match="label stands before the rationale, so no prediction of the label can depend on it"
        ):
            judge(model, encoder, examples[:2], PLACEMENTS.get("post_cot"), settings, counts)


@pytest.mark.parametrize("shares", [(), (0.0, 1.0), (0.5, 1.5), (-0.1, 0.5), (float("nan"), 0.5)])
def test_shares_that_leave_nothing_to_average_are_refused(shares):
    with pytest.raises(UsageError, match="no shares"):
        checked_shares(shares)


def judged(id, cluster, without, random, leave_one_out):
    still = np.zeros(3)
    return Judged(
        id,
        cluster,
        4,
        0.9,
        (0.0, 0.5, 1.0),
        np.array([0, without, 0.9]),
        still,
        np.array([0, random, 0.9]),
        still,
        leave_one_out,
        leave_one_out,
    )


def test_the_summary_tells_what_every_mean_rests_on():
    found = summary(
        [judged("a", "x", 0.5, 0.1, None), judged("b", "y", 0.3, 0.1, 0.2), judged("c", "y", 0.4, 0.4, 0.4)], 5
    )
    assert (found["examples"], found["clusters"], found["left_out"], found["shares"]) == (3, 2, 2, [0.0, 0.5, 1.0])
    assert found["comprehensiveness"]["mean"] == pytest.approx(0.4) and found["random_comprehensiveness"][
        "mean"
    ] == pytest.approx(0.2)
    over = found["comprehensiveness_over_random"]
    assert over["mean"] == pytest.approx(0.2) and over["low"] < 0.2 < over["high"]
    # One of three does not vary, and the two others are of one cluster.
    assert found["leave_one_out"] == {"mean": pytest.approx(0.3), "low": None, "high": None, "examples": 2}
    assert summary([judged("a", "x", 0.5, 0.1, None)], 1)["leave_one_out"] is None


def test_each_example_has_a_row_with_its_areas():
    rows = example_table([judged("a", "x", 0.5, 0.1, None), judged("b", "y", 0.3, 0.1, 0.2)])
    assert list(rows.columns) == list(EXAMPLE_COLUMNS)
    assert rows["comprehensiveness"].tolist() == [0.5, 0.3] and rows["leave_one_out"].isna().tolist() == [True, False]

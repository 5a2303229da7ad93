"""Agreement of attributions, worked out by hand."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from cotdistill.saliency.stability import agreement, every_pair, spearman, top

CLUSTERS = {"a": "x", "b": "y", "c": "y"}


def scored(**examples):
    return {(name, ""): {("question",): np.array(values, float)} for name, values in examples.items()}


def test_rank_correlation_is_scipys_and_missing_where_nothing_varies():
    one, other = np.array([1.0, 2, 2, 5, -3]), np.array([0.0, 3, 1, 1, -9])
    assert spearman(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert spearman(one, np.ones(5)) is None and spearman(one[:2], other[:2]) is None


def test_the_highest_are_named_with_ties_to_the_earlier():
    assert top(np.array([1.0, 3, 3, 0]), 2) == {1, 2} and top(np.array([3.0, 3, 3]), 2) == {0, 1}


def test_agreement_counts_shared_tokens_against_what_chance_would_share():
    one = scored(a=[4, 3, 2, 1], b=[1, 2, 3, 4])
    other = scored(a=[4, 3, 1, 2], b=[4, 3, 2, 1])
    found = agreement(one, other, CLUSTERS, k=2)
    # a: both name tokens 0 and 1; b: nothing in common. Ranks: .8 and -1.
    assert (found.overlap, found.chance, found.examples, found.explanations, found.ranked, found.clusters) == (
        0.5,
        0.5,
        2,
        2,
        2,
        2,
    )
    assert found.rank == pytest.approx((0.8 - 1) / 2)
    assert found.overlap_low < 0.5 < found.overlap_high


def test_only_what_both_can_read_is_compared():
    one = scored(a=[np.nan, 3, 2, 1, 9], b=[1, 2])
    other = scored(a=[9, 3, 2, 1, np.nan], b=[1, 2], c=[1, 2, 3])
    found = agreement(one, other, CLUSTERS, k=2)
    assert (
        found.examples == 1
        and found.rank == pytest.approx(1.0)
        and found.overlap == 1.0
        and found.chance == pytest.approx(2 / 3)
    )
    assert found.rank_low is None
    assert agreement(scored(a=[1, 2, 3]), scored(b=[1, 2, 3]), CLUSTERS) is None


def test_the_same_span_is_compared_wherever_it_stands_and_others_are_left_out():
    before_label = {
        ("a", ""): {
            ("question", " who", " flies"): np.array([1.0, 5]),
            ("choices", " cat"): np.array([2.0]),
            ("label", " cat"): np.array([np.nan]),
        }
    }
    before_rationale = {
        ("a", ""): {
            ("choices", " cat"): np.array([2.0]),
            ("rationale", " so"): np.array([9.0]),
            ("question", " who", " flies"): np.array([1.0, 5]),
        }
    }
    found = agreement(before_label, before_rationale, CLUSTERS, k=1)
    assert found.rank == pytest.approx(1.0) and found.overlap == 1.0 and found.chance == pytest.approx(1 / 3)
    # Another tokenizer's tokens stand at the same places and are others.
    other_words = {
        ("a", ""): {("question", " wh", "o flies"): np.array([1.0, 5]), ("choices", " cat"): np.array([2.0])}
    }
    assert agreement(before_label, other_words, CLUSTERS) is None


def test_several_explanations_of_one_example_are_one_example():
    both = {("a", f"{i} so"): {("question",): np.array([1.0, 2, 3])} for i in range(4)}
    flat = {**both, ("a", "0 so"): {("question",): np.ones(3)}}
    found = agreement(both, flat, CLUSTERS)
    assert (found.examples, found.explanations, found.ranked) == (1, 4, 3) and found.rank == pytest.approx(1.0)


def test_an_unsigned_method_is_compared_by_size():
    signed, unsigned = scored(a=[-5, 1, 2], b=[-5, 1, 3]), scored(a=[5, 1, 2], b=[5, 1, 3])
    (pair,) = every_pair({"signed": signed, "unsigned": unsigned}, CLUSTERS, k=1, unsigned=("unsigned",))
    assert pair.rank == pytest.approx(1.0) and pair.overlap == 1.0 and (pair.one, pair.other) == ("signed", "unsigned")
    assert pair.absolute
    (pair,) = every_pair({"signed": signed, "other": unsigned}, CLUSTERS, k=1)
    assert pair.overlap == 0.0 and not pair.absolute
    (pair,) = every_pair({"signed": signed, "other": unsigned}, CLUSTERS, k=1, absolute=True)
    assert pair.overlap == 1.0 and pair.absolute


def test_every_two_of_three_are_compared():
    three = {name: scored(a=[1, 2, 3], b=[3, 2, 1]) for name in "pqr"}
    assert [(p.one, p.other) for p in every_pair(three, CLUSTERS)] == [("p", "q"), ("p", "r"), ("q", "r")]


def test_random_scores_agree_as_chance_says():
    rng = np.random.default_rng(2)
    names = [f"e{i}" for i in range(400)]
    one, other = (scored(**{n: rng.random(20) for n in names}) for _ in range(2))
    found = agreement(one, other, {n: n for n in names}, k=5)
    assert found.overlap_low < found.chance == 0.25 < found.overlap_high and found.rank_low < 0 < found.rank_high

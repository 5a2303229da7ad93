"""Calibration error, selective accuracy and effect sizes, by hand and against statsmodels."""

import re

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_effectsize

from cotdistill.statistics.calibration_error import expected_calibration_error, selective_accuracy
from cotdistill.statistics.effects import cohens_h, standardised_difference

CONFIDENCE = np.array([0.9, 0.5, 0.6, 0.8])
RIGHT = np.array([True, False, True, True])


def test_the_calibration_error_is_the_mean_distance_over_bins_of_equal_mass():
    # Bins {.5, .6} and {.8, .9}: accuracies .5 and 1, confidences .55 and .85.
    assert expected_calibration_error(CONFIDENCE, RIGHT, bins=2) == pytest.approx((2 * 0.05 + 2 * 0.15) / 4)
    assert expected_calibration_error(CONFIDENCE, RIGHT, bins=1) == pytest.approx(0.75 - 0.7)


def test_equal_confidences_stay_in_one_bin_whatever_their_order():
    confidence = np.array([0.7] * 6 + [0.9] * 2)
    right = np.array([True, False, True, False, True, False, True, False])
    expected = (6 * 0.2 + 2 * 0.4) / 8
    for order in (np.arange(8), np.arange(8)[::-1]):
        assert expected_calibration_error(confidence[order], right[order], bins=4) == pytest.approx(expected)


def test_a_student_that_knows_its_chances_is_near_nothing_and_a_sure_one_is_not():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1, 50_000)
    assert expected_calibration_error(confidence, rng.random(50_000) < confidence) < 0.01
    assert expected_calibration_error(np.ones(1000), rng.random(1000) < 0.6) == pytest.approx(0.4, abs=0.05)


def test_selective_accuracy_is_that_of_the_surest():
    assert [selective_accuracy(CONFIDENCE, RIGHT, c) for c in (0.25, 0.75, 1.0)] == [1.0, 1.0, 0.75]
    # Two places for .9 and two ties at .5, of which one is right: half of it counts.
    assert selective_accuracy(np.array([0.5, 0.9, 0.5]), np.array([True, True, False]), 2 / 3) == pytest.approx(0.75)


@pytest.mark.parametrize("coverage", [0.0, 1.1])
def test_nothing_and_more_than_everything_are_no_coverage(coverage):
    with pytest.raises(ValueError):
        selective_accuracy(CONFIDENCE, RIGHT, coverage)


def test_no_items_have_no_calibration():
    with pytest.raises(ValueError):
        expected_calibration_error(np.array([]), np.array([], dtype=bool))


def test_cohens_h_is_statsmodels_own():
    for pair in ((0.9, 0.8), (0.0, 1.0), (0.55, 0.6)):
        assert cohens_h(*pair) == pytest.approx(proportion_effectsize(*pair))
    with pytest.raises(ValueError):
        cohens_h(90, 80)


def test_the_standardised_difference_is_hedges_by_hand():
    # Mean .04, standard deviation .02; two degrees of freedom: G(1) / (sqrt(1) G(1/2)) = 1 / sqrt(pi).
    assert standardised_difference(np.array([0.02, 0.04, 0.06])) == pytest.approx(2 / np.pi**0.5)
    assert standardised_difference(np.array([0.02, 0.04])) is None and standardised_difference(np.full(4, 0.02)) is None


def test_the_standardised_difference_has_no_bias():
    draws = np.random.default_rng(0).normal(0.5, 1.0, (20_000, 5))
    assert np.mean([standardised_difference(d) for d in draws]) == pytest.approx(0.5, abs=0.02)


def test_a_perfect_and_a_hopeless_student_lie_pi_apart_and_what_is_no_share_is_refused():
    assert cohens_h(1.0, 0.0) == pytest.approx(np.pi) and cohens_h(0.0, 1.0) == pytest.approx(-np.pi)
    for first, second in ((1.5, 0.5), (0.5, 1.5), (-0.1, 0.5), (0.5, -0.1)):
        with pytest.raises(ValueError, match=re.escape(f"got {first} and {second}")):
            cohens_h(first, second)


def test_calibration_refuses_what_does_not_fit_together_with_the_numbers_that_were_given():
    with pytest.raises(ValueError, match="got 4, 3, 2 bins"):
        expected_calibration_error(CONFIDENCE, RIGHT[:3], bins=2)
    with pytest.raises(ValueError, match="got 4, 4, 0 bins"):
        expected_calibration_error(CONFIDENCE, RIGHT, bins=0)
    with pytest.raises(ValueError, match=r"got 4, 3, coverage 0\.5"):
        selective_accuracy(CONFIDENCE, RIGHT[:3], 0.5)
    with pytest.raises(ValueError, match="coverage 0"):
        selective_accuracy(CONFIDENCE, RIGHT, 0)


def test_one_item_has_a_calibration_error_and_an_accuracy():
    one = np.array([0.75])
    assert expected_calibration_error(one, np.array([True])) == pytest.approx(0.25)
    assert selective_accuracy(one, np.array([True]), 1.0) == 1.0


def test_groups_of_ties_are_placed_by_their_middle():
    # Places 0 to 3, one bin each; with ties {0, 1} in the middle .5 -> bin 0 of 2, {2, 3} in the middle 2.5 -> bin 1.
    confidence = np.array([0.2, 0.2, 0.8, 0.8])
    right = np.array([True, False, True, False])
    assert expected_calibration_error(confidence, right, bins=2) == pytest.approx((2 * 0.3 + 2 * 0.3) / 4)
    # Three of a kind have their middle at 1 of 5: bin 0 of 2, with 2.5 places a bin.
    confidence, right = np.array([0.2, 0.2, 0.2, 0.8, 0.8]), np.array([True, True, True, False, False])
    assert expected_calibration_error(confidence, right, bins=2) == pytest.approx((3 * 0.8 + 2 * 0.8) / 5)

"""Agreement and plausibility, against worked examples and scipy-style brute force."""

import numpy as np
import pytest

from cotdistill.keytokens.agreement import average_precision, cohen_kappa, jaccard, krippendorff_alpha, token_f1


def test_shared_over_all():
    assert jaccard({1, 2, 3}, {2, 3, 4}) == 0.5 and jaccard(set(), set()) == 1.0 and jaccard({1}, set()) == 0.0


def test_f1_of_marked_and_chosen():
    # Two of three chosen are marked, two of four marked are chosen: P = 2/3, R = 1/2.
    assert token_f1({1, 2, 3, 4}, {1, 2, 9}) == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    assert token_f1(set(), set()) == 1.0 and token_f1({1}, set()) == 0.0


def test_average_precision_of_a_ranking():
    # Marked at ranks 1 and 3: (1/1 + 2/3) / 2.
    assert average_precision({0, 2}, np.array([4.0, 3, 2, 1])) == pytest.approx((1 + 2 / 3) / 2)
    # All scores tie: what a random ranking gives, the share of marked places.
    assert average_precision({0, 2}, np.zeros(8)) == 0.25
    assert average_precision(set(), np.ones(3)) is None


def test_kappa_of_the_textbook():
    # Cohen's example form: 20 both yes, 15 both no, 5 and 10 apart: kappa = .4.
    one = ["y"] * 25 + ["n"] * 25
    other = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert cohen_kappa(one, other) == pytest.approx(0.4)
    assert cohen_kappa(["y"] * 5, ["y"] * 5) is None and cohen_kappa([], []) is None
    assert cohen_kappa(["y", "n"], ["n", "y"]) == -1.0
    with pytest.raises(ValueError, match="same units"):
        cohen_kappa(["y"], [])


def test_alpha_of_krippendorffs_own_example_with_gaps():
    # "Computing Krippendorff's Alpha-Reliability" (2011), section C: nominal alpha = .743 for four observers and twelve units.
    rows = {
        "A": [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        "B": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        "C": [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        "D": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    }
    units = [{who: row[i] for who, row in rows.items() if row[i] is not None} for i in range(12)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)


def test_alpha_is_missing_where_nothing_can_be_compared():
    assert krippendorff_alpha([{"A": 1}, {"B": 2}]) is None
    assert krippendorff_alpha([{"A": 1, "B": 1}, {"A": 1, "B": 1}]) is None
    assert krippendorff_alpha([{"A": 1, "B": 1}, {"A": 2, "B": 2}]) == 1.0

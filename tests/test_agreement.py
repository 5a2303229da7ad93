"""Agreement and plausibility, against worked examples, closed forms, brute force and statsmodels."""

from itertools import combinations
from statistics import fmean

import numpy as np
import pytest
from statsmodels.stats import inter_rater

from cotdistill.keytokens.agreement import (
    average_precision,
    cohen_kappa,
    jaccard,
    jaccard_by_chance,
    krippendorff_alpha,
    token_f1,
)


def test_shared_over_all():
    assert jaccard({1, 2, 3}, {2, 3, 4}) == 0.5 and jaccard(set(), set()) == 1.0 and jaccard({1}, set()) == 0.0


@pytest.mark.parametrize(("n", "k"), [(5, 2), (6, 3), (4, 4), (7, 1), (3, 0), (0, 0)])
def test_chance_is_the_mean_over_every_two_choices(n, k):
    choices = [set(c) for c in combinations(range(n), k)]
    assert jaccard_by_chance(n, k) == pytest.approx(fmean(jaccard(a, b) for a in choices for b in choices))


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


def test_average_precision_is_the_area_under_the_steps_of_every_threshold():
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores, marked = (
            rng.integers(0, 6, 12).astype(float),
            {int(i) for i in rng.permutation(12)[: rng.integers(1, 8)]},
        )
        area, recall = 0.0, 0.0
        for threshold in sorted(set(scores.tolist()), reverse=True):
            chosen = {i for i in range(12) if scores[i] >= threshold}
            now = len(chosen & marked) / len(marked)
            area, recall = area + (now - recall) * len(chosen & marked) / len(chosen), now
        assert average_precision(marked, scores) == pytest.approx(area)


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


def drawn_judgements(people, units, values, seed):
    """(units, people): agreement by a common truth, with noise."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, values, units)
    return np.where(rng.random((units, people)) < 0.6, truth[:, None], rng.integers(0, values, (units, people)))


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_that_of_statsmodels(seed):
    one, other = drawn_judgements(2, 60, 3, seed).T
    table = np.array([[np.sum((one == a) & (other == b)) for b in range(3)] for a in range(3)])
    assert cohen_kappa(one.tolist(), other.tolist()) == pytest.approx(
        inter_rater.cohens_kappa(table, return_results=False)
    )


@pytest.mark.parametrize("people", [2, 3, 5])
def test_alpha_without_gaps_is_fleiss_kappa_corrected_for_small_samples(people):
    said = drawn_judgements(people, 40, 3, people)
    fleiss = inter_rater.fleiss_kappa(inter_rater.aggregate_raters(said)[0])
    alpha = krippendorff_alpha([dict(enumerate(unit)) for unit in said.tolist()])
    # Both share the observed disagreement; alpha's expected one draws without putting back from the n = units x people judgements.
    n = said.size
    assert alpha == pytest.approx(1 - (1 - fleiss) * (n - 1) / n)


def test_units_judged_once_change_no_alpha():
    units = [dict(enumerate(unit)) for unit in drawn_judgements(3, 20, 2, 9).tolist()]
    assert krippendorff_alpha([*units, {0: 1}, {2: 0}, {}]) == krippendorff_alpha(units)

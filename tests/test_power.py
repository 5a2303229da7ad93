"""What a study could see before it is trained, by hand, against statsmodels and by simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.power import TTestPower

from cotdistill.statistics.intervals import cluster_totals, crossed, mean_squares
from cotdistill.statistics.power import (
    GUESS_HIGH,
    Noise,
    chance_of_no_worse,
    foretold,
    guesses,
    measured,
    minimum_detectable_effect,
    settling,
)

NOISE = Noise(0.01, 0.2, 0.3)


def made(rng, noise, replicates, clusters):
    """Differences with the noise given and no true difference, one item a cluster."""
    rows, columns = rng.normal(0, noise.replicate, (replicates, 1)), rng.normal(0, noise.cluster, (1, clusters))
    return rows + columns + rng.normal(0, noise.rest, (replicates, clusters))


def test_the_detectable_effect_is_the_formula_by_hand():
    # How many standard errors the noncentral t needs at three replicates, from another implementation of it.
    reach = TTestPower().solve_power(nobs=3, alpha=0.05, power=0.8) * 3**0.5
    by_hand = reach * (0.01**2 / 3 + 0.2**2 / 100 + 0.3**2 / 300) ** 0.5
    assert minimum_detectable_effect(3, 100, NOISE) == pytest.approx(by_hand, rel=1e-6)
    nested = reach * (0.01**2 / 3 + 0.2**2 / 300 + 0.3**2 / 300) ** 0.5
    assert minimum_detectable_effect(3, 100, NOISE, nested=True) == pytest.approx(nested, rel=1e-6)
    assert minimum_detectable_effect(1, 100, NOISE) is None


def test_the_mean_squares_are_statsmodels_own():
    values = np.random.default_rng(0).normal(0, 1, (4, 12))
    rows, columns = np.indices(values.shape)
    table = anova_lm(
        ols("y ~ C(s) + C(i)", pd.DataFrame({"y": values.ravel(), "s": rows.ravel(), "i": columns.ravel()})).fit()
    )
    assert mean_squares(cluster_totals(values, np.arange(12))) == pytest.approx(tuple(table["mean_sq"]))


def test_the_noise_that_was_put_in_is_measured():
    rng = np.random.default_rng(1)
    low, best, high = measured(
        [made(rng, Noise(0.05, 0.2, 0.3), 20, 400) for _ in range(30)], np.arange(400), nested=False
    )
    assert (best.replicate, best.cluster, best.rest) == pytest.approx((0.05, 0.2, 0.3), rel=0.05)
    assert low.replicate < best.replicate < high.replicate and (low.cluster, low.rest) == (high.cluster, high.rest)


def test_the_range_of_the_noise_holds_the_truth_four_times_in_five():
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(400):
        baseline = rng.normal(0, 0.02, (3, 1))
        # Three conditions of the same noise against one baseline: the true spread of a difference is .02 sqrt(2).
        seen = [baseline - rng.normal(0, 0.02, (3, 1)) + rng.normal(0, 0.05, (3, 200)) for _ in range(3)]
        low, _, high = measured(seen, np.arange(200), nested=False)
        inside += low.replicate <= 0.02 * 2**0.5 <= high.replicate
    assert stats.binomtest(inside, 400, 0.8).pvalue > 0.001


def test_nested_replicates_show_their_spread_alone():
    values = np.array([[0.0, 0.1], [0.1, 0.3], [0.0, 0.0]])
    _, best, _ = measured([values], np.arange(2), nested=True)
    assert best == Noise(pytest.approx(values.mean(1).std(ddof=1)), 0.0, 0.0)
    assert best.error(3, 2, nested=True) == pytest.approx(values.mean(1).std(ddof=1) / 3**0.5)


def test_too_little_has_no_noise():
    assert measured([], np.arange(3), False) is measured([np.zeros((1, 3))], np.arange(3), False) is None
    assert measured([np.zeros((3, 3))], np.zeros(3, dtype=np.int64), False) is None


def test_the_chance_of_no_worse_is_statsmodels_power_of_a_shifted_t_test():
    noise = Noise(0.02, 0.0, 0.0)
    expected = TTestPower().power(effect_size=0.03 / 0.02, nobs=5, alpha=0.025, alternative="larger")
    assert chance_of_no_worse(5, 100, noise, 0.03) == pytest.approx(expected)
    assert chance_of_no_worse(1, 100, noise, 0.03) is None and chance_of_no_worse(3, 100, Noise(0, 0, 0), 0.03) == 1.0


def test_a_study_of_the_detectable_size_finds_it_about_four_times_in_five():
    rng = np.random.default_rng(3)
    effect = minimum_detectable_effect(5, 60, Noise(0.03, 0.1, 0.1))
    found = np.mean(
        [crossed(effect + made(rng, Noise(0.03, 0.1, 0.1), 5, 60), np.arange(60)).low > 0 for _ in range(600)]
    )
    assert (
        0.75 < found < 0.97
    )  # the formula gives all noise the few degrees of freedom of the replicates, so it promises too little


def test_what_would_settle_a_comparison_is_the_smallest_that_does():
    noise = Noise(0.02, 0.1, 0.3)
    told = settling(0.03, 3, 400, noise)
    assert (
        minimum_detectable_effect(told.replicates, 400, noise)
        <= 0.03
        < minimum_detectable_effect(told.replicates - 1, 400, noise)
    )
    assert told.times_items is None  # three replicates spread too much for any number of items
    told = settling(0.06, 5, 50, Noise(0.01, 0.2, 0.3))
    assert minimum_detectable_effect(5, round(50 * told.times_items), Noise(0.01, 0.2, 0.3)) == pytest.approx(
        0.06, rel=0.01
    )


def test_no_number_of_replicates_makes_up_for_too_few_items():
    assert settling(0.01, 3, 50, Noise(0.0, 0.2, 0.0)).replicates is None
    assert settling(0.01, 1, 50, NOISE).times_items is None


def test_a_plan_is_told_in_points_with_the_chance_of_no_worse():
    told = foretold(5, 180, *guesses(1080, 180), "guessed")
    assert 0 < told["points_low"] < told["points_high"] and 0 < told["no_worse_low"] < told["no_worse_high"] < 1
    assert told["label"] == "guessed" and told["margin"] == 2.0
    assert foretold(1, 180, *guesses(1080, 180), "guessed")["label"] == "needs two replicates"


def test_guesses_are_of_items_and_shrink_with_clusters_of_many():
    assert guesses(600, 100)[1].rest == pytest.approx(GUESS_HIGH.rest / 6**0.5) and guesses(100, 100)[1] == GUESS_HIGH

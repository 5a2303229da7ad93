"""Intervals against scipy, statsmodels, hand computation and simulation."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from cotdistill.statistics.exact import mcnemar, sign_flip
from cotdistill.statistics.intervals import (
    accuracy_interval,
    cluster_totals,
    crossed,
    mean_interval,
    numbered,
    one_replicate,
    over_replicates,
    wilson,
)
from cotdistill.statistics.shares import share_kept
from cotdistill.statistics.verdicts import word


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (3, 10), (10, 10), (850, 1221)])
def test_the_wilson_interval_is_statsmodels_own(correct, n):
    assert wilson(correct, n) == pytest.approx(proportion_confint(correct, n, method="wilson"), abs=1e-9)


def test_a_share_of_nothing_has_no_interval():
    with pytest.raises(ValueError):
        wilson(0, 0)


def test_over_replicates_is_the_one_sample_t_test():
    values = np.array([0.02, 0.05, 0.01, 0.04])
    found = over_replicates(values)
    test = stats.ttest_1samp(values, 0)
    assert found.p == pytest.approx(test.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval(0.95)))


def test_one_replicate_without_clusters_is_the_t_test_over_items():
    values = np.random.default_rng(0).integers(-1, 2, 300).astype(float)
    found = one_replicate(values, np.arange(300))
    assert found.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-6)


def test_items_of_one_cluster_that_always_agree_count_once():
    values = np.repeat([1.0, 0.0, 1.0, 1.0, 0.0, 1.0], 10)
    clusters = np.repeat(np.arange(6), 10)
    found = one_replicate(values, clusters)
    single = one_replicate(values[::10], np.arange(6))
    assert (found.low, found.high) == pytest.approx((single.low, single.high))


def test_cluster_totals_sum_to_nothing_and_weigh_by_size():
    totals = cluster_totals(np.array([[1.0, 0.0, 0.0]]), np.array([0, 0, 1]))
    assert totals.sum() == pytest.approx(0)
    assert totals[0].tolist() == pytest.approx([(2 / 3 - 1 / 3) * 2 / 3, (-1 / 3) * 2 / 3])


def test_the_crossed_variance_is_the_two_way_analysis_by_hand():
    values = np.array([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 1.0]])
    rows, columns, grand = values.mean(1), values.mean(0), values.mean()
    ms_rep = 4 * ((rows - grand) ** 2).sum() / 2
    ms_item = 3 * ((columns - grand) ** 2).sum() / 3
    ms_rest = ((values - rows[:, None] - columns + grand) ** 2).sum() / 6
    variance = (ms_rep + ms_item - ms_rest) / 12
    df = (ms_rep + ms_item - ms_rest) ** 2 / (ms_rep**2 / 2 + ms_item**2 / 3 + ms_rest**2 / 6)
    reach = stats.t.ppf(0.975, df) * variance**0.5
    found = crossed(values, np.arange(4))
    assert (found.low, found.high, found.df) == pytest.approx((grand - reach, grand + reach, df))


def test_a_component_below_zero_counts_as_zero_and_never_gives_an_interval_of_no_width():
    # Two replicates, two items, no row or column effect at all: MS_rest = 1 stands for both, variance 1 / 4, df 1 / (1 + 1 + 1).
    found = crossed(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 1]))
    assert found.df == pytest.approx(1 / 3) and found.p > 0.05 and found.low < 0 < 1 < found.high


def test_replicates_that_tie_prove_nothing():
    found = over_replicates(np.array([0.02, 0.02]))
    assert (found.mean, found.low, found.high, found.p) == (0.02, None, None, None)
    assert word(found) == "cannot be asked here"


def test_one_replicate_takes_its_p_from_an_exact_test():
    values = np.array([1.0] * 12 + [-1.0] * 3 + [0.0] * 20)
    assert mean_interval(values[None], np.arange(35), nested=False).p == pytest.approx(stats.binomtest(12, 15).pvalue)


def test_the_sign_flip_over_single_items_is_mcnemar():
    assert sign_flip(np.array([1.0] * 8 + [-1.0] * 2), np.arange(10)) == pytest.approx(mcnemar(8, 2))
    drawn = sign_flip(np.array([1.0] * 20 + [-1.0] * 8), np.arange(28))
    assert drawn == pytest.approx(mcnemar(20, 8), abs=0.006)


def test_the_sign_flip_moves_whole_clusters():
    # Three clusters with sums 2, 2, 2: only + + + and - - - of the eight patterns reach 6.
    assert sign_flip(np.ones(6), np.repeat(np.arange(3), 2)) == 0.25
    assert sign_flip(np.zeros(6), np.repeat(np.arange(3), 2)) == 1.0


def test_the_accuracy_of_one_replicate_is_wilsons_and_wider_where_clusters_agree():
    correct = np.array([[1.0, 1.0, 0.0, 1.0] * 10])
    single = accuracy_interval(correct, np.arange(40), nested=False)
    assert (single.low, single.high) == pytest.approx(proportion_confint(30, 40, method="wilson"))
    agreeing = accuracy_interval(np.repeat(correct, 10, axis=1), np.repeat(np.arange(40), 10), nested=False)
    pretended = proportion_confint(300, 400, method="wilson")
    assert agreeing.low < single.low < pretended[0] < pretended[1] < single.high < agreeing.high
    assert agreeing.low == pytest.approx(single.low, abs=0.01)


def test_an_accuracy_of_one_keeps_an_interval_with_one_replicate():
    found = accuracy_interval(np.ones((1, 60)), np.repeat(np.arange(10), 6), nested=False)
    assert (found.low, found.high) == pytest.approx(wilson(10, 10))


def test_the_share_kept_is_fiellers():
    kept, full = np.array([0.08, 0.10, 0.09, 0.11]), np.array([0.10, 0.12, 0.11, 0.10])
    share, low, high = share_kept(kept, full)
    assert share == pytest.approx(0.38 / 0.43)
    # Fieller: an end r of the interval is where the mean of kept - r full is just off zero.
    for end in (low, high):
        assert stats.ttest_1samp(kept - end * full, 0).pvalue == pytest.approx(0.05)
    assert share_kept(kept, np.array([0.1, -0.1, 0.1, -0.1])) is None and share_kept(kept[:1], full[:1]) is None


def test_the_method_follows_from_the_data():
    values, clusters = np.random.default_rng(0).random((3, 20)), np.arange(20)
    assert mean_interval(values, clusters, nested=False).method == "crossed random effects"
    assert mean_interval(values, clusters, nested=True).speaks_of.endswith("new worlds and new seeds")
    assert mean_interval(values[:1], clusters, nested=False).method.startswith("one replicate")
    assert mean_interval(values, np.zeros(20, np.int64), nested=False).method == "t over replicates"
    assert mean_interval(values[:1, :1], clusters[:1], nested=False).low is None


def test_clusters_are_numbered_by_name():
    assert numbered(["b", "a", "b", "c"]).tolist() == [1, 0, 1, 2]

"""Intervals against scipy, statsmodels, hand computation and simulation."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from cotdistill.statistics.intervals import cluster_totals, crossed, mean_interval, numbered, one_replicate, over_replicates, wilson


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
    # Two replicates, two items: totals -0.5 0.5 / 0.5 -0.5 around 0.5 give no row or column effect, so the rest is the whole variance.
    found = crossed(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 1]))
    assert found.mean == 0.5 and found.low == found.high == 0.5  # the larger of MS_rep and MS_cluster is zero here
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


def test_the_method_follows_from_the_data():
    values, clusters = np.random.default_rng(0).random((3, 20)), np.arange(20)
    assert mean_interval(values, clusters, nested=False).method == "crossed random effects"
    assert mean_interval(values, clusters, nested=True).speaks_of.endswith("new worlds and new seeds")
    assert mean_interval(values[:1], clusters, nested=False).method.startswith("one replicate")
    assert mean_interval(values, np.zeros(20, np.int64), nested=False).method == "t over replicates"
    assert mean_interval(values[:1, :1], clusters[:1], nested=False).low is None


def test_clusters_are_numbered_by_name():
    assert numbered(["b", "a", "b", "c"]).tolist() == [1, 0, 1, 2]


def simulated(rng, draws, replicates, items, spread):
    """No true difference: each replicate shifts a condition's accuracy by `spread`; items differ in difficulty, alike for both."""
    difficulty = rng.normal(0, 1.0, (draws, 1, items))
    out = []
    for _ in range(2):
        shift = rng.normal(0, spread * 5, (draws, replicates, 1))  # 5: slope of the logistic curve near its middle, turned round
        out.append(rng.random((draws, replicates, items)) < 1 / (1 + np.exp(-(difficulty + shift))))
    return out[0].astype(float) - out[1]


def test_the_crossed_interval_keeps_its_word_where_pooling_does_not():
    rng = np.random.default_rng(7)
    differences = simulated(rng, draws=400, replicates=5, items=300, spread=0.03)
    clusters = np.arange(300)
    crossed_alarms = np.mean([crossed(d, clusters).p < 0.05 for d in differences])
    pooled_alarms = np.mean([stats.ttest_1samp(d.ravel(), 0).pvalue < 0.05 for d in differences])
    assert crossed_alarms <= 0.07
    assert pooled_alarms > 0.10

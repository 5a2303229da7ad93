"""The two-level bootstrap against closed forms and scipy's."""

import numpy as np
import pytest
from scipy import stats

from cotdistill.statistics.bootstrap import drawn, resampled_means, two_level
from cotdistill.statistics.methods import every_interval


def test_weights_are_draws_with_replacement():
    weights = drawn(np.random.default_rng(0), 4000, 5)
    assert (weights.sum(1) == 5).all()
    assert weights.mean(0) == pytest.approx(np.ones(5), abs=0.06) and weights.var(0) == pytest.approx(
        np.full(5, 0.8), abs=0.08
    )


def test_one_replicate_is_scipys_percentile_bootstrap():
    values = np.random.default_rng(1).normal(0.1, 1, 80)
    ours = np.quantile(resampled_means(values[None, None], np.arange(80), resamples=9000)[:, 0], (0.025, 0.975))
    theirs = stats.bootstrap((values,), np.mean, n_resamples=9000, method="percentile", rng=0).confidence_interval
    assert ours.tolist() == pytest.approx([theirs.low, theirs.high], abs=0.02)


def test_the_crossed_variance_is_its_closed_form():
    # Resampling rows and columns of a table: with weights of mean 1 and variance (n - 1) / n, and the decomposition rows + columns + rest.
    values = np.random.default_rng(2).normal(0, 1, (4, 30)) + np.arange(4)[:, None] * 0.5
    rows, columns, grand = values.mean(1), values.mean(0), values.mean()
    rest = values - rows[:, None] - columns + grand
    by_hand = rows.var() / 4 + columns.var() / 30 + (rest**2).mean() / 120
    assert resampled_means(values[None], np.arange(30), resamples=40_000).var() == pytest.approx(by_hand, rel=0.04)


def test_the_nested_variance_is_its_closed_form():
    values = np.random.default_rng(2).normal(0, 1, (4, 30)) + np.arange(4)[:, None] * 0.5
    by_hand = values.mean(1).var() / 4 + values.var(1).mean() / 120
    assert resampled_means(values[None], np.arange(30), nested=True, resamples=40_000).var() == pytest.approx(
        by_hand, rel=0.04
    )


def test_items_of_one_cluster_stay_together():
    values = np.random.default_rng(3).normal(0, 1, (1, 3, 20))
    single = resampled_means(values, np.arange(20), resamples=200)
    repeated = resampled_means(np.repeat(values, 4, axis=2), np.repeat(np.arange(20), 4), resamples=200)
    assert single == pytest.approx(repeated)


def test_conditions_share_their_resamples_so_that_differences_are_paired():
    values = np.random.default_rng(4).normal(0, 1, (1, 3, 20))
    means = resampled_means(np.concatenate([values, values + 0.25]), np.arange(20), resamples=50)
    assert means[:, 1] - means[:, 0] == pytest.approx(np.full(50, 0.25))


@pytest.mark.parametrize("nested", [False, True])
def test_clusters_weigh_by_their_items(nested):
    # One cluster of three right answers and one of a single wrong one: the mean of a resample is 1, 3/4 or 0, never 1/2.
    values = np.array([[[1.0, 1.0, 1.0, 0.0]] * 2])
    means = resampled_means(values, np.array([0, 0, 0, 1]), nested=nested, resamples=100)[:, 0]
    assert not nested or len(set(means.tolist())) > 3  # two replicates draw their clusters apart
    assert nested or set(means.tolist()) == {0.0, 0.75, 1.0}


def test_the_interval_says_what_it_speaks_of_and_p_agrees_with_it():
    values = np.random.default_rng(5).normal(0.3, 1, (5, 200))
    found = two_level(values, np.arange(200), nested=False)
    assert found.low < found.mean < found.high and found.low > 0 and found.p < 0.05
    assert two_level(values - values.mean(), np.arange(200), nested=False).p > 0.8
    assert found == two_level(values, np.arange(200), nested=False)


def test_verdicts_rest_on_the_first_of_all_intervals():
    values, clusters = np.random.default_rng(6).normal(0, 1, (3, 40)), np.arange(40)
    assert [one.method for one in every_interval(values, clusters, False)] == [
        "crossed random effects",
        "t over replicates",
        "two-level bootstrap",
    ]
    assert [one.method for one in every_interval(values, clusters, True)] == [
        "t over replicates",
        "two-level bootstrap",
    ]
    assert len(every_interval(values[:1], clusters, False)) == len(every_interval(values, clusters * 0, False)) == 1
    told = [one.speaks_of for one in every_interval(values, clusters, False)]
    assert "new questions" in told[0] and "these questions" in told[1] and "new questions" in told[2]


ITEMS = np.arange(4)


def test_means_that_never_leave_zero_have_p_1():
    assert two_level(np.zeros((2, 4)), ITEMS, False, resamples=50).p == 1.0


def test_means_that_are_always_above_zero_have_the_smallest_p_that_so_many_resamples_can_give():
    # 2 x (0 + 1) / (99 + 1)
    assert two_level(np.ones((2, 4)), ITEMS, False, resamples=99).p == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("nested", "population"), [(False, "new questions and new seeds"), (True, "new worlds and new seeds")]
)
def test_a_bootstrap_interval_names_its_population_and_is_that_of_the_resampled_means(nested, population):
    values = np.random.default_rng(1).normal(size=(3, 4))
    interval = two_level(values, ITEMS, nested, resamples=1500, seed=3)
    means = resampled_means(values[None], ITEMS, nested=nested, resamples=1500, seed=3)[:, 0]
    assert (interval.low, interval.high) == tuple(np.quantile(means, (0.025, 0.975)))
    assert f" {population}'" in repr(interval) and len(means) == 1500

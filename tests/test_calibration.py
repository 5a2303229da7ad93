"""Do intervals keep their word? One cell of the simulation of `benchmarks/calibration.py`, and proof that its fast forms are the product's."""

import numpy as np
import pytest
from scipy import stats

from benchmarks import calibration
from benchmarks.calibration import LAYOUTS, MOST_ALARMS, NEW, Cell, run, simulate
from cotdistill.statistics import intervals
from cotdistill.statistics.bootstrap import two_level

CELL = Cell("100 clusters of 6", nested=False, replicates=5, spread=2.0)


@pytest.fixture(scope="module")
def judged():
    return {
        (one.method, one.population): one
        for one in run(CELL, draws=1500, seed=1, only=("crossed", "t over replicates", "pooled"))
    }


def test_the_interval_that_verdicts_rest_on_keeps_its_word(judged):
    found = judged["crossed", NEW]
    assert found.passes and found.claimed and found.power.share > 0.3


def test_pooling_replicate_by_item_as_independent_fails(judged):
    found = judged["pooled", NEW]
    assert not found.passes and found.false_alarms.low > 4 * 0.05 and found.coverage.high < 0.8


def test_t_over_replicates_speaks_of_these_questions_and_not_of_new_ones(judged):
    assert judged["t over replicates", calibration.THESE].passes
    assert (
        not judged["t over replicates", NEW].claimed and judged["t over replicates", NEW].false_alarms.low > MOST_ALARMS
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("replicates", [1, 3])
def test_the_fast_forms_are_the_products_own(layout, replicates):
    sample, *_ = simulate(Cell(layout, False, replicates, 2.0), np.random.default_rng(4), 8)
    clusters = np.repeat(np.arange(len(LAYOUTS[layout])), LAYOUTS[layout])
    rng = np.random.default_rng(0)
    fast = calibration.crossed(sample, rng) if replicates > 1 else calibration.one_replicate(sample, rng)
    for draw, values in enumerate(sample.values.astype(float)):
        found = intervals.mean_interval(values, clusters, nested=False)
        assert (fast.low[draw], fast.high[draw]) == pytest.approx((found.low, found.high), abs=1e-6)
        assert fast.verdict[draw] == (found.p < 0.05 and not found.low <= 0 <= found.high)
        if replicates > 1:
            whole, t = calibration.pooled(sample, rng), calibration.over_replicates(sample, rng)
            assert (whole.low[draw], whole.high[draw]) == pytest.approx(
                tuple(stats.ttest_1samp(values.ravel(), 0).confidence_interval()), abs=1e-6
            )
            assert t.low[draw] == pytest.approx(intervals.over_replicates(values.mean(1)).low)


@pytest.mark.parametrize("nested", [False, True])
def test_the_fast_bootstrap_is_the_products_own_but_for_fewer_resamples(nested):
    sample, *_ = simulate(Cell("117 clusters of 1 to 9", nested, 5, 2.0), np.random.default_rng(3), 3)
    clusters = np.repeat(np.arange(117), LAYOUTS["117 clusters of 1 to 9"])
    fast = calibration.bootstrap(sample, np.random.default_rng(0))
    for draw, values in enumerate(sample.values.astype(float)):
        found = two_level(values, clusters, nested, resamples=4000)
        assert (fast.low[draw], fast.high[draw]) == pytest.approx(
            (found.low, found.high), abs=0.15 * (found.high - found.low)
        )


def test_the_true_differences_are_those_of_very_many_draws():
    none, some, _ = simulate(Cell("600 items", False, 3, 2.0), np.random.default_rng(5), 300)
    for sample in (none, some):
        error = sample.values.mean((1, 2)).std() / 300**0.5
        assert sample.values.mean() == pytest.approx(sample.truths[NEW], abs=4 * error)
        given = sample.values.mean((1, 2)) - sample.truths[calibration.THESE]
        assert given.mean() == pytest.approx(0, abs=4 * given.std() / 300**0.5)
        # Given the items, their own difference is no noise any more.
        assert given.std() < sample.values.mean((1, 2)).std()


def test_a_rate_has_its_exact_interval():
    found = calibration.rate(3, 100)
    exact = stats.binomtest(3, 100).proportion_ci(0.99, method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert calibration.rate(0, 10).low == 0 and calibration.rate(10, 10).high == 1


@pytest.mark.parametrize("cell", [
    Cell("40 items", False, 1, 0, 0.995), Cell("40 items", False, 3, 0, 0.995), Cell("40 items", False, 3, 0, 0.97),
    Cell("40 items", False, 3, 0.3, 0.97, shared=0.95), Cell("40 items", False, 3, 1, 0.7, collapse=0.2),
])  # fmt: skip
def test_where_few_answers_differ_no_worse_is_not_said_of_a_condition_that_is_worse(cell):
    (judged,) = [one for one in run(cell, draws=400, seed=2, only=("crossed", "McNemar")) if one.claimed]
    assert judged.no_worse.share <= 0.025 and judged.coverage.share >= 0.93 and judged.false_alarms.share <= 0.07

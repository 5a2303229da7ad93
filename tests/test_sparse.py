"""Intervals where few answers differ: exact at zero, a score interval beyond, never narrower than the t interval."""

import numpy as np
import pytest

from cotdistill.statistics.intervals import NEW_QUESTIONS, accuracy_interval, mean_interval
from cotdistill.statistics.sparse import beside_t, tango
from cotdistill.statistics.verdicts import noninferiority_p, word

ALONE = np.arange(40)


def test_of_forty_pairs_none_of_which_differs_the_bound_is_exact():
    (low,), (high,) = tango(0, 0, 40)
    assert (low, high) == pytest.approx((-0.0881, 0.0881), abs=1e-4)
    # 1 - .025^(1/40): the largest share of differing pairs of which forty show none in one study of forty.
    assert (1 - high) ** 40 == pytest.approx(0.025)


def test_the_ends_are_where_the_score_statistic_is_the_normal_quantile():
    # 12 gained and 3 lost of 40; the score statistic written out with the restricted estimate of the lost share.
    b, c, n = 12, 3, 40
    for (end,) in tango(b, c, n):
        first, second = 2 * n, -b - c + (2 * n - b + c) * end
        lost = (np.sqrt(second**2 - 4 * first * -c * end * (1 - end)) - second) / (2 * first)
        score = (b - c - n * end) / np.sqrt(n * (2 * lost + end * (1 - end)))
        assert abs(score) == pytest.approx(1.959964, abs=1e-5)


def test_a_t_interval_is_only_ever_widened():
    ends = (np.array([-0.01, np.nan]), np.array([0.05, np.nan]))
    low, high = beside_t(np.array([0.03, 0.0]), np.array([0.01, 0.0]), *ends, np.array([3, 0]), 40)
    assert low[0] < -0.01 and high[0] > 0.05 and (low[1], high[1]) == pytest.approx((-0.0881, 0.0881), abs=1e-4)


@pytest.mark.parametrize("replicates", [1, 3])
def test_answers_that_never_differ_have_an_interval_that_speaks_of_new_questions(replicates):
    interval = mean_interval(np.zeros((replicates, 40)), ALONE, nested=False)
    assert (interval.low, interval.high) == pytest.approx((-0.0881, 0.0881), abs=1e-4) and interval.p == 1
    assert word(interval, 0.02) == "not distinguishable" and noninferiority_p(interval, 0.02) > 0.05
    assert word(interval, 0.1).startswith("no worse") and noninferiority_p(interval, 0.1) < 0.05


def test_everything_right_in_every_replicate_has_wilsons_bound():
    interval = accuracy_interval(np.ones((3, 40)), ALONE, nested=False)
    # 40 / (40 + 1.96^2)
    assert (
        interval.low == pytest.approx(0.9124, abs=1e-4) and interval.high == 1 and interval.speaks_of == NEW_QUESTIONS
    )


def test_words_and_p_never_disagree_however_few_answers_differ():
    rng = np.random.default_rng(0)
    for replicates in (1, 2, 5):
        for share in (0.0, 0.01, 0.05, 0.2):
            values = rng.choice([-1.0, 0.0, 1.0], (replicates, 40), p=[share / 2, 1 - share, share / 2])
            interval = mean_interval(values, ALONE, nested=False)
            assert interval.low < interval.mean < interval.high
            for margin in (0.02, 0.05, 0.1, 0.2):
                assert (noninferiority_p(interval, margin) < 0.05) == (interval.low > -margin)
            if not interval.low <= 0 <= interval.high:
                continue
            assert interval.p >= 0.05 - 1e-12

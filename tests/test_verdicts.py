"""Words from numbers, in one place."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference
from statsmodels.stats.multitest import multipletests

from cotdistill.statistics.exact import mcnemar
from cotdistill.statistics.intervals import over_replicates
from cotdistill.statistics.verdicts import holm, noninferiority_margin, noninferiority_p, superiority_p, word

GAIN = over_replicates(np.array([0.04, 0.05, 0.06]))
LOSS = over_replicates(np.array([-0.04, -0.05, -0.06]))
NONE = over_replicates(np.array([-0.001, 0.0, 0.001]))
WIDE = over_replicates(np.array([-0.2, 0.0, 0.2]))


def test_the_words_follow_from_the_interval():
    assert [word(i) for i in (GAIN, LOSS, NONE, WIDE)] == [
        "better",
        "worse",
        "not distinguishable",
        "not distinguishable",
    ]


def test_no_worse_needs_a_margin_and_an_interval_above_it():
    assert word(NONE, margin=0.02) == "no worse"
    assert word(WIDE, margin=0.02) == "not distinguishable"


def test_nothing_is_called_equal_without_an_interval():
    single = over_replicates(np.array([0.1, 0.2]))
    object.__setattr__(single, "low", None)
    assert word(single) == "cannot be asked here"


def test_the_p_of_non_inferiority_is_below_five_percent_exactly_when_the_interval_clears_the_margin():
    values = np.array([-0.01, 0.002, 0.004, -0.003])
    found = over_replicates(values)
    for margin in (0.005, 0.01, 0.02, 0.05):
        assert (noninferiority_p(found, margin) < 0.05) == (found.low > -margin)
    assert noninferiority_p(found, 0.02) == pytest.approx(
        2 * stats.ttest_1samp(values, -0.02, alternative="greater").pvalue
    )


def test_a_claim_has_a_direction():
    assert superiority_p(GAIN) == GAIN.p and superiority_p(LOSS) == 1.0


def test_holm_is_statsmodels_own():
    ps = [0.01, 0.04, 0.03, 0.5]
    assert holm(ps) == pytest.approx(multipletests(ps, method="holm")[1].tolist())


def test_mcnemar_is_statsmodels_own():
    assert mcnemar(3, 12) == pytest.approx(reference([[50, 3], [12, 35]], exact=True).pvalue)
    assert mcnemar(0, 0) == 1.0


def test_the_margin_is_the_smaller_of_two_points_and_half_the_gain():
    assert [noninferiority_margin(g) for g in (0.10, 0.02, 0.0, -0.01, None)] == [0.02, 0.01, None, None, None]

"""What verdicts rest on is SciPy's own, to the bit, however little of SciPy is loaded for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from scipy import stats

from cotdistill.statistics import distributions

ROOT = Path(__file__).resolve().parents[1]
SHARES = (0.025, 0.1, 0.5, 0.8, 0.9, 0.975)
FREEDOMS = (0.3, 1, 2, 2.7, 4, 9, 30.5, 1_220, 1e6)


def test_quantiles_and_tails_are_those_of_scipy_to_the_bit() -> None:
    for share in SHARES:
        assert distributions.normal_quantile(share) == stats.norm.ppf(share)
        for df in FREEDOMS:
            assert distributions.t_quantile(share, df) == stats.t.ppf(share, df)
            assert distributions.chi2_quantile(share, df) == stats.chi2.ppf(share, df)
    for x in (-2.5, 0.0, 0.7, 3.2, 40.0):
        for df in FREEDOMS:
            assert distributions.t_above(x, df) == stats.t.sf(x, df)
            assert distributions.noncentral_t_above(x, df, 1.3) == stats.nct.sf(x, df, 1.3)


def test_statistics_load_no_distribution_before_one_is_asked_for() -> None:
    code = "import sys; import cotdistill.statistics.verdicts, cotdistill.statistics.power; sys.exit('scipy.special' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120, check=False).returncode == 0

"""Quantiles and tails of the distributions that verdicts rest on: to the bit what scipy.stats gives, without its half
second of import where scipy.special has the function.

Each imports SciPy when it is first asked: a list of studies needs none of it.
"""

from __future__ import annotations


def t_quantile(share: float, df: float) -> float:
    """Where Student's t with df degrees of freedom has that share below."""
    from scipy.special import stdtrit

    return float(stdtrit(df, share))


def t_above(x: float, df: float) -> float:
    """The share of Student's t with df degrees of freedom above x."""
    from scipy.special import stdtr

    return float(stdtr(df, -x))


def noncentral_t_above(x: float, df: float, shift: float) -> float:
    """The share of the noncentral t with df degrees of freedom and that shift above x."""
    from scipy.stats import nct

    return float(nct.sf(x, df, shift))


def normal_quantile(share: float) -> float:
    """Where the standard normal distribution has that share below."""
    from scipy.special import ndtri

    return float(ndtri(share))


def chi2_quantile(share: float, df: float) -> float:
    """Where chi squared with df degrees of freedom has that share below."""
    from scipy.special import gammaincinv

    return 2 * float(gammaincinv(df / 2, share))

"""The share of a gain that is kept: a ratio of two means, whose interval is not symmetric and may not exist."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cotdistill.statistics.distributions import t_quantile


def share_kept(kept: npt.NDArray[np.float64], full: npt.NDArray[np.float64]) -> tuple[float, float, float] | None:
    """mean(kept) / mean(full) over paired replicates, with Fieller's (1954) 95 % interval: speaks of new seeds on these
    questions.

    None below two replicates, or where the full gain is not off zero, so that no finite interval exists.
    """
    s = len(full)
    if s < 2:
        return None
    t = t_quantile(0.975, s - 1)
    a, b = float(kept.mean()), float(full.mean())
    (aa, ab), (_, bb) = np.cov(kept, full) / s
    square, cross, constant = b * b - t * t * bb, a * b - t * t * ab, a * a - t * t * aa
    if square <= 0:
        return None
    reach = math.sqrt(max(0.0, cross * cross - square * constant))
    return a / b, float((cross - reach) / square), float((cross + reach) / square)

"""How far a student's confidence can be believed: calibration error, and accuracy on the questions that it is surest
of.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cotdistill.statistics.intervals import Values

BINS = 15


def expected_calibration_error(confidence: Values, correct: npt.NDArray[np.bool_], bins: int = BINS) -> float:
    """Mean distance between confidence and accuracy over bins of equal mass, weighted by their items: a share, 0 at
    best.

    confidence: (items,) the probability of the choice that was made; correct: (items,) whether it was right. The items,
    in order of confidence, are cut into `bins` bins of equally many (Nguyen and O'Connor 2015); items of equal
    confidence stay together, so the order of the rows does not matter and bins may be of unequal mass. Bins of equal
    width (Guo et al. 2017) would put nearly all items of a sure student into one. A calibrated student of few items is
    above 0 by chance. ValueError without items.
    """
    n = len(confidence)
    if n == 0 or len(correct) != n or bins < 1:
        raise ValueError(
            f"expected as many answers as confidences, at least one, and a bin; got {n}, {len(correct)}, {bins} bins"
        )
    _, group, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts + 1) / 2  # mean place of a group of ties, from 0
    places = np.minimum((middle * bins / n).astype(np.int64), bins - 1)[group]
    gaps = np.bincount(places, weights=confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / n)


def selective_accuracy(confidence: Values, correct: npt.NDArray[np.bool_], coverage: float) -> float:
    """Accuracy on the `coverage` share of the items that the student is surest of (El-Yaniv and Wiener 2010); at 1 it
    is the accuracy.

    The number of items is rounded up. Where the last place is shared by items of equal confidence, each counts with its
    part, so the order of the rows does not matter. ValueError without items or for a coverage that is not above 0 and
    at most 1.
    """
    n = len(confidence)
    if n == 0 or len(correct) != n or not 0 < coverage <= 1:
        raise ValueError(
            f"expected as many answers as confidences, at least one, and a share; got {n}, {len(correct)}, coverage"
            f" {coverage}"
        )
    kept = int(np.ceil(coverage * n - 1e-9))
    edge = np.partition(confidence, n - kept)[n - kept]
    above, tied = confidence > edge, confidence == edge
    part = (kept - int(above.sum())) / int(tied.sum())
    return float((correct[above].sum() + part * correct[tied].sum()) / kept)

"""All intervals of one difference beside each other: they speak of different populations, and verdicts rest on the
first.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cotdistill.statistics.bootstrap import two_level
from cotdistill.statistics.intervals import Interval, Values, mean_interval, over_replicates


def every_interval(values: Values, clusters: npt.NDArray[np.int64], nested: bool) -> tuple[Interval, ...]:
    """`intervals.mean_interval` of (replicates, items) differences, which verdicts rest on, then what else can be
    given: t over replicates and the two-level bootstrap. Only the first where there is one replicate or one cluster.
    """
    first = mean_interval(values, clusters, nested)
    if len(values) == 1 or int(clusters.max()) == 0:
        return (first,)
    more = () if nested else (over_replicates(values.mean(1)),)
    return (first, *more, two_level(values, clusters, nested))

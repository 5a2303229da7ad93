"""cotdistill: why do rationales help a small student? Train under ablations, compare, look inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from cotdistill.results.notebook import Library

__version__ = "0.1.0"


def open(home: str | Path | None = None) -> Library:
    """The studies of a store as data frames, for a notebook: `cotdistill.open().study("starter").predictions()`.

    home: its folder; default $COTDISTILL_HOME, else the one that the dashboard uses.
    """
    # Imported here: whoever wants the version alone loads nothing.
    from cotdistill.results.notebook import open_library

    return open_library(home)


def compare(
    frame: pd.DataFrame,
    *,
    condition: str = "condition",
    item: str = "item",
    replicate: str | None = None,
    correct: str = "correct",
    cluster: str | None = None,
    baseline: str | None = None,
    margin: float | None = None,
) -> pd.DataFrame:
    """The verdict table of any data frame of right and wrong answers, without a store.

    frame: one row per condition, replicate and question. The next five name its columns; correct holds 1 or True for a
    right answer, 0 or False for a wrong one; replicate (seeds) and cluster (questions that are not independent) may be
    left out. baseline: what differences are taken to; default `label_only`, or the first condition. margin: a share
    chosen beforehand, for "no worse".

    Returns one row per condition: condition, accuracy, accuracy_low, accuracy_high, difference, low, high (shares, 95 %
    intervals), p, word, kind (how the interval was made, and what it generalises to), items, clusters, replicates.
    `attrs["notes"]` lists what is missing and replicates that stand far from the others. The statistics are those of
    every study: docs/statistics.md.

    Raises DataError for answers that cannot be paired (questions that a condition lacks, a question answered twice,
    another value than 0 or 1) and UnknownName for a column or a condition that is not there.
    """
    from cotdistill.exchange.frames import compare_frame

    return compare_frame(
        frame,
        condition=condition,
        item=item,
        replicate=replicate,
        correct=correct,
        cluster=cluster,
        baseline=baseline,
        margin=margin,
    ).table()

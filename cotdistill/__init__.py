"""cotdistill: why do rationales help a small student? Train under ablations, compare, look inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from cotdistill.results.notebook import Library

__version__ = "0.1.0"


def open(home: str | Path | None = None) -> Library:
    """The studies of a store as data frames, for a notebook: `cotdistill.open().study("starter").predictions()`.

    home: its folder; default $COTDISTILL_HOME, else the one that the dashboard uses.
    """
    # Imported here: whoever wants the version alone loads nothing.
    from cotdistill.results.notebook import open_library

    return open_library(home)

"""Timing two sides in turn, so that whatever else the machine does falls on both; what was found is printed as lines of JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median

REPEATS = 5


@dataclass(frozen=True)
class Figure:
    """One comparison. ours, peer: medians in `unit` ("s", or something a second); ratio: median of the repeats' own ratios, above 1 where we are
    faster; low, high: the lowest and the highest of them. same: how far both sides gave the same result, in words; aim: the ratio aimed at."""

    what: str
    peer_name: str
    unit: str
    ours: float
    peer: float
    ratio: float
    low: float
    high: float
    repeats: int
    same: str
    aim: float

    @property
    def met(self) -> bool:
        return self.ratio >= self.aim


@dataclass(frozen=True)
class Measure:
    """One figure without a peer, in words. aim: what was aimed at, "" without; met: whether it was reached, None without an aim."""

    what: str
    figure: str
    aim: str = ""
    met: bool | None = None


def figure(what: str, peer_name: str, mine: list[float], theirs: list[float], *, unit: str, same: str, aim: float) -> Figure:
    """From the rates (units of work a second) of repeats that were run in pairs."""
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    ours, peer = median(mine), median(theirs)
    shown = (1 / ours, 1 / peer) if unit == "s" else (ours, peer)
    return Figure(what, peer_name, unit, *shown, median(ratios), min(ratios), max(ratios), len(ratios), same, aim)


def compare(
    what: str, peer_name: str, ours: Callable[[], float], peer: Callable[[], float], *, unit: str, same: str, aim: float, repeats: int = REPEATS
) -> Figure:
    """ours and peer do their work once and give how many units that was; each is run once unmeasured, then in turn, beginning with another side
    every time. unit "s" compares seconds a unit, any other the units a second."""
    for act in (ours, peer):
        act()
    rates: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats):
        for side in (0, 1) if repeat % 2 == 0 else (1, 0):
            began = time.perf_counter()
            done = (ours, peer)[side]()
            rates[side].append(done / (time.perf_counter() - began))
    found = figure(what, peer_name, *rates, unit=unit, same=same, aim=aim)
    tell(found)
    return found


def tell(found: Figure | Measure) -> None:
    """A line of JSON for bench.py, and the same to read."""
    print(json.dumps({"kind": type(found).__name__, **asdict(found)}), flush=True)
    if isinstance(found, Measure):
        told = f"{found.what}: {found.figure}" + (f"; aim {found.aim}" if found.aim else "")
    else:
        told = f"{found.what}, against {found.peer_name}: {found.ours:.4g} to {found.peer:.4g} {found.unit}, "
        told += f"{found.ratio:.1f} x ({found.low:.1f} to {found.high:.1f}); aim {found.aim:g} x; {found.same}"
    print(told, file=sys.stderr, flush=True)


def repeats_asked(about: str | None) -> int:
    """The number of repeats from the terminal."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"pairs that are timed, after one that is not (default {REPEATS})")
    return int(parser.parse_args().repeats)

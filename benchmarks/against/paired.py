"""Timing two sides in turn, so that whatever else the machine does falls on both; what was found is printed as lines of JSON."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import multiprocessing.connection
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

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


def figure(
    what: str, peer_name: str, mine: list[float], theirs: list[float], *, unit: str, same: str, aim: float
) -> Figure:
    """From the rates (units of work a second) of repeats that were run in pairs."""
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    ours, peer = median(mine), median(theirs)
    shown = (1 / ours, 1 / peer) if unit == "s" else (ours, peer)
    return Figure(what, peer_name, unit, *shown, median(ratios), min(ratios), max(ratios), len(ratios), same, aim)


class Apart:
    """Our side in a process of its own, forked from this one, as the product has one for its students: what it sets there, of torch and of the C
    library, would else serve the peer, too. Both still take turns."""

    def __init__(self, begin: Callable[[], None]) -> None:
        """begin: what the product calls first in such a process."""
        self._begin = begin

    def __call__(self, act: Callable[[], Any]) -> Any:
        """What `act` gives there, once."""
        side = self.side(act)
        try:
            return side()[0]
        finally:
            side.close()

    def side(self, act: Callable[[], Any]) -> Side:
        return Side(act, self._begin)


class Side:
    """Something that is done in a process of its own whenever it is asked for; gives what it gave and the seconds that it took."""

    def __init__(self, act: Callable[[], Any], begin: Callable[[], None]) -> None:
        self._asked, there = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(
            target=_serve, args=(there, self._asked, act, begin), daemon=True
        )
        self._process.start()
        there.close()

    def __call__(self) -> tuple[Any, float]:
        self._asked.send(True)
        told: tuple[Any, float] = self._asked.recv()
        return told

    def close(self) -> None:
        self._asked.close()
        self._process.join()


def _serve(
    there: multiprocessing.connection.Connection,
    other: multiprocessing.connection.Connection,
    act: Callable[[], Any],
    begin: Callable[[], None],
) -> None:
    other.close()
    begin()
    while True:
        try:
            there.recv()
        except EOFError:
            return
        began = time.perf_counter()
        given = act()
        there.send((given, time.perf_counter() - began))


def _here(act: Callable[[], Any]) -> Callable[[], tuple[Any, float]]:
    def timed() -> tuple[Any, float]:
        began = time.perf_counter()
        return act(), time.perf_counter() - began

    return timed


def compare(
    what: str, peer_name: str, ours: Callable[[], float], peer: Callable[[], float], *, unit: str, same: str, aim: float, repeats: int = REPEATS,
    apart: Apart | None = None,
) -> Figure:  # fmt: skip
    """ours and peer do their work once and give how many units that was; each is run once unmeasured, then in turn, beginning with another side
    every time. unit "s" compares seconds a unit, any other the units a second. apart: ours is done in a process of its own."""
    mine = apart.side(ours) if apart else _here(ours)
    sides = (mine, _here(peer))
    for act in sides:
        act()
    rates: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats):
        for side in (0, 1) if repeat % 2 == 0 else (1, 0):
            done, seconds = sides[side]()
            rates[side].append(done / seconds)
    if isinstance(mine, Side):
        mine.close()
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
    parser.add_argument(
        "--repeats", type=int, default=REPEATS, help=f"pairs that are timed, after one that is not (default {REPEATS})"
    )
    return int(parser.parse_args().repeats)

"""Do the intervals keep their word? False alarms, coverage and power of each way to judge a difference, by simulation.

    python benchmarks/calibration.py [--draws 4000] [--accuracy .7] [--replicates 1 2 3 5 10] [--spreads 0 1 2 3] [--json FILE] [--table]
    python benchmarks/calibration.py --hard     the cells that broke earlier methods: 40 questions, accuracies of 50, 97 and 99.5 %,
                                                conditions that nearly always agree, replicates that collapse

Two conditions answer questions in clusters. A condition c is right on item i in replicate s when

    m_c + cluster + item + (cluster x c) + (item x c) + seed_s + seed_sc + (cluster x s x c) + noise > 0

every term normal and independent, so every true accuracy is a normal distribution function of m over the root of the variances that a population
draws anew. Condition 0 has an accuracy of 70 % (--accuracy); condition 1 the same (false alarms), or POWER_AT points more (coverage, power).
A spread of 1 point is the standard deviation, over replicates, of each condition's own true accuracy (seed_sc, independent between the
conditions, so that a difference spreads 1.4 times as much) and again of what both share (seed_s). Crossed: all replicates answer the same
items. Nested: each replicate has items of its own.

A population is what a method's interval says that it speaks of. "new questions, new seeds": the true difference over everything. "these questions,
new seeds": given the items; the method moves with the values, so a false alarm is an interval that leaves out the true difference of its items.
"new questions, this seed": given the seeds; both conditions have the same seed effects where there is no true difference. A method passes a
cell if the upper end of the 99 % interval (Clopper and Pearson) of its false-alarm rate is at most .07, and its coverage is at least .93. A cell that
misses by the width of that interval alone (rate below .07, bound above it) is drawn anew, with five times the draws and another seed, and counts so.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cotdistill.statistics.bootstrap import drawn  # noqa: E402
from cotdistill.statistics.sparse import ENOUGH_ANSWERS, ENOUGH_CLUSTERS, beside_t  # noqa: E402

POWER_AT = 4.0
# Variances on the scale where the noise of a single answer has variance 1.
CLUSTER, ITEM, CLUSTER_CONDITION, ITEM_CONDITION, CLUSTER_SEED = 0.4, 0.6, 0.15, 0.15, 0.15
NEW, THESE, THIS, WORLDS = (
    "new questions, new seeds",
    "these questions, new seeds",
    "new questions, this seed",
    "new worlds, new seeds",
)
LAYOUTS = {
    "40 items": np.ones(40, dtype=int),
    "600 items": np.ones(600, dtype=int),
    "100 clusters of 6": np.full(100, 6),
    "117 clusters of 1 to 9": np.tile(np.arange(1, 10), 13),
    "30 clusters of 20": np.full(30, 20),
}
RESAMPLES, BLOCK, FLIPS = 999, 250, 1999
# How many times the draws of a cell that is drawn anew.
AGAIN = 5
MOST_ALARMS, LEAST_COVERAGE = 0.07, 0.93
# "no worse" by MARGIN is said wrongly of a condition that is truly WORSE_BY worse (points).
MARGIN, WORSE_BY = 2.0, 3.0
COLLAPSED = 0.25

Array = np.ndarray


@dataclass(frozen=True)
class Cell:
    """A setting: which clusters, items crossed with replicates or nested in them, how many replicates, their spread in points, and the accuracy
    (a share) of a condition. shared: part of the noise and of the item's liking for a condition that both conditions have in common, so
    that they nearly always agree; collapse: chance that a replicate of a condition answers at COLLAPSED instead."""

    layout: str
    nested: bool
    replicates: int
    spread: float
    accuracy: float = 0.70
    shared: float = 0.0
    collapse: float = 0.0


@dataclass(frozen=True)
class Sample:
    """Paired differences of `draws` studies, -1, 0 or 1, shape (draws, replicates, items), and the true difference of each population: a number, or
    one a draw."""

    values: Array
    sizes: Array
    nested: bool
    truths: dict[str, float | Array]

    @property
    def sums(self) -> Array:
        """(draws, replicates, clusters) of float32: whole numbers, so nothing is lost."""
        if len(self.sizes) == self.values.shape[2]:
            return self.values.astype(np.float32)
        return np.add.reduceat(self.values, np.r_[0, np.cumsum(self.sizes)[:-1]], axis=2, dtype=np.float32)


@dataclass(frozen=True)
class Found:
    """Ends of the 95 % intervals and whether each is a verdict (off zero, its p below .05), one a draw."""

    low: Array
    high: Array
    verdict: Array


def shift_of(cell: Cell) -> float:
    """The true difference for coverage and power, a share: POWER_AT points, downwards near the ceiling."""
    return (POWER_AT if cell.accuracy + POWER_AT / 100 < 0.99 else -POWER_AT) / 100


def simulate(cell: Cell, rng: np.random.Generator, draws: int) -> tuple[Sample, Sample, Sample]:
    """Three samples from the same random numbers: no true difference, POWER_AT points, and WORSE_BY points worse."""
    sizes = LAYOUTS[cell.layout]
    s, n, worlds = cell.replicates, int(sizes.sum()), cell.replicates if cell.nested else 1
    lone = len(sizes) == n
    cluster, item = (0.0, CLUSTER + ITEM) if lone else (CLUSTER, ITEM)
    cluster_c, item_c = (0.0, CLUSTER_CONDITION + ITEM_CONDITION) if lone else (CLUSTER_CONDITION, ITEM_CONDITION)
    cluster, item = cluster + cell.shared * cluster_c, item + cell.shared * item_c
    cluster_c, item_c = (1 - cell.shared) * cluster_c, (1 - cell.shared) * item_c
    fixed = CLUSTER + ITEM + CLUSTER_CONDITION + ITEM_CONDITION + CLUSTER_SEED + 1.0
    seed = cell.spread / 100 * math.sqrt(fixed) / float(stats.norm.pdf(stats.norm.ppf(cell.accuracy)))
    whole = math.sqrt(fixed + 2 * seed**2)
    differences = (0.0, 0.0, shift_of(cell), -WORSE_BY / 100)
    level = [float(stats.norm.ppf(cell.accuracy + difference)) * whole for difference in differences]

    def normal(variance: float, *shape: int) -> Array:
        return rng.standard_normal((draws, *shape), dtype=np.float32) * np.float32(math.sqrt(variance))

    def spread_out(by_cluster: Array) -> Array:
        return np.repeat(by_cluster, sizes, axis=2)

    difficulty = normal(item, worlds, n) + (0 if lone else spread_out(normal(cluster, worlds, len(sizes))))
    shared = normal(seed**2, s, 1)
    common = normal(cell.shared, s, n) if cell.shared else np.float32(0)
    given, own, latent = [], [], []
    for _ in range(2):
        given.append(
            difficulty + normal(item_c, worlds, n) + (0 if lone else spread_out(normal(cluster_c, worlds, len(sizes))))
        )
        own.append(shared + normal(seed**2, s, 1))
        noise = (
            normal(1.0 + CLUSTER_SEED - cell.shared, s, n)
            if lone
            else normal(1.0 - cell.shared, s, n) + spread_out(normal(CLUSTER_SEED, s, len(sizes)))
        )
        latent.append(given[-1] + noise + common)
    fallen = [rng.random((draws, s, 1)) < cell.collapse for _ in range(2)]
    guessed = [rng.random((draws, s, n)) < COLLAPSED for _ in range(2)]
    samples = []
    for first in (1, 2, 3):
        # Without a true difference, one seed is the same for both conditions: there is none given this seed either.
        shifts = (own[0], own[0] if s == 1 and first == 1 else own[1])
        right = [latent[c] + shifts[c] > -level[0 if c == 0 else first] for c in (0, 1)]
        if cell.collapse:
            right = [np.where(fallen[c], guessed[c], right[c]) for c in (0, 1)]
        over_seeds = math.sqrt(1.0 + CLUSTER_SEED + 2 * seed**2)
        over_items = math.sqrt(fixed)
        truths: dict[str, float | Array] = {
            NEW if not cell.nested else WORLDS: (1 - cell.collapse) * differences[first]
        }
        if s == 1:
            ends = [stats.norm.cdf((shifts[c][:, 0, 0] + level[0 if c == 0 else first]) / over_items) for c in (0, 1)]
            truths[THIS] = ends[1] - ends[0]
        elif not cell.nested and not cell.collapse:
            ends = [
                stats.norm.cdf((given[c] + np.float32(level[0 if c == 0 else first])) / over_seeds).mean((1, 2))
                for c in (0, 1)
            ]
            truths[THESE] = ends[1] - ends[0]
        samples.append(Sample(right[1].astype(np.int8) - right[0].astype(np.int8), sizes, cell.nested, truths))
    return samples[0], samples[1], samples[2]


def _t(mean: Array, variance: Array, df: Array | float) -> Found:
    error = np.sqrt(np.maximum(variance, 0.0))
    reach = stats.t.ppf(0.975, df) * error
    # Replicates that tie have no interval, and no verdict: it is left open, so it covers.
    tied = error < 1e-12
    low, high = np.where(tied, -np.inf, mean - reach), np.where(tied, np.inf, mean + reach)
    return Found(low, high, (low > 0) | (high < 0))


def scaled_totals(sample: Sample) -> Array:
    """`intervals.cluster_totals` of every draw: (draws, replicates, clusters)."""
    mean = sample.values.mean((1, 2))[:, None, None]
    return (sample.sums - mean * sample.sizes) * (len(sample.sizes) / sample.values.shape[2])


def widened(found: Found, sample: Sample) -> Found:
    """`intervals._widened` of every draw: Tango's interval beside, where few clusters differ."""
    sizes = sample.sizes
    differs = (sample.values != 0).any(1)
    if len(sizes) != differs.shape[1]:
        differs = np.add.reduceat(differs, np.r_[0, np.cumsum(sizes)[:-1]], axis=1) > 0
    few = (
        (differs.sum(1) < ENOUGH_CLUSTERS)
        | ((sample.values != 0).mean((1, 2)) < ENOUGH_ANSWERS)
        | ~np.isfinite(found.low)
    )
    gained, lost = ((sample.values == sign).mean((1, 2))[few] for sign in (1, -1))
    low, high = (np.where(np.isfinite(end), end, np.nan)[few] for end in (found.low, found.high))
    wide_low, wide_high = found.low.copy(), found.high.copy()
    wide_low[few], wide_high[few] = beside_t(gained, lost, low, high, differs.sum(1)[few], len(sizes))
    verdict = found.verdict
    off_zero = (wide_low > 0) | (wide_high < 0)
    return Found(wide_low, wide_high, off_zero & (verdict | ~np.isfinite(found.low)))


def crossed(sample: Sample, rng: np.random.Generator) -> Found:
    """`intervals.mean_interval` of every draw of crossed replicates."""
    totals = scaled_totals(sample)
    _, s, c = totals.shape
    rows, columns = totals.mean(2, keepdims=True), totals.mean(1, keepdims=True)
    ms_rep = c * (rows**2).sum((1, 2)) / (s - 1)
    ms_cluster = s * (columns**2).sum((1, 2)) / (c - 1)
    ms_rest = ((totals - rows - columns) ** 2).sum((1, 2)) / ((s - 1) * (c - 1))
    ms_rep, ms_cluster = np.maximum(ms_rep, ms_rest), np.maximum(ms_cluster, ms_rest)
    total = ms_rep + ms_cluster - ms_rest
    with np.errstate(invalid="ignore"):
        df = total**2 / (ms_rep**2 / (s - 1) + ms_cluster**2 / (c - 1) + ms_rest**2 / ((s - 1) * (c - 1)))
    return widened(_t(sample.values.mean((1, 2)), total / (s * c), np.where(np.isnan(df), c - 1.0, df)), sample)


def over_replicates(sample: Sample, rng: np.random.Generator) -> Found:
    """`intervals.over_replicates` of every draw."""
    means = sample.values.mean(2)
    s = means.shape[1]
    return _t(means.mean(1), means.var(1, ddof=1) / s, s - 1.0)


def pooled(sample: Sample, rng: np.random.Generator) -> Found:
    """Every answer of every replicate as if it were independent: the mistake."""
    n = sample.values.shape[1] * sample.values.shape[2]
    mean = sample.values.mean((1, 2))
    variance = ((sample.values != 0).sum((1, 2)) - n * mean**2) / (n - 1)
    return _t(mean, variance / n, n - 1.0)


def one_replicate(sample: Sample, rng: np.random.Generator) -> Found:
    """`intervals.mean_interval` of one replicate: robust to clusters, and a verdict only if McNemar's test or the sign flip agrees."""
    totals = scaled_totals(sample)[:, 0]
    c = totals.shape[1]
    found = _t(sample.values.mean((1, 2)), (totals**2).sum(1) / ((c - 1) * c), c - 1.0)
    if c == sample.values.shape[2]:
        more, less = (sample.values[:, 0] > 0).sum(1), (sample.values[:, 0] < 0).sum(1)
        p = np.minimum(1.0, 2 * stats.binom.cdf(np.minimum(more, less), more + less, 0.5))
    else:
        sums = sample.sums[:, 0]
        signs = np.random.default_rng(0).integers(0, 2, (FLIPS, c)).astype(np.float32) * 2 - 1
        reached = np.abs(sums @ signs.T) >= np.abs(sums.sum(1, keepdims=True)) - 1e-3
        p = (1 + reached.sum(1)) / (1 + FLIPS)
    return widened(Found(found.low, found.high, found.verdict & (p < 0.05)), sample)


def bootstrap(sample: Sample, rng: np.random.Generator) -> Found:
    """`bootstrap.two_level` of every draw, with RESAMPLES resamples that the draws of a block share."""
    sums, sizes = sample.sums, sample.sizes.astype(np.float32)
    d, s, c = sums.shape
    if not sample.nested:
        weights = drawn(rng, RESAMPLES, c).astype(np.float32)
        by_replicate = (sums.reshape(d * s, c) @ weights.T).reshape(d, s, RESAMPLES) / (weights @ sizes)
        means = np.einsum("dsb,bs->db", by_replicate, drawn(rng, RESAMPLES, s).astype(np.float32) / s)
    else:
        picked = rng.integers(0, s, (RESAMPLES, s))
        top, bottom = np.empty((d, RESAMPLES, s), np.float32), np.empty((RESAMPLES, s), np.float32)
        for replicate in range(s):
            places = np.nonzero(picked == replicate)
            weights = drawn(rng, len(places[0]), c).astype(np.float32)
            top[:, places[0], places[1]] = sums[:, replicate] @ weights.T
            bottom[places] = weights @ sizes
        means = top.sum(2) / bottom.sum(1)
    low, high = np.quantile(means, (0.025, 0.975), axis=1)
    return Found(low, high, (low > 0) | (high < 0))


Method = Callable[[Sample, np.random.Generator], Found]


def methods(cell: Cell) -> dict[str, tuple[Method, dict[str, bool]]]:
    """What is tried in a cell: name -> (function, {population: whether its interval claims to speak of it})."""
    if cell.replicates == 1:
        lone = len(LAYOUTS[cell.layout]) == LAYOUTS[cell.layout].sum()
        return {"McNemar" if lone else "sign flip": (one_replicate, {THIS: True})}
    if cell.nested:
        return {
            "t over replicates": (over_replicates, {WORLDS: True}),
            "bootstrap": (bootstrap, {WORLDS: True}),
            "pooled": (pooled, {WORLDS: True}),
        }
    return {
        "crossed": (crossed, {NEW: True}),
        "t over replicates": (over_replicates, {THESE: True, NEW: False}),
        "bootstrap": (bootstrap, {NEW: True}),
        "pooled": (pooled, {NEW: True}),
    }


@dataclass(frozen=True)
class Rate:
    """A share of draws with its 99 % interval (Clopper and Pearson 1934)."""

    share: float
    low: float
    high: float


def rate(hits: int, draws: int) -> Rate:
    low = float(stats.beta.ppf(0.005, hits, draws - hits + 1)) if hits else 0.0
    high = float(stats.beta.ppf(0.995, hits + 1, draws - hits)) if hits < draws else 1.0
    return Rate(hits / draws, low, high)


@dataclass(frozen=True)
class Result:
    """One method in one cell for one population. claimed: whether its interval says that it speaks of it. power: verdicts "better" at POWER_AT."""

    layout: str
    nested: bool
    replicates: int
    spread: float
    accuracy: float
    method: str
    population: str
    claimed: bool
    false_alarms: Rate
    coverage: Rate
    power: Rate
    no_worse: Rate
    shared: float = 0.0
    collapse: float = 0.0
    draws: int = 0

    @property
    def undecided(self) -> bool:
        """Whether a claimed method misses by the width of the interval of its false-alarm rate alone."""
        return self.claimed and self.false_alarms.share <= MOST_ALARMS < self.false_alarms.high

    @property
    def passes(self) -> bool:
        enough = self.false_alarms.high <= MOST_ALARMS and self.coverage.share >= LEAST_COVERAGE
        return enough and self.no_worse.share <= MOST_ALARMS


def run(cell: Cell, draws: int, seed: int = 0, only: tuple[str, ...] = ()) -> list[Result]:
    """All methods in one cell, or those that are named."""
    key = [
        seed,
        list(LAYOUTS).index(cell.layout),
        int(cell.nested),
        cell.replicates,
        round(10 * cell.spread),
        round(1000 * cell.accuracy),
        *([round(100 * cell.shared), round(100 * cell.collapse)] if cell.shared or cell.collapse else []),
    ]
    rng = np.random.default_rng(key)
    counts: dict[tuple[str, str], list[int]] = {}
    tried = {name: method for name, method in methods(cell).items() if not only or name in only}
    for start in range(0, draws, BLOCK):
        none, some, less = simulate(cell, rng, min(BLOCK, draws - start))
        for name, (function, populations) in tried.items():
            at_none, at_some, at_less = function(none, rng), function(some, rng), function(less, rng)
            for population in (p for p in populations if p in none.truths):
                truth, true = none.truths[population], some.truths[population]
                alarms = at_none.verdict if population != THESE else (at_none.low > truth) | (at_none.high < truth)
                covered = (at_some.low <= true) & (true <= at_some.high)
                hits = counts.setdefault((name, population), [0, 0, 0, 0])
                seen = at_some.verdict & ((at_some.low > 0) if shift_of(cell) > 0 else (at_some.high < 0))
                wrong = (at_less.low > -MARGIN / 100) & (less.truths[population] <= -MARGIN / 100)
                for place, found in enumerate((alarms, covered, seen, wrong)):
                    hits[place] += int(found.sum())
    return [
        Result(**asdict(cell), method=name, population=population, claimed=tried[name][1][population],
               false_alarms=rate(a, draws), coverage=rate(c, draws), power=rate(p, draws),
               no_worse=rate(w, draws), draws=draws)
        for (name, population), (a, c, p, w) in counts.items()
    ]  # fmt: skip


def settled(cell: Cell, draws: int, only: tuple[str, ...] = ()) -> list[Result]:
    """All methods in one cell; those that miss by the width of their interval alone from AGAIN times the draws."""
    found = run(cell, draws, only=only)
    if undecided := tuple(dict.fromkeys(one.method for one in found if one.undecided and one.method != "pooled")):
        again = {(one.method, one.population): one for one in run(cell, AGAIN * draws, seed=1, only=undecided)}
        found = [again.get((one.method, one.population), one) for one in found]
    return found


def cells(layouts: list[str], replicates: list[int], spreads: list[float], accuracy: float) -> Iterator[Cell]:
    for layout in layouts:
        for nested in (False, True):
            for s in replicates:
                if not (nested and s == 1):  # one replicate is nested in nothing
                    yield from (Cell(layout, nested, s, spread, accuracy) for spread in spreads)


def hard_cells() -> Iterator[Cell]:
    """The cells in which earlier methods said what the data do not carry."""
    for layout in ("40 items", "600 items", "30 clusters of 20"):
        for s in (1, 2, 3, 5, 10):
            for accuracy, spread in ((0.5, 0), (0.5, 2), (0.97, 0), (0.97, 1), (0.995, 0), (0.995, 0.3)):
                yield Cell(layout, False, s, spread, accuracy)
            yield Cell(layout, False, s, 0.3, 0.97, shared=0.95)
            if s > 1:
                yield Cell(layout, False, s, 1, 0.7, collapse=0.2)


def hard_table(results: list[Result]) -> str:
    """A Markdown table by kind of cell: the worst cell over layouts and spreads of the methods that verdicts rest on."""
    lines = [
        '| cells | replicates | false alarms | lowest coverage | wrong "no worse" | cells that pass |',
        "|" + " --- |" * 6,
    ]
    groups: dict[tuple[str, int], list[Result]] = {}
    for one in results:
        if one.method in ("crossed", "McNemar", "sign flip"):
            kind = f"{100 * one.accuracy:g} % accuracy"
            kind = f"{100 * one.collapse:g} % of the replicates collapse" if one.collapse else kind
            kind = "conditions that nearly always agree" if one.shared else kind
            groups.setdefault((kind, one.replicates), []).append(one)
    for (kind, s), mine in sorted(groups.items()):
        alarms, least = max(one.false_alarms.share for one in mine), min(one.coverage.share for one in mine)
        wrong = max(one.no_worse.share for one in mine)
        lines.append(
            f"| {kind} | {s} | {_share(alarms)} | {_share(least)} | {_share(wrong)} | {sum(one.passes for one in mine)} of {len(mine)} |"
        )
    return "\n".join(lines)


def _share(value: float) -> str:
    return f"{value:.3f}".lstrip("0")


def summary(results: list[Result]) -> str:
    """A Markdown table: each method and population with the worst of its cells, and its power by replicates and spread."""
    lines = [
        "| items | replicates | method | speaks of | false alarms | lowest coverage | power at 4 points | cells that pass |",
        "|" + " --- |" * 8,
    ]
    groups: dict[tuple[bool, int, str, str, bool], list[Result]] = {}
    for one in results:
        groups.setdefault((one.nested, one.replicates, one.method, one.population, one.claimed), []).append(one)
    for (nested, s, method, population, claimed), mine in sorted(
        groups.items(), key=lambda e: (e[0][0], e[0][2], e[0][3], e[0][1])
    ):
        alarms = [one.false_alarms for one in mine]
        low, high = min(a.share for a in alarms), max(a.share for a in alarms)
        told = f"{_share(low)} to {_share(high)} (bound {_share(max(a.high for a in alarms))})"
        covered = min((one.coverage for one in mine), key=lambda one: one.share)
        power = [one.power.share for one in mine]
        passed = f"{sum(one.passes for one in mine)} of {len(mine)}" if claimed else "not claimed"
        lines.append(
            f"| {'nested' if nested else 'crossed'} | {s} | {method} | {population} | {told} | "
            f"{_share(covered.share)} (bound {_share(covered.low)}) | {_share(max(power))} to {_share(min(power))} | {passed} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--accuracy", type=float, default=0.70)
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS)[1:], choices=list(LAYOUTS))
    parser.add_argument("--replicates", nargs="+", type=int, default=[1, 2, 3, 5, 10])
    parser.add_argument("--spreads", nargs="+", type=float, default=[0, 1, 2, 3])
    parser.add_argument("--json", type=Path, help="every cell")
    parser.add_argument(
        "--hard", action="store_true", help="the cells that broke earlier methods, in place of the rest"
    )
    parser.add_argument("--table", action="store_true", help="print every cell too")
    given = parser.parse_args()
    begun = time.perf_counter()
    results: list[Result] = []
    chosen = hard_cells() if given.hard else cells(given.layouts, given.replicates, given.spreads, given.accuracy)
    for cell in chosen:
        found = settled(cell, given.draws, only=("crossed", "McNemar", "sign flip") if given.hard else ())
        results += found
        if given.table:
            for one in found:
                print(
                    f"{cell.layout:>24} {'nested' if cell.nested else 'crossed':>7} S={cell.replicates:<2} {cell.spread:g} pt  {one.method:>17} "
                    f"{one.population:>26}  alarms {one.false_alarms.share:.3f} (to {one.false_alarms.high:.3f})  covers {one.coverage.share:.3f}  "
                    f"power {one.power.share:.3f}  {'' if not one.claimed else 'passes' if one.passes else 'FAILS'}",
                    flush=True,
                )
    print(hard_table(results) if given.hard else summary(results))
    print(f"{given.draws} draws a cell, {time.perf_counter() - begun:.0f} s")
    if given.json:
        given.json.write_text(
            json.dumps([{**asdict(one), "passes": one.passes} for one in results], indent=1), encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

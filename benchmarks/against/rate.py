"""How much of what the processor can do reaches the student: operations a second of training, against those of one large matrix product.

    python benchmarks/against/rate.py [--repeats 5]

One thread, float32, both in turn. Operations are counted as the training log counts them: what the model needs, not what padding adds. The product
is made by the library that makes it faster on this processor, which need not be the one that torch asks by itself; that one is told beside.
"""

from __future__ import annotations

import time
from statistics import median

import torch
from material import begin, material, student
from paired import Measure, repeats_asked, tell
from training import BATCH, config, prepared

from cotdistill.students.training import Hooks, train

WIDTH, LAYERS, STEPS, SIDE, AIM = 512, 6, 1, 3072, 0.6


def main() -> None:
    repeats = repeats_asked(__doc__)
    given = material()
    one, other = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)

    def product() -> float:
        """Operations a second."""
        began = time.perf_counter()
        torch.mm(one, other.t())  # of the ways to lie in memory the one that both libraries take fastest
        return 2 * SIDE**3 / (time.perf_counter() - began)

    by_itself = max(product() for _ in range(repeats + 1))
    begin()
    made, model = prepared(given, config(STEPS)), student(WIDTH, LAYERS)
    shares, rates, peaks = [], [], []
    for repeat in range(repeats + 1):
        began = time.perf_counter()
        log = train(
            model,
            made.training_set.rows,
            made.stream,
            config(STEPS),
            steps=STEPS,
            pad=given.encoder.specials.pad,
            hooks=Hooks(lambda log, values: None),
        )
        rate = log.flops / (time.perf_counter() - began)
        peak = max(product(), by_itself)
        if repeat:
            shares.append(rate / peak)
            rates.append(rate)
            peaks.append(peak)
    found = median(shares)
    spread = f"{100 * found:.0f} % ({100 * min(shares):.0f} to {100 * max(shares):.0f})"
    figure = f"{spread}: {median(rates) / 1e9:.1f} of {median(peaks) / 1e9:.1f} GFLOP/s (torch by itself multiplies at {by_itself / 1e9:.1f})"
    what = f"operations of training, width {WIDTH} x {LAYERS} layers, post-CoT {given.name}, batch {BATCH}, of a {SIDE} x {SIDE} matrix product's"
    tell(Measure(what, figure, f"{100 * AIM:.0f} %", found >= AIM))


if __name__ == "__main__":
    main()

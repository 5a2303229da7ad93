"""How long the largest statistics take: the two-level bootstrap, and the per-example matrix from its artefacts to a page.

    python benchmarks/speed.py

Prints seconds of wall time and of processor time, the best of three, on one thread if OMP_NUM_THREADS=1 is set.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cotdistill.results import prediction_matrix  # noqa: E402
from cotdistill.statistics.bootstrap import resampled_means  # noqa: E402

CONDITIONS, EXAMPLES = 30, 10_000
REPLICATES = (3, 5)


def timed(what: str, act: Callable[[], object]) -> None:
    """Print the best of three."""
    seconds = []
    for _ in range(3):
        wall, processor = time.perf_counter(), time.process_time()
        act()
        seconds.append((time.perf_counter() - wall, time.process_time() - processor))
    wall, processor = min(seconds)
    print(f"{what}: {wall:.3f} s, {processor:.3f} s of processor time", flush=True)


def made(folder: Path, replicates: int) -> SimpleNamespace:
    """A store with one study of CONDITIONS conditions, each run's predictions a file as a worker leaves it, in two modes."""
    rng = np.random.default_rng(0)
    ids = [f"question-{i:06}" for i in range(EXAMPLES)]
    jobs, members = [], []
    for number in range(CONDITIONS * replicates):
        chances = rng.dirichlet(np.ones(4), EXAMPLES)
        table = pd.DataFrame({"id": ids, "cluster": [f"c{i // 6}" for i in range(EXAMPLES)], "mode": "direct"})
        table = table.assign(
            answer=np.int16(0), predicted=chances.argmax(1).astype("int16"), margin=rng.normal(size=EXAMPLES)
        )
        table["probabilities"] = table["scores"] = table["sums"] = list(chances)
        table["correct"] = table["predicted"] == 0
        path = folder / f"{replicates}-{number}.parquet"
        pd.concat([table, table.assign(mode="given")]).to_parquet(path, index=False, compression="zstd")
        jobs.append(
            SimpleNamespace(
                id=number, state="finished", kind="made", result={"mode": "direct"}, produced={"predictions": str(path)}
            )
        )
        name = f"post_cot/mask(fraction={number // replicates / 100})"
        members.append(SimpleNamespace(job_id=number, condition=name, replicate=number % replicates, role="run"))
    study = SimpleNamespace(id=1, members=members)
    queue = SimpleNamespace(study=lambda which: study, jobs=lambda study: jobs)
    return SimpleNamespace(queue=queue, artifacts=SimpleNamespace(path=Path))


def whole(store: SimpleNamespace) -> pd.DataFrame:
    """Everything anew."""
    prediction_matrix._matrix.cache_clear()
    return again(store)


def again(store: SimpleNamespace) -> pd.DataFrame:
    found = prediction_matrix.matrix(store, 1)
    return prediction_matrix.by_example(found, found.conditions[0])


def main() -> int:
    values = (np.random.default_rng(0).random((20, 5, 1221)) < 0.6).astype(float)
    for nested in (False, True):
        told = f"bootstrap, 10,000 resamples of 20 conditions x 5 replicates x 1,221 items, {'nested' if nested else 'crossed'}"
        timed(told, partial(resampled_means, values, np.arange(1221), nested=nested))
    for replicates in REPLICATES:
        with tempfile.TemporaryDirectory() as folder:
            store = made(Path(folder), replicates)
            size = f"{EXAMPLES:,} examples x {CONDITIONS} conditions x {replicates} replicates"

            timed(f"matrix, {size}, from the files", partial(whole, store))
            timed(f"matrix, {size}, once read", partial(again, store))
            table = again(store)
            texts = pd.DataFrame(index=table["item"]).assign(
                question="Where does a bird live?", rationale="It builds nests.", answer="a nest"
            )
            texts["choices"], texts["metadata"] = [("a nest", "a pond")] * len(texts), [{"hops": 1}] * len(texts)
            first, *_, last = (name.removeprefix("right ") for name in table.columns if name.startswith("right "))
            narrow = prediction_matrix.Filters(right=first, wrong=last, text="bird", slices={"hops": ("1",)})
            page = partial(prediction_matrix.page, table, narrow, texts=texts, offset=100)
            timed(f"one page of it, {size}, with every kind of filter", page)
    return 0


if __name__ == "__main__":
    sys.exit(main())

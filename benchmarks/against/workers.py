"""A study with one worker and with two, from the command to its table, and what a run takes on disk.

    python benchmarks/against/workers.py [--repeats 5]

Students of the generated task, one thread each. Each side is a store of its own whose base is there already, so that both train the same students.
At most three pairs: one takes four minutes. What the machine itself gives to two processes at once is measured beside, by small matrix products that
stay in a core's cache and by sums that read memory only.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from paired import Measure, repeats_asked, tell

ROOT = Path(__file__).resolve().parents[2]
STUDY = ["--task", "field_guide", "--name", "speed", "--conditions", "label_only,pre_cot,post_cot", "--steps", "300"]
AIM = 1.8
# Replicates that both sides add to the first: a third of the starter study.
MORE = 4
# Work of a process that is timed alone and twice at once: (what, code that runs it for `seconds` and prints how often it did).
MACHINE = (
    ("matrix products in cache", "import torch; torch.set_num_threads(1); a = torch.randn(96, 96); f = lambda: a @ a"),
    ("sums over memory", "import torch; torch.set_num_threads(1); a = torch.randn(32_000_000); f = lambda: a.sum()"),
)
COUNT = """
import time
f(); began = time.perf_counter(); done = 0
while time.perf_counter() - began < {seconds}:
    f(); done += 1
print(done / (time.perf_counter() - began))
"""


def say(home: Path, *words: str) -> Any:
    """The document of a command, in a store."""
    command = [sys.executable, "-W", "ignore", "-m", "cotdistill", *words, "--json"]
    environment = {**os.environ, "COTDISTILL_HOME": str(home)}
    return json.loads(
        subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
        ).stdout
    )


def rates(code: str, processes: int, seconds: float = 4.0) -> float:
    """How often a second that many processes do it, together."""
    command = [sys.executable, "-c", code + COUNT.format(seconds=seconds)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(processes)]
    return sum(float(each.communicate()[0]) for each in started)


def timed(ready: Path, home: Path, workers: int) -> tuple[float, float]:
    """Seconds of the study in a copy of a store, and those that its students took, summed."""
    shutil.copytree(ready, home)
    began = time.perf_counter()
    say(home, "study", "run", *STUDY, "--seeds", str(1 + MORE), "--workers", str(workers), "--wait")
    took = time.perf_counter() - began
    say(home, "app", "stop")
    new = [run for run in say(home, "runs", "list", "--kind", "train") if run["label"].split()[-1] != "0"]
    return took, sum(run["seconds"] for run in new)


def bytes_of(home: Path) -> dict[str, float]:
    """Mean bytes of what a finished student left, by kind."""
    runs = [say(home, "runs", "show", str(run["id"])) for run in say(home, "runs", "list", "--kind", "train")]
    sizes: dict[str, list[int]] = {}
    for run in runs:
        for role, digest in run["produced"].items():
            (path,) = (home / "artifacts").rglob(f"{digest}.*")
            sizes.setdefault(role.split("@")[0], []).append(path.stat().st_size)
    return {role: sum(each) / len(runs) for role, each in sizes.items()}


def main() -> None:
    repeats = min(3, repeats_asked(__doc__))
    with tempfile.TemporaryDirectory(prefix="cotdistill-bench-") as folder:
        ready = Path(folder) / "ready"
        say(ready, "study", "run", *STUDY, "--seeds", "1", "--workers", "2", "--wait")
        say(ready, "app", "stop")
        pairs = []
        for repeat in range(repeats):
            order = (1, 2) if repeat % 2 == 0 else (2, 1)
            took = {workers: timed(ready, Path(folder) / f"{repeat}-{workers}", workers) for workers in order}
            pairs.append((took[1], took[2]))
        ratios = [one[0] / two[0] for one, two in pairs]
        found, (one, two) = median(ratios), (median(pair[side][0] for pair in pairs) for side in (0, 1))
        figure = f"{found:.2f} x ({min(ratios):.2f} to {max(ratios):.2f}): {one:.1f} s and {two:.1f} s"
        tell(
            Measure(
                f"{3 * MORE} students more of a study, 2 workers against 1, their start included",
                figure,
                f"{AIM} x",
                found >= AIM,
            )
        )
        slower = median(two[1] / one[1] for one, two in pairs)
        ceiling = f"{slower:.2f} x as long each: {2 / slower:.2f} x at most, were all else free"
        tell(Measure("the same students while two are trained at once", ceiling))
        scales = [f"{what} {rates(code, 2) / rates(code, 1):.2f} x" for what, code in MACHINE]
        tell(Measure("two processes of other work at once against one", ", ".join(scales)))
        sizes = bytes_of(ready)
        told = ", ".join(f"{role} {size / 1e3:,.0f} kB" for role, size in sizes.items())
        tell(
            Measure(
                "a run on disk, starter student with five checkpoints", f"{sum(sizes.values()) / 1e6:.2f} MB: {told}"
            )
        )


if __name__ == "__main__":
    main()

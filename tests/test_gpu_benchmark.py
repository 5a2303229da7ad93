"""The GPU check's own path, on a CPU: what a GPU machine will run must not fail there for the first time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks import gpu
from cotdistill.students.batches import Stream

ROOT = Path(__file__).resolve().parents[1]


def test_the_gpu_check_runs_to_its_end_on_a_cpu(tmp_path: Path) -> None:
    words = ["--device", "cpu", "--small", "--batch", "4", "--out", str(tmp_path / "found.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / "gpu.py"), *words],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["ours"]["padded_tokens_per_second"] >= found["ours"]["tokens_per_second"] > 0
    assert 0 < found["ours"]["of_matrix_rate"] < 1
    assert all(rate > 0 for rate in found["looking"].values())
    assert "skipped" in found["gpu_tests"] and "failed" not in found["gpu_tests"]


def test_without_a_gpu_it_says_so_and_how_to_try_it() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "benchmarks/gpu.py"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 1 and "--device cpu --small" in done.stderr


def test_generated_rows_are_as_long_as_commonsenseqa_s_and_waste_little_in_a_batch() -> None:
    work = gpu.generated(512)
    assert 70 < sum(work.lengths) / len(work.lengths) < 95
    # What the loop pads them to, in batches of similar length.
    stream = Stream(work.lengths, 32, 0)
    padded = sum(32 * max(work.lengths[i] for i, _ in stream.step(step)) for step in range(16))
    assert padded < 1.06 * sum(work.lengths[i] for step in range(16) for i, _ in stream.step(step))

"""Ten thousand generated inputs over whatever people and files bring in: tests/test_bad_input.py with more examples.

    python benchmarks/bad_input.py [--inputs 10000] [--seed 1]

Conditions, studies, templates, sizes, files of tasks, archives and answers, archives with one wrong value, annotations, words of the terminal, links
to pages. Each has to be read, or refused in words; none may leave a traceback or half of anything in the store. The exit code is 1 if one does.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Of every example that a test draws in full: four tests in full, six by half, one by a tenth.
INPUTS_PER_EXAMPLE = 4 + 6 / 2 + 1 / 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--inputs", type=int, default=10_000, help="how many (default 10000)")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn (default 1)")
    arguments = parser.parse_args()
    examples = math.ceil(arguments.inputs / INPUTS_PER_EXAMPLE)
    started = time.monotonic()
    words = [
        "-m",
        "pytest",
        "-q",
        "-o",
        "timeout=3600",
        "-p",
        "no:cacheprovider",
        f"--hypothesis-seed={arguments.seed}",
        "tests/test_bad_input.py",
    ]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "COTDISTILL_EXAMPLES": str(examples), "PYTHONPATH": str(ROOT)},
        check=False,
    )
    told = "each was read or refused in words" if done.returncode == 0 else "NOT all were read or refused in words"
    print(
        f"About {INPUTS_PER_EXAMPLE * examples:,.0f} inputs, seed {arguments.seed}, {time.monotonic() - started:.0f} s: {told}."
    )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())

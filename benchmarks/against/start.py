"""How long the terminal takes to answer `--help`.

python benchmarks/against/start.py [--repeats 5]
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from paired import Measure, repeats_asked, tell

ROOT = Path(__file__).resolve().parents[2]
AIM = 0.3


def main() -> None:
    times = []
    for _ in range(repeats_asked(__doc__) + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "cotdistill", "--help"], cwd=ROOT, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    found = median(times[1:])
    tell(Measure("python -m cotdistill --help, second and later starts", f"{found:.2f} s", f"under {AIM} s", found < AIM))


if __name__ == "__main__":
    main()

"""How long the terminal takes to answer `--help`, and the dashboard from the command to its first page.

python benchmarks/against/start.py [--repeats 5]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from paired import Measure, repeats_asked, tell

ROOT = Path(__file__).resolve().parents[2]
AIM, PAGE_AIM = 0.3, 3.0
# A fresh process that draws the first page as the server does for a first visitor.
DRAWN = "from streamlit.testing.v1 import AppTest; shown = AppTest.from_file('app.py', default_timeout=60).run(); assert not shown.exception"


def took(words: list[str], environment: dict[str, str] | None = None) -> tuple[float, str]:
    """Seconds, and what was said."""
    began = time.perf_counter()
    done = subprocess.run(
        words, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return time.perf_counter() - began, done.stdout


def main() -> None:
    repeats = repeats_asked(__doc__)
    program = [sys.executable, "-W", "ignore", "-m", "cotdistill"]
    found = median(took([*program, "--help"])[0] for _ in range(repeats + 1))
    tell(Measure("cotdistill --help, second and later starts", f"{found:.2f} s", f"under {AIM} s", found < AIM))
    with tempfile.TemporaryDirectory(prefix="cotdistill-bench-") as home:
        environment = {**os.environ, "COTDISTILL_HOME": home, "PYTHONPATH": str(ROOT)}
        answers, draws = [], []
        for _ in range(min(3, repeats) + 1):
            seconds, told = took([*program, "app", "start", "--background", "--json"], environment)
            assert json.loads(told)["port"]
            took([*program, "app", "stop"], environment)
            answers.append(seconds)
            draws.append(took([sys.executable, "-W", "ignore", "-c", DRAWN], environment)[0])
    cold = median(answers[1:]) + median(draws[1:])
    figure = f"{cold:.1f} s: {median(answers[1:]):.1f} s to the server's answer, {median(draws[1:]):.1f} s to import and draw the first page"
    tell(
        Measure(
            "dashboard, from the command to the first page, empty store",
            figure,
            f"under {PAGE_AIM:g} s",
            cold < PAGE_AIM,
        )
    )


if __name__ == "__main__":
    main()

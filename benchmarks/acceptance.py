"""The long proofs, one after another, each with a bounded time: what `make acceptance` runs.

    python benchmarks/acceptance.py [--minutes 60] [--only soak,memory] [--out build/acceptance]

What a program prints goes to OUT/NAME.log; figures that are worth keeping are copied to benchmarks/RESULTS.md with the date and the machine. The exit
code is 1 if a program failed or did not end in its time; the others are run all the same.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Program, and how it is called here; "SECONDS" stands for the time that it may take.
PROOFS: dict[str, tuple[str, ...]] = {
    "soak": ("--kills", "1000", "--seed", "1", "--train", "2", "--seconds", "SECONDS"),
    "bad_input": ("--inputs", "10000"),
    "calibration": (),
    "memory": (),
    "pages": (),
    "speed": (),
}


def prove(name: str, seconds: float, out: Path) -> str:
    """Run one program; "" if it went well, else what was wrong."""
    # The soak stops its kills by itself, and may take as long again for the end.
    words = [str(round(seconds / 2)) if word == "SECONDS" else word for word in PROOFS[name]]
    with open(out / f"{name}.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(HERE / f"{name}.py"), *words], stdout=log, stderr=log, cwd=HERE.parent, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        )  # fmt: skip
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            # With everything that it has started.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"did not end within {seconds / 60:g} minutes"
    return f"ended with exit code {code}" if code else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=60.0, help="longest time of each program (default 60)")
    parser.add_argument("--only", default=",".join(PROOFS), help=f"comma list of {', '.join(PROOFS)}")
    parser.add_argument("--out", type=Path, default=HERE.parent / "build" / "acceptance", help="folder of the logs")
    arguments = parser.parse_args()
    chosen = [name for name in arguments.only.split(",") if name]
    if unknown := [name for name in chosen if name not in PROOFS]:
        parser.error(f"no proof is called {', '.join(unknown)}; there are {', '.join(PROOFS)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    wrong = 0
    for name in chosen:
        print(f"{name}: at most {arguments.minutes:g} minutes ...", flush=True)
        begun = time.monotonic()
        told = prove(name, 60 * arguments.minutes, arguments.out)
        wrong += bool(told)
        print(
            f"{name}: {told or 'went well'}, {time.monotonic() - begun:.0f} s; {arguments.out / f'{name}.log'}",
            flush=True,
        )
    print(f"Figures: {arguments.out}; those of record, with date and machine: {HERE / 'RESULTS.md'}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

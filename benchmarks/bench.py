"""Every comparison with what a person would use instead, one after another; the figures go into their section of benchmarks/RESULTS.md.

    make bench
    python benchmarks/bench.py [--python OTHER/bin/python] [--repeats 5] [--only training,scoring] [--no-write]

--python: the interpreter that has the peers (requirements-bench.txt). A script that fails is named, the others still run, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
SCRIPTS = (
    "training", "scoring", "writing", "attribution", "inseq_gradients", "alignment", "grouping", "bootstrap", "rate", "growth", "workers", "start",
)  # fmt: skip
TITLE = "## Against what a person would use instead"
PEERS = ("torch", "transformers", "accelerate", "trl", "lm-eval", "captum", "inseq", "mlflow-skinny", "scipy")
LIMIT = 1200


def ran(python: str, script: str, repeats: int) -> tuple[list[dict[str, Any]], str]:
    """What a script found, and what went wrong ("" if nothing did)."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [python, "-W", "ignore", str(ROOT / "benchmarks" / "against" / f"{script}.py"), "--repeats", str(repeats)]
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, timeout=LIMIT, check=False)
        said, wrong = done.stdout, f"{script}.py ended with code {done.returncode}" if done.returncode else ""
    except subprocess.TimeoutExpired as error:
        said, wrong = error.stdout or b"", f"the rest of {script}.py, which took more than {LIMIT} s"
    return [json.loads(line) for line in said.decode().splitlines() if line.startswith('{"kind"')], wrong


def versions(python: str) -> str:
    """The versions of the peers, as their interpreter knows them."""
    code = f"import importlib.metadata as m, json; print(json.dumps([[n, m.version(n)] for n in {PEERS!r}]))"
    told = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    if told.returncode:
        raise SystemExit(
            f"{python} lacks a peer; install requirements-bench.txt, or run make bench.\n{told.stderr.strip().splitlines()[-1]}"
        )
    return ", ".join(f"{name} {version}" for name, version in json.loads(told.stdout))


def machine() -> str:
    name = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    return f"{os.cpu_count()} cores ({name or platform.machine()}), Python {platform.python_version()}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def section(found: list[dict[str, Any]], failed: list[str], about: str) -> str:
    """The section of RESULTS.md: a table of comparisons, one of figures without a peer, and what failed."""
    compared = [one for one in found if one["kind"] == "Figure"]
    plain = [one for one in found if one["kind"] == "Measure"]
    lines = [TITLE, "", about, ""]
    if compared:
        lines += [
            "| what | peer | ours | peer's | ratio (lowest to highest) | aim | met | same result |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
    for one in compared:
        ratio = f"{one['ratio']:.1f} x ({one['low']:.1f} to {one['high']:.1f})"
        met = "yes" if one["ratio"] >= one["aim"] else "no"
        rates = [f"{_number(one[side])} {one['unit']}" for side in ("ours", "peer")]
        lines.append(
            "| "
            + " | ".join([one["what"], one["peer_name"], *rates, ratio, f"{one['aim']:g} x", met, one["same"]])
            + " |"
        )
    if plain:
        lines += ["", "| what | figure | aim | met |", "| --- | --- | --- | --- |"]
    for one in plain:
        met = {True: "yes", False: "no", None: ""}[one["met"]]
        lines.append(f"| {one['what']} | {one['figure']} | {one['aim']} | {met} |")
    if failed:
        lines += ["", "Not measured: " + "; ".join(failed) + "."]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def replaced(text: str, new: str) -> str:
    """The document with the section of that title replaced, or added at its end; everything else stays."""
    title = new.split("\n", 1)[0]
    start = text.find(f"{title}\n")
    if start < 0:
        return f"{text.rstrip()}\n\n{new}"
    end = text.find("\n## ", start)
    return text[:start] + new + ("" if end < 0 else text[end:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default=",".join(SCRIPTS))
    parser.add_argument("--no-write", action="store_true")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := [name for name in chosen if name not in SCRIPTS]:
        parser.error(f"no such comparison: {', '.join(unknown)}; there are {', '.join(SCRIPTS)}")
    known = versions(arguments.python)
    began, load = time.time(), os.getloadavg()[0]
    found: list[dict[str, Any]] = []
    failed: list[str] = []
    text = ""
    for script in chosen:
        more, wrong = ran(arguments.python, script, arguments.repeats)
        found += more
        failed += [wrong] if wrong else []
        print(f"{script}: {time.time() - began:.0f} s since the start {wrong}", file=sys.stderr, flush=True)
        about = (
            f"`make bench`, {time.strftime('%Y-%m-%d')}, {time.time() - began:.0f} s in all; load average {load:.1f} at the start, "
            f"{os.getloadavg()[0]:.1f} at the end (above 1, other work shared the machine). "
            f"{machine()}; {known}; NumPy {importlib.metadata.version('numpy')}. One thread for both sides, which run "
            "in turn, ours in a process forked from the peer's where it computes with a student: "
            f"medians of {arguments.repeats} pairs, ratio of each pair by itself."
        )
        # After each, so that a run that is cut short leaves what it has measured.
        text = section(found, failed, about)
        if not arguments.no_write:
            part = RESULTS.with_suffix(f".part{os.getpid()}")
            part.write_text(replaced(RESULTS.read_text(), text))
            os.replace(part, RESULTS)
    print(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

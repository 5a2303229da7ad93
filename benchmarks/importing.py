"""Import of 10,000 rows: time and memory of this checkout against another one, in turn, in one run.

    python benchmarks/importing.py --before DIR    DIR: another checkout with a .venv of its own
    python benchmarks/importing.py                 this checkout alone

Every import is a process of its own with an empty store. Prints the processor seconds of `import_task` alone (the best of
the rounds, since other work can only add to them), the ratio, and the highest resident memory of the process.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.bench import machine  # noqa: E402

ROWS, LARGEST_MIB, LARGEST_RATIO = 10_000, 300, 1.0
WORDS = [
    "river",
    "bank",
    "stone",
    "bridge",
    "forest",
    "meadow",
    "lantern",
    "harbour",
    "orchard",
    "valley",
    "copper",
    "willow",
]
# Run in the other checkout too, so it uses nothing but what both have.
IMPORT = """
import resource, sys, time
from pathlib import Path
try:
    from cotdistill.tasks.importing.importer import import_task
except ImportError:  # where it stood in 0.1.0
    from cotdistill.tasks.importing import import_task
start = time.process_time()
task = import_task(Path(sys.argv[2]), Path(sys.argv[1]), "rows").task
print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, task.digest)
"""


def rows(number: int) -> list[dict[str, object]]:
    """Rows as CommonsenseQA has them, with a rationale of about twenty words each; the same for every checkout."""
    rng = random.Random(0)
    made = []
    for i in range(number):
        texts = rng.sample(WORDS, 5)
        gold = rng.randrange(5)
        made.append(
            {
                "id": f"q{i}",
                "question": f"where would {' '.join(rng.choices(WORDS, k=9))} number {i} be found?",
                "choices": [{"label": "ABCDE"[n], "text": f"the {text}"} for n, text in enumerate(texts)],
                "answer": "ABCDE"[gold],
                "rationale": f"{' '.join(rng.choices(WORDS, k=18))} so it is the {texts[gold]}.",
                "rationale_source": "people",
            }
        )
    return made


def imported(checkout: Path, file: Path) -> tuple[float, float, str]:
    """Processor seconds, highest memory in MiB, and digest of an import by a checkout."""
    python = checkout / ".venv" / "bin" / "python"
    with tempfile.TemporaryDirectory() as root:
        done = subprocess.run(
            [str(python) if python.exists() else sys.executable, "-W", "ignore", "-c", IMPORT, str(file), root],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=True,
        )
    seconds, memory, digest = done.stdout.split()
    return float(seconds), float(memory), digest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    checkouts = {"now": ROOT} | ({"before": arguments.before.resolve()} if arguments.before else {})
    best: dict[str, tuple[float, float, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows(ROWS)), encoding="utf-8")
        for _ in range(arguments.rounds):
            for name, checkout in checkouts.items():
                measured = imported(checkout, file)
                best[name] = min(best.get(name, measured), measured)
    print(machine())
    for name, (seconds, memory, digest) in best.items():
        print(f"{name:7} {seconds:6.2f} s  {memory:5.0f} MiB  {digest[:12]}")
    ratio = best["now"][0] / best["before"][0] if "before" in best else 0.0
    print(f"ratio   {ratio:6.2f}" if ratio else "ratio   not measured")
    return int(ratio > LARGEST_RATIO or best["now"][1] > LARGEST_MIB)


if __name__ == "__main__":
    sys.exit(main())

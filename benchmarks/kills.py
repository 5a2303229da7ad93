"""Kill workers, supervisor, dashboard and everything at once, at random moments, and check that no run is lost, doubled or changed.

    python benchmarks/kills.py --kills 200 --seed 0 [--seconds 3600] [--home FOLDER]

Each round trains a small real study in a store of its own while processes are killed with signal 9. Afterwards every job must be finished,
once, with predictions and weights equal to the bit to those of an undisturbed run. Prints a line a round and one JSON document at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from cotdistill.studies.jobs import Job
from cotdistill.studies.locks import send
from cotdistill.studies.planning import launch, plan
from cotdistill.studies.runner import work
from cotdistill.studies.store import Store
from cotdistill.studies.study import study_spec
from cotdistill.studies.supervisor import ensure_supervisor, stop_all

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ("worker", "supervisor", "dashboard", "everything")
STUDY = {
    "name": "soak",
    "task_settings": {"creatures": 24, "documents": 100, "wordings": 2},
    "conditions": "label_only,pre_cot,post_cot,shuffled",
    "replicates": 2,
    "fixed_seeds": {"world": 0, "base": 0},
    "base_steps": 60,
    "training": {"steps": 120, "batch_size": 8, "evaluations": 1, "dev_examples": 10, "checkpoints": "0,1"},
}


def outcome(job: Job) -> tuple[Any, ...]:
    """What must not change: the result but for times, and every artefact but the curve, which holds times."""
    result = {k: v for k, v in (job.result or {}).items() if k not in ("seconds", "versions")}
    return job.state, json.dumps(result, sort_keys=True), {role: digest for role, digest in job.produced.items() if role != "curve"}


def outcomes(store: Store) -> dict[str, tuple[Any, ...]]:
    return {job.identity: outcome(job) for job in store.queue.jobs()}


def undisturbed(home: Path) -> dict[str, tuple[Any, ...]]:
    """The study trained in this process, nothing killed."""
    store = Store.open(home)
    launch(store, plan(store, study_spec(None, STUDY)))
    work(store)
    return outcomes(store)


def kill(store: Store, target: str, dashboard: subprocess.Popen[bytes] | None) -> int:
    """Kill one kind of process; gives how many processes that were."""
    workers = sorted((store.home / "workers").glob("*.lock"))
    if target == "worker":
        workers = workers[:1]
    killed = sum(send(path, signal.SIGKILL) is not None for path in workers) if target in ("worker", "everything") else 0
    if target in ("supervisor", "everything"):
        killed += send(store.home / "supervisor.lock", signal.SIGKILL) is not None
    if target in ("dashboard", "everything") and dashboard is not None and dashboard.poll() is None:
        dashboard.kill()
        dashboard.wait()
        killed += 1
    return killed


def serve(home: Path) -> subprocess.Popen[bytes]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    words = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port), "--server.headless", "true"]
    environment = {**os.environ, "COTDISTILL_HOME": str(home)}
    return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def one_round(home: Path, wanted: dict[str, tuple[Any, ...]], rng: random.Random, kills: int, deadline: float) -> tuple[Counter[str], list[str]]:
    """One store: the study under fire until it has ended. Gives the kills by target, and what went wrong."""
    store = Store.open(home)
    store.queue.set_workers(2)
    launch(store, plan(store, study_spec(None, STUDY)))
    done: Counter[str] = Counter()
    dashboard = serve(home)
    try:
        while time.monotonic() < deadline:
            ensure_supervisor(store)
            if all(job.state in ("finished", "failed", "stopped") for job in store.queue.jobs()):
                break
            if sum(done.values()) < kills:
                time.sleep(rng.uniform(0.2, 6.0))
                target = rng.choice(TARGETS)
                if kill(store, target, dashboard):
                    done[target] += 1
                if dashboard.poll() is not None:
                    dashboard = serve(home)
            else:
                time.sleep(0.3)
    finally:
        stop_all(store)
        dashboard.kill()
        dashboard.wait()
    found = outcomes(store)
    problems = [f"{identity[:12]} is {found[identity][0]}" for identity in found if found[identity][0] != "finished"]
    problems += [f"{identity[:12]} is lost" for identity in wanted if identity not in found]
    problems += [f"{identity[:12]} was never asked for" for identity in found if identity not in wanted]
    problems += [
        f"{identity[:12]} differs from the undisturbed run" for identity in wanted if found.get(identity, ("finished",))[1:] != wanted[identity][1:]
    ]
    return done, problems


def soak(folder: Path, kills: int, seed: int, seconds: float) -> dict[str, Any]:
    """Rounds until so many kills are done or the time is over."""
    rng, deadline = random.Random(seed), time.monotonic() + seconds
    wanted = undisturbed(folder / "undisturbed")
    total: Counter[str] = Counter()
    problems: list[str] = []
    rounds = 0
    while sum(total.values()) < kills and time.monotonic() < deadline:
        done, found = one_round(folder / f"round-{rounds}", wanted, rng, kills - sum(total.values()), deadline)
        total += done
        problems += found
        rounds += 1
        print(f"round {rounds}: {sum(done.values())} kills, {sum(total.values())} so far, {len(problems)} problems", file=sys.stderr, flush=True)
    return {"kills": sum(total.values()), "by_target": dict(total), "rounds": rounds, "jobs": rounds * len(wanted), "problems": problems}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3600.0, help="end after so long, whatever is done")
    parser.add_argument("--home", type=Path, help="where the stores are made; default: a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        report = soak(arguments.home or Path(temporary), arguments.kills, arguments.seed, arguments.seconds)
    print(json.dumps(report))
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())

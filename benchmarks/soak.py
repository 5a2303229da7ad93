"""Kill everything, again and again, and see whether a single job is lost, doubled or changed.

    python benchmarks/soak.py --kills 200 --seed 1 [--train] [--json FILE]

Jobs that count with a random generator (and, with --train, small students on the generated task) run in a store of their own while workers,
the supervisor, the dashboard and all of them at once are ended by SIGKILL at random moments, and now and then a worker is frozen.
Somebody looks at the dashboard all the time, which is what brings a dead supervisor back. In the end every job must have finished, once,
with the result of an undisturbed run. Prints one line; the exit code is 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
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

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cotdistill.config import RECIPES  # noqa: E402
from cotdistill.studies.jobs import Job, JobSpec  # noqa: E402
from cotdistill.studies.locks import is_held, send  # noqa: E402
from cotdistill.studies.store import Store  # noqa: E402
from cotdistill.studies.supervisor import stop_all  # noqa: E402
from tests.quick_jobs import expected_total  # noqa: E402

# What is hit, and how often: (victim, weight). "freeze" stops a worker for good; the supervisor must find out by itself.
VICTIMS = (("worker", 5), ("supervisor", 3), ("dashboard", 2), ("everything", 3), ("freeze", 1))
# A frozen process is given up after so long: of counting jobs, and of students, who import torch.
HANG_SECONDS = (3.0, 12.0)
# How often page Train is drawn.
REDRAW_SECONDS = 5.0
LOOKER = """
import sys, time
from pathlib import Path
from cotdistill.studies.store import Store
from cotdistill.studies.supervisor import ensure_supervisor
while True:
    ensure_supervisor(Store.open(Path(sys.argv[1])))
    time.sleep(0.3)
"""


class Dashboard:
    """The page process and somebody who looks at it. Without a browser, a loop stands for both: it does what the page does when it is drawn."""

    def __init__(self, store: Store, environment: dict[str, str], *, real: bool) -> None:
        self.store, self.environment, self.real = store, environment, real
        self.process: subprocess.Popen[bytes] | None = None
        self.viewer: Any = None
        self.port = 0
        self.drawn = 0.0
        self.open = contextlib.ExitStack()

    def start(self) -> None:
        words = [sys.executable, "-c", LOOKER, str(self.store.home)]
        if self.real:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            words = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), "--server.port", str(self.port), "--server.headless", "true"]
        with open(self.store.home / "dashboard.log", "ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, env=self.environment, start_new_session=True)

    def look(self) -> None:
        """Bring it back if it is dead; draw page Train once, as a browser would."""
        if self.process is None or self.process.poll() is not None:
            self._forget()
            self.start()
        if not self.real:
            return
        # Only the real dashboard needs these.
        from streamlit.proto.BackMsg_pb2 import BackMsg
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        try:
            if self.viewer is None:
                address = f"ws://127.0.0.1:{self.port}/_stcore/stream"
                self.viewer = self.open.enter_context(connect(address, open_timeout=1, max_size=None, ping_interval=None))
                self.drawn = 0.0
            # Drawing the page anew ends a drawing that is under way, so not too often.
            if time.monotonic() - self.drawn > REDRAW_SECONDS:
                self.drawn = time.monotonic()
                message = BackMsg()
                message.rerun_script.page_name = "Train"
                self.viewer.send(message.SerializeToString())
            while True:
                self.viewer.recv(timeout=0.02)
        except TimeoutError:
            pass
        except (OSError, WebSocketException):
            self._forget()

    def _forget(self) -> None:
        self.viewer = None
        self.open.close()

    def kill(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            return False
        self.process.kill()
        self.process.wait()
        self._forget()
        return True


@dataclasses.dataclass
class Soak:
    """One soak in one store. `hit` counts what was really alive when it was killed."""

    store: Store
    seed: int
    interval: tuple[float, float]
    real: bool = False
    hang: float = HANG_SECONDS[0]

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
        self.environment = {
            **os.environ,
            "COTDISTILL_HOME": str(self.store.home),
            "COTDISTILL_KINDS": "tests.quick_jobs",
            "COTDISTILL_HANG_SECONDS": str(self.hang),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": path,
        }
        self.dashboard = Dashboard(self.store, self.environment, real=self.real)
        self.hit: Counter[str] = Counter()
        self.waves = 0

    def wave(self) -> None:
        """More counting jobs; some need the numbers of others."""
        self.waves += 1
        bases = [JobSpec("count", {"steps": 40, "seconds": 0.004, "seed": [self.seed, self.waves, i]}, label=f"base {i}") for i in range(2)]
        specs = list(bases)
        for i in range(8):
            needs = tuple(base.identity for base in self.random.sample(bases, i % 3))
            config = {"steps": self.random.randrange(20, 200), "seconds": 0.004, "seed": [self.seed, self.waves, 10 + i], "adds": list(needs)}
            specs.append(JobSpec("count", config, needs=needs, label=f"count {i}"))
        self.store.queue.submit(specs)

    def run(self, kills: int, seconds: float) -> None:
        """Kill at random moments, as often as asked or for as long, then wait for the end of all jobs (as long again at most)."""
        started = time.monotonic()
        try:
            while sum(self.hit.values()) < kills and time.monotonic() - started < seconds:
                if self.store.queue.backlog().total < 6:
                    self.wave()
                until = time.monotonic() + self.random.uniform(*self.interval)
                while time.monotonic() < until:
                    self.dashboard.look()
                    time.sleep(0.05)
                victim = self.random.choices([name for name, _ in VICTIMS], [weight for _, weight in VICTIMS])[0]
                if self.strike(victim):
                    self.hit[victim] += 1
            deadline = time.monotonic() + seconds
            while self.store.queue.backlog().total and time.monotonic() < deadline:
                self.dashboard.look()
                time.sleep(0.1)
        finally:
            self.dashboard.kill()
            stop_all(self.store)

    def strike(self, victim: str) -> bool:
        """Whether something was alive to be hit."""
        workers = [path for path in sorted((self.store.home / "workers").glob("*.lock")) if is_held(path)]
        supervisor = self.store.home / "supervisor.lock"
        if victim == "worker":
            return bool(workers) and send(self.random.choice(workers), signal.SIGKILL) is not None
        if victim == "freeze":
            return bool(workers) and send(self.random.choice(workers), signal.SIGSTOP) is not None
        if victim == "supervisor":
            return send(supervisor, signal.SIGKILL) is not None
        if victim == "dashboard":
            return self.dashboard.kill()
        alive = [self.dashboard.kill(), *(send(path, signal.SIGKILL) is not None for path in (supervisor, *workers))]
        return any(alive)

    def problems(self, undisturbed: dict[str, Job]) -> list[str]:
        """What is wrong in the end, in words."""
        jobs = {job.identity: job for job in self.store.queue.jobs()}
        found = [
            f"run {job.id} ({job.label}) is {job.state}: {(job.error or {}).get('message', '')}" for job in jobs.values() if job.state != "finished"
        ]
        for job in jobs.values():
            if job.kind == "count" and job.state == "finished" and job.result is not None:
                right = expected_total(job.config, {base: int((jobs[base].result or {}).get("total", -1)) for base in job.config.get("adds", ())})
                if job.result["total"] != right:
                    found.append(f"run {job.id}: {job.result['total']}, undisturbed {right}")
        for identity, other in undisturbed.items():
            mine = jobs.get(identity)
            if mine is None:
                found.append(f"{other.label} is lost")
            elif metrics(mine) != metrics(other):
                found.append(f"run {mine.id} ({mine.label}) differs from the undisturbed run")
        with self.store.queue.database.read() as connection:
            rows = connection.execute("SELECT job, count(*) AS times FROM attempt WHERE outcome = 'finished' GROUP BY job").fetchall()
        times = {row["job"]: row["times"] for row in rows}
        found += [
            f"run {job.id} was finished {times.get(job.id, 0)} times"
            for job in jobs.values()
            if times.get(job.id, 0) != 1 and job.state == "finished"
        ]
        return found + list(self.store.verify().problems)

    def attempts(self) -> int:
        with self.store.queue.database.read() as connection:
            return int(connection.execute("SELECT count(*) FROM attempt").fetchone()[0])


def metrics(job: Job) -> dict[str, Any]:
    """What must be the same to the bit: the result but for the times in it, and every artefact but for the curve, which holds seconds."""
    result = {key: value for key, value in (job.result or {}).items() if key != "seconds"}
    return {"result": result, "produced": {role: digest for role, digest in job.produced.items() if role != "curve"}}


def students(store: Store, replicates: int) -> None:
    """Queue a small study of real students."""
    # Imported here: planning reads tasks, which the counting soak does without.
    from cotdistill.studies.planning import launch, plan
    from cotdistill.studies.study import spec_from_mapping

    values = {
        "name": "soak",
        "conditions": ["label_only", "pre_cot", "post_cot/shuffle"],
        "replicates": replicates,
        "base_steps": 60,
        "fixed_seeds": {"world": 0, "base": 0, "split": 0},
        "training": {"steps": 120, "checkpoints": "1", "dev_examples": 40},
    }
    launch(store, plan(store, spec_from_mapping(values)))


def undisturbed_students(home: Path, replicates: int) -> dict[str, Job]:
    """The same study in a store where nobody is killed."""
    store = Store.open(home)
    students(store, replicates)
    calm = Soak(store, 0, (1.0, 1.0), hang=HANG_SECONDS[1])
    calm.run(kills=0, seconds=1800.0)
    return {job.identity: job for job in store.queue.jobs()}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--seed", type=int, default=1, help="of the victims and the moments (default 1)")
    parser.add_argument("--seconds", type=float, default=3600.0, help="longest time for the kills, and again for the end (default 3600)")
    parser.add_argument("--train", type=int, default=0, metavar="N", help="train real students too, N replicates of three conditions")
    parser.add_argument("--no-dashboard", action="store_true", help="a loop in place of the real dashboard")
    parser.add_argument("--home", type=Path, help="an empty folder to work in (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = parser.parse_args()
    RECIPES["count"] = 1
    with tempfile.TemporaryDirectory(prefix="soak-") as made:
        home = arguments.home or Path(made)
        calm = undisturbed_students(home / "undisturbed", arguments.train) if arguments.train else {}
        store = Store.open(home / "store")
        if arguments.train:
            students(store, arguments.train)
        # Students and the dashboard take seconds to start: the kills leave them now and then the time to get somewhere.
        longest = 12.0 if arguments.train else 2.5 if arguments.no_dashboard else 8.0
        hang = HANG_SECONDS[bool(arguments.train)]
        soak = Soak(store, arguments.seed, (0.1, longest), real=not arguments.no_dashboard, hang=hang)
        started = time.monotonic()
        soak.run(arguments.kills, arguments.seconds)
        problems = soak.problems(calm)
        jobs = store.queue.jobs()
        figures = {
            "kills": sum(soak.hit.values()),
            "victims": dict(soak.hit),
            "jobs": len(jobs),
            "students": sum(job.kind == "train" for job in jobs),
            "finished": sum(job.state == "finished" for job in jobs),
            "attempts": soak.attempts(),
            "seconds": round(time.monotonic() - started, 1),
            "seed": arguments.seed,
            "problems": problems,
        }
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures))
    for problem in problems:
        print(f"! {problem}", file=sys.stderr)
    told = "nothing lost, doubled or changed" if not problems else f"{len(problems)} problems"
    print(
        f"{figures['kills']} kills in {figures['seconds']:.0f} s: {figures['finished']} of {figures['jobs']} jobs finished "
        f"({figures['students']} students) in {figures['attempts']} attempts, {told}.",
        file=sys.stderr,
    )
    return 1 if problems or figures["kills"] < arguments.kills else 0


if __name__ == "__main__":
    sys.exit(main())

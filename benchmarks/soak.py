"""Kill everything, again and again, and see whether a single job is lost, doubled or changed.

    python benchmarks/soak.py --kills 1000 --seed 1 [--train 2] [--seconds 3600] [--json FILE]

Jobs that count with a random generator (and, with --train, small students on the generated task) run in a store of their own while workers,
the supervisor, the dashboard, imports and all of them at once are ended by SIGKILL at random moments. Between the kills workers are frozen for good
or wake up late, checkpoints are damaged, the disk is full, slow or read-only, clocks jump by hours and another program locks the database
(faults.py). Somebody looks at the dashboard all the time, which is what brings a dead supervisor back. After every kill no run may be lost, doubled
or changed; in the end every job must have finished, once, with the result of an undisturbed run, and `store verify` must name every file
that is then damaged on purpose, and nothing else. Prints one line; the exit code is 1 if anything is wrong.
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

from benchmarks.faults import Disk, Importer, Weather, hurt, lock_for, told_of_damage  # noqa: E402
from cotdistill.config import RECIPES  # noqa: E402
from cotdistill.errors import DiskFull  # noqa: E402
from cotdistill.exchange.verify import verify  # noqa: E402
from cotdistill.execution.supervisor import ensure_supervisor, stop_all  # noqa: E402
from cotdistill.store.locks import is_held, send  # noqa: E402
from cotdistill.store.records import Job, JobSpec  # noqa: E402
from cotdistill.store.store import Store  # noqa: E402
from tests.quick_jobs import expected_total  # noqa: E402

# What is killed, and how often: (victim, weight).
VICTIMS = (("worker", 6), ("supervisor", 3), ("dashboard", 1), ("everything", 3), ("importer", 2))
# What goes wrong besides, after every tenth kill or so. "freeze" stops a worker for good, for the supervisor to find out; "late" wakes it.
FAULTS = ("freeze", "late", "checkpoint", "full disk", "slow disk", "read-only", "clock", "locked")
FAULT_SHARE = 0.1
# Besides: students have a checkpoint for a few seconds at a time, so that one is looked for more often than the other faults.
CHECKPOINT_SHARE = 0.2
# Most kills follow each other quickly; the others leave students the time to get somewhere.
SHORT, LONG, LONG_SHARE = (0.05, 1.0), (5.0, 9.0), 0.06
# How many of the kills wait until somebody has begun something.
BEGUN_SHARE = 0.7
# A frozen process is given up after so long: of counting jobs, and of students, who import torch.
HANG_SECONDS = (3.0, 12.0)
# How often page Train is drawn.
REDRAW_SECONDS = 5.0
# Artefacts that are damaged in the end.
DAMAGED = 12
LOOKER = """
import sys, time
from pathlib import Path
from cotdistill.store.store import Store
from cotdistill.execution.supervisor import ensure_supervisor
while True:
    ensure_supervisor(Store.open(Path(sys.argv[1])))
    time.sleep(0.3)
"""


class Dashboard:
    """The page process and somebody who looks at it. Without a browser, a loop stands for both: it does what the page does when it is drawn."""

    def __init__(self, store: Store, environment: dict[str, str], log: Path, *, real: bool) -> None:
        self.store, self.environment, self.log, self.real = store, environment, log, real
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
            words = [
                sys.executable,
                "-m",
                "streamlit",
                "run",
                str(ROOT / "app.py"),
                "--server.port",
                str(self.port),
                "--server.headless",
                "true",
            ]
        with open(self.log, "ab") as log:
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
                self.viewer = self.open.enter_context(
                    connect(address, open_timeout=1, max_size=None, ping_interval=None)
                )
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
    """One soak in one store. `hit` counts what was really alive when it was killed, `suffered` what else could be done.

    folder: for what lies beside the store; without it nothing but kills of workers, supervisor and dashboard happens. disk: where the store lies.
    """

    store: Store
    seed: int
    disk: Disk | None = None
    folder: Path | None = None
    real: bool = False
    hang: float = HANG_SECONDS[0]
    long_share: float = LONG_SHARE

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.weather = Weather(self.folder) if self.folder else None
        site = self.weather.environment if self.weather else {}
        path = os.pathsep.join(filter(None, (site.get("PYTHONPATH"), str(ROOT), os.environ.get("PYTHONPATH"))))
        self.environment = {
            **os.environ,
            "COTDISTILL_HOME": str(self.store.home),
            "COTDISTILL_KINDS": "tests.quick_jobs",
            "COTDISTILL_HANG_SECONDS": str(self.hang),
            "OMP_NUM_THREADS": "1",
            **site,
            "PYTHONPATH": path,
        }
        self.importer = Importer(self.store, self.folder, self.environment) if self.folder else None
        self.dashboard = Dashboard(
            self.store, self.environment, (self.folder or self.store.home) / "dashboard.log", real=self.real
        )
        self.hit: Counter[str] = Counter()
        self.suffered: Counter[str] = Counter()
        self.seen: dict[str, Job] = {}
        self.untrue: list[str] = []
        self.retried: Counter[str] = Counter()
        self.waves = 0

    def wave(self) -> None:
        """More counting jobs; some need the numbers of others."""
        self.waves += 1
        bases = [
            JobSpec("count", {"steps": 40, "seconds": 0.004, "seed": [self.seed, self.waves, i]}, label=f"base {i}")
            for i in range(2)
        ]
        specs = list(bases)
        for i in range(8):
            needs = tuple(base.identity for base in self.random.sample(bases, i % 3))
            config = {
                "steps": self.random.randrange(20, 200),
                "seconds": 0.004,
                "seed": [self.seed, self.waves, 10 + i],
                "adds": list(needs),
            }
            specs.append(JobSpec("count", config, needs=needs, label=f"count {i}"))
        self.store.queue.submit(specs)

    def run(self, kills: int, seconds: float) -> None:
        """Kill at random moments, as often as asked or for as long, then wait for the end of all jobs (as long again at most)."""
        started = time.monotonic()
        try:
            while sum(self.hit.values()) < kills and time.monotonic() - started < seconds:
                # Some of the work is quick, so that most kills hit something that has begun.
                if (
                    sum(
                        job.kind == "count"
                        for state in ("queued", "running")
                        for job in self.store.queue.jobs(state=state)
                    )
                    < 6
                ):
                    self.wave()
                if self.importer:
                    self.importer.begin()
                if self.random.random() < BEGUN_SHARE:
                    self.wait_for_work()
                self.wait(self.random.uniform(*(LONG if self.random.random() < self.long_share else SHORT)))
                victims = (
                    dict(VICTIMS) if self.importer else {name: weight for name, weight in VICTIMS if name != "importer"}
                )
                victim = self.random.choices(list(victims), list(victims.values()))[0]
                if self.strike(victim):
                    self.hit[victim] += 1
                    self.untrue += self.contradictions()
                if self.importer and self.weather and self.random.random() < FAULT_SHARE:
                    fault = self.random.choice(FAULTS)
                    self.suffered[fault] += bool(self.suffer(fault, self.importer, self.weather))
                if self.importer and self.weather and self.random.random() < CHECKPOINT_SHARE:
                    self.suffered["checkpoint"] += bool(self.suffer("checkpoint", self.importer, self.weather))
            if self.importer:
                self.importer.kill()
            deadline = time.monotonic() + seconds
            self.untrue += self.contradictions()
            while self.store.queue.backlog().total and time.monotonic() < deadline:
                self.dashboard.look()
                time.sleep(0.1)
        finally:
            self.dashboard.kill()
            stop_all(self.store)

    def wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.dashboard.look()
            time.sleep(0.05)

    def wait_for_work(self) -> None:
        """Until an attempt has begun that was not there before: processes that are killed while they start prove little."""
        before, until = self.attempts(), time.monotonic() + LONG[1]
        while self.attempts() == before and time.monotonic() < until:
            self.dashboard.look()
            time.sleep(0.05)

    def workers(self) -> list[Path]:
        return [path for path in sorted((self.store.home / "workers").glob("*.lock")) if is_held(path)]

    def contradictions(self) -> list[str]:
        """What cannot be true at any moment, in words: a run that is gone, that is there twice, or that has changed after it had finished."""
        jobs = self.store.queue.jobs()
        now = {job.identity: job for job in jobs}
        found = [] if len(now) == len(jobs) else ["a run is there twice"]
        found += [f"run {job.id} is gone" for identity, job in self.seen.items() if identity not in now]
        for identity, job in self.seen.items():
            if job.state == "finished" and identity in now and metrics(now[identity]) != metrics(job):
                found.append(f"run {job.id} changed after it had finished")
        for job in jobs:
            if cause := self.failed_as_it_should(job):
                # A person tries it again.
                self.store.queue.retry(job.id)
                self.retried[cause] += 1
            elif job.state in ("failed", "stopped"):
                found.append(f"run {job.id} is {job.state}: {(job.error or {}).get('message', '')}")
        self.seen = now
        return found

    def failed_as_it_should(self, job: Job) -> str:
        """Why a run has failed, of its own accord and with its cause, as what was done here makes it; "" if that is not so."""
        error = job.error or {}
        if job.state != "failed":
            return ""
        if error.get("kind") == DiskFull.kind and self.suffered["full disk"]:
            return "full disk"
        # Students that are killed ten times in a row before their first step are given up, as those are that take a worker with them.
        return "given up" if error.get("kind") == "died" and "SIGKILL" in error.get("message", "") else ""

    def suffer(self, fault: str, importer: Importer, weather: Weather) -> bool:
        """Let something go wrong for a while; whether it could be done."""
        while_ = self.random.uniform(0.5, 3.0)
        if fault in ("freeze", "late"):
            workers = self.workers()
            if not workers or (number := send(self.random.choice(workers), signal.SIGSTOP)) is None:
                return False
            if fault == "late":
                # Sometimes before it is given up, sometimes after; a number may be another process's by then, which SIGCONT does no harm.
                self.wait(self.random.uniform(0.5, 1.5) * self.hang)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(number, signal.SIGCONT)
            return True
        if fault == "checkpoint":
            # Of a student that is being trained; its worker is killed first, or it would be written anew.
            running = [job for job in self.store.queue.jobs(state="running") if job.kind == "train"]
            paths = [path for job in running if (path := self.store.queue.resume_path(job.id)).exists()]
            if not paths:
                return False
            for worker in self.workers():
                send(worker, signal.SIGKILL)
            with contextlib.suppress(FileNotFoundError):
                hurt(self.random.choice(paths), self.random)
                return True
            return False
        if fault == "clock":
            weather.set(clock=self.random.choice((-86_400.0, -3600.0, -5.0, 5.0, 3600.0, 86_400.0)))
            self.wait(while_)
            weather.set()
            return True
        if fault == "slow disk":
            weather.set(sync=self.random.uniform(0.05, 0.5))
            self.wait(2 * while_)
            weather.set()
            return True
        if fault == "locked":
            lock_for(self.store, while_)
            self.wait(while_)
            return True
        if fault == "full disk":
            with self.disk.full() if self.disk else contextlib.nullcontext(False) as done:
                self.wait(while_)
            return done
        # What is running has files open for writing, and would keep the disk from being made read-only.
        self.strike("everything")
        importer.kill()
        with self.disk.read_only() if self.disk else contextlib.nullcontext(False) as done:
            self.wait(while_)
        return done

    def strike(self, victim: str) -> bool:
        """Whether something was alive to be hit."""
        workers = self.workers()
        supervisor = self.store.home / "supervisor.lock"
        if victim == "importer":
            return self.importer.kill()
        if victim == "worker":
            return bool(workers) and send(self.random.choice(workers), signal.SIGKILL) is not None
        if victim == "supervisor":
            return send(supervisor, signal.SIGKILL) is not None
        if victim == "dashboard":
            return self.dashboard.kill()
        alive = [self.dashboard.kill(), *(send(path, signal.SIGKILL) is not None for path in (supervisor, *workers))]
        return any(alive)

    def problems(self, undisturbed: dict[str, Job]) -> list[str]:
        """What is wrong in the end, in words."""
        jobs = {job.identity: job for job in self.store.queue.jobs()}
        found = self.untrue + [
            f"run {job.id} ({job.label}) is {job.state}: {(job.error or {}).get('message', '')}"
            for job in jobs.values()
            if job.state != "finished"
        ]
        for job in jobs.values():
            if job.kind == "count" and job.state == "finished" and job.result is not None:
                right = expected_total(
                    job.config,
                    {base: int((jobs[base].result or {}).get("total", -1)) for base in job.config.get("adds", ())},
                )
                if job.result["total"] != right:
                    found.append(f"run {job.id}: {job.result['total']}, undisturbed {right}")
        for identity, other in undisturbed.items():
            mine = jobs.get(identity)
            if mine is None:
                found.append(f"{other.label} is lost")
            elif metrics(mine) != metrics(other):
                found.append(f"run {mine.id} ({mine.label}) differs from the undisturbed run")
        with self.store.queue.database.read() as connection:
            rows = connection.execute(
                "SELECT job, count(*) AS times FROM attempt WHERE outcome = 'finished' GROUP BY job"
            ).fetchall()
        times = {row["job"]: row["times"] for row in rows}
        found += [
            f"run {job.id} was finished {times.get(job.id, 0)} times"
            for job in jobs.values()
            if times.get(job.id, 0) != 1 and job.state == "finished"
        ]
        found += verify(self.store).problems
        if self.importer:
            found += self.importer.half_imported()
            # Only a store that is whole tells what verify sees.
            found += [] if found else told_of_damage(self.store, self.random, DAMAGED)
        return found

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
    from cotdistill.planning.plan import launch, plan
    from cotdistill.studies.spec import spec_from_mapping

    values = {
        "name": "soak",
        "conditions": ["label_only", "pre_cot", "post_cot/shuffle"],
        "replicates": replicates,
        "base_steps": 60,
        "fixed_seeds": {"world": 0, "base": 0, "split": 0},
        "training": {"steps": 600, "checkpoints": "1", "dev_examples": 40},
    }
    launch(store, plan(store, spec_from_mapping(values)))


def undisturbed_students(home: Path, replicates: int) -> dict[str, Job]:
    """The same study in a store where nobody is killed."""
    store = Store.open(home)
    students(store, replicates)
    ensure_supervisor(store)
    while store.queue.backlog().total:
        time.sleep(0.2)
    stop_all(store)
    return {job.identity: job for job in store.queue.jobs()}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--seed", type=int, default=1, help="of the victims and the moments (default 1)")
    parser.add_argument(
        "--seconds", type=float, default=3600.0, help="longest time for the kills, and again for the end (default 3600)"
    )
    parser.add_argument(
        "--train", type=int, default=0, metavar="N", help="train real students too, N replicates of three conditions"
    )
    parser.add_argument("--no-dashboard", action="store_true", help="a loop in place of the real dashboard")
    parser.add_argument("--home", type=Path, help="an empty folder to work in (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = parser.parse_args()
    RECIPES["count"] = 1
    with tempfile.TemporaryDirectory(prefix="soak-") as made, contextlib.ExitStack() as cleaning:
        home = arguments.home or Path(made)
        calm = undisturbed_students(home / "undisturbed", arguments.train) if arguments.train else {}
        disk = Disk(home / "disk")
        cleaning.callback(disk.close)
        store = Store.open(disk.folder / "store")
        if arguments.train:
            students(store, arguments.train)
        # Students take two of them, most of the time.
        store.queue.set_workers(4 if arguments.train else 2)
        hang = HANG_SECONDS[bool(arguments.train)]
        around = home / "around"
        around.mkdir()
        soak = Soak(store, arguments.seed, disk, around, real=not arguments.no_dashboard, hang=hang)
        started = time.monotonic()
        soak.run(arguments.kills, arguments.seconds)
        problems = soak.problems(calm)
        jobs = store.queue.jobs()
        figures = {
            "kills": sum(soak.hit.values()),
            "victims": dict(soak.hit),
            "faults": dict(soak.suffered),
            "failed_as_they_should_and_retried": dict(soak.retried),
            "imports": soak.importer.number if soak.importer else 0,
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
        f"({figures['students']} students) in {figures['attempts']} attempts, {sum(soak.suffered.values())} other faults, {told}.",
        file=sys.stderr,
    )
    return 1 if problems or figures["kills"] < arguments.kills else 0


if __name__ == "__main__":
    sys.exit(main())

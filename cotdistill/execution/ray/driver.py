"""The driver of a store on a Ray cluster: takes jobs as a worker does, sends each as a task to any node, and takes in
what comes back.

It is a supervisor, with the same lock: jobs that cannot travel are still run by workers of this machine. Each attempt's
lock is held here, so the death of the driver ends all of them at once; Ray ends their tasks, and the next driver takes
in what had arrived and goes on from there. The store is read and written on this machine alone. Ray retries nothing
itself: an attempt is an attempt, whoever carries it out.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import signal
import sys
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cotdistill
from cotdistill.config import RunConfig
from cotdistill.errors import CotdistillError, StoreError, Superseded
from cotdistill.execution.attempts import Attempt, Running, claim, running, settle
from cotdistill.execution.executor import executor
from cotdistill.execution.ray import task as ray_task
from cotdistill.execution.ray.fragments import Inbox, Intake, fragments_folder
from cotdistill.execution.supervisor import HANG_SECONDS, Supervisor, say
from cotdistill.execution.worker import EXTRA_KINDS, KINDS, failure
from cotdistill.store.locks import Lock
from cotdistill.store.queue import Backlog
from cotdistill.store.records import Job
from cotdistill.store.store import Store
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.task import Task, added_folder

BEAT_SECONDS = 0.5
# How long tasks may take to save themselves when the driver is told to leave, and when a person stops one.
LEAVE_SECONDS = 6.0
STOP_SECONDS = 20.0


@dataclass
class Flight:
    """An attempt that a node carries out. heard: when it last said something, None before it has begun; asked: when it
    was asked to end.
    """

    attempt: Attempt
    reference: Any
    intake: Intake
    cpus: float
    gpus: float
    heard: float | None = None
    beaten: float = 0.0
    asked: float | None = None
    request: str = ""

    @property
    def name(self) -> str:
        return f"{self.attempt.job.id}-{self.attempt.number}"


class Driver(Supervisor):
    """A supervisor that sends jobs to a cluster. `ray` is the library, imported and connected."""

    def __init__(self, store: Store, ray: Any) -> None:
        super().__init__(store)
        self.ray = ray
        self.flights: list[Flight] = []
        self.told_to_leave: float | None = None
        for module in filter(None, os.environ.get(EXTRA_KINDS, "").split(",")):
            importlib.import_module(module)
        self.elsewhere = tuple(kind.name for kind in KINDS if kind.travels)
        # What lies in the object store already, by digest.
        self.sent: dict[str, Any] = {}
        here = self.ray.get_runtime_context().get_node_id()
        # On this machine, whatever becomes of the others: it writes into the store's folder.
        pinned = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        actor = self.ray.remote(Inbox).options(
            num_cpus=0, scheduling_strategy=pinned, max_restarts=-1, max_task_retries=-1
        )
        self.inbox = actor.remote(str(self.store.home / "ray"))
        self.task = self.ray.remote(ray_task.carry_out)

    def run(self) -> bool:
        try:
            return super().run()
        finally:
            for flight in self.flights:
                flight.attempt.close()

    def tick(self) -> bool:
        self.adopt()
        for flight in list(self.flights):
            self.follow(flight)
        if self.told_to_leave is not None:
            for flight in self.flights:
                self.ask(flight, "leave")
            self.leaving = not self.flights or time.monotonic() - self.told_to_leave > LEAVE_SECONDS
        else:
            self.send_out()
        return super().tick()

    def wanted(self, backlog: Backlog) -> int:
        return min(self.queue.workers(), sum(kind not in self.elsewhere for kind in backlog.kinds))

    def adopt(self) -> None:
        """Take in what an earlier driver had been sent: an end is recorded under its own attempt, everything else is
        queued again.
        """
        for one in running(self.queue):
            if one.alive or not fragments_folder(self.store, one.job, one.attempt).is_dir():
                continue
            try:
                attempt = Attempt(self.queue, self.queue.job(one.job), one.attempt, Lock(one.lock))
            except (BlockingIOError, CotdistillError):
                continue
            flight = Flight(attempt, None, Intake(self.store, attempt), 0.0, 0.0)
            try:
                flight.intake.pump()
            except StoreError as error:
                say(error.message)
            if flight.intake.outcome is not None:
                say(f"Run {one.job} had ended while nobody was here; its result is taken in.")
                self.land(flight)
            else:
                self.lose(flight, "the driver of the cluster was ended", blamed=True)

    def send_out(self) -> None:
        """Claim as many jobs as the cluster has room for."""
        room = self.ray.cluster_resources()
        while True:
            cpus, gpus = (sum(getattr(flight, name) for flight in self.flights) for name in ("cpus", "gpus"))
            if cpus + 1 > room.get("CPU", 0.0) and gpus + 1 > room.get("GPU", 0.0):
                return
            attempt = claim(self.queue, only=self.elsewhere)
            if attempt is None:
                return
            try:
                self.flights.append(self._sent(attempt))
                say(f"Run {attempt.job.id} is sent out.")
            except CotdistillError as error:
                attempt.fail(failure(error, attempt.job, self.store.home))
                attempt.close()

    def _sent(self, attempt: Attempt) -> Flight:
        job = attempt.job
        intake = Intake(self.store, attempt)
        # Of an attempt of this number from before the store was brought back from a copy.
        intake.forget()
        training = job.config.get("training", {})
        cpus, gpus = float(training.get("threads", 1)), float(training.get("device") == "cuda")
        resume = attempt.resume_file
        payload = {
            "version": cotdistill.__version__,
            "modules": os.environ.get(EXTRA_KINDS, ""),
            "job": job,
            "number": attempt.number,
            "attempt": f"{job.id}-{attempt.number}",
            "resume": self.ray.put(resume.read_bytes()) if resume.exists() else None,
            "task": self._task(job),
            "inputs": {identity: self._products(identity) for identity in self._needs(job)},
        }
        options = self.task.options(num_cpus=cpus, num_gpus=gpus, max_retries=0, scheduling_strategy="SPREAD")
        return Flight(attempt, options.remote(payload, self.inbox), intake, cpus, gpus)

    def _needs(self, job: Job) -> list[str]:
        with self.queue.database.read() as connection:
            return [row[0] for row in connection.execute("SELECT identity FROM need WHERE job = ?", (job.id,))]

    def _products(self, identity: str) -> dict[str, tuple[Any, str]]:
        """What another job has made, by role: a reference into the object store, put there once, and the file's
        name.
        """
        products = {}
        for role, digest in self.queue.job(identity).produced.items():
            path = self.store.artifacts.path(digest)
            if digest not in self.sent:
                self.sent[digest] = self.ray.put(path.read_bytes())
            products[role] = (self.sent[digest], path.name)
        return products

    def _task(self, job: Job) -> tuple[Any, str, str] | None:
        """The files of the task that a job reads, packed; None for a job without one."""
        if "task" not in job.config or "seeds" not in job.config:
            return None
        run = RunConfig.from_plain(job.config)
        task = open_task(self.store.tasks_root, run.task, world=run.seeds.world, settings=run.task_settings or None)
        packed = task_bytes(task)
        key = f"{task.digest[:24]}-{len(packed)}-{len(task.sources)}"
        if key not in self.sent:
            self.sent[key] = self.ray.put(packed)
        return self.sent[key], key, task.folder.name

    def follow(self, flight: Flight) -> None:
        """Take in what an attempt has told; end it when it has ended, is lost, or does not obey."""
        now = time.monotonic()
        # Asked first: what a task has told before it was done is in the inbox then.
        done, _ = self.ray.wait([flight.reference], timeout=0)
        try:
            if flight.intake.pump():
                flight.heard = now
            if flight.intake.outcome is not None:
                return self.land(flight)
            if done:
                return self.lose(flight, *self._cause(flight))
            if now - flight.beaten >= BEAT_SECONDS:
                flight.beaten = now
                request = flight.attempt.beat({**flight.attempt.job.progress, **flight.intake.progress})
                if request:
                    self.ask(flight, request)
        except Superseded:
            self.ray.cancel(flight.reference, force=True)
            return self.close(flight)
        except StoreError as error:
            say(error.message)
            return None
        if flight.asked is not None and flight.request != "leave" and now - flight.asked > STOP_SECONDS:
            self.ray.cancel(flight.reference, force=True)
            flight.attempt.release(flight.request)
            return self.close(flight)
        if flight.heard is not None and now - flight.heard > HANG_SECONDS:
            self.ray.cancel(flight.reference, force=True)
            return self.lose(flight, "its node gave no sign of life", crashed=True)
        return None

    def _cause(self, flight: Flight) -> tuple[str, bool]:
        """Why a task has ended without an end in the inbox, and whether the job is to blame."""
        errors = self.ray.exceptions
        try:
            return f"its task ended as {self.ray.get(flight.reference)!r}", False
        except errors.NodeDiedError:
            return "its node died", False
        except errors.OutOfMemoryError:
            return "the node ended it for want of memory", True
        except errors.WorkerCrashedError:
            return "its process on the node died", True
        except errors.RayError as error:
            return f"{type(error).__name__}: {str(error).splitlines()[0][:300]}", True

    def ask(self, flight: Flight, request: str) -> None:
        if flight.request == request:
            return
        flight.request, flight.asked = request, time.monotonic()
        self.ray.get(self.inbox.ask.remote(flight.name, request), timeout=60)
        if flight.heard is None:
            # It waits for a place in the cluster and hears nothing.
            self.ray.cancel(flight.reference, force=True)
            flight.attempt.release(request)
            self.close(flight)

    def land(self, flight: Flight) -> None:
        """Record the end of an attempt, once: a newer attempt, or an earlier record of the same end, refuses it."""
        attempt, outcome = flight.attempt, flight.intake.outcome
        assert outcome is not None
        try:
            attempt.beat({**attempt.job.progress, **flight.intake.progress})
            if outcome["state"] == "finished":
                attempt.finish(outcome["result"], outcome["produced"], outcome["used"])
            elif outcome["state"] == "failed":
                attempt.fail(outcome["error"])
            else:
                attempt.release(outcome["request"])
        except Superseded:
            say(f"Attempt {attempt.number} of run {attempt.job.id} no longer counts.")
        self.close(flight)

    def lose(self, flight: Flight, cause: str, crashed: bool = False, *, blamed: bool = True) -> None:
        """Settle an attempt that nobody carries out any more: its job is queued again, or has failed too often."""
        attempt = flight.attempt
        self.close(flight)
        dead = Running(
            attempt.job.id, attempt.number, 0, None, False, self.queue.lock_path(attempt.job.id, attempt.number)
        )
        if settle(self.queue, dead, cause, crashed=crashed, blamed=blamed):
            say(f"Attempt {attempt.number} of run {attempt.job.id} is lost ({cause}).")

    def close(self, flight: Flight) -> None:
        flight.attempt.close()
        flight.intake.forget()
        if flight in self.flights:
            self.flights.remove(flight)


def task_bytes(task: Task) -> bytes:
    """A task's folder, its digest and the sources that were added to it, as one archive; the same bytes for the same
    files.
    """
    parts: Mapping[str, Path] = {
        path.relative_to(task.folder.parent).as_posix(): path
        for root in (task.folder, added_folder(task.folder))
        for path in sorted(root.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    } | {task.folder.with_suffix(".digest").name: task.folder.with_suffix(".digest")}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, path in parts.items():
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes())
    return buffer.getvalue()


def main() -> int:
    """The process that `ensure_supervisor` starts where a store's executor is Ray."""
    parser = argparse.ArgumentParser(
        prog="python -m cotdistill.execution.ray.driver", description="The driver of one store on a Ray cluster."
    )
    parser.add_argument("--home", type=Path, help="the store's folder")
    store = Store.open(parser.parse_args().home)
    import ray
    import ray.util.scheduling_strategies

    address = executor(store).address
    try:
        ray.init(
            address=address or "local",
            namespace="cotdistill",
            log_to_driver=False,
            include_dashboard=None if address else False,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        say(f"The Ray cluster {address or 'of this machine'} cannot be reached: {error}")
        return 1
    driver = Driver(store, ray)

    def leave(number: int, frame: object) -> None:
        driver.told_to_leave = driver.told_to_leave or time.monotonic()

    # After ray.init, which has handlers of its own.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    if not driver.run():
        say("Another supervisor is at work.")
    ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(importlib.import_module("cotdistill.execution.ray.driver").main())

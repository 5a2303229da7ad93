"""A worker process: takes jobs from the queue, one after the other, and records what comes back.

One process runs many jobs: importing torch and transformers takes five seconds and more, as long as a third of a small
student's training. Locks, attempts and logs are per job all the same, so the death of a worker costs one attempt. What
a kind of job needs is imported before a job of that kind is taken: a process that cannot even start is not held against
the job.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import faulthandler
import fcntl
import importlib
import io
import os
import platform
import secrets
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cotdistill
from cotdistill.errors import CotdistillError, DiskFull, NotFound, StoreError, Superseded, redacted
from cotdistill.execution.attempts import Attempt, claim, settle_dead
from cotdistill.execution.context import JobContext, Outcome, finite
from cotdistill.execution.devices import chosen, gpu_of, may_take_gpu_runs, next_free
from cotdistill.execution.executor import executor
from cotdistill.execution.heartbeat import INTERRUPT, Pulse, interrupted
from cotdistill.registry import Registry
from cotdistill.store import memory_shortage
from cotdistill.store.disk import disk_errors, disk_full
from cotdistill.store.locks import Lock, is_held
from cotdistill.store.records import Job, StopRequested, document
from cotdistill.store.store import Store
from cotdistill.studies.analyses import ANALYSES

if TYPE_CHECKING:
    from cotdistill.tasks.task import Task

# How long a worker without work stays, with torch in memory, in case more comes.
IDLE_SECONDS = 5.0
POLL_SECONDS = 0.2
# How long a result is kept trying to be recorded while the store is busy or the disk is full.
RECORD_SECONDS = 60.0
# Modules (a comma list) that register further kinds of job in every worker.
EXTRA_KINDS = "COTDISTILL_KINDS"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job. `function` is "module:function", imported when the first job of the kind comes. travels: its
    function asks its context for everything and never for the store, so it can run on another machine."""

    name: str
    help: str
    function: str
    travels: bool = False

    def load(self) -> Callable[[Any], Outcome]:
        module, _, name = self.function.partition(":")
        function: Callable[[Any], Outcome] = getattr(importlib.import_module(module), name)
        return function


KINDS: Registry[Kind] = Registry("kind of job")
KINDS.register(
    Kind("base", "train the shared base of a generated task", "cotdistill.execution.jobs.train:base", travels=True)
)
KINDS.register(
    Kind(
        "train",
        "train a student under one condition and score it",
        "cotdistill.execution.jobs.train:train",
        travels=True,
    )
)
KINDS.register(Kind("select", "score the tokens of every training rationale", "cotdistill.execution.jobs.select:job"))
KINDS.register(
    Kind("also_test", "score a student on the questions of a second task", "cotdistill.execution.jobs.also_test:job")
)
KINDS.register(
    Kind("write", "have a student write a rationale of every training question", "cotdistill.execution.jobs.write:job")
)
KINDS.register(Kind("elicit", "ask a teacher for rationales", "cotdistill.execution.jobs.elicit:job"))
for _analysis in ANALYSES:
    KINDS.register(Kind(_analysis.kind, _analysis.help, "cotdistill.execution.jobs.analysis:job"))


class StoreContext(JobContext):
    """A job on the machine of its store."""

    def __init__(self, store: Store, job: Job, resume_file: Path) -> None:
        self.kind, self.config, self.identity = job.kind, job.config, job.identity
        self.store, self.resume_file = store, resume_file

    def task(self, name: str, world: int = 0, settings: Mapping[str, Any] | None = None) -> Task:
        # Imported here: a worker that runs other kinds of job starts faster without tables and tokenizers.
        from cotdistill.tasks.catalog import open_task

        return open_task(self.store.tasks_root, name, world=world, settings=settings or None)

    def produced(self, identity: str, role: str) -> Path:
        job = self.store.queue.job(identity)
        if role not in job.produced:
            reason = "was imported without its" if job.origin else "has made no"
            raise NotFound(f"Run {job.id} {reason} {role!r}.", f"Retry it: cotdistill runs retry {job.id}")
        return self.store.artifacts.path(job.produced[role])

    def keep(self, data: bytes | Path, kind: str, suffix: str) -> str:
        put = self.store.artifacts.put_file if isinstance(data, Path) else self.store.artifacts.put_bytes
        return put(data, kind, suffix)  # type: ignore[arg-type]

    def home(self) -> Path:
        return self.store.home


class WorkerContext(StoreContext):
    """What a job function is handed in a worker: the store as well, for the kinds that do not travel."""

    def __init__(self, store: Store, attempt: Attempt, leaving: threading.Event) -> None:
        super().__init__(store, attempt.job, attempt.resume_file)
        self._attempt = attempt
        self._progress: dict[str, Any] = {}
        training = self.config.get("training")
        if isinstance(training, Mapping) and training.get("device") == "cuda":
            self._progress["device"] = f"GPU {os.environ.get('CUDA_VISIBLE_DEVICES') or 0}"
        self._pulse = Pulse(attempt, lambda: dict(self._progress), leaving)

    def report(self, step: int, total: int, **values: float | int | str | None) -> None:
        self._progress |= {
            "step": int(step),
            "total": int(total),
            **{name: finite(value) for name, value in values.items()},
        }
        self._attempt.note(step)
        self._pulse.check()

    def run(self, function: Callable[[WorkerContext], Outcome]) -> Outcome:
        """Call a job function with the heart beating. Raises what it raises, StopRequested and Superseded included."""
        self._pulse.start()
        try:
            return function(self)
        finally:
            try:
                self._pulse.end()
            except (StopRequested, Superseded):
                # Interrupted between the last line of the job and the end of the pulse; that happens once only.
                self._pulse.end()
                raise


def carry_out(store: Store, attempt: Attempt, leaving: threading.Event) -> None:
    """Run one attempt to its end and record it, whatever the end is."""
    with contextlib.closing(attempt), contextlib.suppress(Superseded):
        try:
            with captured(attempt.log_path):
                record = _tried(store, attempt, leaving)
                _recorded(record)
        except DiskFull as error:
            # No room even for the log.
            message = failure(error, attempt.job, store.home)
            _recorded(lambda: attempt.fail(message))


def _tried(store: Store, attempt: Attempt, leaving: threading.Event) -> Callable[[], None]:
    """Call the job function; gives what is to be recorded."""
    job = attempt.job
    context = WorkerContext(store, attempt, leaving)
    context.log(
        f"Attempt {attempt.number} of run {job.id} ({job.label or job.kind}); process {os.getpid()} on"
        f" {platform.node()}, {_version()}."
    )
    try:
        outcome = context.run(lambda job_context: KINDS.get(job.kind).load()(job_context))
        # Here, so that a result that cannot be written down is a failure like any other.
        document(outcome.result)
        context.log("Finished.")
        return lambda: attempt.finish(outcome.result, outcome.produced, outcome.used)
    except StopRequested as stop:
        request = stop.request
        context.log(
            {"stop": "Stopped.", "pause": "Paused.", "leave": "The worker was told to leave; another one goes on."}[
                request
            ]
        )
        return lambda: attempt.release(request)
    except Superseded as error:
        context.log(f"{error.message} What was done here is dropped.")
        raise
    except Exception as error:
        traceback.print_exc()
        message = failure(error, job, store.home)
        context.log(f"Failed: {message['message']}")
        return lambda: attempt.fail(message)


def _recorded(write: Callable[[], None]) -> None:
    """Write to the store, trying again while it is busy or full: hours of work must not hang on a second."""
    deadline = time.monotonic() + RECORD_SECONDS
    while True:
        try:
            return write()
        except Superseded:
            raise
        except StoreError as error:
            if time.monotonic() > deadline:
                raise
            print(f"{error.message} Trying again.", flush=True)
            time.sleep(1.0)


def failure(error: Exception, job: Job, home: Path) -> dict[str, str]:
    """An exception as the store keeps it: kind, message, hint, traceback."""
    if isinstance(error, CotdistillError):
        message = error.as_dict()
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        message = disk_full(home, "the files of a run").as_dict()
    elif memory_shortage.is_shortage(error):
        message = memory_shortage.advice(job, str(error).partition("\n")[0] or type(error).__name__)
    else:
        hint = f"The log tells where: cotdistill runs log {job.id}"
        message = {"kind": "unexpected", "message": f"{type(error).__name__}: {error}", "hint": hint}
    message |= {"traceback": "".join(traceback.format_exception(error))}
    return {name: redacted(value) for name, value in message.items()}


class _Lines(io.TextIOWrapper):
    """A log, line by line, so that a process that is killed has said what it said; without secrets."""

    def write(self, text: str) -> int:
        super().write(redacted(text))
        return len(text)


@contextlib.contextmanager
def captured(path: Path) -> Iterator[None]:
    """What this process writes, C libraries included, goes to the end of a file."""
    with disk_errors(path.parent, "the log of a run"):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    _flush()
    kept = [os.dup(number) for number in (1, 2)]
    for number in (1, 2):
        os.dup2(file, number)
    os.close(file)
    try:
        with (
            _Lines(open(1, "wb", closefd=False), encoding="utf-8", errors="replace", line_buffering=True) as lines,
            contextlib.redirect_stdout(lines),
            contextlib.redirect_stderr(lines),
        ):
            yield
    finally:
        _flush()
        for number, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def _flush() -> None:
    # What Python still holds back belongs to where it was printed.
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()


def work(store: Store, *, supervised: bool = False, name: str = "") -> int:
    """Take jobs until none is left, and a few seconds longer. Gives the number of jobs done. To be called in the first
    thread of a process.

    supervised: leave as soon as there are more workers than a person wants. SIGTERM and Ctrl-C save the running job for
    another worker.
    """
    for module in filter(None, os.environ.get(EXTRA_KINDS, "").split(",")):
        importlib.import_module(module)
    leaving = threading.Event()
    folder = store.home / "workers"
    with disk_errors(folder, "the lock of a worker"):
        folder.mkdir(exist_ok=True)
        # By name, those that were started by hand come first: they are not the ones to leave.
        path = folder / f"{'b' if supervised else 'a'}-{name or secrets.token_hex(6)}.lock"
        lock = _lock_of_worker(store, path)
    if lock is None:
        return 0
    handlers = {
        INTERRUPT: interrupted,
        **dict.fromkeys((signal.SIGTERM, signal.SIGINT), lambda number, frame: leaving.set()),
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        return _work(store, leaving, lock, supervised)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        lock.path.unlink(missing_ok=True)
        lock.release()


def _lock_of_worker(store: Store, path: Path) -> Lock | None:
    """A worker's lock for life; None if its GPU has all the workers it may have. A supervisor that was killed may have
    left a worker on its way, which its successor cannot see and starts another for: the first to arrive stays.
    """
    index = gpu_of(path.stem)
    if index is None:
        return Lock(path)
    # One at a time, so that of two that arrive together exactly one stays.
    with open(path.parent / "arrivals", "ab") as arrivals:
        fcntl.flock(arrivals, fcntl.LOCK_EX)
        others = [other.stem for other in path.parent.glob("b-*.lock") if other != path and is_held(other)]
        if next_free([slot for slot in chosen(store.queue) if slot == index], others) is None:
            return None
        return Lock(path)


def _work(store: Store, leaving: threading.Event, lock: Lock, supervised: bool) -> int:
    done, idle_since = 0, time.monotonic()
    while not leaving.is_set() and not (supervised and _too_many(store, lock.path)):
        lock.touch()
        backlog = store.queue.backlog()
        if not backlog.ready and not is_held(store.home / "supervisor.lock"):
            settle_dead(store.queue)
        for kind in backlog.kinds[:1]:
            # Also while the first job of the kind still waits for another one. What goes wrong here is told when a job
            # is run.
            with contextlib.suppress(Exception):
                KINDS.get(kind).load()
        # Under Ray, what can travel is the driver's.
        others = [kind.name for kind in KINDS if kind.travels] if executor(store).name == "ray" else []
        attempt = (
            claim(store.queue, gpu=may_take_gpu_runs(), without=others)
            if backlog.ready and not leaving.is_set()
            else None
        )
        if attempt is not None:
            print(f"run {attempt.job.id}: {attempt.job.label or attempt.job.kind}", flush=True)
            carry_out(store, attempt, leaving)
            done += 1
        if attempt is not None or backlog.coming:
            idle_since = time.monotonic()
        elif time.monotonic() - idle_since > IDLE_SECONDS:
            break
        if attempt is None:
            leaving.wait(POLL_SECONDS)
    return done


def _too_many(store: Store, held: Path) -> bool:
    """Whether more workers live than are wanted and this one is among the last of them, by name; or its GPU is no
    longer chosen.
    """
    if (index := gpu_of(held.stem)) is not None and index not in chosen(store.queue):
        return True
    before = sum(path.name < held.name and is_held(path) for path in held.parent.glob("*.lock"))
    return before >= store.queue.workers()


def _version() -> str:
    return f"cotdistill {cotdistill.__version__}, Python {platform.python_version()}"


def main() -> int:
    """The process that the supervisor starts."""
    parser = argparse.ArgumentParser(
        prog="python -m cotdistill.execution.worker", description="A worker process of one store."
    )
    parser.add_argument("--home", type=Path, help="the store's folder")
    parser.add_argument("--supervised", metavar="NAME", default="", help="the name its supervisor gave it")
    arguments = parser.parse_args()
    # What kills the process from within leaves its traceback in the log of the attempt.
    faulthandler.enable()
    if arguments.supervised:
        # The dashboard and whatever else a person does come first.
        os.nice(5)
    work(Store.open(arguments.home), supervised=bool(arguments.supervised), name=arguments.supervised)
    return 0


if __name__ == "__main__":
    # By its own name, so that job functions and this process see the same module.
    sys.exit(importlib.import_module("cotdistill.execution.worker").main())

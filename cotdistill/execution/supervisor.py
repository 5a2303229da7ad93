"""The supervisor of a store: one process, started on demand, that keeps workers alive while there is work and clears up
after dead ones.

It holds a lock for life, so there is never a second one; it runs in a session of its own, so it outlives the terminal
or the page that started it; and its workers outlive it: they are known by their locks, not as its children. It ends
when nothing is left to do.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from cotdistill.errors import StoreError
from cotdistill.execution.attempts import Running, claim, running, settle
from cotdistill.execution.devices import chosen, environment, gpu_of, next_free, with_gpu
from cotdistill.execution.executor import MODULES, Executor, check_executor, executor, set_executor
from cotdistill.execution.mirrors.mirroring import end_mirroring, ensure_mirroring
from cotdistill.store.disk import disk_errors
from cotdistill.store.locks import Lock, holder, is_held, send
from cotdistill.store.logs import bound
from cotdistill.store.memory_shortage import memory_kills
from cotdistill.store.queue import Backlog
from cotdistill.store.store import Store

TICK_SECONDS = 0.25
# How long it stays without work, in case more comes.
LINGER_SECONDS = 3.0
# Without a beat for so long a living process hangs (workers beat twice a second).
HANG_SECONDS = float(os.environ.get("COTDISTILL_HANG_SECONDS", "60"))
# A worker between two jobs may take longer: it imports torch then.
IDLE_HANG_SECONDS = 5 * HANG_SECONDS
# A supervisor that has not touched its lock for so long hangs itself, and is replaced.
SILENT_SECONDS = 60.0
# After so many supervisors in a row that ended with an error at once a person is told; another may still be tried.
FALLEN = 3
# Workers in a row that die before they take a job, until a job is made to fail with their last words.
MOST_STILLBORN = 3
# How often it is looked whether mirrors are told.
MIRROR_SECONDS = 5.0
# The setting of a store that holds the time of the last `stop_all`.
STOPPED = "stopped"
# Exit codes of processes that somebody ended: they say nothing about the job.
FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP, -signal.SIGINT)


@dataclass
class Child:
    """A worker that this supervisor started."""

    process: subprocess.Popen[bytes]
    name: str


class Supervisor:
    """One supervisor's work; `run` is its life."""

    def __init__(self, store: Store) -> None:
        self.store, self.queue = store, store.queue
        self.children: list[Child] = []
        # pid -> exit code of workers that have ended; (job, attempt) -> (last beat, when it changed, kills for want of
        # memory by then).
        self.ended: dict[int, int] = {}
        self.seen: dict[tuple[int, int], tuple[int, float, int]] = {}
        self.hung: set[tuple[int, int]] = set()
        # Lock of a worker -> (when it touched it last, when that was seen).
        self.touched: dict[Path, tuple[float, float]] = {}
        self.stillborn = 0
        # Kinds of job that are not run by workers of this machine.
        self.elsewhere: tuple[str, ...] = ()
        self.leaving = False
        self.last_tick = time.monotonic()
        self.mirroring: subprocess.Popen[bytes] | None = None
        self.mirrored = -MIRROR_SECONDS

    def run(self) -> bool:
        """Work until nothing is left; False if another supervisor does already."""
        path = self.store.home / "supervisor.lock"
        idle_since = time.monotonic()
        lock = _take(path)
        if lock is None:
            return False
        say(f"Supervisor {os.getpid()} begins.")
        while not self.leaving:
            try:
                lock.touch()
                if self.tick():
                    idle_since = time.monotonic()
                    self.mirror()
            except StoreError as error:
                if not self.queue.database.path.exists():
                    say("The store is gone.")
                    break
                # A full disk, a busy store: nothing is lost by waiting.
                say(error.message)
                time.sleep(1.0)
            if time.monotonic() - idle_since > LINGER_SECONDS:
                lock.release()
                # Work that came in just now was left to this supervisor, since it still held the lock.
                again = _take(path) if self.queue.backlog().total else None
                if again is None:
                    break
                lock, idle_since = again, time.monotonic()
            time.sleep(TICK_SECONDS)
        for child in self.children:
            # Those that are still starting have no lock by which anybody could find them, and no job.
            if not is_held(self.store.home / "workers" / f"b-{child.name}.lock"):
                child.process.kill()
        lock.release()
        say(f"Supervisor {os.getpid()} ends.")
        return True

    def tick(self) -> bool:
        """Look once at everything; whether there is work."""
        now = time.monotonic()
        if now - self.last_tick > 10:
            # It was frozen itself: others may have been, too, and get their time to beat again.
            self.seen.clear()
            self.touched.clear()
        self.last_tick = now
        self.reap()
        for one in running(self.queue):
            self.watch(one, now)
        return self.staff()

    def mirror(self) -> None:
        """See to it that mirrors are told and logs stay short; whatever goes wrong with them is no matter of the
        runs.
        """
        if time.monotonic() - self.mirrored < MIRROR_SECONDS or (
            self.mirroring is not None and self.mirroring.poll() is None
        ):
            return
        self.mirrored = time.monotonic()
        for log in (
            self.store.home / "supervisor.log",
            self.store.home / "live.log",
            *(self.store.home / "dashboards").glob("*[0-9].log"),
        ):
            bound(log)
        self.mirroring = ensure_mirroring(self.store)

    def reap(self) -> None:
        """Take note of workers that have ended."""
        for child in list(self.children):
            code = child.process.poll()
            if code is None:
                continue
            self.children.remove(child)
            self.ended[child.process.pid] = code
            if code == 0:
                self.stillborn = 0
            else:
                say(f"Worker {child.process.pid} ended: {cause_of(code)}.")
                if code not in FROM_OUTSIDE and all(one.pid != child.process.pid for one in running(self.queue)):
                    self.stillborn += 1
                    self._give_up(child, code)
            _clear(self.store.home / "workers", child.name, keep_log=code != 0)

    def _give_up(self, child: Child, code: int) -> None:
        """Workers that cannot even start would be started for ever: the next job fails with what they said."""
        if self.stillborn < MOST_STILLBORN:
            return
        self.stillborn = 0
        attempt = claim(self.queue, without=self.elsewhere)
        if attempt is None:
            return
        last = (
            (self.store.home / "workers" / f"{child.name}.log")
            .read_text(encoding="utf-8", errors="replace")
            .strip()[-2000:]
        )
        message = (
            f"Worker processes do not start: {cause_of(code)}. The last one said: {' | '.join(last.splitlines()[-2:])}"
        )
        attempt.fail(
            {
                "kind": "died",
                "message": message,
                "hint": "cotdistill doctor tells what is missing.",
                "traceback": last,
            }
        )
        attempt.close()

    def watch(self, attempt: Running, now: float) -> None:
        """Settle an attempt whose process has died; end a process that hangs."""
        key = (attempt.job, attempt.attempt)
        if attempt.alive:
            beat, since, killed = self.seen.get(key, (-1, now, memory_kills()))
            self.seen[key] = (attempt.beat, now if beat != attempt.beat else since, killed)
            if beat == attempt.beat and now - since > HANG_SECONDS and key not in self.hung:
                self.hung.add(key)
                say(f"Run {attempt.job} gives no sign of life; its process {attempt.pid} is ended.")
                send(attempt.lock, signal.SIGKILL)
            return
        code = self._code(attempt.pid)
        starved = code == -signal.SIGKILL and key in self.seen and memory_kills() > self.seen[key][2]
        cause = (
            "it hung" if key in self.hung else "the system ended it for want of memory" if starved else cause_of(code)
        )
        crashed = starved or key in self.hung or (code is not None and code not in FROM_OUTSIDE)
        if settle(self.queue, attempt, cause, crashed=crashed, starved=starved):
            say(f"The process of run {attempt.job} has died ({cause}).")
        self.seen.pop(key, None)
        self.hung.discard(key)

    def _code(self, pid: int | None) -> int | None:
        """The exit code of a worker that has died; None if it was not started here."""
        for child in self.children:
            if child.process.pid == pid:
                # Its lock is free, so it is ending: a matter of milliseconds.
                try:
                    return child.process.wait(timeout=5)
                except subprocess.TimeoutExpired:
                    return None
        return self.ended.get(pid) if pid else None

    def staff(self) -> bool:
        """Start the workers that are missing; whether there is work."""
        backlog = self.queue.backlog()
        folder = self.store.home / "workers"
        alive = {child.process.pid for child in self.children}
        busy = {one.pid for one in running(self.queue)}
        for path in folder.glob("*.lock"):
            wrote = holder(path)
            if is_held(path):
                alive |= {wrote.pid} if wrote else set()
                self._end_if_frozen(path, working=wrote is None or wrote.pid in busy)
            elif path.stem.removeprefix("b-") not in {child.name for child in self.children}:
                # A child of ours may just be about to take it.
                _clear(folder, path.stem.removeprefix("b-"), keep_log=True)
        names = {path.stem for path in folder.glob("b-*.lock") if is_held(path)} | {
            f"b-{child.name}" for child in self.children
        }
        slots = chosen(self.queue)
        for _ in range(self.wanted(backlog) - len(alive)):
            index = next_free(slots, names)
            if index is None and slots and sum(gpu_of(name) is None for name in names) >= backlog.total - backlog.gpu:
                # Runs that ask for a GPU are all that is left, and every GPU has one.
                break
            self.children.append(child := self._start(folder, index))
            names.add(f"b-{child.name}")
            # A number may be given to another process once its first owner is gone.
            self.ended.pop(child.process.pid, None)
        return backlog.total > 0

    def wanted(self, backlog: Backlog) -> int:
        """How many workers there should be."""
        return min(self.queue.workers(), backlog.total)

    def _end_if_frozen(self, path: Path, *, working: bool) -> None:
        """A worker without a job that no longer looks for one would take another's place for ever."""
        now = time.monotonic()
        try:
            touch = path.stat().st_mtime
        except FileNotFoundError:
            return
        last, since = self.touched.get(path, (-1.0, now))
        if working or touch != last:
            since = now
        self.touched[path] = (touch, since)
        if now - since > IDLE_HANG_SECONDS and (pid := send(path, signal.SIGKILL)) is not None:
            say(f"Worker {pid} gives no sign of life and is ended.")

    def _start(self, folder: Path, gpu: str | None) -> Child:
        name = secrets.token_hex(6) if gpu is None else with_gpu(secrets.token_hex(6), gpu)
        with disk_errors(folder, "the log of a worker"):
            folder.mkdir(exist_ok=True)
            words = [
                sys.executable,
                "-m",
                "cotdistill.execution.worker",
                "--home",
                str(self.store.home),
                "--supervised",
                name,
            ]
            return Child(_detached(words, folder / f"{name}.log", self.store.home, environment(name)), name)


def _clear(folder: Path, name: str, *, keep_log: bool) -> None:
    """Forget a worker that has ended; the log of one that died stays, of the last twenty."""
    for prefix in ("a", "b"):
        (folder / f"{prefix}-{name}.lock").unlink(missing_ok=True)
    if not keep_log:
        (folder / f"{name}.log").unlink(missing_ok=True)
    for path in sorted(folder.glob("*.log"), key=lambda p: p.stat().st_mtime)[:-20]:
        path.unlink(missing_ok=True)


def _take(path: Path) -> Lock | None:
    """The lock of the supervisor; None if it is taken. Somebody who looks whether it is held has it for an instant, so
    it is tried again.
    """
    for _ in range(5):
        try:
            return Lock(path)
        except BlockingIOError:
            time.sleep(0.1)
    return None


def cause_of(code: int | None) -> str:
    """An exit code in words; None is a death that nobody saw."""
    if code is None:
        return "it was ended from outside, or the machine went down"
    if code >= 0:
        return f"it ended with exit code {code}" if code else "it ended without recording a result"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"it was ended by signal {-code} ({name})"


def say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)


def _detached(
    words: list[str], log: Path, home: Path, more: Mapping[str, str] = MappingProxyType({})
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, with nothing but a log to write to: it needs neither terminal nor
    parent.
    """
    variables = {**os.environ, "COTDISTILL_HOME": str(home), **more}
    with open(log, "ab") as file:
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=home, env=variables, start_new_session=True
        )


# Supervisors that this process has started, by store: not started twice while the first is on its way, and waited for
# when they have ended.
_started: dict[Path, subprocess.Popen[bytes]] = {}
_starting = threading.Lock()
# How many of them in a row ended with an error before they held the lock.
_fallen: dict[Path, int] = {}


def ensure_supervisor(store: Store) -> bool:
    """See to it that somebody works on what is left to do; whether there is anything. Costs a millisecond; may be
    called from any thread.
    """
    if not store.queue.backlog().total:
        return False
    path = store.home / "supervisor.lock"
    with _starting:
        if is_held(path):
            _fallen.pop(store.home, None)
            if time.time() - path.stat().st_mtime < SILENT_SECONDS:
                return True
            # It is frozen. Its workers do not mind.
            send(path, signal.SIGKILL)
        earlier = _started.get(store.home)
        if earlier is not None and earlier.poll() is None:
            return True
        if earlier is not None and (earlier.returncode or 0) > 0:
            _fallen[store.home] = _fallen.get(store.home, 0) + 1
        log = store.home / "supervisor.log"
        with disk_errors(store.home, "the log of the supervisor"):
            bound(log)
            words = [sys.executable, "-m", MODULES[executor(store).name], "--home", str(store.home)]
            _started[store.home] = _detached(words, log, store.home)
    return True


def no_supervisor(store: Store) -> StoreError | None:
    """Why nothing begins, if several supervisors in a row that this process started ended with an error at once; else
    None. Being killed is none.
    """
    if (fallen := _fallen.get(store.home, 0)) < FALLEN:
        return None
    log = store.home / "supervisor.log"
    said = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return StoreError(
        f"No run begins: the supervisor of {store.home} ended {fallen} times as soon as it was started. It said last:"
        f" {said[-1] if said else '-'}",
        f"{log} has all of it. The runs stay in the queue and begin when it can start: cotdistill doctor",
    )


def stop_all(store: Store, patience: float = 8.0) -> list[int]:
    """Stop the supervisor, the workers and the warm process of a store; returns their pids. Running jobs are saved and
    continue at the next start; commands that wait for jobs of this store end (`last_stop`)."""
    # Recorded before anything ends, so that a waiting command sees it before it would start the supervisor again.
    # Stopping works without room to write, too.
    with contextlib.suppress(StoreError):
        store.queue.set_setting(STOPPED, repr(time.time()))
    return _end_processes(store, patience)


def last_stop(store: Store) -> str:
    """The time of the last `stop_all` of this store, as it was recorded; "" if there was none."""
    return store.queue.setting(STOPPED) or ""


def _end_processes(store: Store, patience: float = 8.0) -> list[int]:
    # The supervisor first, so that it starts nobody anew.
    pids = _end([store.home / "supervisor.lock"], patience)
    with _starting:
        if (started := _started.pop(store.home, None)) is not None:
            # Perhaps it was only on its way to the lock.
            started.kill()
            started.wait()
    end_mirroring(store)
    pids += _end([*sorted((store.home / "workers").glob("*.lock")), store.home / "live.lock"], patience)
    for one in running(store.queue):
        settle(store.queue, one, "it was told to end", crashed=False, blamed=False)
    return pids


def move_to(store: Store, wanted: Executor) -> None:
    """Let the jobs of a store run elsewhere from now on; what runs is saved first and goes on there. UsageError for
    what cannot be used here.
    """
    check_executor(wanted)
    if executor(store) != wanted:
        _end_processes(store)
        set_executor(store, wanted)


def _end(locks: list[Path], patience: float) -> list[int]:
    """Ask the holders of locks to leave, then make them; gives their pids."""
    pids: set[int] = set()
    for number in (signal.SIGTERM, signal.SIGKILL):
        pids |= {pid for path in locks if (pid := send(path, number)) is not None}
        deadline = time.monotonic() + patience
        while any(is_held(path) for path in locks) and time.monotonic() < deadline:
            time.sleep(0.05)
    return sorted(pids)


def main() -> int:
    """The process that `ensure_supervisor` starts."""
    parser = argparse.ArgumentParser(
        prog="python -m cotdistill.execution.supervisor", description="The supervisor of one store."
    )
    parser.add_argument("--home", type=Path, help="the store's folder")
    supervisor = Supervisor(Store.open(parser.parse_args().home))

    def leave(number: int, frame: object) -> None:
        supervisor.leaving = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    if not supervisor.run():
        say("Another supervisor is at work.")
    return 0


if __name__ == "__main__":
    sys.exit(importlib.import_module("cotdistill.execution.supervisor").main())

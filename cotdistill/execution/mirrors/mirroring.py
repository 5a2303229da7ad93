"""The process that tells mirrors about runs: beside the supervisor, reading the store, never a worker.

One a store (a file lock). It ends when nothing is left to do and every mirror knows all there is; the supervisor starts
it again when there is work. A writer (`mirror_writer`) runs in each mirror's own environment and is asked one run at a
time, with a deadline for each answer. Should this process die between an answer and its note of it, the mirror is told
those points twice, with the same values at the same steps.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cotdistill.errors import CotdistillError, MirrorFailed, NotFound, StoreError, UsageError
from cotdistill.execution.mirrors import settings
from cotdistill.execution.mirrors import writer as mirror_writer
from cotdistill.execution.mirrors.settings import Mirror, State
from cotdistill.store.locks import Lock, is_held, send
from cotdistill.store.records import ANSWERS, Job
from cotdistill.store.store import Store

POLL_SECONDS = 3.0
# A mirror that failed is left alone for so long.
AGAIN_SECONDS = 60.0
# Importing MLflow takes some seconds; a first run makes its tables.
START_SECONDS = 180.0
ANSWER_SECONDS = 120.0
# Notes of what was told are written after so many runs, and at the end of a pass.
NOTE_EVERY = 50
# How long `mirrors sync` waits for the process to end by itself.
ALONE_SECONDS = 10.0
# What says how far a job is, and is no metric.
NO_METRIC = ("step", "total")


class Writer:
    """The process in a mirror's environment. Raises MirrorFailed for whatever goes wrong with it."""

    def __init__(self, store: Store, mirror: Mirror) -> None:
        self._log = settings.folder(store) / f"{mirror.name}.log"
        # Nothing of this process's environment may be imported there.
        clean = {
            key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        }
        with open(self._log, "wb") as log:
            try:
                self._process = subprocess.Popen(
                    # -P: the folder of the script is no place to import from, it has a module of the name queue.
                    [mirror.python, "-P", "-W", "ignore", mirror_writer.__file__, mirror.kind, mirror.to],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=settings.folder(store), env=clean,
                )  # fmt: skip
            except OSError as error:
                raise MirrorFailed(f"{mirror.python} cannot be run: {error}") from error
        self._heard = b""
        try:
            self._answer(START_SECONDS)
        except MirrorFailed:
            self.close()
            raise

    def tell(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise MirrorFailed(f"its writer has ended: {self._last_words()}") from error
        self._answer(ANSWER_SECONDS)

    def _answer(self, patience: float) -> None:
        assert self._process.stdout is not None
        deadline = time.monotonic() + patience
        while b"\n" not in self._heard:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self.close()
                raise MirrorFailed(f"its writer gave no answer for {patience:.0f} s")
            block = os.read(self._process.stdout.fileno(), 1 << 16)
            if not block:
                self.close()
                raise MirrorFailed(f"its writer has ended: {self._last_words()}")
            self._heard += block
        line, _, self._heard = self._heard.partition(b"\n")
        answer = json.loads(line)
        if not answer["ok"]:
            raise MirrorFailed(answer["message"])

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1][:500] if lines else "without a word"

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def pending(store: Store, state: State) -> Iterator[dict[str, Any]]:
    """What a mirror does not know yet: of running jobs the latest values, of ended ones everything. Changes nothing."""
    groups = _groups(store)
    for job in store.queue.jobs(state="running"):
        if int(job.progress.get("step", 0)) > state.live.get(job.identity, 0):
            yield _message(store, job, groups.get(job.identity, "other jobs"))
    for identity, now in store.queue.states().items():
        if now not in ("finished", "failed", "stopped"):
            continue
        try:
            job = store.queue.job(identity)
        except NotFound:
            # Deleted meanwhile.
            continue
        if state.ended.get(identity) != job.attempt and job.kind != ANSWERS and job.state not in ("queued", "running"):
            yield _message(store, job, groups.get(identity, "other jobs"))


def _message(store: Store, job: Job, group: str) -> dict[str, Any]:
    ended = job.state != "running"
    result = {name: value for name, value in _flat(job.result or {}).items() if isinstance(value, (int, float))}
    return {
        "run": job.identity,
        "attempt": job.attempt,
        "step": int(job.progress.get("step", 0)),
        "name": job.label or f"{job.kind} {job.id}",
        "group": group,
        "state": job.state,
        "created": job.created,
        "config": {"kind": job.kind, **_flat(job.config)},
        "points": _curve(store, job) if ended else _latest(job),
        "result": result if ended else None,
    }


def _latest(job: Job) -> list[list[Any]]:
    """The values of the last report, under names of their own: they are rounded, and the curve that follows is not."""
    step, seconds = int(job.progress.get("step", 0)), float(job.progress.get("seconds") or 0)
    values = {
        name: value for name, value in job.progress.items() if name not in NO_METRIC and isinstance(value, (int, float))
    }
    return [[f"live/{name}", step, value, seconds] for name, value in sorted(values.items())]


def _curve(store: Store, job: Job) -> list[list[Any]]:
    if job.produced.get("curve", "") not in (store.artifacts if job.produced.get("curve") else ()):
        return []
    table = store.artifacts.table(job.produced["curve"])
    rows = zip(*(table[name].tolist() for name in ("name", "step", "value", "seconds")), strict=True)
    return [list(row) for row in rows]


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested mappings as one, with names joined by dots; lists as text."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{name}.")
        elif value is not None:
            flat[f"{before}{name}"] = value if isinstance(value, (bool, int, float, str)) else json.dumps(value)
    return flat


def _groups(store: Store) -> dict[str, str]:
    """The newest study of each run."""
    groups: dict[str, str] = {}
    for study in store.queue.studies():
        for member in study.members:
            groups.setdefault(member.identity, study.name)
    return groups


def sync(store: Store, mirror: Mirror, writer: Writer | None = None) -> tuple[int, Writer | None]:
    """Tell a mirror what it does not know yet; how many runs, and the writer for the next pass. MirrorFailed is written
    down and raised.
    """
    state, count = settings.state(store, mirror.name), 0
    try:
        for message in pending(store, state):
            writer = writer or Writer(store, mirror)
            writer.tell(message)
            if message["result"] is None:
                state.live[message["run"]] = message["step"]
            else:
                state.ended[message["run"]] = message["attempt"]
                state.live.pop(message["run"], None)
            count += 1
            if count % NOTE_EVERY == 0:
                settings.save(store, mirror.name, state)
    except MirrorFailed as failure:
        state.failure = {"message": failure.message, "at": time.time()}
        settings.save(store, mirror.name, state)
        if writer is not None:
            writer.close()
        raise
    if count or state.failure or state.synced is None:
        state.failure, state.synced = None, time.time()
        settings.save(store, mirror.name, state)
    return count, writer


def run(store: Store) -> bool:
    """Tell every mirror until nothing is left to do; False if another process does already."""
    settings.folder(store).mkdir(exist_ok=True)
    try:
        lock = Lock(lock_path(store))
    except BlockingIOError:
        return False
    writers: dict[str, Writer] = {}
    failed: dict[str, float] = {}
    try:
        while True:
            # Asked before the pass: what ends after this is told in the next one.
            idle = not store.queue.backlog().total
            for mirror in settings.mirrors(store):
                if time.monotonic() - failed.get(mirror.name, -AGAIN_SECONDS) < AGAIN_SECONDS:
                    continue
                try:
                    _, writer = sync(store, mirror, writers.pop(mirror.name, None))
                    if writer is not None:
                        writers[mirror.name] = writer
                except CotdistillError as error:
                    failed[mirror.name] = time.monotonic()
                    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {mirror.name}: {error}", flush=True)
            if idle:
                return True
            lock.touch()
            time.sleep(POLL_SECONDS)
    finally:
        for writer in writers.values():
            writer.close()
        lock.release()


@contextlib.contextmanager
def alone(store: Store) -> Iterator[None]:
    """While nobody else tells the mirrors. UsageError if that takes longer than some seconds: the process is at it."""
    settings.folder(store).mkdir(exist_ok=True)
    deadline = time.monotonic() + ALONE_SECONDS
    while True:
        try:
            lock = Lock(lock_path(store))
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise UsageError(
                    "The mirrors are told right now, since runs are trained.",
                    "See them: cotdistill mirrors list",
                ) from None
            time.sleep(0.2)
    try:
        yield
    finally:
        lock.release()


def lock_path(store: Store) -> Path:
    return settings.folder(store) / "mirrors.lock"


def ensure_mirroring(store: Store) -> subprocess.Popen[bytes] | None:
    """Start the process if there are mirrors and it does not run; None where there is nothing to start. Raises nothing:
    no run hangs on it.
    """
    try:
        if not settings.mirrors(store) or is_held(lock_path(store)):
            return None
        words = [sys.executable, "-m", "cotdistill.execution.mirrors.mirroring", "--home", str(store.home)]
        with open(settings.folder(store) / "mirrors.log", "ab") as log:
            return subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=store.home, start_new_session=True
            )
    except OSError as error:
        print(f"The mirrors cannot be told: {error}", flush=True)
        return None


def end_mirroring(store: Store) -> None:
    """End the process; what it had not told is told the next time."""
    send(lock_path(store), signal.SIGTERM)


def main() -> int:
    """The process that `ensure_mirroring` starts."""
    parser = argparse.ArgumentParser(
        prog="python -m cotdistill.execution.mirrors.mirroring", description="Tells the mirrors of one store."
    )
    parser.add_argument("--home", type=Path, help="the store's folder")
    try:
        run(Store.open(parser.parse_args().home))
    except StoreError as error:
        print(error.message, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(importlib.import_module("cotdistill.execution.mirrors.mirroring").main())

"""What goes wrong around a store in the soak: disks that are full, slow or read-only, clocks that jump, a locked database, damaged files.

Disks are real: the store lies on a file system of its own in memory, which is mounted for the soak (Linux, root) and shrunk or made read-only
for a while.
Clock and slowness reach every Python process of the soak through a `sitecustomize` on its path, so the product knows nothing of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from cotdistill.errors import CotdistillError
from cotdistill.exchange.verify import verify
from cotdistill.store.store import Store

MOUNT_BYTES = 6 << 30
# Read by every process at each look at the clock and each fsync, at most this often.
WEATHER = """
import json, os, time
_path, _clock, _sync, _state = os.environ["SOAK_WEATHER"], time.time, os.fsync, [0.0, {}]
def _weather():
    now = time.monotonic()
    if now - _state[0] > 0.1:
        try:
            with open(_path) as file:
                _state[:] = [now, json.load(file)]
        except (OSError, ValueError):
            _state[0] = now
    return _state[1]
def _slow(number):
    time.sleep(_weather().get("sync", 0.0))
    _sync(number)
time.time = lambda: _clock() + _weather().get("clock", 0.0)
os.fsync = _slow
"""


class Disk:
    """A file system of its own under a folder, if this process may mount one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.mounted = self._mount("-t", "tmpfs", "-o", f"size={MOUNT_BYTES}", "tmpfs")

    def _mount(self, *words: str) -> bool:
        with contextlib.suppress(OSError):
            return subprocess.run(["mount", *words, str(self.folder)], capture_output=True, check=False).returncode == 0
        return False

    @contextlib.contextmanager
    def full(self) -> Iterator[bool]:
        """No byte is left in the block. Whether that could be done."""
        used = shutil.disk_usage(self.folder).used
        done = self.mounted and self._mount("-o", f"remount,size={max(used, 1 << 20)}")
        try:
            yield done
        finally:
            if done:
                self._mount("-o", f"remount,size={MOUNT_BYTES}")

    @contextlib.contextmanager
    def read_only(self) -> Iterator[bool]:
        """Nothing can be written in the block. Whether that could be done: not while somebody has a file open for writing."""
        done = self.mounted and self._mount("-o", "remount,ro")
        try:
            yield done
        finally:
            if done:
                self._mount("-o", "remount,rw")

    def close(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder)], capture_output=True, check=False)


class Weather:
    """Clock steps and slow disks for the processes that are started with `environment`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "weather.json"
        site = folder / "site"
        site.mkdir(parents=True)
        (site / "sitecustomize.py").write_text(WEATHER, encoding="utf-8")
        self.environment = {"SOAK_WEATHER": str(self.path), "PYTHONPATH": str(site)}

    def set(self, **values: float) -> None:
        """clock: seconds that every clock is off; sync: seconds that each fsync takes longer."""
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(values), encoding="utf-8")
        os.replace(part, self.path)


def lock_for(store: Store, seconds: float) -> None:
    """Another program holds the database for a while, on a thread of its own."""

    def hold() -> None:
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(store.home / "store.sqlite", timeout=5.0)) as connection,
        ):
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(seconds)
            connection.rollback()

    threading.Thread(target=hold, daemon=True).start()


class Importer:
    """Imports a small task again and again, each time under a new name; killed now and then."""

    def __init__(self, store: Store, folder: Path, environment: dict[str, str]) -> None:
        self.store, self.environment = store, environment
        self.file = folder / "questions.jsonl"
        self.number = 0
        self.process: subprocess.Popen[bytes] | None = None
        rows = (
            {
                "id": f"q{i}", "question": f"Which of these is number {i}?", "choices": ["one", "two", "three"], "answer": i % 3,
                "rationale": f"Number {i} leaves {i % 3} when it is divided by three, so it is that one.", "split": ("train", "dev", "test")[i % 3],
            }
            for i in range(3000)
        )  # fmt: skip
        self.file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def begin(self) -> None:
        if self.process is None or self.process.poll() is not None:
            self.number += 1
            words = [
                sys.executable,
                "-m",
                "cotdistill",
                "tasks",
                "import",
                str(self.file),
                "--name",
                f"soak{self.number}",
            ]
            self.process = subprocess.Popen(
                words,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self.environment,
                start_new_session=True,
            )

    def kill(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            return False
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return True

    def half_imported(self) -> list[str]:
        """Tasks that are there and cannot be opened, in words. A folder that a killed import has left without a task in it is none."""
        from cotdistill.errors import CotdistillError, NotFound, UnknownName
        from cotdistill.tasks.catalog import open_task

        found = []
        for folder in sorted(self.store.tasks_root.glob("soak*")):
            try:
                if folder.is_dir() and (wrong := open_task(self.store.tasks_root, folder.name).verify()):
                    found += wrong
            except (NotFound, UnknownName):
                if any(folder.rglob("task.json")):
                    found.append(f"{folder.name}: its files are there, and it is not found")
            except CotdistillError as error:
                found.append(f"{folder.name}: {error.message}")
        return found


def hurt(path: Path, draw: random.Random) -> str:
    """Flip one bit of a file, or cut it short; gives which."""
    data = bytearray(path.read_bytes())
    if draw.random() < 0.5 and len(data) > 1:
        path.write_bytes(bytes(data[: draw.randrange(len(data))]))
        return "truncated"
    at = draw.randrange(len(data))
    data[at] ^= 1 << draw.randrange(8)
    path.write_bytes(bytes(data))
    return "bit flipped"


def vouched(path: Path) -> list[list[tuple[object, ...]]]:
    """What `store verify` vouches for in a database. Labels, times, attempts and the order of the queue it does not."""
    asked = (
        "SELECT id, identity, kind, recipe, config, result FROM job", "SELECT job, role, digest FROM link WHERE direction = 'produced'",
        "SELECT spec, plan_hash FROM study",
    )  # fmt: skip
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [sorted(connection.execute(words).fetchall()) for words in asked]


def hurt_database(store: Store, draw: random.Random, number: int) -> list[str]:
    """Cut or flip the database's file in a copy of the store. It must be refused in words or named, unless what is vouched for is all there."""
    wrong: list[str] = []
    folder = store.home.with_name("hurt")
    folder.mkdir()
    path = folder / "store.sqlite"
    for name in ("artifacts", "tasks"):
        (folder / name).symlink_to(store.home / name)
    with (
        contextlib.closing(sqlite3.connect(store.home / path.name)) as source,
        contextlib.closing(sqlite3.connect(path)) as copy,
    ):
        source.backup(copy)
    kept, right = path.read_bytes(), vouched(path)
    for _ in range(number):
        for tail in ("", "-wal", "-shm"):
            path.with_name(path.name + tail).unlink(missing_ok=True)
        path.write_bytes(kept)
        how = hurt(path, draw)
        try:
            if not verify(Store.open(folder)).problems and vouched(path) != right:
                wrong.append(f"verify missed the database's file ({how})")
        except CotdistillError as error:
            if path.name not in error.message:
                wrong.append(f"a database that was {how} was refused without its name: {error.message}")
        except Exception as error:
            wrong.append(f"a database that was {how}: {error!r}")
    shutil.rmtree(folder)
    return wrong


def told_of_damage(store: Store, draw: random.Random, number: int) -> list[str]:
    """Damage artefacts, a task's files, the database and a row in it, one after another: does `store verify` name each and nothing else?"""
    wrong: list[str] = []

    def named(path: Path, mark: str) -> None:
        kept, state = path.read_bytes(), path.stat()
        mode = state.st_mode
        path.chmod(0o644)
        how = hurt(path, draw)
        try:
            problems = list(verify(store).problems)
        finally:
            path.write_bytes(kept)
            path.chmod(mode)
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        if not problems:
            wrong.append(f"verify missed {path.name} ({how})")
        wrong.extend(
            f"verify named {problem!r} when {path.name} was {how}" for problem in problems if mark not in problem
        )

    artifacts = [path for path in store.artifacts.all() if path.stat().st_size]
    for path in draw.sample(artifacts, min(number, len(artifacts))):
        named(path, path.name.partition(".")[0][:12])
    for folder in draw.sample(sorted(store.tasks_root.glob("soak*/*/task.json")), 1):
        for path in sorted(one for one in folder.parent.rglob("*") if one.is_file() and one.stat().st_size):
            named(path, folder.parent.parent.name)
    with contextlib.closing(sqlite3.connect(store.home / "store.sqlite")) as connection:
        job, config = connection.execute("SELECT id, config FROM job ORDER BY id LIMIT 1").fetchone()
        with connection:
            connection.execute("UPDATE job SET config = ? WHERE id = ?", (config.replace("4", "5", 1), job))
        problems = verify(store).problems
        with connection:
            connection.execute("UPDATE job SET config = ? WHERE id = ?", (config, job))
    if len(problems) != 1 or not problems[0].startswith(f"run {job}:"):
        wrong.append(f"verify told {problems} of run {job}, whose config was changed")
    wrong += hurt_database(store, draw, 4 * number)
    return wrong + [f"after repair: {problem}" for problem in verify(store).problems]

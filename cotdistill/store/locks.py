"""File locks that tell whether a process lives: held for life, freed by the kernel at its death, whatever the clock or
the pid does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Wide enough for any pid and step, so that a rewrite never leaves old digits behind.
_WIDTH = 40


@dataclass(frozen=True)
class Holder:
    """What the holder wrote into its lock: its process, and the last step it reached (-1 before the first)."""

    pid: int
    step: int


class Lock:
    """An exclusive lock, taken when the object is made (BlockingIOError if another process has it). Child processes do
    not inherit it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.note(-1)
        except BaseException:
            os.close(self._descriptor)
            raise

    def note(self, step: int) -> None:
        """Write down the step reached: a few microseconds, and it outlives a kill."""
        os.pwrite(self._descriptor, f"{os.getpid()} {step}".ljust(_WIDTH).encode(), 0)

    def touch(self) -> None:
        """Show that the holder is awake."""
        os.utime(self._descriptor)

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def is_held(path: Path) -> bool:
    """Whether some process holds the lock now."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two that ask at once do not take each other for the holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder(path: Path) -> Holder | None:
    """What the last holder wrote, dead or alive; None if there is nothing to read."""
    try:
        pid, step = path.read_text(encoding="ascii").split()
        return Holder(int(pid), int(step))
    except (OSError, ValueError):
        return None


def send(path: Path, number: signal.Signals) -> int | None:
    """Signal the process that holds the lock and give its pid; None if nobody does. Never another process that got the
    same pid since.
    """
    pid = holder(path)
    if pid is None or not is_held(path):
        return None
    with _handle(pid.pid) as handle:
        # Still held: so the process behind the handle is the one that took the lock.
        if handle is None or not is_held(path):
            return None
        try:
            if handle >= 0:
                signal.pidfd_send_signal(handle, number)
            else:
                os.kill(pid.pid, number)
        except ProcessLookupError:
            return None
    return pid.pid


@contextlib.contextmanager
def _handle(pid: int) -> Iterator[int | None]:
    """A handle of a process that cannot be taken by another (Linux); -1 where there are none, None if the process is
    gone.
    """
    if not hasattr(os, "pidfd_open"):
        yield -1
        return
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    except OSError:
        # A kernel or a container without pidfd.
        yield -1
        return
    try:
        yield handle
    finally:
        os.close(handle)

"""The second thread of a worker: tells the store twice a second that the job is alive, and brings back what a person
asked for.

The first thread works. It learns of a request at its next report; if it does not report within a second, it is
interrupted by a signal, so that stop and pause act at once during long scoring, too.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, ClassVar

from cotdistill.errors import StoreError, Superseded
from cotdistill.execution.attempts import Attempt
from cotdistill.store.records import StopRequested

BEAT_SECONDS = 0.5
# How long the first thread may take to notice a request by itself; then it is interrupted.
GRACE_SECONDS = 1.0
# Without a report for so long the first thread counts as stuck: the beat stops, and the supervisor ends the process.
SILENCE_SECONDS = 3600.0
# Sent by the second thread to its own process only.
INTERRUPT = signal.SIGUSR1


class Pulse(threading.Thread):
    """Beats for one attempt from `start` to `end`. `leaving` is set when the process was told to leave."""

    # Who sent the last interruption; a signal carries no message.
    sender: ClassVar[Pulse | None] = None

    def __init__(self, attempt: Attempt, progress: Callable[[], Mapping[str, Any]], leaving: threading.Event) -> None:
        super().__init__(name=f"pulse of run {attempt.job.id}", daemon=True)
        self._attempt, self._progress, self._leaving = attempt, progress, leaving
        self._over = threading.Event()
        self._armed = True
        self._asked = ""
        self._lost: Superseded | None = None
        self._heard = time.monotonic()

    def check(self) -> None:
        """Called by the first thread at each report: raises StopRequested or Superseded if there is reason to stop."""
        self._heard = time.monotonic()
        asked = self._asked or ("leave" if self._leaving.is_set() else "")
        if self._armed and (self._lost or asked):
            # Once only: what cleans up after it must not be interrupted.
            self._armed = False
            raise self._lost or StopRequested(asked)

    def end(self) -> None:
        """From now on nothing interrupts the first thread. How far it came is told once more."""
        self._armed = False
        self._over.set()
        self.join()
        with contextlib.suppress(StoreError):
            self._attempt.beat(self._progress())

    def run(self) -> None:
        since: float | None = None
        while not self._over.wait(BEAT_SECONDS):
            now = time.monotonic()
            if now - self._heard > SILENCE_SECONDS:
                continue
            try:
                self._asked = "" if self._lost else self._attempt.beat(self._progress())
            except Superseded as error:
                self._lost = error
            except StoreError:
                # Busy, or no room for now: the next beat tries again, and the work goes on.
                continue
            if not (self._asked or self._lost or self._leaving.is_set()):
                since = None
            elif since is None:
                since = now
            elif now - since >= GRACE_SECONDS and self._armed and signal.getsignal(INTERRUPT) is interrupted:
                Pulse.sender = self
                signal.pthread_kill(threading.main_thread().ident or 0, INTERRUPT)


def interrupted(number: int, frame: FrameType | None) -> None:
    """The handler of INTERRUPT, in the first thread: as if it had reported just now."""
    if Pulse.sender is not None:
        Pulse.sender.check()

"""Many requests at a time, up to a limit: tried again where that may help, left alone when the server asks for it, and
stopped without losing one.

Threads wait for the server; the thread that calls collects what comes back, so that whoever interrupts it finds every
answer recorded.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from cotdistill.config import param
from cotdistill.errors import TeacherError
from cotdistill.teachers.elicitation import Request
from cotdistill.teachers.endpoint import Refused
from cotdistill.teachers.responses import Failure, Response

POLL_SECONDS = 0.2
# How long answers that are on their way are waited for when a person stops the work: they are paid for.
PATIENCE_SECONDS = 20.0
# The longest pause between two tries that the server has not asked for.
LONGEST_PAUSE = 60.0
# Questions in a row that fail, none answered, after which the teacher itself is at fault.
IN_A_ROW = 10


@dataclass(frozen=True)
class Pace:
    """How a teacher is asked. None of it changes what it answers (a refused parameter never has an effect), so it is no
    part of what makes a job and may be changed between two goes.
    """

    concurrency: int = param(8, "requests on their way at a time; local: questions in a batch", low=1, high=512)
    timeout: float = param(120.0, "seconds for the whole of an answer", low=0.1, high=86_400.0)
    tries: int = param(6, "how often a question is asked before it counts as failed", low=1, high=100)
    pause: float = param(1.0, "seconds before the second try, doubled with every further one", low=0.0, high=60.0)
    longest_wait: float = param(
        900.0, "the longest wait in seconds that a server may ask for; beyond it the job stops", low=0.0, high=86_400.0
    )
    price_in: float = param(0.0, "price of a million tokens read", low=0.0, high=1e6)
    price_out: float = param(0.0, "price of a million tokens written", low=0.0, high=1e6)
    budget: float = param(0.0, "stop when the job has cost this much; 0: no limit", low=0.0, high=1e9)
    budget_tokens: int = param(
        0,
        "stop when the job has read and written so many tokens since it began or went on; 0: no limit",
        low=0,
        high=10**12,
    )
    drop_refused: bool = param(
        False, "endpoint: leave out a parameter that the server refuses, and ask once more; each answer says so"
    )

    def cost(self, tokens_in: float, tokens_out: float) -> float:
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6


class _Gate:
    """Until when the server wants to be left alone, for all threads; and whether to leave off."""

    def __init__(self) -> None:
        self.leaving = threading.Event()
        self._lock = threading.Lock()
        self._until = 0.0

    def close(self, seconds: float) -> None:
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)

    def closed_for(self) -> float:
        """Seconds until the gate opens."""
        return max(0.0, self._until - time.monotonic())

    def passed(self) -> bool:
        """Wait until the gate is open; False when it is time to leave."""
        while not self.leaving.is_set():
            left = self._until - time.monotonic()
            if left <= 0:
                return True
            self.leaving.wait(min(left, 1.0))
        return False


def ask_all(
    ask: Callable[[Request], Response],
    requests: Sequence[Request],
    pace: Pace,
    arrived: Callable[[list[Response], list[Failure]], None],
    tick: Callable[[float], None],
    failed_before: Collection[int] = (),
) -> None:
    """Ask for every request, `pace.concurrency` at a time; `arrived` is told of answers and failures in the calling
    thread, `tick` about five times a second, with the seconds that the server still wants to be left alone.

    Whatever `tick` raises stops the asking: answers on their way are waited for, told to `arrived`, and the exception
    goes on. TeacherError where no further request would fare better: the key is refused, the server cannot be reached,
    it asks for too long a wait. failed_before: places of requests that got no answer in an earlier go; that they fail
    again says nothing about the teacher.
    """
    waiting: queue.SimpleQueue[Request] = queue.SimpleQueue()
    for request in requests:
        waiting.put(request)
    back: queue.SimpleQueue[Response | Failure | TeacherError] = queue.SimpleQueue()
    gate = _Gate()
    threads = [
        threading.Thread(target=_worker, args=(ask, waiting, back, gate, pace), name=f"teacher {i}", daemon=True)
        for i in range(min(pace.concurrency, len(requests)))
    ]
    causes: Counter[str] = Counter()
    left, in_a_row = len(requests), 0
    # Answers that have come and are not known to be recorded: whatever interrupts the recording, it is tried once more
    # at the end.
    open_answers: list[Response] = []
    for thread in threads:
        thread.start()
    try:
        while left:
            answers = _drained(back, POLL_SECONDS)
            open_answers += [one for one in answers if isinstance(one, Response)]
            failures = [one for one in answers if isinstance(one, Failure)]
            answered = len(open_answers)
            arrived(open_answers, failures)
            open_answers = []
            left -= answered + len(failures)
            in_a_row = 0 if answered else in_a_row + sum(f.place not in failed_before for f in failures)
            causes.update(f"{one.cause}: {one.detail}" for one in failures)
            for one in answers:
                if isinstance(one, TeacherError):
                    raise one
            if in_a_row >= max(IN_A_ROW, pace.concurrency) and left:
                raise TeacherError(
                    f"{in_a_row} questions in a row got no answer, most of them for this:"
                    f" {causes.most_common(1)[0][0]}.",
                    "Mend the cause, then resume: what was answered is kept.",
                )
            tick(gate.closed_for())
    finally:
        gate.leaving.set()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while open_answers or any(thread.is_alive() for thread in threads):
            open_answers += [one for one in _drained(back, POLL_SECONDS) if isinstance(one, Response)]
            if open_answers:
                arrived(open_answers, [])
                open_answers = []
            if time.monotonic() > deadline:
                break
        last = [one for one in _drained(back, 0.0) if isinstance(one, Response)]
        if last:
            arrived(last, [])


def _drained(
    back: queue.SimpleQueue[Response | Failure | TeacherError], seconds: float
) -> list[Response | Failure | TeacherError]:
    """Everything that has come back, after waiting so long for the first."""
    items = []
    try:
        items.append(back.get(timeout=seconds) if seconds else back.get_nowait())
        while True:
            items.append(back.get_nowait())
    except queue.Empty:
        return items


def _worker(
    ask: Callable[[Request], Response],
    waiting: queue.SimpleQueue[Request],
    back: queue.SimpleQueue[Response | Failure | TeacherError],
    gate: _Gate,
    pace: Pace,
) -> None:
    while gate.passed():
        try:
            request = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            outcome = _tried(ask, request, gate, pace)
        except TeacherError as error:
            back.put(error)
            return
        except Exception as error:
            # What nobody foresaw belongs to this question; the others go on.
            outcome = Failure(request.place, "unexpected", f"{type(error).__name__} while asking", 1)
        if outcome is not None:
            back.put(outcome)


def _tried(ask: Callable[[Request], Response], request: Request, gate: _Gate, pace: Pace) -> Response | Failure | None:
    """Ask until there is an answer or no try left; None when it is time to leave. TeacherError where nothing would fare
    better.
    """
    number, waited, spent = 0, 0.0, (0, 0)
    while True:
        if not gate.passed():
            return None
        number += 1
        try:
            response = ask(request)
            if response.wait:
                gate.close(min(response.wait, pace.longest_wait))
            return response
        except Refused as refused:
            spent = (spent[0] + refused.tokens[0], spent[1] + refused.tokens[1])
            if refused.cause == "denied":
                raise TeacherError(
                    f"The teacher cannot be asked: {refused.detail}.",
                    "Correct the model's name, the address or the key, then resume.",
                ) from None
            wait = refused.wait or 0.0
            if wait > pace.longest_wait:
                raise TeacherError(
                    f"The server asks to be left alone for {wait:.0f} s, and at most {pace.longest_wait:g} s are waited"
                    " for.",
                    "Resume later, or raise the longest wait (--longest-wait).",
                ) from None
            # A wait that the server asks for uses up no try, as long as all of them together are no longer than the
            # longest.
            waited += wait
            if wait and waited <= pace.longest_wait:
                number -= 1
            if not refused.again or number >= pace.tries or waited > pace.longest_wait:
                return Failure(request.place, refused.cause, refused.detail, max(1, number), spent)
            # A little at random, so that many requests do not come back all at once; never earlier than the server
            # asks.
            gate.close(wait)
            pause = 0.1 * wait if wait else min(LONGEST_PAUSE, pace.pause * 2 ** (number - 1))
            if gate.leaving.wait(wait + pause * random.random() if wait else pause * random.uniform(0.5, 1.0)):
                return None

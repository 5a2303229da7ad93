"""Asking students about single examples without freezing the page: questions wait in threads, the page looks in on them
and stays answerable.

What a student answers never changes, so answers are kept; an error is not, so that it can be tried again.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from threading import Lock
from typing import Any

import streamlit as st

from cotdistill.config import digest
from cotdistill.dashboard import frame
from cotdistill.errors import CotdistillError
from cotdistill.execution.live import client
from cotdistill.store.store import Store

# Answers kept by one dashboard; each is some kilobytes, a long rationale token by token some hundred.
KEPT = 256
TIMEOUT = 120.0
LOOK_IN = 0.25

_pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="asking")
_asked: OrderedDict[str, Future[dict[str, Any]]] = OrderedDict()
_lock = Lock()


@dataclass(frozen=True)
class Question:
    """One question to the warm process (see studies.answering), on its way or answered."""

    key: str
    future: Future[dict[str, Any]]

    @property
    def done(self) -> bool:
        return self.future.done()

    @property
    def answer(self) -> dict[str, Any] | None:
        """What was answered; None while it is on its way, or if it failed."""
        return self.future.result() if self.done and self.error is None else None

    @property
    def error(self) -> CotdistillError | None:
        if not self.done:
            return None
        error = self.future.exception()
        if error is None or isinstance(error, CotdistillError):
            return error
        return client.LiveError(f"{type(error).__name__}: {error}", "Try again.")


def ask(store: Store, request: Mapping[str, Any]) -> Question:
    """Send a question, or find the same one again."""
    key = digest({"home": str(store.home), **request})
    with _lock:
        future = _asked.get(key)
        if future is None:
            future = _asked[key] = _pool.submit(client.ask, store, request, TIMEOUT)
        _asked.move_to_end(key)
        while len(_asked) > KEPT:
            _asked.popitem(last=False)
    return Question(key, future)


def forget(questions: Sequence[Question]) -> None:
    """Let failed questions be asked again."""
    with _lock:
        for question in questions:
            if question.error is not None:
                _asked.pop(question.key, None)


def wait(questions: Sequence[Question], draw: Callable[[], None], what: str = "Asking the students") -> None:
    """Draw again whenever one more is answered, until all are; meanwhile say what is waited for. Whatever a person
    presses goes first.
    """
    status = st.empty()
    begun, drawn = time.monotonic(), -1
    while True:
        done = sum(question.done for question in questions)
        if done != drawn:
            draw()
            drawn = done
        if done == len(questions):
            break
        seconds = time.monotonic() - begun
        if seconds > 1:
            # Every write to the page is also a chance for the person's next click to take over.
            status.caption(
                f":material/hourglass_top: {what}: {done} of {len(questions)} answered, {seconds:.0f} s."
                f" {_starting(seconds, done)}"
            )
        wait_for([q.future for q in questions if not q.done], timeout=LOOK_IN)
    status.empty()


def _starting(seconds: float, done: int) -> str:
    return (
        "The process that looks into students is starting; the first answer takes about ten seconds."
        if seconds > 2 and not done
        else ""
    )


def failures(questions: Sequence[Question]) -> None:
    """What went wrong, each cause once, with a button to try again."""
    failed = [question for question in questions if question.error is not None]
    errors: dict[str, CotdistillError] = {str(q.error): q.error for q in failed if q.error is not None}
    for error in errors.values():
        frame.problem(error)
    if errors:
        st.button(
            "Try again", icon=":material/refresh:", key=f"again.{failed[0].key[:12]}", on_click=forget, args=(failed,)
        )


def message_of(error: CotdistillError) -> str:
    """An error inside a figure, where there is no room for more than its sentence."""
    return f"{error.message} {error.hint}".strip()

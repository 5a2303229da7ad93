"""How far a run is in every phase, and how long it has left by its own pace."""

from __future__ import annotations

import time
from collections.abc import Mapping

from cotdistill.execution.context import JobContext
from cotdistill.students.training import Log

NONE: Mapping[str, float] = {}
# Writing a rationale costs about so many times the scoring of a question.
WRITING = 4.0
# A forward pass costs a third of a training step's passes.
FORWARD_SHARE = 1 / 3


class RunProgress:
    """What a run reports while it loads, trains, scores and keeps: phase, rows of it, share of all work, seconds left.

    Work is counted in questions scored; before any was, a question counts as a forward pass over a training example.
    """

    def __init__(self, context: JobContext, steps: int, batch_size: int, questions: float) -> None:
        """questions: how many are scored in all, on dev and test, in every mode; one with a rationale to write counts
        1 + WRITING."""
        self._context, self.steps, self._batch_size = context, steps, batch_size
        self._questions, self._scored = questions, 0.0
        self._scoring_seconds = self._in_phase = 0.0
        self.step, self._training_seconds = 0, 0.0
        self._since = time.perf_counter()

    def trained(self, log: Log, values: dict[str, float]) -> None:
        """After each training step. Raises StopRequested, as all of these do."""
        # The loop's clock runs while it scores on dev, which is counted apart.
        self.step, self._training_seconds = log.step, max(0.0, log.seconds - self._scoring_seconds)
        self._since = time.perf_counter()
        self._report(
            "training",
            values={
                "tokens": log.tokens,
                "seconds": round(log.seconds, 2),
                **{name: round(value, 4) for name, value in values.items()},
            },
        )

    def ended(self, log: Log) -> None:
        """Training is over, perhaps before this process began; scoring follows."""
        self.step, self._training_seconds = log.step, max(0.0, log.seconds - self._scoring_seconds)
        self.begins("scoring")

    def begins(self, phase: str) -> None:
        """A phase without a count begins: loading, keeping."""
        self._close()
        self._report(phase)

    def scored(self, phase: str, done: int, rows: int) -> None:
        """done of the rows of one pass over questions are through: phase is scoring or writing."""
        weight = WRITING if phase == "writing" else 1.0
        now = time.perf_counter()
        self._scoring_seconds, self._since = self._scoring_seconds + now - self._since, now
        gained = weight * done - self._in_phase
        self._scored += gained if gained > 0 else weight * done
        self._in_phase = 0.0 if done >= rows else weight * done
        self._report(phase, done=done, rows=rows)

    def _close(self) -> None:
        self._in_phase, self._since = 0.0, time.perf_counter()

    @property
    def seconds_left(self) -> float | None:
        """By the pace so far; None before there is one."""
        step = self._training_seconds / self.step if self.step else None
        question = (
            self._scoring_seconds / self._scored
            if self._scored
            else FORWARD_SHARE * step / self._batch_size
            if step is not None
            else None
        )
        if question is None or (step is None and self.steps):
            return None
        return (step or 0.0) * (self.steps - self.step) + question * max(0.0, self._questions - self._scored)

    def _report(
        self, phase: str, done: int | None = None, rows: int | None = None, values: Mapping[str, float] = NONE
    ) -> None:
        left = self.seconds_left
        spent = self._training_seconds + self._scoring_seconds
        self._context.report(
            self.step,
            self.steps,
            phase=phase,
            phase_done=done,
            phase_rows=rows,
            share=None if left is None else round(spent / (spent + left), 4) if spent + left else 1.0,
            seconds_left=None if left is None else round(left, 1),
            **dict(values),
        )

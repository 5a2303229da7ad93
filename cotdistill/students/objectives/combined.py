"""The objectives of one condition as the training loop asks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from cotdistill.errors import StudentError
from cotdistill.rationales.conditions import ChosenObjective
from cotdistill.students.batches import Batch, Row, Stream
from cotdistill.students.objectives.base import PredictedTokens, RowsOf, Setup, TrainingObjective, implementation


class Objectives:
    """The objectives of one run; without any it is trained by plain cross-entropy."""

    def __init__(self, chosen: Sequence[ChosenObjective] = (), setup: Setup | None = None) -> None:
        """setup: what they need of the run; None where only their losses are computed."""
        self.parts: list[TrainingObjective] = [implementation(objective) for objective in chosen]
        self._names = [objective.name for objective in chosen]
        # Whether the loss is the weighted cross-entropy alone: the others steer what is read and what it weighs.
        self.plain = not any(objective.entry.logits for objective in chosen)
        if setup is not None:
            for part in self.parts:
                part.begin(setup)

    def values(self, step: int, steps: int) -> dict[str, float]:
        """What a step was drawn with, for the learning curves."""
        return {name: value for part in self.parts for name, value in part.values(step, steps).items()}

    def rows(self, step: int, steps: int, stream: Stream, rows_of: RowsOf) -> list[Row]:
        """The rows of a step."""
        for part in self.parts:
            rows_of = part.rows_of(step, steps, rows_of)
        for part in self.parts:
            if (rows := part.step_rows(step, steps, stream, rows_of)) is not None:
                return rows
        return [row for index, epoch in stream.step(step) for row in rows_of(index, epoch)]

    def batch(self, batch: Batch, step: int, part: int) -> Batch:
        """Micro-batch number `part` as it is read; what is predicted stays."""
        for objective in self.parts:
            batch = objective.read(batch, step, part)
        return batch

    def loss(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The weighted loss of a micro-batch, not yet divided, and the (n,) losses of its predicted tokens.

        Args: logits (n, vocabulary), targets (n,), weights (n,).
        """
        predicted = PredictedTokens(logits, targets, weights, batch)
        replaced = [losses for part in self.parts if (losses := part.token_losses(predicted)) is not None]
        losses = replaced[-1] if replaced else predicted.negative_log_likelihood
        for part in self.parts:
            weights = part.token_weights(predicted, weights)
        total = (losses * weights).sum()
        for part in self.parts:
            if (added := part.added_loss(predicted)) is not None:
                total = total + added
        return total, losses

    def done(self) -> None:
        """The step is over."""
        for part in self.parts:
            part.end_step()

    def state(self) -> dict[str, torch.Tensor]:
        """What a resumed run needs."""
        return {name: tensor for part in self.parts for name, tensor in part.state().items()}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        for part in self.parts:
            part.load(state)

    def check(self, processes: int) -> None:
        """StudentError where a step cannot be shared."""
        for name, part in zip(self._names, self.parts, strict=True):
            if part.single_process and processes > 1:
                raise StudentError(
                    f"{name} {part.single_process}, which several processes do not share.",
                    "Set training.processes to 1.",
                )

"""Half of each batch is the last one's, and is held to what the student said then (arXiv 2203.16172)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import kl_div, log_softmax

from cotdistill.students.batches import Row, Stream
from cotdistill.students.objectives.base import PredictedTokens, RowsOf, TrainingObjective


class SelfDistillation(TrainingObjective):
    """Adds alpha T^2 KL(what was said at the last step || what is said now), over the tokens that came back."""

    single_process = "compares a step with the one before"

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        super().__init__(parameters)
        # Logits of what comes back in the next step, and of what came back in this one.
        self._kept: list[torch.Tensor] = []
        self._before = torch.empty(0)
        # How many rows came back, and how many rows and returned tokens of this step have been read.
        self._returned = self._row = self._token = 0

    def step_rows(self, step: int, steps: int, stream: Stream, rows_of: RowsOf) -> list[Row]:
        back, new = (
            [row for index, epoch in _half(stream, step + ahead) for row in rows_of(index, epoch)] for ahead in (0, 1)
        )
        self._returned = len(back)
        return back + new

    def added_loss(self, predicted: PredictedTokens) -> torch.Tensor:
        logits, batch = predicted.logits, predicted.batch
        came_back = torch.from_numpy(batch.rows + self._row < self._returned).to(logits.device)
        count = int(came_back.sum())
        before = self._before[self._token : self._token + count]
        self._row += len(batch.lengths)
        self._token += count
        self._kept.append(logits.detach()[~came_back])
        if len(before) != count or not count:  # the first step has none
            return logits.new_zeros(())
        heat = float(self.parameters["temperature"])
        now, then = log_softmax(logits[came_back] / heat, -1), log_softmax(before.to(logits.device) / heat, -1)
        divergence = kl_div(now, then, reduction="none", log_target=True).sum(-1)
        return float(self.parameters["alpha"]) * heat**2 * (divergence * predicted.weights[came_back]).sum()

    def end_step(self) -> None:
        self._before = torch.cat(self._kept) if self._kept else torch.empty(0)
        self._kept, self._row, self._token = [], 0, 0

    def state(self) -> dict[str, torch.Tensor]:
        return {"before": self._before}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        self._before = state.get("before", torch.empty(0))


def _half(stream: Stream, number: int) -> list[tuple[int, int]]:
    """Half a step's examples: halves are counted through all steps. A batch of one comes back whole."""
    step = stream.step(number // 2)
    middle = (len(step) + 1) // 2
    return step[:middle] if number % 2 == 0 or len(step) == 1 else step[middle:]

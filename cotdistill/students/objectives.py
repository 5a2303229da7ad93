"""What the objectives of a condition make of a training step: which rows it holds, what is read, and what the loss is.

Everything follows from (order seed, step) alone but for the memory of self-distillation and of self-generated
rationales, which the resume checkpoint holds; so a run resumes to the bit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from cotdistill.config import stable_seed
from cotdistill.errors import StudentError
from cotdistill.rationales.conditions import Step
from cotdistill.rationales.objectives import OBJECTIVES
from cotdistill.students.batches import Batch, Row, Stream
from cotdistill.students.self_generated import RationaleMemory
from cotdistill.students.tokens import LABEL, RIVAL

RowsOf = Callable[[int, int], Sequence[Row]]
Partly = Callable[[int, int, float], Sequence[Row]]
# Removal of a rationale goes in so many stages, so that rows are laid out a few times and not at every step.
STAGES = 20


class Objectives:
    """The objectives of one run. They are asked in the order of a step: `rows`, `batch` for each micro-batch, `loss`
    for each, `done`.
    """

    def __init__(
        self,
        chosen: Sequence[Step] = (),
        *,
        seed: int = 0,
        symbol: int = 0,
        left: Partly | None = None,
        last: Partly | None = None,
        memory: RationaleMemory | None = None,
    ) -> None:
        """chosen: those of a condition, none for plain cross-entropy; seed: of the order of examples; symbol: what word
        dropout puts in a token's place; left(example, epoch, share): an example's rows with that share of its
        rationale; last: with loss on that share of its sentences; memory: of rationales that the student writes
        itself."""
        parameters = {one.name: dict(one.parameters) for one in chosen}
        self._seed, self._symbol, self._left, self._last, self._memory = seed, symbol, left, last, memory
        self.smoothing = float(parameters.get("label_smoothing", {}).get("epsilon", 0.0))
        self.dropped = float(parameters.get("word_dropout", {}).get("share", 0.0))
        self.removal = parameters.get("stepwise_removal")
        self.growing = parameters.get("last_to_all")
        self.distilled = parameters.get("self_distillation")
        self.margin = parameters.get("margin")
        # Whether the loss is the weighted cross-entropy alone: all others steer what is read and what it weighs, not
        # what is made of it.
        self.plain = not any(OBJECTIVES.get(name).logits for name in parameters)
        # Logits of what comes back in the next step, and of what came back in this one; the rows that came back, and
        # those gone through.
        self._kept: list[torch.Tensor] = []
        self._before = torch.empty(0)
        self._returned = self._row = self._token = 0

    def share_left(self, step: int, steps: int) -> float:
        """Of a rationale's tokens, under stepwise removal."""
        if not self.removal:
            return 1.0
        return 1 - _between(self.removal, step, steps)

    def share_told(self, step: int, steps: int) -> float:
        """Of a rationale's sentences, under last_to_all: those from the end that bear loss; 0 stands for the last
        one.
        """
        return _between(self.growing, step, steps) if self.growing else 1.0

    def values(self, step: int, steps: int) -> dict[str, float]:
        """What a step is drawn with, for the curves."""
        values = {"rationale_left": self.share_left(step, steps)} if self.removal else {}
        values |= self._memory.values(step) if self._memory is not None else {}
        return values | ({"rationale_told": self.share_told(step, steps)} if self.growing else {})

    def rows(self, step: int, steps: int, stream: Stream, rows_of: RowsOf) -> list[Row]:
        """The rows of a step."""
        if self._memory is not None:
            return self._memory.rows(step, steps, stream, rows_of)
        left, share = self._left, self.share_left(step, steps)
        if self.removal and left is not None:
            return [row for i, epoch in stream.step(step) for row in left(i, epoch, share)]
        last, share_with_loss = self._last, self.share_told(step, steps)
        rows_of = rows_of if last is None or share_with_loss == 1 else lambda i, epoch: last(i, epoch, share_with_loss)
        if not self.distilled:
            return [row for i, epoch in stream.step(step) for row in rows_of(i, epoch)]
        back, new = ([row for i, epoch in _half(stream, step + ahead) for row in rows_of(i, epoch)] for ahead in (0, 1))
        self._returned = len(back)
        return back + new

    def batch(self, batch: Batch, step: int, part: int) -> Batch:
        """A micro-batch as it is read; what is predicted stays."""
        if not self.dropped:
            return batch
        draw = np.random.default_rng(stable_seed("word_dropout", self._seed, step, part))
        hit = (draw.random(batch.ids.shape) < self.dropped) & (np.arange(batch.ids.shape[1]) < batch.lengths[:, None])
        return dataclasses.replace(batch, ids=np.where(hit, self._symbol, batch.ids))

    def loss(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The weighted loss of a micro-batch, not yet divided, and the (n,) losses of its predicted tokens."""
        losses = cross_entropy(logits, targets, reduction="none", label_smoothing=self.smoothing)
        if self.margin:
            # What ranks the choices is what they are told apart by: the plain likelihood.
            plain = cross_entropy(logits, targets, reduction="none") if self.smoothing else losses
            alpha = float(self.margin["alpha"])
            label = torch.from_numpy(batch.groups == LABEL).to(logits.device)
            total = (losses * torch.where(label, (1 - alpha) * weights, weights)).sum() + alpha * self._hinge(
                plain, batch
            )
        else:
            total = (losses * weights).sum()
        if self.distilled:
            total = total + self._divergence(logits, weights, batch)
        return total, losses

    def _hinge(self, losses: torch.Tensor, batch: Batch) -> torch.Tensor:
        """max(0, margin - log p(label) + log p(wrong choice)), the mean over an example's wrong choices, summed over
        examples. losses: (n,).
        """
        assert self.margin is not None
        rival = np.unique(batch.rows[batch.groups == RIVAL])
        if not len(rival):
            return losses.new_zeros(())
        gold = np.setdiff1d(np.arange(len(batch.lengths)), rival)
        owner = np.searchsorted(gold, rival) - 1
        rows, counted, ours, theirs, shared = (
            torch.from_numpy(a).to(losses.device)
            for a in (batch.rows, np.isin(batch.groups, (LABEL, RIVAL)), gold[owner], rival, np.bincount(owner)[owner])
        )
        likelihood = losses.new_zeros(len(batch.lengths)).index_add(
            0, rows, torch.where(counted, -losses, torch.zeros_like(losses))
        )
        return ((float(self.margin["margin"]) - likelihood[ours] + likelihood[theirs]).clamp(min=0) / shared).sum()

    def _divergence(self, logits: torch.Tensor, weights: torch.Tensor, batch: Batch) -> torch.Tensor:
        """alpha T^2 KL(what was said at the last step || what is said now), over the tokens that came back."""
        assert self.distilled is not None
        came_back = torch.from_numpy(batch.rows + self._row < self._returned).to(logits.device)
        count = int(came_back.sum())
        before = self._before[self._token : self._token + count]
        self._row += len(batch.lengths)
        self._token += count
        self._kept.append(logits.detach()[~came_back])
        if len(before) != count or not count:  # the first step has none
            return logits.new_zeros(())
        heat = float(self.distilled["temperature"])
        now, then = log_softmax(logits[came_back] / heat, -1), log_softmax(before.to(logits.device) / heat, -1)
        apart = kl_div(now, then, reduction="none", log_target=True).sum(-1)
        return float(self.distilled["alpha"]) * heat**2 * (apart * weights[came_back]).sum()

    def done(self) -> None:
        """The step is over."""
        self._before = torch.cat(self._kept) if self._kept else torch.empty(0)
        self._kept, self._row, self._token = [], 0, 0

    def state(self) -> dict[str, torch.Tensor]:
        """What a resumed run needs."""
        held = self._memory.state() if self._memory is not None else {}
        return held | ({"before": self._before} if self.distilled else {})

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        self._before = state.get("before", torch.empty(0))
        if self._memory is not None:
            self._memory.load(state)

    def check(self, processes: int) -> None:
        """StudentError where a step cannot be shared."""
        if self.distilled and processes > 1:
            raise StudentError(
                "self_distillation compares a step with the one before, which several processes do not share.",
                "Set training.processes to 1.",
            )
        if self._memory is not None and processes > 1:
            raise StudentError(
                "self_generated remembers what the student has written, which several processes do not share.",
                "Set training.processes to 1.",
            )


def _between(schedule: Mapping[str, Any], step: int, steps: int) -> float:
    """How far a step is from `begin` to `end`, shares of all steps: 0 to 1, in so many stages; all at once where both
    are the same.
    """
    begin, end = float(schedule["begin"]) * steps, float(schedule["end"]) * steps
    return round((1.0 if step >= end else (step - begin) / (end - begin) if step > begin else 0.0) * STAGES) / STAGES


def _half(stream: Stream, number: int) -> list[tuple[int, int]]:
    """Half a step's examples: halves are counted through all steps. A batch of one comes back whole."""
    step = stream.step(number // 2)
    middle = (len(step) + 1) // 2
    return step[:middle] if number % 2 == 0 or len(step) == 1 else step[middle:]

"""The loss of a rationale begins with its last sentence and grows back to all of it (KPOD, arXiv 2405.16064)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from cotdistill.students.batches import Row
from cotdistill.students.objectives.base import ExampleRows, RowsOf, Setup, TrainingObjective, progress
from cotdistill.students.tokens import NO_LOSS


class LastToAll(TrainingObjective):
    """All sentences are read; those from the end bear loss, more of them from stage to stage."""

    training_set: ExampleRows | None = None
    # The share of the sentences that bears loss, and the rows laid out for it: stages follow each other, one is held.
    _stage: tuple[float, dict[tuple[int, int], list[Row]]] | None = None

    def begin(self, setup: Setup) -> None:
        self.training_set = setup.training_set

    def share_with_loss(self, step: int, steps: int) -> float:
        """Of a rationale's sentences, from the end; 0 stands for the last one."""
        return progress(self.parameters, step, steps)

    def rows_of(self, step: int, steps: int, rows_of: RowsOf) -> RowsOf:
        share = self.share_with_loss(step, steps)
        return rows_of if share == 1 else lambda index, epoch: self.tail_loss_rows(index, epoch, share)

    def tail_loss_rows(self, index: int, epoch: int, share: float) -> list[Row]:
        """The rows of an example of whose rationale the last `share` of the sentences bears loss, at least one; the
        others are read."""
        examples = self.training_set
        assert examples is not None
        if self._stage is None or self._stage[0] != share:
            self._stage = share, {}
        kept = self._stage[1]
        key = (index, epoch if examples.run.training.redraw else 0)
        if key not in kept:
            sentence = np.array([token.sentence for token in examples.corpus.passages[index]], np.int64)
            cut = []
            for encoded in examples.sequences(*key):
                from_rationale = encoded.origin >= 0
                # Of those that are read: a rationale may have been cut at its end.
                kinds = np.unique(sentence[encoded.origin[from_rationale]])
                # A share is a sum of stages: what is a whole number of sentences but for rounding is that number.
                first = kinds[-max(1, math.ceil(share * len(kinds) - 1e-9))] if len(kinds) else 0
                early = np.zeros(len(encoded), bool)
                early[from_rationale] = sentence[encoded.origin[from_rationale]] < first
                cut.append(replace(encoded, loss=np.where(early, NO_LOSS, encoded.loss).astype(np.int8)))
            kept[key] = examples.weigh(index, cut)
        return kept[key]

    def values(self, step: int, steps: int) -> dict[str, float]:
        return {"rationale_told": self.share_with_loss(step, steps)}

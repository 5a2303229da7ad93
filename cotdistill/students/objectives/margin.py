"""The label's likelihood has to exceed that of each wrong choice by a margin (arXiv 2004.14074)."""

from __future__ import annotations

import numpy as np
import torch

from cotdistill.students.batches import Row
from cotdistill.students.objectives.base import ExampleRows, PredictedTokens, TrainingObjective
from cotdistill.students.tokens import LABEL, NO_LOSS, RIVAL, Encoded, shortened


class Margin(TrainingObjective):
    """alpha max(0, margin - log p(label) + log p(wrong choice)), the mean over an example's wrong choices; the label's
    cross-entropy weighs 1 - alpha."""

    def rivals(self, examples: ExampleRows, index: int, encoded: Encoded) -> list[Row]:
        """The sequence up to its label with each wrong choice in the label's place."""
        gold = examples.examples[index].gold
        start = int(np.flatnonzero(encoded.loss == LABEL)[0])
        segment = encoded.segments[start]
        rows = []
        for place, ids in enumerate(examples.encoder.targets(examples.examples[index])):
            if place == gold:
                continue
            count = len(ids)
            whole = Encoded(
                np.concatenate([encoded.ids[:start], np.array(ids, np.int32)]),
                np.concatenate([encoded.segments[:start], np.full(count, segment)]),
                np.concatenate([np.full(start, NO_LOSS, np.int8), np.full(count, RIVAL, np.int8)]),
                np.concatenate([encoded.origin[:start], np.full(count, -1, np.int32)]),
            )
            rival = shortened(whole, examples.limit, examples.run.student.truncate)
            rows.append(Row(rival.ids, np.zeros(len(rival), np.float32), rival.loss, follows=True))
        return rows

    def token_weights(self, predicted: PredictedTokens, weights: torch.Tensor) -> torch.Tensor:
        label = torch.from_numpy(predicted.batch.groups == LABEL).to(weights.device)
        return torch.where(label, (1 - float(self.parameters["alpha"])) * weights, weights)

    def added_loss(self, predicted: PredictedTokens) -> torch.Tensor:
        # What ranks the choices is what they are told apart by: the plain likelihood.
        return float(self.parameters["alpha"]) * self._hinge(predicted)

    def _hinge(self, predicted: PredictedTokens) -> torch.Tensor:
        """The mean over an example's wrong choices, summed over examples."""
        losses, batch = predicted.negative_log_likelihood, predicted.batch
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
        margin = float(self.parameters["margin"])
        return ((margin - likelihood[ours] + likelihood[theirs]).clamp(min=0) / shared).sum()

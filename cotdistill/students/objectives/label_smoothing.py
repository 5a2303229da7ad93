"""A share of every target goes to all other tokens (arXiv 1512.00567)."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from cotdistill.students.objectives.base import PredictedTokens, TrainingObjective


class LabelSmoothing(TrainingObjective):
    """Targets are 1 - epsilon on the token itself plus epsilon spread evenly over the vocabulary."""

    def token_losses(self, predicted: PredictedTokens) -> torch.Tensor:
        return cross_entropy(
            predicted.logits, predicted.targets, reduction="none", label_smoothing=float(self.parameters["epsilon"])
        )

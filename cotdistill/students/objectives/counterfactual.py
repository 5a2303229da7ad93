"""Half of the loss is that of a wrong answer after a rationale that argues for it (SCOTT, arXiv 2305.01879)."""

from __future__ import annotations

from cotdistill.config import TrainingConfig
from cotdistill.students.batches import Row, scaled, weighted
from cotdistill.students.objectives.base import TrainingObjective
from cotdistill.students.tokens import Encoded


class CounterfactualObjective(TrainingObjective):
    """alpha of the loss is the wrong answer's, the rest that of rationale and answer; an example that nobody argued
    against weighs what it always did."""

    def weighted_rows(self, sequences: list[Encoded], training: TrainingConfig) -> list[Row] | None:
        if len(sequences) != 2:
            return None
        alpha = float(self.parameters["alpha"])
        return [
            scaled(row, share)
            for encoded, share in zip(sequences, (1 - alpha, alpha), strict=True)
            for row in weighted([encoded], training)
        ]

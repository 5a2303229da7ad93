"""The rationale loses its first tokens during training, until none is left (implicit CoT, arXiv 2405.14838)."""

from __future__ import annotations

from dataclasses import replace

from cotdistill.rationales.conditions import ChosenTransform
from cotdistill.rationales.transforms import TRANSFORMS, check_parameters
from cotdistill.students.batches import Row
from cotdistill.students.objectives.base import ExampleRows, RowsOf, Setup, TrainingObjective, progress


class StepwiseRemoval(TrainingObjective):
    """Removal begins after a share `begin` of the steps, and after `end` nothing is left."""

    training_set: ExampleRows | None = None
    # The share of the rationale that is left, and the examples with it: stages follow each other, one is held.
    _stage: tuple[float, ExampleRows] | None = None

    def begin(self, setup: Setup) -> None:
        self.training_set = setup.training_set

    def share_left(self, step: int, steps: int) -> float:
        """Of a rationale's tokens, 0 to 1."""
        return 1 - progress(self.parameters, step, steps)

    def rows_of(self, step: int, steps: int, rows_of: RowsOf) -> RowsOf:
        share = self.share_left(step, steps)
        return lambda index, epoch: self.truncated_rows(index, epoch, share)

    def truncated_rows(self, index: int, epoch: int, share: float) -> list[Row]:
        """The rows of an example of whose rationale only the last `share` is left."""
        assert self.training_set is not None
        if self._stage is None or self._stage[0] != share:
            pairs = [("keep", "last"), ("fraction", repr(share))]
            last = ChosenTransform("truncate", check_parameters(TRANSFORMS.get("truncate"), pairs))
            condition = self.training_set.condition
            shorter = replace(condition, steps=(*condition.steps, last))
            self._stage = share, self.training_set.under(shorter)
        return self._stage[1].rows(index, epoch)

    def values(self, step: int, steps: int) -> dict[str, float]:
        return {"rationale_left": self.share_left(step, steps)}

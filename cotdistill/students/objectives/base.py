"""What an objective may change of a training step. One subclass in one file each; a method that it leaves alone is that
of plain cross-entropy.

What a step holds follows from (order seed, step) and from `state` alone, so a run resumes to the bit.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from cotdistill.config import RunConfig, TrainingConfig
from cotdistill.rationales.conditions import ChosenObjective, Condition
from cotdistill.rationales.passage import Corpus
from cotdistill.rationales.placement import Placement
from cotdistill.students.batches import Batch, Row, Stream
from cotdistill.students.tokens import Encoded, Encoder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from cotdistill.tasks.example import Example

# The rows of an example (its index) in an epoch.
RowsOf = Callable[[int, int], Sequence[Row]]
# A schedule goes in so many stages, so that rows are laid out a few times and not at every step.
STAGES = 20


class ExampleRows(Protocol):
    """The training examples of a run, and the rows that each of them becomes (`students.preparation.TrainingSet`)."""

    encoder: Encoder
    corpus: Corpus
    condition: Condition
    run: RunConfig
    limit: int

    @property
    def examples(self) -> Sequence[Example]: ...

    def sequences(self, index: int, epoch: int) -> list[Encoded]:
        """The token sequences of an example, cut to what the student reads."""
        ...

    def rows(self, index: int, epoch: int) -> list[Row]:
        """The rows of an example, with the weight of each token's loss."""
        ...

    def weigh(self, index: int, sequences: list[Encoded]) -> list[Row]:
        """Sequences of an example as rows, with the weight of each token's loss."""
        ...

    def rows_with_rationale(self, index: int, epoch: int, ids: Sequence[int]) -> list[Row]:
        """The rows of an example with these ids as its rationale; SequenceTooLong where they do not fit."""
        ...

    def under(self, condition: Condition) -> ExampleRows:
        """The same examples under another condition."""
        ...


@dataclass(frozen=True)
class Setup:
    """What an objective may need of the run that it is part of."""

    model: PreTrainedModel
    """The student, trained in place."""
    training_set: ExampleRows
    seed: int
    """The seed of the order of examples."""
    limit: int
    """The most tokens that the student writes as a rationale."""
    metric: str
    """How its choices are scored."""

    @property
    def placement(self) -> Placement:
        return self.training_set.condition.spec


@dataclass(frozen=True)
class PredictedTokens:
    """The n predicted tokens of one micro-batch."""

    logits: torch.Tensor
    """(n, vocabulary)"""
    targets: torch.Tensor
    """(n,) ids"""
    weights: torch.Tensor
    """(n,) of each token's loss"""
    batch: Batch

    @cached_property
    def negative_log_likelihood(self) -> torch.Tensor:
        """(n,) of each target, in nats."""
        # Plans lay rows out, too, in a process that never loads torch.
        from torch.nn.functional import cross_entropy

        return cross_entropy(self.logits, self.targets, reduction="none")


class TrainingObjective:
    """One objective of a run. In the order of a step: `step_rows`, `read` for each micro-batch, the three parts of the
    loss for each, `end_step`."""

    # Why its steps cannot be shared by several processes; empty: they can.
    single_process = ""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self.parameters = parameters

    def begin(self, setup: Setup) -> None:
        """Called once, before the first step or the resumed one."""

    def weighted_rows(self, sequences: list[Encoded], training: TrainingConfig) -> list[Row] | None:
        """The sequences of an example as rows; None: as `batches.weighted` weighs them."""
        return None

    def example_rows(self, examples: ExampleRows, index: int, sequences: list[Encoded], rows: list[Row]) -> list[Row]:
        """The rows of an example, made once per epoch, one per sequence."""
        return rows

    def rivals(self, examples: ExampleRows, index: int, encoded: Encoded) -> list[Row]:
        """Rows that are read beside those of an example, without a weight. encoded: its first sequence."""
        return []

    def rows_of(self, step: int, steps: int, rows_of: RowsOf) -> RowsOf:
        """How an example becomes rows at this step."""
        return rows_of

    def step_rows(self, step: int, steps: int, stream: Stream, rows_of: RowsOf) -> list[Row] | None:
        """All rows of a step; None: those of the stream's examples."""
        return None

    def read(self, batch: Batch, step: int, part: int) -> Batch:
        """Micro-batch number `part` as it is read; its targets stay."""
        return batch

    def token_losses(self, predicted: PredictedTokens) -> torch.Tensor | None:
        """(n,) the loss of each predicted token; None: its negative log-likelihood."""
        return None

    def token_weights(self, predicted: PredictedTokens, weights: torch.Tensor) -> torch.Tensor:
        """(n,) the weight of each token's loss."""
        return weights

    def added_loss(self, predicted: PredictedTokens) -> torch.Tensor | None:
        """A scalar that is added to the weighted sum of the tokens' losses."""
        return None

    def end_step(self) -> None:
        """The step has been computed."""

    def values(self, step: int, steps: int) -> dict[str, float]:
        """What the step was drawn with, for the learning curves."""
        return {}

    def state(self) -> dict[str, torch.Tensor]:
        """What a resumed run needs."""
        return {}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from what `state` gave."""


def implementation(chosen: ChosenObjective) -> TrainingObjective:
    """An objective of a condition, ready to train with."""
    module, name = chosen.entry.implementation.split(":")
    created: TrainingObjective = getattr(importlib.import_module(module), name)(chosen.values)
    return created


def progress(schedule: Mapping[str, Any], step: int, steps: int) -> float:
    """How far a step is from `begin` to `end`, shares of all steps: 0 to 1, in STAGES stages; all at once where both
    are the same."""
    begin, end = float(schedule["begin"]) * steps, float(schedule["end"]) * steps
    return round((1.0 if step >= end else (step - begin) / (end - begin) if step > begin else 0.0) * STAGES) / STAGES

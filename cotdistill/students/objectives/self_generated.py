"""Rationales that a student writes itself while it is trained, remembered where they led it to the right answer (TRICE,
arXiv 2312.02179).

The memory of an example begins with the teacher's rationale. Whenever a step holds the example, the student draws a new
one; if it ends, fits into the longest sequence that is trained on, and the student answers rightly after it, it takes
the other's place. So the memory is a chain of rationales that are drawn from the student and agree with the label, one
link for each time that the example is met.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from cotdistill.config import stable_seed
from cotdistill.errors import SequenceTooLong
from cotdistill.rationales.placement import Placement
from cotdistill.students.batches import Row, Stream
from cotdistill.students.objectives.base import RowsOf, Setup, TrainingObjective
from cotdistill.students.reader import Forward
from cotdistill.students.scoring.evaluation import answers_after, asked, predicted
from cotdistill.students.scoring.generation import Lots
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Example

# The ids of a new rationale for each of some examples (indices) at a step; None where it did not lead to the right
# answer.
Propose = Callable[[Sequence[int], int], list[list[int] | None]]
# The rows of an example in an epoch with these ids as its rationale; SequenceTooLong where they do not fit.
RowsWithRationale = Callable[[int, int, Sequence[int]], Sequence[Row]]


def proposer(
    model: PreTrainedModel,
    encoder: Encoder,
    examples: Sequence[Example],
    placement: Placement,
    *,
    limit: int,
    metric: str,
    seed: int,
    temperature: float,
) -> Propose:
    """Draws by (seed, step, id) from the student as it is then; limit: tokens of a rationale."""

    def propose(members: Sequence[int], step: int) -> list[list[int] | None]:
        training = model.training
        model.eval()  # type: ignore[no-untyped-call]
        reader, rows = Forward(model), [examples[i] for i in members]
        lots = Lots([np.random.default_rng(stable_seed("self_generated", seed, step, e.id)) for e in rows], temperature)
        prompts, written = asked(reader, encoder, rows, placement, "own", limit, lots)
        answers = answers_after(reader, encoder, rows, prompts)
        model.train(training)
        assert written is not None
        return [
            w.ids
            if w.ids and w.terminated and predicted(encoder, e, a.sums, "own", metric=metric, answer=a.text).correct
            else None
            for e, w, a in zip(rows, written, answers, strict=True)
        ]

    return propose


class SelfGenerated(TrainingObjective):
    """By example, the last rationale that the student wrote for it, and the step at which; none: still the teacher's,
    of step 0. The teacher's are learnt for a share `begin` of the steps."""

    single_process = "remembers what the student has written"
    propose: Propose
    rows_with_rationale: RowsWithRationale

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        super().__init__(parameters)
        self._held: dict[int, tuple[int, list[int]]] = {}
        self._values: dict[int, dict[str, float]] = {}

    def begin(self, setup: Setup) -> None:
        self.rows_with_rationale = setup.training_set.rows_with_rationale
        self.propose = proposer(
            setup.model,
            setup.training_set.encoder,
            setup.training_set.examples,
            setup.placement,
            limit=setup.limit,
            metric=setup.metric,
            seed=setup.seed,
            temperature=float(self.parameters["temperature"]),
        )

    def step_rows(self, step: int, steps: int, stream: Stream, rows_of: RowsOf) -> list[Row]:
        """The rows of a step, after its examples have had their chance of a new rationale."""
        members = stream.step(step)
        if step >= float(self.parameters["begin"]) * steps:
            wanted = list(dict.fromkeys(i for i, _ in members))
            drawn = zip(wanted, self.propose(wanted, step), strict=True)
            kept = [ids if ids is not None and self._fits(i, ids) else None for i, ids in drawn]
            self._held |= {i: (step, ids) for i, ids in zip(wanted, kept, strict=True) if ids is not None}
            written_at = [self._held[i][0] if i in self._held else 0 for i in wanted]
            self._values[step] = {
                "acceptance": sum(ids is not None for ids in kept) / len(wanted),
                "memory_age": step - sum(written_at) / len(written_at),
                "memory_own": sum(i in self._held for i in wanted) / len(wanted),
            }
        return [
            row
            for i, epoch in members
            for row in (self.rows_with_rationale(i, epoch, self._held[i][1]) if i in self._held else rows_of(i, epoch))
        ]

    def _fits(self, example: int, ids: Sequence[int]) -> bool:
        """A run may train on shorter sequences than its student reads and writes (student.max_length)."""
        try:
            self.rows_with_rationale(example, 0, ids)
        except SequenceTooLong:
            return False
        return True

    def values(self, step: int, steps: int) -> dict[str, float]:
        """Once per step: share of the drawn rationales that were accepted, mean steps since the rationales of its
        examples were written, share of them that the student wrote itself."""
        return self._values.pop(step, {})

    def state(self) -> dict[str, torch.Tensor]:
        held = sorted(self._held.items())
        return {
            "memory.example": torch.tensor([i for i, _ in held], dtype=torch.int64),
            "memory.step": torch.tensor([step for _, (step, _) in held], dtype=torch.int64),
            "memory.length": torch.tensor([len(ids) for _, (_, ids) in held], dtype=torch.int64),
            "memory.ids": torch.tensor([id for _, (_, ids) in held for id in ids], dtype=torch.int64),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        examples, steps, lengths, ids = (
            state[f"memory.{name}"].tolist() for name in ("example", "step", "length", "ids")
        )
        ends = np.cumsum(lengths).tolist()
        self._held = {
            i: (step, ids[end - n : end]) for i, step, n, end in zip(examples, steps, lengths, ends, strict=True)
        }

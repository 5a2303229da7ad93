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
from cotdistill.students.reader import Forward
from cotdistill.students.scoring.evaluation import asked, choice_scores, predicted
from cotdistill.students.scoring.generation import Lots
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Example

# The ids of a new rationale for each of some examples (indices) at a step; None where it did not lead to the right
# answer.
Propose = Callable[[Sequence[int], int], list[list[int] | None]]
# The rows of an example in an epoch with these ids as its rationale.
Told = Callable[[int, int, Sequence[int]], Sequence[Row]]


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
        sums = choice_scores(reader, prompts, [encoder.targets(e) for e in rows], encoder.specials.pad)
        model.train(training)
        assert written is not None
        return [
            w.ids if w.ids and w.terminated and predicted(encoder, e, s, "own", metric=metric).correct else None
            for e, w, s in zip(rows, written, sums, strict=True)
        ]

    return propose


class RationaleMemory:
    """By example, the rationale that it was last given by the student itself, and the step at which; none: still the
    teacher's, of step 0.
    """

    def __init__(self, propose: Propose, rows_with_rationale: Told, begin: float) -> None:
        """begin: share of the steps before which the teacher's are learnt."""
        self._propose, self._told, self._begin = propose, rows_with_rationale, begin
        self._held: dict[int, tuple[int, list[int]]] = {}
        self._values: dict[int, dict[str, float]] = {}

    def rows(self, step: int, steps: int, stream: Stream, rows_of: Callable[[int, int], Sequence[Row]]) -> list[Row]:
        """The rows of a step, after its examples have had their chance of a new rationale."""
        members = stream.step(step)
        if step >= self._begin * steps:
            wanted = list(dict.fromkeys(i for i, _ in members))
            drawn = zip(wanted, self._propose(wanted, step), strict=True)
            kept = [ids if ids is not None and self._fits(i, ids) else None for i, ids in drawn]
            self._held |= {i: (step, ids) for i, ids in zip(wanted, kept, strict=True) if ids is not None}
            born = [self._held[i][0] if i in self._held else 0 for i in wanted]
            self._values[step] = {
                "acceptance": sum(ids is not None for ids in kept) / len(wanted),
                "memory_age": step - sum(born) / len(born),
                "memory_own": sum(i in self._held for i in wanted) / len(wanted),
            }
        return [
            row
            for i, epoch in members
            for row in (self._told(i, epoch, self._held[i][1]) if i in self._held else rows_of(i, epoch))
        ]

    def _fits(self, example: int, ids: Sequence[int]) -> bool:
        """A run may train on shorter sequences than its student reads and writes (student.max_length)."""
        try:
            self._told(example, 0, ids)
        except SequenceTooLong:
            return False
        return True

    def values(self, step: int) -> dict[str, float]:
        """Of a step, for the curves, told once: share of the drawn rationales that were taken, mean steps since the
        rationales of its examples were written, share of them that the student wrote itself."""
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

"""How much more likely each rationale token is behind the right answer than behind a wrong one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
import torch
from torch.nn.functional import log_softmax
from transformers import PreTrainedModel

from cotdistill.rationales.passage import Passage
from cotdistill.students.reader import Forward
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Example

# Sequences forwarded at once, and the most that their logits may take.
BATCH = 64
MEMORY_BYTES = 256 << 20


@torch.no_grad()
def contrasted(
    model: PreTrainedModel,
    encoder: Encoder,
    examples: Sequence[Example],
    passages: Sequence[Passage],
    report: Callable[[int, int], None] | None = None,
) -> dict[str, tuple[float, ...]]:
    """By example, per rationale token: log p(token | question, right answer, tokens before) minus the mean of the same
    over the wrong answers.
    """
    reader = Forward(model)
    rows: list[tuple[int, bool, list[int], int]] = []
    for i, (example, passage) in enumerate(zip(examples, passages, strict=True)):
        asked = encoder.prompt(example, ("question", "choices", "label_cue"))
        cue = encoder.cue("rationale_cue")
        heads = [[*asked, *choice, *cue] for choice in encoder.targets(example)]
        # What does not fit behind the longest choice is compared behind none.
        told_of = [token.id for token in passage][: max(0, reader.positions - max(map(len, heads)))]
        if told_of:
            rows += [(i, c == example.gold, [*head, *told_of], len(head)) for c, head in enumerate(heads)]
    right = [np.zeros(len(p)) for p in passages]
    wrong = [np.zeros(len(p)) for p in passages]
    order = sorted(range(len(rows)), key=lambda r: len(rows[r][2]))
    # Float32 logits, and their normalised copy.
    places_at_once = max(1, MEMORY_BYTES // (8 * int(model.config.vocab_size)))
    at = 0
    while at < len(order):
        if report is not None:
            report(at * len(examples) // len(order), len(examples))
        members = [
            rows[r] for r in order[at : at + _taken([len(rows[r][2]) for r in order[at : at + BATCH]], places_at_once)]
        ]
        at += len(members)
        width = max(len(ids) for _, _, ids, _ in members)
        padded = torch.full((len(members), width), encoder.specials.pad, device=reader.device)
        for r, (_, _, ids, _) in enumerate(members):
            padded[r, : len(ids)] = torch.tensor(ids, device=reader.device)
        places = [
            (r, column) for r, (_, _, ids, head) in enumerate(members) for column in range(head - 1, len(ids) - 1)
        ]
        where, columns = (torch.tensor(part, device=reader.device) for part in zip(*places, strict=True))
        log_probabilities = (
            log_softmax(reader.logits_at(padded, where, columns), -1)
            .gather(1, padded[where, columns + 1][:, None])[:, 0]
            .float()
            .cpu()
            .numpy()
        )
        taken = 0
        for i, gold, ids, begins in members:
            count = len(ids) - begins
            row_values = log_probabilities[taken : taken + count]
            taken += count
            if gold:
                right[i][:count] = row_values
            else:
                wrong[i][:count] += row_values / (len(examples[i].choices) - 1)
    return {e.id: tuple((r - w).tolist()) for e, r, w in zip(examples, right, wrong, strict=True)}


def _taken(lengths: Sequence[int], places: int) -> int:
    """How many of the next sequences may be forwarded together; one at least."""
    return max(1, sum(total <= places for total in accumulate(lengths)))

"""How well a student, before it is trained, reads the rationales of a source."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import log_softmax

from cotdistill.students.reader import Forward
from cotdistill.students.scoring.evaluation import choice_scores
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Example

#: Ranks above this count as this: a single very unlikely token would outweigh a whole rationale.
HIGHEST_RANK = 100
#: What stands before a line when its local naturalness is taken: at most so many lines, the prompt being one.
LINES_BEFORE = 3
# Sequences of one forward pass; a rank needs the logits of the whole vocabulary.
BATCH = 4
# The prompt is that of a student that writes its rationale before the answer.
_SPANS = ("question", "choices", "rationale_cue")


@torch.no_grad()
def suitability(reader: Forward, encoder: Encoder, examples: Sequence[Example]) -> dict[str, float | int | None]:
    """Figures of the examples that have a rationale, read after question and choices and before any answer (as in
    pre-answer placement, whatever placement is trained later). Figures are over all tokens together.

    read: rationales that fit the student; too_long: those that do not; surprisal: nats per token; rank_surprisal: sum
    of the tokens' ranks (1 the likeliest, at most `HIGHEST_RANK`) by the sum of their surprisals (after
    arXiv:2601.14249); naturalness: mean log-probability of a token, each line given only the `LINES_BEFORE` before it,
    in nats. None without a rationale.
    """
    whole: list[tuple[list[int], list[int]]] = []
    before: list[list[int]] = []
    lines: list[list[int]] = []
    too_long = 0
    for example in examples:
        text = example.rationale or ""
        ids = [token.id for token in encoder.read(text)]
        if not ids:
            continue
        prompt = encoder.prompt(example, _SPANS)
        if len(prompt) + len(ids) > reader.positions:
            too_long += 1
            continue
        whole.append((prompt, ids))
        of_lines = ([token.id for token in encoder.read(line)] for line in text.splitlines() if line.strip())
        blocks = [prompt, *filter(None, of_lines)]
        start = [] if encoder.specials.bos is None else [encoder.specials.bos]
        for place in range(1, len(blocks)):
            first = max(0, place - LINES_BEFORE)
            near = [id for block in blocks[first:place] for id in block]
            before.append(near if first == 0 else [*start, *near])
            lines.append(blocks[place])
    likelihood, ranks, tokens = _likelihood_and_ranks(reader, whole, encoder.specials.pad)
    local = sum(value for (value,) in choice_scores(reader, before, [[line] for line in lines], encoder.specials.pad))
    return {
        "read": len(whole),
        "too_long": too_long,
        "surprisal": -likelihood / tokens if tokens else None,
        "rank_surprisal": ranks / -likelihood if likelihood else None,
        "naturalness": local / sum(map(len, lines)) if lines else None,
    }


def _likelihood_and_ranks(
    reader: Forward, pairs: Sequence[tuple[list[int], list[int]]], pad: int
) -> tuple[float, int, int]:
    """Summed log-likelihood and clipped rank of the second ids after the first, and how many there are."""
    likelihood, ranks, tokens = 0.0, 0, 0
    ordered = sorted(pairs, key=lambda pair: len(pair[0]) + len(pair[1]))
    for at in range(0, len(ordered), BATCH):
        batch = ordered[at : at + BATCH]
        width = max(len(before) + len(ids) for before, ids in batch)
        rows = [[*before, *ids] + [pad] * (width - len(before) - len(ids)) for before, ids in batch]
        places = [(r, len(before) - 1 + k) for r, (before, ids) in enumerate(batch) for k in range(len(ids))]
        device = reader.device
        where = torch.tensor(places, device=device)
        wanted = torch.tensor([id for _, ids in batch for id in ids], device=device)[:, None]
        scores = log_softmax(reader.logits_at(torch.tensor(rows, device=device), where[:, 0], where[:, 1]), -1)
        chosen = scores.gather(1, wanted)
        likelihood += float(chosen.double().sum())
        ranks += int((1 + (scores > chosen).sum(1)).clamp(max=HIGHEST_RANK).sum())
        tokens += len(wanted)
    return likelihood, ranks, tokens

"""Alignment of all rationale tokens of a training example with the label: all tokens at once, in factors, against one backward pass a token.

    python benchmarks/against/alignment.py [--repeats 5]

Both start from the same forward pass and the same label gradient and give each token's inner product with it and the length of its own gradient, over
the blocks' parameters.
"""

from __future__ import annotations

import numpy as np
import torch
from material import SOURCE, begin, material, student
from paired import Apart, compare, repeats_asked
from torch.nn.functional import cross_entropy

from cotdistill.rationales.conditions import parse
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.saliency.influence import Aligner
from cotdistill.students.tokens import RATIONALE, Encoded

EXAMPLES, LARGEST_GAP, AIM = 8, 1e-4, 5.0
SIZES = ((64, 2), (256, 4))


def columns_of(sequence: Encoded) -> np.ndarray:
    return np.flatnonzero(sequence.loss == RATIONALE)


def ours(aligner: Aligner, sequence: Encoded, target: torch.Tensor) -> torch.Tensor:
    _, products, lengths = aligner.token_products(sequence, columns_of(sequence), target[None])
    return torch.stack([products[0], lengths])


def peer(aligner: Aligner, sequence: Encoded, target: torch.Tensor, kind: torch.dtype = torch.float32) -> torch.Tensor:
    """kind: float64 to add up without the rounding of a sum over millions of numbers, which alone reaches 2e-4."""
    ids = torch.from_numpy(sequence.ids.astype(np.int64))[None]
    logits = aligner.model(ids).logits[0]
    found = []
    for column in columns_of(sequence):
        loss = cross_entropy(logits[column - 1], ids[0, column])
        gradient = torch.cat(
            [g.reshape(-1) for g in torch.autograd.grad(loss, aligner.parameters, retain_graph=True)]
        ).to(kind)
        found.append(torch.stack([gradient @ target.to(kind), gradient.norm()]))
    return torch.stack(found, 1)


def main() -> None:
    repeats, own = repeats_asked(__doc__), Apart(begin)
    given = material()
    corpus = given.encoder.corpus(given.train[:EXAMPLES])
    sequences = [
        one
        for i in range(EXAMPLES)
        for one in given.encoder.sequences(corpus, i, parse(f"post_cot@source={SOURCE}"), 0)
    ]
    for width, layers in SIZES:
        aligner = Aligner(student(width, layers), given.encoder, PLACEMENTS.get("post_cot"), [])
        target = aligner.label_gradient(given.train[:1])
        mine = torch.from_numpy(
            own(
                lambda aligner=aligner, target=target: torch.cat(
                    [ours(aligner, one, target) for one in sequences], 1
                ).numpy()
            )
        )
        theirs = torch.cat([peer(aligner, one, target, torch.float64) for one in sequences], 1)
        apart = float(((mine - theirs).abs().amax(1) / theirs.abs().amax(1)).max())
        assert apart < LARGEST_GAP, f"The products of both sides differ by {apart}."

        def act_ours(aligner: Aligner = aligner, target: torch.Tensor = target) -> float:
            return float(sum(ours(aligner, one, target).shape[1] for one in sequences))

        def act_peer(aligner: Aligner = aligner, target: torch.Tensor = target) -> float:
            return float(sum(peer(aligner, one, target).shape[1] for one in sequences))

        what = f"alignment of all rationale tokens, {given.name}, width {width} x {layers} layers"
        same = f"products and lengths agree to {apart:.0e} of the largest"
        compare(
            what,
            "one backward pass a token",
            act_ours,
            act_peer,
            unit="tokens/s",
            same=same,
            aim=AIM,
            repeats=repeats,
            apart=own,
        )


if __name__ == "__main__":
    main()

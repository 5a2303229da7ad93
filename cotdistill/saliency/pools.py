"""The questions on which the label loss of an alignment is taken: of the example's own kind, and others to hold them
against.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from cotdistill.config import stable_seed
from cotdistill.errors import UnknownName, UsageError
from cotdistill.tasks.example import Example

POOLS = ("own", "matched", "random")
DRAWS = ("each", "shared")
# Dev questions in a pool, at most.
POOL = 16


class Pools:
    """Picks dev questions for training examples. UsageError if any of them is a test question: alignment never looks at
    those.

    draw: "each" draws for every example anew, as many random questions as matched ones, so that over many examples the
    luck of a draw evens out; "shared" takes the first POOL that fit from one order: the random pool is nearly the same
    for all examples and its gradient is computed once, but a mean over examples then carries the luck of that one draw
    (it moved the AUC of 40 examples by .02 to .04).
    """

    def __init__(self, dev: Sequence[Example], draw: str = "each") -> None:
        if draw not in DRAWS:
            raise UnknownName("way to draw pools", draw, DRAWS)
        if any(example.split == "test" for example in dev):
            raise UsageError("Alignment is never taken on test questions.", "Use the dev split.")
        self.dev = sorted(dev, key=lambda e: stable_seed("pool", e.id))
        self.draw = draw

    def of(self, example: Example) -> tuple[list[Example], list[Example]]:
        """Matched: other questions of the example's cluster or with the same answer text (case aside). Random: with
        neither.
        """
        others = [e for e in self.dev if e.id != example.id]
        matched, rest = [e for e in others if is_kin(e, example)], [e for e in others if not is_kin(e, example)]
        if self.draw == "shared":
            return matched[:POOL], rest[:POOL]
        rng = random.Random(stable_seed("pool", example.id))
        matched = matched if len(matched) <= POOL else rng.sample(matched, POOL)
        return matched, rng.sample(rest, min(len(matched), len(rest)))


def is_kin(first: Example, second: Example) -> bool:
    """Whether two questions belong to one cluster or have the same answer text."""
    return first.answer_text.casefold() == second.answer_text.casefold() or (first.cluster or first.id) == (
        second.cluster or second.id
    )

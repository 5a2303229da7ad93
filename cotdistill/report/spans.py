"""What a transform did to a rationale, token by token, read from where each token came from. Plain data, no HTML."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from cotdistill.rationales.placement import SEGMENTS
from cotdistill.students.tokens import LABEL, RATIONALE, Encoded

_RATIONALE = SEGMENTS.index("rationale")


@dataclass(frozen=True, slots=True)
class Piece:
    """One token as it is shown. change: "" (untouched), "moved" or "foreign"; gap: tokens of the intact rationale left
    out before it.
    """

    text: str
    id: int
    segment: str
    loss: str
    origin: int
    change: str
    gap: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A rationale against the intact one, in tokens. kept counts those that stand, moved or not."""

    intact: int
    kept: int
    moved: int
    foreign: int

    @property
    def left_out(self) -> int:
        return self.intact - self.kept

    def describe(self) -> str:
        if not self.kept and not self.foreign:
            return "no rationale"
        if self.kept == self.intact and not self.moved and not self.foreign:
            return f"all {self.intact} rationale tokens as the teacher wrote them"
        parts = [
            f"{self.kept} of {self.intact} rationale tokens kept" if self.kept else "no token of its own rationale"
        ]
        parts += [f"{self.moved} moved"] if self.moved else []
        parts += [f"{self.foreign} from elsewhere"] if self.foreign else []
        return ", ".join(parts)


def pieces(encoded: Encoded, texts: Sequence[str]) -> list[Piece]:
    """The tokens of one training sequence with what was done to each; texts as Encoder.pieces gives them."""
    places = [i for i, segment in enumerate(encoded.segments) if segment == _RATIONALE]
    origins = [int(encoded.origin[i]) for i in places]
    standing = _longest_rising([o for o in origins if o >= 0])
    parts: list[Piece] = []
    expected = 0
    for i, text in enumerate(texts):
        origin, change, gap = int(encoded.origin[i]), "", 0
        if encoded.segments[i] == _RATIONALE:
            if origin < 0:
                change = "foreign"
            elif origin not in standing:
                change = "moved"
            elif not set(range(expected, origin)) & set(origins):
                gap = max(0, origin - expected) if origins.count(-1) == 0 else 0
            expected = max(expected, origin + 1)
        loss = {LABEL: "label", RATIONALE: "rationale"}.get(int(encoded.loss[i]), "")
        parts.append(Piece(text, int(encoded.ids[i]), SEGMENTS[encoded.segments[i]], loss, origin, change, gap))
    return parts


def difference(sequences: Sequence[Sequence[Piece]], intact: int) -> Difference:
    """Counts over all sequences of one example; intact is the length of the teacher's rationale in tokens."""
    shown = [piece for sequence in sequences for piece in sequence if piece.segment == "rationale"]
    kept = sum(piece.origin >= 0 for piece in shown)
    return Difference(intact, kept, sum(p.change == "moved" for p in shown), sum(p.change == "foreign" for p in shown))


def _longest_rising(values: Sequence[int]) -> set[int]:
    """The members of a longest strictly rising subsequence: the tokens that still stand in the teacher's order."""
    tails: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for i, value in enumerate(values):
        at = bisect_left(tails, value)
        before.append(last[at - 1] if at else -1)
        if at == len(tails):
            tails.append(value)
            last.append(i)
        else:
            tails[at], last[at] = value, i
    chain: set[int] = set()
    i = last[-1] if last else -1
    while i >= 0:
        chain.add(values[i])
        i = before[i]
    return chain

"""What an attribution explains: one number that a student computes from a sequence, as plain arrays.

gold             log-probability of the right label, right after what stands before it
predicted        the same of the label that the student prefers
label:B          the same of another choice
contrast         right label minus the log of the summed probability of all others
contrast:B       right label minus choice B;  contrast:A-B   choice A minus choice B
span:12-15       log-probability of tokens 12 to 15 of the sequence (columns from 0, both included), each given all
before it rationale        each rationale token by itself, given all before it: one explanation a token
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cotdistill.errors import GrammarError, NotReadable, UnknownName, UsageError
from cotdistill.saliency.reading import EncodedExample

KINDS = ("gold", "predicted", "label", "contrast", "span", "rationale")
BEHIND = (
    "not readable: this student's label stands before the rationale, so no prediction of the label can depend on it. "
    "Look at the rationale's own tokens (target rationale or span), or at the training-signal alignment."
)


@dataclass(frozen=True, slots=True)
class Target:
    """A target as written. one and other name choices by label (or, for span, hold the first and last column)."""

    kind: str
    one: str = ""
    other: str = ""

    def __str__(self) -> str:
        inside = "-".join(part for part in (self.one, self.other) if part)
        return f"{self.kind}:{inside}" if inside else self.kind

    @property
    def of_label(self) -> bool:
        return self.kind in ("gold", "predicted", "label", "contrast")


def parse_target(text: str) -> Target:
    """Read a target; GrammarError says what was expected, UnknownName offers near matches."""
    kind, colon, inside = text.strip().partition(":")
    if kind not in KINDS:
        raise UnknownName("target", kind, KINDS)
    if kind in ("gold", "predicted", "rationale"):
        if colon:
            raise GrammarError(f"The target {text!r} takes nothing after {kind}.", f"Write {kind}")
        return Target(kind)
    if kind == "span":
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", inside)
        if not match or int(match.group(2) or match.group(1)) < int(match.group(1)):
            raise GrammarError(
                f"The target {text!r} is no span of tokens.", "Write span:FIRST-LAST, for example span:12-15"
            )
        return Target(kind, str(int(match.group(1))), str(int(match.group(2) or match.group(1))))
    if kind == "label":
        if not inside:
            raise GrammarError(f"The target {text!r} names no choice.", "Write label:B")
        return Target(kind, inside)
    if colon and not inside:
        raise GrammarError(f"The target {text!r} names no choice.", "Write contrast, contrast:B or contrast:A-B")
    first, dash, second = inside.partition("-")
    if dash and not (first and second):
        raise GrammarError(f"The target {text!r} names one choice only.", "Write contrast:A-B")
    return Target(kind, first, second)


@dataclass(frozen=True)
class Query:
    """What is forwarded and what number is read from it.

    ids, positions, owner (n,): the first `length` tokens are those of the reading; behind them may stand the choices'
    tokens side by side, each seeing the first part and itself only (owner 0: the first part, c + 1: choice c). places
    (p,): columns at which logits are taken. picks, tokens, groups (m,): the log-probability of tokens[i] at
    places[picks[i]] counts for group groups[i]. The number is weights . sums - log(sum of exp over the groups in
    `against` of sums). moves (n,): what is attributed.
    """

    ids: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    owner: npt.NDArray[np.int64]
    length: int
    places: npt.NDArray[np.int64]
    picks: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    against: npt.NDArray[np.bool_]
    moves: npt.NDArray[np.bool_]
    words: npt.NDArray[np.int32]
    name: str
    target_at: int = -1


def queries(reading: EncodedExample, target: Target, moved: Sequence[str], predicted: int = -1) -> list[Query]:
    """The queries of a target: one, or one a rationale token. moved: segments that are attributed, as far as they stand
    before the target.

    predicted: the choice that the student prefers, for the target of that name. NotReadable where the sequence lacks
    what is explained.
    """
    if target.of_label:
        return [_label_query(reading, target, moved, predicted)]
    if target.kind == "rationale":
        columns = reading.columns("rationale")
        if not len(columns):
            raise NotReadable(
                f"The sequence of example {reading.id!r} holds no rationale to explain.",
                "Choose a student that was trained with rationales.",
            )
        return [_span_query(reading, int(c), int(c), moved, int(c)) for c in columns if c > 0]
    first, last = int(target.one), int(target.other)
    if not 0 < first <= last < len(reading):
        raise UsageError(
            f"The target {target} lies outside the sequence of {len(reading)} tokens.",
            f"Expected columns from 1 to {len(reading) - 1}.",
        )
    return [_span_query(reading, first, last, moved, -1)]


def label_query(reading: EncodedExample, moved: Sequence[str] = (), asked: Sequence[int] | None = None) -> Query:
    """The choices (all of them, or those asked for) after what stands before the label, one group each, for their
    probabilities.
    """
    prompt = reading.ids[: reading.label_at].astype(np.int64)
    n = len(prompt)
    ids, positions, owner = [prompt], [np.arange(n)], [np.zeros(n, np.int64)]
    places, picks = [n - 1], list[int]()
    tokens, groups = list[int](), list[int]()
    at = n
    wanted = range(len(reading.choices)) if asked is None else asked
    for c in wanted:
        choice = reading.choices[c]
        # The first token is read from the end of the prompt, which all choices share.
        picks += [0, *range(len(places), len(places) + len(choice) - 1)]
        places += range(at, at + len(choice) - 1)
        tokens += choice
        groups += [c] * len(choice)
        ids.append(np.array(choice[:-1], np.int64))
        positions.append(n + np.arange(len(choice) - 1))
        # A choice by itself is simply what follows.
        owner.append(np.full(len(choice) - 1, c + 1 if len(wanted) > 1 else 0))
        at += len(choice) - 1
    count = len(reading.choices)
    return Query(
        np.concatenate(ids), np.concatenate(positions).astype(np.int64), np.concatenate(owner).astype(np.int64), n,
        np.array(places), np.array(picks), np.array(tokens), np.array(groups), np.zeros(count), np.zeros(count, bool),
        np.concatenate([_moves(reading, n, moved), np.zeros(at - n, bool)]), reading.words[:n], "choices",
    )  # fmt: skip


def explained_choice(reading: EncodedExample, target: Target, predicted: int) -> int:
    """The choice that a target of the label speaks for: of a contrast, the first. UnknownName for a choice that the
    example does not have.
    """
    if target.kind == "label" or target.other:
        return _choice(reading, target.one)
    return predicted if target.kind == "predicted" else reading.gold


def _label_query(reading: EncodedExample, target: Target, moved: Sequence[str], predicted: int) -> Query:
    count = len(reading.choices)
    weights, against = np.zeros(count), np.zeros(count, bool)
    if reading.written and target.kind != "gold":
        raise NotReadable(
            f"Answers of this task are written: there is no choice to explain by the target {target}.",
            "Choose the target gold (log-probability of the gold answer's tokens), or a span.",
        )
    choice = explained_choice(reading, target, predicted)
    weights[choice] = 1.0
    if target.kind == "contrast":
        if target.one:
            other = _choice(reading, target.other or target.one)
            if other == choice:
                raise UsageError(f"The target {target} contrasts a choice with itself.", "Name two different choices.")
            weights[other] = -1.0
        else:
            against[:] = True
            against[choice] = False
    # A choice that does not count is not computed.
    base = label_query(reading, moved, np.flatnonzero((weights != 0) | against).tolist())
    return dataclasses.replace(base, weights=weights, against=against, name=str(target))


def _span_query(reading: EncodedExample, first: int, last: int, moved: Sequence[str], target_at: int) -> Query:
    n = last
    count = last - first + 1
    moves = _moves(reading, n, moved)
    # Tokens of the span are what is explained; only what stands before it is compared.
    moves[first:] = False
    return Query(
        reading.ids[:n].astype(np.int64),
        np.arange(n),
        np.zeros(n, np.int64),
        n,
        np.arange(first - 1, last),
        np.arange(count),
        reading.ids[first : last + 1].astype(np.int64),
        np.zeros(count, np.int64),
        np.ones(1),
        np.zeros(1, bool),
        moves,
        reading.words[:n],
        f"span:{first}-{last}",
        target_at,
    )


def _moves(reading: EncodedExample, length: int, moved: Sequence[str]) -> npt.NDArray[np.bool_]:
    moves = np.zeros(length, bool)
    columns = reading.columns(*moved)
    moves[columns[columns < length]] = True
    return moves


def _choice(reading: EncodedExample, label: str) -> int:
    if label not in reading.choice_labels:
        raise UnknownName(f"choice of example {reading.id!r}", label, reading.choice_labels)
    return reading.choice_labels.index(label)

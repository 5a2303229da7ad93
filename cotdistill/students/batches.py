"""Rows in memory and the order in which they are met. The same order seed gives the same examples at each step under
every condition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cotdistill.config import TrainingConfig, stable_seed
from cotdistill.students.tokens import LABEL, NO_LOSS, RATIONALE, Encoded

# Within so many batches of the stream, examples of similar length are put together.
BUCKET_BATCHES = 16


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence with the weight of each token's loss. ids (length,) int32, weights (length,) float32 (0: not
    predicted), groups int8. follows: it is compared with the row before it, and has to be in the same micro-batch."""

    ids: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    groups: npt.NDArray[np.int8]
    follows: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro-batch, right-padded. ids (rows, seq) int64; (n,) places whose next token is predicted, that token, its
    weight and group.
    """

    ids: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    groups: npt.NDArray[np.int8]
    lengths: npt.NDArray[np.int64]


def weighted(sequences: Sequence[Encoded], config: TrainingConfig) -> list[Row]:
    """The sequences of one example with their token weights.

    span: 1 / (label tokens) on the label, rationale_weight / (loss-bearing rationale tokens) on the rationale, so an
    example counts once whatever its length. token_mean: 1 on each; the batch is divided by their number instead.
    """
    counts = {group: sum(int((e.loss == group).sum()) for e in sequences) for group in (LABEL, RATIONALE)}
    share = {LABEL: 1.0, RATIONALE: config.rationale_weight}
    rows = []
    for encoded in sequences:
        weights = np.zeros(len(encoded), np.float32)
        for group, count in counts.items():
            if count:
                weights[encoded.loss == group] = share[group] / count if config.loss == "span" else 1.0
        rows.append(Row(encoded.ids, weights, encoded.loss))
    return rows


def scaled(row: Row, share: float) -> Row:
    """A row whose losses weigh a share of what they did."""
    return replace(row, weights=row.weights * np.float32(share))


class Stream:
    """An endless stream of examples cut into steps. Which examples a step holds follows from (seed, step) alone, so a
    run resumes anywhere.

    `lengths` (one per example) steer the bucketing; they must not depend on the condition.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        if not len(lengths):
            raise ValueError("no training rows")
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self._chunk: tuple[int, list[npt.NDArray[np.int64]]] | None = None
        self._epoch: tuple[int, npt.NDArray[np.int64]] | None = None

    def _permutation(self, epoch: int) -> npt.NDArray[np.int64]:
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (
                epoch,
                np.random.default_rng(stable_seed("order", self.seed, epoch)).permutation(len(self.lengths)),
            )
        return self._epoch[1]

    def step(self, step: int) -> list[tuple[int, int]]:
        """The (example, epoch) pairs of a step (counted from 0)."""
        chunk = step // BUCKET_BATCHES
        if self._chunk is None or self._chunk[0] != chunk:
            size, n = BUCKET_BATCHES * self.batch_size, len(self.lengths)
            places = np.arange(chunk * size, (chunk + 1) * size)
            order = np.concatenate(
                [self._permutation(int(e))[places[places // n == e] % n] for e in np.unique(places // n)]
            )
            by_length = np.argsort(self.lengths[order], kind="stable")
            batches = np.random.default_rng(stable_seed("batches", self.seed, chunk)).permutation(BUCKET_BATCHES)
            cut = by_length.reshape(BUCKET_BATCHES, self.batch_size)[batches]
            self._chunk = (chunk, [np.stack([order[c], places[c] // n], 1) for c in cut])
        return [(int(i), int(e)) for i, e in self._chunk[1][step % BUCKET_BATCHES]]


def collate(rows: Sequence[Row], pad: int) -> Batch:
    """Right-padded arrays of some rows."""
    lengths = np.array([len(row.ids) for row in rows], np.int64)
    ids = np.full((len(rows), int(lengths.max())), pad, np.int64)
    for r, row in enumerate(rows):
        ids[r, : lengths[r]] = row.ids
    at = [np.flatnonzero(row.groups != NO_LOSS) for row in rows]
    picked = np.concatenate(at)
    return Batch(
        ids,
        np.repeat(np.arange(len(rows)), [len(a) for a in at]),
        picked - 1,
        np.concatenate([row.ids[a] for row, a in zip(rows, at, strict=True)]).astype(np.int64),
        np.concatenate([row.weights[a] for row, a in zip(rows, at, strict=True)]),
        np.concatenate([row.groups[a] for row, a in zip(rows, at, strict=True)]),
        lengths,
    )


def steps_for_tokens(stream: Stream, tokens_of: Callable[[int, int], int], wanted: int, limit: int = 1_000_000) -> int:
    """The fewest steps after which at least `wanted` training tokens have been seen. tokens_of(example, epoch) counts
    one example's.
    """
    seen, step = 0, 0
    while seen < wanted and step < limit:
        seen += sum(tokens_of(i, epoch) for i, epoch in stream.step(step))
        step += 1
    return step


def tokens_in_steps(stream: Stream, tokens_of: Callable[[int, int], int], steps: int) -> int:
    return sum(tokens_of(i, epoch) for step in range(steps) for i, epoch in stream.step(step))

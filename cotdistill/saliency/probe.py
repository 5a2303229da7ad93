"""A student asked many queries at a time, by its token embeddings: values, gradients for captum, and values with tokens
replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import log_softmax
from transformers import PreTrainedModel

from cotdistill.errors import SequenceTooLong
from cotdistill.saliency.reading import EncodedExample
from cotdistill.saliency.targets import Query, label_query
from cotdistill.students.loading import input_table, output_matrix
from cotdistill.students.reader import Forward, block_mask

# What the activations of one forward and backward pass may take.
MEMORY_BYTES = 512 << 20


@dataclass(frozen=True)
class QueryBatch:
    """Queries side by side, padded on the right. members: their places in the list they come from. ids, positions,
    owner (b, n); mask (b, 1, n, n), or None where no row is packed or the student takes no mask; places (b, p); picks,
    tokens, groups (b, m) with valid (b, m); weights, against (b, g); moves (b, n)."""

    members: list[int]
    queries: list[Query]
    ids: torch.Tensor
    positions: torch.Tensor
    owner: torch.Tensor
    mask: torch.Tensor | None
    places: torch.Tensor
    picks: torch.Tensor
    tokens: torch.Tensor
    groups: torch.Tensor
    valid: torch.Tensor
    weights: torch.Tensor
    against: torch.Tensor
    moves: torch.Tensor

    def all(self) -> torch.Tensor:
        """(b,) every query once: the index that `Probe.values` takes."""
        return torch.arange(len(self.queries), device=self.ids.device)


class StudentQueries:
    """One student, in evaluation mode. Results do not depend on how queries are batched (to the rounding of the
    arithmetic).
    """

    def __init__(self, model: PreTrainedModel, pad: int, memory: int = MEMORY_BYTES) -> None:
        model.eval()  # type: ignore[no-untyped-call]
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        self.model = model
        self.reader = Forward(model)
        self.device = self.reader.device
        self.pad = pad
        self.memory = memory

    def rows(self, queries: Sequence[Query]) -> int:
        """How many copies of the longest of these queries fit into the memory budget at once, with a backward pass."""
        config = self.model.config
        n, p = max(len(q.ids) for q in queries), max(len(q.places) for q in queries)
        width, vocabulary = config.hidden_size, output_matrix(self.model).weight.shape[0]
        # Kept for the backward pass: about 24 numbers a token, layer and unit of width (attention, norms, a fourfold
        # MLP), the attention matrices, and three copies of the logits.
        numbers = (
            n
            * (config.num_hidden_layers * (24 * width + 3 * getattr(config, "num_attention_heads", 0) * n) + 4 * width)
            + 3 * p * vocabulary
        )
        return max(1, int(self.memory // (4 * numbers)))

    def batches(self, queries: Sequence[Query], copies: int = 1) -> Iterator[QueryBatch]:
        """The queries in batches of similar length, each small enough that `copies` of every query fit into the
        budget.
        """
        order = sorted(range(len(queries)), key=lambda i: len(queries[i].ids))
        at = 0
        while at < len(order):
            # The longest comes last, so it is looked for from there.
            size = max(1, self.rows([queries[i] for i in order[at : at + 256]]) // copies)
            members = order[at : at + min(size, 256)]
            yield self._batch(members, [queries[i] for i in members])
            at += len(members)

    def _batch(self, members: list[int], queries: list[Query]) -> QueryBatch:
        b, n = len(queries), max(len(q.ids) for q in queries)
        if n > self.reader.positions:
            raise SequenceTooLong(
                f"A sequence has {n} tokens; the student reads {self.reader.positions}.",
                "Shorten the question or the rationale.",
            )
        ids = np.full((b, n), self.pad, np.int64)
        positions = np.zeros((b, n), np.int64)
        owner = np.full((b, n), -1, np.int64)
        moves = np.zeros((b, n), bool)
        for r, q in enumerate(queries):
            k = len(q.ids)
            ids[r, :k], positions[r, :k], owner[r, :k], moves[r, : len(q.moves)] = q.ids, q.positions, q.owner, q.moves
        packed = bool((owner > 0).any()) and self.reader.packs(n)
        owners, at = torch.from_numpy(owner), torch.from_numpy(positions)
        g = max(len(q.weights) for q in queries)
        m = max(len(q.picks) for q in queries)

        def laid(name: str, width: int, dtype: Any) -> torch.Tensor:
            out = np.zeros((b, width), dtype)
            for r, q in enumerate(queries):
                values = getattr(q, name)
                out[r, : len(values)] = values
            return torch.from_numpy(out).to(self.device)

        return QueryBatch(
            members,
            queries,
            torch.from_numpy(ids).to(self.device),
            at.to(self.device),
            owners.to(self.device),
            block_mask(self.model, owners, at)["attention_mask"] if packed else None,
            laid("places", max(len(q.places) for q in queries), np.int64),
            laid("picks", m, np.int64),
            laid("tokens", m, np.int64),
            laid("groups", m, np.int64),
            torch.tensor([[i < len(q.picks) for i in range(m)] for q in queries], device=self.device),
            laid("weights", g, np.float32),
            laid("against", g, bool),
            torch.from_numpy(moves).to(self.device),
        )

    def embed(self, batch: QueryBatch) -> torch.Tensor:
        """(b, n, hidden): what the student's embedding module gives for the ids."""
        embedded: torch.Tensor = self.model.get_input_embeddings()(batch.ids)
        return embedded.detach()

    def baseline(self, name: str, counts: npt.NDArray[np.int64]) -> torch.Tensor:
        """(hidden,): "mean" embedding over the training tokens (counts (vocabulary,)), "zero", or the "pad" token's."""
        embeddings = self.model.get_input_embeddings()
        if name == "zero":
            return torch.zeros(
                input_table(self.model).shape[1], device=self.device, dtype=input_table(self.model).dtype
            )
        if name == "pad":
            pad: torch.Tensor = embeddings(torch.tensor([self.pad], device=self.device))[0].detach()
            return pad
        met = np.flatnonzero(counts)
        share = torch.from_numpy(counts[met] / counts[met].sum()).to(self.device, input_table(self.model).dtype)
        mean: torch.Tensor = (share[:, None] * embeddings(torch.from_numpy(met).to(self.device)).detach()).sum(0)
        return mean

    def sums(self, embeds: torch.Tensor, batch: QueryBatch, index: torch.Tensor) -> torch.Tensor:
        """(k, n, hidden) embeddings of the queries index (k,) -> (k, groups) summed log-probabilities."""
        if batch.mask is None and bool((batch.owner > 0).any()):
            return self._sums_apart(embeds, batch, index)
        places, valid = batch.places[index], batch.valid[index]
        p = places.shape[1]
        who = torch.arange(len(index), device=self.device)[:, None].expand_as(valid)[valid]
        # Only the places that are read: some queries have fewer than others, and several tokens may follow one place.
        read, picks = torch.unique(who * p + batch.picks[index][valid], return_inverse=True)
        more: dict[str, torch.Tensor] = {}
        if batch.mask is not None:
            more = {"attention_mask": batch.mask[index], "position_ids": batch.positions[index]}
        likelihoods = self.reader.likelihood_from(
            embeds, read // p, places.reshape(-1)[read], picks, batch.tokens[index][valid], **more
        )
        out = torch.zeros(len(index), batch.weights.shape[1], device=self.device)
        return out.index_put((who, batch.groups[index][valid]), likelihoods, accumulate=True)

    def _sums_apart(self, embeds: torch.Tensor, batch: QueryBatch, index: torch.Tensor) -> torch.Tensor:
        """The same for a student that takes no mask of one's own: a forward pass for each choice, its tokens right
        behind the first part.
        """
        owner, places, groups = batch.owner[index], batch.places[index], batch.groups[index]
        n = owner.shape[1]
        out = torch.zeros(len(index), batch.weights.shape[1], device=self.device)
        who = torch.arange(len(index), device=self.device)[:, None]
        for choice in range(int(groups.max()) + 1):
            of_choice = (owner == 0) | (owner == choice + 1)
            # Its own columns first, in their order; what follows cannot be seen from there.
            columns = torch.arange(n, device=self.device).expand_as(owner)
            order = torch.where(of_choice, columns, columns + n).argsort(1)[:, : int(of_choice.sum(1).max())]
            rank = torch.zeros_like(owner).scatter(1, order, columns[:, : order.shape[1]])
            read = rank.gather(1, places)
            logits = self.reader.logits_from(embeds[who, order], who.expand_as(read).reshape(-1), read.reshape(-1))
            likelihood = log_softmax(logits, -1).reshape(*places.shape, -1)
            picked = likelihood[who, batch.picks[index], batch.tokens[index]] * (
                batch.valid[index] & (groups == choice)
            )
            out[:, choice] = picked.sum(1)
        return out

    def values(self, embeds: torch.Tensor, batch: QueryBatch, index: torch.Tensor) -> torch.Tensor:
        """(k,): the number that each query reads (see Query), differentiable in the embeddings."""
        sums = self.sums(embeds, batch, index)
        value = (batch.weights[index] * sums).sum(1)
        against = batch.against[index]
        some = against.any(1)
        if not bool(some.any()):
            return value
        # Rows without rivals would give log 0; they take nothing away.
        rivals = torch.where(against | ~some[:, None], sums, torch.full_like(sums, float("-inf")))
        return value - torch.where(some, rivals.logsumexp(1), torch.zeros_like(value))

    @torch.no_grad()
    def values_of(
        self,
        queries: Sequence[Query],
        replaced: Sequence[npt.NDArray[np.bool_]] | None = None,
        baseline: torch.Tensor | None = None,
    ) -> npt.NDArray[np.float64]:
        """(queries,) the number of each query; where `replaced` (a mask over the query's first part) is set, its
        embedding is the baseline.
        """
        values = np.zeros(len(queries))
        for batch in self.batches(queries):
            values[batch.members] = (
                self.values(self._replaced(batch, replaced, baseline), batch, batch.all()).float().cpu().numpy()
            )
        return values

    @torch.no_grad()
    def choice_probabilities(
        self,
        readings: Sequence[EncodedExample],
        replaced: Sequence[npt.NDArray[np.bool_]] | None = None,
        baseline: torch.Tensor | None = None,
    ) -> list[npt.NDArray[np.float64]]:
        """Per reading, (choices,): the softmax of the choices' scores at the label; of written answers the probability
        of each gold, among all texts. Masks are over the reading's
        columns; those at or behind the label count for nothing."""
        asked = [label_query(reading) for reading in readings]
        probabilities: list[npt.NDArray[np.float64]] = [np.zeros(0)] * len(asked)
        for batch in self.batches(asked):
            sums = (
                self.sums(self._replaced(batch, replaced, baseline), batch, batch.all())
                .float()
                .cpu()
                .numpy()
                .astype(np.float64)
            )
            for row, i in zip(sums, batch.members, strict=True):
                scores = row[: len(readings[i].choices)] * np.array(readings[i].weights)
                if readings[i].written:
                    probabilities[i] = np.exp(row[: len(readings[i].choices)])
                    continue
                shifted = np.exp(scores - scores.max())
                probabilities[i] = shifted / shifted.sum()
        return probabilities

    def _replaced(
        self, batch: QueryBatch, replaced: Sequence[npt.NDArray[np.bool_]] | None, baseline: torch.Tensor | None
    ) -> torch.Tensor:
        embeds = self.embed(batch)
        if replaced is None or baseline is None:
            return embeds
        where = np.zeros(batch.ids.shape, bool)
        for r, (i, query) in enumerate(zip(batch.members, batch.queries, strict=True)):
            mask = replaced[i][: query.length]
            where[r, : len(mask)] = mask
        return torch.where(torch.from_numpy(where).to(self.device)[..., None], baseline.to(embeds.dtype), embeds)

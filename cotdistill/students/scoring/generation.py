"""Greedy and sampled rationales, many prompts at a time, with a key-value cache where the student's architecture has
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from cotdistill.students.loading import input_table, output_matrix
from cotdistill.students.reader import Forward


@dataclass(frozen=True, slots=True)
class WrittenText:
    """What a student wrote after a prompt: ids before the stop sequence, whether the stop came, and the ids that
    followed it.
    """

    ids: list[int]
    terminated: bool
    after: list[int]


class Lots:
    """What is drawn where continuations are sampled: of each prompt its own generator, so that its draws do not depend
    on its neighbours.
    """

    def __init__(self, generators: Sequence[np.random.Generator], temperature: float) -> None:
        self.generators, self.temperature = generators, temperature

    def of(self, members: Sequence[int]) -> Lots:
        return Lots([self.generators[i] for i in members], self.temperature)

    def draw(self, logits: torch.Tensor, rows: Sequence[int]) -> list[int]:
        """A token for each row of (len(rows), vocabulary) logits, by one number from the row's generator."""
        up_to = torch.softmax(logits.double() / self.temperature, -1).cumsum(-1).cpu().numpy()
        drawn = [
            int(np.searchsorted(line, self.generators[r].random() * line[-1], side="right"))
            for line, r in zip(up_to, rows, strict=True)
        ]
        return [min(token, logits.shape[-1] - 1) for token in drawn]


@torch.no_grad()
def greedy(
    reader: Forward,
    prompts: Sequence[Sequence[int]],
    stop: Sequence[int],
    *,
    limit: int,
    after: int,
    pad: int,
    eos: int,
    batch: int = 256,
    lots: Lots | None = None,
) -> list[WrittenText]:
    """Greedy continuations, at most `limit` tokens each; generation goes on for `after` tokens past the stop sequence.
    lots: drawn at random instead.

    The end token also ends a row, without counting as terminated. Rows that have ended leave the batch.
    """
    results: list[WrittenText | None] = [None] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), batch):
        members = order[start : start + batch]
        asked = [prompts[i] for i in members]
        draws = lots.of(members) if lots is not None else None
        # What is drawn needs the logits themselves, which a plain head alone gives from the states of a cache.
        cached = reader.abilities.left_padding and (draws is None or reader.abilities.plain_head)

        def write(asked: list[Sequence[int]] = asked, draws: Lots | None = draws, cached: bool = cached) -> Any:
            texts = (
                _batch(reader.model, asked, list(stop), limit, after, pad, eos, draws)
                if cached
                else _uncached(reader, asked, list(stop), limit, after, pad, eos, draws)
            )
            return [[text.ids, text.terminated, text.after] for text in texts]

        # What is drawn at random depends on the state of the generators, too.
        texts = reader.progress.computed("writing", [asked, stop, limit, after], write) if draws is None else write()
        reader.progress.note("writing", min(start + batch, len(order)), len(order))
        for i, written in zip(members, texts, strict=True):
            results[i] = WrittenText(*written)
    return [written for written in results if written is not None]


def _batch(
    model: PreTrainedModel,
    prompts: list[Sequence[int]],
    stop: list[int],
    limit: int,
    after: int,
    pad: int,
    eos: int,
    lots: Lots | None,
) -> list[WrittenText]:
    device = input_table(model).device
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad, device=device)
    mask = torch.zeros_like(ids)
    for r, prompt in enumerate(prompts):  # left padding, so that every row continues at the same column
        ids[r, width - len(prompt) :] = torch.tensor(list(prompt), device=device)
        mask[r, width - len(prompt) :] = 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = _cache(model, width + limit + len(stop) + after)
    states = model.base_model(
        input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
    ).last_hidden_state
    rows = list(range(len(prompts)))
    grown: list[list[int]] = [[] for _ in prompts]
    stopped_at: list[int | None] = [None] * len(prompts)
    position = positions[:, -1:]
    while True:
        step = (
            _next(model, states[:, -1]).tolist()
            if lots is None
            else lots.draw(output_matrix(model)(states[:, -1]).float(), rows)
        )
        alive = []
        for at, r in enumerate(rows):
            grown[r].append(step[at])
            if stopped_at[r] is None and grown[r][-len(stop) :] == stop:
                stopped_at[r] = len(grown[r])
            ended = stopped_at[r]
            if step[at] != eos and (
                len(grown[r]) < limit + len(stop) if ended is None else len(grown[r]) < ended + after
            ):
                alive.append(at)
        if not alive:
            break
        if len(alive) < len(rows):
            keep = torch.tensor(alive, device=device)
            cache.batch_select_indices(keep)
            mask, position = mask[keep], position[keep]
            step, rows = [step[at] for at in alive], [rows[at] for at in alive]
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        position = position + 1
        token = torch.tensor(step, device=device)[:, None]
        states = model.base_model(
            input_ids=token, attention_mask=mask, position_ids=position, past_key_values=cache, use_cache=True
        ).last_hidden_state
    return [_written(ids, ended, len(stop), limit, eos) for ids, ended in zip(grown, stopped_at, strict=True)]


class _Roomy(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values with room behind them: a token more is written there, where all before it would be copied to
    stand beside it.
    """

    def __init__(self, room: int) -> None:
        """room: for so many tokens in all."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._room = room

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self.keys, self.values = key_states[..., :0, :], value_states[..., :0, :]
        self._rooms: list[torch.Tensor] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        held, length = (self.keys, self.values), self.keys.shape[-2] + key_states.shape[-2]
        if not self._rooms or self._rooms[0].shape[-2] < length:
            self._rooms = [one.new_empty(*one.shape[:-2], max(length, self._room), one.shape[-1]) for one in held]
            for room, one in zip(self._rooms, held, strict=True):
                room[..., : one.shape[-2], :] = one
        for room, new in zip(self._rooms, (key_states, value_states), strict=True):
            room[..., length - new.shape[-2] : length, :] = new
        self.keys, self.values = (room[..., :length, :] for room in self._rooms)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        super().batch_select_indices(indices)
        self._rooms = []


def _cache(model: PreTrainedModel, room: int) -> DynamicCache:
    """Keys and values of all layers, for so many tokens; those that look back over a fixed number of tokens keep their
    own way.
    """
    cache = DynamicCache(config=model.config)
    cache.layers = [_Roomy(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _uncached(
    reader: Forward,
    prompts: list[Sequence[int]],
    stop: list[int],
    limit: int,
    after: int,
    pad: int,
    eos: int,
    lots: Lots | None,
) -> list[WrittenText]:
    """The same by reading every row anew for each token, padded on the right: for architectures whose state cannot be
    padded on the left.
    """
    rows = [list(prompt) for prompt in prompts]
    stopped_at: list[int | None] = [None] * len(rows)
    alive = list(range(len(rows)))
    while alive:
        width = max(len(rows[r]) for r in alive)
        ids = torch.full((len(alive), width), pad, device=reader.device)
        for at, r in enumerate(alive):
            ids[at, : len(rows[r])] = torch.tensor(rows[r], device=reader.device)
        last = torch.tensor([len(rows[r]) - 1 for r in alive], device=reader.device)
        logits = reader.logits_at(ids, torch.arange(len(alive), device=reader.device), last)
        step = logits.argmax(-1).tolist() if lots is None else lots.draw(logits, alive)
        going = []
        for token, r in zip(step, alive, strict=True):
            rows[r].append(token)
            grown = len(rows[r]) - len(prompts[r])
            if stopped_at[r] is None and rows[r][len(prompts[r]) :][-len(stop) :] == stop:
                stopped_at[r] = grown
            ended = stopped_at[r]
            if token != eos and (grown < limit + len(stop) if ended is None else grown < ended + after):
                going.append(r)
        alive = going
    grown_ids = [row[len(prompt) :] for row, prompt in zip(rows, prompts, strict=True)]
    return [_written(ids, ended, len(stop), limit, eos) for ids, ended in zip(grown_ids, stopped_at, strict=True)]


def _next(model: PreTrainedModel, states: torch.Tensor) -> torch.Tensor:
    # The output matrix alone decides the greedy choice: soft caps and scales keep the order.
    picked: torch.Tensor = output_matrix(model)(states).argmax(-1)
    return picked


def _written(ids: list[int], ended: int | None, stop: int, limit: int, eos: int) -> WrittenText:
    if ended is None:
        return WrittenText([id for id in ids[:limit] if id != eos], False, [])
    return WrittenText(ids[: ended - stop], True, ids[ended:])

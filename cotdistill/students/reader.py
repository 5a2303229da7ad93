"""A student's hidden states and logits, reached the same way for every architecture, and what its architecture can
do.
"""

from __future__ import annotations

import inspect
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.nn.functional import log_softmax
from transformers import DynamicCache, PreTrainedModel

from cotdistill.errors import StudentError
from cotdistill.students.loading import input_table, output_matrix, positions_of
from cotdistill.students.scoring.last_block import MOST, only_at, own_part
from cotdistill.students.scoring.likelihood import LogitBuffer, log_likelihood, suits
from cotdistill.students.scoring.progress import SILENT, ScoringProgress

# What a forward pass of an architecture that a probe does not suit may raise.
UNSUITED = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class Abilities:
    """What an architecture can do, found by asking the student itself.

    plain_head: its logits are its output matrix times its last hidden state, nothing more. block_masks: it takes
    positions and a (batch, 1, seq, seq) mask, so that several continuations can stand behind one prompt. window: the
    most tokens that such a row may have, where attention reaches back a fixed number of them; a mask of one's own would
    overrule that. left_padding: its key-value cache continues left-padded rows. own_part: what of its last block works
    for the tokens that are read alone.
    """

    plain_head: bool
    block_masks: bool
    window: int | None
    left_padding: bool
    own_part: torch.nn.Module | None


# Asking costs some tiny forward passes, and a student is read anew at every scoring.
_known: WeakKeyDictionary[PreTrainedModel, Abilities] = WeakKeyDictionary()


class Forward:
    """Hidden states and logits of a student. No logits are made where none are asked for.

    Architectures that change logits after the output matrix (soft caps, scales) are read through the model; those that
    take no mask of one's own (position biases by distance, recurrence, a window shorter than the row) are given one
    continuation a row.
    """

    def __init__(self, model: PreTrainedModel, *, compiled: bool = False, progress: ScoringProgress = SILENT) -> None:
        """compiled: by torch.compile, for the many passes of training. progress: is told of every batch that is scored
        or written. StudentError where there is nothing to compile with.
        """
        self.model = model
        self.progress = progress
        self.device = input_table(model).device
        self.positions = positions_of(model)
        self.abilities = abilities(model)
        self.room = LogitBuffer()
        self._picks_columns = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._base: Callable[..., Any] = model.base_model
        self._whole: Callable[..., Any] = model
        self._compiled = compiled
        if compiled:
            _check_compiler(self.device)
            # Batches differ in length: one program for all of them.
            self._base, self._whole = torch.compile(model.base_model, dynamic=True), torch.compile(model, dynamic=True)

    def packs(self, tokens: int) -> bool:
        """Whether several continuations may stand side by side in a row of so many tokens."""
        return self.abilities.block_masks and (self.abilities.window is None or tokens <= self.abilities.window)

    def states_at(self, ids: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """(batch, seq) ids and (n,) places -> (n, hidden) states there, after the last norm."""
        states: torch.Tensor = self._passed(self._base, rows, columns, input_ids=ids).last_hidden_state[rows, columns]
        return states

    def logits_at(self, ids: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, **more: Any) -> torch.Tensor:
        """(batch, seq) ids and (n,) places -> (n, vocabulary) logits at those places, in float32."""
        return self._logits(rows, columns, input_ids=ids, **more)

    def logits_from(self, embeds: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, **more: Any) -> torch.Tensor:
        """As `logits_at`, from (batch, seq, hidden) token embeddings instead of ids."""
        return self._logits(rows, columns, inputs_embeds=embeds, **more)

    def likelihood_at(
        self,
        ids: torch.Tensor,
        rows: torch.Tensor,
        columns: torch.Tensor,
        picks: torch.Tensor,
        tokens: torch.Tensor,
        **more: Any,
    ) -> torch.Tensor:
        """(n,) log-probabilities of the (n,) tokens, each after the place picks[n] of (places,) rows and columns: those
        of `logits_at` to the rounding, in less time and a third of the memory."""
        return self._likelihood(rows, columns, picks, tokens, input_ids=ids, **more)

    def likelihood_from(
        self,
        embeds: torch.Tensor,
        rows: torch.Tensor,
        columns: torch.Tensor,
        picks: torch.Tensor,
        tokens: torch.Tensor,
        **more: Any,
    ) -> torch.Tensor:
        """As `likelihood_at`, from (batch, seq, hidden) token embeddings instead of ids."""
        return self._likelihood(rows, columns, picks, tokens, inputs_embeds=embeds, **more)

    def _likelihood(
        self, rows: torch.Tensor, columns: torch.Tensor, picks: torch.Tensor, tokens: torch.Tensor, **inputs: Any
    ) -> torch.Tensor:
        if self.abilities.plain_head:
            head = output_matrix(self.model)
            states = self._passed(self._base, rows, columns, **inputs).last_hidden_state
            if suits(states, head):
                return log_likelihood(states[rows, columns], head, picks, tokens, self.room)
            logits = head(states[rows[picks], columns[picks]]).float()
        else:
            logits = self._logits(rows[picks], columns[picks], **inputs)
        return log_softmax(logits, -1).gather(1, tokens[:, None])[:, 0]

    def _logits(self, rows: torch.Tensor, columns: torch.Tensor, **inputs: Any) -> torch.Tensor:
        if self.abilities.plain_head:
            states = self._passed(self._base, rows, columns, **inputs).last_hidden_state
            picked: torch.Tensor = output_matrix(self.model)(states[rows, columns])
        elif self._picks_columns:
            # Only the columns that any row asks for: a vocabulary may be as wide as all activations together.
            kept, places = torch.unique(columns, return_inverse=True)
            picked = self._passed(self._whole, rows, columns, logits_to_keep=kept, **inputs).logits[rows, places]
        else:
            picked = self._passed(self._whole, rows, columns, **inputs).logits[rows, columns]
        return picked.float()

    def _passed(self, through: Callable[..., Any], rows: torch.Tensor, columns: torch.Tensor, **inputs: Any) -> Any:
        """What a forward pass gives of which only these places are read; it leaves out what no state there needs. Not
        on a GPU, which would have to be waited for, nor where the pass is made again later, or by a compiled
        program."""
        part = self.abilities.own_part
        again = self.model.training and bool(getattr(self.model, "is_activation_checkpointing", False))
        batch, length = inputs["input_ids" if "input_ids" in inputs else "inputs_embeds"].shape[:2]
        if part is None or self._compiled or again or self.device.type != "cpu" or len(rows) > MOST * batch * length:
            return through(use_cache=False, **inputs)
        with only_at(part, rows, columns):
            return through(use_cache=False, **inputs)


def _check_compiler(device: torch.device) -> None:
    """StudentError, before minutes are spent, where torch.compile would find no compiler."""
    named = os.environ.get("CXX") or "g++"
    if not any(shutil.which(name) for name in (named, "g++", "clang++", "c++")):
        raise StudentError(
            f"torch.compile needs a C++ compiler for a student on {device.type}, and {named} is not here.",
            "Install one (Debian, Ubuntu: sudo apt-get install g++), or set training.compile to false.",
        )


def abilities(model: PreTrainedModel) -> Abilities:
    """What the student's architecture can do; asked once a model."""
    if model not in _known:
        training = model.training
        model.eval()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            positions = "position_ids" in inspect.signature(model.base_model.forward).parameters
            _known[model] = Abilities(
                plain_head=_holds(_plain_head, model) and _holds(_nothing_after_the_head, model),
                # A mask of one's own says nothing of distances where these do not come from positions.
                block_masks=positions and not getattr(model.config, "alibi", False) and _holds(_block_masks, model),
                window=_window(model),
                left_padding=_holds(_left_padding, model),
                own_part=own_part(model) if _holds(_own_part, model) else None,
            )
        model.train(training)
    return _known[model]


def _holds(question: Callable[[PreTrainedModel], bool], model: PreTrainedModel) -> bool:
    try:
        return question(model)
    except UNSUITED:
        return False


def _ids(model: PreTrainedModel, *rows: list[int]) -> torch.Tensor:
    """(rows, seq) some ids of the student's vocabulary."""
    table = input_table(model)
    return torch.tensor(rows, device=table.device) % table.shape[0]


def _close(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Equal but for the rounding of another order of sums, in the student's own precision."""
    slack = 1e-4 if first.dtype == torch.float32 else 0.05
    return first.shape == second.shape and bool(
        ((first - second).abs().max() <= slack * second.abs().max().clamp(min=1e-3)).item()
    )


def _states(model: PreTrainedModel, ids: torch.Tensor, **more: Any) -> torch.Tensor:
    states: torch.Tensor = model.base_model(input_ids=ids, use_cache=False, **more).last_hidden_state
    return states


def _plain_head(model: PreTrainedModel) -> bool:
    ids = _ids(model, [1, 2, 3, 4])
    return _close(model(input_ids=ids, use_cache=False).logits, output_matrix(model)(_states(model, ids)))


def _nothing_after_the_head(model: PreTrainedModel) -> bool:
    """Large numbers given out by the output matrix come out as they are. A soft cap leaves the small logits of a fresh
    student alone, and is found all the same."""

    def spread(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        return torch.linspace(-200.0, 200.0, output.shape[-1], device=output.device, dtype=output.dtype).expand_as(
            output
        )

    hook = output_matrix(model).register_forward_hook(spread)
    try:
        logits = model(input_ids=_ids(model, [1, 2, 3, 4]), use_cache=False).logits
    finally:
        hook.remove()
    return _close(
        logits,
        torch.linspace(-200.0, 200.0, logits.shape[-1], device=logits.device, dtype=logits.dtype).expand_as(logits),
    )


def _block_masks(model: PreTrainedModel) -> bool:
    """Two continuations side by side behind one prompt have the states that each has alone."""
    prompt, first, second = [1, 2, 3, 4, 5, 6], [7, 8, 9], [10, 11, 12]
    n = len(prompt)
    owner = torch.tensor([0] * n + [1] * len(first) + [2] * len(second))
    at = torch.tensor([*range(n), *range(n, n + len(first)), *range(n, n + len(second))])
    packed = _states(model, _ids(model, prompt + first + second), **block_mask(model, owner[None], at[None]))
    apart = [_states(model, _ids(model, prompt + tail)) for tail in (first, second)]
    return _close(packed[:, : n + len(first)], apart[0]) and _close(packed[:, n + len(first) :], apart[1][:, n:])


def block_mask(model: PreTrainedModel, owner: torch.Tensor, positions: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mask and positions of rows with several continuations: a token sees what is at or before its position, in the
    prompt or in its own continuation. owner (batch, seq): 0 prompt, 1... continuations, -1 padding; positions (batch,
    seq). The mask is additive, (batch, 1, seq, seq)."""
    table = input_table(model)
    before = positions[:, None, :] <= positions[:, :, None]
    seen = before & ((owner[:, None, :] == 0) | (owner[:, None, :] == owner[:, :, None]))
    seen |= torch.eye(
        owner.shape[1], dtype=torch.bool, device=owner.device
    )  # padding sees itself, so that no row of the softmax is empty
    mask = torch.zeros(seen.shape, dtype=table.dtype, device=owner.device).masked_fill(
        ~seen, torch.finfo(table.dtype).min
    )
    return {"attention_mask": mask[:, None].to(table.device), "position_ids": positions.to(table.device)}


def _window(model: PreTrainedModel) -> int | None:
    """Over how many tokens attention reaches back, where some layer limits it."""
    config = model.config
    windows = [getattr(config, name, None) for name in ("sliding_window", "window_size", "attention_chunk_size")]
    sizes = [size for size in windows if isinstance(size, int) and size > 0]
    return min(sizes, default=None)


def _left_padding(model: PreTrainedModel) -> bool:
    """Rows padded on the left and continued from a cache have the states of the plain sequences."""
    long, short = [1, 2, 3, 4, 5], [6, 7, 8]
    gap = len(long) - len(short)
    ids = _ids(model, long, [0] * gap + short)
    mask = torch.ones_like(ids)
    mask[1, :gap] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    model.base_model(
        input_ids=ids[:, :-1],
        attention_mask=mask[:, :-1],
        position_ids=positions[:, :-1],
        past_key_values=cache,
        use_cache=True,
    )
    last = model.base_model(
        input_ids=ids[:, -1:],
        attention_mask=mask,
        position_ids=positions[:, -1:],
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state[:, -1]
    return all(
        _close(row, _states(model, _ids(model, tokens))[0, -1]) for row, tokens in zip(last, (long, short), strict=True)
    )


def _own_part(model: PreTrainedModel) -> bool:
    """The states of some tokens stay as they are when the last block's own part works for these alone."""
    part = own_part(model)
    if part is None:
        return False
    ids, rows, columns = _ids(model, [1, 2, 3, 4], [5, 6, 7, 8]), torch.tensor([1, 0]), torch.tensor([3, 1])
    whole = _states(model, ids)[rows, columns]
    with only_at(part, rows, columns):
        return _close(_states(model, ids)[rows, columns], whole)

"""Log-probabilities of given tokens from hidden states. A vocabulary of 50,000 makes logits larger than all else that a small student computes, so
they are held once, in room that is kept for the next time: to the bit what torch's own functions give, which hold them three times over.
"""

from __future__ import annotations

from typing import Any

import torch

# Numbers that are gone over together: few enough to stay in a core's cache.
CACHED = 1_600_000
# Products with fewer rows are summed in another order than larger ones.
FEWEST = 16


class Room:
    """Memory for one (rows, vocabulary) tensor, kept between uses: fresh memory of that size costs as much as what is computed in it.

    What was laid in it before is gone with the next use; a backward pass that still needed it is refused by autograd.
    """

    def __init__(self) -> None:
        self._flat = torch.empty(0)

    def of(self, rows: int, vocabulary: int) -> torch.Tensor:
        """(rows, vocabulary) float32 numbers of any value."""
        if self._flat.numel() < rows * vocabulary:
            self._flat = torch.empty(0)  # given back before as much again is asked for
            self._flat = torch.empty(rows * vocabulary)
        return self._flat[: rows * vocabulary].view(rows, vocabulary)

    def clear(self) -> None:
        """Give the memory back; what a pending backward pass needs stays as long as it does."""
        self._flat = torch.empty(0)


def suits(states: torch.Tensor, head: torch.nn.Linear) -> bool:
    """Whether a head is a plain matrix, on a CPU and in full precision, so that this way is the same as torch's to the bit."""
    # A subclass may be a matrix with an adapter.
    return (
        type(head) is torch.nn.Linear
        and getattr(head, "bias", None) is None
        and states.device.type == "cpu"
        and states.dtype == head.weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not head._forward_hooks
    )


class _LogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, matrix: torch.Tensor, picks: torch.Tensor, tokens: torch.Tensor, room: Room) -> torch.Tensor:
        told = room.of(len(states), len(matrix))
        torch.mm(states, matrix.t(), out=told)
        size = _rows(matrix)
        for start in range(0, len(told), size):
            _normalise(told[start : start + size])
        ctx.save_for_backward(told, states, matrix, picks, tokens)
        return told[picks, tokens]

    @staticmethod
    def backward(ctx: Any, *given: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (outer,) = given
        told, states, matrix, picks, tokens = ctx.saved_tensors
        size = min(_rows(matrix), len(told))
        gradient = torch.empty(size, told.shape[1])
        for start in range(0, len(told), size):
            part = told[start : start + size]
            mine = _within(picks, start, len(part))
            at = gradient[: len(part)].zero_().index_put_((picks[mine] - start, tokens[mine]), outer[mine], accumulate=True)
            # In the place of the log-probabilities, which nothing needs any more, stand the gradients of the logits.
            torch._log_softmax_backward_data(at, part, -1, torch.float32, out=part)
        of_states = torch.mm(told, matrix) if ctx.needs_input_grad[0] else None
        of_matrix = torch.mm(told.t(), states) if ctx.needs_input_grad[1] else None
        return of_states, of_matrix, None, None, None


def log_likelihood(states: torch.Tensor, head: torch.nn.Linear, picks: torch.Tensor, tokens: torch.Tensor, room: Room) -> torch.Tensor:
    """(places, hidden) states and (n,) tokens -> (n,) the log-probability of each token after the state picks[n]. States and head have to suit.

    Without gradients a state that several tokens follow is multiplied once, with the bits that it would have had in a row for each.
    """
    matrix = head.weight
    if torch.is_grad_enabled() and (states.requires_grad or matrix.requires_grad):
        found: torch.Tensor = _LogLikelihood.apply(states, matrix, picks, tokens, room)  # type: ignore[no-untyped-call]
        return found
    if len(states) < FEWEST:
        states, picks = states[picks], torch.arange(len(picks))
    found = torch.empty(len(tokens))
    start, size = 0, _rows(matrix)
    while start < len(states):
        # No few rows are left for the end.
        count = size if len(states) - start >= size + FEWEST else len(states) - start
        told = torch.mm(states[start : start + count], matrix.t(), out=room.of(count, len(matrix)))
        _normalise(told)
        mine = _within(picks, start, count)
        found[mine] = told[picks[mine] - start, tokens[mine]]
        start += count
    return found


def _rows(matrix: torch.Tensor) -> int:
    return max(FEWEST, CACHED // len(matrix))


def _normalise(logits: torch.Tensor) -> None:
    """(rows, vocabulary) logits into log-probabilities, where they stand."""
    torch._log_softmax(logits, -1, False, out=logits)


def _within(picks: torch.Tensor, start: int, count: int) -> torch.Tensor:
    """Which picks lie in the rows from `start` on."""
    return ((picks >= start) & (picks < start + count)).nonzero()[:, 0]

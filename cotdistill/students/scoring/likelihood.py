"""Log-probabilities of given tokens from hidden states. A vocabulary of 50,000 makes logits larger than all else that a
small student computes, so they are gone over in pieces of the vocabulary that stay in a core's cache, and are held
once: what torch's own functions give (to the rounding), which hold them three times over.
"""

from __future__ import annotations

from typing import Any

import torch

from cotdistill.students import products

# Tokens of the vocabulary that are gone over together, at least; more where there are few states, up to so many logits.
PIECE, LOGITS = 2048, 1 << 21


class LogitBuffer:
    """Memory for one (rows, vocabulary) tensor, kept between uses: fresh memory of that size costs as much as what is
    computed in it.

    What was laid in it before is gone with the next use; a backward pass that still needed it is refused by autograd.
    """

    def __init__(self) -> None:
        self._flat = torch.empty(0)

    def of(self, numbers: int) -> torch.Tensor:
        """(numbers,) float32 of any value."""
        if self._flat.numel() < numbers:
            self._flat = torch.empty(0)  # given back before as much again is asked for
            self._flat = torch.empty(numbers)
        return self._flat[:numbers]

    def clear(self) -> None:
        """Give the memory back; what a pending backward pass needs stays as long as it does."""
        self._flat = torch.empty(0)


def suits(states: torch.Tensor, head: torch.nn.Linear) -> bool:
    """Whether a head is a plain matrix, on a CPU and in full precision, so that this way is the same as torch's."""
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
    """What is held for the backward pass are exponentials of the logits, each piece's less its own highest: softmax but
    for one factor a row and piece, which the backward pass puts on the states instead."""

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        matrix: torch.Tensor,
        picks: torch.Tensor,
        tokens: torch.Tensor,
        room: LogitBuffer,
    ) -> torch.Tensor:
        held = room.of(len(states) * len(matrix))
        picked, highest, total = _gone_over(states, matrix, picks, tokens, held)
        ctx.save_for_backward(held, states, matrix, picks, tokens, (highest - total[:, None]).exp_())
        return picked

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (outer,) = gradients
        held, states, matrix, picks, tokens, factors = ctx.saved_tensors
        # Of each row's softmax so much is taken away, and so much stands where its tokens are.
        factors = factors * -outer.new_zeros(len(states)).index_add_(0, picks, outer)[:, None]
        of_states = torch.zeros_like(states) if ctx.needs_input_grad[0] else None
        of_matrix = torch.empty_like(matrix) if ctx.needs_input_grad[1] else None
        for number, (start, end) in enumerate(_pieces(states, matrix)):
            softmax, factor = _laid(held, len(states), start, end), factors[:, number, None]
            if of_states is not None:
                of_states.addcmul_(torch.mm(softmax, matrix[start:end]), factor)
            if of_matrix is not None:
                of_matrix[start:end] = torch.mm(softmax.t(), states * factor)
        if of_states is not None:
            of_states.index_add_(0, picks, matrix[tokens] * outer[:, None])
        if of_matrix is not None:
            of_matrix.index_add_(0, tokens, states[picks] * outer[:, None])
        return of_states, of_matrix, None, None, None


def log_likelihood(
    states: torch.Tensor, head: torch.nn.Linear, picks: torch.Tensor, tokens: torch.Tensor, room: LogitBuffer
) -> torch.Tensor:
    """(places, hidden) states and (n,) tokens -> (n,) the log-probability of each token after the state picks[n].
    States and head have to suit.
    """
    matrix = head.weight
    if products.is_active():
        states = products.longer(states, products.rounded(len(states)))
    if torch.is_grad_enabled() and (states.requires_grad or matrix.requires_grad):
        values: torch.Tensor = _LogLikelihood.apply(states, matrix, picks, tokens, room)  # type: ignore[no-untyped-call]
        return values
    return _gone_over(states, matrix, picks, tokens, None)[0]


def _gone_over(
    states: torch.Tensor, matrix: torch.Tensor, picks: torch.Tensor, tokens: torch.Tensor, held: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(n,) log-probabilities; (rows, pieces) the highest logit of each piece; (rows,) the logarithm of each row's sum.
    The exponentials of what each logit lies below its piece's highest are laid into `held`."""
    pieces = _pieces(states, matrix)
    picked = torch.empty(len(tokens))
    highest, sums = torch.empty(len(states), len(pieces)), torch.empty(len(states), len(pieces))
    for number, (start, end) in enumerate(pieces):
        logits = torch.mm(states, matrix[start:end].t())
        in_piece = ((tokens >= start) & (tokens < end)).nonzero()[:, 0]
        picked[in_piece] = logits[picks[in_piece], tokens[in_piece] - start]
        top = torch.amax(logits, 1, out=highest[:, number])
        logits -= top[:, None]
        torch.sum(
            torch.exp(logits, out=logits if held is None else _laid(held, len(states), start, end)),
            1,
            out=sums[:, number],
        )
    total = (sums.log_() + highest).logsumexp(1)
    return picked - total[picks], highest, total


def _pieces(states: torch.Tensor, matrix: torch.Tensor) -> list[tuple[int, int]]:
    """Where each piece of the vocabulary begins and ends."""
    size = max(PIECE, LOGITS // max(1, len(states)) // 256 * 256)
    return [(start, min(start + size, len(matrix))) for start in range(0, len(matrix), size)]


def _laid(held: torch.Tensor, rows: int, start: int, end: int) -> torch.Tensor:
    """(rows, end - start): a piece as it lies in the memory of all."""
    return held[rows * start : rows * end].view(rows, end - start)

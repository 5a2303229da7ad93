"""Log-probabilities from hidden states are torch's own, with and without gradients, to the rounding, and what autograd still needs is never
overwritten unseen."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy, log_softmax

from cotdistill.students.scoring import likelihood
from cotdistill.students.scoring.likelihood import PIECE, LogitBuffer, log_likelihood, suits

WIDTH = 24


def head_of(vocabulary: int) -> torch.nn.Linear:
    torch.manual_seed(vocabulary)
    return torch.nn.Linear(WIDTH, vocabulary, bias=False)


@pytest.fixture(autouse=True)
def pieces_are_as_small_with_few_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likelihood, "LOGITS", 0)


def in_double(
    states: torch.Tensor, head: torch.nn.Linear, tokens: torch.Tensor, weights: torch.Tensor
) -> list[torch.Tensor]:
    """Losses, and the gradients of their weighted sum in states and matrix, by torch's own functions in double precision."""
    wide, matrix = (one.detach().double().requires_grad_() for one in (states, head.weight))
    losses = cross_entropy(wide @ matrix.t(), tokens, reduction="none")
    return [losses.detach(), *torch.autograd.grad((losses * weights).sum(), [wide, matrix])]


# From a part of a piece to several pieces and a rest.
@pytest.mark.parametrize("vocabulary", [11, PIECE, PIECE + 1, 20_000])
@pytest.mark.parametrize("places", [1, 3, 97])
@pytest.mark.parametrize("spread", [1.0, 40.0])
def test_losses_and_gradients_are_those_of_torch(vocabulary: int, places: int, spread: float) -> None:
    head, rng = head_of(vocabulary), torch.Generator().manual_seed(places)
    states = (spread * torch.randn(places, WIDTH, generator=rng)).requires_grad_()
    tokens, weights = torch.randint(0, vocabulary, (places,), generator=rng), torch.rand(places, generator=rng)
    losses = -log_likelihood(states, head, torch.arange(places), tokens, LogitBuffer())
    found = [losses.detach(), *torch.autograd.grad((losses * weights).sum(), [states, head.weight])]
    for one, other in zip(found, in_double(states, head, tokens, weights), strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(
            one.double(), other, rtol=2e-5, atol=1e-6 * spread * max(1.0, float(other.abs().max()))
        )


@pytest.mark.parametrize("places", [1, 4, 83])
def test_several_tokens_after_one_state_are_told_as_with_a_row_each(places: int) -> None:
    head, rng = head_of(20_000), torch.Generator().manual_seed(places)
    states, picks = torch.randn(places, WIDTH, generator=rng), torch.arange(places).repeat_interleave(5)
    tokens = torch.randint(0, 20_000, (5 * places,), generator=rng)
    with torch.no_grad():
        apart = log_softmax(head(states[picks]), -1).gather(1, tokens[:, None])[:, 0]
        torch.testing.assert_close(
            log_likelihood(states, head, picks, tokens, LogitBuffer()), apart, rtol=1e-5, atol=1e-5
        )


def test_tokens_that_are_all_but_certain_or_all_but_impossible_keep_their_digits() -> None:
    """One logit 200 above all others: exp(-200) is no float32, yet its logarithm is told."""
    head = torch.nn.Linear(1, 3 * PIECE, bias=False)
    with torch.no_grad():
        head.weight.zero_()[PIECE + 5] = 200.0
    states = torch.ones(1, 1, requires_grad=True)
    found = log_likelihood(states, head, torch.tensor([0, 0]), torch.tensor([PIECE + 5, 7]), LogitBuffer())
    assert found.tolist() == [0.0, -200.0]
    (slope,) = torch.autograd.grad(found[1], states)
    assert slope.item() == pytest.approx(-200.0)


def test_gradients_of_tokens_that_share_a_state_add_up() -> None:
    head, states = head_of(11), torch.randn(2, WIDTH, requires_grad=True)
    picks, tokens = torch.tensor([0, 1, 0]), torch.tensor([3, 4, 3])
    (found,) = torch.autograd.grad(log_likelihood(states, head, picks, tokens, LogitBuffer()).sum(), states)
    (wanted,) = torch.autograd.grad(log_softmax(head(states), -1)[picks, tokens].sum(), states)
    assert torch.allclose(found, wanted, atol=1e-6)


def test_a_backward_pass_whose_room_was_used_again_is_refused() -> None:
    head, room = head_of(11), LogitBuffer()
    first = log_likelihood(torch.randn(2, WIDTH), head, torch.arange(2), torch.tensor([1, 2]), room)
    log_likelihood(torch.randn(2, WIDTH), head, torch.arange(2), torch.tensor([1, 2]), room)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        first.sum().backward()


def test_only_a_plain_matrix_in_full_precision_suits() -> None:
    states = torch.zeros(1, WIDTH)
    assert suits(states, head_of(11))
    assert not suits(states, torch.nn.Linear(WIDTH, 11))
    assert not suits(states.bfloat16(), head_of(11))
    with torch.autocast("cpu", torch.bfloat16):
        assert not suits(states, head_of(11))

"""Log-probabilities from hidden states are torch's own to the bit, with and without gradients, and what autograd still needs is never overwritten
unseen."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy, log_softmax

from cotdistill.students.likelihood import FEWEST, Room, log_likelihood, suits

WIDTH = 24


def head_of(vocabulary: int) -> torch.nn.Linear:
    torch.manual_seed(vocabulary)
    return torch.nn.Linear(WIDTH, vocabulary, bias=False)


# The largest vocabulary is gone over in several pieces.
@pytest.mark.parametrize("vocabulary", [11, 500, 20_000])
@pytest.mark.parametrize("places", [1, 3, FEWEST, 97])
def test_losses_and_gradients_are_those_of_torch_to_the_bit(vocabulary: int, places: int) -> None:
    head, rng = head_of(vocabulary), torch.Generator().manual_seed(places)
    states = torch.randn(places, WIDTH, generator=rng, requires_grad=True)
    tokens, weights = torch.randint(0, vocabulary, (places,), generator=rng), torch.rand(places, generator=rng)
    theirs = cross_entropy(head(states), tokens, reduction="none")
    wanted = torch.autograd.grad((theirs * weights).sum() / 3, [states, head.weight])
    ours = -log_likelihood(states, head, torch.arange(places), tokens, Room())
    found = torch.autograd.grad((ours * weights).sum() / 3, [states, head.weight])
    assert torch.equal(ours, theirs) and all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("places", [1, 4, FEWEST, 83, 97])
def test_several_tokens_after_one_state_have_the_bits_of_a_row_each(places: int) -> None:
    head, rng = head_of(20_000), torch.Generator().manual_seed(places)
    states, picks = torch.randn(places, WIDTH, generator=rng), torch.arange(places).repeat_interleave(5)
    tokens = torch.randint(0, 20_000, (5 * places,), generator=rng)
    with torch.no_grad():
        apart = log_softmax(head(states[picks]), -1).gather(1, tokens[:, None])[:, 0]
        assert torch.equal(log_likelihood(states, head, picks, tokens, Room()), apart)


def test_gradients_of_tokens_that_share_a_state_add_up() -> None:
    head, states = head_of(11), torch.randn(2, WIDTH, requires_grad=True)
    picks, tokens = torch.tensor([0, 1, 0]), torch.tensor([3, 4, 3])
    (found,) = torch.autograd.grad(log_likelihood(states, head, picks, tokens, Room()).sum(), states)
    (wanted,) = torch.autograd.grad(log_softmax(head(states), -1)[picks, tokens].sum(), states)
    assert torch.allclose(found, wanted, atol=1e-6)


def test_a_backward_pass_whose_room_was_used_again_is_refused() -> None:
    head, room = head_of(11), Room()
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

"""What only the tokens that are read need is done for them alone, and neither states, losses nor gradients notice."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2LMHeadModel, PreTrainedModel

from cotdistill.students import reader
from cotdistill.students.loading import new_built_in
from cotdistill.students.models import BuiltIn
from cotdistill.students.reader import Forward, abilities
from cotdistill.students.scoring.last_block import only_at, own_part


@pytest.fixture
def student() -> GPT2LMHeadModel:
    return new_built_in(BuiltIn("tiny", "", 2, 16, 2, positions=32), 30, 0)


ids = torch.arange(2 * 9).reshape(2, 9) % 30
rows, columns = torch.tensor([0, 1, 1]), torch.tensor([8, 2, 5])


def gradients(model: PreTrainedModel) -> list[torch.Tensor]:
    loss = Forward(model).logits_at(ids, rows, columns).log_softmax(-1)[:, 3].sum()
    return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))]


def test_losses_and_gradients_are_those_of_the_whole_block(
    student: GPT2LMHeadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert abilities(student).own_part is student.transformer.h[1].mlp
    seen: list[torch.Size] = []
    student.transformer.h[1].mlp.c_fc.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    found = gradients(student)
    monkeypatch.setattr(reader, "MOST", 0.0)
    wanted = gradients(student)
    assert seen == [(1, 3, 16), (2, 9, 16)]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_place_that_is_named_twice_counts_twice_in_the_loss_and_once_in_the_work(student: GPT2LMHeadModel) -> None:
    part = own_part(student)
    assert part is not None
    twice = (torch.tensor([0, 0]), torch.tensor([4, 4]))

    def slope(trimmed: bool) -> torch.Tensor:
        embeds = student.get_input_embeddings()(ids).detach().requires_grad_()
        with only_at(part, *twice) if trimmed else torch.enable_grad():
            states = student.base_model(inputs_embeds=embeds, use_cache=False).last_hidden_state
        return torch.autograd.grad(states[twice].square().sum(), embeds)[0]

    torch.testing.assert_close(slope(True), slope(False), rtol=1e-4, atol=1e-6)


def test_hooks_are_gone_afterwards_even_after_an_error(student: GPT2LMHeadModel) -> None:
    part = own_part(student)
    assert part is not None
    with pytest.raises(IndexError), only_at(part, torch.tensor([7]), torch.tensor([0])):
        student.base_model(input_ids=ids)
    assert not part._forward_hooks and not part._forward_pre_hooks


def test_activations_that_are_computed_again_are_computed_whole(student: GPT2LMHeadModel) -> None:
    wanted = gradients(student)
    student.train()
    student.activation_checkpointing_enable({"use_reentrant": False})
    for one, other in zip(gradients(student), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_part_that_mixes_tokens_is_left_whole(student: GPT2LMHeadModel) -> None:
    part = student.transformer.h[1].mlp
    forward = part.forward
    part.forward = lambda states: forward(states + states.roll(1, 1))  # type: ignore[method-assign]
    assert abilities(student).own_part is None

"""Products with gradients that are never made are those of the gradients themselves, whatever kind of layer holds the weights."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel
from transformers.models.gpt_neox import GPTNeoXConfig, GPTNeoXForCausalLM

from cotdistill.saliency.factored import Trace, layers_of

IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2]])


def student(kind: str) -> PreTrainedModel:
    torch.manual_seed(0)
    shape = {
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 12,
        "vocab_size": 11,
        "hidden_dropout": 0.0,
    }
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=2, n_head=2, n_positions=16, vocab_size=11)).eval()
    if kind == "gpt_neox":
        return GPTNeoXForCausalLM(GPTNeoXConfig(**shape)).eval()
    return LlamaForCausalLM(LlamaConfig(**shape)).eval()


def blocks(model: PreTrainedModel, but: str = "") -> list[str]:
    return [name for name, _ in model.named_parameters() if ".0." in name and name != but]


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox"])
@pytest.mark.parametrize("without", ["", "weight", "bias"])
def test_products_and_lengths_are_those_of_the_whole_gradients(kind: str, without: str) -> None:
    model = student(kind)
    names = [name for name in blocks(model) if not without or not name.endswith(without)]
    table = dict(model.named_parameters())
    wanted = [table[name] for name in names]
    layers = layers_of(model, names)
    assert layers is not None and len(layers) >= 6
    trace = Trace(layers, lambda: model.base_model(input_ids=IDS, use_cache=False).last_hidden_state)
    assert trace.plain
    weights, target = torch.randn(3, *trace.states.shape), torch.randn(2, sum(p.numel() for p in wanted))
    inner, lengths = trace.products(trace.states, weights, target, keep=True)
    each = [
        torch.cat([g.reshape(-1) for g in torch.autograd.grad(trace.states, wanted, w, retain_graph=True)])
        for w in weights
    ]
    whole = torch.stack(each)
    assert torch.allclose(inner, target @ whole.T, rtol=1e-4, atol=1e-4)
    assert torch.allclose(lengths, whole.norm(dim=1), rtol=1e-4)


def test_a_kind_of_layer_that_is_not_known_is_left_to_whole_gradients() -> None:
    model = student("llama")
    assert layers_of(model, blocks(model)) is None


def test_a_layer_that_is_read_twice_has_no_factors() -> None:
    model = student("gpt2")
    layers = layers_of(model, blocks(model))
    assert layers is not None

    def twice() -> torch.Tensor:
        model.base_model(input_ids=IDS)
        states: torch.Tensor = model.base_model(input_ids=IDS).last_hidden_state
        return states

    assert not Trace(layers, twice).plain

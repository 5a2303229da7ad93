"""Of a student's last block, what each token does by itself (its MLP) is done only for the tokens whose states are
read: nothing else reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

# What architectures call it.
NAMES = ("mlp", "feed_forward", "ffn")
# Of all tokens; above it, taking them out and putting them back costs as much as is saved.
MOST = 0.8


def own_part(model: PreTrainedModel) -> torch.nn.Module | None:
    """The MLP of the last block, where the architecture has it as a module of its own."""
    depth = getattr(model.config, "num_hidden_layers", None)
    stacks = [m for m in model.base_model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == depth]
    if not stacks:
        return None
    return next(
        (part for name in NAMES if isinstance(part := getattr(stacks[0][-1], name, None), torch.nn.Module)), None
    )


@contextmanager
def only_at(part: torch.nn.Module, rows: torch.Tensor, columns: torch.Tensor) -> Iterator[None]:
    """While this lasts, `part` works for the (n,) places of a (batch, seq, hidden) input alone and gives zeros
    elsewhere.
    """
    taken: list[tuple[torch.Size, tuple[torch.Tensor, ...]]] = []

    def before(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        states, *rest = inputs
        # As a mask, so that a place that is named twice is taken once.
        named = torch.zeros(states.shape[:2], dtype=torch.bool, device=states.device)
        named[rows, columns] = True
        places = named.nonzero(as_tuple=True)
        taken.append((states.shape, places))
        return (states[places][None], *rest)

    def after(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        shape, places = taken.pop()
        return output.new_zeros(*shape[:2], output.shape[-1]).index_put(places, output[0])

    hooks = (part.register_forward_pre_hook(before), part.register_forward_hook(after))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

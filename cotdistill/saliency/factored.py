"""Gradients of single tokens kept in factors: what each layer read, and what came back to it for each token.

A weight's gradient is the sum over positions of one outer product each. Its inner product with a vector, and its
length, follow from the factors, so that the gradients themselves, as large as the student for every token, are never
made (Goodfellow 2015, arXiv 1510.01799, for sequences).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import layer_norm
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


@dataclass(frozen=True)
class Layer:
    """A layer and where its weight and bias begin in the vector of all parameters; None for one that is not among
    them.
    """

    module: torch.nn.Module
    weight: int | None
    bias: int | None


def layers_of(model: PreTrainedModel, names: Sequence[str]) -> list[Layer] | None:
    """The layers that hold these parameters, whose vector is theirs one after another; None if a layer is of a kind
    that is not known here.
    """
    table = dict(model.named_parameters())
    at: dict[str, int] = {}
    size = 0
    for name in names:
        at[name] = size
        size += table[name].numel()
    owners = {name.rpartition(".")[0]: None for name in names}
    layers = []
    for owner in owners:
        module = model.get_submodule(owner)
        parameters = {name for name, _ in module.named_parameters(recurse=False)}
        if type(module) not in (torch.nn.Linear, Conv1D, torch.nn.LayerNorm) or not parameters <= {"weight", "bias"}:
            return None
        layers.append(Layer(module, at.get(f"{owner}.weight"), at.get(f"{owner}.bias")))
    return layers


class Trace:
    """What each layer reads and gives in one forward pass of one sequence."""

    def __init__(self, layers: Sequence[Layer], run: Callable[[], torch.Tensor]) -> None:
        """run: the forward pass; what it gives is kept as `states`."""
        self.layers = layers
        self._seen: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in layers]
        hooks = [layer.module.register_forward_hook(self._keep(i)) for i, layer in enumerate(layers)]
        try:
            self.states = run()
        finally:
            for hook in hooks:
                hook.remove()

    def _keep(self, i: int) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...], torch.Tensor], None]:
        def keep(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            self._seen[i].append((inputs[0].detach(), output))

        return keep

    @property
    def plain(self) -> bool:
        """Whether each layer was read once, by a sequence of positions and nothing else."""
        return all(len(seen) == 1 and seen[0][0].ndim == 3 and len(seen[0][0]) == 1 for seen in self._seen)

    @property
    def numbers(self) -> int:
        """How many numbers come back for one token."""
        return sum(seen[0][1].numel() for seen in self._seen)

    def products(
        self, outputs: torch.Tensor, weights: torch.Tensor, target: torch.Tensor, *, keep: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(targets, tokens) inner products of (targets, parameters) with each token's gradient, and the (tokens,)
        lengths of these. outputs: of the trace, with (tokens, *outputs) weights for each token; keep: the graph is
        needed again."""
        givens = [seen[0][1] for seen in self._seen]
        returned = torch.autograd.grad(
            outputs,
            givens,
            grad_outputs=weights,
            is_grads_batched=True,
            retain_graph=keep,
            allow_unused=True,
            materialize_grads=True,
        )
        inner = torch.zeros(len(target), len(weights), device=outputs.device)
        squares = torch.zeros(len(weights), device=outputs.device)
        for layer, ((read, _),), back in zip(
            self.layers, self._seen, (one[:, 0].float() for one in returned), strict=True
        ):
            read = read[0].float()
            if layer.weight is not None and isinstance(layer.module, torch.nn.LayerNorm):
                scaled = (back * layer_norm(read, layer.module.normalized_shape, eps=layer.module.eps)).sum(1)
                inner += target[:, layer.weight : layer.weight + scaled.shape[1]] @ scaled.T
                squares += scaled.square().sum(1)
            elif layer.weight is not None:
                size = read.shape[1] * back.shape[2]
                matrix = target[:, layer.weight : layer.weight + size].reshape(len(target), -1, read.shape[1])
                if isinstance(layer.module, Conv1D):
                    matrix = (
                        target[:, layer.weight : layer.weight + size]
                        .reshape(len(target), read.shape[1], -1)
                        .transpose(1, 2)
                    )
                # (targets, positions, out): what the target would add to what the layer gives.
                added = read @ matrix.transpose(1, 2)
                inner += added.reshape(len(target), -1) @ back.reshape(len(back), -1).T
                squares += ((back @ back.transpose(1, 2)) * (read @ read.T)).sum((1, 2))
            if layer.bias is not None:
                summed = back.sum(1)
                inner += target[:, layer.bias : layer.bias + summed.shape[1]] @ summed.T
                squares += summed.square().sum(1)
        return inner, squares.clamp_min(0).sqrt()

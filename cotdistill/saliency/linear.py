"""Linear probes: can a linear map read a class off the hidden states of a layer at a named place? Against a control
task, so that what the probe itself can learn is seen (Alain and Bengio, arXiv 1610.01644; control tasks: Hewitt and
Liang, arXiv 1909.03368)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from cotdistill.errors import StudentError
from cotdistill.saliency.reading import EncodedExample
from cotdistill.students.loading import input_table

# The last token of each of these spans, and the middle one of the rationale, in the order in which the student reads
# them.
SPANS = ("question", "choices", "rationale_cue", "rationale", "label_cue", "label")
HALF = "rationale_half"
# Deeper students are read at so many of their layers, the first and the last among them.
MOST_LAYERS = 13
BATCH_TOKENS = 8192


def places(reading: EncodedExample) -> dict[str, int]:
    """The named places that a sequence has, in reading order, each with its column: the last token of a span, and half
    of the rationale.
    """
    columns_of = {name: int(columns[-1]) for name in SPANS if len(columns := reading.columns(name))}
    if len(columns := reading.columns("rationale")):
        columns_of[HALF] = int(columns[(len(columns) - 1) // 2])
    return dict(sorted(columns_of.items(), key=lambda place: (place[1], place[0] != HALF)))


def layers_read(layers: int) -> list[int]:
    """Which of the states 0 (embeddings) to `layers` (after the last block) are read."""
    return (
        sorted({round(i * layers / (min(layers + 1, MOST_LAYERS) - 1)) for i in range(min(layers + 1, MOST_LAYERS))})
        if layers
        else [0]
    )


def hidden_states(
    model: PreTrainedModel, readings: Sequence[EncodedExample], names: Sequence[str], pad: int
) -> tuple[list[int], npt.NDArray[np.float32]]:
    """Which layers, and (layers, places, readings, width) states of the student at the named places of its sequences.

    Rows are padded on the right, which a causal student never reads. StudentError for an architecture that tells no
    hidden states.
    """
    model.eval()  # type: ignore[no-untyped-call]
    device = input_table(model).device
    order = sorted(range(len(readings)), key=lambda i: len(readings[i]))
    kept: list[int] = []
    gathered: npt.NDArray[Any] = np.zeros(0, np.float32)
    at = 0
    with torch.no_grad():
        while at < len(order):
            size = max(1, BATCH_TOKENS // len(readings[order[min(at + 127, len(order) - 1)]]))
            members = order[at : at + min(size, 128)]
            longest = max(len(readings[i]) for i in members)
            ids = torch.full((len(members), longest), pad, dtype=torch.long)
            for row, i in enumerate(members):
                ids[row, : len(readings[i])] = torch.from_numpy(readings[i].ids.astype(np.int64))
            states = getattr(
                model.base_model(input_ids=ids.to(device), output_hidden_states=True, use_cache=False),
                "hidden_states",
                None,
            )
            if not states:
                raise StudentError(
                    "This architecture tells no hidden states, so no probe can read them.", "Choose another student."
                )
            if not kept:
                kept = layers_read(len(states) - 1)
                gathered = np.zeros((len(kept), len(names), len(readings), states[0].shape[-1]), np.float32)
            columns = torch.tensor([[places(readings[i])[name] for name in names] for i in members], device=device)
            rows = torch.arange(len(members), device=device)[:, None]
            for layer, number in enumerate(kept):
                gathered[layer][:, members] = states[number][rows, columns].float().transpose(0, 1).cpu().numpy()
            at += len(members)
    return kept, gathered


@dataclass(frozen=True)
class Linear:
    """A fitted probe. weights (width, classes) and bias (classes,) act on states less mean (width,) over spread
    (width,).
    """

    mean: npt.NDArray[np.float32]
    spread: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]

    def scores(self, states: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(rows, width) -> (rows, classes), before the softmax."""
        values: npt.NDArray[Any] = ((states - self.mean) / self.spread) @ self.weights + self.bias
        return values


def fit(
    states: npt.NDArray[np.float32], classes: npt.NDArray[np.int64], count: int, penalty: float, steps: int = 80
) -> Linear:
    """Multinomial logistic regression on standardised states by L-BFGS from zero, so without a draw. states (rows,
    width), classes (rows,) below `count`; penalty: times half the squared weights (not the bias), added to the mean
    cross-entropy."""
    mean = states.mean(0)
    spread = states.std(0)
    spread[spread < 1e-6] = 1.0  # a constant feature, as every one of the embeddings of a cue is, says nothing
    x, y = torch.from_numpy((states - mean) / spread), torch.from_numpy(classes)
    weights = torch.zeros(states.shape[1], count, requires_grad=True)
    bias = torch.zeros(count, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=steps, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = cross_entropy(x @ weights + bias, y) + 0.5 * penalty * weights.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return Linear(mean, spread, weights.detach().numpy(), bias.detach().numpy())


def hits(
    probe: Linear, states: npt.NDArray[np.float32], classes: npt.NDArray[np.int64], allowed: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """(rows,) 1 where the highest of the allowed classes, (rows, classes), is the right one; equal scores share."""
    scores = np.where(allowed, probe.scores(states), -np.inf)
    best = scores == scores.max(1, keepdims=True)
    shares: npt.NDArray[np.float64] = best[np.arange(len(classes)), classes] / best.sum(1)
    return shares


def control_classes(classes: Sequence[str], clusters: Sequence[str], seed: int) -> tuple[list[str], str]:
    """The classes of a control task, and what was dealt anew: "clusters" where every cluster has one class (a probe may
    learn its members by heart, so a cluster keeps one class, another's), else "rows"."""
    rng = np.random.default_rng(seed)
    by_cluster: dict[str, str] = {}
    for name, cluster in zip(classes, clusters, strict=True):
        if by_cluster.setdefault(cluster, name) != name:
            return [classes[i] for i in rng.permutation(len(classes))], "rows"
    if len(by_cluster) == len(classes):
        return [classes[i] for i in rng.permutation(len(classes))], "rows"
    names = sorted(by_cluster)
    dealt = {name: by_cluster[names[i]] for name, i in zip(names, rng.permutation(len(names)), strict=True)}
    return [dealt[cluster] for cluster in clusters], "clusters"

"""How an attribution is made: one function and one decorator each. The form, the options of the terminal and the docs
follow from the registry.

torch and captum are imported inside the functions only: pages read this list, and a page process never loads torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cotdistill.config import stable_seed
from cotdistill.errors import StudentError
from cotdistill.registry import Registry
from cotdistill.saliency.settings import AttributionSettings
from cotdistill.saliency.targets import Query

if TYPE_CHECKING:
    import torch

    from cotdistill.saliency.probe import QueryBatch, StudentQueries

# Integrated gradients have converged when their sum misses the difference they explain by less than this share of it.
LARGEST_GAP = 0.05
# A difference below this (nats) counts as this much: a share of nothing says nothing.
SMALLEST_DIFFERENCE = 1e-3


@dataclass(frozen=True)
class Scored:
    """One query's scores, (length,) float64. gap: share of the explained difference that is missed; steps: how many
    were taken; both None for methods that promise no completeness."""

    scores: npt.NDArray[np.float64]
    gap: float | None = None
    steps: int | None = None


Found = list[Scored]
Function = Callable[["StudentQueries", Sequence[Query], AttributionSettings, npt.NDArray[np.int64]], Found]


@dataclass(frozen=True, slots=True)
class Method:
    """A registered method. `signed`: whether a score says for or against; unsigned ones say how much only."""

    name: str
    help: str
    signed: bool
    compute: Function


METHODS: Registry[Method] = Registry("attribution method")


def method(name: str, help: str, *, signed: bool) -> Callable[[Function], Function]:
    """Register a function (probe, queries, settings, counts) -> one `Scored` a query."""

    def register(function: Function) -> Function:
        METHODS.register(Method(name, help, signed, function))
        return function

    return register


@method(
    "integrated_gradients",
    "gradients gathered on the way from the baseline to the text; they add up to the difference (Sundararajan et al."
    " 2017)",
    signed=True,
)
def integrated_gradients(
    probe: StudentQueries, queries: Sequence[Query], settings: AttributionSettings, counts: npt.NDArray[np.int64]
) -> Found:
    """Gauss-Legendre steps, doubled for the queries whose completeness gap is still above 5 %."""
    import torch
    from captum.attr import IntegratedGradients

    base = probe.baseline(settings.baseline, counts)
    scored: dict[int, Scored] = {}
    steps = settings.steps
    left = list(range(len(queries)))
    while left:
        for batch in probe.batches([queries[i] for i in left]):
            embeds, start = _moved(probe, batch, base)
            explain = IntegratedGradients(lambda e, index, b=batch: probe.values(e, b, index))
            # Each chunk holds whole steps of the batch, as many as fit.
            room = max(len(batch.queries), probe.rows(batch.queries))
            inner = explain.attribute(
                embeds,
                start,
                additional_forward_args=batch.all(),
                n_steps=steps,
                method="gausslegendre",
                internal_batch_size=room,
            )
            with torch.no_grad():
                difference = probe.values(embeds, batch, batch.all()) - probe.values(start, batch, batch.all())
            gaps = (inner.sum((1, 2)) - difference).abs() / difference.abs().clamp_min(SMALLEST_DIFFERENCE)
            for scores, gap, i in zip(
                _reduced(inner, batch, settings.aggregation), gaps.tolist(), batch.members, strict=True
            ):
                scored[left[i]] = Scored(scores, gap, steps)
        left = [i for i in left if (scored[i].gap or 0.0) > LARGEST_GAP]
        if steps >= settings.most_steps:
            break
        steps = min(2 * steps, settings.most_steps)
    return [scored[i] for i in range(len(queries))]


@method(
    "input_x_gradient",
    "gradient times embedding: a first-order guess of what the token adds (Shrikumar et al. 2016)",
    signed=True,
)
def input_x_gradient(
    probe: StudentQueries, queries: Sequence[Query], settings: AttributionSettings, counts: npt.NDArray[np.int64]
) -> Found:
    from captum.attr import InputXGradient

    return _one_pass(probe, queries, settings.aggregation, lambda f: InputXGradient(f).attribute)


@method(
    "saliency",
    "length of the gradient: how much the number changes with the token, not in which direction (Simonyan et al. 2014)",
    signed=False,
)
def saliency(
    probe: StudentQueries, queries: Sequence[Query], settings: AttributionSettings, counts: npt.NDArray[np.int64]
) -> Found:
    from captum.attr import Saliency

    return _one_pass(probe, queries, "l2", lambda f: lambda *a, **k: Saliency(f).attribute(*a, abs=False, **k))


@method(
    "gradient_shap", "gradients towards baselines drawn from the training tokens (Lundberg and Lee 2017)", signed=True
)
def gradient_shap(
    probe: StudentQueries, queries: Sequence[Query], settings: AttributionSettings, counts: npt.NDArray[np.int64]
) -> Found:
    """Each query has random generators of its own, so that its scores do not depend on what stands beside it."""
    import torch
    from captum.attr import GradientShap

    met = np.flatnonzero(counts)
    share = counts[met] / counts[met].sum()
    table = probe.model.get_input_embeddings()
    scored: dict[int, Scored] = {}
    for place, query in enumerate(queries):
        seed = stable_seed("gradient_shap", settings.seed, query.name, *map(int, query.ids))
        rng = np.random.default_rng(seed)
        for batch in probe.batches([query], copies=settings.samples):
            embeds = probe.embed(batch)
            drawn = torch.from_numpy(rng.choice(met, (settings.samples, embeds.shape[1]), p=share)).to(probe.device)
            starts = torch.where(batch.moves[..., None], table(drawn).detach(), embeds)
            embeds = embeds.requires_grad_()
            kept = np.random.get_state()  # captum draws from numpy's global generator
            np.random.seed(seed % 2**32)
            try:
                # captum mixes its draws in float32, whatever the student computes in.
                inner = GradientShap(
                    lambda e, index, b=batch, kind=embeds.dtype: probe.values(e.to(kind), b, index)
                ).attribute(embeds, starts, n_samples=settings.samples, additional_forward_args=batch.all())
            finally:
                np.random.set_state(kept)
            scored[place] = Scored(_reduced(inner.detach(), batch, settings.aggregation)[0])
    return [scored[i] for i in range(len(queries))]


@method(
    "occlusion",
    "what is lost when the token (or word) is replaced by the baseline (Zeiler and Fergus 2014)",
    signed=True,
)
def occlusion(
    probe: StudentQueries, queries: Sequence[Query], settings: AttributionSettings, counts: npt.NDArray[np.int64]
) -> Found:
    import torch
    from captum.attr import FeatureAblation

    base = probe.baseline(settings.baseline, counts)
    scored: dict[int, Scored] = {}
    for batch in probe.batches(queries):
        embeds, start = _moved(probe, batch, base)
        features = np.zeros(batch.moves.shape, np.int64)
        sizes = np.ones(batch.moves.shape)
        for r, query in enumerate(batch.queries):
            columns = np.flatnonzero(query.moves[: query.length])
            numbers = (
                np.arange(len(columns))
                if settings.unit == "token"
                else np.unique(query.words[columns], return_inverse=True)[1]
            )
            # Feature 0 is everything that stays.
            features[r, columns] = 1 + numbers
            if len(columns):
                sizes[r, columns] = np.bincount(numbers)[numbers]
        mask = torch.from_numpy(features).to(probe.device)[..., None]
        at_once = max(1, probe.rows(batch.queries) // len(batch.queries))
        inner = FeatureAblation(lambda e, index, b=batch: probe.values(e, b, index)).attribute(
            embeds, start, additional_forward_args=batch.all(), feature_mask=mask, perturbations_per_eval=at_once
        )
        # Every dimension of a feature bears the whole effect.
        effect = inner[..., 0].detach().float().cpu().numpy().astype(np.float64) / sizes
        for r, i in enumerate(batch.members):
            scored[i] = Scored(effect[r, : batch.queries[r].length])
    return [scored[i] for i in range(len(queries))]


@method(
    "attention_rollout",
    "attention followed through the layers to the place where the answer is read, half of it staying in place (Abnar"
    " and Zuidema 2020)",
    signed=False,
)
def attention_rollout(
    probe: StudentQueries, queries: Sequence[Query], settings: AttributionSettings, counts: npt.NDArray[np.int64]
) -> Found:
    """The mean row of the product of (attention averaged over heads + identity) / 2, over the places where the target
    is read.
    """
    import torch

    scored: dict[int, Scored] = {}
    before = probe.model.config._attn_implementation
    # Only the eager implementation hands out its weights.
    probe.model.set_attn_implementation("eager")
    try:
        for batch in probe.batches(queries):
            if batch.mask is None and bool((batch.owner > 0).any()):
                raise StudentError(
                    f"The attention of {type(probe.model).__name__} cannot be followed for answers of several tokens:"
                    " it takes no mask of one's own.",
                    "Choose a gradient method or occlusion.",
                )
            more = {} if batch.mask is None else {"attention_mask": batch.mask, "position_ids": batch.positions}
            with torch.no_grad():
                output = probe.model.base_model(
                    inputs_embeds=probe.embed(batch), use_cache=False, output_attentions=True, **more
                ).attentions
            if not output or any(layer is None for layer in output):
                raise StudentError(
                    f"{type(probe.model).__name__} does not hand out its attention.",
                    "Choose a gradient method or occlusion.",
                )
            flow = torch.eye(batch.ids.shape[1], device=probe.device).expand(len(batch.queries), -1, -1)
            for layer in output:
                mean = layer.float().mean(1)
                flow = (0.5 * mean + 0.5 * torch.eye(mean.shape[-1], device=probe.device)) @ flow
            for r, i in enumerate(batch.members):
                query = batch.queries[r]
                read = np.unique(query.places[query.picks])
                scored[i] = Scored(
                    flow[r, torch.from_numpy(read).to(probe.device)]
                    .mean(0)[: query.length]
                    .float()
                    .cpu()
                    .numpy()
                    .astype(np.float64)
                )
    finally:
        probe.model.set_attn_implementation(before)
    return [scored[i] for i in range(len(queries))]


def _moved(probe: StudentQueries, batch: QueryBatch, base: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(b, n, hidden) the embeddings, and the same with the moving tokens at the baseline."""
    import torch

    embeds = probe.embed(batch)
    return embeds.requires_grad_(), torch.where(batch.moves[..., None], base.to(embeds.dtype), embeds.detach())


def _one_pass(
    probe: StudentQueries,
    queries: Sequence[Query],
    aggregation: str,
    explain: Callable[..., Callable[..., torch.Tensor]],
) -> Found:
    scored: dict[int, Scored] = {}
    for batch in probe.batches(queries):
        inner = explain(lambda e, index, b=batch: probe.values(e, b, index))(
            probe.embed(batch).requires_grad_(), additional_forward_args=batch.all()
        )
        for scores, i in zip(_reduced(inner.detach(), batch, aggregation), batch.members, strict=True):
            scored[i] = Scored(scores)
    return [scored[i] for i in range(len(queries))]


def _reduced(inner: torch.Tensor, batch: QueryBatch, aggregation: str) -> list[npt.NDArray[np.float64]]:
    """(b, n, hidden) -> one number a token of each query's first part."""
    reduced = (
        (inner.sum(-1) if aggregation == "sum" else inner.norm(dim=-1))
        .detach()
        .float()
        .cpu()
        .numpy()
        .astype(np.float64)
    )
    return [row[: query.length] for row, query in zip(reduced, batch.queries, strict=True)]

"""Integrated gradients of the right label's log-probability, 32 steps: ours, many examples at a time, against captum's LayerIntegratedGradients one
example at a time.

    python benchmarks/against/attribution.py [--repeats 5]

Every token of the prompt moves from the pad token's embedding. Ours also gives the prediction and the completeness gap of each example.
"""

from __future__ import annotations

import numpy as np
import torch
from captum.attr import LayerIntegratedGradients
from material import Material, begin, material, student
from paired import Apart, compare, repeats_asked
from transformers import GPT2LMHeadModel

from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.saliency.attribution import attribute
from cotdistill.saliency.settings import AttributionSettings
from cotdistill.tasks.example import Example

STEPS, LARGEST_GAP = 32, 1e-4
SIZES = ((64, 2, 16, 15.0), (256, 4, 8, 3.0))


def ours(given: Material, model: GPT2LMHeadModel, examples: list[Example]) -> list[np.ndarray]:
    settings = AttributionSettings(baseline="pad", moves="all", steps=STEPS, most_steps=STEPS)
    found = attribute(
        model,
        given.encoder,
        examples,
        PLACEMENTS.get("label_only"),
        settings,
        np.ones(given.encoder.vocabulary_size, np.int64),
    )
    return [one.scores[: one.reading.label_at] for one in found]


def peer(given: Material, model: GPT2LMHeadModel, examples: list[Example]) -> list[np.ndarray]:
    found = []
    for example in examples:
        prompt = given.encoder.prompt(example, PLACEMENTS.get("label_only").prompt("direct"))
        answer = given.encoder.targets(example)[example.gold]
        ids = torch.tensor([[*prompt, *answer[:-1]]])
        start = torch.tensor([[given.encoder.specials.pad] * len(prompt) + answer[:-1]])
        places, targets = torch.arange(len(prompt) - 1, ids.shape[1]), torch.tensor(answer)

        def value(
            given_ids: torch.Tensor, places: torch.Tensor = places, targets: torch.Tensor = targets
        ) -> torch.Tensor:
            likelihood = model(given_ids).logits.log_softmax(-1)
            return likelihood[:, places, targets].sum(1)

        explain = LayerIntegratedGradients(value, model.transformer.wte)
        inner = explain.attribute(ids, start, n_steps=STEPS, method="gausslegendre")
        found.append(inner.sum(-1)[0, : len(prompt)].detach().numpy())
    return found


def main() -> None:
    repeats, own = repeats_asked(__doc__), Apart(begin)
    given = material()
    for width, layers, count, aim in SIZES:
        model = student(width, layers).eval()
        examples = given.dev[:count]
        mine = own(lambda model=model, examples=examples: ours(given, model, examples))
        pairs = zip(peer(given, model, examples), mine, strict=True)
        apart = max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)
        assert apart < LARGEST_GAP, f"The attributions of both sides differ by {apart}."

        def act_ours(model: GPT2LMHeadModel = model, examples: list[Example] = examples) -> float:
            ours(given, model, examples)
            return float(len(examples))

        def act_peer(model: GPT2LMHeadModel = model, examples: list[Example] = examples) -> float:
            peer(given, model, examples)
            return float(len(examples))

        what = f"integrated gradients, {STEPS} steps, {given.name}, width {width} x {layers} layers"
        same = f"scores agree to {apart:.0e} of the largest"
        compare(
            what,
            "captum one by one",
            act_ours,
            act_peer,
            unit="examples/s",
            same=same,
            aim=aim,
            repeats=repeats,
            apart=own,
        )


if __name__ == "__main__":
    main()

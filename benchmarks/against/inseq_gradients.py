"""Integrated gradients of the right label's log-probability, 32 steps: ours, many examples at a time, against inseq's integrated_gradients.

    python benchmarks/against/inseq_gradients.py [--repeats 5]

Questions whose right label is one token, since inseq explains one token at a time. On both sides every token of the prompt moves from
the pad token's embedding.
"""

from __future__ import annotations

import inseq
import numpy as np
from attribution import LARGEST_GAP, STEPS
from attribution import ours as attributed
from inseq.models import AttributionModel
from material import Material, begin, material, student
from paired import Apart, compare, repeats_asked

from cotdistill.tasks.example import Example

WIDTH, LAYERS, COUNT, AIM = 64, 2, 16, 25.0


def peer(given: Material, explainer: AttributionModel, examples: list[Example]) -> list[np.ndarray]:
    template, found = given.encoder.template, []
    for example in examples:
        prompt = template.question_text(example) + template.choices_text(example) + template.label_cue
        whole = f"{prompt} {template.target_texts(example)[example.gold]}"
        out = explainer.attribute(prompt, whole, n_steps=STEPS, attributed_fn="crossentropy", show_progress=False)
        # Cross-entropy is the log-probability with the other sign; the last row is the label's own.
        found.append(-out.sequence_attributions[0].target_attributions[:, 0].sum(-1).numpy()[:-1])
    return found


def main() -> None:
    repeats, own = repeats_asked(__doc__), Apart(begin)
    given = material()
    model = student(WIDTH, LAYERS).eval()
    examples = [example for example in given.dev if len(given.encoder.targets(example)[example.gold]) == 1][:COUNT]
    explainer = inseq.load_model(model, "integrated_gradients", tokenizer=given.fast)
    pairs = zip(peer(given, explainer, examples), own(lambda: attributed(given, model, examples)), strict=True)
    apart = max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)
    assert apart < LARGEST_GAP, f"The attributions of both sides differ by {apart}."

    def act_ours() -> float:
        attributed(given, model, examples)
        return float(COUNT)

    def act_peer() -> float:
        peer(given, explainer, examples)
        return float(COUNT)

    what = f"integrated gradients, {STEPS} steps, one-token labels, {given.name}, width {WIDTH} x {LAYERS} layers"
    same = f"scores agree to {apart:.0e} of the largest"
    compare(what, "inseq", act_ours, act_peer, unit="examples/s", same=same, aim=AIM, repeats=repeats, apart=own)


if __name__ == "__main__":
    main()

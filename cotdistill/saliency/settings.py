"""How an attribution is made: plain values, from which the form, the options of the terminal and a job's identity come."""

from __future__ import annotations

from dataclasses import dataclass

from cotdistill.config import param

BASELINES = ("mean", "zero", "pad")
MOVES = ("content", "all", "question", "rationale")
SEGMENTS_MOVED = {
    "content": ("question", "choices", "rationale", "label"),
    "all": ("task", "question", "choices", "rationale_cue", "rationale", "label_cue", "label"),
    "question": ("question", "choices"),
    "rationale": ("rationale",),
}


@dataclass(frozen=True)
class AttributionSettings:
    """What is asked of a student about its examples. Everything here is part of a result's identity."""

    method: str = param(
        "integrated_gradients", "how: integrated_gradients, input_x_gradient, saliency, gradient_shap, occlusion or attention_rollout"
    )
    target: str = param(
        "gold", "what is explained: gold, predicted, label:B, contrast (gold minus the others), contrast:A-B, span:FIRST-LAST, rationale (each token)"
    )
    baseline: str = param("mean", "what a token is compared with: the mean training-token embedding, zeros, the pad token", choices=BASELINES)
    moves: str = param("content", "which spans are compared with the baseline; cues stay as they are unless all", choices=MOVES)
    aggregation: str = param("sum", "over the hidden dimension: sum keeps the sign, l2 gives a length", choices=("sum", "l2"))
    unit: str = param("token", "what occlusion takes away at once; a word's effect is shared out evenly over its tokens", choices=("token", "word"))
    steps: int = param(32, "integrated gradients: steps to begin with", low=2, high=4096)
    most_steps: int = param(256, "integrated gradients: steps are doubled up to this many until the completeness gap is small", low=2, high=65_536)
    samples: int = param(16, "gradient SHAP: random baselines an example", low=1, high=4096)
    seed: int = param(0, "gradient SHAP: what its draws depend on", low=0, high=2**31)

"""How an attribution is made: plain values, from which the form, the options of the terminal and a job's identity
come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cotdistill.config import param
from cotdistill.errors import UsageError

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
        "integrated_gradients",
        "how: integrated_gradients, input_x_gradient, saliency, gradient_shap, occlusion or attention_rollout",
    )
    target: str = param(
        "gold",
        "what is explained: gold, predicted, label:B, contrast (gold minus the others), contrast:A-B, span:FIRST-LAST,"
        " rationale (each token)",
    )
    baseline: str = param(
        "mean",
        "what a token is compared with: the mean training-token embedding, zeros, the pad token",
        choices=BASELINES,
    )
    moves: str = param(
        "content", "which spans are compared with the baseline; cues stay as they are unless all", choices=MOVES
    )
    aggregation: str = param(
        "sum", "over the hidden dimension: sum keeps the sign, l2 gives a length", choices=("sum", "l2")
    )
    unit: str = param(
        "token",
        "what occlusion takes away at once; a word's effect is shared out evenly over its tokens",
        choices=("token", "word"),
    )
    steps: int = param(32, "integrated gradients: steps to begin with", low=2, high=4096)
    most_steps: int = param(
        256,
        "integrated gradients: steps are doubled up to this many until the completeness gap is small",
        low=2,
        high=65_536,
    )
    samples: int = param(16, "gradient SHAP: random baselines an example", low=1, high=4096)
    seed: int = param(0, "gradient SHAP: what its draws depend on", low=0, high=2**31)


# Shares of the ranked tokens that are taken away, or kept, when a ranking is judged.
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)


def checked_shares(shares: Sequence[float]) -> tuple[float, ...]:
    """The shares, rising and each once; UsageError if one is no share or none lies between 0 and 1, where the area is
    taken.
    """
    checked = tuple(sorted({float(share) for share in shares}))
    if not checked or not 0 <= checked[0] <= checked[-1] <= 1 or not any(0 < share < 1 for share in checked):
        raise UsageError(
            "These are no shares of tokens to judge by.",
            "Expected numbers from 0 to 1, one at least between them: 0,0.1,0.2,0.5,1",
        )
    return checked

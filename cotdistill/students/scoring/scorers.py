"""How a finished student's choices may be scored beside the way its run scored them: names, and the score of each
choice. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cotdistill.registry import Registry

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scorer:
    """A registered scorer: how likely the student finds a choice, in its own way. sampled: it needs rationales that the
    student draws.
    """

    name: str
    help: str
    sampled: bool = False


# The scorer that each run is judged by; the others are held against it.
LABEL = "label"
SCORERS: Registry[Scorer] = Registry("scorer")
SCORERS.register(
    Scorer(LABEL, "what the run is judged by: the label's log-likelihood after the answer cue (its sum, or by byte)")
)
SCORERS.register(Scorer("text", "log-likelihood of the choice's full text after the answer cue (arXiv 2004.14074)"))
SCORERS.register(Scorer("per_token", "the same by token of the text: long choices are not punished"))
SCORERS.register(Scorer("per_byte", "the same by byte of the text: nor are choices of many tokens"))
SCORERS.register(
    Scorer(
        "pmi",
        "text after the question less text after the bare answer cue: common choices are not preferred (arXiv"
        " 2104.08315)",
    )
)
SCORERS.register(Scorer("question", "log-likelihood of the question after the choice's full text (arXiv 2004.14074)"))


SCORERS.register(
    Scorer(
        "marginal",
        "mean probability of a choice over rationales that the student draws itself (TRICE, arXiv 2312.02179)",
        sampled=True,
    )
)


@dataclass(frozen=True)
class Likelihoods:
    """Of one question, one number a choice, summed natural logs: of its label and of its text after the prompt, of its
    text after the bare answer cue, of the question after its text; tokens and size (bytes) of its text; label_size:
    bytes of its label; marginal: log of its mean probability among the choices over rationales that were drawn, None
    where none were."""

    label: Values
    text: Values
    neutral: Values
    question: Values
    tokens: Values
    size: Values
    label_size: Values
    marginal: Values | None = None


def scores(likelihoods: Likelihoods, scorer: str, metric: str) -> Values:
    """(choices,) what a scorer makes of the likelihoods; metric: how the run scored its labels, "sum" or "per_byte".
    UnknownName for no scorer.
    """
    SCORERS.get(scorer)
    by_scorer: dict[str, Values] = {
        LABEL: likelihoods.label if metric == "sum" else likelihoods.label / likelihoods.label_size,
        "text": likelihoods.text,
        "per_token": likelihoods.text / likelihoods.tokens,
        "per_byte": likelihoods.text / likelihoods.size,
        "pmi": likelihoods.text - likelihoods.neutral,
        "question": likelihoods.question,
    }
    if likelihoods.marginal is not None:
        by_scorer["marginal"] = likelihoods.marginal
    return by_scorer[scorer]

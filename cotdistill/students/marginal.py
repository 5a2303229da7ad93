"""The marginal likelihood of a label over rationales that the student draws itself (TRICE, arXiv 2312.02179): mean over
K of p(label | question, rationale k). The log of the mean of few samples is too low by about half its squared standard
error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cotdistill.config import stable_seed
from cotdistill.rationales.placement import Placement
from cotdistill.students.reader import Forward
from cotdistill.students.scoring.evaluation import asked, choice_scores, predicted
from cotdistill.students.scoring.generation import Lots
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Example

# Rationales are drawn as the student itself would write them.
TEMPERATURE = 1.0


@dataclass(frozen=True)
class Marginal:
    """One question. logs: (samples,) log p(right label | question, rationale k), summed over its tokens; probabilities:
    (samples, choices) of each choice among the choices, as the run scores them."""

    logs: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]

    @property
    def log_likelihood(self) -> float:
        """log mean exp over the samples."""
        top = float(self.logs.max())
        return top + math.log(float(np.exp(self.logs - top).mean()))

    @property
    def standard_error(self) -> float | None:
        """Of the log-likelihood, from the spread of the samples (delta method); None for one sample."""
        if len(self.logs) < 2:
            return None
        weights = np.exp(self.logs - self.logs.max())
        return float(weights.std(ddof=1) / (math.sqrt(len(weights)) * weights.mean()))

    @property
    def choices(self) -> npt.NDArray[np.float64]:
        """(choices,) log of the mean probability of each."""
        logs: npt.NDArray[np.float64] = np.log(np.maximum(self.probabilities.mean(0), np.finfo(np.float64).tiny))
        return logs


def marginals(
    reader: Forward,
    encoder: Encoder,
    examples: Sequence[Example],
    placement: Placement,
    *,
    samples: int,
    seed: int,
    limit: int,
    metric: str,
    report: Callable[[int, int], None] | None = None,
) -> list[Marginal]:
    """Each question with `samples` rationales of its own, drawn by (seed, id, number); limit: tokens of a rationale, as
    in `evaluation.score`.
    """
    targets = [encoder.targets(example) for example in examples]
    logs = np.zeros((len(examples), samples))
    shares = [np.zeros((samples, len(example.choices))) for example in examples]
    for k in range(samples):
        lots = Lots(
            [np.random.default_rng(stable_seed("marginal", seed, example.id, k)) for example in examples], TEMPERATURE
        )
        prompts, _ = asked(reader, encoder, examples, placement, "own", limit, lots)
        for i, sums in enumerate(choice_scores(reader, prompts, targets, encoder.specials.pad)):
            logs[i, k] = sums[examples[i].gold]
            shares[i][k] = predicted(encoder, examples[i], sums, "own", metric=metric).probabilities
        if report is not None:
            report(k + 1, samples)
    return [Marginal(line, share) for line, share in zip(logs, shares, strict=True)]

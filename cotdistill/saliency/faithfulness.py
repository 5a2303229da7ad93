"""Does a ranking of tokens say what the student really uses? Take the highest away, or keep only them, and see what
becomes of its answer.

After DeYoung et al. 2020 (ERASER). Let p(x) be the probability of what is explained on the whole text, n the number of
ranked tokens (those that bear a score), and x_q the round(q n) of them that rank highest:
    comprehensiveness(q) = p(x) - p(x without x_q)                  high where the highest tokens were needed
    sufficiency(q)       = p(x) - p(x with x_q alone of the ranked)    low where they are enough
AOPC is the plain mean of each over the shares strictly between 0 and 1: ERASER's bins of 1, 5, 10, 20 and 50 % are one
choice of them; its bin of no tokens is left out, being the same for every ranking. A share of few tokens may round to
none of them, for a ranking and for its random control alike. A token is taken away by setting its embedding to the
baseline of the attribution; what bears no score stays as it is.

What is explained: for a label, the choice that the target speaks for (the preferred one for `predicted`, the right one
for `gold` and `contrast`, A for `contrast:A-B`), by its probability among the choices; for a span of tokens exp of its
mean log-probability. A ranking that speaks for one choice is never held against the probability of another. Every
number stands beside the same with random tokens of the same number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from cotdistill.config import stable_seed
from cotdistill.errors import NotReadable
from cotdistill.rationales.placement import Placement
from cotdistill.saliency.attribution import Attribution, attribute
from cotdistill.saliency.methods import METHODS
from cotdistill.saliency.probe import StudentQueries
from cotdistill.saliency.settings import SHARES, AttributionSettings, checked_shares
from cotdistill.saliency.stability import spearman
from cotdistill.saliency.targets import Target, explained_choice, parse_target, queries
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Example

CHUNK = 16

Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """One example. shares (s,); without, alone: (s,) comprehensiveness and sufficiency of the ranking; random_without,
    random_alone: (s,) means over random orders of the same tokens. leave_one_out: Spearman correlation of the scores
    with the loss of probability when each token alone is taken away; leave_one_out_size: of their sizes, which is fair
    to methods without a sign; None where either does not vary. tokens: how many are ranked. probability: of what is
    explained, on the whole text. not_readable: why a part of the sequence is not ranked, else empty."""

    id: str
    cluster: str
    tokens: int
    probability: float
    shares: tuple[float, ...]
    without: Values
    alone: Values
    random_without: Values
    random_alone: Values
    leave_one_out: float | None
    leave_one_out_size: float | None
    not_readable: str = ""

    def aopc(self) -> dict[str, float]:
        """Mean over the inner shares, of the ranking and of random orders."""
        inner = [0 < share < 1 for share in self.shares]
        return {
            "comprehensiveness": float(self.without[inner].mean()),
            "sufficiency": float(self.alone[inner].mean()),
            "random_comprehensiveness": float(self.random_without[inner].mean()),
            "random_sufficiency": float(self.random_alone[inner].mean()),
        }


def judge(
    model: PreTrainedModel,
    encoder: Encoder,
    examples: Sequence[Example],
    placement: Placement,
    settings: AttributionSettings,
    counts: npt.NDArray[np.int64],
    *,
    metric: str = "sum",
    orders: int = 10,
    shares: Sequence[float] = SHARES,
    report: Callable[[int, int], None] | None = None,
) -> list[Judged]:
    """The examples in order, without those that have fewer than two ranked tokens. The highest score comes first, ties
    to the earlier token.

    orders: random orders an example, one at least; those of an example depend on settings.seed and its id only, so
    every method meets the same. NotReadable for a target that is neither a label nor a span, and where no example has
    two tokens to rank.
    """
    target = parse_target(settings.target)
    if target.kind == "rationale":
        raise NotReadable(
            "Faithfulness is judged on one answer, and this target is many.", "Choose a label, a contrast or a span."
        )
    METHODS.get(settings.method)
    probe = StudentQueries(model, encoder.specials.pad)
    base = probe.baseline(settings.baseline, counts)
    wanted = checked_shares(shares)
    judgements: list[Judged] = []
    why = ""
    for start in range(0, len(examples), CHUNK):
        if report is not None:
            report(start, len(examples))
        attributed = attribute(
            model, encoder, examples[start : start + CHUNK], placement, settings, counts, metric=metric
        )
        why = why or next((one.not_readable for one in attributed if one.not_readable), "")
        ranked = [one for one in attributed if len(_columns(one)) > 1]
        judgements += _judged(probe, ranked, target, settings.seed, base, wanted, orders)
    if report is not None:
        report(len(examples), len(examples))
    if not judgements:
        raise NotReadable(
            why[:1].upper() + why[1:] or "No example has two tokens to rank.",
            "Choose spans that the answer can depend on, for example --moves question.",
        )
    return judgements


def _columns(attribution: Attribution) -> npt.NDArray[np.int64]:
    return np.flatnonzero(~np.isnan(attribution.scores))


def _judged(
    probe: StudentQueries,
    ranked: Sequence[Attribution],
    target: Target,
    seed: int,
    base: torch.Tensor,
    shares: tuple[float, ...],
    orders: int,
) -> list[Judged]:
    if not ranked:
        return []
    masks = [_masks(one, seed, shares, orders) for one in ranked]
    every = _probabilities(probe, ranked, masks, target, base)
    judgements = []
    for one, told in zip(ranked, every, strict=True):
        columns, size = _columns(one), 2 * (orders + 1) * len(shares)
        drop = told[0] - told[1 : 1 + size].reshape(2, orders + 1, len(shares))
        scores, single = one.scores[columns], told[0] - told[1 + size :]
        judgements.append(
            Judged(
                one.reading.id, one.reading.cluster, len(columns), float(told[0]), shares,
                drop[0, 0], drop[1, 0], drop[0, 1:].mean(0), drop[1, 1:].mean(0),
                spearman(scores, single), spearman(np.abs(scores), np.abs(single)), one.not_readable,
            )
        )  # fmt: skip
    return judgements


def _masks(attribution: Attribution, seed: int, shares: Sequence[float], orders: int) -> list[Mask]:
    """What is taken away: nothing; the first of each order at each share; the rest of each order at each share; each
    token alone.
    """
    columns = _columns(attribution)
    rng = np.random.default_rng(stable_seed("orders", seed, attribution.reading.id))
    ranking = [
        columns[np.argsort(-attribution.scores[columns], kind="stable")],
        *(rng.permutation(columns) for _ in range(orders)),
    ]
    cuts = [(order, round(q * len(columns))) for order in ranking for q in shares]
    gone = [columns[:0], *(order[:k] for order, k in cuts), *(order[k:] for order, k in cuts), *columns[:, None]]
    masks = np.zeros((len(gone), len(attribution.reading)), bool)
    for mask, taken in zip(masks, gone, strict=True):
        mask[taken] = True
    return list(masks)


def _probabilities(
    probe: StudentQueries,
    ranked: Sequence[Attribution],
    masks: Sequence[Sequence[Mask]],
    target: Target,
    base: torch.Tensor,
) -> list[Values]:
    """For each example, (masks,) the probability of what is explained with those tokens at the baseline."""
    replaced = [mask for own in masks for mask in own]
    counts = [len(own) for own in masks]
    if target.of_label:
        readings = [one.reading for one, own in zip(ranked, masks, strict=True) for _ in own]
        choices = [
            explained_choice(one.reading, target, one.predicted)
            for one, n in zip(ranked, counts, strict=True)
            for _ in range(n)
        ]
        probabilities = np.array(
            [p[c] for p, c in zip(probe.choice_probabilities(readings, replaced, base), choices, strict=True)]
        )
    else:
        asked = [queries(one.reading, target, ())[0] for one in ranked]
        repeated = [query for query, n in zip(asked, counts, strict=True) for _ in range(n)]
        probabilities = np.exp(probe.values_of(repeated, replaced, base) / [len(query.tokens) for query in repeated])
    return np.split(probabilities, np.cumsum(counts)[:-1])

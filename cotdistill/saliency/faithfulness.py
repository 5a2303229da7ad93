"""Does a ranking of tokens say what the student really uses? Take the highest away, or keep only them, and see what becomes of its answer.

After DeYoung et al. 2020 (ERASER): with p(x) the probability of the choice that the student prefers on the whole text, and x_q the share q of the
attributed tokens that rank highest,
    comprehensiveness(q) = p(x) - p(x without x_q)      high where the highest tokens were needed
    sufficiency(q)       = p(x) - p(x_q alone)          low where they are enough
and AOPC the mean of each over the shares 0 < q < 1 of SHARES. A token is taken away by setting its embedding to the baseline of the attribution.
Every number stands beside the same with random tokens of the same number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel

from cotdistill.config import stable_seed
from cotdistill.errors import NotReadable
from cotdistill.rationales.placement import Placement
from cotdistill.saliency.attribution import Attribution, attribute
from cotdistill.saliency.methods import METHODS
from cotdistill.saliency.probe import Probe
from cotdistill.saliency.reading import Reading
from cotdistill.saliency.settings import AttributionSettings
from cotdistill.saliency.stability import spearman
from cotdistill.saliency.targets import parse_target
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Example

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
INNER = slice(1, len(SHARES) - 1)
CHUNK = 16

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """One example. without, alone: (shares,) comprehensiveness and sufficiency of the ranking; random_without, random_alone: (shares,) means over
    random orders of the same tokens. leave_one_out: Spearman correlation of the scores with the loss of probability when each token alone is
    taken away; None where it does not vary. tokens: how many are ranked."""

    id: str
    cluster: str
    tokens: int
    probability: float
    without: Values
    alone: Values
    random_without: Values
    random_alone: Values
    leave_one_out: float | None

    def aopc(self) -> dict[str, float]:
        """Mean over the inner shares, of the ranking and of random orders."""
        return {
            "comprehensiveness": float(self.without[INNER].mean()),
            "sufficiency": float(self.alone[INNER].mean()),
            "random_comprehensiveness": float(self.random_without[INNER].mean()),
            "random_sufficiency": float(self.random_alone[INNER].mean()),
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
    report: Callable[[int, int], None] | None = None,
) -> list[Judged]:
    """Every example, in order. Signed scores rank by their value, unsigned ones by their size: both say "counts for the target" at the top.

    orders: random orders an example. NotReadable for a target other than a label, and where fewer than two tokens are ranked.
    """
    if not parse_target(settings.target).of_label:
        raise NotReadable("Faithfulness is judged on the answer, and this target is none.", "Choose a label or a contrast.")
    METHODS.get(settings.method)
    probe = Probe(model, encoder.specials.pad)
    found: list[Judged] = []
    for start in range(0, len(examples), CHUNK):
        if report is not None:
            report(start, len(examples))
        chunk = examples[start : start + CHUNK]
        attributed = attribute(model, encoder, chunk, placement, settings, counts, metric=metric)
        found += _judged(probe, attributed, settings, counts, orders)
    if report is not None:
        report(len(examples), len(examples))
    return found


def _judged(
    probe: Probe, attributed: Sequence[Attribution], settings: AttributionSettings, counts: npt.NDArray[np.int64], orders: int
) -> list[Judged]:
    base = probe.baseline(settings.baseline, counts)
    readings: list[Reading] = []
    masks: list[npt.NDArray[np.bool_]] = []
    starts: list[int] = []
    for one in attributed:
        columns = np.flatnonzero(~np.isnan(one.scores))
        if len(columns) < 2:
            raise NotReadable(f"Example {one.reading.id!r} has fewer than two tokens to rank.", "Choose other spans or examples.")
        rng = np.random.default_rng(stable_seed("orders", settings.seed, one.reading.id))
        ranked = [columns[np.argsort(-one.scores[columns], kind="stable")], *(rng.permutation(columns) for _ in range(orders))]
        own = [_mask(one, order[: round(q * len(columns))]) for order in ranked for q in SHARES]
        own += [_mask(one, np.setdiff1d(columns, order[: round(q * len(columns))])) for order in ranked for q in SHARES]
        own += [_mask(one, np.array([column])) for column in columns]
        starts.append(len(masks))
        masks += own
        readings += [one.reading] * len(own)
    every = probe.choice_probabilities(readings, masks, base)
    found = []
    for one, start in zip(attributed, starts, strict=True):
        size, k = len(SHARES) * (orders + 1), one.predicted
        mine = np.array([p[k] for p in every[start : start + 2 * size]]).reshape(2, orders + 1, len(SHARES))
        columns = np.flatnonzero(~np.isnan(one.scores))
        single = np.array([p[k] for p in every[start + 2 * size : start + 2 * size + len(columns)]])
        whole = one.probabilities[k]
        drop = whole - mine
        found.append(
            Judged(
                one.reading.id, one.reading.cluster, len(columns), whole, drop[0, 0], drop[1, 0],
                drop[0, 1:].mean(0) if orders else np.full(len(SHARES), np.nan), drop[1, 1:].mean(0) if orders else np.full(len(SHARES), np.nan),
                spearman(one.scores[columns], whole - single),
            )
        )  # fmt: skip
    return found


def _mask(one: Attribution, gone: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(len(one.reading), bool)
    mask[gone] = True
    return mask

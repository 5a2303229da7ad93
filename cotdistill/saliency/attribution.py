"""Attributions of a student over examples: what each token counts for the target, with the prediction that it is
about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel

from cotdistill.config import check
from cotdistill.rationales.placement import Placement
from cotdistill.saliency.methods import LARGEST_GAP, METHODS, Scored
from cotdistill.saliency.probe import MEMORY_BYTES, StudentQueries
from cotdistill.saliency.reading import EncodedExample, read_example
from cotdistill.saliency.settings import SEGMENTS_MOVED, AttributionSettings
from cotdistill.saliency.targets import BEHIND, Query, Target, parse_target, queries
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Example

# Examples between two reports of progress.
CHUNK = 32


@dataclass(frozen=True)
class Attribution:
    """One explanation of one example.

    scores (n,) float64 over the reading's columns; NaN where nothing can be read: at and behind the target, in spans
    that were not asked for, and, for a label, in a rationale that stands behind it (not_readable then gives the
    reason). target_at: the explained column where each rationale token is explained by itself, else -1. value: the
    number explained (nats). probabilities: over the choices, when the label is asked for in the same sequence;
    predicted: the choice preferred. gap: share of the explained difference that the scores miss (None for methods
    without completeness); steps: how many were taken for it.
    """

    reading: EncodedExample
    scores: npt.NDArray[np.float64]
    target: str
    target_at: int
    value: float
    probabilities: tuple[float, ...]
    predicted: int
    gap: float | None
    steps: int | None
    not_readable: str

    @property
    def converged(self) -> bool | None:
        """Whether the completeness gap is at most 5 %; None for methods without completeness."""
        return None if self.gap is None else self.gap <= LARGEST_GAP


def attribute(
    model: PreTrainedModel,
    encoder: Encoder,
    examples: Sequence[Example],
    placement: Placement,
    settings: AttributionSettings,
    counts: npt.NDArray[np.int64],
    *,
    metric: str = "sum",
    report: Callable[[int, int], None] | None = None,
    memory: int = MEMORY_BYTES,
) -> list[Attribution]:
    """Attributions of every example, in their order; several an example where each rationale token is explained.

    counts (vocabulary,): how often each token stands in the training text, for the mean baseline and for drawn ones.
    metric: how the choices are scored for the prediction ("sum" or "per_byte", as in the run). report(done, total)
    counts examples. Raises UsageError, NotReadable, SequenceTooLong.
    """
    check(settings)
    target = parse_target(settings.target)
    METHODS.get(settings.method)
    probe = StudentQueries(model, encoder.specials.pad, memory)
    attributed: list[Attribution] = []
    for start in range(0, len(examples), CHUNK):
        if report is not None:
            report(start, len(examples))
        attributed += _chunk(
            probe, encoder, examples[start : start + CHUNK], placement, settings, target, counts, metric
        )
    if report is not None:
        report(len(examples), len(examples))
    return attributed


def _chunk(
    probe: StudentQueries,
    encoder: Encoder,
    examples: Sequence[Example],
    placement: Placement,
    settings: AttributionSettings,
    target: Target,
    counts: npt.NDArray[np.int64],
    metric: str,
) -> list[Attribution]:
    limit = probe.reader.positions
    which = "rationale" if target.kind == "rationale" else "label"
    readings = [read_example(encoder, e, placement, metric=metric, limit=limit, sequence=which) for e in examples]
    labelled = (
        readings
        if which == "label"
        else [read_example(encoder, e, placement, metric=metric, limit=limit) for e in examples]
    )
    probabilities = probe.choice_probabilities(labelled)
    moved = SEGMENTS_MOVED[settings.moves]
    asked: list[tuple[int, Query]] = []
    for i, reading in enumerate(readings):
        asked += [(i, query) for query in queries(reading, target, moved, int(probabilities[i].argmax()))]
    every = [query for _, query in asked]
    scored: list[Scored] = METHODS.get(settings.method).compute(probe, every, settings, counts)
    values = probe.values_of(every)
    return [
        Attribution(
            readings[i],
            _placed(readings[i], query, one),
            query.name,
            query.target_at,
            float(value),
            tuple(probabilities[i].tolist()),
            int(probabilities[i].argmax()),
            one.gap,
            one.steps,
            _reason(readings[i], target, moved),
        )
        for (i, query), one, value in zip(asked, scored, values, strict=True)
    ]


def _placed(reading: EncodedExample, query: Query, scored: Scored) -> npt.NDArray[np.float64]:
    whole = np.full(len(reading), np.nan)
    whole[: query.length] = np.where(query.moves[: query.length], scored.scores, np.nan)
    return whole


def _reason(reading: EncodedExample, target: Target, moved: Sequence[str]) -> str:
    """Why the rationale bears no scores although it stands there and was asked for."""
    behind = (
        target.of_label
        and "rationale" in moved
        and len(reading.columns("rationale")) > 0
        and not reading.label_reads_rationale
    )
    return BEHIND if behind else ""

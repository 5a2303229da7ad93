"""Attributions as tables: one row a token, and one row an explanation. These are what is stored, exported and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cotdistill.rationales.placement import SEGMENTS
from cotdistill.rationales.words import is_function_word

if TYPE_CHECKING:
    import pandas as pd

    from cotdistill.saliency.attribution import Attribution

TOKEN_COLUMNS = {
    "example": "id of the example",
    "cluster": "what the example belongs to; examples of one cluster are not independent",
    "target_at": "column of the explained token where each rationale token is explained by itself, else -1",
    "column": "place in the sequence, from 0",
    "token": "id of the token",
    "text": "its text, with its leading space",
    "segment": "the span it stands in",
    "word": "number of its word in the sequence",
    "word_text": "text of that word",
    "sentence": "number of its sentence in the sequence",
    "origin": "place in the intact rationale, -1 elsewhere",
    "word_class": "content or function; empty for cues",
    "score": "what it counts for the target; empty where nothing can be read",
}
EXAMPLE_COLUMNS = {
    "example": "id of the example",
    "cluster": "what the example belongs to",
    "target_at": "as in the token table",
    "target": "what is explained",
    "value": "the number explained, in nats",
    "gold": "place of the right choice",
    "predicted": "place of the preferred choice",
    "p_gold": "probability of the right choice among the choices",
    "gap": "share of the explained difference that the scores miss; empty without completeness",
    "steps": "steps taken for it",
    "converged": "whether the gap is at most 5 %",
    "left_out": "rationale tokens cut off because the student reads no more",
    "not_readable": "why the rationale bears no scores",
}
# Spans whose words belong to the example; the others are the template's.
OF_EXAMPLE = ("question", "choices", "rationale", "label")


def token_table(attributions: Sequence[Attribution]) -> pd.DataFrame:
    """One row a token of each explanation; see TOKEN_COLUMNS."""
    import pandas as pd  # the terminal lists analyses without it

    parts = []
    for one in attributions:
        reading = one.reading
        names = [SEGMENTS[s] for s in reading.segments]
        words = [reading.word_texts[w] for w in reading.words]
        classes = [
            "" if n not in OF_EXAMPLE else "function" if is_function_word(w) else "content"
            for n, w in zip(names, words, strict=True)
        ]
        parts.append(
            pd.DataFrame(
                {
                    "example": reading.id,
                    "cluster": reading.cluster,
                    "target_at": np.int32(one.target_at),
                    "column": np.arange(len(reading), dtype=np.int32),
                    "token": reading.ids,
                    "text": reading.pieces,
                    "segment": names,
                    "word": reading.words,
                    "word_text": words,
                    "sentence": reading.sentences,
                    "origin": reading.origin,
                    "word_class": classes,
                    "score": one.scores,
                }
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(TOKEN_COLUMNS))


def example_table(attributions: Sequence[Attribution]) -> pd.DataFrame:
    """One row an explanation; see EXAMPLE_COLUMNS."""
    import pandas as pd  # the terminal lists analyses without it

    rows = [
        (
            one.reading.id,
            one.reading.cluster,
            one.target_at,
            one.target,
            one.value,
            one.reading.gold,
            one.predicted,
            one.probabilities[one.reading.gold],
            one.gap,
            one.steps,
            one.converged,
            one.reading.left_out,
            one.not_readable,
        )
        for one in attributions
    ]
    frame = pd.DataFrame(rows, columns=list(EXAMPLE_COLUMNS))
    return frame.astype({"gap": "Float64", "steps": "Int64", "converged": "boolean"})

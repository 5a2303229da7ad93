"""What counts in a rationale, as plain data: a score for every token, made by a selector and used by the transforms
that keep or drop key tokens.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cotdistill.errors import DataError


@dataclass(frozen=True)
class Selection:
    """Scores by example id: one number a token of the intact rationale, in its order. Higher is more key.

    `digest` is that of the artefact. `scores` None stands for a selection that is still to be made: every token counts
    the same, which is enough to know how long a text will be.
    """

    name: str
    digest: str = ""
    scores: Mapping[str, Sequence[float]] | None = None

    def of(self, example: str, places: Sequence[int]) -> dict[int, float] | None:
        """Score by place in the intact rationale; None where the selection has not looked at the example.

        DataError where a token comes from elsewhere, or where the selection was made on another text.
        """
        if any(place < 0 for place in places):
            raise DataError(
                f"The selection {self.name!r} cannot be used on tokens that are not the example's own (example"
                f" {example!r}).",
                "Put key_tokens before swap, random_tokens and mask.",
            )
        if self.scores is None:
            return dict.fromkeys(places, 0.0)
        if example not in self.scores:
            return None
        scores = self.scores[example]
        if places and max(places) >= len(scores):
            raise DataError(
                f"The selection {self.name!r} was made on another rationale of example {example!r}: it scores"
                f" {len(scores)} tokens, the rationale has {max(places) + 1} or more.",
                "Select anew on this task, source and tokenizer.",
            )
        return {place: float(scores[place]) for place in places}


def selection_bytes(scores: Mapping[str, Sequence[float]]) -> bytes:
    """A selection as Parquet: columns example, scores (a list of float64, one a token)."""
    # Imported here: what reads no tables, training on a bare machine among it, does without pandas.
    import pandas as pd

    frame = pd.DataFrame({"example": list(scores), "scores": [[float(s) for s in row] for row in scores.values()]})
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def read_selection(path: Path, name: str) -> Selection:
    """The selection in a Parquet artefact; DataError if it cannot be read."""
    import pandas as pd

    try:
        frame = pd.read_parquet(path, columns=["example", "scores"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"The selection at {path} cannot be read: {error}", "Select again: cotdistill keytokens select"
        ) from error
    return Selection(
        name, path.stem, {str(e): tuple(s) for e, s in zip(frame["example"], frame["scores"], strict=True)}
    )

"""The loss of a rationale's tokens grows with their rank by a selector (KPOD, arXiv 2405.16064)."""

from __future__ import annotations

from cotdistill.rationales.keyed import ranked_weights
from cotdistill.students.batches import Row
from cotdistill.students.objectives.base import ExampleRows, TrainingObjective
from cotdistill.students.tokens import RATIONALE, Encoded


class TokenWeights(TrainingObjective):
    """Weights from `floor` to 1 by rank; their sum stays what it was."""

    def example_rows(self, examples: ExampleRows, index: int, sequences: list[Encoded], rows: list[Row]) -> list[Row]:
        scores = examples.corpus.selection(str(self.parameters["selector"])).of(
            examples.examples[index].id, [token.origin for token in examples.corpus.passages[index]]
        )
        if scores is None:
            return rows
        ranks = ranked_weights([scores[place] for place in sorted(scores)], float(self.parameters["floor"]))
        for encoded, row in zip(sequences, rows, strict=True):
            from_rationale = (encoded.loss == RATIONALE) & (encoded.origin >= 0)
            weights = ranks[encoded.origin[from_rationale]]
            # Where the lowest token alone is left to bear loss, a floor of 0 gives it no weight to share out: it keeps
            # what it had.
            if weights.any():
                row.weights[from_rationale] *= weights * (from_rationale.sum() / weights.sum())
        return rows

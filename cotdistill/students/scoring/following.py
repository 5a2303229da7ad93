"""Does a student under the counterfactual objective (SCOTT, arXiv 2305.01879) follow its rationale, or the tag? Every
tag with every rationale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from transformers import PreTrainedModel

from cotdistill.rationales.placement import COUNTERFACTUAL, FACTUAL, Placement
from cotdistill.students.reader import Forward
from cotdistill.students.scoring.evaluation import choice_scores, predicted, rationale_prompt
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Argued

if TYPE_CHECKING:
    import pandas as pd

TAGS = {"factual": FACTUAL, "counterfactual": COUNTERFACTUAL}
# given: the teacher's; wrong: one for a wrong choice; none: the answer cue alone.
RATIONALES = ("given", "wrong", "none")

COLUMNS = {
    "example": "id of the question",
    "cluster": "what it belongs to",
    "tag": "what stood before it: factual or counterfactual",
    "rationale": "what stood before the answer: given (the teacher's), wrong (one for a wrong choice), none",
    "predicted": "index of the choice that the student prefers",
    "right": "whether it is the right one",
    "argued": "whether it is the one that the wrong rationale argues for",
}


def followed(
    model: PreTrainedModel, encoder: Encoder, examples: Sequence[Argued], placement: Placement, *, metric: str
) -> pd.DataFrame:
    """One row a question, tag and rationale; see COLUMNS. placement: of a condition with both tags."""
    import pandas as pd

    model.eval()  # type: ignore[no-untyped-call]
    reader = Forward(model)
    targets = [encoder.targets(example) for example in examples]
    texts = {
        "given": [e.rationale or "" for e in examples],
        "wrong": [e.counterfactual.rationale for e in examples],
        "none": [""] * len(examples),
    }
    rows = []
    for tag, span in TAGS.items():
        tagged = replace(placement, sequences=tuple(s for s in placement.sequences if s[0] == span))
        for rationale in RATIONALES:
            ids = [[token.id for token in encoder.read(text)] for text in texts[rationale]]
            prompts = [
                rationale_prompt(encoder, e, tagged, one, reader.positions)
                for e, one in zip(examples, ids, strict=True)
            ]
            sums = choice_scores(reader, prompts, targets, encoder.specials.pad)
            for example, values in zip(examples, sums, strict=True):
                choice = predicted(encoder, example, values, "given", metric=metric)
                argued = example.choices[choice.predicted].label == example.counterfactual.answer
                rows.append((example.id, choice.cluster, tag, rationale, choice.predicted, choice.correct, argued))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"predicted": "int16"})

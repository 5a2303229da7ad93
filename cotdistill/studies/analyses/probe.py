"""Linear probes on hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cotdistill.config import param
from cotdistill.errors import UnknownName, UsageError
from cotdistill.store.records import Job
from cotdistill.studies.analysis import PASSES_PER_SECOND, CheckpointConfig, analysis
from cotdistill.tasks.example import Example

# Classes that every task has; a task's own metadata comes beside them (the generated task: group, the latent type).
CLASSES = {
    "answer": "the right answer's text, chosen among the question's own choices",
    "place": "the label of the right choice",
}
# Fitting a probe and its control, by place and layer, on the built-in students.
CELL_SECONDS = 0.25
CELLS = 30
COLUMNS = {
    "layer": "0 the embeddings, then after each block",
    "place": "the token read: the last of a span, or the middle one of the rationale",
    "order": "which place it is in the sequence, from 0",
    "reads": "what of the teacher stands before it or at it: the label, the rationale, both, or nothing",
    "accuracy": "share of the examples whose class the probe names",
    "low": "lower end of the 95 % interval over clusters, or null",
    "high": "upper end, or null",
    "control": "the same of a probe fitted on the control task",
    "over": "accuracy minus control",
    "over_low": "lower end of its 95 % interval, or null",
    "over_high": "upper end, or null",
}


@analysis(
    "probe",
    "where and when the answer is formed: linear probes by layer and place (arXiv 1610.01644), beside a control task "
    "(1909.03368)",
    "cotdistill.execution.jobs.probe:probes",
    tables={"cells": COLUMNS},
    splits=("dev", "test"),
    examples=400,
    notes="A diagnostic: it says what can be read off the states, not what the student uses.",
)
@dataclass(frozen=True)
class ProbeConfig(CheckpointConfig):
    """Linear probes at every layer and named place of one student."""

    what: str = param(
        "answer", "answer, place, or a key of the task's metadata (generated task: group, the latent type)"
    )
    rows: int = param(1000, "training rows to fit on at most", low=2)
    penalty: float = param(0.01, "on the squared weights of a probe; see saliency.linear.fit")
    seed: int = param(0, "of the rows drawn and of the control task", low=0)

    def check(self, job: Job) -> None:
        if self.split == "train":
            raise UsageError(
                "A probe is fitted on training rows, so they cannot judge it.", "Choose the dev split, or test."
            )
        if self.rows < 2 or not self.penalty > 0:
            raise UsageError(
                f"No probe can be fitted to {self.rows} rows with a penalty of {self.penalty:g}.",
                "Expected two rows or more, and a penalty above 0.",
            )

    def seconds(self) -> float:
        # A pass per row, and the fits.
        return (self.rows + len(self.examples)) / PASSES_PER_SECOND + CELLS * CELL_SECONDS

    def title(self) -> str:
        return f"probes for the {self.what}, {len(self.examples):,} {self.split} examples"


def class_names(examples: Sequence[Example]) -> list[str]:
    """What can be probed for in these rows: `CLASSES`, then the keys of their metadata whose classes recur."""
    keys = dict.fromkeys(str(key) for example in examples for key in example.metadata)
    values = {key: {str(example.metadata.get(key)) for example in examples} for key in keys}
    recurring = [key for key in keys if 1 < len(values[key]) <= max(2, len(examples) // 4)]
    return [*CLASSES, *(key for key in recurring if key not in CLASSES)]


def class_of(example: Example, what: str) -> str:
    """The class of an example; UnknownName if its task has none of this name."""
    if what == "answer":
        return example.answer_text
    if what == "place":
        return example.answer
    if what not in example.metadata:
        raise UnknownName("class to probe for", what, [*CLASSES, *map(str, example.metadata)])
    return str(example.metadata[what])

"""Linear probes as they are asked for: a plain config, from which a job's identity comes. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cotdistill.config import plain
from cotdistill.errors import UnknownName, UsageError
from cotdistill.store.records import Job, JobSpec
from cotdistill.studies.inspection_jobs import PASSES_PER_SECOND, START_SECONDS
from cotdistill.tasks.example import Example

# What every task has; a task's own metadata comes beside it (the generated task: group, the latent type).
TOLD = {
    "answer": "the right answer's text, chosen among the question's own choices",
    "place": "the label of the right choice",
}
# Fitting a probe and its control, by place and layer, on the built-in students.
CELL_SECONDS = 0.25
CELLS = 30
ROWS, PENALTY = 1000, 0.01


@dataclass(frozen=True)
class ProbeConfig:
    """Linear probes at every layer and named place of one student. run: identity of its training job; what: "answer",
    "place" or a key of the task's metadata; rows: training rows that the probes are fitted on at most; penalty: see
    saliency.linear.fit; seed: of the rows drawn and of the control task."""

    run: str
    split: str
    examples: tuple[str, ...]
    checkpoint: str = "1"
    source: str = ""
    what: str = "answer"
    rows: int = ROWS
    penalty: float = PENALTY
    seed: int = 0

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> ProbeConfig:
        """The config of a job, as the store holds it."""
        return cls(**{**values, "examples": tuple(values["examples"])})


def probe_job(job: Job, config: ProbeConfig) -> JobSpec:
    """The job of some probes; UsageError for what cannot be probed."""
    if config.split == "train":
        raise UsageError(
            "A probe is fitted on training rows, so they cannot judge it.", "Choose the dev split, or test."
        )
    if config.rows < 2 or not config.penalty > 0:
        raise UsageError(
            f"No probe fits {config.rows} rows with a penalty of {config.penalty:g}.",
            "Expected two rows and more, and above 0.",
        )
    label = f"probes for the {config.what}, {len(config.examples):,} {config.split} examples · {job.label}"
    return JobSpec("probe", plain(config), (config.run,), label, START_SECONDS + probing_seconds(config))


def probing_seconds(config: ProbeConfig) -> float:
    """A guess of the compute: a pass a row, and the fits."""
    return (config.rows + len(config.examples)) / PASSES_PER_SECOND + CELLS * CELL_SECONDS


def probed_keys(examples: Sequence[Example]) -> list[str]:
    """What can be probed for in these rows: `TOLD`, then the keys of their metadata whose classes recur."""
    keys = dict.fromkeys(str(key) for example in examples for key in example.metadata)
    values = {key: {str(example.metadata.get(key)) for example in examples} for key in keys}
    return [*TOLD, *(key for key in keys if key not in TOLD and 1 < len(values[key]) <= max(2, len(examples) // 4))]


def class_of(example: Example, what: str) -> str:
    """The class of an example; UnknownName if its task tells none of this name."""
    if what == "answer":
        return example.answer_text
    if what == "place":
        return example.answer
    if what not in example.metadata:
        raise UnknownName("class to probe for", what, [*TOLD, *map(str, example.metadata)])
    return str(example.metadata[what])

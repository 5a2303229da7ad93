"""Attention concentration as it is asked for: a plain config, from which a job's identity comes, and the words that are
relevant. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cotdistill.config import plain
from cotdistill.store.records import Job, JobSpec
from cotdistill.studies.inspection_jobs import PASSES_PER_SECOND, START_SECONDS
from cotdistill.tasks.example import Example
from cotdistill.tasks.task import Task


@dataclass(frozen=True)
class ConcentrationConfig:
    """The attention of one student from the place where the answer is read. run: identity of its training job."""

    run: str
    split: str
    examples: tuple[str, ...]
    checkpoint: str = "1"
    source: str = ""

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> ConcentrationConfig:
        """The config of a job, as the store holds it."""
        return cls(**{**values, "examples": tuple(values["examples"])})


def concentration_job(job: Job, config: ConcentrationConfig) -> JobSpec:
    """The job of a look at the attention."""
    label = f"attention over {len(config.examples):,} {config.split} examples · {job.label}"
    return JobSpec("concentration", plain(config), (config.run,), label, START_SECONDS + reading_seconds(config))


def reading_seconds(config: ConcentrationConfig) -> float:
    """A guess of the compute: a pass an example, eager and with its weights handed out."""
    return 4 * len(config.examples) / PASSES_PER_SECOND


def relevant_texts(task: Task, example: Example) -> dict[str, list[str]]:
    """The texts that decide an example, by region: the right answer's, and in the generated task the latent type and
    what is asked about.
    """
    texts = {"gold": [example.answer_text]}
    if task.has_world:
        texts |= {"latent": [str(example.metadata["group"])], "subject": [str(example.metadata["creature"])]}
    return texts

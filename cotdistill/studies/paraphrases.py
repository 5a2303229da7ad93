"""Stability under paraphrase as it is asked for: a plain config, from which a job's identity comes. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cotdistill.config import check, from_mapping, plain
from cotdistill.errors import NotReadable
from cotdistill.saliency.methods import METHODS
from cotdistill.saliency.settings import AttributionSettings
from cotdistill.saliency.targets import parse_target
from cotdistill.store.records import Job, JobSpec
from cotdistill.studies.inspection_jobs import PASSES, PASSES_PER_SECOND, START_SECONDS

# Wordings of a question in the generated task.
VERSIONS = 3


@dataclass(frozen=True)
class ParaphrasesConfig:
    """Attributions of questions in every wording, by one student. run: identity of its training job."""

    run: str
    split: str
    examples: tuple[str, ...]
    checkpoint: str = "1"
    source: str = ""
    settings: AttributionSettings = field(default_factory=AttributionSettings)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> ParaphrasesConfig:
        """The config of a job, as the store holds it."""
        return cls(
            **{
                **values,
                "examples": tuple(values["examples"]),
                "settings": from_mapping(AttributionSettings, values["settings"]),
            }
        )


def paraphrases_job(job: Job, config: ParaphrasesConfig) -> JobSpec:
    """The job that explains every wording; NotReadable where there are none, or for a target that is not one answer."""
    check(config.settings)
    METHODS.get(config.settings.method)
    if str(job.config["task"]) != "field_guide":
        raise NotReadable(
            f"Nobody knows other wordings of the questions of {job.config['task']!r}.",
            "Paraphrases are known in the generated task, field_guide.",
        )
    if parse_target(config.settings.target).kind not in ("gold", "predicted", "contrast"):
        raise NotReadable(
            "Wordings are compared by what speaks for the answer.", "Choose the target contrast, gold or predicted."
        )
    label = (
        f"{config.settings.method.replace('_', ' ')} of {len(config.examples):,} {config.split} questions in every"
        f" wording · {job.label}"
    )
    return JobSpec("paraphrases", plain(config), (config.run,), label, START_SECONDS + explaining_seconds(config))


def explaining_seconds(config: ParaphrasesConfig) -> float:
    """A guess of the compute, without the start of a process."""
    return VERSIONS * len(config.examples) * PASSES.get(config.settings.method, 6) / PASSES_PER_SECOND

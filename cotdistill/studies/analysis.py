"""The registry of analyses: what can be asked of a trained student. Command, button, job and archive follow from an
entry. No torch here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from cotdistill.config import RECIPES, from_mapping, hashed, plain
from cotdistill.errors import NotReadable
from cotdistill.registry import Registry
from cotdistill.saliency.settings import AttributionSettings
from cotdistill.store.records import Job, JobSpec

C = TypeVar("C", bound="AnalysisConfig")

# Forward passes per explanation, roughly; measured on the built-in students, where 2,500 short passes take a second on
# one thread.
PASSES = {"integrated_gradients": 100, "gradient_shap": 50, "occlusion": 60, "attention_rollout": 4}
PASSES_PER_SECOND = 2500.0
# The student that they were measured on.
MEASURED_PARAMETERS = 194_048
# Tokens of a student's own rationale cost a pass each, but short ones.
WRITTEN_PASSES = 15
# Importing torch and transformers.
START_SECONDS = 5.0


# What compares the choices of a question, so that it has no meaning where answers are written.
NEED_CHOICES = ("scorers", "faithfulness")


def answers_are_written(job: Job) -> bool:
    """Whether the student of a finished training job writes its answers."""
    return (job.result or {}).get("flexible_accuracy") is not None


@dataclass(frozen=True)
class Analysis:
    """One entry of the registry."""

    name: str  # probe: the command `inspect probe` and the job file execution/jobs/probe.py
    help: str  # one line: what it answers, with its source
    compute: str  # module:function that takes an execution.jobs.analysis.AnalysisRequest and returns Analysed
    tables: Mapping[str, Mapping[str, str]]  # by table: what each of its columns means
    splits: tuple[str, ...] = ("dev", "train", "test")  # that may be asked for; the first is the default
    examples: int = 200  # how many are asked for by default
    kind: str = ""  # of its jobs in the store where that is older than the name
    recipe: int = 1  # raised when results change, so that earlier ones are not mistaken for new ones
    notes: str = ""  # a paragraph below the help of its command


@dataclass(frozen=True)
class AnalysisConfig:
    """Everything that determines the result of an analysis; a job's identity is its hash."""

    run: str  # identity of the training job whose student is analysed

    analysis: ClassVar[Analysis]

    @classmethod
    def from_plain(cls: type[C], values: Mapping[str, Any]) -> C:
        """The config of a job as the store holds it."""
        typed: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        if "settings" in typed:
            typed["settings"] = from_mapping(AttributionSettings, values["settings"])
        return cls(**typed)

    def job_config(self) -> dict[str, Any]:
        """The plain form that is hashed; fields that were added later are left out while they have their default."""
        return hashed(type(self), plain(self))

    def check(self, job: Job) -> None:
        """Raises NotReadable where the student of `job` cannot be analysed, UsageError for settings that cannot be
        used.
        """

    def seconds(self) -> float:
        """Estimated compute time, without the start of a process."""
        raise NotImplementedError

    def title(self) -> str:
        """What is computed, for the label of its job."""
        raise NotImplementedError

    def spec(self, job: Job) -> JobSpec:
        """The job that runs this analysis on the student of training job `job`. Raises what `check` raises."""
        self.check(job)
        return self.job_spec(job, self.seconds())

    def job_spec(self, job: Job, seconds: float) -> JobSpec:
        """The job, with its compute time as estimated."""
        if self.analysis.name in NEED_CHOICES and answers_are_written(job):
            raise NotReadable(
                f"Answers of run {job.id} are written: {self.analysis.name} compares choices, and there are none.",
                "Choose a task with choices, or another analysis: attribute, influence, modes.",
            )
        label = f"{self.title()} · {job.label}"
        return JobSpec(self.analysis.kind, self.job_config(), (self.run,), label, START_SECONDS + seconds)


@dataclass(frozen=True)
class ExamplesConfig(AnalysisConfig):
    """An analysis over some examples of one split."""

    split: str
    examples: tuple[str, ...]  # ids


@dataclass(frozen=True)
class CheckpointConfig(ExamplesConfig):
    """An analysis over some examples by the student at one checkpoint."""

    checkpoint: str = "1"  # share of the training steps
    source: str = ""  # whose rationales are read; empty: those of the run


@dataclass(frozen=True)
class AttributionConfig(CheckpointConfig):
    """An analysis that rests on attributions."""

    settings: AttributionSettings = dataclasses.field(default_factory=AttributionSettings)

    @property
    def method(self) -> str:
        """The attribution method, in words."""
        return self.settings.method.replace("_", " ")

    @property
    def passes(self) -> int:
        """Forward passes per explanation."""
        return PASSES.get(self.settings.method, 6)


def student_seconds(job: Job, passes: float) -> float:
    """Estimated compute time of so many short forward passes by the student of training job `job`."""
    size = max(1.0, float((job.result or {}).get("parameters") or 0) / MEASURED_PARAMETERS)
    return passes * size / PASSES_PER_SECOND


ANALYSES: Registry[Analysis] = Registry("analysis")
CONFIGS: dict[str, type[AnalysisConfig]] = {}  # by kind of job


def analysis(
    name: str, help: str, compute: str, *, tables: Mapping[str, Mapping[str, str]], **more: Any
) -> Callable[[type[C]], type[C]]:
    """Register a config class as an analysis; the fields of `Analysis` are the arguments."""

    def register(cls: type[C]) -> type[C]:
        more.setdefault("kind", name)
        cls.analysis = ANALYSES.register(Analysis(name, help, compute, tables, **more))
        CONFIGS[cls.analysis.kind] = cls
        RECIPES[cls.analysis.kind] = cls.analysis.recipe
        return cls

    return register

"""One student under every way of scoring its choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cotdistill.store.records import Job, JobSpec
from cotdistill.studies.analysis import WRITTEN_PASSES, AnalysisConfig, analysis, student_seconds

COLUMNS = {
    "example": "id of the question",
    "cluster": "what it belongs to",
    "scorer": "how its choices were scored",
    "predicted": "index of the choice that scores highest",
    "correct": "whether it is the right one",
    "p_gold": "probability of the right one: softmax of the scores",
    "margin": "score of the right one less that of the best other",
    "agrees": "whether it is the choice of the scorer that the run is judged by",
}
MARGINAL = {
    "example": "id of the question",
    "cluster": "what it belongs to",
    "log_likelihood": "log mean over the drawn rationales of p(right label | question, rationale), nats",
    "standard_error": "of it, from the draws; empty for one draw",
    "p_gold": "mean probability of the right choice among the choices",
}


@analysis(
    "scorers",
    "score the choices of a student in every way",
    "cotdistill.execution.jobs.scorers:scorers",
    tables={"scored": COLUMNS, "marginal": MARGINAL},  # marginal: only where rationales are drawn
    splits=("test",),
    examples=0,
)
@dataclass(frozen=True)
class ScorersConfig(AnalysisConfig):
    """One trained student under every scorer, on test, in the mode that it is judged in."""

    examples: int = 0  # the first so many of the split by id; 0: all
    samples: int = 0  # rationales of its own that it draws for the scorer marginal
    seed: int = 0  # of those draws

    def job_config(self) -> dict[str, Any]:
        values = super().job_config()
        if not self.samples:
            # Jobs from before that scorer keep their identity.
            del values["samples"], values["seed"]
        return values

    def title(self) -> str:
        questions = f"{self.examples:,} questions" if self.examples else "all questions"
        return f"every scorer, {questions}" + (f", {self.samples} rationales drawn of each" if self.samples else "")

    def spec(self, job: Job, questions: int = 0, choices: int = 0) -> JobSpec:
        """The job that scores a student anew. questions, choices: rows of the test split and choices of a question, for
        the estimate.
        """
        written = WRITTEN_PASSES if (job.result or {}).get("mode") == "own" else 0
        passes = 2 + written + self.samples * (1 + WRITTEN_PASSES) + choices
        return self.job_spec(job, student_seconds(job, (self.examples or questions) * passes))

"""Stability of attributions under paraphrase."""

from __future__ import annotations

from dataclasses import dataclass

from cotdistill.config import check
from cotdistill.errors import NotReadable
from cotdistill.saliency.methods import METHODS
from cotdistill.saliency.targets import parse_target
from cotdistill.store.records import Job
from cotdistill.studies.analysis import PASSES_PER_SECOND, AttributionConfig, analysis

# Wordings of a question in the generated task.
VERSIONS = 3
COLUMNS = {
    "example": "id of the question",
    "cluster": "what it belongs to",
    "scope": "which words are compared: question (and choices), rationale, all",
    "rank": "rank correlation over the words that both versions have, mean over every two versions",
    "units": "words compared, mean over them",
    "same": "share of the pairs with the same answer",
    "control": "rank correlation with another question's version at the same places, or null",
}


@analysis(
    "paraphrases",
    "how far attributions agree between wordings of the same question, in the generated task (arXiv 2307.13339)",
    "cotdistill.execution.jobs.paraphrases:agreement",
    tables={"agreed": COLUMNS},
    examples=200,
    notes="RUN may be a list, for the replicates of one or several conditions: 3,14,25.",
)
@dataclass(frozen=True)
class ParaphrasesConfig(AttributionConfig):
    """Attributions of questions in every wording."""

    def check(self, job: Job) -> None:
        check(self.settings)
        METHODS.get(self.settings.method)
        if str(job.config["task"]) != "field_guide":
            raise NotReadable(
                f"Task {job.config['task']!r} has no paraphrases of its questions.",
                "Paraphrases exist for the generated task, field_guide.",
            )
        if parse_target(self.settings.target).kind not in ("gold", "predicted", "contrast"):
            raise NotReadable(
                "Wordings are compared by what speaks for the answer.", "Choose the target contrast, gold or predicted."
            )

    def seconds(self) -> float:
        return VERSIONS * len(self.examples) * self.passes / PASSES_PER_SECOND

    def title(self) -> str:
        return f"{self.method} of {len(self.examples):,} {self.split} questions in every wording"

"""Attributions over many examples."""

from __future__ import annotations

from dataclasses import dataclass

from cotdistill.config import check
from cotdistill.saliency.methods import METHODS
from cotdistill.saliency.tables import EXAMPLE_COLUMNS, TOKEN_COLUMNS
from cotdistill.saliency.targets import parse_target
from cotdistill.store.records import Job
from cotdistill.studies.analysis import PASSES_PER_SECOND, AttributionConfig, analysis


@analysis(
    "attribute",
    "what each token counts for a student's answer; a label that does not read a rationale says so",
    "cotdistill.execution.jobs.attribute:attributions",
    tables={"tokens": TOKEN_COLUMNS, "examples": EXAMPLE_COLUMNS},
    examples=1,
    notes="Methods:\n" + "\n".join(f"  {entry.name.ljust(22)}{entry.help}" for entry in METHODS),
)
@dataclass(frozen=True)
class AttributeConfig(AttributionConfig):
    """Attributions over some examples."""

    def check(self, job: Job) -> None:
        check(self.settings)
        METHODS.get(self.settings.method)
        parse_target(self.settings.target)

    def seconds(self) -> float:
        explanations = len(self.examples) * (25 if self.settings.target == "rationale" else 1)
        return explanations * self.passes / PASSES_PER_SECOND

    def title(self) -> str:
        return f"{self.method} of {len(self.examples):,} {self.split} examples"

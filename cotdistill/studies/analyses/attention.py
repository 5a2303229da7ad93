"""How much of a student's attention goes to the spans that decide, by layer and head."""

from __future__ import annotations

from dataclasses import dataclass

from cotdistill.studies.analysis import PASSES_PER_SECOND, CheckpointConfig, analysis
from cotdistill.tasks.example import Example
from cotdistill.tasks.task import Task

COLUMNS = {
    "region": "which tokens the attention goes to",
    "layer": "from 1; -1: the mean over all layers",
    "head": "from 1; -1: the mean over the layer's heads",
    "share": "of the attention from the place where the answer is read",
    "low": "lower end of its 95 % interval over clusters, or null",
    "high": "upper end, or null",
    "uniform": "share of the tokens that can be seen from there",
    "over": "share minus uniform",
    "over_low": "lower end of its 95 % interval, or null",
    "over_high": "upper end, or null",
    "examples": "examples that have the region",
    "clusters": "independent groups of them",
}
EXAMPLE_COLUMNS = {
    "example": "id of the example",
    "cluster": "what it belongs to",
    "region": "as above",
    "share": "of the attention, mean over all layers and heads",
    "uniform": "share of the tokens that can be seen from there",
    "over": "share minus uniform",
}


@analysis(
    "attention",
    "how much of the attention goes to the spans that decide, by layer and head, against their length "
    "(arXiv 2410.02167)",
    "cotdistill.execution.jobs.attention:attention",
    tables={"heads": COLUMNS, "examples": EXAMPLE_COLUMNS},
    examples=400,
    kind="concentration",
    recipe=3,
    notes="RUN may be a list, for the replicates of one or several conditions: 3,14,25.",
)
@dataclass(frozen=True)
class AttentionConfig(CheckpointConfig):
    """The attention of one student from the place where the answer is read."""

    def seconds(self) -> float:
        # A pass per example, eager and with its weights returned.
        return 4 * len(self.examples) / PASSES_PER_SECOND

    def title(self) -> str:
        return f"attention over {len(self.examples):,} {self.split} examples"


def relevant_texts(task: Task, example: Example) -> dict[str, list[str]]:
    """The texts that decide an example, by region: the right answer's; in the generated task also the latent type and
    what is asked about.
    """
    texts = {"gold": [example.answer_text]}
    if task.has_world:
        texts |= {"latent": [str(example.metadata["group"])], "subject": [str(example.metadata["creature"])]}
    return texts

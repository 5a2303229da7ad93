"""Training-signal alignment: does a training step on a rationale token also lower the loss of the label?"""

from __future__ import annotations

from dataclasses import dataclass

from cotdistill.config import param
from cotdistill.errors import NotReadable, UsageError
from cotdistill.rationales.conditions import parse
from cotdistill.store.records import Job
from cotdistill.studies.analysis import ExamplesConfig, analysis

COLUMNS = {
    "example": "id of the training example",
    "cluster": "what it belongs to",
    "checkpoint": "share of the steps",
    "column": "place in the training sequence, from 0",
    "origin": "place in the intact rationale; -1 for a token from elsewhere",
    "token": "id of the token",
    "text": "its text, with its leading space",
    "word_text": "text of its word; empty where it is unknown (a piece of a word from elsewhere)",
    "word_class": "content or function; empty where the word is",
    "role": "generated tasks: type (names the latent group), value, other; empty elsewhere and where the word is",
    "label_text": "whether its word is one of the right answer's own text",
    "loss": "its cross-entropy, in nats",
    "norm": "length of its gradient",
    "own": "alignment with the label loss of the own question",
    "matched": "with that of dev questions of the same cluster or answer text",
    "random": "with that of as many other dev questions",
    "value": "matched minus random",
    "cosine": "cosine with the own question's gradient",
    "cosine_value": "cosine with matched minus cosine with random",
    "adam": "own, preconditioned as AdamW does",
    "adam_value": "matched minus random, preconditioned",
    "adam_step": "by how much more the own label loss really fell by an AdamW step on this token alone than by one "
    "without it; empty if not tried",
    "adam_step_small": "the same at a hundredth of the run's highest learning rate",
}


@analysis(
    "influence",
    "whether a training step on a rationale token also lowers the loss of the label, at every checkpoint",
    "cotdistill.execution.jobs.influence:alignment",
    tables={"alignment": COLUMNS},
    splits=("train", "dev", "test"),
    examples=10,
    recipe=2,
    notes="Positive where a plain gradient step on the token lowers the label loss. Never taken on test questions.",
)
@dataclass(frozen=True)
class InfluenceConfig(ExamplesConfig):
    """Training-signal alignment over some examples at some checkpoints."""

    checkpoints: tuple[str, ...] = ()  # shares of the training steps
    parameters: str = param(
        "blocks",
        "whose gradients: the transformer blocks, or embeddings and output too",
        choices=("blocks", "all"),
    )
    steps: int = param(16, "tokens on which a real AdamW step is tried", low=0)

    def check(self, job: Job) -> None:
        if self.split == "test":
            raise UsageError("Alignment is never taken on test questions.", "Choose the train split, or dev.")
        if not parse(str(job.config["condition"])).spec.uses_rationale:
            raise NotReadable(
                f"Run {job.id} was trained without rationales, so there is no rationale token to align.",
                "Choose a run with rationales.",
            )

    def seconds(self) -> float:
        # About a twentieth of a second per example and checkpoint, and the pools and real steps of each checkpoint.
        return len(self.checkpoints) * (0.06 * len(self.examples) + 1.0 + 0.04 * self.steps)

    def title(self) -> str:
        return f"alignment of {len(self.examples):,} {self.split} examples"

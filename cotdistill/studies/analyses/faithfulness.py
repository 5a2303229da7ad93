"""Whether the ranking of an attribution method says what a student uses."""

from __future__ import annotations

from dataclasses import dataclass

from cotdistill.config import check, param
from cotdistill.errors import NotReadable
from cotdistill.saliency.methods import METHODS
from cotdistill.saliency.settings import SHARES, checked_shares
from cotdistill.saliency.targets import parse_target
from cotdistill.store.records import Job
from cotdistill.studies.analysis import PASSES_PER_SECOND, AttributionConfig, analysis

COLUMNS = {
    "example": "id of the example",
    "cluster": "what it belongs to",
    "tokens": "how many tokens are ranked",
    "probability": "of the answer explained, on the whole text",
    "leave_one_out": "rank correlation of the scores with the loss when each token alone is taken away; "
    "empty where it does not vary",
    "share": "share of the tokens, the highest first",
    "without": "loss of probability without them (comprehensiveness)",
    "alone": "loss of probability with them alone (sufficiency)",
    "random_without": "without as many random ones, mean over random orders",
    "random_alone": "with as many random ones alone",
}
EXAMPLE_COLUMNS = {
    "example": "id of the example",
    "cluster": "what it belongs to",
    "tokens": "how many tokens are ranked",
    "probability": "of the answer explained, on the whole text",
    "comprehensiveness": "mean loss of probability without the highest tokens, over the shares between 0 and 1 (AOPC)",
    "sufficiency": "mean loss with the highest tokens alone (AOPC)",
    "random_comprehensiveness": "the same without random tokens",
    "random_sufficiency": "the same with random tokens alone",
    "leave_one_out": COLUMNS["leave_one_out"],
    "leave_one_out_size": "the same of their sizes, which is fair to methods without a sign",
    "not_readable": "why a part of the sequence is not ranked",
}


@analysis(
    "faithfulness",
    "whether the rankings of attribution methods say what a student uses, against random tokens",
    "cotdistill.execution.jobs.faithfulness:faithfulness",
    tables={"curves": COLUMNS, "examples": EXAMPLE_COLUMNS},
    examples=50,
    recipe=2,
)
@dataclass(frozen=True)
class FaithfulnessConfig(AttributionConfig):
    """Faithfulness of one method over some examples."""

    orders: int = param(10, "random orders per example", low=1)
    shares: tuple[float, ...] = SHARES  # of the tokens that are taken away or kept

    def check(self, job: Job) -> None:
        check(self.settings)
        METHODS.get(self.settings.method)
        checked_shares(self.shares)
        if parse_target(self.settings.target).kind == "rationale":
            raise NotReadable(
                "Faithfulness is judged on one answer, and this target is many.",
                "Choose a label, a contrast or a span.",
            )

    def seconds(self) -> float:
        # The attributions, two passes per order and share, and one per token.
        passes = self.passes + 2 * len(self.shares) * (self.orders + 1) + 40
        return len(self.examples) * passes / PASSES_PER_SECOND

    def title(self) -> str:
        return f"faithfulness of {self.method} on {len(self.examples):,} {self.split} examples"

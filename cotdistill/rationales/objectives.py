"""How a student is trained beyond plain cross-entropy, as data: the third part of a condition, written
+name(parameter=value,...).

The rival explanations of what a rationale does for a student: that it is a regulariser, that it is a curriculum, that
it is more signal on the same tokens. What an objective does to a step is one class in `students.objectives`, named
here and imported where a student is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from cotdistill.rationales.keyed import SELECTOR
from cotdistill.rationales.placement import COUNTERFACTUAL, FACTUAL, Placement
from cotdistill.rationales.transforms import Label, Parameter
from cotdistill.registry import Registry


@dataclass(frozen=True, slots=True)
class Objective:
    """A registered objective."""

    name: str
    """As a condition names it."""
    help: str
    """One line for lists and forms."""
    source: str
    """The work that it is taken from."""
    parameters: tuple[Parameter, ...]
    """In the order in which a condition's canonical form writes them."""
    implementation: str
    """The subclass of `students.objectives.base.TrainingObjective`, as "module:Class"."""
    rationale: bool = False
    """It needs a rationale in the training text."""
    placements: tuple[str, ...] = ()
    """Where it makes sense; empty: everywhere."""
    control: bool = False
    """Figures draw it hollow."""
    intact: bool = False
    """It allows no transform of the rationale."""
    apart: tuple[str, ...] = ()
    """Other objectives that it cannot be combined with."""
    varying: bool = False
    """How many tokens are read changes during training, so no token budget can count them beforehand."""
    logits: bool = False
    """Its loss needs all logits of a token; the others need its target's likelihood alone."""
    words: Label | None = None
    """What tables and figures call it, given its parameters; None: its name and each value that is not the default."""
    placed: Callable[[Placement], Placement] = lambda placement: placement
    """The placement of a condition as its students are trained and judged under this objective."""

    def label(self, values: dict[str, Any]) -> str:
        """What tables and figures call it with these parameters."""
        if self.words is not None:
            return self.words(values)
        defaults = {parameter.name: parameter.default for parameter in self.parameters}
        shown = [
            f"{name} {value:g}" if isinstance(value, float) else str(value)
            for name, value in values.items()
            if value != defaults[name]
        ]
        return " ".join([self.name.replace("_", " "), *shown])


def _answers_directly(placement: Placement) -> Placement:
    """In the end its students answer without a rationale, wherever that stood."""
    return replace(placement, primary="direct", trained=tuple(dict.fromkeys(("direct", *placement.trained))))


def _argued_both_ways(placement: Placement) -> Placement:
    """Every sequence twice, behind the tag of what its rationale argues for."""
    tagged = tuple((tag, *spans) for tag in (FACTUAL, COUNTERFACTUAL) for spans in placement.sequences)
    return replace(placement, sequences=tagged)


def _weighted_by(values: dict[str, Any]) -> str:
    floor = f", floor {values['floor']:g}" if values["floor"] != 0.1 else ""
    return f"tokens weighted by {str(values['selector']).replace('_', ' ')}{floor}"


OBJECTIVES: Registry[Objective] = Registry("objective")
_CLASSES = "cotdistill.students.objectives"

for _objective in (
    Objective(
        "label_smoothing",
        "a share of every target goes to all other tokens: is it just regularisation?",
        "arXiv 1512.00567",
        (Parameter("epsilon", 0.1, "the share", low=0.0, high=0.9),),
        f"{_CLASSES}.label_smoothing:LabelSmoothing",
        control=True,
        logits=True,
    ),
    Objective(
        "word_dropout",
        "tokens that the student reads are replaced by one symbol, anew at each step: is it just noise?",
        "arXiv 1511.06349",
        (
            Parameter("share", 0.1, "of the tokens", low=0.0, high=0.9),
            Parameter("symbol", "_", "the symbol, one token of the student's vocabulary"),
        ),
        f"{_CLASSES}.word_dropout:WordDropout",
        control=True,
    ),
    Objective(
        "self_distillation",
        "half of each batch is the last one's, and is held to what the student said then: is it just consistency?",
        "arXiv 2203.16172",
        (
            Parameter("alpha", 1.0, "weight of the divergence", low=0.0, high=100.0),
            Parameter("temperature", 3.0, "softens both sides", low=0.1, high=100.0),
        ),
        f"{_CLASSES}.self_distillation:SelfDistillation",
        control=True,
        logits=True,
    ),
    Objective(
        "margin",
        "the label's likelihood has to exceed that of each wrong choice by a margin: is it just the contrast with the"
        " other choices?",
        "arXiv 2004.14074",
        (
            Parameter("margin", 1.0, "by how much, in nats, summed over a choice's tokens", low=0.0, high=100.0),
            Parameter("alpha", 1.0, "share of the label's loss; the rest stays its cross-entropy", low=0.0, high=1.0),
        ),
        f"{_CLASSES}.margin:Margin",
        placements=("label_only", "post_cot", "pre_cot"),
        control=True,
        logits=True,
    ),
    Objective(
        "token_weights",
        "the loss of a rationale's tokens grows with their rank by a selector, their sum stays: weight instead of"
        " deletion",
        "KPOD, arXiv 2405.16064",
        (SELECTOR, Parameter("floor", 0.1, "weight of the lowest token, the highest being 1", low=0.0, high=1.0)),
        f"{_CLASSES}.token_weights:TokenWeights",
        rationale=True,
        words=_weighted_by,
    ),
    Objective(
        "stepwise_removal",
        "the rationale loses its first tokens as training goes on, until none is left: can it be taken in?",
        "implicit CoT, arXiv 2405.14838",
        (
            Parameter("begin", 0.1, "share of the steps after which removal begins", low=0.0, high=1.0),
            Parameter("end", 0.8, "share of the steps after which nothing is left", low=0.0, high=1.0),
        ),
        f"{_CLASSES}.stepwise_removal:StepwiseRemoval",
        rationale=True,
        placements=("pre_cot", "post_cot"),
        varying=True,
        placed=_answers_directly,
    ),
    Objective(
        "last_to_all",
        "the loss of a rationale begins with its last sentence and grows back to all of it: from the easy end to the"
        " whole",
        "KPOD, arXiv 2405.16064",
        (
            Parameter("begin", 0.0, "share of the steps after which it grows", low=0.0, high=1.0),
            Parameter("end", 0.5, "share of the steps after which every sentence bears loss", low=0.0, high=1.0),
        ),
        f"{_CLASSES}.last_to_all:LastToAll",
        rationale=True,
        placements=("pre_cot", "post_cot"),
        intact=True,
        apart=("margin", "stepwise_removal"),
    ),
    Objective(
        "self_generated",
        "the student draws rationales of its own, kept where they lead it to the right answer: does it need the"
        " teacher's words?",
        "TRICE, arXiv 2312.02179",
        (
            Parameter(
                "begin", 0.3, "share of the steps in which the teacher's rationales are learnt", low=0.0, high=1.0
            ),
            Parameter("temperature", 1.0, "of the draws; lower ones vary less", low=0.05, high=5.0),
        ),
        f"{_CLASSES}.self_generated:SelfGenerated",
        rationale=True,
        placements=("pre_cot",),
        intact=True,
        apart=("self_distillation", "margin", "token_weights", "stepwise_removal", "last_to_all", "counterfactual"),
        varying=True,
    ),
    Objective(
        "counterfactual",
        "half of the loss is that of a wrong answer after a rationale that argues for it: does the answer follow the"
        " rationale?",
        "SCOTT, arXiv 2305.01879",
        (
            Parameter(
                "alpha",
                0.5,
                "share of the wrong answer's loss; the rest is that of rationale and answer",
                low=0.0,
                high=1.0,
            ),
            Parameter(
                "rationales",
                "rules",
                "whose rationales for wrong answers: rules (generated tasks), or a source asked for them",
            ),
        ),
        f"{_CLASSES}.counterfactual:CounterfactualObjective",
        rationale=True,
        placements=("pre_cot",),
        intact=True,
        apart=("margin", "stepwise_removal"),
        placed=_argued_both_ways,
    ),
):
    OBJECTIVES.register(_objective)

"""Hub data sets that are known by name: where they are, at which commit, which column is what, and what is known of
their licence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cotdistill.registry import Registry
from cotdistill.tasks.importing.columns import ColumnMap
from cotdistill.tasks.template import Template


@dataclass(frozen=True)
class HubDataset:
    """One data set. splits: our splits by the hub's names; empty for the usual ones. licence: as the hub or the source
    states it; note: what to know before use."""

    name: str
    title: str
    help: str
    dataset: str
    revision: str
    columns: ColumnMap
    licence: str
    note: str
    config: str = ""
    splits: Mapping[str, str] = field(default_factory=dict)
    template: Template = field(default_factory=Template)


HUB: Registry[HubDataset] = Registry("hub data set")

NO_LABELS = "The official test has no labels: official dev is the test, and a hash-fixed 10 % of train is dev."

HUB.register(
    HubDataset(
        name="commonsenseqa",
        title="CommonsenseQA",
        help="everyday questions with five choices (arXiv 1811.00937)",
        dataset="tau/commonsense_qa",
        revision="94630fe30dad47192a8546eb75f094926d47e155",
        columns=ColumnMap(id="id", question="question", choices="choices", answer="answerKey"),
        licence="MIT, as the hub's card states",
        note=f"{NO_LABELS} No rationales: add a teacher's.",
    )
)

_OPENBOOKQA, _OPENBOOKQA_COMMIT = "allenai/openbookqa", "388097ea7776314e93a529163e0fea805b8a6454"
UNSTATED = "not stated on the hub's card"

HUB.register(
    HubDataset(
        name="openbookqa",
        title="OpenBookQA",
        help="elementary science with four choices (arXiv 1809.02789)",
        config="main",
        columns=ColumnMap(id="id", question="question_stem", choices="choices", answer="answerKey"),
        note="No rationales in this config; `openbookqa-facts` has the fact behind each question.",
        dataset=_OPENBOOKQA,
        revision=_OPENBOOKQA_COMMIT,
        licence=UNSTATED,
    )
)
HUB.register(
    HubDataset(
        name="openbookqa-facts",
        title="OpenBookQA with facts",
        help="the same questions with the science fact that each was written from",
        config="additional",
        columns=ColumnMap(
            id="id", question="question_stem", choices="choices", answer="answerKey", rationale="fact1:human-obqa-fact1"
        ),
        note="fact1 is a hint, not an argument.",
        dataset=_OPENBOOKQA,
        revision=_OPENBOOKQA_COMMIT,
        licence=UNSTATED,
    )
)
HUB.register(
    HubDataset(
        name="quarel",
        title="QuaRel",
        help="stories about more and less, with two choices (arXiv 1811.08048)",
        dataset="community-datasets/quarel",
        revision="52be7f062d2c13d401a9e53b6963d8fbcc4abeb4",
        columns=ColumnMap(id="id", question="question", inline_choices=True, answer="answer_index", first_number=0),
        licence=UNSTATED,
        note=(
            "The choices are cut off the question. The worlds of a story (world1, world2) become metadata. No"
            " rationales: add a teacher's."
        ),
    )
)
HUB.register(
    HubDataset(
        name="esnli",
        title="e-SNLI",
        help="does a premise entail a hypothesis, with human explanations (arXiv 1812.01193)",
        dataset="esnli/esnli",
        # The data set itself is a program; this branch is the hub's own copy of its tables. The commit is recorded at
        # import.
        revision="refs/convert/parquet",
        columns=ColumnMap(
            question="premise",
            hypothesis="hypothesis",
            fixed_choices="entailment|neutral|contradiction",
            answer="label",
            rationale="explanation_1:human-e-snli-1+explanation_2:human-e-snli-2+explanation_3:human-e-snli-3",
        ),
        licence=f"{UNSTATED}; MIT in the authors' repository (OanaMariaCamburu/e-SNLI)",
        note="549,367 training rows: mind the size. Training rows have one explanation, dev and test rows three.",
        template=Template(question="{question}"),
    )
)

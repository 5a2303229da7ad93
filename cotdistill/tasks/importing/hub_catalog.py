"""Hub data sets that are known by name: where they are, at which commit, which column is what, and what is known of
their licence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cotdistill.registry import Registry
from cotdistill.tasks.importing.columns import ColumnMap
from cotdistill.tasks.template import Template


@dataclass(frozen=True)
class HubDataset:
    """One data set."""

    name: str  # arc-challenge
    title: str  # ARC, challenge set
    help: str  # one line
    dataset: str  # OWNER/NAME on the hub
    revision: str  # a commit, or a branch whose commit is recorded at import
    columns: ColumnMap
    licence: str  # as the hub or the source states it
    note: str  # what to know before use
    config: str = ""
    splits: Mapping[str, str] = field(default_factory=dict)  # our splits by the hub's names; empty for the usual ones
    template: Template = field(default_factory=Template)
    shuffle_choices: int | None = None  # seed by which choices are put into another order, where the right one is first
    seen: str = "schema"  # what it was tried on: "rows" (its real rows, converted) or "schema" (made-up rows)


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
        seen="rows",
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
        seen="rows",
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
        seen="rows",
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
        seen="rows",
        note="549,367 training rows: mind the size. Training rows have one explanation, dev and test rows three.",
        template=Template(question="{question}"),
    )
)

# Choices with labels of the file's own, in the form that ARC, QASC and CommonsenseQA share.
_LETTERED = ColumnMap(id="id", question="question", choices="choices", answer="answerKey")
_CONVERTED = "refs/convert/parquet"

for _name, _config, _which in (
    ("arc-challenge", "ARC-Challenge", "the questions that retrieval and word counts get wrong"),
    ("arc-easy", "ARC-Easy", "the easier questions"),
):
    HUB.register(
        HubDataset(
            name=_name,
            title=f"ARC ({_config})",
            help=f"school science, three to five choices (arXiv 1803.05457): {_which}",
            dataset="allenai/ai2_arc",
            config=_config,
            revision="210d026faf9955653af8916fad021475a3f00453",
            columns=_LETTERED,
            licence="CC BY-SA 4.0, as the hub's card states",
            note="Some rows label their choices 1 to 4 instead of A to D. No rationales: add a teacher's.",
        )
    )
HUB.register(
    HubDataset(
        name="aqua-rat",
        title="AQuA-RAT",
        help="algebra word problems with five choices and worked solutions (arXiv 1705.04146)",
        dataset="deepmind/aqua_rat",
        config="raw",
        revision="main",
        columns=ColumnMap(question="question", choices="options", answer="correct", rationale="rationale:human-aqua"),
        licence="Apache 2.0, as the hub's card states",
        note="97,467 training rows. Letters before the choices (A)21) are taken off. Most rationales end by naming the"
        " letter.",
    )
)
HUB.register(
    HubDataset(
        name="cos-e",
        title="CoS-E",
        help="CommonsenseQA with explanations by people (arXiv 1906.02361)",
        dataset="Salesforce/cos_e",
        config="v1.11",
        revision="main",
        columns=ColumnMap(
            id="id",
            question="question",
            choices="choices",
            answer="answer",
            answer_is="text",
            rationale="abstractive_explanation:human-cos-e",
        ),
        licence="unknown, as the hub's card states",
        note="No test: official dev is the test. Many explanations are known to be poor.",
    )
)
HUB.register(
    HubDataset(
        name="ecqa",
        title="ECQA",
        help="CommonsenseQA with longer explanations by people (ACL 2021)",
        dataset="tasksource/ecqa",
        revision="main",
        columns=ColumnMap(
            id="q_no",
            question="q_text",
            choices="q_op1+q_op2+q_op3+q_op4+q_op5",
            answer="q_ans",
            answer_is="text",
            rationale="taskB:human-ecqa",
        ),
        licence="CDLA-Sharing 1.0, as the hub's card states",
        note="taskB is the running explanation; taskA_pos and taskA_neg list what speaks for and against each choice.",
    )
)
HUB.register(
    HubDataset(
        name="qasc",
        title="QASC",
        help="school science with eight choices and the two facts that answer it (arXiv 1910.11473)",
        dataset="allenai/qasc",
        revision="main",
        columns=replace(_LETTERED, rationale="combinedfact:human-qasc"),
        licence="CC BY 4.0, as the authors state",
        note=f"{NO_LABELS} combinedfact joins fact1 and fact2.",
    )
)
HUB.register(
    HubDataset(
        name="sciq",
        title="SciQ",
        help="science exam questions with four choices and a supporting passage (arXiv 1707.06209)",
        dataset="allenai/sciq",
        revision="main",
        columns=ColumnMap(
            question="question",
            choices="correct_answer+distractor1+distractor2+distractor3",
            answer="correct_answer",
            answer_is="text",
            rationale="support:human-sciq",
        ),
        licence="CC BY-NC 3.0 as far as known: check the hub's card",
        note="The right choice stands in a column of its own: choices are shuffled with seed 0. The support is the"
        " passage that the question was written from, empty in some rows.",
        shuffle_choices=0,
    )
)
HUB.register(
    HubDataset(
        name="scienceqa",
        title="ScienceQA",
        help="school science with two to five choices, lectures and solutions (arXiv 2209.09513)",
        dataset="derek-thomas/ScienceQA",
        revision="main",
        columns=ColumnMap(
            question="hint+question",
            choices="choices",
            answer="answer",
            rationale="solution:human-scienceqa+lecture:human-scienceqa-lecture",
            answer_is="number",
            first_number=0,
        ),
        licence="CC BY-SA 4.0 as far as known: check the hub's card",
        note="About half of the questions are about an image, which no student here sees.",
    )
)
HUB.register(
    HubDataset(
        name="siqa",
        title="Social IQa",
        help="social situations with three choices (arXiv 1904.09728)",
        dataset="lighteval/siqa",
        revision="main",
        columns=ColumnMap(
            question="context+question",
            choices="answerA+answerB+answerC",
            answer="label",
            answer_is="number",
            first_number=1,
        ),
        licence=UNSTATED,
        note="A copy in Parquet, since the original is a program. No test: official dev is the test. No rationales.",
    )
)
HUB.register(
    HubDataset(
        name="cosmosqa",
        title="Cosmos QA",
        help="stories with what they leave unsaid, four choices (arXiv 1909.00277)",
        dataset="allenai/cosmos_qa",
        revision=_CONVERTED,
        columns=ColumnMap(
            id="id",
            question="context+question",
            choices="answer0+answer1+answer2+answer3",
            answer="label",
            answer_is="number",
            first_number=0,
        ),
        licence="CC BY 4.0, as the hub's card states",
        note=f"{NO_LABELS} No rationales.",
    )
)
HUB.register(
    HubDataset(
        name="race",
        title="RACE",
        help="reading tests for Chinese pupils, four choices (arXiv 1704.04683)",
        dataset="ehovy/race",
        config="all",
        revision="main",
        columns=ColumnMap(
            question="article+question", choices="options", answer="answer", answer_is="label", cluster="example_id"
        ),
        licence="for research only as far as known: check the hub's card",
        note="Questions on one article form a cluster. Articles have about 300 words: mind what the student reads.",
    )
)
HUB.register(
    HubDataset(
        name="piqa",
        title="PIQA",
        help="everyday physics with two choices (arXiv 1911.11641)",
        dataset="ybisk/piqa",
        revision=_CONVERTED,
        columns=ColumnMap(question="goal", choices="sol1+sol2", answer="label", answer_is="number", first_number=0),
        licence="unknown, as the hub's card states",
        note=f"{NO_LABELS} No rationales.",
    )
)
HUB.register(
    HubDataset(
        name="hellaswag",
        title="HellaSwag",
        help="how a scene goes on, four choices (arXiv 1905.07830)",
        dataset="Rowan/hellaswag",
        revision=_CONVERTED,
        columns=ColumnMap(
            id="ind",
            question="ctx",
            choices="endings",
            answer="label",
            cluster="source_id",
            answer_is="number",
            first_number=0,
        ),
        licence="not stated on the hub's card; MIT in the authors' repository (rowanz/hellaswag)",
        note=f"{NO_LABELS} Rows of one source form a cluster. No rationales.",
    )
)
HUB.register(
    HubDataset(
        name="medmcqa",
        title="MedMCQA",
        help="medical entrance exams with four choices and explanations (arXiv 2203.14371)",
        dataset="openlifescienceai/medmcqa",
        revision="main",
        columns=ColumnMap(
            id="id",
            question="question",
            choices="opa+opb+opc+opd",
            answer="cop",
            answer_is="label",
            rationale="exp:human-medmcqa",
        ),
        licence="Apache 2.0, as the hub's card states",
        note=f"{NO_LABELS} 182,822 training rows; some explanations are missing or name the letter.",
    )
)
HUB.register(
    HubDataset(
        name="mmlu",
        title="MMLU",
        help="exams of 57 subjects with four choices (arXiv 2009.03300)",
        dataset="cais/mmlu",
        config="all",
        revision="main",
        columns=ColumnMap(question="question", choices="choices", answer="answer", answer_is="label"),
        splits={"train": "auxiliary_train", "dev": "validation", "test": "test"},
        licence="MIT as far as known: check the hub's card",
        note="Its training rows (auxiliary_train) are from other data sets, and have no subject. No rationales.",
    )
)
HUB.register(
    HubDataset(
        name="logiqa2",
        title="LogiQA 2.0",
        help="logical reasoning of the Chinese civil service exam, in English, four choices (TASLP 2023)",
        dataset="baber/logiqa2",
        config="logiqa2",
        revision=_CONVERTED,
        columns=ColumnMap(
            id="id",
            question="text+question",
            choices="options",
            answer="answer",
            answer_is="number",
            first_number=0,
        ),
        licence="CC BY-NC-SA 4.0 in the authors' repository (csitfun/LogiQA2.0)",
        note="No rationales: add a teacher's.",
    )
)
HUB.register(
    HubDataset(
        name="strategyqa",
        title="StrategyQA",
        help="yes or no, by steps that are not said, with the facts behind them (arXiv 2101.02235)",
        dataset="ChilleD/StrategyQA",
        revision="main",
        columns=ColumnMap(
            id="qid",
            question="question",
            answer="answer",
            rationale="facts:human-strategyqa",
            fixed_choices="no|yes",
            values="false=no,true=yes",
        ),
        licence="MIT, as the hub's card states",
        note="1,603 training rows; its facts are what an annotator looked up, not an argument.",
    )
)
HUB.register(
    HubDataset(
        name="boolq",
        title="BoolQ",
        help="yes or no about a passage of Wikipedia (arXiv 1905.10044)",
        dataset="google/boolq",
        revision="main",
        columns=ColumnMap(
            question="passage+question",
            answer="answer",
            fixed_choices="no|yes",
            values="false=no,true=yes",
        ),
        licence="CC BY-SA 3.0 as far as known: check the hub's card",
        note="No test: official dev is the test. No rationales.",
    )
)
HUB.register(
    HubDataset(
        name="winogrande",
        title="WinoGrande",
        help="which of two names fills the gap (arXiv 1907.10641)",
        dataset="allenai/winogrande",
        config="winogrande_xl",
        revision=_CONVERTED,
        columns=ColumnMap(
            question="sentence",
            choices="option1+option2",
            answer="answer",
            answer_is="number",
            first_number=1,
        ),
        licence=UNSTATED,
        note=f"{NO_LABELS} No rationales.",
    )
)
HUB.register(
    HubDataset(
        name="gsm8k",
        title="GSM8K",
        help="grade school maths with worked solutions; the answer, a number, is written (arXiv 2110.14168)",
        dataset="openai/gsm8k",
        config="main",
        revision="main",
        columns=ColumnMap(question="question", answer="answer", answer_kind="number"),
        licence="MIT, as the hub's card states",
        note="The solution stands before ####, the answer behind it. Calculator's marks (<<48/2=24>>) are removed.",
        seen="rows",
    )
)
HUB.register(
    HubDataset(
        name="svamp",
        title="SVAMP",
        help="short word problems with varied wording; the answer, a number, is written (arXiv 2103.07191)",
        dataset="ChilleD/SVAMP",
        revision="5e0bf1e5e7c0e9c4bc39180d224f41f3f801b7ef",
        columns=ColumnMap(id="ID", question="Body+Question", answer="Answer", answer_kind="number"),
        licence="MIT as far as known: check the hub's card",
        note="The equation becomes metadata. No rationales: add a teacher's.",
    )
)
HUB.register(
    HubDataset(
        name="math",
        title="MATH",
        help="competition maths with full solutions; the answer is written (arXiv 2103.03874)",
        dataset="DigitalLearningGmbH/MATH-lighteval",
        revision="main",
        columns=ColumnMap(question="problem", answer="solution", answer_kind="text"),
        licence="MIT as far as known: check the hub's card",
        note="The answer is what stands in the box of the solution, compared as text. The solution names it.",
    )
)
HUB.register(
    HubDataset(
        name="openthoughts-math",
        title="OpenThoughts-114k, its maths",
        help="maths with long traces, thought and solution apart; the answer is written (arXiv 2506.04178)",
        dataset="open-r1/OpenThoughts-114k-math",
        revision="main",
        columns=ColumnMap(
            question="problem",
            answer="solution",
            answer_kind="text",
            rationale="conversations.assistant",
        ),
        licence="not stated on the hub's card as far as known: check it",
        note="The answer is what stands in the box of the reference solution. Traces, by DeepSeek-R1, have thousands of"
        " tokens, more than a small student reads: conditions read the part after thinking unless they say"
        " @part=thinking. `correct` says whether the trace ends in that answer.",
    )
)

"""Terms of the pages, each defined once, and the terms that each figure needs to be read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """One term of the field as this dashboard uses it."""

    name: str
    """As it stands on the pages; unique."""
    group: str
    """The heading it stands under."""
    text: str
    """Its definition."""
    document: str = ""
    """The file under docs/ that says more; "" where there is none."""

    @property
    def anchor(self) -> str:
        """Its name in a link."""
        return self.name.lower().replace(" ", "-")


STUDIES, STATISTICS, SALIENCY, KEY_TOKENS, MODES = (
    "Studies and students",
    "Figures and verdicts",
    "Saliency",
    "Key tokens",
    "Ways to answer",
)

TERMS = (
    Term("task", STUDIES, "A set of questions with training, dev and test parts.", "tasks.md"),
    Term("rationale", STUDIES, "The teacher's written reasons for an answer: its chain of thought.", "teachers.md"),
    Term("teacher", STUDIES, "The large model or the people who wrote the rationales.", "teachers.md"),
    Term("student", STUDIES, "The small language model that is trained and tested.", "students.md"),
    Term(
        "condition", STUDIES, "What a student is trained on: a placement and what is changed about it.", "conditions.md"
    ),
    Term(
        "label only",
        STUDIES,
        "Trained on question and answer without a rationale: the usual baseline.",
        "conditions.md",
    ),
    Term(
        "pre-CoT",
        STUDIES,
        "The rationale stands before the answer. At test time the student writes a rationale of its own first.",
        "conditions.md",
    ),
    Term(
        "post-CoT",
        STUDIES,
        "The rationale stands after the answer. At test time the student answers at once and writes none.",
        "conditions.md",
    ),
    Term("undistilled", STUDIES, "The student before any training on this task.", "conditions.md"),
    Term(
        "control",
        STUDIES,
        "A condition that shares everything with another but the property under test, such as random words in place"
        " of key words. Drawn hollow.",
        "conditions.md",
    ),
    Term(
        "replicate",
        STUDIES,
        "One training of every condition with its own seed. Conditions are compared within a replicate.",
        "statistics.md",
    ),
    Term("study", STUDIES, "Conditions x replicates on one task, planned together before anything is trained."),
    Term("run", STUDIES, "One student trained under one condition in one replicate."),
    Term("world", STUDIES, "One draw of a generated task: other invented creatures, other rules.", "tasks.md"),
    Term(
        "equal tokens",
        STUDIES,
        "Label only trained for more steps, until it has learnt from as many tokens as the other condition.",
        "conditions.md",
    ),
    Term(
        "span loss",
        STUDIES,
        "The loss where label and rationale each count by a weight, however long they are.",
        "students.md",
    ),
    Term("token-mean loss", STUDIES, "The loss where every trained token counts the same.", "students.md"),
    Term("accuracy", STATISTICS, "The share of test questions that are answered right.", "statistics.md"),
    Term("chance", STATISTICS, "The accuracy of choosing by lot among the choices."),
    Term(
        "95 % interval",
        STATISTICS,
        "The values that the data do not rule out. The caption says what it generalises to: new questions, new"
        " seeds, or new worlds.",
        "statistics.md",
    ),
    Term(
        "cluster",
        STATISTICS,
        "Questions that belong together, such as those on one premise. They count as one source of chance, not many.",
        "statistics.md",
    ),
    Term(
        "difference",
        STATISTICS,
        "Accuracy of a condition minus that of the baseline, in points, on the same questions and replicates.",
        "statistics.md",
    ),
    Term(
        "better, worse",
        STATISTICS,
        "The interval of the difference lies wholly above, or wholly below, zero.",
        "statistics.md",
    ),
    Term(
        "no worse",
        STATISTICS,
        "Non-inferiority: the interval lies wholly above minus the margin, which was chosen before the test.",
        "statistics.md",
    ),
    Term(
        "not distinguishable",
        STATISTICS,
        "Neither better nor worse could be shown. It does not say that two conditions are equal.",
        "statistics.md",
    ),
    Term("provisional", STATISTICS, "A planned run is still missing, so the word may change.", "statistics.md"),
    Term(
        "demonstration",
        STATISTICS,
        "A verdict from fewer than five replicates: it shows how a claim is judged and settles nothing.",
        "statistics.md",
    ),
    Term(
        "holds, fails, not shown",
        STATISTICS,
        "A claim holds if each of its comparisons does, fails if one is refuted, and is not shown otherwise. p values"
        " are adjusted by Holm over the planned claims.",
        "statistics.md",
    ),
    Term(
        "exploratory",
        STATISTICS,
        "Looked at after the fact or not planned as a claim: no verdict rests on it.",
        "statistics.md",
    ),
    Term(
        "attribution",
        SALIENCY,
        "A score of each token for a chosen output, from gradients or from leaving the token out.",
        "saliency.md",
    ),
    Term(
        "target",
        SALIENCY,
        "What is attributed: the log-probability of the label, its lead over another label, or a span of text.",
        "saliency.md",
    ),
    Term(
        "share",
        SALIENCY,
        "Absolute scores of a span over those of the example; the shares add up to 100 %.",
        "saliency.md",
    ),
    Term(
        "faithfulness",
        SALIENCY,
        "Whether taking away the tokens with the highest scores changes the output more than taking random ones.",
        "saliency.md",
    ),
    Term(
        "alignment",
        SALIENCY,
        "How much a step on a training token would lower the loss of test labels: the cosine of two gradients.",
        "saliency.md",
    ),
    Term("stability", SALIENCY, "Rank correlation of scores between seeds, methods or wordings.", "saliency.md"),
    Term("probe", SALIENCY, "A linear classifier that reads the label from hidden states of one layer.", "saliency.md"),
    Term(
        "selection",
        KEY_TOKENS,
        "The words of each rationale that a selector keeps: by score, by rule, or by hand.",
        "conditions.md",
    ),
    Term("k", KEY_TOKENS, "How many words of each rationale are kept."),
    Term(
        "matched random words",
        KEY_TOKENS,
        "Words of the same rationale with like frequency, drawn by lot: the control of a selection.",
        "conditions.md",
    ),
    Term("Jaccard", KEY_TOKENS, "Words that two selections share over words that either has: 0 to 1."),
    Term(
        "rank correlation", KEY_TOKENS, "Spearman's correlation of two orders of the same words: 1 the same, 0 by lot."
    ),
    Term("mode", MODES, "How a student is asked: directly, or after a rationale, its own or a given one.", "modes.md"),
    Term("scorer", MODES, "The rule that turns probabilities of the choices into an answer.", "modes.md"),
)

#: Figure (its key, or the first part of it) -> the terms that it needs.
FIGURES = {
    "accuracy": ("accuracy", "95 % interval", "replicate", "cluster", "control", "chance"),
    "forest": ("difference", "95 % interval", "better, worse", "no worse", "not distinguishable", "provisional"),
    "claim": ("holds, fails, not shown", "difference", "95 % interval", "no worse", "demonstration"),
    "curves": ("accuracy", "replicate"),
    "across": ("difference", "95 % interval"),
    "dose": ("accuracy", "95 % interval", "exploratory"),
    "size": ("accuracy", "95 % interval", "exploratory"),
    "size-gaps": ("difference", "95 % interval", "exploratory"),
    "modes": ("mode", "scorer", "accuracy"),
    "many": ("attribution", "target", "share", "95 % interval"),
    "many.faithfulness": ("faithfulness", "attribution"),
    "many.paraphrases": ("stability", "rank correlation"),
    "many.probe": ("probe", "accuracy"),
    "matrix": ("attribution", "target"),
    "teaching": ("alignment", "95 % interval"),
    "overlap": ("selection", "Jaccard", "rank correlation", "k"),
    "sweep": ("k", "selection", "matched random words", "accuracy"),
}


def terms_of(figure: str) -> tuple[Term, ...]:
    """The terms of a figure by its key ("many.probe", else "many"; "claim1" as "claim"); none for an unknown one."""
    first = figure.split(".", 1)[0]
    names = FIGURES.get(figure) or FIGURES.get(first) or FIGURES.get(first.rstrip("0123456789")) or ()
    by_name = {term.name: term for term in TERMS}
    return tuple(by_name[name] for name in names)


def matching(words: str) -> list[Term]:
    """The terms whose name or definition holds all of the words, whatever their case; all for no word."""
    wanted = words.lower().split()
    return [term for term in TERMS if all(word in f"{term.name} {term.text}".lower() for word in wanted)]

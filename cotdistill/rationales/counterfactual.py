"""What a student under the counterfactual objective reads beside each example: a rationale for a wrong choice (SCOTT,
arXiv 2305.01879).
"""

from __future__ import annotations

from collections.abc import Sequence

from cotdistill.errors import NoRationale, UnknownName
from cotdistill.rationales.conditions import Condition
from cotdistill.tasks.example import Argued, Counterfactual, Example
from cotdistill.tasks.generated.world import STYLES, counterfactual, world_of
from cotdistill.tasks.task import Task

# The parameter's value for what a generated task's own rules give.
RULES = "rules"


def supplied(task: Task, examples: Sequence[Example], condition: Condition, source: str) -> list[Example]:
    """The examples of a condition with their counterfactual rationales, as they are under any other objective.

    source: whose rationales the condition reads; the rules of a generated task speak in its style. Rows for which a
    teacher's source has none, or none for a wrong choice, have none. NoRationale, UnknownName where there are none at
    all.
    """
    asked = condition.objective_parameters("counterfactual")
    if asked is None:
        return list(examples)
    origin = str(asked["rationales"])
    if origin == RULES:
        world = world_of(task)
        if world is None:
            raise NoRationale(
                f"The task {task.name!r} was not made by rules, so no rule gives a rationale for a wrong choice.",
                "Ask a teacher for them (teacher elicit --given wrong), and name that source:"
                " +counterfactual(rationales=NAME)",
            )
        style = source if source in STYLES else task.default_source
        return [Argued.of(example, counterfactual(world, example, style)) for example in examples]
    if origin not in task.sources:
        raise UnknownName(f"rationale source of {task.name}", origin, [RULES, *task.sources])
    labels = task.teacher_labels(origin)
    texts = {
        e.id: e.rationale
        for split in {e.split for e in examples}
        for e in task.examples(split, origin)
        if e.source == origin
    }
    pairs = [_argued(example, labels.get(example.id), texts.get(example.id)) for example in examples]
    if not any(isinstance(example, Argued) for example in pairs):
        raise NoRationale(
            f"The source {origin!r} of {task.name!r} argues for no wrong choice of these rows.",
            "Ask a teacher for them: teacher elicit --given wrong",
        )
    return pairs


def _argued(example: Example, label: str | None, text: str | None) -> Example:
    # A choice with the right one's text under another label is no wrong answer.
    wrong = any(choice.label == label and choice.text != example.answer_text for choice in example.choices)
    return Argued.of(example, Counterfactual(str(label), text)) if wrong and text else example

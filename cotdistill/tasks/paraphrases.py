"""Paraphrases of a question of the generated task: its other wordings, known by construction."""

from __future__ import annotations

from dataclasses import replace

from cotdistill.config import stable_seed
from cotdistill.tasks.example import Example
from cotdistill.tasks.generated.world_words import PEOPLE, QUESTIONS


def paraphrases(example: Example) -> list[Example]:
    """A question in each of its other wordings, as examples of their own; choices, answer and rationale are the same. A
    wording that names a person gets one by the question's id. KeyError for a question of another task."""
    relation, creature = str(example.metadata["relation"]), str(example.metadata["creature"])
    person = PEOPLE[stable_seed("paraphrase", example.id) % len(PEOPLE)]
    return [
        replace(example, id=f"{example.id}~{number}", question=wording.format(x=creature, p=person))
        for number, wording in enumerate(QUESTIONS[relation])
        if example.question not in {wording.format(x=creature, p=one) for one in PEOPLE}
    ]

"""Which words of a generated task carry what: known by construction, so that methods can be judged against it."""

from __future__ import annotations

from cotdistill.tasks.generated.world_words import GROUPS, VALUES
from cotdistill.tasks.task import Task

ROLES = ("type", "value", "other")


def word_roles(task: Task) -> dict[str, str]:
    """Word -> "type" (it names a creature's group, the latent fact that a question hides) or "value" (it names a
    property that may be an answer). All other words are "other". Empty for all other tasks: there nobody knows."""
    if not task.has_world:
        return {}
    return dict.fromkeys(GROUPS, "type") | {value: "value" for values in VALUES.values() for value in values}

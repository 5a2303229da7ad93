"""What kinds of answers a task has, and what follows for how they are trained and judged."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from cotdistill.tasks.task import SPLITS, Task, open_folder


def nested_choices(task: Task) -> tuple[str, str] | None:
    """Two choices of one question of which one begins the other, the first that is met; None if there are none.

    Without a terminator no question can decide between the two: right after the shorter one, both were as likely.
    """
    return _nested_choices(task.folder, task.digest)


@lru_cache(maxsize=16)
def _nested_choices(folder: Path, _digest: str) -> tuple[str, str] | None:
    task = open_folder(folder)
    template = task.template
    for split in SPLITS:
        for example in task.examples(split):
            # In sorted order a text that begins another begins the one behind it.
            for a, b in pairwise(sorted(" ".join(text.split()) for text in template.target_texts(example))):
                if a != b and b.startswith(a):
                    return a, b
    return None


def needs_terminator(task: Task) -> bool:
    """Whether the answers of new runs of a task end in a terminator, unless the study says otherwise."""
    return nested_choices(task) is not None

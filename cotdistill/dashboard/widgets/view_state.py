"""What is looked at on page Saliency, all of it from the URL: students, methods, example, what is explained, and
how.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from cotdistill.dashboard.widgets.pickers import PickedStudent
from cotdistill.dashboard.widgets.target_picker import Aim
from cotdistill.errors import CotdistillError
from cotdistill.report.commands import command
from cotdistill.saliency.reading import EncodedExample, read_example
from cotdistill.saliency.settings import AttributionSettings
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.students.sources import encoder_of
from cotdistill.studies.inspection_jobs import task_of
from cotdistill.tasks.example import Example
from cotdistill.tasks.task import Task


@dataclass(frozen=True)
class Scene:
    """One view. example: as it stands in the first student's task; edited: the same with what a person changed, or
    None. settings: all but method and target. checkpoint: share of the training steps."""

    store: Store
    study: Study
    students: tuple[PickedStudent, ...]
    methods: tuple[str, ...]
    split: str
    example: Example
    edited: Example | None
    aim: Aim
    unit: str
    checkpoint: str
    settings: AttributionSettings

    def settings_of(self, method: str, target: str) -> AttributionSettings:
        return dataclasses.replace(self.settings, method=method, target=target)


def task_of_student(store: Store, student: PickedStudent) -> Task:
    """The task that a student was trained on, in that version; CotdistillError if it is gone."""
    return task_of(store, student.job)


def example_for(store: Store, student: PickedStudent, example: Example) -> Example | None:
    """The example with the rationale that this student learnt from; None where its world has no such question."""
    task = task_of_student(store, student)
    try:
        loaded = task.example(example.id, student.source or None)
    except CotdistillError:
        return None
    return loaded if loaded.question == example.question and loaded.choices == example.choices else None


def reading_of(store: Store, student: PickedStudent, example: Example) -> EncodedExample:
    """The example as the student reads it. SequenceTooLong, StudentError."""
    task = task_of_student(store, student)
    encoder = encoder_of(task, student.run)
    return read_example(encoder, example, student.condition.spec)


def changed(example: Example, question: str | None, rationale: str | None) -> Example:
    """The example with another question or rationale."""
    return dataclasses.replace(
        example,
        question=example.question if question is None else question,
        rationale=example.rationale if rationale is None else rationale or None,
    )


def commands(scene: Scene, targets: dict[str, str]) -> list[str]:
    """The terminal's way to the same numbers; targets: by student, what is explained."""
    commands_shown = []
    for student in scene.students:
        for method in scene.methods:
            words = [
                "inspect",
                "attribute",
                str(student.job.id),
                "--examples",
                scene.example.id,
                "--split",
                scene.split,
                "--method",
                method,
            ]
            words += ["--target", targets.get(student.key, "gold"), *options(scene)]
            commands_shown.append(command(*words))
    return commands_shown


def options(scene: Scene) -> list[str]:
    """The checkpoint and the settings that are not the default, as the terminal takes them."""
    words = ["--checkpoint", scene.checkpoint] if scene.checkpoint != "1" else []
    for field in dataclasses.fields(AttributionSettings):
        value = getattr(scene.settings, field.name)
        if field.name not in ("method", "target") and value != field.default:
            words += [f"--{field.name.replace('_', '-')}", str(value)]
    return words

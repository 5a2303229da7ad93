"""From a task and a condition to training rows: which rows, and for how many steps."""

from __future__ import annotations

from cotdistill.config import RunConfig, TrainingConfig
from cotdistill.students.preparation import prepare
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Example


def run_of(condition: str, sources: tuple[str, ...]) -> RunConfig:
    return RunConfig("t", "0" * 64, condition, source="teacher", sources=sources, training=TrainingConfig(steps=4, batch_size=2))


def test_a_study_of_label_only_alone_needs_no_source_of_a_task_that_has_one(encoder: Encoder, examples: list[Example]) -> None:
    prepared = prepare(encoder, {"": examples}, run_of("label_only", ()), 128)
    assert (prepared.facts.train_rows, prepared.facts.excluded_rows, prepared.steps) == (5, 0, 4)


def test_label_only_reads_the_same_with_and_without_other_conditions_in_the_study(encoder: Encoder, examples: list[Example]) -> None:
    alone = prepare(encoder, {"": examples}, run_of("label_only", ()), 128)
    among = prepare(encoder, {"teacher": examples}, run_of("label_only", ("teacher",)), 128)
    for index in range(5):
        assert [list(row.ids) for row in alone.rows_of(index, 0)] == [list(row.ids) for row in among.rows_of(index, 0)]

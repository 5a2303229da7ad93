"""From a task and a condition to training rows: which rows, and for how many steps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cotdistill.config import RunConfig, StudentConfig, TrainingConfig
from cotdistill.rationales.selection import Selection
from cotdistill.students.batches import Row
from cotdistill.students.objectives.last_to_all import LastToAll
from cotdistill.students.preparation import Prepared, prepare
from cotdistill.students.tokens import LABEL, RATIONALE, RIVAL, Encoder
from cotdistill.tasks.example import Example


def run_of(condition: str, sources: tuple[str, ...]) -> RunConfig:
    return RunConfig(
        "t", "0" * 64, condition, source="teacher", sources=sources, training=TrainingConfig(steps=4, batch_size=2)
    )


def test_a_study_of_label_only_alone_needs_no_source_of_a_task_that_has_one(
    encoder: Encoder, examples: list[Example]
) -> None:
    prepared = prepare(encoder, {"": examples}, run_of("label_only", ()), 128)
    assert (prepared.facts.train_rows, prepared.facts.excluded_rows, prepared.steps) == (5, 0, 4)


def test_label_only_reads_the_same_with_and_without_other_conditions_in_the_study(
    encoder: Encoder, examples: list[Example]
) -> None:
    alone = prepare(encoder, {"": examples}, run_of("label_only", ()), 128)
    among = prepare(encoder, {"teacher": examples}, run_of("label_only", ("teacher",)), 128)
    for index in range(5):
        assert [list(row.ids) for row in alone.training_set.rows(index, 0)] == [
            list(row.ids) for row in among.training_set.rows(index, 0)
        ]


def tail_loss_rows(prepared: Prepared, index: int, epoch: int, share: float) -> list[Row]:
    objective = LastToAll({"begin": 0.0, "end": 0.5})
    objective.training_set = prepared.training_set
    return objective.tail_loss_rows(index, epoch, share)


def test_the_last_sentence_alone_bears_loss_at_first_then_all_of_them_do(
    encoder: Encoder, examples: list[Example]
) -> None:
    plain, growing = (
        prepare(encoder, {"teacher": examples}, run_of(text, ("teacher",)), 128)
        for text in ("pre_cot", "pre_cot+last_to_all")
    )
    (whole,) = plain.training_set.rows(0, 0)
    start = len(whole.ids) - 1 - 2 - 13
    # "it has wings ." of 4 tokens, a sentence of 9, the 2 of the cue that ends it, and the label.
    for share, first in ((0.0, 4), (0.5, 4), (0.55, 0), (1.0, 0)):
        (row,) = tail_loss_rows(growing, 0, 0, share)
        bears = 15 - first
        assert list(row.ids) == list(whole.ids) and list(row.groups) == [0] * (start + first) + [RATIONALE] * bears + [
            LABEL
        ]
        assert list(row.weights) == pytest.approx([0.0] * (start + first) + [1 / bears] * bears + [1.0])
    (single,), (same,) = plain.training_set.rows(2, 0), tail_loss_rows(growing, 2, 0, 0.0)
    assert list(single.weights) == list(same.weights)


def test_of_a_rationale_that_was_cut_at_its_end_the_last_sentence_left_bears_loss(
    encoder: Encoder, examples: list[Example]
) -> None:
    # Of "it has wings . it flies so it lives in the tree ." the second sentence of 9 tokens is cut off whole.
    whole = prepare(encoder, {"teacher": examples}, run_of("post_cot", ("teacher",)), 128).training_set.rows(0, 0)[0]
    student = StudentConfig(max_length=len(whole.ids) - 9, truncate="rationale")
    run = replace(run_of("post_cot+last_to_all", ("teacher",)), student=student)
    (row,) = tail_loss_rows(prepare(encoder, {"teacher": examples}, run, 128), 0, 0, 0.0)
    assert "".join(encoder.piece(int(id)) for id in row.ids[row.groups == RATIONALE]) == " it has wings . <eos>"
    assert row.weights[row.groups == RATIONALE] == pytest.approx([0.2] * 5)


def test_a_lowest_token_that_alone_bears_loss_keeps_its_weight_where_the_floor_is_nothing(
    encoder: Encoder, examples: list[Example]
) -> None:
    rows = [replace(examples[0], rationale="it has wings ! so")]
    scores = {"tf_idf": Selection("tf_idf", "", {"e1": (5.0, 4.0, 3.0, 2.0, 1.0)})}
    run = run_of("post_cot+token_weights(selector=tf_idf,floor=0.0)+last_to_all", ("teacher",))
    prepared = prepare(encoder, {"teacher": rows}, run, 128, scores)
    # "so" and the end share the weight evenly, as without a selection; of the whole, five tokens share 5/6 by rank: 1, .75, .5, .25 and nothing.
    assert list(tail_loss_rows(prepared, 0, 0, 0.0)[0].weights[-2:]) == [0.5, 0.5]
    assert prepared.training_set.rows(0, 0)[0].weights[-6:] == pytest.approx([1 / 3, 1 / 4, 1 / 6, 1 / 12, 0, 1 / 6])


@pytest.mark.parametrize("placement", ["label_only", "post_cot", "pre_cot"])
def test_margin_puts_each_wrong_choice_where_the_label_stands(
    placement: str, encoder: Encoder, examples: list[Example]
) -> None:
    plain, ranked = (
        prepare(encoder, {"teacher": examples}, run_of(placement + more, ("teacher",)), 128) for more in ("", "+margin")
    )
    for index, example in enumerate(examples):
        (own,), (first, *rivals) = plain.training_set.rows(index, 0), ranked.training_set.rows(index, 0)
        assert (
            list(first.ids) == list(own.ids)
            and not first.follows
            and all(row.follows and not row.weights.any() for row in rivals)
        )
        start = list(own.groups).index(LABEL)
        wrong = [ids for place, ids in enumerate(encoder.targets(example)) if place != example.gold]
        assert wrong and [list(row.ids) for row in rivals] == [[*own.ids[:start], *ids] for ids in wrong]
        assert [list(row.groups) for row in rivals] == [[0] * start + [RIVAL] * len(ids) for ids in wrong]

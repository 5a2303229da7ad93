"""The share of the training rows as part of a condition: nested, the same in every condition, and no change to what was there before."""

from __future__ import annotations

from itertools import pairwise

import pytest

from cotdistill.config import RunConfig, Seeds, TrainingConfig
from cotdistill.errors import GrammarError
from cotdistill.rationales.conditions import Condition, crossed, parse, parse_list
from cotdistill.students.preparation import part_of, prepare, training_rows
from cotdistill.students.tokens import Encoder
from cotdistill.studies.inputs import SelectConfig, reader_of
from cotdistill.tasks.example import Choice, Example


def rows(number: int) -> list[Example]:
    choices = (Choice("A", "tree"), Choice("B", "pond"))
    return [
        Example(f"e{i}", "where does the bird lives ?", choices, "AB"[i % 2], "train", "it lives in the tree .", "t")
        for i in range(number)
    ]


def run_of(condition: str, split: int = 0) -> RunConfig:
    training = TrainingConfig(steps=4, batch_size=2)
    return RunConfig("t", "0" * 64, condition, source="t", sources=("t",), training=training, seeds=Seeds(split=split))


def test_a_smaller_share_lies_within_a_larger_one_and_has_the_size_it_says() -> None:
    examples = rows(200)
    parts = {share: part_of(range(200), examples, share, 3) for share in (0.05, 0.1, 0.25, 0.5, 0.9, 1.0)}
    assert {share: len(part) for share, part in parts.items()} == {
        0.05: 10,
        0.1: 20,
        0.25: 50,
        0.5: 100,
        0.9: 180,
        1.0: 200,
    }
    shares = sorted(parts)
    assert all(set(parts[small]) < set(parts[large]) for small, large in pairwise(shares))
    assert all(part == sorted(part) for part in parts.values())


def test_the_split_seed_draws_another_share_and_the_order_of_the_rows_does_not_matter() -> None:
    examples = rows(100)
    ids = {examples[i].id for i in part_of(range(100), examples, 0.3, 0)}
    assert ids != {examples[i].id for i in part_of(range(100), examples, 0.3, 1)}
    turned = examples[::-1]
    assert ids == {turned[i].id for i in part_of(range(100), turned, 0.3, 0)}


def test_even_the_smallest_share_holds_a_row() -> None:
    assert len(part_of([2, 5], rows(6), 0.001, 0)) == 1


def test_every_condition_of_a_replicate_sees_the_same_share(encoder: Encoder) -> None:
    examples = rows(40)
    examples[7] = Example("e7", "where ?", examples[7].choices, "A", "train")
    seen = []
    for text in ("label_only@fraction=0.25", "post_cot@fraction=0.25", "post_cot/drop(fraction=0.5)@fraction=0.25"):
        run = run_of(text)
        seen.append(training_rows({"t": examples}, run, parse(text).fraction))
        prepared = prepare(encoder, {"t": examples}, run, 128)
        assert (prepared.facts.train_rows, prepared.facts.excluded_rows) == (10, 1)
        assert len(prepared.stream.lengths) == 10
    # A quarter of the 39 rows that have a rationale, rounded.
    assert seen[0] == seen[1] == seen[2] and len(seen[0]) == 10 and 7 not in seen[0]


def test_a_budget_counts_the_tokens_of_the_condition_it_names_on_that_ones_rows(encoder: Encoder) -> None:
    short, long = "it lives in the tree .", "it lives in the tree . " * 3
    examples = [
        Example(e.id, e.question, e.choices, e.answer, e.split, long if i % 3 else short, "t")
        for i, e in enumerate(rows(60))
    ]
    alone, all_rows = (
        prepare(encoder, {"t": examples}, run_of(f"label_only@tokens={c}"), 128)
        for c in ("(post_cot@fraction=0.05)", "post_cot")
    )
    few = prepare(encoder, {"t": examples}, run_of("post_cot@fraction=0.05"), 128)
    wanted = sum(
        len(row.ids)
        for step in range(4)
        for i, epoch in few.stream.step(step)
        for row in few.training_set.rows(i, epoch)
    )
    seen = [
        sum(len(row.ids) for i, epoch in alone.stream.step(step) for row in alone.training_set.rows(i, epoch))
        for step in range(alone.steps)
    ]
    assert sum(seen) >= wanted > sum(seen[:-1])
    assert alone.facts.train_rows == all_rows.facts.train_rows == 60


def test_a_fraction_is_written_and_read_back_and_one_leaves_no_trace() -> None:
    assert str(parse("post_cot@fraction=1")) == "post_cot"
    assert str(parse("post_cot@fraction=.250")) == "post_cot@fraction=0.25"
    whole = "post_cot/shuffle(unit=token,fraction=1.0)@source=a,tokens=(pre_cot@fraction=0.5),fraction=0.1"
    assert str(parse(whole)) == whole and parse(whole).fraction == 0.1 and parse(whole).tokens == "pre_cot@fraction=0.5"
    assert [str(c) for c in parse_list("label_only@fraction=0.1,post_cot@source=a,fraction=0.5,pre_cot")] == [
        "label_only@fraction=0.1", "post_cot@source=a,fraction=0.5", "pre_cot",
    ]  # fmt: skip
    assert parse("post_cot@fraction=0.25").label == "post-CoT, 25 % of the rows"


@pytest.mark.parametrize("text", ["post_cot@fraction=0", "post_cot@fraction=1.5", "post_cot@fraction=nan", "post_cot@fraction=few",
                                  "undistilled@fraction=0.5", "label_only@tokens=post_cot/key_tokens,fraction=0.5"])  # fmt: skip
def test_a_fraction_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(GrammarError):
        parse(text)


def test_conditions_are_crossed_with_sources_and_shares_and_the_studys_own_source_is_not_named() -> None:
    start = parse_list("undistilled,label_only,post_cot,pre_cot@source=c")
    assert [str(c) for c in crossed(start, sources=("a", "b"), fractions=(0.5, 1.0), default_source="a")] == [
        "undistilled",
        "label_only@fraction=0.5", "label_only",
        "post_cot@fraction=0.5", "post_cot", "post_cot@source=b,fraction=0.5", "post_cot@source=b",
        "pre_cot@source=c,fraction=0.5", "pre_cot@source=c",
    ]  # fmt: skip
    again = crossed(parse_list("label_only@fraction=0.1"), fractions=(0.5, 1.0))
    assert [str(c) for c in again] == ["label_only@fraction=0.1"]
    assert crossed(start) == start


def test_key_tokens_of_a_share_are_selected_on_that_share_by_a_student_that_saw_it() -> None:
    assert reader_of("integrated_gradients", Condition("post_cot", fraction=0.25)) == Condition(
        "pre_cot", fraction=0.25
    )
    plain = SelectConfig("tf_idf", "t", "0" * 64, "word", "nano", "s", ("s",))
    assert not {"fraction", "split_seed"} & set(plain.job_config())
    part = SelectConfig("tf_idf", "t", "0" * 64, "word", "nano", "s", ("s",), fraction=0.5, split_seed=2).job_config()
    assert (part["fraction"], part["split_seed"]) == (0.5, 2)
    assert SelectConfig.from_plain(part).fraction == 0.5

"""The generated task `arithmetic`: chains that are counted by hand, its teachers, and a student that begins to learn."""

from __future__ import annotations

import random

import pytest

from cotdistill.errors import UsageError
from cotdistill.studies.spec import STUDIES
from cotdistill.tasks.answer_kinds import needs_terminator
from cotdistill.tasks.catalog import TASKS, open_task
from cotdistill.tasks.example import NUMBER
from cotdistill.tasks.generated.arithmetic import (
    ArithmeticSettings,
    Chain,
    chains,
    materialise,
    question,
    rationale,
)
from cotdistill.tasks.importing.roles import word_roles

# 4 + 5 = 9, 9 x 3 = 27, 27 + 2 = 29.
CHAIN = Chain(4, (("+", 5), ("*", 3), ("+", 2)))
SMALL = {"rows": 200, "steps": 2}


def test_a_chain_gives_the_result_of_each_step_and_carries_a_slip_on():
    assert CHAIN.results() == [9, 27, 29]
    # One too many in the first step: 10, 30, 32.
    assert CHAIN.results(slip=0, error=1) == [10, 30, 32] and CHAIN.results(slip=2, error=-2) == [9, 27, 27]


def test_every_teacher_says_the_steps_in_its_own_way():
    rng = random.Random(0)
    assert rationale(CHAIN, "worked", rng, 100) == ("4 plus 5 is 9 . 9 times 3 is 27 . 27 plus 2 is 29 .", 29)
    assert rationale(CHAIN, "story", rng, 100) == (
        "at first it is 4 . with 5 more it is 9 . 3 times that is 27 . with 2 more it is 29 .", 29,
    )  # fmt: skip
    assert rationale(CHAIN, "answer_first", rng, 100)[0].startswith("it is 29 . 4 plus 5 is 9 .")


def test_the_mistaken_teacher_slips_once_and_ends_in_another_number_of_as_many_digits():
    for seed in range(30):
        text, said = rationale(CHAIN, "mistaken", random.Random(seed), 100)
        numbers = [int(sentence.split()[-1]) for sentence in text.split(" .")[:-1]]
        assert said == numbers[-1] != 29 and all(0 < number < 100 for number in numbers)
        wrong = [
            result != (int(a) + int(b) if sign == "plus" else int(a) * int(b))
            for (a, sign, b), result in zip((s.split()[:3] for s in text.split(" .")[:-1]), numbers, strict=True)
        ]
        assert sum(wrong) == 1


def test_the_question_names_the_numbers_of_the_chain_and_no_result():
    asked = question(CHAIN, random.Random(1)).split()
    assert [word for word in asked if word.isdigit()] == ["4", "5", "3", "2"] and asked[-1] == "?"


def test_chains_are_distinct_stay_within_the_digits_and_follow_from_the_seed():
    settings = ArithmeticSettings(rows=500, steps=3)
    drawn = chains(1, settings)
    assert len(set(drawn)) == 500 and drawn == chains(1, settings) != chains(2, settings)
    assert all(max(chain.results()) < 100 and len(chain.steps) == 3 for chain in drawn)
    with pytest.raises(UsageError, match="chains of 1 steps"):
        chains(0, ArithmeticSettings(rows=400, steps=1, digits=1))


def test_it_is_a_task_of_numbers_with_four_teachers_and_the_same_bytes_each_time(tmp_path):
    task = open_task(tmp_path, "arithmetic", settings=SMALL)
    again = materialise(tmp_path / "again", "arithmetic", 0, SMALL)
    assert task.digest == again.digest and TASKS.get("arithmetic").dials is ArithmeticSettings
    assert (task.answer_kind, task.chance, needs_terminator(task)) == (NUMBER, 0.0, True)
    assert set(task.sources) == {"worked", "story", "answer_first", "mistaken"} and task.default_source == "worked"
    rows = [len(task.examples(split)) for split in ("train", "dev", "test")]
    assert rows == [160, 10, 30] and word_roles(task) == {} and not task.has_world
    # What the mistaken teacher concluded is never the gold, so its label is none of the row's.
    assert "1" not in task.teacher_labels("mistaken").values() and set(task.teacher_labels("worked").values()) == {"1"}


def test_the_built_in_study_asks_for_the_ablations_of_a_worked_solution():
    spec = STUDIES.get("arithmetic").make()
    assert spec.task == "arithmetic" and spec.replicates == 5 and spec.pinned == "label_only"
    assert {"label_only", "pre_cot", "post_cot", "pre_cot@source=mistaken"} <= set(spec.conditions)

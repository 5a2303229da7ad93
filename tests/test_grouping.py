"""Runs grouped by their settings, and studies side by side: by hand on studies whose answers are made."""

from types import SimpleNamespace

import pytest

from cotdistill.config import plain
from cotdistill.errors import UnknownName
from cotdistill.results import cross_study, grouping, token_dose
from cotdistill.results.prediction_matrix import matrix
from cotdistill.results.slices import fields, slices
from cotdistill.studies.spec import StudySpec
from tests.test_matrix import Answered
from tests.test_results import FakeStore


class Configured(FakeStore):
    """Runs with a config, as the queue holds it."""

    def give(self, condition, replicate, correct, *, lr=0.1, loss_tokens=0, state="finished", ids=None, student="nano"):
        self.add(condition, replicate, correct, state=state, ids=ids)
        job = self.jobs_[-1]
        job.config = {
            "student": {"name": student},
            "training": {"lr": lr, "batch_size": 2},
            "seeds": {"init": replicate},
            "task_digest": "x",
        }
        if job.result:
            job.result |= {"steps": 5, "loss_tokens": loss_tokens}


@pytest.fixture
def store(tmp_path):
    made = Configured(tmp_path)
    made.give("label_only", 0, [1, 0, 0, 0], loss_tokens=10)
    made.give("label_only", 1, [1, 1, 0, 0], loss_tokens=10)
    made.give("post_cot", 0, [1, 1, 1, 0], lr=0.2, loss_tokens=50)
    made.give("post_cot", 1, [1, 1, 1, 1], lr=0.2, loss_tokens=50)
    made.give("post_cot/drop(fraction=0.5)", 0, [1, 1, 0, 0], loss_tokens=30)
    made.give("post_cot/drop(fraction=0.5)", 1, [0, 0, 0, 0], state="failed")
    return made


def test_what_differs_comes_first_and_seeds_come_last(store):
    names = grouping.varying(grouping.runs(store, [1]))
    assert names == ["condition", "placement", "transform", "fraction", "unit", "training.lr", "seeds.init"]
    assert grouping.all_but_the_seed(names) == ["condition", "training.lr"]


def test_runs_are_averaged_within_a_replicate_and_then_over_replicates(store):
    found = grouping.runs(store, [1])
    by_condition = {g.values: g for g in grouping.grouped(store, found, ["condition"])}
    assert by_condition[("label_only",)].interval.mean == pytest.approx(3 / 8)
    assert (
        by_condition[("post_cot",)].finished,
        by_condition[("post_cot",)].planned,
        by_condition[("post_cot",)].items,
    ) == (2, 2, 4)
    by_placement = {g.values: g for g in grouping.grouped(store, found, ["placement"])}
    # Replicate 0: the mean of 3/4 and 2/4; replicate 1: 4/4 alone.
    assert by_placement[("post_cot",)].interval.mean == pytest.approx((0.625 + 1) / 2)
    assert (by_placement[("post_cot",)].finished, by_placement[("post_cot",)].planned) == (3, 4)


def test_a_value_that_is_not_there_is_a_group_of_its_own(store):
    groups = {g.values: g.planned for g in grouping.grouped(store, grouping.runs(store, [1]), ["fraction"])}
    assert groups == {("–",): 4, ("0.5",): 2}


def test_groups_do_not_depend_on_which_others_are_in_view(store):
    found = grouping.runs(store, [1])
    alone = grouping.grouped(store, [run for run in found if run.condition == "label_only"], ["condition"])
    (among,) = (g for g in grouping.grouped(store, found, ["condition"]) if g.values == ("label_only",))
    assert alone == [among]


def test_a_group_whose_runs_answered_different_questions_has_no_interval(store):
    store.give("pre_cot", 0, [1, 1], ids=["a", "b"], lr=0.2)
    (group,) = (g for g in grouping.grouped(store, grouping.runs(store, [1]), ["training.lr"]) if g.values == ("0.2",))
    assert group.interval.low is None and "different questions" in group.interval.speaks_of
    assert group.interval.mean == pytest.approx((0.75 + 1 + 1) / 3)


def test_an_unknown_setting_answers_with_near_matches(store):
    with pytest.raises(UnknownName) as caught:
        grouping.grouped(store, grouping.runs(store, [1]), ["training.rl"])
    assert "training.lr" in caught.value.hint


def test_a_dose_is_the_number_of_predicted_tokens_of_an_example(store):
    found = {one.summary.condition: one for one in token_dose.doses(store, 1)}
    assert {name: one.predicted for name, one in found.items()} == {
        "label_only": 1.0,
        "post_cot": 5.0,
        "post_cot/drop(fraction=0.5)": 3.0,
    }
    half = found["post_cot/drop(fraction=0.5)"]
    assert (half.family, half.dose, half.name) == ("post_cot/drop(unit=token)", "fraction 0.5", "post-CoT, drop")
    assert (found["post_cot"].family, found["post_cot"].name) == ("", "post-CoT")


def test_arms_with_a_token_budget_have_no_dose(store):
    store.give("label_only@tokens=post_cot", 0, [1, 1, 1, 1], loss_tokens=90)
    assert "label_only@tokens=post_cot" not in [one.summary.condition for one in token_dose.doses(store, 1)]


def test_studies_stand_side_by_side_with_accuracies_or_differences(store):
    study = SimpleNamespace(id=1, name="made", spec=plain(StudySpec(conditions=("label_only", "post_cot"))), members=())
    (column,) = cross_study.grid(store, [study])
    assert column.cells["label_only"].value == pytest.approx(3 / 8) and column.cells["label_only"].word == ""
    (column,) = cross_study.grid(store, [study], "label_only")
    assert column.cells["post_cot"].value == pytest.approx(7 / 8 - 3 / 8) and "label_only" not in column.cells
    (column,) = cross_study.grid(store, [study], "pre_cot")
    assert column.cells == {}


def test_only_the_settings_that_differ_are_listed():
    rows = cross_study.differing(
        [
            {"name": "a", "task": "x", "training": {"lr": 0.1, "steps": 5}},
            {"name": "b", "task": "x", "training": {"lr": 0.2}},
        ]
    )
    assert rows == [("training.lr", ("0.1", "0.2")), ("training.steps", ("5", "–"))]


def test_slices_count_their_questions_and_leave_ids_out(tmp_path):
    made = Answered(tmp_path)
    made.give("label_only", 0, [0.9, 0.2, 0.6])
    made.give("label_only", 1, [0.8, 0.4, 0.4])
    metadata = [{"hops": 1, "id": "a"}, {"hops": 2, "id": "b"}, {"hops": 2, "id": "c"}]
    many = [{"id": str(n), "hops": n % 2} for n in range(99)]
    assert list(fields(many)) == ["hops"]
    assert fields(metadata)["hops"] == ("2", "1")
    two, one = slices(matrix(made, 1), metadata, "hops", ["label_only"])
    assert (two.value, two.items, two.replicates, two.interval.mean) == ("2", 2, 2, pytest.approx(1 / 4))
    assert (one.value, one.items, one.interval.mean) == ("1", 1, 1.0)


def test_in_worlds_of_their_own_a_slice_rests_on_the_replicates(tmp_path):
    made = Answered(tmp_path)
    made.give("label_only", 0, [0.9, 0.2], ids=["a", "b"])
    made.give("label_only", 1, [0.8, 0.9], ids=["c", "d"])
    (first, *_) = slices(matrix(made, 1), [{"x": 1}, {"x": 1}, {"x": 1}, {"x": 2}], "x", ["label_only"])
    # One of two in the first world, the only one in the second.
    assert first.interval.mean == pytest.approx((0.5 + 1.0) / 2) and "worlds" in first.interval.speaks_of

"""The per-example matrix, by hand on a study whose answers are made."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cotdistill.errors import UnknownName
from cotdistill.results import prediction_matrix as matrices
from cotdistill.results.notebook import StudyFrames
from cotdistill.results.prediction_matrix import Filters, by_example, matrix, page, reliability
from cotdistill.tasks.example import Choice, Example
from tests.test_results import FakeStore

TEXTS = pd.DataFrame(
    {
        "question": ["Where does the Bird live?", "What swims?", "Who barks?"],
        "choices": [("a nest", "a pond"), ("a fish", "a cat"), ("a dog", "a cat")],
        "answer": ["a nest", "a fish", "a dog"],
        "rationale": ["Birds build nests.", "", "Dogs bark."],
        "metadata": [
            {"relation": "habitat", "hops": 1},
            {"relation": "motion", "hops": 2},
            {"relation": "sound", "hops": 2},
        ],
    },
    index=["q0", "q1", "q2"],
)


class Answered(FakeStore):
    """Runs with the probability of the right choice (of two) given; it is right where that is above a half."""

    def give(self, condition, replicate, gold, *, ids=None, mode="direct"):
        self.add(condition, replicate, np.array(gold) > 0.5)
        names = ids or [f"q{i}" for i in range(len(gold))]
        table = pd.DataFrame(
            {"id": names, "cluster": [f"c{i // 2}" for i in range(len(names))], "mode": mode, "answer": 1}
        )
        right = np.array(gold) > 0.5
        table = table.assign(
            correct=right, predicted=right.astype(int), margin=np.log(gold) - np.log1p(-np.array(gold))
        )
        table["probabilities"] = [[1 - p, p] for p in gold]
        digest = hashlib.sha256(f"{condition} {replicate}".encode()).hexdigest()
        table.iloc[::-1].to_parquet(self.folder / f"{digest}.parquet")


@pytest.fixture
def store(tmp_path):
    made = Answered(tmp_path)
    made.give("label_only", 0, [0.9, 0.2, 0.6])
    made.give("label_only", 1, [0.8, 0.4, 0.4])
    made.give("post_cot", 0, [0.7, 0.9, 0.3])
    made.give("post_cot", 1, [0.6, 0.8, 0.2])
    return made


def test_shares_and_probabilities_are_means_over_replicates(store):
    table = by_example(matrix(store, 1)).set_index("item")
    assert table["right label_only"].to_dict() == {"q0": 1.0, "q1": 0.0, "q2": 0.5}
    assert table["gold post_cot"].to_list() == pytest.approx([0.65, 0.85, 0.25])
    assert table["cluster"].to_dict() == {"q0": "c0", "q1": "c0", "q2": "c1"}
    assert table.loc["q2", "margin label_only"] == pytest.approx(0.0, abs=1e-6)
    assert table.loc["q2", "undecided"] == pytest.approx((2 * np.log(1.5) + np.log(7 / 3) + np.log(4)) / 4)


def test_disagreement_is_the_share_of_pairs_that_differ_within_a_replicate(store):
    store.give("pre_cot", 0, [0.9, 0.9, 0.9])
    table = by_example(matrix(store, 1)).set_index("item")
    # q2, replicate 0: right, wrong, right: two of three pairs differ; replicate 1: wrong, wrong: none of one.
    assert table["disagreement"].to_list() == pytest.approx([0.0, (2 / 3 + 1) / 2, (2 / 3 + 0) / 2])


def test_flips_are_paired_by_replicate(store):
    store.give("pre_cot", 1, [0.1, 0.9, 0.9])
    table = by_example(matrix(store, 1), "label_only").set_index("item")
    assert table["gained post_cot"].to_list() == [0.0, 1.0, 0.0] and table["lost post_cot"].to_list() == [0.0, 0.0, 0.5]
    # Of pre-CoT only replicate 1 has finished, so it is held against that one.
    assert table["gained pre_cot"].to_list() == [0.0, 1.0, 1.0] and table["lost pre_cot"].to_list() == [1.0, 0.0, 0.0]
    assert (table[["gained label_only", "lost label_only"]] == 0).all(axis=None)


def test_runs_that_have_not_finished_and_modes_that_were_not_asked_are_left_out(store):
    store.jobs_[0].state = "running"
    found = matrix(store, 1)
    assert found.conditions == ("label_only", "post_cot") and found.replicates == (0, 1)
    assert (found.right[0, 0] == -1).all() and np.isnan(found.gold[0, 0]).all()
    assert matrix(store, 1, "own").items == () and by_example(matrix(store, 1, "own")).empty
    with pytest.raises(UnknownName):
        by_example(found, "pre_cot")


def test_worlds_have_rows_of_their_own(store):
    for condition in ("label_only", "post_cot"):
        store.give(condition, 2, [0.9, 0.1], ids=["w2-a", "w2-b"])
    table = by_example(matrix(store, 1), "label_only").set_index("item")
    assert list(table.index) == ["q0", "q1", "q2", "w2-a", "w2-b"]
    assert table.loc["w2-a", ["right label_only", "right post_cot"]].to_list() == [1.0, 1.0]
    assert table.loc["q1", "right post_cot"] == 1.0  # two of two replicates, the third has other questions


def test_the_matrix_is_kept_until_another_run_finishes(store):
    first = matrix(store, 1)
    assert matrix(store, 1) is first
    store.give("pre_cot", 0, [0.9, 0.9, 0.9])
    assert matrix(store, 1) is not first


def items(table, filters, **how):
    return page(table, filters, **how).rows["item"].to_list()


def test_filters_narrow_the_page_and_its_total(store):
    table = by_example(matrix(store, 1), "label_only")
    assert items(table, Filters()) == ["q1", "q2", "q0"]  # most disagreement first
    assert items(table, Filters(right="post_cot", wrong="label_only")) == ["q1"]
    assert items(table, Filters(wrong="label_only")) == ["q1"]  # half right is neither
    assert items(table, Filters(flips="post_cot")) == ["q1", "q2"]
    assert items(table, Filters(most_undecided=0.9)) == ["q2"]
    assert items(table, Filters(text="BIRD"), texts=TEXTS) == ["q0"] and items(
        table, Filters(text="cat"), texts=TEXTS
    ) == ["q1", "q2"]
    assert items(table, Filters(text="q2")) == ["q2"]
    assert items(table, Filters(slices={"hops": ("2",), "relation": ("motion", "habitat")}), texts=TEXTS) == ["q1"]
    assert items(table, Filters(slices={"hops": ("2",)})) == []


def test_pages_follow_each_other_in_a_fixed_order(store):
    table = by_example(matrix(store, 1), "label_only")
    pages = [page(table, sort="gold post_cot", descending=False, offset=offset, limit=2) for offset in (0, 2, 4)]
    assert [one.rows["item"].to_list() for one in pages] == [["q2", "q0"], ["q1"], []] and {
        one.total for one in pages
    } == {3}
    assert items(table, None, sort="right post_cot") == ["q0", "q1", "q2"]  # ties by id
    assert items(table, None, sort="item") == ["q2", "q1", "q0"]
    for wrong in (
        {"sort": "gold multitask"},
        {"filters": Filters(right="multitask")},
        {"filters": Filters(flips="multitask")},
    ):
        with pytest.raises(UnknownName):
            page(table, **wrong)


def test_reliability_is_told_by_run(store):
    table = reliability(matrix(store, 1)).set_index(["condition", "replicate"])
    assert len(table) == 4
    row = table.loc["label_only", 0]
    # Confidences .9, .8 (wrong choice of q1), .6 in bins of their own: distances .1, .8, .4.
    assert row["calibration_error"] == pytest.approx((0.1 + 0.8 + 0.4) / 3)
    assert (row["accuracy"], row["accuracy at 0.5"]) == (pytest.approx(2 / 3), 0.5)


def test_a_notebook_gets_the_same_as_data_frames(store):
    study = StudyFrames(store, store.study())
    pd.testing.assert_frame_equal(study.examples("label_only"), by_example(matrix(store, 1), "label_only"))
    pd.testing.assert_frame_equal(study.reliability(), reliability(matrix(store, 1)))
    intervals = study.intervals("post_cot", "label_only")
    assert intervals["method"].to_list() == ["crossed random effects", "t over replicates", "two-level bootstrap"]
    assert intervals["mean"].to_list() == pytest.approx([1 / 6] * 3)
    assert study.intervals("post_cot", "multitask").empty


def test_texts_are_those_of_every_task_and_a_deleted_task_has_none(store, monkeypatch):
    example = Example("q0", "Where?", (Choice("A", "nest"), Choice("B", "pond")), "A", "test")
    for job in store.jobs_:
        job.kind, job.config = "train", {"task_digest": "d", "condition": "label_only", "source": ""}
    monkeypatch.setattr(
        matrices, "task_of", lambda store, job: SimpleNamespace(examples=lambda split, source: [example])
    )
    found = matrices.texts(store, 1)
    assert found.loc["q0", ["question", "choices", "answer", "rationale"]].to_list() == [
        "Where?",
        ("nest", "pond"),
        "nest",
        "",
    ]

    def gone(store, job):
        raise UnknownName("task", "made", [])

    monkeypatch.setattr(matrices, "task_of", gone)
    assert matrices.texts(store, 1).empty

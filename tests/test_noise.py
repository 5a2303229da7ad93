"""What a plan promises rests on what the store has seen of the task and the student."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from cotdistill.config import plain
from cotdistill.planning import noise
from cotdistill.results import results
from cotdistill.statistics.power import foretold, guesses
from cotdistill.studies.spec import starter, starter_worlds
from tests.test_results import FakeStore

ITEMS = 120


class Stores(FakeStore):
    """Several studies, each a list of members and a spec."""

    def __init__(self, folder):
        super().__init__(folder)
        self.specs = []
        self.queue = SimpleNamespace(study=self.study, studies=self.studies, jobs=lambda study=None: self.jobs_)

    def launch(self, spec, replicates, spread=0.05, conditions=("label_only", "post_cot", "pre_cot"), own_items=False):
        rng = np.random.default_rng(len(self.specs))
        self.members, begun = [], len(self.jobs_)
        level = rng.random(ITEMS)
        for condition in conditions:
            for replicate in range(replicates):
                ids = [f"w{replicate}-q{i:03}" for i in range(ITEMS)] if own_items else None
                self.add(
                    f"{condition}",
                    replicate + 100 * begun,
                    level + rng.normal(0, 0.1, ITEMS) < 0.6 + rng.normal(0, spread),
                    ids=ids,
                )
        self.specs.append((spec, tuple(self.members)))

    def study(self, which=1):
        spec, members = self.specs[int(which) - 1]
        return SimpleNamespace(id=int(which), name=spec.name, members=members, spec=plain(spec))

    def studies(self):
        return [self.study(number) for number in range(len(self.specs), 0, -1)]


@pytest.fixture
def store(tmp_path):
    return Stores(tmp_path)


def test_without_earlier_runs_a_plan_rests_on_stated_guesses(store):
    told = noise.detectable_effect(store, starter(), ITEMS, 20)
    assert told == foretold(5, 20, *guesses(ITEMS, 20), noise.GUESSED)


def test_the_earlier_study_with_the_most_replicates_speaks(store):
    store.launch(dataclasses.replace(starter(), name="large"), 5)
    store.launch(dataclasses.replace(starter(), name="small"), 3)
    label, low, high = noise.earlier(store, starter())
    assert label.startswith("from the noise of 5 earlier replicates, study large")
    # Two independent spreads of 5 points make a difference of 7 points.
    assert low.replicate < 0.07 < high.replicate and low.rest == high.rest > 0
    assert noise.detectable_effect(store, starter(), ITEMS, ITEMS)["label"] == label


def test_a_collapsed_replicate_of_the_earlier_study_is_named(store):
    store.launch(starter(), 5, spread=0.0)
    for member, job in zip(store.members, store.jobs_, strict=True):
        if member.condition == "post_cot" and member.replicate == 3:
            path = store.folder / f"{job.produced['predictions']}.parquet"
            table = store.artifacts.table(job.produced["predictions"])
            table.assign(correct=False).to_parquet(path)
    label, _, _ = noise.earlier(store, starter())
    assert "there post-CoT: replicate 3 (0.0 %) stands far from the others" in label


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(starter(), task="esnli"),
        dataclasses.replace(starter(), student=dataclasses.replace(starter().student, name="micro")),
        dataclasses.replace(starter(), task_settings={"types": 3}),
    ],
    ids=["task", "student", "settings"],
)
def test_another_task_or_student_says_nothing(store, other):
    store.launch(other, 4)
    assert noise.earlier(store, starter()) is None


def test_worlds_speak_for_worlds_only(store):
    store.launch(starter_worlds(), 4, own_items=True)
    assert noise.earlier(store, starter()) is None
    _, low, high = noise.earlier(store, starter_worlds())
    assert 0 < low.replicate < high.replicate and low.cluster == low.rest == 0


def test_one_replicate_shows_no_noise(store):
    store.launch(starter(), 1)
    assert noise.earlier(store, starter()) is None


def test_pairs_are_those_that_a_comparison_judges(store):
    store.launch(starter(), 3)
    pair = results.paired(store, 1, "post_cot", "label_only")
    assert pair.values.shape == (3, ITEMS) and not pair.nested
    assert pair.values.mean() == pytest.approx(results.difference(store, 1, "post_cot", "label_only")[0].mean)
    assert results.paired(store, 1, "post_cot", "multitask") is None

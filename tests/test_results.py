"""From stored runs to tables and verdicts, with answers made by hand: no training, a fake store."""

import contextlib
import hashlib
import json
import sqlite3
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cotdistill.results import claims, results

SHUFFLED = claims.SHUFFLED
ITEMS = 200


class FakeStore:
    """One study; every run a Parquet file of predictions, as a worker would leave it."""

    def __init__(self, folder):
        self.folder, self.jobs_, self.members = folder, [], []
        database = SimpleNamespace(read=lambda: contextlib.closing(self.database()))
        self.queue = SimpleNamespace(
            study=self.study, studies=lambda: [self.study()], jobs=lambda study=None: self.jobs_, database=database
        )
        self.artifacts = SimpleNamespace(
            path=lambda digest: folder / f"{digest}.parquet", table=lambda d: pd.read_parquet(folder / f"{d}.parquet")
        )

    def study(self, which=1):
        return SimpleNamespace(id=1, name="made", members=tuple(self.members))

    def database(self):
        """The same runs, as a store's own tables hold them."""
        connection = sqlite3.connect(":memory:")
        connection.execute("CREATE TABLE study (id, name)")
        connection.execute("CREATE TABLE member (study, place, identity, condition, replicate, role)")
        connection.execute("CREATE TABLE job (id, identity, state, result, error)")
        connection.execute("INSERT INTO study VALUES (1, 'made')")
        members = [(1, place, str(m.job_id), m.condition, m.replicate, m.role) for place, m in enumerate(self.members)]
        connection.executemany("INSERT INTO member VALUES (?, ?, ?, ?, ?, ?)", members)
        jobs = [(job.id, str(job.id), job.state, json.dumps(job.result) if job.result else None) for job in self.jobs_]
        connection.executemany("INSERT INTO job VALUES (?, ?, ?, ?, NULL)", jobs)
        return connection

    def add(self, condition, replicate, correct, *, state="finished", ids=None, dev=0.5, per_cluster=1):
        correct = np.asarray(correct, dtype=bool)
        names = ids or [f"q{i:04}" for i in range(len(correct))]
        table = pd.DataFrame(
            {
                "id": names,
                "cluster": [f"c{i // per_cluster}" for i in range(len(names))],
                "mode": "direct",
                "correct": correct,
            }
        )
        table = table.assign(predicted=0, answer=1, margin=0.0)
        digest = hashlib.sha256(f"{condition} {replicate}".encode()).hexdigest()
        table.sample(frac=1, random_state=replicate).to_parquet(self.folder / f"{digest}.parquet")
        result = {
            "accuracy": float(correct.mean()),
            "mode": "direct",
            "chance": 0.25,
            "tokens": 10,
            "seconds": 1.0,
            "dev_accuracy": dev,
        }
        done = state == "finished"
        job = SimpleNamespace(
            id=len(self.jobs_) + 1,
            state=state,
            error=None,
            result=result if done else None,
            produced={"predictions": digest} if done else {},
        )
        self.jobs_.append(job)
        self.members.append(SimpleNamespace(job_id=job.id, condition=condition, replicate=replicate, role="run"))


@pytest.fixture
def store(tmp_path):
    return FakeStore(tmp_path)


def answers(accuracy, replicate, seed=0):
    """Right with the probability `accuracy`; easier items are easier for every condition."""
    level = np.random.default_rng(99).random(ITEMS)
    noise = np.random.default_rng([seed, replicate]).normal(0, 0.08, ITEMS)
    return level + noise < accuracy


def fill(store, accuracies, replicates=5, dev=None):
    for seed, (condition, accuracy) in enumerate(accuracies.items()):
        for replicate in range(replicates):
            store.add(
                condition,
                replicate,
                answers(accuracy, replicate, seed),
                dev=(dev or accuracies)[condition] + 0.001 * (seed * replicate % 4),
            )


def test_a_difference_is_that_of_the_means_and_rows_need_not_be_in_order(store):
    fill(store, {"label_only": 0.4, "post_cot": 0.7})
    (row,) = results.comparison(store, 1, "label_only").rows
    means = results.runs(store, 1).groupby("condition")["accuracy"].mean()
    assert row.difference == pytest.approx(means["post_cot"] - means["label_only"])
    assert (row.word, row.items, row.clusters, row.replicates) == ("better", ITEMS, ITEMS, 5)
    assert row.cohens_h == pytest.approx(
        2 * np.arcsin(means["post_cot"] ** 0.5) - 2 * np.arcsin(means["label_only"] ** 0.5)
    )
    assert row.standardised > 1
    assert row.kind.startswith("crossed random effects") and "new questions and new seeds" in row.kind


def test_a_run_that_failed_leaves_the_rest_paired_and_provisional(store):
    fill(store, {"label_only": 0.4, "post_cot": 0.7}, replicates=3)
    store.add("label_only", 3, answers(0.4, 3), state="failed")
    store.add("post_cot", 3, answers(0.7, 3))
    compared = results.comparison(store, 1, "label_only")
    assert compared.provisional and [(r.word, r.replicates) for r in compared.rows] == [("provisional", 3)]
    assert [(s.planned, s.finished) for s in results.summary(store, 1)] == [(4, 3), (4, 4)]


def test_a_study_of_which_nothing_has_run_is_empty_and_no_error(store):
    store.add("label_only", 0, [True], state="queued")
    assert results.comparison(store, 1, "label_only").rows == ()
    assert results.predictions(store, 1).empty and results.curves(store, 1).empty
    (summary,) = results.summary(store, 1)
    assert (summary.mean, summary.low, summary.points, summary.finished) == (None, None, (), 0)
    assert {v.word for v in claims.judge(store, 1)} == {"cannot be asked here"}


def test_a_finished_run_without_predictions_is_left_out_of_the_intervals(store):
    fill(store, {"label_only": 0.4, "post_cot": 0.7}, replicates=3)
    store.jobs_[0].produced = {}
    (row,) = results.comparison(store, 1, "label_only").rows
    assert row.replicates == 2


def test_runs_that_answered_different_questions_are_not_compared(store):
    store.add("label_only", 0, answers(0.4, 0))
    store.add("post_cot", 0, answers(0.7, 0), ids=[f"other{i:04}" for i in range(ITEMS)])
    assert results.comparison(store, 1, "label_only").rows == ()


def test_worlds_of_their_own_make_the_replicate_the_unit(store):
    for replicate in range(3):
        ids = [f"w{replicate}-{i:04}" for i in range(ITEMS)]
        store.add("label_only", replicate, answers(0.4, replicate), ids=ids)
        store.add("post_cot", replicate, answers(0.7, replicate, 1), ids=ids)
    (row,) = results.comparison(store, 1, "label_only").rows
    assert row.kind == "t over replicates: it speaks of new worlds and new seeds"


def test_one_replicate_gets_wilsons_interval_and_mcnemars_p(store):
    right = np.zeros(40, bool)
    store.add("label_only", 0, right)
    right[:6] = True
    store.add("post_cot", 0, right)
    (row,) = results.comparison(store, 1, "label_only").rows
    assert row.p == pytest.approx(2 * 0.5**6) and row.word == "better, this seed only" and "one seed" in row.kind
    assert results.summary(store, 1)[0].low == 0.0 and results.summary(store, 1)[0].high == pytest.approx(
        0.0876, abs=1e-4
    )


def test_an_accuracy_that_holds_chance_in_its_interval_is_at_chance(store):
    store.add("label_only", 0, [True] * 10 + [False] * 30)
    store.add("post_cot", 0, [True] * 30 + [False] * 10)
    assert [s.at_chance for s in results.summary(store, 1)] == [True, False]


def test_a_claim_holds_only_if_each_of_its_comparisons_does(store):
    fill(store, {"label_only": 0.4, "pre_cot": 0.5, "post_cot": 0.7})
    first = claims.judge(store, 1)[0]
    assert first.word == "holds" and first.p < 0.05 and "200 questions" in first.message


def test_a_claim_fails_when_one_comparison_goes_the_other_way(store):
    fill(store, {"label_only": 0.4, "pre_cot": 0.9, "post_cot": 0.7})
    assert claims.judge(store, 1)[0].word == "fails"


def test_a_claim_with_runs_left_is_provisional(store):
    fill(store, {"label_only": 0.4, "pre_cot": 0.5, "post_cot": 0.7})
    store.add("pre_cot", 5, answers(0.5, 5), state="running")
    first = claims.judge(store, 1)[0]
    assert first.word == "provisional" and first.message.startswith("1 of 16")


SECOND = ("label_only", "post_cot/random_tokens", SHUFFLED, "post_cot")


def test_shuffled_as_good_as_intact_holds_and_says_how_much_of_the_gain_is_kept(store):
    fill(store, dict(zip(SECOND, (0.3, 0.32, 0.75, 0.7), strict=True)))
    second = claims.judge(store, 1)[1]
    assert second.word == "holds" and "no worse by any margin" in second.message and "% of the gain (" in second.message
    assert "for new seeds on these questions)" in second.message


def test_without_a_gain_on_dev_or_on_test_there_is_nothing_to_keep(store, tmp_path):
    accuracies = dict(zip(SECOND, (0.3, 0.3, 0.7, 0.7), strict=True))
    fill(store, accuracies, dev=dict.fromkeys(SECOND, 0.5))
    second = claims.judge(store, 1)[1]
    assert second.word == "cannot be asked here" and "on dev" in second.message
    (tmp_path / "test").mkdir()
    other = FakeStore(tmp_path / "test")
    fill(other, {**accuracies, SHUFFLED: 0.3, "post_cot": 0.3}, dev=accuracies)
    second = claims.judge(other, 1)[1]
    assert second.word == "cannot be asked here" and "on dev" not in second.message


def test_a_gain_that_vanishes_at_equal_tokens_is_called_a_gain_of_steps(store):
    fill(store, {"label_only": 0.4, "pre_cot": 0.5, "post_cot": 0.7, "label_only@tokens=post_cot": 0.7})
    for job, member in zip(store.jobs_, store.members, strict=True):
        job.result["tokens"] = 10 if member.condition == "label_only" else 30
    first = claims.judge(store, 1)[0]
    assert first.word == "holds" and "is a gain of steps" in first.budget
    assert [c.second for c in first.at_tokens] == ["label_only@tokens=post_cot", "pre_cot"]
    assert [c.status for c in first.at_tokens] == ["done", "done"]


def test_equal_tokens_that_were_not_trained_are_said_to_be_missing(store):
    fill(store, {"label_only": 0.4, "pre_cot": 0.5, "post_cot": 0.7})
    for job, member in zip(store.jobs_, store.members, strict=True):
        job.result["tokens"] = 10 if member.condition == "label_only" else 30
    first = claims.judge(store, 1)[0]
    assert first.at_tokens[0].status == "not_run" and "no label only, at the tokens of post-CoT" in first.budget


def test_every_verdict_says_what_would_change_it(store):
    fill(store, {"label_only": 0.4, "pre_cot": 0.9, "post_cot": 0.7})
    first, second, third = claims.judge(store, 1)
    assert "with pre-CoT would have to lie wholly above 0" in first.change
    # What is missing is said once: in the verdict's own message.
    assert "token-shuffled post-CoT" in second.message + second.change
    assert "key tokens" in third.message + third.change
    assert [c.status for c in third.comparisons] == ["not_run"] * 3


def test_a_margin_that_was_chosen_beforehand_is_used(store):
    fill(store, dict(zip(SECOND, (0.3, 0.32, 0.66, 0.7), strict=True)))
    strict, lenient = (claims.judge(store, 1, margin=m)[1] for m in (0.01, 0.3))
    assert "margin 1.0" in strict.message and strict.word != "holds" and lenient.word == "holds"
    assert lenient.comparisons[2].word == "no worse" and lenient.comparisons[2].margin == 0.3


def test_an_open_comparison_says_what_would_settle_it(store):
    # Replicates spread by about four points and two conditions by two: three replicates leave it open.
    shifts = {"label_only": (0.50, 0.53, 0.47), "pre_cot": (0.30, 0.32, 0.28), "post_cot": (0.48, 0.60, 0.51)}
    for seed, (condition, levels) in enumerate(shifts.items()):
        for replicate, level in enumerate(levels):
            store.add(condition, replicate, answers(level, replicate, seed))
    first = claims.judge(store, 1)[0]
    (compared, other) = first.comparisons
    assert (compared.word, other.settled_by) == ("not distinguishable", None)
    assert (
        compared.settled_by.replicates > 3
        and f"about {compared.settled_by.replicates} replicates on these questions" in first.change
    )


def test_one_replicate_cannot_tell_what_would_settle_it(store):
    fill(store, {"label_only": 0.5, "pre_cot": 0.3, "post_cot": 0.5}, replicates=1)
    assert claims.judge(store, 1)[0].comparisons[0].settled_by is None

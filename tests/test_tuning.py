"""A setting chosen per condition on dev, with pilots that no claim sees."""

from __future__ import annotations

import pandas as pd
import pytest

from cotdistill.errors import ConfigError, UsageError
from cotdistill.execution.worker import work
from cotdistill.planning import tuning
from cotdistill.planning.plan import launch, plan
from cotdistill.planning.tuning import best_values, pilot_specs, tuned_spec
from cotdistill.report.export import tuned_told
from cotdistill.results.findings import findings
from cotdistill.store.planned_runs import planned_runs
from cotdistill.store.store import Store
from cotdistill.studies.spec import spec_from_mapping, study_spec

SPEC = {
    "name": "grid",
    "task_settings": {"creatures": 24, "documents": 20, "wordings": 1},
    "conditions": "undistilled,label_only,post_cot",
    "replicates": 1,
    "fixed_seeds": {"world": 0},
    "training": {"steps": 2, "batch_size": 4, "evaluations": 1, "dev_examples": 8, "checkpoints": "1"},
}


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path)


def test_pilots_differ_in_the_setting_and_share_no_run_with_the_study(store):
    spec = study_spec(None, SPEC)
    pilots = pilot_specs(spec, "training.lr", [0.001, 0.01])
    assert [(one.training.lr, one.replicates, one.seeds(0).init, one.seeds(1).init) for one in pilots] == [
        (0.001, 2, 1000, 1001), (0.01, 2, 1000, 1001),
    ]  # fmt: skip
    assert all(one.seeds(0).world == 0 for one in pilots)
    own = {run.job.identity for run in plan(store, spec).runs}
    assert not own & {run.job.identity for pilot in pilots for run in plan(store, pilot).runs}


@pytest.mark.parametrize(
    ("setting", "values"), [("student.name", ["nano", "micro"]), ("training.lr", [0.1]), ("training.nothing", [1, 2])]
)
def test_what_cannot_be_tuned_is_refused(setting, values):
    with pytest.raises(UsageError):
        pilot_specs(study_spec(None, SPEC), setting, values)


def test_the_best_value_is_that_of_the_highest_mean_on_dev_and_of_equal_ones_the_first(store, monkeypatch):
    dev = {1: {"label_only": (0.5, 0.7), "post_cot": (0.4, 0.4)}, 2: {"label_only": (0.6, 0.5), "post_cot": (0.5, 0.3)}}

    def runs(store, study):
        rows = [("undistilled", 0, None)] + [(name, 2, value) for name, both in dev[study].items() for value in both]
        return pd.DataFrame(rows, columns=["condition", "steps", "dev_accuracy"]).assign(state="finished")

    monkeypatch.setattr(tuning.results, "runs", runs)
    # label only: .60 against .55; post-CoT: .40 and .40.
    assert best_values(store, [1, 2], [0.001, 0.01]) == {"label_only": 0.001, "post_cot": 0.001}


def test_each_condition_trains_at_its_own_value_and_the_findings_say_so_beside_the_shared_one(store):
    spec = study_spec(None, SPEC)
    pilots = [launch(store, plan(store, one)).study_id for one in pilot_specs(spec, "training.lr", [0.001, 0.01])]
    with pytest.raises(UsageError, match="Not all pilots have finished"):
        best_values(store, pilots, [0.001, 0.01])
    launch(store, plan(store, spec))
    work(store)
    best = best_values(store, pilots, [0.001, 0.01])
    assert set(best) == {"label_only", "post_cot"} and set(best.values()) <= {0.001, 0.01}
    tuned = tuned_spec(spec, "training.lr", {"label_only": 0.001, "post_cot": 0.01})
    assert tuned.plan_hash != spec.plan_hash and spec_from_mapping({"tuned": {}}, tuned).plan_hash == spec.plan_hash
    launch(store, plan(store, spec_from_mapping({"name": "own"}, tuned)))
    rates = {condition: job.config["training"]["lr"] for condition, _, job in planned_runs(store, "own")}
    assert rates == {"undistilled": spec.training.lr, "label_only": 0.001, "post_cot": 0.01}
    document = findings(store, "own")
    assert document["tuned"]["shared"] == "grid" and document["tuned"]["settings"]["post_cot"] == {"lr": 0.01}
    assert "post-CoT lr 0.01" in tuned_told(document) and "At the shared setting (study grid)" in tuned_told(document)
    assert tuned_told(findings(store, "grid")) == ""


def test_a_tuned_condition_that_the_study_lacks_is_refused():
    with pytest.raises(ConfigError, match="tuned has 'mixed'"):
        spec_from_mapping({**SPEC, "tuned": {"mixed": {"lr": 0.1}}})

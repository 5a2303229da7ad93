"""A setting chosen per condition on dev, with pilots that no claim sees."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from cotdistill.errors import ConfigError, UsageError
from cotdistill.execution.worker import work
from cotdistill.planning.plan import PlannedRun, launch, plan
from cotdistill.planning.tuning import (
    Tuning,
    best_values,
    dev_accuracies,
    parse_grid,
    pilot_specs,
    planned_tuning,
    tuned_spec,
)
from cotdistill.rationales.conditions import parse
from cotdistill.report.export import tuned_told
from cotdistill.results.findings import findings
from cotdistill.store.planned_runs import planned_runs
from cotdistill.store.records import JobSpec
from cotdistill.store.store import Store
from cotdistill.studies.spec import spec_from_mapping, study_spec
from tests.terminal import check_keys, speaker
from tests.test_pages import drawn, sound, texts

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


def planned(dev, state="finished"):
    """A tuning of two values with pilots made up: dev accuracies by value and condition, one per pilot replicate."""
    results, pilots = {}, []
    for place, by_condition in enumerate(dev):
        runs = []
        for condition, accuracies in by_condition.items():
            for replicate, accuracy in enumerate(accuracies):
                job = JobSpec("train", {"value": place, "condition": condition, "replicate": replicate})
                results[job.identity] = {"dev_accuracy": accuracy}
                runs.append(PlannedRun(parse(condition), replicate, job, state))
        pilots.append(SimpleNamespace(runs=runs, seconds=(1.0, 2.0)))
    queue = SimpleNamespace(job=lambda identity: SimpleNamespace(result=results[identity]))
    return SimpleNamespace(queue=queue), Tuning("training.lr", (0.001, 0.01), tuple(pilots))


def test_the_best_value_is_that_of_the_highest_mean_on_dev_and_of_equal_ones_the_first(store):
    made_up, tuning = planned([
        {"undistilled": (0.2, 0.2), "label_only": (0.5, 0.7), "post_cot": (0.4, 0.4)},
        {"undistilled": (0.3, 0.3), "label_only": (0.6, 0.5), "post_cot": (0.5, 0.3)},
    ])  # fmt: skip
    # label only: .60 against .55; post-CoT: .40 and .40.
    assert dev_accuracies(made_up, tuning)["label_only"] == pytest.approx([0.6, 0.55])
    assert best_values(made_up, tuning) == {"label_only": 0.001, "post_cot": 0.001}
    assert (tuning.runs, tuning.open, tuning.unfinished, tuning.seconds) == (12, 0, 0, (2.0, 4.0))


def test_nothing_is_chosen_before_all_pilots_have_finished_or_without_dev():
    with pytest.raises(UsageError, match="Not all pilots have finished"):
        best_values(*planned([{"label_only": (0.5,)}], state="new"))
    with pytest.raises(UsageError, match="no accuracy on dev"):
        best_values(*planned([{"label_only": (0.5, None)}]))


def test_a_grid_is_read_from_one_word():
    assert parse_grid("training.lr=0.001, 2e-3") == ("training.lr", [0.001, 0.002])
    assert parse_grid("training.schedule=linear,cosine") == ("training.schedule", ["linear", "cosine"])
    for text in ("training.lr", "training.lr=", "0.1,0.2"):
        with pytest.raises(UsageError, match="is not SETTING=A,B"):
            parse_grid(text)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A store with the finished pilots of a grid, and the study at the shared setting."""
    store = Store.open(tmp_path_factory.mktemp("tuned"))
    spec = study_spec(None, SPEC)
    for pilot in planned_tuning(store, spec, "training.lr", [0.001, 0.01]).pilots:
        launch(store, pilot)
    launch(store, plan(store, spec))
    work(store)
    return store.home


def test_each_condition_trains_at_its_own_value_and_the_findings_say_so_beside_the_shared_one(home):
    store, spec = Store.open(home), study_spec(None, SPEC)
    best = best_values(store, planned_tuning(store, spec, "training.lr", [0.001, 0.01]))
    assert set(best) == {"label_only", "post_cot"} and set(best.values()) <= {0.001, 0.01}
    tuned = tuned_spec(spec, "training.lr", {"label_only": 0.001, "post_cot": 0.01})
    assert tuned.name == "grid-tuned"
    assert tuned.plan_hash != spec.plan_hash and spec_from_mapping({"tuned": {}}, tuned).plan_hash == spec.plan_hash
    launch(store, plan(store, spec_from_mapping({"name": "own"}, tuned)))
    rates = {condition: job.config["training"]["lr"] for condition, _, job in planned_runs(store, "own")}
    assert rates == {"undistilled": spec.training.lr, "label_only": 0.001, "post_cot": 0.01}
    document = findings(store, "own")
    assert document["tuned"]["shared"] == "grid" and document["tuned"]["settings"]["post_cot"] == {"lr": 0.01}
    assert "post-CoT lr 0.01" in tuned_told(document) and "At the shared setting (study grid)" in tuned_told(document)
    assert tuned_told(findings(store, "grid")) == ""
    fewer = spec_from_mapping({"name": "fewer", "conditions": ["label_only", "post_cot"]}, tuned)
    launch(store, plan(store, fewer))
    assert findings(store, "fewer")["tuned"]["shared"] == "grid", "it has these conditions and one more"


def test_a_plan_shows_its_pilot_runs_their_cost_and_the_best_value(home, capsys, monkeypatch):
    monkeypatch.setenv("COTDISTILL_HOME", str(home))
    say = speaker(capsys)
    document = say("study plan grid --tune training.lr=0.001,0.01 --json").document
    check_keys("study plan", document)
    assert (document["tuning"]["runs"], document["tuning"]["new"]) == (12, 0)  # 3 conditions x 2 values x 2 replicates
    assert set(document["tuning"]["best"]) == {"label_only", "post_cot"}
    text = say("study plan grid --tune training.lr=0.001,0.02").out
    assert (
        "Tunes training.lr over 0.001, 0.02: 12 pilot runs on 2 replicates of their own, in no claim; 6 to train"
        in text
    )


def test_page_train_launches_the_pilots_and_then_the_study_at_the_best_values(home, tmp_path, monkeypatch):
    home = shutil.copytree(home, tmp_path / "home")
    for name in ("plans", "queue"):
        monkeypatch.setattr(f"cotdistill.dashboard.widgets.{name}.ensure_supervisor", lambda store: None)
    app = drawn("pages/2_Train.py", home, monkeypatch)
    app.selectbox(key="compose.start").select("grid").run()
    app.text_input(key="compose.tune_values").set_value("0.001, 0.02").run()
    assert "launch" not in [button.key for button in sound(app).button]
    assert app.button(key="launch_pilots").label == "Launch 6 pilot runs"
    assert "--tune training.lr=0.001,0.02" in texts(app)
    app.button(key="launch_pilots").click().run()
    assert sound(app).button(key="launch_pilots").label == "Every pilot is queued"
    app.text_input(key="compose.tune_values").set_value("0.001, 0.01").run()
    assert "(best)" in texts(sound(app))
    best = best_values(
        Store.open(home), planned_tuning(Store.open(home), study_spec(None, SPEC), "training.lr", [0.001, 0.01])
    )
    app.button(key="launch").click().run()
    assert dict(Store.open(home).queue.study("grid-tuned").spec["tuned"]) == {
        condition: {"lr": value} for condition, value in best.items()
    }
    app.text_input(key="compose.tune_values").set_value("0.001").run()
    assert "expected at least two" in texts(sound(app, "expected at least two"))


def test_a_tuned_condition_that_the_study_lacks_is_refused():
    with pytest.raises(ConfigError, match="tuned has 'mixed'"):
        spec_from_mapping({**SPEC, "tuned": {"mixed": {"lr": 0.1}}})

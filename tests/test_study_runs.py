"""A whole small study in one process: planned, trained by a worker, scored, compared, judged. Real training on a small world."""

import dataclasses
import math

import pytest

from cotdistill.config import plain
from cotdistill.errors import ConfigError, GrammarError, NoRationale, StudentError, UnknownName
from cotdistill.exchange.verify import verify
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.results import claims, results
from cotdistill.store.store import Store
from cotdistill.studies.spec import spec_from_mapping, starter, starter_worlds, study_spec
from cotdistill.tasks.importing.importer import import_task

SMALL = {
    "name": "small",
    "task": "field_guide",
    "task_settings": {"creatures": 24, "documents": 100, "wordings": 2},
    "conditions": "undistilled,label_only,pre_cot,post_cot,shuffled,random,label_only@tokens=post_cot,post_cot@source=deductive",
    "replicates": 2,
    "fixed_seeds": {"world": 0, "base": 0},
    "base_steps": 5,
    "training": {"steps": 6, "batch_size": 8, "evaluations": 1, "dev_examples": 10, "checkpoints": "0,1"},
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    store = Store.open(tmp_path_factory.mktemp("store"))
    planned = plan(store, study_spec(None, SMALL))
    launch(store, planned)
    assert work(store) == 17
    return store, planned


def test_every_run_of_the_plan_ends_finished_with_its_costs(ran):
    store, _ = ran
    table = results.runs(store, "small")
    assert set(table["state"]) == {"finished"} and len(table) == 16
    trained = table[table["condition"] != "undistilled"]
    for column in ("tokens", "loss_tokens", "flops", "seconds", "steps", "n"):
        assert (trained[column] > 0).all(), column
    assert set(table["n"]) == {108} and set(table["chance"]) == {0.25}


def test_equal_tokens_trains_label_only_until_it_has_seen_as_many(ran):
    store, _ = ran
    table = results.runs(store, "small").query("replicate == 0").set_index("condition")
    assert table.loc["label_only", "steps"] == 6
    assert table.loc["label_only@tokens=post_cot", "steps"] > 6
    assert table.loc["label_only@tokens=post_cot", "tokens"] >= table.loc["post_cot", "tokens"]


def test_planning_again_finds_every_job_by_its_identity(ran):
    store, planned = ran
    again = plan(store, planned.spec)
    assert again.new == 0 and {r.state for r in again.runs} == {"finished"}
    assert [r.job.identity for r in again.runs] == [r.job.identity for r in planned.runs]


def test_one_more_replicate_adds_only_its_own_runs(ran):
    store, planned = ran
    assert plan(store, dataclasses.replace(planned.spec, replicates=3)).new == 8


def test_a_condition_is_scored_in_its_own_mode_and_the_others_are_marked(ran):
    store, _ = ran
    jobs = {j.config["condition"]: j for j in store.queue.jobs(kind="train") if j.config["seeds"]["init"] == 0}
    pre, post, label = (jobs[c].result for c in ("pre_cot", "post_cot", "label_only"))
    assert pre["mode"] == "own" and post["mode"] == label["mode"] == "direct"
    assert set(label["modes"]) == {"direct"}
    assert pre["modes"]["own"]["trained"] and not pre["modes"]["direct"]["trained"]
    assert 0 <= pre["unterminated"] <= 1 and label["unterminated"] is None
    assert pre["batch_gap"] < 1e-4


def test_predictions_are_a_row_an_item_condition_and_replicate(ran):
    store, _ = ran
    table = results.predictions(store, "small")
    assert len(table) == 16 * 108
    by_run = table.groupby(["condition", "replicate"])["correct"].mean()
    runs = results.runs(store, "small").set_index(["condition", "replicate"])["accuracy"]
    assert by_run.sort_index().tolist() == pytest.approx(runs.sort_index().tolist())


def test_the_summary_and_the_differences_agree_with_the_runs(ran):
    store, _ = ran
    summaries = {s.condition: s for s in results.summary(store, "small")}
    compared = results.comparison(store, "small", "label_only")
    assert not compared.provisional and len(compared.rows) == 7
    for row in compared.rows:
        assert row.difference == pytest.approx(summaries[row.condition].mean - summaries["label_only"].mean)
        assert row.low <= row.difference <= row.high
        assert (row.items, row.clusters, row.replicates) == (108, 18, 2)
    assert all(s.low <= s.mean <= s.high and len(s.points) == 2 for s in summaries.values())


def test_curves_hold_the_losses_and_the_scores_on_dev(ran):
    store, _ = ran
    curve = results.curves(store, "small")
    assert {"loss", "label_loss", "rationale_loss", "lr", "dev_accuracy"} <= set(curve["name"])
    assert curve["value"].map(math.isfinite).all()


def test_a_claim_is_judged_or_says_what_is_missing(ran):
    store, _ = ran
    verdicts = {v.claim: v for v in claims.judge(store, "small")}
    assert (
        verdicts["1"].word.removesuffix(" (demonstration)") in ("holds", "fails", "not shown")
        and "108 questions" in verdicts["1"].message
    )
    assert verdicts["3"].word == "cannot be asked here" and "key tokens" in verdicts["3"].message


def test_a_study_with_runs_missing_is_provisional_and_never_an_error(ran):
    store, planned = ran
    more = dataclasses.replace(planned.spec, name="more", replicates=3)
    launch(store, plan(store, more))
    assert results.comparison(store, "more", "label_only").provisional
    assert {r.word for r in results.comparison(store, "more", "label_only").rows} == {"provisional"}
    assert {v.word for v in claims.judge(store, "more")} <= {"provisional", "cannot be asked here"}
    assert [s.finished for s in results.summary(store, "more")] == [2] * 8


def test_the_store_verifies(ran):
    assert not verify(ran[0]).problems


def test_several_worlds_are_nested_and_the_world_is_the_unit(tmp_path):
    store = Store.open(tmp_path)
    launch(
        store,
        plan(
            store, study_spec(None, {**SMALL, "name": "worlds", "fixed_seeds": {}, "conditions": "label_only,post_cot"})
        ),
    )
    work(store)
    (row,) = results.comparison(store, "worlds", "label_only").rows
    assert "new worlds" in row.kind


def test_the_replicate_is_outside_the_condition_and_inside_the_identity(ran):
    _, planned = ran
    identities = {(str(r.condition), r.replicate): r.job.identity for r in planned.runs}
    assert len(set(identities.values())) == len(identities)


def test_the_equal_tokens_budget_gives_every_shorter_condition_its_extra_steps(ran):
    store, planned = ran
    spec = dataclasses.replace(planned.spec, budget="tokens", conditions=("label_only", "post_cot"))
    assert {str(r.condition) for r in plan(store, spec).runs} == {"label_only@tokens=post_cot", "post_cot"}


def test_the_equal_tokens_budget_is_refused_where_a_rationale_changes_its_length_in_training(ran):
    store, planned = ran
    spec = dataclasses.replace(planned.spec, budget="tokens", conditions=("label_only", "pre_cot+stepwise_removal"))
    with pytest.raises(GrammarError, match="under stepwise_removal a rationale's length changes"):
        plan(store, spec)


def test_a_spec_reads_back_from_its_plain_form():
    for spec in (starter(), starter_worlds()):
        assert spec_from_mapping(plain(spec)) == spec


def test_every_problem_of_a_study_is_told_at_once():
    with pytest.raises(ConfigError) as error:
        study_spec(None, {"conditions": ["shufled", "label_only"], "replicates": 0, "baseline": "pre_cot"})
    told = " ".join(error.value.problems)
    assert "shufled" in told and "replicates" in told


def test_a_variant_of_a_named_study_keeps_its_name():
    assert study_spec("starter", {"replicates": 5}).name == "starter"
    with pytest.raises(UnknownName) as error:
        study_spec("startr", {})
    assert error.value.near == ["starter", "starter-worlds"] or "starter" in error.value.near


@pytest.mark.parametrize(
    ("changes", "raised"),
    [
        ({"task": "field_gide"}, UnknownName),
        ({"source": "mixd"}, UnknownName),
        ({"student": "nanno"}, UnknownName),
        ({"student": "./nowhere"}, StudentError),
    ],
)
def test_names_that_do_not_exist_are_told_before_anything_is_queued(tmp_path, changes, raised):
    store = Store.open(tmp_path)
    with pytest.raises(raised):
        plan(store, study_spec(None, {**SMALL, **changes}))
    assert store.queue.jobs() == []


def test_a_task_without_rationales_can_only_train_label_only(tmp_path):
    store = Store.open(tmp_path / "s")
    lines = [
        f'{{"id": "{i}", "question": "is {i} even ?", "choices": ["yes", "no"], "answer": {i % 2}}}' for i in range(200)
    ]
    (tmp_path / "plain.jsonl").write_text("\n".join(lines))
    import_task(store.tasks_root, tmp_path / "plain.jsonl", "plain")
    with pytest.raises(NoRationale):
        plan(store, study_spec(None, {"task": "plain", "conditions": "label_only,post_cot"}))
    assert plan(store, study_spec(None, {"task": "plain", "conditions": "label_only", "replicates": 2})).new == 2


def test_rationales_written_for_another_answer_are_counted_before_training(tmp_path):
    store = Store.open(tmp_path / "s")
    folder = tmp_path / "in"
    (folder / "rationales").mkdir(parents=True)
    lines = [
        f'{{"id": "{i}", "question": "is {i} even ?", "choices": ["yes", "no"], "answer": "{"AB"[i % 2]}"}}'
        for i in range(200)
    ]
    (folder / "train.jsonl").write_text("\n".join(lines[:150]))
    (folder / "dev.jsonl").write_text("\n".join(lines[150:]))
    told = [f'{{"id": "{i}", "rationale": "it is", "teacher_label": "A"}}' for i in range(150)]
    (folder / "rationales" / "train.guess.jsonl").write_text("\n".join(told))
    import_task(store.tasks_root, folder, "even")
    planned = plan(store, study_spec(None, {"task": "even", "conditions": "label_only,post_cot", "replicates": 2}))
    assert any("written for another answer" in check for check in planned.checks)


def test_a_study_on_a_student_of_the_catalogue_takes_what_suits_it_unless_told_otherwise():
    for name in ("phi-1_5", "microsoft/phi-1_5"):
        spec = study_spec(None, {"conditions": "label_only", "student": name})
        assert (spec.student.lora_rank, spec.training.lr, spec.training.precision, spec.training.steps) == (
            16,
            2e-4,
            "bf16",
            900,
        )
    told = study_spec(
        None,
        {
            "conditions": "label_only",
            "student": {"name": "phi-1_5", "lora_rank": 0},
            "training.lr": 4e-3,
            "training": {"steps": 7},
        },
    )
    assert (told.student.lora_rank, told.training.lr, told.training.steps, told.training.precision) == (
        0,
        4e-3,
        7,
        "bf16",
    )
    assert spec_from_mapping(plain(told)) == told
    assert spec_from_mapping({"training.lr": 1e-3}, spec).training.lr == 1e-3
    # A setting that a named study makes itself stays.
    changed = spec_from_mapping(
        {"student": "gpt2"}, dataclasses.replace(starter(), training=dataclasses.replace(starter().training, steps=55))
    )
    assert (changed.training.steps, changed.training.lr) == (55, 5e-5)

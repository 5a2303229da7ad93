"""The same students on a second task: shown beside, never judged, and refused where they cannot answer."""

from __future__ import annotations

import dataclasses
import json

import pytest

from cotdistill.config import RunConfig
from cotdistill.errors import ConfigError, UsageError
from cotdistill.exchange.export import export_study
from cotdistill.exchange.import_archive import import_study
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.report.also_test import also_table, caption
from cotdistill.report.commands import run_study
from cotdistill.report.export import published
from cotdistill.results.findings import findings
from cotdistill.results.replicates import run_answers
from cotdistill.store.store import Store
from cotdistill.studies.also_test import SecondTest, checked_answerable, second_test
from cotdistill.studies.spec import spec_from_mapping, study_spec
from cotdistill.tasks.catalog import open_task, parse_reference
from tests.terminal import check_keys, speaker

SPEC = {
    "name": "both",
    "task_settings": {"creatures": 24, "documents": 20, "wordings": 1},
    "conditions": "label_only,post_cot",
    "replicates": 2,
    "fixed_seeds": {"world": 0},
    "training": {"steps": 2, "batch_size": 4, "evaluations": 1, "dev_examples": 8, "checkpoints": "1"},
}
HARDER = "field_guide(choices=6)"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    store = Store.open(tmp_path_factory.mktemp("both"))
    launch(store, plan(store, study_spec(None, SPEC | {"also_test": HARDER})))
    work(store)
    return store.home


@pytest.fixture
def store(home, monkeypatch):
    monkeypatch.setenv("COTDISTILL_HOME", str(home))
    return Store.open(home)


def test_a_second_task_changes_no_run_no_hash_and_no_verdict(store, tmp_path):
    alone, both = study_spec(None, SPEC), study_spec(None, SPEC | {"also_test": HARDER})
    assert alone.plan_hash == both.plan_hash
    first, second = plan(Store.open(tmp_path), alone), plan(Store.open(tmp_path), both)
    assert [run.job.identity for run in first.runs] == [run.job.identity for run in second.runs]
    assert len(first.also) == 0 and [one.job.needs for one in second.also] == [
        (run.job.identity,) for run in second.runs
    ]
    document = findings(store, "both")
    assert document["missing_runs"] == 0 and document["extended"] is None


def test_students_answer_every_question_of_the_second_task_and_the_table_shows_them(store):
    also = findings(store, "both")["also_test"]
    task = open_task(store.tasks_root, "field_guide", settings=SPEC["task_settings"] | {"choices": 6})
    assert (also["task"], also["questions"], also["chance"]) == (HARDER, len(task.examples("test")), task.chance)
    assert also["baseline"] == "label_only" and also["missing"] == 0
    label_only, post_cot = also["conditions"]
    jobs = {(m.condition, m.replicate): m.job_id for m in store.queue.study("both").members if m.role == "also"}
    right = {
        key: run_answers(store.artifacts.path(store.queue.job(number).produced["predictions"]), "direct").correct
        for key, number in jobs.items()
    }
    assert list(label_only["replicates"]) == [right["label_only", r].mean() for r in (0, 1)]
    expected = 100 * sum(right["post_cot", r].mean() - right["label_only", r].mean() for r in (0, 1)) / 2
    assert post_cot["points"] == pytest.approx(expected) and label_only["points"] is None
    assert post_cot["points_low"] < post_cot["points"] < post_cot["points_high"]
    table = also_table(also)
    assert [row[0] for row in table.rows] == ["label only", "post-CoT"]
    assert "exploratory, never judged" in table.caption and "better" not in str(table.rows)


def test_compare_and_every_export_show_it(store, capsys):
    say = speaker(capsys)
    said = say("compare both --json")
    check_keys("compare", said.document)
    assert said.document["also_test"]["task"] == HARDER
    assert "Also tested on field_guide(choices=6)" in say("compare both").out
    assert say("compare both --baseline post_cot --json").document["also_test"]["baseline"] == "post_cot"
    document = findings(store, "both")
    for form in ("html", "md", "tex"):
        assert "exploratory, never judged" in published(document, form)


def test_a_plan_says_what_is_scored_on_the_second_task(store, capsys):
    say = speaker(capsys)
    said = say("study plan both --json")
    check_keys("study plan", said.document)
    assert said.document["also_test"]["students"] == 4 and said.document["also_test"]["new"] == 0
    assert "Also tested on field_guide(choices=6)" in say("study plan both").out
    assert "--also-test 'field_guide(choices=6)'" in run_study(study_spec(None, SPEC | {"also_test": HARDER}))


def test_it_travels_with_the_study_and_its_second_task(store, tmp_path):
    out = tmp_path / "both.cotdistill.zip"
    export_study(store, "both", out)
    other = Store.open(tmp_path / "other")
    import_study(other, out)
    assert findings(other, "both")["also_test"] == findings(store, "both")["also_test"]
    assert json.dumps(findings(other, "both")["also_test"])


def test_a_task_that_the_students_cannot_answer_is_refused_in_words(store):
    own = open_task(store.tasks_root, "field_guide", settings=SPEC["task_settings"])
    run = RunConfig.from_plain(plan(store, study_spec(None, SPEC)).runs[0].job.config)

    def refused(reference, match, limit=512):
        with pytest.raises(UsageError, match=match):
            second_test(store.tasks_root, own, run, reference, limit)

    refused("field_guide", "is the task that the students are trained on")
    # 24 of 120 creatures are known: most questions name another one.
    refused("field_guide(creatures=120)", "cannot answer .*% of its questions hold an unknown word")
    refused(HARDER, "its longest question has .* tokens; they read 10", limit=10)


def test_choices_that_begin_one_another_need_students_with_an_end_token(store, monkeypatch):
    own = open_task(store.tasks_root, "field_guide", settings=SPEC["task_settings"])
    run = RunConfig.from_plain(plan(store, study_spec(None, SPEC)).runs[0].job.config)
    monkeypatch.setattr("cotdistill.studies.also_test.nested_choices", lambda task: ("river", "river bank"))
    with pytest.raises(UsageError, match=r"one choice begins another .* no end token"):
        second_test(store.tasks_root, own, run, HARDER, 512)
    ended = dataclasses.replace(run, terminator=True)
    assert second_test(store.tasks_root, own, ended, HARDER, 512).alike == 0


def test_choices_that_read_alike_are_refused_above_a_tenth_of_the_questions(store):
    task = open_task(store.tasks_root, "field_guide", settings=SPEC["task_settings"])
    questions = task.examples("test")[:20]
    assert checked_answerable(SecondTest(task, {}, questions, 0.0, 0, 2, 0, 9), "it", 9).alike == 2
    with pytest.raises(UsageError, match="in 3 of 20 questions they read two choices as the same"):
        checked_answerable(SecondTest(task, {}, questions, 0.0, 0, 3, 0, 9), "it", 9)


def test_a_task_is_written_with_its_dials():
    assert parse_reference("csqa") == ("csqa", {})
    assert parse_reference(" field_guide(choices=6, opener=0.5) ") == ("field_guide", {"choices": 6, "opener": 0.5})
    for text in ("", "field_guide(", "field_guide(choices)", "a b"):
        with pytest.raises(UsageError, match="names no task"):
            parse_reference(text)
    with pytest.raises(ConfigError, match="also_test"):
        study_spec(None, SPEC | {"also_test": "field_guide("})


def test_what_stands_before_the_first_student_is_scored():
    also = {
        "task": "harder", "baseline": "label_only", "questions": 0, "clusters": 0, "chance": None, "trained_on": 3,
        "speaks_of": "", "missing": 2, "conditions": [
            {"id": "label_only", "label": "label only", "planned": 2, "finished": 0, "accuracy": None, "low": None,
             "high": None, "replicates": [], "points": None, "points_low": None, "points_high": None},
        ],
    }  # fmt: skip
    assert also_table(also).rows == (("label only", "0 of 2", "–", "–", "–", "–"),)
    assert "3 questions of it stand word for word in the training split. 2 students not scored yet." in caption(also)


def test_a_study_without_a_second_task_says_nothing_of_one(store):
    launch(store, plan(store, spec_from_mapping({"name": "alone"}, study_spec(None, SPEC))))
    assert findings(store, "alone")["also_test"] is None

"""Several rationale sources of one question side by side, and the source as an axis of one study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from cotdistill.dashboard.widgets import rationale_comparison
from cotdistill.errors import NotFound
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.results import results
from cotdistill.store.store import Store
from cotdistill.studies.spec import study_spec
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.describe import told_of
from cotdistill.tasks.importing.importer import import_task
from cotdistill.tasks.task import Task
from tests.terminal import speaker

ROOT = Path(__file__).parent.parent


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Sixty questions: `people` lack every tenth training rationale, `model` speaks of all and is wrong about question 1."""
    folder = tmp_path / "in"
    (folder / "rationales").mkdir(parents=True)
    rows = [
        {
            "id": f"q{i}", "question": f"is number {i} even or odd ?", "choices": [{"label": "A", "text": "even"}, {"label": "B", "text": "odd"}],
            "answer": "AB"[i % 2], "rationale": None if i % 10 == 0 else f"it ends in {i % 10}", "rationale_source": "people",
        }
        for i in range(60)
    ]  # fmt: skip
    side = [
        {
            "id": f"q{i}",
            "rationale": f"<b>so it is {('even', 'odd')[i % 2]}</b>",
            "teacher_label": "AB"[i % 2] if i != 1 else "A",
        }
        for i in range(60)
    ]
    for path, lines in (
        (folder / "train.jsonl", rows[:50]),
        (folder / "dev.jsonl", rows[50:]),
        (folder / "rationales" / "train.model.jsonl", side[:50]),
    ):
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    store = Store.open(tmp_path / "home")
    import_task(store.tasks_root, folder, "parity")
    return store


def task_of(store: Store) -> Task:
    return open_task(store.tasks_root, "parity")


def test_every_source_says_its_own_and_what_it_gives_away(store: Store) -> None:
    people, model = told_of(task_of(store), "q1")
    assert (people["source"], people["rationale"], people["words"], people["teacher_label"]) == (
        "people",
        "it ends in 1",
        4,
        None,
    )
    assert (people["gold_text"], people["right"]) == (False, None)
    assert model["gold_text"] and model["teacher_label"] == "A" and model["right"] is False and not model["answer_key"]
    missing, there = told_of(task_of(store), "q10")
    assert missing["rationale"] is None and missing["words"] == 0 and there["rationale"]
    with pytest.raises(NotFound):
        told_of(task_of(store), "q999")


def test_the_table_shows_markup_as_text_and_marks_another_answer(store: Store) -> None:
    html = rationale_comparison.table(told_of(task_of(store), "q1"))
    assert "&lt;b&gt;so it is odd&lt;/b&gt;" in html and "A (not the label)" in html and "it ends in 1" in html


def test_the_terminal_shows_them_too(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COTDISTILL_HOME", str(store.home))
    say = speaker(capsys)
    assert [one["source"] for one in say("teacher show --task parity --example q1 --json").document["rationales"]] == [
        "people",
        "model",
    ]
    assert "answers A, not the label" in say("teacher show --task parity --example q1").out


def test_sources_are_an_axis_of_one_study_on_rows_that_all_of_them_have(store: Store) -> None:
    training = {"steps": 2, "batch_size": 4, "evaluations": 0, "checkpoints": "1"}
    conditions = "label_only,post_cot,post_cot@source=model"
    planned = plan(
        store,
        study_spec(
            None, {"task": "parity", "name": "two", "conditions": conditions, "replicates": 1, "training": training}
        ),
    )
    task = task_of(store)
    usable = [e.id for e in task.examples("train", "people") if e.rationale]
    assert planned.train_rows == len(usable) and planned.excluded_rows == len(task.examples("train")) - len(usable) > 0
    (told,) = [check for check in planned.checks if "leave every condition" in check]
    assert f"people lacks {planned.excluded_rows}, model lacks 0" in told
    assert [run.job.config["sources"] for run in planned.runs] == [["people", "model"]] * 3
    launch(store, planned)
    assert work(store) == 3
    table = results.runs(store, "two")
    assert set(table["state"]) == {"finished"} and set(table["train_rows"]) == {len(usable)}
    assert list(table["label"]) == ["label only", "post-CoT", "post-CoT, model teacher"]
    assert table["loss_tokens"].nunique() == 3


def test_page_train_plans_two_sources_in_one_study(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTDISTILL_HOME", str(store.home))
    monkeypatch.chdir(ROOT)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.query_params["task"] = "parity"
    app = app.run().switch_page("pages/2_Train.py").run()
    app.selectbox(key="compose.start").set_value("a new study").run()
    app.selectbox(key="compose.task").set_value("parity").run()
    app.text_input(key="axes.fractions").input("").run()
    app.multiselect(key="axes.sources").set_value(["people", "model"]).run()
    app.button(key="axes.go").click().run()
    assert not app.exception
    assert app.multiselect(key="compose.conditions").value == [
        "label_only", "pre_cot", "pre_cot@source=model", "post_cot", "post_cot@source=model",
    ]  # fmt: skip
    assert any("people lacks" in warning.value.replace("\\", "") for warning in app.warning)

"""Imported tasks get another name, or go; not while a study or a job that has not ended uses them."""

import json

import pytest

from cotdistill.errors import UnknownName, UsageError
from cotdistill.keytokens.annotations import AnnotationSet, Mark
from cotdistill.planning.plan import launch, plan
from cotdistill.store.store import Store
from cotdistill.studies.spec import study_spec
from cotdistill.studies.stored_tasks import delete_task, rename_task
from cotdistill.tasks.added import add_source
from cotdistill.tasks.catalog import imported_names, open_task
from cotdistill.tasks.importing.importer import import_task
from cotdistill.tasks.task import Rationale
from tests.terminal import check_keys, speaker


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "home")


def imported(store, tmp_path, name, rows=60):
    file = tmp_path / "rows.jsonl"
    lines = [
        {"id": f"q{i}", "question": f"is {i} odd ?", "choices": ["yes", "no"], "answer": "no" if i % 2 else "yes"}
        for i in range(rows)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return import_task(store.tasks_root, file, name).task


def test_a_task_keeps_its_versions_sources_and_marks_under_its_new_name(store, tmp_path):
    imported(store, tmp_path, "odd", rows=50)
    task = imported(store, tmp_path, "odd")
    id = task.examples("train")[0].id
    source = add_source(task, "mine", [Rationale(id, "mine", "since\nit is")], {})
    AnnotationSet(store.home, "odd", "marks").add(Mark(id, "ann", ((0, 5),), "since"))
    renamed = rename_task(store, "odd", "parity")
    assert imported_names(store.tasks_root) == ["parity"] and renamed.name == renamed.title == "parity"
    assert renamed.sources == (source,) and renamed.example(id, source).rationale == "since\nit is"
    assert renamed.digest != task.digest and renamed.verify() == []
    assert renamed.examples("test") == task.examples("test") if task.folder.exists() else True
    assert len(list((store.tasks_root / "parity").glob("*/task.json"))) == 2
    assert AnnotationSet.names(store.home, "parity") == ["marks"] and not AnnotationSet.names(store.home, "odd")
    # The same rows under that name from the start are the same task.
    assert imported(store, tmp_path, "parity").digest == renamed.digest
    assert delete_task(store, "parity") == 2 and imported_names(store.tasks_root) == []
    assert not (store.tasks_root / "parity").exists()


def test_names_that_are_taken_unknown_or_generated_are_refused(store, tmp_path):
    imported(store, tmp_path, "odd")
    imported(store, tmp_path, "even")
    for old, new, error in (
        ("odd", "even", UsageError),
        ("odd", "field_guide", UsageError),
        ("odd", "a/b", UsageError),
        ("field_guide", "guide", UsageError),
        ("ood", "other", UnknownName),
    ):
        with pytest.raises(error):
            rename_task(store, old, new)
    with pytest.raises(UnknownName, match="imported task"):
        delete_task(store, "ood")
    assert imported_names(store.tasks_root) == ["even", "odd"]


def test_a_task_in_use_is_neither_renamed_nor_deleted_and_the_studies_are_named(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COTDISTILL_HOME", str(store.home))
    imported(store, tmp_path, "odd")
    asked = {"name": "mine", "task": "odd", "conditions": "label_only", "replicates": 1, "training.steps": 2}
    launch(store, plan(store, study_spec(None, asked)))
    for change in (lambda: rename_task(store, "odd", "parity"), lambda: delete_task(store, "odd")):
        with pytest.raises(UsageError, match="'odd' is used by 1 study of this store: mine"):
            change()
    assert open_task(store.tasks_root, "odd").verify() == []
    imported(store, tmp_path, "free")
    say = speaker(capsys)
    assert "mine" in say("tasks rename odd parity --json").error["message"] and say("tasks delete odd").code == 2
    document = say("tasks rename free parity --json").document
    check_keys("tasks rename", document)
    assert document["task"] == "parity" and document["was"] == "free"
    document = say("tasks delete parity --json").document
    check_keys("tasks delete", document)
    assert document == {"task": "parity", "versions": 1} and imported_names(store.tasks_root) == ["odd"]

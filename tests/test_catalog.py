"""Tasks by name: generated ones made once, imported ones by their newest or a named version."""

import threading

import pytest

from cotdistill.errors import ConfigError, DataError, NotFound, UnknownName
from cotdistill.tasks.catalog import imported_names, list_tasks, open_task
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.importing.writing import write_task
from cotdistill.tasks.template import Template

TINY = {"creatures": 20, "documents": 20}
AB = (Choice("A", "tree"), Choice("B", "pond"))


def put(root, name, question="where ?"):
    rows = [Example(s, question, AB, "A", s) for s in ("train", "dev", "test")]
    return write_task(
        root,
        name,
        examples=rows,
        rationales=[],
        template=Template(),
        roles={},
        title=name,
        help="imported from x.jsonl",
    )


def test_the_generated_task_is_listed_before_it_is_made(tmp_path):
    assert [row["id"] for row in list_tasks(tmp_path)] == ["field_guide", "arithmetic"]
    for listed in list_tasks(tmp_path):
        assert listed["artificial"] is True and listed["rows"] is None and listed["digest"] is None
    assert list(tmp_path.iterdir()) == []


def test_what_is_listed_is_the_first_world_with_its_settings_untouched(tmp_path):
    open_task(tmp_path, "field_guide", world=3, settings=TINY)
    assert list_tasks(tmp_path)[0]["digest"] is None
    first = open_task(tmp_path, "field_guide")
    open_task(tmp_path, "field_guide", world=4, settings=TINY)
    assert list_tasks(tmp_path)[0]["digest"] == first.digest
    assert list_tasks(tmp_path)[0]["rows"] == {"train": 1920, "dev": 360, "test": 1080}


def test_settings_and_world_name_different_tasks_and_an_unknown_dial_is_refused(tmp_path):
    digests = {
        open_task(tmp_path, "field_guide", world=w, settings={**TINY, "choices": c}).digest
        for w in (0, 1)
        for c in (3, 4)
    }
    assert len(digests) == 4
    with pytest.raises(UnknownName) as error:
        open_task(tmp_path, "field_guide", settings={"creatues": 30})
    assert "creatures" in error.value.hint
    with pytest.raises(ConfigError, match="choices is 99"):
        open_task(tmp_path, "field_guide", settings={"choices": 99})


def test_a_world_whose_folder_was_removed_is_made_again(tmp_path):
    one = open_task(tmp_path, "field_guide", settings=TINY)
    for path in sorted(one.folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    one.folder.rmdir()
    assert open_task(tmp_path, "field_guide", settings=TINY).digest == one.digest


def test_many_that_ask_for_the_same_world_at_once_all_get_it(tmp_path):
    found, errors = [], []

    def ask():
        try:
            found.append(open_task(tmp_path, "field_guide", settings=TINY).digest)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and len(set(found)) == 1 and len(found) == 5


def test_an_unknown_task_answers_with_near_matches(tmp_path):
    put(tmp_path, "commonsenseqa")
    with pytest.raises(UnknownName) as error:
        open_task(tmp_path, "comonsenseqa")
    assert "Did you mean commonsenseqa" in error.value.hint and "field_guide" in error.value.hint


def test_a_name_means_its_newest_version_and_an_older_one_is_opened_by_its_digest(tmp_path):
    old, new = put(tmp_path, "birds"), put(tmp_path, "birds", "when ?")
    assert open_task(tmp_path, "birds").digest == new.digest
    for version in (old.digest[:6], old.digest[:12], old.digest):
        assert open_task(tmp_path, f"birds@{version}").digest == old.digest
    for version in ("000000", "*", "../birds", old.digest[:20] + "x"):
        with pytest.raises(NotFound) as error:
            open_task(tmp_path, f"birds@{version}")
        assert old.folder.name in error.value.hint


def test_a_task_that_cannot_be_read_hides_none_of_the_others(tmp_path):
    broken, whole = put(tmp_path, "broken"), put(tmp_path, "whole")
    (broken.folder / "task.json").write_text("{")
    with pytest.raises(DataError):
        open_task(tmp_path, "broken")
    listed = {task["id"]: task for task in list_tasks(tmp_path)}
    assert listed["broken"]["digest"] is None and "cannot be read" in listed["broken"]["help"]
    assert listed["whole"]["digest"] == whole.digest


def test_stray_files_in_the_folder_are_no_tasks(tmp_path):
    (tmp_path / "half").mkdir()
    (tmp_path / "note.txt").write_text("x")
    (tmp_path / ".hidden").mkdir()
    assert imported_names(tmp_path) == [] and imported_names(tmp_path / "absent") == []

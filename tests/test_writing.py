"""A task becomes a folder: whole or not at all, found damaged, healed by writing it again."""

import errno
import os
import threading
from pathlib import Path

import pytest

from cotdistill.errors import ConfigError, DiskFull, StoreError
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.importing import writing
from cotdistill.tasks.importing.writing import write_note, write_task
from cotdistill.tasks.task import Rationale
from cotdistill.tasks.template import Template

ROWS = [
    Example(f"q{i}", f"is {i} even ?", (Choice("A", "yes"), Choice("B", "no")), "AB"[i % 2], s)
    for i, s in enumerate(("train", "train", "dev", "test"))
]
TOLD = [
    Rationale("q0", "people", "half of it is whole"),
    Rationale("q1", "model", "two halves differ", "B"),
    Rationale("q3", "late", "only test"),
]


def write(root, **more):
    given = {"examples": ROWS, "rationales": TOLD, "template": Template(), "roles": {}, "title": "Even", **more}
    return write_task(root, "even", **given)


def hidden(root):
    return list(Path(root).rglob(".*"))


def test_a_task_holds_rows_rationales_and_a_tokenizer_of_each_kind_for_each_training_source(tmp_path):
    task = write(tmp_path)
    assert sorted(p.relative_to(task.folder).as_posix() for p in task.folder.rglob("*") if p.is_file()) == [
        "examples.parquet",
        "rationales.parquet",
        "task.json",
        "tokenizers/bpe-model.json",
        "tokenizers/bpe-people.json",
        "tokenizers/word-model.json",
        "tokenizers/word-people.json",
    ]
    assert task.sources == ("people", "model") and task.default_source == "people"
    assert task.info["rows"] == {"train": 2, "dev": 1, "test": 1} and task.chance == 0.5
    assert hidden(tmp_path) == [] and task.folder.name == task.digest[:12]


def test_the_same_content_is_the_same_folder_and_other_content_another(tmp_path):
    one, same, other = write(tmp_path / "a"), write(tmp_path / "b"), write(tmp_path / "a", title="Odd")
    assert one.digest == same.digest != other.digest
    assert (tmp_path / "a" / "even" / "newest").read_text() == other.folder.name
    assert write(tmp_path / "a").folder == one.folder
    assert (tmp_path / "a" / "even" / "newest").read_text() == one.folder.name


def test_a_damaged_task_is_healed_by_writing_it_again(tmp_path):
    task = write(tmp_path)
    (task.folder / "examples.parquet").write_bytes(b"damaged")
    (task.folder / "stray.txt").write_text("x")
    assert task.verify() != []
    assert write(tmp_path).verify() == [] and not (task.folder / "stray.txt").exists()
    assert hidden(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EROFS, StoreError)]
)
@pytest.mark.parametrize("step", ["train_tokenizers", "_put", "folder_digest", "write_note"])
def test_an_error_of_the_disk_at_any_step_is_told_in_words_and_the_older_version_stays(
    tmp_path, monkeypatch, code, kind, step
):
    before = write(tmp_path)

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(writing, step, fail)
    with pytest.raises(kind):
        write(tmp_path, title="Odd")
    assert hidden(tmp_path) == []
    assert (tmp_path / "even" / "newest").read_text() == before.folder.name and before.verify() == []


def test_a_folder_in_which_a_file_stands_in_the_way_is_told_in_words(tmp_path):
    (tmp_path / "even").write_text("a file")
    with pytest.raises(StoreError):
        write(tmp_path)


def test_what_a_killed_process_left_behind_is_swept_after_a_day(tmp_path):
    old, young = tmp_path / "even" / ".part-old", tmp_path / "even" / ".part-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "examples.parquet").write_bytes(b"half")
    os.utime(old, (0, 0))
    write(tmp_path)
    assert not old.exists() and young.exists()


def test_a_bad_template_leaves_nothing(tmp_path):
    with pytest.raises(ConfigError):
        write(tmp_path, template=Template(question="no place for it"))
    assert list(tmp_path.iterdir()) == []


def test_many_writers_of_the_same_task_all_find_it_whole(tmp_path):
    found, errors = [], []

    def work():
        try:
            found.append(write(tmp_path))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and {task.digest for task in found} == {found[0].digest} and len(found) == 6
    assert found[0].verify() == [] and hidden(tmp_path) == []


def test_a_note_is_replaced_at_once(tmp_path):
    write_note(tmp_path / "note", "one")
    write_note(tmp_path / "note", "two")
    assert (tmp_path / "note").read_text() == "two" and [p.name for p in tmp_path.iterdir()] == ["note"]

"""The store kept in order: what can go, what must stay, a budget that stops new jobs, a backup that is a store."""

from __future__ import annotations

import os
import time

import pytest

from cotdistill.config import plain
from cotdistill.errors import StoreError, UsageError
from cotdistill.exchange.verify import verify
from cotdistill.execution import attempts
from cotdistill.execution.attempts import claim
from cotdistill.store.backup import back_up, check
from cotdistill.store.budget import QueueFull, bytes_of, held_by
from cotdistill.store.garbage import collect
from cotdistill.store.records import JobSpec, StudyDraft
from cotdistill.store.store import Store
from cotdistill.studies.annotations import kept_studies, set_remark
from cotdistill.studies.spec import StudySpec, checked, spec_from_mapping
from tests.terminal import check_keys, speaker


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("COTDISTILL_HOME", str(tmp_path / "store"))
    return Store.open(tmp_path / "store")


@pytest.fixture
def say(capsys):
    return speaker(capsys)


def aged(path, days=60.0):
    os.utime(path, (time.time() - days * 86400,) * 2)
    return path


def finished(store, name, content):
    """A job that has ended with one artefact of that content; its number and the artefact's digest."""
    store.queue.submit([JobSpec("train", {"condition": "label_only", "name": name})])
    attempt = claim(store.queue)
    digest = store.artifacts.put_bytes(content, "numbers", "txt")
    attempt.log_path.write_text("said")
    attempt.finish({"accuracy": 0.5}, {"numbers": digest}, {})
    attempt.close()
    return attempt.job.id, digest


def test_only_what_no_job_refers_to_can_go_and_only_when_asked(store):
    _, mine = finished(store, "one", b"mine")
    orphan = store.artifacts.put_bytes(b"nobody's", "numbers", "txt")
    young = store.artifacts.put_bytes(b"being imported", "numbers", "txt")
    for digest in (mine, orphan):
        aged(store.artifacts.path(digest))
    with store.queue.database.write() as connection:
        connection.execute("UPDATE job SET created = 0")
    found = collect(store, kept_studies(store))
    assert [(one.kind, one.path, one.size) for one in found.garbage] == [("artifact", store.artifacts.path(orphan), 8)]
    assert orphan in store.artifacts
    assert collect(store, kept_studies(store), delete=True).counts() == {"artifact": (1, 8)}
    assert orphan not in store.artifacts and mine in store.artifacts and young in store.artifacts
    assert collect(store, kept_studies(store), delete=True).garbage == () and not verify(store).problems


def test_what_a_running_job_has_kept_stays_until_it_has_ended(store):
    old = store.artifacts.put_bytes(b"from before", "numbers", "txt")
    aged(store.artifacts.path(old))
    store.queue.submit([JobSpec("train", {"condition": "label_only"})])
    attempt = claim(store.queue)
    with store.queue.database.write() as connection:
        connection.execute("UPDATE job SET created = ?", (time.time() - 7200,))
    kept = store.artifacts.put_bytes(b"a checkpoint", "weights", "txt")
    aged(store.artifacts.path(kept), 1.5 / 24)
    # It asks for content that is there already: nothing is written, and still it must stay.
    assert store.artifacts.put_bytes(b"from before", "numbers", "txt") == old
    assert collect(store, kept_studies(store), delete=True).garbage == ()
    attempt.finish({}, {"weights": kept, "numbers": old}, {})
    attempt.close()
    assert collect(store, kept_studies(store), delete=True).garbage == () and not verify(store).problems


def test_folders_of_dead_jobs_old_logs_and_half_written_files_go_but_not_those_of_kept_studies(store):
    spec = checked(spec_from_mapping({"name": "mine", "conditions": "label_only"}, StudySpec()))
    number, _ = finished(store, "one", b"mine")
    identity = store.queue.job(number).identity
    store.queue.submit([], study=StudyDraft("mine", plain(spec), spec.plan_hash, ((identity, "label_only", 0, "run"),)))
    with store.queue.database.write() as connection:
        connection.execute("UPDATE job SET attempt = 2")
    log = aged(store.queue.log_path(number, 1))
    last = store.queue.log_path(number, 2)
    last.write_text("the last words")
    aged(last)
    dead = store.home / "jobs" / "999"
    dead.mkdir()
    (dead / "resume.safetensors").write_bytes(b"12345")
    part = store.home / "artifacts" / "ab"
    part.mkdir(exist_ok=True)
    (part / ".half").write_bytes(b"123")
    aged(part / ".half")
    set_remark(store, "mine", tags=["keep"])
    kept = collect(store, kept_studies(store))
    assert kept.kept == ("mine",) and kept.counts() == {"part": (1, 3), "job": (1, 5)}
    set_remark(store, "mine", tags=[])
    assert collect(store, kept_studies(store), delete=True).counts() == {"part": (1, 3), "job": (1, 5), "log": (1, 4)}
    assert last.exists() and not log.exists() and not dead.exists() and not (part / ".half").exists()


def test_a_version_of_a_task_goes_when_nobody_names_it(store):
    for name in ("a" * 12, "b" * 12, "c" * 12):
        folder = store.tasks_root / "mine" / name
        folder.mkdir(parents=True)
        (folder / "task.json").write_text("{}")
        aged(folder)
    (store.tasks_root / "mine" / "newest").write_text("a" * 12)
    store.queue.submit([JobSpec("train", {"condition": "label_only", "task_digest": "b" * 64})])
    assert [one.path.name for one in collect(store, kept_studies(store)).garbage] == ["c" * 12]
    (store.tasks_root / "mine" / ("c" * 12 + ".sources")).mkdir()
    assert collect(store, kept_studies(store)).garbage == ()


def test_a_store_without_room_begins_nothing_new_and_says_why(store, say, monkeypatch):
    store.queue.submit([JobSpec("train", {"condition": "label_only"})])
    assert store.refusal == "" and store.queue.backlog().ready == 1
    check_keys("store budget", say("store budget --max 1kB --json").document)
    assert claim(store.queue) is None
    assert (store.queue.backlog().ready, store.queue.backlog().coming) == (0, 1)
    assert "No new job begins" in say("runs list --kind all").out and "1 kB that it may" in store.refusal
    say("store budget --max none --free 900TB")
    assert "are to stay free" in store.refusal and claim(store.queue) is None
    say("store budget --free 0B")
    assert store.refusal == ""
    attempt = claim(store.queue)
    assert isinstance(attempt, attempts.Attempt)
    attempt.close()


def test_more_jobs_than_may_wait_are_refused_whole(store, say):
    say("store budget --queued 2")
    with pytest.raises(QueueFull, match="3 jobs would wait; at most 2 may"):
        store.queue.submit([JobSpec("train", {"condition": "label_only", "n": n}) for n in range(3)])
    assert store.queue.jobs() == []
    assert len(store.queue.submit([JobSpec("train", {"condition": "label_only", "n": n}) for n in range(2)]).new) == 2


@pytest.mark.parametrize(
    ("text", "expected"), [("20GB", 20_000_000_000), ("1.5 mb", 1_500_000), ("7", 7), ("2k", 2000)]
)
def test_a_size_is_read(text, expected):
    assert bytes_of(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "-1", "1e9", "1 XB", "nan", "9" * 99])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UsageError, match="is no size"):
        bytes_of(text)


def test_a_backup_is_a_store_and_says_what_has_changed_in_it(store, tmp_path, say):
    number, digest = finished(store, "one", b"mine")
    (store.home / "annotations" / "t").mkdir(parents=True)
    (store.home / "annotations" / "t" / "marks.json").write_text("{}")
    made = back_up(store, tmp_path / "kept")
    assert made.linked == 1 and check(tmp_path / "kept") == []
    copied = Store.open(tmp_path / "kept")
    assert copied.queue.job(number).produced == {"numbers": digest} and not verify(copied).problems
    back_up(store, tmp_path / "apart", link=False)
    (tmp_path / "apart" / "annotations" / "t" / "marks.json").write_text("[]")
    (tmp_path / "apart" / "store.sqlite").unlink()
    assert check(tmp_path / "apart") == ["store.sqlite is missing", "annotations/t/marks.json has changed"]
    assert say(f"store verify {tmp_path / 'apart'} --json").code == 1
    with pytest.raises(UsageError, match="there already"):
        back_up(store, tmp_path / "kept")
    with pytest.raises(UsageError, match="lies in the store"):
        back_up(store, store.home / "in")


def test_a_damaged_artefact_is_not_backed_up_in_silence(store, tmp_path):
    _, digest = finished(store, "one", b"mine")
    store.artifacts.path(digest).write_bytes(b"not mine")
    with pytest.raises(StoreError, match="is damaged"):
        back_up(store, tmp_path / "kept")
    assert list(tmp_path.iterdir()) == [store.home]


def test_the_commands_say_what_they_document(store, tmp_path, say):
    finished(store, "one", b"mine")
    aged(store.artifacts.path(store.artifacts.put_bytes(b"x", "numbers", "txt")))
    with store.queue.database.write() as connection:
        connection.execute("UPDATE job SET created = 0")
    for words, line in (
        ("store size", "store size"), ("store gc", "store gc"), ("store backup", f"store backup --out {tmp_path / 'b'}"),
        ("store verify", f"store verify {tmp_path / 'b'}"),
    ):  # fmt: skip
        check_keys(words, say(f"{line} --json").document)
    assert held_by(store.home)["artifacts"] == say("store size --json").document["parts"]["artifacts"] == 5
    assert "--delete" in say("store gc").out

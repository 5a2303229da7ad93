"""Stores of every earlier format open in this version, with all that stood in them.

The fixtures hold what the migrations of their time made, one study of two runs each; `python -m tests.test_upgrade` writes that of a new
format, and never touches one that is there.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from cotdistill.config import plain
from cotdistill.errors import StoreTooNew
from cotdistill.exchange.verify import verify
from cotdistill.store.database import APPLICATION_ID, MIGRATIONS
from cotdistill.store.records import JobSpec, document, seal_of
from cotdistill.store.store import Store
from cotdistill.studies.annotations import remark
from cotdistill.studies.spec import StudySpec, checked, spec_from_mapping

FOLDER = Path(__file__).parent / "stores"
CONDITIONS = ("label_only", "post_cot")


def write_fixture(format: int) -> Path:
    """A store as the first `format` migrations make it, with content that was possible then."""
    path = FOLDER / f"format-{format}.sqlite"
    assert not path.exists(), "a fixture of a released format is never written again"
    spec = checked(spec_from_mapping({"name": "kept", "conditions": ",".join(CONDITIONS)}, StudySpec()))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for migration in MIGRATIONS[:format]:
            connection.executescript(migration)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {format}")
        connection.execute("INSERT INTO setting VALUES ('workers', '3')")
        connection.execute(
            "INSERT INTO study (name, spec, plan_hash, created) VALUES (?, ?, ?, 1700000000)",
            (spec.name, document(plain(spec)), spec.plan_hash),
        )
        for place, condition in enumerate(CONDITIONS):
            job = JobSpec("train", {"condition": condition, "task": "field_guide"})
            connection.execute(
                "INSERT INTO job (identity, kind, recipe, config, label, estimate, state, position, attempt, result, created) "
                "VALUES (?, 'train', ?, ?, ?, 1.5, ?, ?, 1, ?, 1700000000)",
                (
                    job.identity, job.recipe, document(job.config), condition, "finished" if place == 0 else "stopped", place,
                    document({"accuracy": 0.5}) if place == 0 else None,
                ),
            )  # fmt: skip
            connection.execute("INSERT INTO member VALUES (1, ?, ?, ?, 0, 'run')", (place, job.identity, condition))
        connection.execute("INSERT INTO link VALUES (1, 'used', 'task', ?)", ("0" * 64,))
        if format >= 2:
            connection.execute("INSERT INTO remark VALUES (1, 'a note', '[\"keep\"]', 'post_cot', 1700000001)")
        if format >= 3:
            connection.execute("UPDATE study SET origin = ?", ("e" * 64,))
            connection.execute("INSERT INTO left_out VALUES (1, 'weights', ?)", ("a" * 64,))
        if format >= 4:
            connection.execute("UPDATE study SET extends = 1")
        if format >= 5:
            connection.execute("UPDATE job SET seal = ? WHERE id = 1", (seal_of(document({"accuracy": 0.5})),))
        connection.commit()
        connection.execute("VACUUM")
    return path


def test_every_format_up_to_this_one_has_a_fixture():
    assert sorted(path.stem for path in FOLDER.glob("*.sqlite")) == sorted(
        f"format-{n + 1}" for n in range(len(MIGRATIONS))
    )


@pytest.mark.parametrize("format", range(1, len(MIGRATIONS) + 1))
def test_a_store_of_an_earlier_format_opens_with_its_content(format, tmp_path):
    shutil.copy(FOLDER / f"format-{format}.sqlite", tmp_path / "store.sqlite")
    store = Store.open(tmp_path)
    study = store.queue.study("kept")
    assert [(member.condition, member.job_id) for member in study.members] == [("label_only", 1), ("post_cot", 2)]
    assert spec_from_mapping(study.spec).plan_hash == study.plan_hash
    done, stopped = (store.queue.job(member.job_id) for member in study.members)
    assert (done.state, done.result, dict(done.used)) == ("finished", {"accuracy": 0.5}, {"task": "0" * 64})
    assert (stopped.state, stopped.result) == ("stopped", None) and store.queue.workers() == 3
    said = remark(store, "kept")
    assert (said.note, said.tags, said.baseline) == (("a note", ("keep",), "post_cot") if format >= 2 else ("", (), ""))
    assert study.origin == ("e" * 64 if format >= 3 else "") and dict(done.left_out) == (
        {"weights": "a" * 64} if format >= 3 else {}
    )
    assert study.extends == (1 if format >= 4 else None)
    assert not verify(store).problems
    # What it was before stands beside it, unless nothing had to change.
    before = tmp_path / f"store.sqlite.version-{format}"
    assert before.exists() == (format < len(MIGRATIONS))
    if before.exists():
        with contextlib.closing(sqlite3.connect(before)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (format,)
            assert connection.execute("SELECT count(*) FROM job").fetchone() == (2,)


def test_a_newer_store_is_refused_and_stays_as_it_is(tmp_path):
    path = tmp_path / "store.sqlite"
    shutil.copy(FOLDER / f"format-{len(MIGRATIONS)}.sqlite", path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = path.read_bytes()
    with pytest.raises(StoreTooNew, match="newer version"):
        Store.open(tmp_path)
    assert path.read_bytes() == before


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for number in range(1, len(MIGRATIONS) + 1):
        if not (FOLDER / f"format-{number}.sqlite").exists():
            write_fixture(number)

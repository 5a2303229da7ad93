"""Opening a store: made, migrated, or refused in words; and every hash derived again."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from cotdistill.config import plain
from cotdistill.errors import DiskFull, NetworkFileSystem, StoreError, StoreTooNew
from cotdistill.exchange.verify import verify
from cotdistill.execution.attempts import claim
from cotdistill.store import backup, database, disk
from cotdistill.store.records import JobSpec, StudyDraft
from cotdistill.store.store import Store, default_home
from cotdistill.studies.spec import StudySpec, checked, spec_from_mapping


def spec(number: int = 0) -> JobSpec:
    return JobSpec("train", {"number": number}, label=f"job {number}")


def test_a_store_is_made_where_there_is_none_and_found_again(tmp_path: Path) -> None:
    first = Store.open(tmp_path / "deep" / "store")
    first.queue.submit([spec()])
    assert [job.label for job in Store.open(tmp_path / "deep" / "store").queue.jobs()] == ["job 0"]


def test_the_environment_moves_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTDISTILL_HOME", str(tmp_path / "elsewhere"))
    assert default_home() == Store.open().home == tmp_path / "elsewhere"


def test_a_clone_keeps_its_store_in_data_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COTDISTILL_HOME", raising=False)
    assert default_home() == Path(__file__).resolve().parents[1] / "data" / "store"


def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with store.queue.database.write() as connection:
        connection.execute("PRAGMA user_version = 99")
    before = (tmp_path / "store.sqlite").read_bytes()
    with pytest.raises(StoreTooNew, match="its format is 99, this version reads up to 5"):
        Store.open(tmp_path)
    assert (tmp_path / "store.sqlite").read_bytes() == before


def test_an_older_store_is_migrated_in_order_and_kept_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(tmp_path).queue.submit([spec(7)])
    later = ("ALTER TABLE job ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey';", "UPDATE job SET colour = 'blue';")
    monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, *later))
    store = Store.open(tmp_path)
    with store.queue.database.read() as connection:
        assert tuple(connection.execute("SELECT label, colour FROM job").fetchone()) == ("job 7", "blue")
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(database.MIGRATIONS)
    copy = sqlite3.connect(tmp_path / "store.sqlite.version-5")
    assert copy.execute("SELECT label FROM job").fetchall() == [("job 7",)]
    copy.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(tmp_path).queue.submit([spec()])
    monkeypatch.setattr(
        database, "MIGRATIONS", (*database.MIGRATIONS, "DELETE FROM job; SELECT nonsense FROM nowhere;")
    )
    with pytest.raises(StoreError, match="nowhere"):
        Store.open(tmp_path)
    monkeypatch.undo()
    assert len(Store.open(tmp_path).queue.jobs()) == 1


def test_many_processes_that_open_a_new_store_at_once_agree(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from cotdistill.store.store import Store; Store.open(Path(sys.argv[1])).queue.set_workers(3)"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE) for _ in range(6)
    ]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, said
    assert Store.open(tmp_path).queue.workers() == 3


def test_a_store_that_was_killed_while_it_was_made_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").touch()
    assert Store.open(tmp_path).queue.jobs() == []


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_text("not a database " * 100)
    with pytest.raises(StoreError, match="is not a store, or it is damaged"):
        Store.open(tmp_path)
    assert (tmp_path / "store.sqlite").read_text().startswith("not a database")


def test_a_damaged_name_that_sqlite_quotes_is_told_in_words(tmp_path: Path) -> None:
    Store.open(tmp_path)
    path = tmp_path / "store.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    path.write_bytes(path.read_bytes().replace(b"value TEXT NOT NULL", b"value TEXT NOT NU\xccL", 1))
    with pytest.raises(StoreError, match=r"store\.sqlite is not a store, or it is damaged \(malformed database schema"):
        Store.open(tmp_path).queue.jobs()
    with pytest.raises(StoreError, match="damaged"):
        backup._database(path, tmp_path / "copy.sqlite")


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "store.sqlite")
    other.execute("CREATE TABLE recipes (cake TEXT)")
    other.commit()
    other.close()
    with pytest.raises(StoreError, match="database of another program"):
        Store.open(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match="expected a folder"):
            Store.open(home)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="takes another user's rights, which only root may"
)
def test_a_folder_that_may_not_be_written_to_is_told() -> None:
    code = "import sys, os; os.setuid(65534); from pathlib import Path; from cotdistill.store.store import Store; Store.open(Path(sys.argv[1]))"
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        done = subprocess.run(
            [sys.executable, "-c", "import cotdistill.store.store\n" + code, folder], capture_output=True, text=True
        )
    assert "StoreError" in done.stderr and "may not be written to" in done.stderr


def test_a_store_that_is_deleted_under_a_process_is_not_made_anew(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    for path in tmp_path.glob("store.sqlite*"):
        path.unlink()
    with pytest.raises(StoreError, match="cannot be opened"):
        store.queue.jobs()
    assert not (tmp_path / "store.sqlite").exists()


def test_sqlites_full_disk_is_ours(tmp_path: Path) -> None:
    store = Store.open(tmp_path)

    def fill() -> None:
        with store.queue.database.write() as connection:
            # A page limit is what SQLite calls a full disk.
            connection.execute("PRAGMA max_page_count = 1")
            connection.executemany("INSERT INTO setting VALUES (?, ?)", [(f"name {i}", "x" * 1000) for i in range(500)])

    with pytest.raises(DiskFull, match="no room left"):
        fill()
    assert store.queue.jobs() == []


MOUNTS = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 27 0:30 / /home rw,relatime shared:1 - nfs4 server:/home rw
31 30 0:31 / /home/me/local\040disk rw,relatime - xfs /dev/vdb rw
32 27 0:32 / /mnt/far rw,relatime - fuse.sshfs me@far:/ rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/data/x", "ext4"),
        ("/home/me/store", "nfs4"),
        ("/home/me/local disk/store", "xfs"),
        ("/mnt/far", "fuse.sshfs"),
        ("/mnt/farther", "ext4"),
    ],
)
def test_the_file_system_of_a_folder_is_that_of_the_nearest_mount(tmp_path: Path, folder: str, kind: str) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert disk.file_system(Path(folder), tmp_path / "mountinfo") == kind


def test_a_network_file_system_is_refused_with_advice_and_can_be_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    with pytest.raises(NetworkFileSystem, match="network file system \\(nfs4\\)") as caught:
        disk.refuse_network(Path("/home/me/store"), tmp_path / "mountinfo")
    assert "COTDISTILL_HOME" in caught.value.hint
    disk.refuse_network(Path("/data/store"), tmp_path / "mountinfo")
    disk.refuse_network(Path("/home/me/store"), tmp_path / "absent")
    monkeypatch.setenv(disk.OVERRIDE, "1")
    disk.refuse_network(Path("/home/me/store"), tmp_path / "mountinfo")


def test_threads_share_a_store(tmp_path: Path) -> None:
    store, failures = Store.open(tmp_path), []

    def use(number: int) -> None:
        try:
            for i in range(20):
                store.queue.submit([spec(100 * number + i)])
                store.queue.jobs(limit=5)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and len(store.queue.jobs()) == 120


def test_verify_finds_a_damaged_artefact_a_missing_one_and_a_changed_config(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.queue.submit([spec(1), spec(2)])
    for content in (b"one", b"two"):
        attempt = claim(store.queue)
        assert attempt is not None
        attempt.finish({}, {"numbers": store.artifacts.put_bytes(content, "numbers", "txt")}, {})
        attempt.close()
    assert (verify(store).artifacts, verify(store).jobs, verify(store).problems) == (2, 2, ())
    first, second = (
        store.artifacts.path(job.produced["numbers"]) for job in sorted(store.queue.jobs(), key=lambda job: job.id)
    )
    first.write_bytes(b"changed")
    second.unlink()
    with store.queue.database.write() as connection:
        connection.execute("UPDATE job SET config = ? WHERE id = 2", ('{"number":3}',))
    problems = verify(store).problems
    assert len(problems) == 3
    assert problems[0].startswith(f"artefact {first.name[:12]}: its content hashes to")
    assert problems[1].startswith("run 2: its config hashes to")
    assert problems[2] == f"run 2: its numbers ({second.name[:12]}) is missing"


def test_verify_finds_a_result_and_a_plan_that_are_not_what_was_told(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    plan = checked(spec_from_mapping({"name": "kept", "conditions": "label_only"}, StudySpec()))
    store.queue.submit([spec(1)], study=StudyDraft("kept", plain(plan), plan.plan_hash, ()))
    attempt = claim(store.queue)
    assert attempt is not None
    attempt.finish({"accuracy": 0.5}, {}, {})
    attempt.close()
    assert verify(store).problems == ()
    with store.queue.database.write() as connection:
        connection.execute("UPDATE job SET result = ?", ('{"accuracy":0.7}',))
        connection.execute("UPDATE study SET spec = replace(spec, '\"replicates\":3', '\"replicates\":5')")
    changed, plan_changed = verify(store).problems
    assert changed == "run 1: its result does not match its recorded checksum"
    assert plan_changed.startswith(f"study kept: its plan does not hash to {plan.plan_hash[:12]}")
    with store.queue.database.write() as connection:
        # A result of before results had a digest.
        connection.execute("UPDATE job SET seal = ''")
        connection.execute("UPDATE study SET spec = replace(spec, '\"replicates\":5', '\"replicates\":3')")
    assert verify(store).problems == ()


def test_verify_names_a_database_that_was_cut_short_and_reads_no_rows_of_it(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.queue.submit([spec(number) for number in range(300)])
    with sqlite3.connect(tmp_path / "store.sqlite") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    path = tmp_path / "store.sqlite"
    whole = path.read_bytes()
    for share in (0.5, 0.8, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        try:
            problems = verify(Store.open(tmp_path)).problems
        except StoreError as error:
            problems = (error.message,)
        assert problems and all("store.sqlite" in problem for problem in problems)

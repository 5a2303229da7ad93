"""The file of responses: nothing counts before it is on the disk, nothing is lost by a kill or a torn end, many may write."""

import contextlib
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cotdistill.errors import StoreError
from cotdistill.tasks.example import Choice, Example
from cotdistill.teachers.elicitation import Request
from cotdistill.teachers.responses import Failure, Response, Responses

ROOT = Path(__file__).resolve().parents[1]


def request(i, key=None):
    return Request(
        i, Example(f"q{i}", "?", (Choice("A", "x"), Choice("B", "y")), "A", "train"), 0, "A", [], None, key or f"k{i}"
    )


def response(i, text="so", **more):
    return Response(f"k{i}", "m", text, "stop", more.get("tokens_in", 10), more.get("tokens_out", 4), 0.5)


def test_what_was_put_is_there_once_and_the_first_answer_counts(tmp_path):
    kept = Responses(tmp_path)
    assert (
        kept.count("job").asked == 0
        and kept.known(["k0"]) == set()
        and kept.answers("job") == []
        and kept.usual("m") is None
    )
    kept.put([response(0), response(1, "other")])
    kept.put([response(0, "late")])
    assert kept.known(["k0", "k1", "k2"]) == {"k0", "k1"}
    assert kept.begin("job", [request(i) for i in range(4)]) == {"k0", "k1"}
    assert [(r["id"], r["text"], r["given"]) for r in kept.answers("job")] == [("q0", "so", "A"), ("q1", "other", "A")]
    kept.put([response(3)])
    assert [r["id"] for r in kept.answers("job", newest=1)] == ["q3"]
    counted = kept.count("job")
    assert (counted.asked, counted.answered, counted.failed, counted.tokens_in, counted.tokens_out) == (4, 3, 0, 30, 12)
    assert kept.usual("m") == {
        "prompt_tokens": 10.0,
        "completion_tokens": 4.0,
        "seconds": 0.5,
        "characters": pytest.approx(3.0),
    }


def test_failures_are_kept_apart_until_they_are_answered(tmp_path):
    kept = Responses(tmp_path)
    kept.begin("job", [request(i) for i in range(3)])
    kept.fail("job", [Failure(1, "server", "the server answers 500", 6)])
    assert [(f["id"], f["cause"], f["tries"]) for f in kept.failures("job")] == [("q1", "server", 6)] and kept.count(
        "job"
    ).failed == 1
    kept.begin("job", [request(i) for i in range(3)])
    assert [f["id"] for f in kept.failures("job")] == ["q1"] and kept.failed_places("job") == {1}
    kept.put([response(1)])
    assert kept.failures("job") == [] == list(kept.failed_places("job")) and kept.count("job").failed == 0


def test_a_pace_is_kept_for_a_model(tmp_path):
    kept = Responses(tmp_path)
    assert kept.pace("m") == {}
    kept.set_pace("m", {"concurrency": 3})
    kept.set_pace("m", {"concurrency": 4})
    assert kept.pace("m") == {"concurrency": 4} and kept.pace("n") == {}


def test_many_may_write_at_once(tmp_path):
    def put(part):
        for i in range(part, 200, 4):
            Responses(tmp_path).put([response(i)])

    threads = [threading.Thread(target=put, args=(part,)) for part in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(Responses(tmp_path).known([f"k{i}" for i in range(200)])) == 200


def test_many_may_make_the_file_at_once(tmp_path):
    def put(home, part):
        together.wait()
        Responses(home).put([response(part)])

    for number in range(30):
        together = threading.Barrier(6)
        threads = [threading.Thread(target=put, args=(tmp_path / str(number), part)) for part in range(6)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert len(Responses(tmp_path / str(number)).known([f"k{i}" for i in range(6)])) == 6


WRITER = """
import sqlite3, sys
from cotdistill.teachers.responses import Response, Responses
kept = Responses(__import__("pathlib").Path(sys.argv[1]))
kept.put([])
kept.set_pace("m", {})
# Somebody reads all the while, so that the log is not folded into the file.
reader = sqlite3.connect(kept.path)
reader.execute("BEGIN").execute("SELECT count(*) FROM response").fetchone()
for i in range(10_000):
    kept.put([Response(f"k{i}", "m", "x" * 200, "stop", 1, 1, 0.1)])
    print(i, flush=True)
"""


def test_what_a_killed_process_has_put_is_there_and_a_torn_end_is_left_out(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    last = 0
    for line in process.stdout:
        last = int(line)
        if last == 40:
            process.kill()
    process.wait()
    process.stdout.close()
    kept = Responses(tmp_path)
    assert kept.known([f"k{i}" for i in range(last + 1)]) == {f"k{i}" for i in range(last + 1)}
    # As after a power cut: the end of the log is torn. What was committed before is there, and more can be put.
    torn = tmp_path / "torn"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(torn)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    for line in process.stdout:
        if int(line) == 20:
            process.kill()
    process.wait()
    process.stdout.close()
    copy = tmp_path / "copy" / "teachers"
    shutil.copytree(torn / "teachers", copy)
    log = copy / "responses.sqlite-wal"
    log.write_bytes(log.read_bytes()[:-1500])
    (copy / "responses.sqlite-shm").unlink(missing_ok=True)
    again = Responses(tmp_path / "copy")
    have = again.known([f"k{i}" for i in range(10_000)])
    assert len(have) >= 10 and have == {f"k{i}" for i in range(len(have))}
    again.put([response(9_999)])
    assert again.known(["k9999"]) == {"k9999"}


def test_a_damaged_file_is_told_in_words(tmp_path):
    (tmp_path / "teachers").mkdir()
    (tmp_path / "teachers" / "responses.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="cannot be used"):
        Responses(tmp_path).count("job")


def test_a_damaged_name_that_sqlite_quotes_is_told_in_words(tmp_path):
    kept = Responses(tmp_path)
    kept.put([response(0)])
    with contextlib.closing(sqlite3.connect(kept.path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    kept.path.write_bytes(kept.path.read_bytes().replace(b"NOT NULL", b"NOT NU\xccL", 1))
    with pytest.raises(StoreError, match=r"cannot be used: .*malformed database schema"):
        Responses(tmp_path).count("job")


def test_no_column_of_the_file_is_for_an_address_or_a_key(tmp_path):
    kept = Responses(tmp_path)
    kept.put([response(0)])
    connection = sqlite3.connect(kept.path)
    columns = {
        row[1]
        for table in ("response", "asked", "failure", "pace")
        for row in connection.execute(f"PRAGMA table_info({table})")
    }
    connection.close()
    assert not {name for name in columns if "url" in name or "address" in name or "secret" in name}

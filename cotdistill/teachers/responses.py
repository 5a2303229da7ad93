"""Everything that a teacher ever answered, by the content of the request: nothing is asked, or paid, twice.

One SQLite file in WAL mode, where every commit is on the disk before it counts (synchronous = FULL): a process that is
killed, or a machine that loses power, loses what was not committed and nothing else; a torn end of the log is left out
when the file is next opened. Many processes may write at once. No address and no key ever come here.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotdistill.errors import StoreError
from cotdistill.tasks.importing.writing import disk_in_words
from cotdistill.teachers.elicitation import Request

BUSY_SECONDS = 30.0
# Files that this process has seen with their tables.
_MADE: set[str] = set()
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS response (
        key TEXT PRIMARY KEY, model TEXT NOT NULL, text TEXT NOT NULL, finish TEXT NOT NULL, prompt_tokens INTEGER,
        completion_tokens INTEGER,
        seconds REAL NOT NULL, received REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS response_model ON response (model, received);
    CREATE TABLE IF NOT EXISTS reply (
        key TEXT PRIMARY KEY, served TEXT NOT NULL, fingerprint TEXT NOT NULL, logprob REAL, remarks TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS asked (
        job TEXT NOT NULL, place INTEGER NOT NULL, question TEXT NOT NULL, sample INTEGER NOT NULL,
        given TEXT NOT NULL, key TEXT NOT NULL,
        PRIMARY KEY (job, place)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS failure (
        job TEXT NOT NULL, place INTEGER NOT NULL, cause TEXT NOT NULL, detail TEXT NOT NULL, tries INTEGER NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (job, place)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS pace (model TEXT PRIMARY KEY, settings TEXT NOT NULL) WITHOUT ROWID;
"""
# Failures of requests that have not been answered since.
_UNANSWERED = """
    FROM failure JOIN asked USING (job, place) LEFT JOIN response USING (key) WHERE job = ? AND response.text IS NULL
"""


@dataclass(frozen=True)
class Response:
    """One answer as it came. finish: "stop", "length" or what else the server says. Tokens are None where the server
    did not count them. seconds: from the request to its end. served, fingerprint: the model and the system fingerprint
    that the server names, "" where it names none. logprob: mean log-probability of the answer's tokens, None where it
    tells none. remarks: what was not done as asked, in words. wait: seconds that the server then wants to be left
    alone, not kept.
    """

    key: str
    model: str
    text: str
    finish: str
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float
    served: str = ""
    fingerprint: str = ""
    logprob: float | None = None
    remarks: tuple[str, ...] = ()
    wait: float = 0.0


@dataclass(frozen=True)
class Failure:
    """A question without an answer: the cause in one word, what was said, after how many tries; tokens (read, written)
    of answers of no use, not kept.
    """

    place: int
    cause: str
    detail: str
    tries: int
    tokens: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Count:
    """How far a job is. tokens_in, tokens_out and seconds are of all its answered requests, also of those that were
    answered before it began.
    """

    asked: int
    answered: int
    failed: int
    tokens_in: int
    tokens_out: int
    seconds: float


class Responses:
    """The file of responses of one store. Holds no connection, so it may be shared by threads. StoreError or DiskFull
    if it cannot be used.
    """

    def __init__(self, home: Path) -> None:
        self.path = home / "teachers" / "responses.sqlite"

    @contextlib.contextmanager
    def _connection(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            connection = sqlite3.connect(
                self._create() if write else self.path, timeout=BUSY_SECONDS, isolation_level=None
            )
            try:
                connection.row_factory = sqlite3.Row
                connection.execute("PRAGMA synchronous = FULL")
                if write:
                    connection.execute("BEGIN IMMEDIATE")
                yield connection
                if write:
                    connection.execute("COMMIT")
            finally:
                # What is not committed is undone.
                connection.close()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            # The second where SQLite quotes a damaged name that is no UTF-8 any more.
            reason = error.object.decode(errors="replace") if isinstance(error, UnicodeDecodeError) else error
            raise StoreError(
                f"The responses of teachers ({self.path}) cannot be used: {reason}.",
                "Check the disk; the file may be damaged.",
            ) from error

    def _create(self) -> Path:
        """The file, with its tables. One process makes it at a time: switching to WAL does not wait for others as
        transactions do.
        """
        if str(self.path) in _MADE and self.path.is_file():
            return self.path
        with disk_in_words(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path.with_name("responses.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(_SCHEMA)
            finally:
                connection.close()
        finally:
            os.close(descriptor)
        _MADE.add(str(self.path))
        return self.path

    def put(self, responses: Sequence[Response]) -> None:
        """Keep some responses; they are on the disk when this returns. The first response to a request is the one that
        counts.
        """
        now = time.time()
        rows = [
            (r.key, r.model, r.text, r.finish, r.prompt_tokens, r.completion_tokens, r.seconds, now) for r in responses
        ]
        replies = [
            (r.key, r.served, r.fingerprint, r.logprob, json.dumps(r.remarks))
            for r in responses
            if r.served or r.fingerprint or r.logprob is not None or r.remarks
        ]
        if rows:
            with self._connection(write=True) as connection:
                connection.executemany("INSERT OR IGNORE INTO response VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
                connection.executemany("INSERT OR IGNORE INTO reply VALUES (?, ?, ?, ?, ?)", replies)

    def begin(self, job: str, requests: Sequence[Request]) -> set[str]:
        """Note what a job asks, and give the keys that are answered already. Its earlier failures stay until they are
        answered or fail again.
        """
        with self._connection(write=True) as connection:
            connection.execute("DELETE FROM asked WHERE job = ?", (job,))
            connection.executemany(
                "INSERT INTO asked VALUES (?, ?, ?, ?, ?, ?)",
                [(job, r.place, r.example.id, r.sample, r.given, r.key) for r in requests],
            )
            known = connection.execute("SELECT DISTINCT key FROM asked JOIN response USING (key) WHERE job = ?", (job,))
            return {row["key"] for row in known}

    def failed_places(self, job: str) -> set[int]:
        """The places of the requests that a job got no answer to so far."""
        return {row["place"] for row in self._rows(f"SELECT place {_UNANSWERED}", (job,))}

    def known(self, keys: Sequence[str]) -> set[str]:
        """Those of some keys that are answered."""
        rows = self._rows(
            "SELECT key FROM response WHERE key IN (SELECT value FROM json_each(?))", (json.dumps(list(keys)),)
        )
        return {row["key"] for row in rows}

    def fail(self, job: str, failures: Sequence[Failure]) -> None:
        """Note questions that a job got no answer to, each with its cause."""
        now = time.time()
        with self._connection(write=True) as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO failure VALUES (?, ?, ?, ?, ?, ?)",
                [(job, f.place, f.cause, f.detail, f.tries, now) for f in failures],
            )

    def count(self, job: str) -> Count:
        """How far a job is."""
        query = """
            SELECT count(*) AS asked, count(response.key) AS answered, total(prompt_tokens) AS tokens_in,
            total(completion_tokens) AS tokens_out,
            total(response.seconds) AS seconds FROM asked LEFT JOIN response USING (key) WHERE job = ?
        """
        row = self._rows(query, (job,))
        failed = self._rows(f"SELECT count(*) AS failed {_UNANSWERED}", (job,))
        if not row:
            return Count(0, 0, 0, 0, 0, 0.0)
        key = row[0]
        return Count(
            key["asked"],
            key["answered"],
            failed[0]["failed"],
            int(key["tokens_in"]),
            int(key["tokens_out"]),
            float(key["seconds"]),
        )

    def answers(self, job: str, newest: int | None = None) -> list[dict[str, Any]]:
        """The answered requests of a job in the order in which they were asked, or the newest few, newest first:
        question, sample, given, text, finish, prompt_tokens, completion_tokens, seconds, received, key, served,
        fingerprint, logprob and remarks (a JSON list)."""
        order = "received DESC, place" if newest else "place"
        query = f"""
            SELECT place, question AS id, sample, given, text, finish, prompt_tokens, completion_tokens, seconds,
            received, key, coalesce(served, '') AS served, coalesce(fingerprint, '') AS fingerprint, logprob,
            coalesce(remarks, '[]') AS remarks
            FROM asked JOIN response USING (key) LEFT JOIN reply USING (key) WHERE job = ? ORDER BY {order} LIMIT ?
        """
        return [dict(row) for row in self._rows(query, (job, newest or -1))]

    def failures(self, job: str) -> list[dict[str, Any]]:
        """The questions of a job that got no answer: id, sample, cause, detail, tries, at."""
        query = f"SELECT question AS id, sample, cause, detail, tries, at {_UNANSWERED} ORDER BY place"
        return [dict(row) for row in self._rows(query, (job,))]

    def usual(self, model: str) -> dict[str, float] | None:
        """Means over the last thousand responses of a model: prompt_tokens, completion_tokens, seconds, characters;
        None before the first.
        """
        query = """
            SELECT count(*) AS n, avg(prompt_tokens) AS prompt_tokens, avg(completion_tokens) AS completion_tokens,
            avg(seconds) AS seconds,
            avg(length(text)) AS characters FROM (SELECT * FROM
            response WHERE model = ? ORDER BY received DESC LIMIT 1000)
        """
        rows = self._rows(query, (model,))
        if not rows or not rows[0]["n"]:
            return None
        return {
            key: float(rows[0][key])
            for key in ("prompt_tokens", "completion_tokens", "seconds", "characters")
            if rows[0][key] is not None
        }

    def pace(self, model: str) -> dict[str, Any]:
        """The settings kept for a model; {} before any."""
        rows = self._rows("SELECT settings FROM pace WHERE model = ?", (model,))
        return dict(json.loads(rows[0]["settings"])) if rows else {}

    def set_pace(self, model: str, settings: Mapping[str, Any]) -> None:
        """Keep how a model is to be asked; a job takes it up when it starts or goes on."""
        with self._connection(write=True) as connection:
            connection.execute(
                "INSERT INTO pace VALUES (?, ?) ON CONFLICT (model) DO UPDATE SET settings = excluded.settings",
                (model, json.dumps(dict(settings))),
            )

    def _rows(self, query: str, values: Sequence[Any]) -> list[sqlite3.Row]:
        if not self.path.is_file():
            return []
        with self._connection() as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "asked" not in tables:
                return []
            if "reply" not in tables:
                # A file of an earlier version, which has not been written to since.
                connection.executescript(_SCHEMA)
            return connection.execute(query, values).fetchall()

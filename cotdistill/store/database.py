"""The database of a store: ordered migrations, short transactions, and SQLite's errors in words.

A connection is opened for each transaction and closed after it (about 0.2 ms): pages run in many threads, workers beat
from a second thread, and a connection that nobody shares needs no care. Writers take the write lock when they begin
(BEGIN IMMEDIATE), so that a transaction that has read something never finds it changed when it writes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from cotdistill.errors import DiskFull, StoreError, StoreTooNew

# "CotD": tells a store from any other SQLite file.
APPLICATION_ID = 0x436F7444
# How long a transaction waits for another one; all of them are short.
BUSY_SECONDS = 30.0
# What SQLite raises; the second where it quotes a damaged name that is no UTF-8 any more.
FAULTS = (sqlite3.Error, UnicodeDecodeError)

# Each is applied once, in order; PRAGMA user_version counts them. A published one is never changed.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE job (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        identity TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        recipe INTEGER NOT NULL,
        config TEXT NOT NULL,
        label TEXT NOT NULL,
        estimate REAL NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'finished', 'failed', 'stopped')),
        held INTEGER NOT NULL DEFAULT 0,
        request TEXT NOT NULL DEFAULT '' CHECK (request IN ('', 'stop', 'pause')),
        position REAL NOT NULL,
        attempt INTEGER NOT NULL DEFAULT 0,
        beat INTEGER NOT NULL DEFAULT 0,
        deaths INTEGER NOT NULL DEFAULT 0,
        crashes INTEGER NOT NULL DEFAULT 0,
        death_step INTEGER,
        progress TEXT NOT NULL DEFAULT '{}',
        seconds REAL NOT NULL DEFAULT 0,
        result TEXT,
        error TEXT,
        created REAL NOT NULL,
        started REAL,
        finished REAL
    );
    CREATE INDEX job_state ON job (state, position);
    CREATE TABLE need (
        job INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
        identity TEXT NOT NULL,
        PRIMARY KEY (job, identity)
    ) WITHOUT ROWID;
    CREATE INDEX need_identity ON need (identity);
    CREATE TABLE link (
        job INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
        direction TEXT NOT NULL CHECK (direction IN ('used', 'produced')),
        role TEXT NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (job, direction, role)
    ) WITHOUT ROWID;
    CREATE INDEX link_digest ON link (digest);
    CREATE TABLE attempt (
        job INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        pid INTEGER NOT NULL,
        started REAL NOT NULL,
        ended REAL,
        outcome TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (job, number)
    ) WITHOUT ROWID;
    CREATE TABLE study (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        spec TEXT NOT NULL,
        plan_hash TEXT NOT NULL,
        created REAL NOT NULL
    );
    CREATE INDEX study_name ON study (name, id);
    CREATE TABLE member (
        study INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,
        place INTEGER NOT NULL,
        identity TEXT NOT NULL,
        condition TEXT NOT NULL,
        replicate INTEGER NOT NULL,
        role TEXT NOT NULL,
        PRIMARY KEY (study, place)
    ) WITHOUT ROWID;
    CREATE INDEX member_identity ON member (identity);
    """,
    """
    CREATE TABLE remark (
        study INTEGER PRIMARY KEY REFERENCES study (id) ON DELETE CASCADE,
        note TEXT NOT NULL,
        tags TEXT NOT NULL,
        baseline TEXT NOT NULL,
        changed REAL NOT NULL
    );
    """,
    # What came from elsewhere: the digest of the file that brought it, and what each run had made that the file did not
    # bring.
    """
    ALTER TABLE job ADD COLUMN origin TEXT NOT NULL DEFAULT '';
    ALTER TABLE study ADD COLUMN origin TEXT NOT NULL DEFAULT '';
    CREATE TABLE left_out (
        job INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
        role TEXT NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (job, role)
    ) WITHOUT ROWID;
    """,
    # Of an imported study: the replicates of the launch, in another store, that it had been given more of after a look.
    "ALTER TABLE study ADD COLUMN extends INTEGER;",
    # The digest of a result, as it was told; empty for results of before.
    "ALTER TABLE job ADD COLUMN seal TEXT NOT NULL DEFAULT '';",
)


class Database:
    """The SQLite file of a store. Made or migrated when the object is made; raises StoreError, StoreTooNew or
    DiskFull.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # An empty file is what a store looks like that was killed while it was made.
        if not path.exists() or path.stat().st_size == 0 or self._version() < len(MIGRATIONS):
            self._migrate()

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state of the store, whatever others write meanwhile."""
        with self._connection() as connection:
            connection.execute("BEGIN")
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that has the write lock from its start; an exception undoes it."""
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # A full disk or a broken file has rolled back by itself.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _connection(self, mode: str = "rw") -> Iterator[sqlite3.Connection]:
        # mode=rw: a store that was deleted under a running process is not made anew.
        try:
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode={mode}", timeout=BUSY_SECONDS, isolation_level=None, uri=True
            )
            try:
                connection.row_factory = sqlite3.Row
                connection.execute("PRAGMA foreign_keys = ON")
                # In WAL mode this survives any kill of processes; a power cut may undo the last transactions, never
                # tear them.
                connection.execute("PRAGMA synchronous = NORMAL")
                yield connection
            finally:
                connection.close()
        except FAULTS as error:
            raise translated(error, self.path) from error

    def _version(self) -> int:
        with self._connection() as connection:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            known = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
            if not known and (version or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]):
                raise StoreError(
                    f"{self.path} is a database of another program.", "Set COTDISTILL_HOME to another folder."
                )
        if version > len(MIGRATIONS):
            raise StoreTooNew(
                f"The store {self.path.parent} was written by a newer version (its format is {version}, this version"
                f" reads up to {len(MIGRATIONS)}).",
                "Update cotdistill, or set COTDISTILL_HOME to another folder. Nothing was changed.",
            )
        return version

    def _migrate(self) -> None:
        # One process at a time: switching to WAL does not wait for others as transactions do.
        descriptor = os.open(self.path.parent / "store.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with self._connection("rwc"):
                pass
            version = self._version()
            if version == len(MIGRATIONS):
                return
            if version:
                self._back_up(version)
            with self._connection() as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                for number in range(version, len(MIGRATIONS)):
                    stamp = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number + 1};"
                    connection.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[number]} {stamp} COMMIT;")
        finally:
            os.close(descriptor)

    def _back_up(self, version: int) -> None:
        """A copy of the store as it was before it is migrated."""
        target = sqlite3.connect(self.path.with_name(f"{self.path.name}.version-{version}"))
        try:
            with self._connection() as connection:
                connection.backup(target)
        finally:
            target.close()


def setting(connection: sqlite3.Connection, name: str, default: str) -> str:
    """A setting of the store, as text."""
    row = connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
    return str(row[0]) if row else default


def set_setting(connection: sqlite3.Connection, name: str, value: str) -> None:
    connection.execute(
        "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)
    )


def translated(error: sqlite3.Error | UnicodeDecodeError, path: Path) -> StoreError:
    """SQLite's error as one that a person can act on."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    reason = error.object.decode(errors="replace") if isinstance(error, UnicodeDecodeError) else str(error)
    if code == sqlite3.SQLITE_FULL:
        return DiskFull(
            f"There is no room left on the disk of {path.parent}.", "Free some room; nothing that was recorded is lost."
        )
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT) or isinstance(error, UnicodeDecodeError):
        return StoreError(
            f"{path} is not a store, or it is damaged ({reason}).",
            "Move it away, or set COTDISTILL_HOME to another folder.",
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return StoreError(
            f"The store {path} cannot be opened for writing ({reason}).",
            "Check that the folder exists and may be written to.",
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(
            f"The store {path} was busy for {BUSY_SECONDS:.0f} s.",
            "Try again; something may hold it open (a backup, a database browser).",
        )
    return StoreError(f"The store {path} failed: {reason}.", "Check the disk; `cotdistill doctor` tells more.")

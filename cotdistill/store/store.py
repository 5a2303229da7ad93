"""The folder where everything is kept: the database, artefacts, tasks, logs and locks."""

from __future__ import annotations

import os
from pathlib import Path

import cotdistill
from cotdistill.errors import StoreError
from cotdistill.store.artifacts import Artifacts
from cotdistill.store.budget import refusal, room
from cotdistill.store.database import Database
from cotdistill.store.disk import disk_errors, refuse_network
from cotdistill.store.queue import Queue


def default_home() -> Path:
    """$COTDISTILL_HOME; else data/store beside the package when it runs from a clone; else ~/.cotdistill."""
    if chosen := os.environ.get("COTDISTILL_HOME"):
        return Path(chosen).expanduser()
    root = Path(cotdistill.__file__).resolve().parents[1]
    return root / "data" / "store" if (root / "pyproject.toml").is_file() else Path.home() / ".cotdistill"


class Store:
    """A store that is open. Holds no connection and no lock, so it may be shared by threads and kept for as long as one
    likes.
    """

    def __init__(self, home: Path, database: Database) -> None:
        self.home = home
        self.tasks_root = home / "tasks"
        self.artifacts = Artifacts(home / "artifacts")
        self.queue = Queue(home, database, self.artifacts)

    @classmethod
    def open(cls, home: Path | None = None) -> Store:
        """The store in a folder, made if it is not there. Raises NetworkFileSystem, StoreTooNew, DiskFull, or
        StoreError for what is no store.
        """
        home = (home or default_home()).expanduser().absolute()
        refuse_network(home)
        with disk_errors(home, "the store"):
            home.mkdir(parents=True, exist_ok=True)
            if not os.access(home, os.W_OK | os.X_OK):
                raise StoreError(
                    f"{home} may not be written to.",
                    "Allow it, or set COTDISTILL_HOME to a folder that you may write to.",
                )
            return cls(home, Database(home / "store.sqlite"))

    @property
    def refusal(self) -> str:
        """Why nothing new begins for want of room, in words; "" if there is room."""
        with self.queue.database.read() as connection:
            return refusal(connection, self.home)

    @property
    def room(self) -> float:
        """Bytes that the store may still take: of its budget, and of its disk above the floor."""
        with self.queue.database.read() as connection:
            return room(connection, self.home)

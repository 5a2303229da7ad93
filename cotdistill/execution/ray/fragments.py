"""What a task on another node tells the head: append-only records in a folder of the head's own disk, each taken in
exactly once.

A record has a number (1, 2, ... of its attempt); one that comes twice is dropped. Taking a record in again changes
nothing either: artefacts go by digest, log text by its place, a resume checkpoint replaces the one before, and an end
is refused once a newer attempt counts. So a driver may be killed at any moment, and the next one reads the folder from
its start.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from cotdistill.errors import StoreError
from cotdistill.execution.attempts import Attempt
from cotdistill.store.artifacts import hash_file
from cotdistill.store.store import Store

RECORDS = "records.jsonl"


def fragments_folder(store: Store, job: int, attempt: int) -> Path:
    return store.home / "ray" / f"{job}-{attempt}"


class Inbox:
    """The receiving end, an actor on the head's machine. It writes files and knows neither store nor queue."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._last: dict[str, int] = {}
        self._asked: dict[str, str] = {}

    def put(self, attempt: str, records: list[dict[str, Any]]) -> str:
        """Append the records that are new; gives what was asked of the attempt: "", "stop", "pause" or "leave"."""
        new = [record for record in records if record["number"] > self._last.get(attempt, 0)]
        if new:
            folder = self._folder / attempt
            folder.mkdir(parents=True, exist_ok=True)
            with open(folder / RECORDS, "ab") as file:
                file.write(b"".join(json.dumps(record).encode() + b"\n" for record in new))
                file.flush()
                os.fsync(file.fileno())
            self._last[attempt] = new[-1]["number"]
        return self._asked.get(attempt, "")

    def block(self, attempt: str, digest: str, offset: int, data: bytes) -> None:
        """A piece of content that a later record names by its digest."""
        path = self._folder / attempt / digest
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(descriptor, data, offset)
        finally:
            os.close(descriptor)

    def ask(self, attempt: str, request: str) -> None:
        self._asked[attempt] = request


class Intake:
    """Takes the records of one attempt into the store. outcome: the record of its end, None before it has come."""

    def __init__(self, store: Store, attempt: Attempt) -> None:
        self._store, self._attempt = store, attempt
        self.folder = fragments_folder(store, attempt.job.id, attempt.number)
        self._offset, self._last = 0, 0
        self.progress: dict[str, Any] = {}
        self.outcome: dict[str, Any] | None = None

    def pump(self) -> int:
        """Take in what has come since the last time; how many records. StoreError for content that is not what it
        says.
        """
        try:
            with open(self.folder / RECORDS, "rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return 0
        whole, count = data[: data.rfind(b"\n") + 1], 0
        for line in whole.splitlines():
            record = json.loads(line)
            if record["number"] > self._last:
                self._take(record)
                self._last = record["number"]
                count += 1
        self._offset += len(whole)
        return count

    def _take(self, record: dict[str, Any]) -> None:
        match record["kind"]:
            case "progress":
                self.progress = record["values"]
                self._attempt.note(int(self.progress.get("step", -1)))
            case "log":
                self._log(record["at"], record["text"].encode("latin-1"))
            case "artifact":
                self._artifact(record)
            case "resume":
                part = self.folder / record["digest"]
                if part.exists() and hash_file(part) == record["digest"]:
                    os.replace(part, self._attempt.resume_file)
            case "outcome":
                self.outcome = record

    def _log(self, place: int, text: bytes) -> None:
        descriptor = os.open(self._attempt.log_path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(descriptor, text, place)
        finally:
            os.close(descriptor)

    def _artifact(self, record: dict[str, Any]) -> None:
        part, digest = self.folder / record["digest"], record["digest"]
        if (
            digest not in self._store.artifacts
            and self._store.artifacts.put_file(part, record["what"], record["suffix"]) != digest
        ):
            raise StoreError(
                f"The {record['what']} {digest[:12]} came damaged from its node.", "The run is tried again."
            )
        part.unlink(missing_ok=True)

    def forget(self) -> None:
        with contextlib.suppress(OSError):
            shutil.rmtree(self.folder)

"""Ask a warm process about single examples: a page answers in a second without ever loading torch itself. This is the
asking side.

One process a store, started on demand, in a session of its own, with the lowest priority. It listens on a Unix socket
in a folder that only this user may enter, reads one JSON document a connection and answers with one; it can do nothing
but look into runs of its own store. It ends by itself when nobody has asked for ten minutes or the store is gone, and
with `make stop`.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cotdistill import __version__
from cotdistill.errors import CotdistillError, StoreError
from cotdistill.store.disk import disk_errors
from cotdistill.store.locks import is_held
from cotdistill.store.store import Store

# Raised when question or answer change their form: a process of another form is replaced.
FORM = f"{__version__}/1"
# A request with an edited example is some kilobytes.
MOST_BYTES = 1 << 20
# Importing torch and transformers on a busy machine, and then the answer.
START_SECONDS = 90.0
IDLE_SECONDS = 600.0


class LiveError(CotdistillError):
    """The warm process could not be reached, or answered with an error (whose kind, message and hint these are)."""

    def __init__(self, message: str, hint: str = "", kind: str = "live") -> None:
        super().__init__(message, hint)
        self.told_kind = kind

    def as_dict(self) -> dict[str, str]:
        return {"kind": self.told_kind, "message": self.message, "hint": self.hint}


def lock_path(store: Store) -> Path:
    return store.home / "live.lock"


def socket_path(store: Store) -> Path:
    """Where the process of a store listens. Socket paths may have about 100 bytes, so it is short; StoreError if its
    folder is another's.
    """
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"cotdistill-{os.getuid()}"
    with disk_errors(folder, "the socket of the warm process"):
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise StoreError(
            f"{folder} is not a folder of yours alone.", "Remove it, or set TMPDIR to a folder that only you may enter."
        )
    return folder / f"{hashlib.sha256(str(store.home.resolve()).encode()).hexdigest()[:16]}.sock"


def is_warm(store: Store) -> bool:
    """Whether the process lives."""
    return is_held(lock_path(store))


_starting = threading.Lock()
_started: dict[Path, subprocess.Popen[bytes]] = {}


def warm(store: Store) -> None:
    """See to it that the process is up or on its way; returns at once."""
    with _starting:
        earlier = _started.get(store.home)
        if is_warm(store) or (earlier is not None and earlier.poll() is None):
            return
        with disk_errors(store.home, "the log of the warm process"), open(store.home / "live.log", "ab") as log:
            os.ftruncate(log.fileno(), 0)
            _started[store.home] = subprocess.Popen(
                [sys.executable, "-m", "cotdistill.execution.live.server", "--home", str(store.home)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=store.home,
                env={**os.environ, "COTDISTILL_HOME": str(store.home)},
                start_new_session=True,
            )


def ask(store: Store, request: Mapping[str, Any], timeout: float = 60.0) -> dict[str, Any]:
    """The answer to one question, {"do": "ping" | "attribute" | "influence", ...}; see `answering` for what each takes
    and gives.

    Starts the process if need be (then `timeout` counts from the moment it listens). LiveError with the process's own
    words, or why there is no answer.
    """
    line = json.dumps({"form": FORM, **request}, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    if len(line) > MOST_BYTES:
        raise LiveError(
            f"The question has {len(line):,} bytes; at most {MOST_BYTES:,} are read.", "Shorten the text.", "too_large"
        )
    for attempt in (1, 2, 3):
        answer = _answered(store, line, timeout)
        if answer is None or (answer.get("error") or {}).get("kind") == "other_form":
            # It died in the middle, or it is of another version and has made way: once more with a new one.
            if attempt < 3:
                continue
            hint = f"Its log: {store.home / 'live.log'}"
            raise LiveError("The process that looks into students ended without an answer.", hint)
        if error := answer.get("error"):
            raise LiveError(str(error.get("message", "")), str(error.get("hint", "")), str(error.get("kind", "error")))
        return dict(answer["answer"])
    raise AssertionError("unreachable")


def _answered(store: Store, line: bytes, timeout: float) -> dict[str, Any] | None:
    """One try; None if the process died before it answered."""
    with _connected(store) as connection:
        connection.settimeout(timeout)
        try:
            connection.sendall(line)
            received = bytearray()
            while not received.endswith(b"\n"):
                part = connection.recv(1 << 16)
                if not part:
                    return None
                received += part
        except TimeoutError:
            raise LiveError(
                f"There was no answer within {timeout:.0f} seconds.",
                "Ask for less (fewer steps, a cheaper method), or queue it as a job.",
                "timeout",
            ) from None
        except OSError:
            return None
    answer: dict[str, Any] = json.loads(received)
    return answer


def _connected(store: Store) -> socket.socket:
    path = socket_path(store)
    deadline = time.monotonic() + START_SECONDS
    while True:
        warm(store)
        connection = socket.socket(socket.AF_UNIX)
        try:
            if is_warm(store):
                connection.connect(str(path))
                return connection
        except OSError:
            pass
        connection.close()
        if time.monotonic() > deadline:
            log = store.home / "live.log"
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] if log.exists() else []
            raise LiveError(
                f"The process that looks into students does not start. {' '.join(last)}".strip(), f"Its log: {log}"
            )
        time.sleep(0.05)

"""One attempt on a node of a cluster: no store, no database. Inputs come by digest, everything that is made goes to the
head's inbox.

The function of the job is the same as in a worker; it is handed a context that keeps, logs and reports into records
instead of a store.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import os
import platform
import secrets
import shutil
import tempfile
import threading
import time
import traceback
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cotdistill
from cotdistill.errors import NotFound, StoreError, Superseded
from cotdistill.execution.context import JobContext, finite
from cotdistill.execution.worker import KINDS, captured, failure
from cotdistill.store.records import Job, StopRequested, document

if TYPE_CHECKING:
    from cotdistill.tasks.task import Task

BEAT_SECONDS = 0.5
# The head may be busy ingesting large weights; longer silence means that it is gone.
ANSWER_SECONDS = 120.0
BLOCK = 32 << 20
# A resume checkpoint is sent this often at most.
RESUME_SECONDS = 5.0
LOG_BLOCK = 200_000


def carry_out(payload: Mapping[str, Any], inbox: Any) -> str:
    """Run one attempt on this node; gives how it ended. What is told on the way, and the end itself, is in the inbox
    before this returns.
    """
    for module in filter(None, payload["modules"].split(",")):
        importlib.import_module(module)
    folder = Path(tempfile.mkdtemp(prefix="cotdistill-"))
    try:
        # Where outputs of this process go, the Ray worker's own log does not learn of.
        with captured(folder / "log"):
            sender = Sender(inbox, payload["attempt"], folder)
            outcome = _tried(payload, folder, sender)
        sender.end(outcome)
        return str(outcome["state"])
    except Superseded:
        return "superseded"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tried(payload: Mapping[str, Any], folder: Path, sender: Sender) -> dict[str, Any]:
    import ray

    job: Job = payload["job"]
    node = f"{platform.node()} {ray.get_runtime_context().get_node_id()[:8]}"
    header = f"Attempt {payload['number']} of run {job.id} ({job.label or job.kind}); a Ray task on {node}"
    print(
        f"{time.strftime('%H:%M:%S')} {header}, process {os.getpid()}, cotdistill {cotdistill.__version__}.", flush=True
    )
    try:
        if payload["version"] != cotdistill.__version__:
            raise StoreError(
                f"This node has cotdistill {cotdistill.__version__}, the head has {payload['version']}.",
                "Install the same version on every node.",
            )
        context = RemoteContext(payload, folder, sender)
        sender.progress["node"] = node
        sender.start()
        try:
            outcome = KINDS.get(job.kind).load()(context)
        finally:
            sender.rest()
        document(outcome.result)
        context.log("Finished.")
        return {
            "state": "finished",
            "result": dict(outcome.result),
            "produced": dict(outcome.produced),
            "used": dict(outcome.used),
        }
    except StopRequested as stop:
        print(f"{time.strftime('%H:%M:%S')} Asked to {stop.request}.", flush=True)
        return {"state": "released", "request": stop.request}
    except Superseded:
        raise
    except Exception as error:
        traceback.print_exc()
        return {"state": "failed", "error": failure(error, job, folder)}


class Sender(threading.Thread):
    """Numbers records and brings them to the inbox: from its own thread twice a second, and at once for what is
    kept.
    """

    def __init__(self, inbox: Any, attempt: str, folder: Path) -> None:
        super().__init__(name=f"sender of {attempt}", daemon=True)
        self._inbox, self._attempt = inbox, attempt
        self._log, self.resume_file = folder / "log", folder / "resume.safetensors"
        self._lock = threading.Lock()
        self._waiting: list[dict[str, Any]] = []
        self._number, self._told = 0, 0
        self._over = threading.Event()
        self._resume: tuple[float, float] = (
            self.resume_file.stat().st_mtime if self.resume_file.exists() else 0.0,
            0.0,
        )
        self.progress: dict[str, Any] = {}
        self.asked = ""
        self.lost = False

    def run(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            with contextlib.suppress(Superseded):
                self.flush()

    def rest(self) -> None:
        self._over.set()
        if self.is_alive():
            self.join()

    def flush(self) -> None:
        """Send progress, log and a new resume checkpoint. Superseded if the head is gone: nobody waits for this attempt
        any more.
        """
        with self._lock:
            self._read_log()
            self._read_resume()
            self._add("progress", values=dict(self.progress))
            self._send()

    def keep(self, data: bytes, what: str, suffix: str) -> str:
        digest = hashlib.sha256(data).hexdigest()
        with self._lock:
            self._blocks(digest, data)
            self._add("artifact", digest=digest, what=what, suffix=suffix)
            self._send()
        return digest

    def end(self, outcome: dict[str, Any]) -> None:
        """The last records: the rest of the log, the last checkpoint unless the work is done, the end."""
        with self._lock:
            self._read_log()
            if outcome["state"] != "finished":
                self._resume = (self._resume[0], 0.0)
                self._read_resume()
            self._add("progress", values=dict(self.progress))
            self._add("outcome", **outcome)
            self._send()

    def _add(self, kind: str, **values: Any) -> None:
        self._number += 1
        self._waiting.append({"number": self._number, "kind": kind, **values})

    def _read_log(self) -> None:
        data = self._log.read_bytes()[self._told :]
        for first in range(0, len(data), LOG_BLOCK):
            # Latin-1 keeps each byte's place; a sign that is cut in two is whole again in the head's file.
            block = data[first : first + LOG_BLOCK]
            self._add("log", at=self._told, text=block.decode("latin-1"))
            self._told += len(block)

    def _read_resume(self) -> None:
        try:
            changed = self.resume_file.stat().st_mtime
        except FileNotFoundError:
            return
        if changed == self._resume[0] or time.monotonic() - self._resume[1] < RESUME_SECONDS:
            return
        data = self.resume_file.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        self._blocks(digest, data)
        self._add("resume", digest=digest)
        self._resume = (changed, time.monotonic())

    def _blocks(self, digest: str, data: bytes) -> None:
        for first in range(0, max(len(data), 1), BLOCK):
            self._call(self._inbox.block, digest, first, data[first : first + BLOCK])

    def _send(self) -> None:
        self.asked = self._call(self._inbox.put, self._waiting) or self.asked
        self._waiting = []

    def _call(self, method: Any, *values: Any) -> Any:
        import ray

        try:
            return ray.get(method.remote(self._attempt, *values), timeout=ANSWER_SECONDS)
        except ray.exceptions.RayError as error:
            self.lost = True
            raise Superseded(f"The head does not answer any more ({type(error).__name__}).") from error


class RemoteContext(JobContext):
    """What a job function is handed on a node."""

    def __init__(self, payload: Mapping[str, Any], folder: Path, sender: Sender) -> None:
        import ray

        self.kind = payload["job"].kind
        self.config = payload["job"].config
        self.identity = payload["job"].identity
        self._given, self._folder, self._sender = payload, folder, sender
        self._fetch: Callable[[Any], bytes] = ray.get
        self.resume_file = sender.resume_file
        if payload["resume"] is not None:
            self.resume_file.write_bytes(self._fetch(payload["resume"]))

    def task(self, name: str, world: int = 0, settings: Mapping[str, Any] | None = None) -> Task:
        from cotdistill.tasks.task import open_folder

        if self._given["task"] is None:
            raise NotFound(
                f"The task {name!r} was not sent along.",
                "Run jobs of this kind on the head's machine: --executor local",
            )
        reference, key, inner = self._given["task"]
        home = Path(tempfile.gettempdir()) / f"cotdistill-tasks-{os.getuid()}" / key
        if not home.is_dir():
            part = home.with_name(f".{key}.{secrets.token_hex(4)}")
            with zipfile.ZipFile(io.BytesIO(self._fetch(reference))) as archive:
                archive.extractall(part)
            # Another task of the same node may have been faster.
            with contextlib.suppress(OSError):
                os.rename(part, home)
            shutil.rmtree(part, ignore_errors=True)
        return open_folder(home / inner)

    def produced(self, identity: str, role: str) -> Path:
        try:
            reference, name = self._given["inputs"][identity][role]
        except KeyError:
            raise NotFound(f"The run {identity[:12]} has made no {role!r}.", "Retry it.") from None
        path = self._folder / str(name)
        if not path.exists():
            path.write_bytes(self._fetch(reference))
        if hashlib.sha256(path.read_bytes()).hexdigest() != path.stem:
            raise StoreError(f"The input {role!r} came damaged to this node.", "The run can be tried again.")
        return path

    def home(self) -> Path:
        raise StoreError(
            "A run with several processes of its own (training.processes) runs on the machine of the store only.",
            "Set training.processes to 1, or run the study with --executor local.",
        )

    def report(self, step: int, total: int, **values: float | int | str | None) -> None:
        self._sender.progress |= {
            "step": int(step),
            "total": int(total),
            **{name: finite(value) for name, value in values.items()},
        }
        if self._sender.lost:
            raise Superseded("The head does not answer any more.")
        if asked := self._sender.asked:
            self._sender.asked = ""
            raise StopRequested(asked)

    def keep(self, data: bytes | Path, kind: str, suffix: str) -> str:
        return self._sender.keep(data.read_bytes() if isinstance(data, Path) else data, kind, suffix.lstrip("."))

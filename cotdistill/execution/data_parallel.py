"""The further processes of a run with training.processes > 1: each makes the same student from the store and takes its share of every step.

The worker is the first process. It starts the others, holds the end of a pipe to each of them, and alone reports, scores and keeps what comes out.
A companion ends as soon as its pipe closes, so none outlives its worker, whatever ends that.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cotdistill.errors import CotdistillError, StudentError
from cotdistill.execution.worker import JobContext
from cotdistill.store.store import Store
from cotdistill.students.files import check_processes
from cotdistill.students.group import ALONE, Group, joined

# How long a companion has to end by itself once the run is over.
PATIENCE_SECONDS = 10.0


class CompanionContext(JobContext):
    """What the function of a job is handed in a companion: inputs, and nothing that writes."""

    def __init__(self, store: Store, identity: str, resume_file: Path) -> None:
        self.store, self.identity, self.resume_file = store, identity, resume_file
        self.config = store.queue.job(identity).config

    def report(self, step: int, total: int, **values: float | int | str | None) -> None:
        pass


@contextlib.contextmanager
def group_of(context: JobContext, processes: int, device: str) -> Iterator[Group]:
    """So many processes of a run, this one first; the others are started, and ended when the block ends.

    StudentError without accelerate, with too few GPUs, where another process ended with an error, or where the run is not on the store's machine.
    """
    if processes == 1:
        yield ALONE
        return
    check_processes(processes)
    home = context.home()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "cotdistill.execution.data_parallel", "--home", str(home), "--run", context.identity]
    words += ["--resume", str(context.resume_file), "--port", str(port)]
    others = [
        subprocess.Popen(
            [*words, "--rank", str(rank)], stdin=subprocess.PIPE, env=os.environ | {"COTDISTILL_HOME": str(home)}
        )
        for rank in range(1, processes)
    ]
    try:
        with joined(0, processes, port, device) as group:
            yield group
    except RuntimeError as error:
        # A process that is gone shows as a broken connection.
        raise _ended(others) or error from error
    finally:
        for other in others:
            if other.stdin is not None:
                other.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                other.wait(PATIENCE_SECONDS)
            if other.poll() is None:
                other.kill()
                other.wait()


def _ended(others: list[subprocess.Popen[bytes]]) -> StudentError | None:
    for rank, other in enumerate(others, 1):
        with contextlib.suppress(subprocess.TimeoutExpired):
            if code := other.wait(PATIENCE_SECONDS):
                return StudentError(
                    f"Process {rank + 1} of this run ended with code {code}.", "Its last words are in the log above."
                )
    return None


def main(arguments: list[str] | None = None) -> int:
    """Be a companion: python -m cotdistill.execution.data_parallel ..., started by a worker."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--resume", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rank", type=int, required=True)
    given: Any = parser.parse_args(arguments)
    threading.Thread(target=_leave_with_worker, daemon=True).start()
    # Imported here: torch takes seconds, and the pipe is to be watched from the start.
    from cotdistill.execution.jobs.train import accompany

    try:
        accompany(CompanionContext(Store.open(given.home), given.run, given.resume), given.rank, given.port)
    except CotdistillError as error:
        print(f"Process {given.rank + 1} of this run: {error.message}", file=sys.stderr)
        return 1
    return 0


def _leave_with_worker() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())

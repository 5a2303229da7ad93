"""The further processes of a run with training.processes > 1: each makes the same student from the store and takes its
share of every step.

The worker is the first process. It starts the others, holds the end of a pipe to each of them, and alone reports,
scores and keeps what comes out. A companion (`jobs/companion`) ends as soon as its pipe closes, so none outlives its
worker, whatever ends that.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

from cotdistill.errors import StudentError
from cotdistill.execution.context import JobContext
from cotdistill.students.files import check_processes
from cotdistill.students.group import ALONE, ProcessGroup, joined

# How long a companion has to end by itself once the run is over.
PATIENCE_SECONDS = 10.0


@contextlib.contextmanager
def group_of(context: JobContext, processes: int, device: str) -> Iterator[ProcessGroup]:
    """So many processes of a run, this one first; the others are started, and ended when the block ends.

    StudentError without accelerate, with too few GPUs, where another process ended with an error, or where the run is
    not on the store's machine.
    """
    if processes == 1:
        yield ALONE
        return
    check_processes(processes)
    home = context.home()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [
        sys.executable,
        "-m",
        "cotdistill.execution.jobs.companion",
        "--home",
        str(home),
        "--run",
        context.identity,
    ]
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

"""A further process of a run with training.processes > 1: makes the same student and takes its share of every step."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path

from cotdistill.errors import CotdistillError
from cotdistill.execution.worker import StoreContext
from cotdistill.store.store import Store


class CompanionContext(StoreContext):
    """What the function of a job is handed in a companion: inputs, and nothing that writes."""

    def report(self, step: int, total: int, **values: float | int | str | None) -> None:
        pass


def main(arguments: list[str] | None = None) -> int:
    """Be a companion: python -m cotdistill.execution.jobs.companion ..., started by a worker."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--resume", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rank", type=int, required=True)
    options = parser.parse_args(arguments)
    threading.Thread(target=_leave_with_worker, daemon=True).start()
    # Imported here: torch takes seconds, and the pipe is to be watched from the start.
    from cotdistill.execution.jobs.train import accompany

    try:
        store = Store.open(options.home)
        accompany(CompanionContext(store, store.queue.job(options.run), options.resume), options.rank, options.port)
    except CotdistillError as error:
        print(f"Process {options.rank + 1} of this run: {error.message}", file=sys.stderr)
        return 1
    return 0


def _leave_with_worker() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())

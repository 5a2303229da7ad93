"""worker: one worker process; the supervisor starts these by itself."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from cotdistill.cli.command import Command, Noun, Result
from cotdistill.execution.worker import work
from cotdistill.store.store import Store
from cotdistill.text import plural


@dataclass(frozen=True)
class Worked:
    """What a worker did."""

    jobs: int  # number of jobs it finished


def worker(arguments: argparse.Namespace) -> Result:
    done = Worked(work(Store.open()))
    return Result(done, f"The queue is empty; this worker finished {plural(done.jobs, 'job')}.")


NOUN = Noun(
    "worker",
    "one worker process",
    (
        Command(
            "worker", "", "run queued jobs until none is ready; the supervisor starts workers by itself", worker, Worked
        ),
    ),
)

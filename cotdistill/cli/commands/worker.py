"""worker: one worker process; the supervisor starts these by itself."""

from __future__ import annotations

import argparse

from cotdistill.cli.command import Command, Noun, Result
from cotdistill.execution.worker import work
from cotdistill.store.store import Store
from cotdistill.text import plural


def worker(arguments: argparse.Namespace) -> Result:
    done = work(Store.open())
    return Result({"jobs": done}, f"Nothing is left to do; {plural(done, 'job')} done here.")


NOUN = Noun(
    "worker",
    "one worker process",
    (
        Command(
            "worker",
            "",
            "take jobs from the queue until none is ready; the supervisor starts these by itself",
            worker,
            {"jobs": "how many jobs it did"},
        ),
    ),
)

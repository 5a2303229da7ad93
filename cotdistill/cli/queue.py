"""queue pause, resume, workers: the queue as a whole."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

from cotdistill.cli.command import Command, Noun, Result, whole_number
from cotdistill.studies.store import Store
from cotdistill.studies.supervisor import ensure_supervisor
from cotdistill.views.wording import plural


def _state(store: Store) -> Result:
    counts = Counter(job.state for job in store.queue.jobs())
    document: dict[str, Any] = {
        "paused": store.queue.paused,
        "workers": store.queue.workers(),
        "queued": counts["queued"],
        "running": counts["running"],
    }
    told = "The queue is paused; what runs goes on to its end" if document["paused"] else "The queue goes on"
    return Result(document, f"{told}: {document['running']} running, {document['queued']} queued, {plural(document['workers'], 'worker')} wanted.")


def pause(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    store.queue.set_paused(True)
    return _state(store)


def resume(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    store.queue.set_paused(False)
    ensure_supervisor(store)
    return _state(store)


def workers(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    if arguments.number is not None:
        store.queue.set_workers(arguments.number)
        ensure_supervisor(store)
    return _state(store)


def _workers_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("number", nargs="?", type=whole_number(1), metavar="N", help="how many there should be; left out: only tell")


_KEYS = {
    "paused": "whether nothing new starts",
    "workers": "worker processes wanted",
    "queued": "jobs that wait",
    "running": "jobs that run",
}

NOUN = Noun(
    "queue",
    "the queue as a whole",
    (
        Command("queue", "pause", "begin nothing new until resumed; what runs goes on to its end", pause, _KEYS),
        Command("queue", "resume", "go on", resume, _KEYS),
        Command("queue", "workers", "tell or set the number of worker processes", workers, _KEYS, _workers_arguments),
    ),
)

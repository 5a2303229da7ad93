"""queue pause, resume, workers, gpus: the queue as a whole."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

from cotdistill.cli.command import Command, Noun, Result, whole_number
from cotdistill.cli.output import table
from cotdistill.execution import devices
from cotdistill.execution.supervisor import ensure_supervisor
from cotdistill.store import hardware
from cotdistill.store.store import Store
from cotdistill.text import plural, size


def _state(store: Store) -> Result:
    counts = Counter(job.state for job in store.queue.jobs())
    document: dict[str, Any] = {
        "paused": store.queue.paused,
        "workers": store.queue.workers(),
        "queued": counts["queued"],
        "running": counts["running"],
        "gpus": list(devices.chosen(store.queue)),
    }
    gpus = f", runs on GPU {', '.join(document['gpus'])}" if document["gpus"] else ""
    told = "The queue is paused; what runs goes on to its end" if document["paused"] else "The queue goes on"
    return Result(
        document,
        f"{told}: {document['running']} running, {document['queued']} queued, {plural(document['workers'], 'worker')} wanted{gpus}.",
    )


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


def gpus(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    if arguments.indices is not None:
        wanted = (
            hardware.indices()
            if arguments.indices == "all"
            else []
            if arguments.indices == "none"
            else arguments.indices.split(",")
        )
        devices.choose(store.queue, wanted)
        ensure_supervisor(store)
    chosen = [slot.split(devices.TOGETHER) for slot in devices.chosen(store.queue)]
    runs = Counter(index for slot in chosen for index in slot)
    here = hardware.gpus()
    document = [
        {
            "index": gpu.index,
            "name": gpu.name,
            "memory": gpu.total,
            "free": gpu.free,
            "chosen": gpu.index in runs,
            "runs": runs[gpu.index],
        }
        for gpu in here
    ]
    rows = [[gpu.index, gpu.name, size(gpu.total), size(gpu.free), runs[gpu.index]] for gpu in here]
    text = table(
        ["GPU", "name", "memory", "free", "runs at a time"], rows, right=("GPU", "memory", "free", "runs at a time")
    )
    return Result({"gpus": document}, text if here else "No GPU is seen on this machine; runs are trained on the CPU.")


def _gpus_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "indices",
        nargs="?",
        metavar="0,1|all|none",
        help="which GPUs; one named twice takes two runs, 0+1 are two for one run; left out: only tell",
    )


def _workers_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "number", nargs="?", type=whole_number(1), metavar="N", help="how many there should be; left out: only tell"
    )


_KEYS = {
    "paused": "whether nothing new starts",
    "workers": "worker processes wanted",
    "queued": "jobs that wait",
    "running": "jobs that run",
    "gpus": "indices of the GPUs that runs are given, one run each",
}

NOUN = Noun(
    "queue",
    "the queue as a whole",
    (
        Command("queue", "pause", "begin nothing new until resumed; what runs goes on to its end", pause, _KEYS),
        Command("queue", "resume", "go on", resume, _KEYS),
        Command("queue", "workers", "tell or set the number of worker processes", workers, _KEYS, _workers_arguments),
        Command(
            "queue",
            "gpus",
            "tell or choose the GPUs that runs are given, one run on each; runs that have begun keep theirs",
            gpus,
            {
                "gpus": "every GPU of this machine",
                "gpus[].index": "as CUDA_VISIBLE_DEVICES names it",
                "gpus[].name": "name",
                "gpus[].memory": "bytes in all",
                "gpus[].free": "bytes free now",
                "gpus[].chosen": "whether runs are given it",
                "gpus[].runs": "how many at a time",
            },
            _gpus_arguments,
        ),
    ),
)

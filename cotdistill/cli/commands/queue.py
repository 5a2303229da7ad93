"""queue pause, resume, workers, gpus: the queue as a whole."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass

from cotdistill.cli.command import Command, Noun, Result, whole_number
from cotdistill.cli.output import table
from cotdistill.execution import devices
from cotdistill.execution.supervisor import ensure_supervisor
from cotdistill.store import hardware
from cotdistill.store.store import Store
from cotdistill.text import plural, size


@dataclass(frozen=True)
class QueueState:
    """What `queue pause`, `resume` and `workers` answer."""

    paused: bool  # whether no new job starts
    workers: int  # number of worker processes
    queued: int  # queued jobs
    running: int  # running jobs
    gpus: list[str]  # indices of the GPUs in use, one run on each


@dataclass(frozen=True)
class GpuDocument:
    """One GPU of this machine."""

    index: str  # as in CUDA_VISIBLE_DEVICES
    name: str  # name
    memory: float  # total bytes
    free: float  # free bytes now
    chosen: bool  # whether runs use it
    runs: int  # runs at a time


@dataclass(frozen=True)
class Gpus:
    """What `queue gpus` answers."""

    gpus: list[GpuDocument]  # every GPU of this machine


def _state(store: Store) -> Result:
    counts = Counter(job.state for job in store.queue.jobs())
    gpus = list(devices.chosen(store.queue))
    state = QueueState(store.queue.paused, store.queue.workers(), counts["queued"], counts["running"], gpus)
    label = "Queue paused; running jobs will finish" if state.paused else "Queue active"
    numbers = [f"{state.running} running", f"{state.queued} queued", plural(state.workers, "worker")]
    numbers += [f"runs on GPU {', '.join(gpus)}"] if gpus else []
    return Result(state, f"{label}: {', '.join(numbers)}.")


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
        named = {"all": hardware.indices(), "none": []}
        devices.choose(store.queue, named.get(arguments.indices, arguments.indices.split(",")))
        ensure_supervisor(store)
    runs = Counter(index for slot in devices.chosen(store.queue) for index in slot.split(devices.TOGETHER))
    document = [
        GpuDocument(gpu.index, gpu.name, gpu.total, gpu.free, gpu.index in runs, runs[gpu.index])
        for gpu in hardware.gpus()
    ]
    rows = [[gpu.index, gpu.name, size(gpu.memory), size(gpu.free), gpu.runs] for gpu in document]
    heads = ("GPU", "name", "memory", "free", "runs at a time")
    text = table(heads, rows, right=("GPU", "memory", "free", "runs at a time"))
    return Result(Gpus(document), text if rows else "This machine has no GPU; runs train on the CPU.")


def _gpus_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "indices",
        nargs="?",
        metavar="0,1|all|none",
        help="the GPUs to use: an index given twice takes two runs, 0+1 joins two for one run; default: show them",
    )


def _workers_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("number", nargs="?", type=whole_number(1), metavar="N", help="the new number; default: show it")


NOUN = Noun(
    "queue",
    "the queue as a whole",
    (
        Command("queue", "pause", "start no new jobs until resumed; running jobs finish", pause, QueueState),
        Command("queue", "resume", "start jobs again", resume, QueueState),
        Command(
            "queue", "workers", "show or set the number of worker processes", workers, QueueState, _workers_arguments
        ),
        Command(
            "queue",
            "gpus",
            "show or set the GPUs for training, one run on each; running jobs keep theirs",
            gpus,
            Gpus,
            _gpus_arguments,
        ),
    ),
)

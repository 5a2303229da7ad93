"""Which worker has which GPU: one run on each GPU that is chosen. A worker without one sees none, and takes no run that
asks for one.

Several GPUs that are joined by a plus ("0+1") are given together to one run, whose processes (training.processes) take
one each.

A worker keeps its GPU for life and carries it in its name, so that a supervisor that comes later knows which are taken.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence

from cotdistill.errors import UnknownName, UsageError
from cotdistill.store import hardware
from cotdistill.store.queue import Queue

# Between a worker's own name and its GPU.
_MARK = "-gpu"
_SETTING = "gpus"
# Joins GPUs that one run is given together.
TOGETHER = "+"


def chosen(queue: Queue) -> tuple[str, ...]:
    """The GPUs that runs are given, by index: those that a person has chosen and that are here, all of them until then.
    One that is named twice takes two runs at a time."""
    here = hardware.indices()
    said = queue.setting(_SETTING)
    return here if said is None else tuple(slot for slot in said.split(",") if set(slot.split(TOGETHER)) <= set(here))


def choose(queue: Queue, indices: Sequence[str]) -> None:
    """Give runs these GPUs from now on; runs that have begun keep theirs. UnknownName for one that is not here."""
    here = hardware.indices()
    for index in indices:
        parts = index.split(TOGETHER)
        for part in parts:
            if part not in here:
                raise UnknownName("GPU", part, here)
        if len(set(parts)) < len(parts):
            raise UsageError(f"{index} names a GPU twice for one run.", "Join different GPUs: 0+1")
    queue.set_setting(_SETTING, ",".join(indices) or "none")


def gpu_of(worker: str) -> str | None:
    """The GPU of a worker by its name; None if it has none."""
    name, mark, index = worker.rpartition(_MARK)
    return index if mark and name else None


def with_gpu(worker: str, index: str) -> str:
    return f"{worker}{_MARK}{index}"


def next_free(slots: Sequence[str], workers: Iterable[str]) -> str | None:
    """The first GPU that has fewer workers than it may have; None if all are taken."""
    taken = Counter(gpu_of(worker) for worker in workers)
    return next((index for index in slots if taken[index] < slots.count(index)), None)


def environment(worker: str) -> dict[str, str]:
    """What a worker's process is to see: its GPU alone, or none where others have them."""
    index = gpu_of(worker)
    if index is not None:
        return {"CUDA_VISIBLE_DEVICES": index.replace(TOGETHER, ","), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return {"CUDA_VISIBLE_DEVICES": ""} if hardware.indices() else {}


def may_take_gpu_runs() -> bool:
    """Whether this process may take runs that ask for a GPU: one that sees none because others have them may not. Where
    there is no GPU at all such a run is taken, and fails with the reason."""
    return os.environ.get("CUDA_VISIBLE_DEVICES") != ""

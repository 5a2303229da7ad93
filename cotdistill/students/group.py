"""Several processes that train one student: each takes its part of every step, and the gradients are added up before
the update.

The processes find each other through accelerate (an extra), over NCCL on GPUs and Gloo on CPUs. Every process holds the
whole student and its moments; what is divided is the batch, and with it the activations and the time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from transformers import PreTrainedModel

from cotdistill.config import stable_seed
from cotdistill.errors import StudentError

T = TypeVar("T")
# What accelerate and torch.distributed read to find the others; and the threads of each, or accelerate warns that it
# sets them by itself.
_PLACE = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "ACCELERATE_USE_CPU",
    "OMP_NUM_THREADS",
)


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of one run. rank: which one this is, 0 for the one that evaluates, keeps weights and writes
    checkpoints.
    """

    rank: int = 0
    size: int = 1

    def share(self, parts: Sequence[T]) -> list[T]:
        """This process's share of a step's micro-batches."""
        return list(parts[self.rank :: self.size])

    def reseed(self, seed: int, step: int) -> None:
        """Dropout of its own for each process beyond the first, drawn from (seed, step, rank) alone, so that a run
        resumes anywhere.
        """
        if self.rank:
            torch.manual_seed(stable_seed("group", seed, step, self.rank))

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def add_up_gradients(self, model: PreTrainedModel) -> None:
        """Every process ends with the gradients of the whole step."""
        if self.size == 1:
            return
        for parameter in model.parameters():
            if parameter.requires_grad:
                if parameter.grad is None:  # no micro-batch of this step was ours
                    parameter.grad = torch.zeros_like(parameter)
                torch.distributed.all_reduce(parameter.grad)

    def agree(self, step: int) -> None:
        """StudentError unless all processes are at the same step."""
        total = int(self.add_up(torch.tensor([step], device=self.device())).item())
        if total != step * self.size:
            raise StudentError(
                f"The processes of this run stand at different steps (this one at {step}).",
                "Retry the run; the checkpoint may be damaged.",
            )

    def device(self) -> torch.device:
        """Where numbers have to lie that are to be added up."""
        there = self.size > 1 and torch.distributed.get_backend() == "nccl"
        return torch.device("cuda", torch.cuda.current_device()) if there else torch.device("cpu")


ALONE = ProcessGroup()


@contextlib.contextmanager
def joined(rank: int, size: int, port: int, device: str) -> Iterator[ProcessGroup]:
    """Meet the other processes of this machine at a port; StudentError if they do not come, or if there are too few
    GPUs.
    """
    if device == "cuda" and torch.cuda.device_count() < size:
        raise StudentError(
            f"training.processes is {size}, and this worker sees {torch.cuda.device_count()} GPU(s).",
            "Give a worker several GPUs (cotdistill queue gpus 0+1), or set training.processes to 1.",
        )
    from accelerate import PartialState

    threads = torch.get_num_threads()
    place = (
        str(rank),
        str(size),
        str(rank),
        str(size),
        "127.0.0.1",
        str(port),
        "true" if device == "cpu" else "false",
        str(threads),
    )
    before = {name: os.environ.get(name) for name in _PLACE}
    os.environ.update(dict(zip(_PLACE, place, strict=True)))
    try:
        try:
            state = PartialState(cpu=device == "cpu")
        except (RuntimeError, ValueError) as error:
            # What is half set up would stand in the way of the next run in this process.
            PartialState._reset_state()
            raise StudentError(
                f"The processes of this run did not find each other: {error}", "Retry the run."
            ) from error
        # accelerate gives each process its share of the cores; threads belong to a run's identity.
        torch.set_num_threads(threads)
        try:
            yield ProcessGroup(state.process_index, state.num_processes)
        finally:
            state.destroy_process_group()
            PartialState._reset_state()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

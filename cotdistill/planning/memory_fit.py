"""Whether the runs of a study fit into memory: the micro-batch that does, and what to change where nothing does."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from cotdistill.config import LARGEST_THAT_FITS, TrainingConfig
from cotdistill.planning.cost import Costs
from cotdistill.store import hardware
from cotdistill.students.memory import RunMemory
from cotdistill.students.models import is_built_in

# Of all memory of the machine (or GPU) an automatic micro-batch leaves the rest to others: the system, the dashboard,
# fragments.
SHARE = {"cpu": 0.8, "cuda": 0.9}
# Weights from which on a GPU saves more than seconds.
WORTH_A_GPU = 10_000_000
# Bytes of a GPU that CUDA itself takes in every process.
CONTEXT_BYTES = 600e6


@dataclass(frozen=True)
class Fit:
    """What the largest run of a study takes, where, and what is there. needs: bytes of one process on its device;
    total, free: bytes of the device (of the smallest GPU; free may be None: not known); at_once: runs that share it."""

    memory: RunMemory
    device: str
    needs: float
    total: float
    free: float | None
    at_once: int

    @property
    def fits(self) -> bool:
        return self.free is None or self.needs * self.at_once <= self.free


def fit(costs: Costs, training: TrainingConfig, workers: int) -> Fit:
    """The largest run of a study on this machine, as free as it is now."""
    estimate = costs.memory(training)
    total, free = _room(training.device)
    return Fit(
        estimate,
        training.device,
        _needs(estimate, training.device),
        total,
        free,
        workers * training.processes if training.device == "cpu" else 1,
    )


def _needs(estimate: RunMemory, device: str) -> float:
    return estimate.process if device == "cpu" else estimate.peak + CONTEXT_BYTES


def _room(device: str) -> tuple[float, float | None]:
    if device == "cpu":
        room = hardware.memory()
        return room.total, room.free
    gpus = hardware.gpus()
    return min((gpu.total for gpu in gpus), default=0.0), min((gpu.free for gpu in gpus), default=None)


def settled(costs: Costs, training: TrainingConfig, workers: int) -> TrainingConfig:
    """An automatic micro-batch made a number: the largest of the batch and its halves with which every run of the study
    fits.

    What counts is all memory of the machine, shared by the workers, not what happens to be free: the micro-batch is
    part of a run's identity, and the same study planned tomorrow should find the same runs. A batch that fits as a
    whole is 0, as without the option.
    """
    if training.micro_batch != LARGEST_THAT_FITS:
        return training
    total, _ = _room(training.device)
    room = SHARE[training.device] * total / (max(1, workers) * training.processes if training.device == "cpu" else 1)
    size = training.batch_size
    while size > 1 and _needs(costs.memory(dataclasses.replace(training, micro_batch=size)), training.device) > room:
        size //= 2
    return dataclasses.replace(training, micro_batch=0 if size == training.batch_size else size)


def checks(costs: Costs, asked: TrainingConfig, training: TrainingConfig, chosen: Fit) -> list[str]:
    """What a person should know about memory before launching. asked: the settings before the micro-batch was
    settled.
    """
    warnings = []
    if asked.micro_batch == LARGEST_THAT_FITS and training.micro_batch:
        warnings.append(
            f"Micro-batch {training.micro_batch}: the largest that fits. Steps are still of {training.batch_size}"
            " examples; as part of a run's identity it stays with this study."
        )
    if training.device == "cuda" and not hardware.gpus():
        warnings.append(
            "training.device is cuda, and no GPU is seen on this machine: the runs would fail. Set it to cpu, or mend"
            " the driver."
        )
        return warnings
    if training.device == "cpu" and costs.shape.parameters >= WORTH_A_GPU and hardware.indices():
        warnings.append(
            "This machine has a GPU, and training.device is cpu: a student of this size trains many times faster on the"
            " GPU."
        )
    if not costs.known:
        warnings.append(
            "The sizes of the student are not on this machine yet: memory is that of GPT-2 small until it has been"
            " loaded."
        )
    if chosen.fits:
        return warnings
    each, free = _gb(chosen.needs), _gb(chosen.free or 0.0)
    where = "a GPU" if chosen.device == "cuda" else "this machine"
    several = f", {_gb(chosen.needs * chosen.at_once)} for {chosen.at_once} at once" if chosen.at_once > 1 else ""
    needs = f"A run takes about {each} ({chosen.memory.when}){several}; {free} are free on {where}."
    return [*warnings, f"{needs} It would run out of memory: {_advice(costs, training, chosen)}."]


def _advice(costs: Costs, training: TrainingConfig, chosen: Fit) -> str:
    """What would make it fit, the mildest first."""
    free = chosen.free or 0.0
    if chosen.at_once > 1 and chosen.needs <= free:
        return f"use {int(free // chosen.needs)} worker(s) (cotdistill queue workers {int(free // chosen.needs)})"
    size = (training.micro_batch or training.batch_size) // 2
    while size >= 1:
        smaller = dataclasses.replace(training, micro_batch=size)
        if _needs(costs.memory(smaller), training.device) * chosen.at_once <= free:
            return (
                f"set training.micro_batch to {size} (steps stay of {training.batch_size} examples), or to -1 for the"
                " largest that fits"
            )
        size //= 2
    if not training.gradient_checkpointing:
        again = dataclasses.replace(training, gradient_checkpointing=True)
        if _needs(costs.memory(again), training.device) * chosen.at_once <= free:
            return "set training.gradient_checkpointing to true (a third more time)"
    if costs.adapters is None and not is_built_in(costs.student.name):
        return (
            "train adapters instead of all weights (student.lora_rank 16), and choose a smaller student if that is not"
            " enough"
        )
    if chosen.at_once > 1:
        return "use one worker (cotdistill queue workers 1), and a smaller student if that is not enough"
    return "no micro-batch helps; choose a smaller student, a shorter student.max_length, or a machine with more memory"


def _gb(octets: float) -> str:
    return f"{octets / 1e9:.1f} GB"

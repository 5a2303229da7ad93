"""Settings that suit a pretrained student, of the catalogue or not: by its size, full weights or LoRA, and the machine.
No torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cotdistill.config import StudentConfig, TrainingConfig
from cotdistill.errors import StudentError
from cotdistill.students import memory
from cotdistill.students.files import here
from cotdistill.students.models import entry_of, is_built_in, settings_text

# The rate of full fine-tuning falls with the square root of the size; 1e-4 at 135 M weights.
REFERENCE_RATE, REFERENCE_PARAMETERS = 1e-4, 135e6
LOWEST_RATE, HIGHEST_RATE = 1e-5, 1e-3
# Adapters want a higher rate than full weights do (Hu et al. 2021, arXiv 2106.09685).
LORA_TIMES, LORA_HIGHEST_RATE = 5.0, 1e-3
# Whatever the student: a copy of its weights before and after, and few interruptions.
SHARED: Mapping[str, Any] = {
    "training.warmup": 0.1,
    "training.schedule": "linear",
    "training.checkpoints": "0,1",
    "training.evaluations": 2,
}
# A rate so many times the suited one is worth a warning.
FAR = 10.0


def suited(student: StudentConfig, device: str = "cpu") -> dict[str, Any]:
    """Settings of a study, written as in training.lr, that suit a student; none for a built-in one.

    The same student on the same kind of processor always gets the same: they become part of a run's identity.
    """
    if is_built_in(student.name):
        return {}
    entry = entry_of(student.name)
    settings = dict(entry.defaults) if entry is not None else dict(SHARED)
    lora = bool(student.lora_rank or settings.get("student.lora_rank"))
    if entry is None or (lora and "student.lora_rank" not in settings):
        settings["training.lr"] = suited_rate(parameters_of(student), lora)
    if entry is None or entry.package is not None:
        # Imported here: students are trained without a store.
        from cotdistill.store import hardware

        settings["training.precision"] = "bf16" if device == "cuda" or hardware.is_bf16_faster() else "fp32"
    return settings


def suited_rate(parameters: float, lora: bool) -> float:
    """The peak rate of AdamW for so many weights, to one digit: 1e-4 for 135 M, 4e-05 for 1 B, five times that for
    LoRA."""
    rate = REFERENCE_RATE * (REFERENCE_PARAMETERS / max(1.0, parameters)) ** 0.5
    rate = min(HIGHEST_RATE, max(LOWEST_RATE, rate))
    return float(f"{min(LORA_HIGHEST_RATE, LORA_TIMES * rate) if lora else rate:.0e}")


def parameters_of(student: StudentConfig) -> float:
    """The number of a student's weights: of the catalogue, by its config.json, by its name (…-1.5B); else 135 M."""
    if (entry := entry_of(student.name)) is not None:
        return float(entry.parameters)
    # By the name first: a study must be the same before and after a download.
    size = re.search(r"(?<![\d.])(\d+(?:\.\d+)?)([mb])(?![a-z])", student.name.lower().rpartition("/")[2])
    if size is not None:
        return float(size.group(1)) * {"m": 1e6, "b": 1e9}[size.group(2)]
    folder = here(student)
    if folder is not None:
        try:
            return float(memory.of_folder(folder).parameters)
        except StudentError:
            pass
    return REFERENCE_PARAMETERS


def suited_notes(student: StudentConfig, training: TrainingConfig) -> list[str]:
    """What a plan says of the settings of a pretrained student: which suit it, and a rate that is far from it."""
    settings = suited(student, training.device)
    parts = {"student": student, "training": training}
    taken = {
        name: value
        for name, value in settings.items()
        if getattr(parts[name.partition(".")[0]], name.partition(".")[2]) == value
    }
    notes = []
    if taken:
        notes.append(f"Settings that suit {student.name} (ours; --set changes them): {settings_text(taken)}.")
    rate = settings.get("training.lr")
    if rate and training.lr > FAR * rate:
        notes.append(
            f"training.lr {training.lr:g} is {training.lr / rate:.0f} times the rate that suits {student.name}"
            f" ({rate:g}): what it knows may be lost."
        )
    return notes

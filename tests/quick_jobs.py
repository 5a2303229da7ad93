"""A kind of job for tests and the soak: counts with a random generator, keeps its state in the resume file, and ends in known numbers.

Registered in worker processes through COTDISTILL_KINDS=tests.quick_jobs; needs no torch.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Mapping
from typing import Any

from cotdistill.execution.context import JobContext, Outcome
from cotdistill.execution.worker import KINDS, Kind


def count(context: JobContext) -> Outcome:
    """config: steps, seconds (of each), seed; die_at with death (a signal's name, or "exit"): the process ends itself at that step;
    raise_at: an error; deaf: never reports. The result depends on every step, so a step that is lost or doubled shows."""
    config = context.config
    generator, step, total = random.Random(str(config["seed"])), 0, 0
    if context.resume_file.exists():
        kept = json.loads(context.resume_file.read_text())
        step, total = kept["step"], kept["total"]
        generator.setstate((kept["random"][0], tuple(kept["random"][1]), kept["random"][2]))
        context.log(f"Resumed at step {step}.")
    else:
        total = sum(int(context.produced(base, "numbers").read_text()) for base in config.get("adds", ()))

    def save() -> None:
        part = context.resume_file.with_suffix(".part")
        part.write_text(json.dumps({"step": step, "total": total, "random": generator.getstate()}))
        os.replace(part, context.resume_file)

    while step < config["steps"]:
        if step == config.get("die_at"):
            print("about to die", flush=True)
            os._exit(3) if config["death"] == "exit" else os.kill(os.getpid(), getattr(signal, config["death"]))
        if step == config.get("raise_at"):
            raise OSError(config["errno"], os.strerror(config["errno"]))
        total = counted(total, generator)
        step += 1
        time.sleep(config.get("seconds", 0.0))
        if step % 10 == 0:
            save()
        if not config.get("deaf"):
            try:
                context.report(step, config["steps"], loss=1.0 / step)
            except BaseException:
                save()
                raise
    numbers = context.keep(str(total).encode(), "numbers", "txt")
    return Outcome(
        {"accuracy": total / 1_000_003, "steps": step, "total": total}, {"numbers": numbers}, {"task": "0" * 64}
    )


def counted(total: int, generator: random.Random) -> int:
    return (31 * total + generator.randrange(1000)) % 1_000_003


def expected_total(config: Mapping[str, Any], bases: Mapping[str, int]) -> int:
    """What `count` must end with, computed in one go. `bases` are the totals of the jobs it adds, by identity."""
    generator, total = random.Random(str(config["seed"])), sum(bases[base] for base in config.get("adds", ()))
    for _ in range(config["steps"]):
        total = counted(total, generator)
    return total


if "count" not in KINDS:
    KINDS.register(Kind("count", "count in steps", "tests.quick_jobs:count", travels=True))

"""Runs that run out of memory: how that is noticed and told, and how a run is tried again at half its micro-batch.

The micro-batch belongs to a run's identity, since sums of floats depend on their order. So the smaller run is another
run: it takes the place of the one that failed in every study that was launched here, and plans of the same study find
it.
"""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Mapping
from pathlib import Path

from cotdistill.config import RunConfig
from cotdistill.errors import UsageError
from cotdistill.store.database import set_setting
from cotdistill.store.queue import Queue
from cotdistill.store.records import Job, JobSpec, document

KIND = "out_of_memory"
# What PyTorch's CPU allocator says; on a GPU it raises an exception of its own.
_SAYS = ("can't allocate memory", "not enough memory", "cannot allocate memory", "out of memory")
# A setting of the store: this and an identity -> the micro-batch at which that run is trained here instead.
_SMALLER = "smaller:"


def is_shortage(error: BaseException) -> bool:
    """Whether an exception says that memory was short, on a CPU or a GPU. torch is not imported: where it raised, the
    name tells.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _SAYS)


def advice(job: Job, cause: str) -> dict[str, str]:
    """The failure of a job for want of memory, with what to do. cause: what was said, or seen."""
    if (half := half_of(job)) is not None:
        command = f"cotdistill runs retry {job.id} --half-micro-batch"
        first = f"Retry at half the micro-batch, {half} sequences, with steps as large as before: {command}"
    else:
        first = "Choose a smaller student or a shorter student.max_length."
    rest = (
        "Fewer workers (cotdistill queue workers 1) leave more to each; the plan tells what a run takes"
        f" ({_size(job)})."
    )
    return {"kind": KIND, "message": f"There was not enough memory: {cause}", "hint": f"{first} {rest}"}


def _size(job: Job) -> str:
    training = job.config.get("training", {})
    return f"batch {training.get('batch_size', '?')}, micro-batch {training.get('micro_batch') or 'the whole batch'}"


def half_of(job: Job) -> int | None:
    """Half the micro-batch of a training run; None where there is no smaller one."""
    training = job.config.get("training")
    if job.kind != "train" or not isinstance(training, Mapping):
        return None
    size = int(training["micro_batch"] or training["batch_size"])
    return size // 2 if size > 1 else None


def retry_at_half(queue: Queue, job: Job) -> Job:
    """Queue a run anew at half its micro-batch and put it into the place of the old one; gives the new run. UsageError
    where that cannot be done.

    The old run is kept, as stopped, with its log and cause. Calling it twice changes nothing more.
    """
    half = half_of(job)
    if half is None:
        message = (
            f"Run {job.id} cannot be made smaller: it is no training run, or reads one sequence at a time already."
        )
        raise UsageError(message, "Choose a smaller student.")
    if job.state not in ("failed", "stopped"):
        raise UsageError(
            f"Run {job.id} is {job.state}; only failed and stopped runs can be retried at half the micro-batch."
        )
    if followers := [identity for identity, needs in queue.needs().items() if job.identity in needs]:
        raise UsageError(
            f"Run {job.id} is read by {len(followers)} other job(s), which name it by its identity.",
            f"Launch the study with training.micro_batch={half} instead.",
        )
    run = RunConfig.from_plain(job.config)
    smaller = dataclasses.replace(run, training=dataclasses.replace(run.training, micro_batch=half))
    needs = queue.needs().get(job.identity, ())
    spec = JobSpec(job.kind, smaller.job_config(), needs, job.label, job.estimate)
    queue.submit([spec])
    new = queue.job(spec.identity)
    error = {
        **(job.error or {"kind": KIND, "message": ""}),
        "hint": f"Run {new.id} takes its place, at micro-batch {half}.",
    }
    with queue.database.write() as connection:
        connection.execute("UPDATE job SET state = 'stopped', error = ? WHERE id = ?", (document(error), job.id))
        connection.execute(
            "UPDATE member SET identity = ? WHERE identity = ? AND study IN (SELECT id FROM study WHERE origin = '')",
            (new.identity, job.identity),
        )
        set_setting(connection, _SMALLER + job.identity, str(half))
    return new


def made_smaller(queue: Queue) -> dict[str, int]:
    """Identity of a run -> the micro-batch at which it is trained here instead, since it ran out of memory."""
    with queue.database.read() as connection:
        rows = connection.execute("SELECT name, value FROM setting WHERE name LIKE ?", (f"{_SMALLER}%",)).fetchall()
    return {row["name"].removeprefix(_SMALLER): int(row["value"]) for row in rows}


def memory_kills() -> int:
    """How many processes the system has ended for want of memory, in this container and in all, since it was started; 0
    where it does not tell.
    """
    return sum(_counted(Path(path)) for path in ("/proc/vmstat", "/sys/fs/cgroup/memory.events"))


def _counted(path: Path) -> int:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)

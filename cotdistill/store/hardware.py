"""What this machine has: memory that is free, and GPUs. Asked without torch, which takes seconds to import and must
stay out of the page process.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cotdistill.errors import UsageError

# GPUs that are said to be here, in place of those that the driver tells of: "0:24000,1:24000" (index and megabytes),
# "none".
GPUS = "COTDISTILL_GPUS"
_ASK = ("nvidia-smi", "--query-gpu=index,name,memory.total,memory.free", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Gpu:
    """One GPU. index: as CUDA_VISIBLE_DEVICES names it; total, free: bytes."""

    index: str
    name: str
    total: float
    free: float


def gpus() -> tuple[Gpu, ...]:
    """The GPUs that runs of this process may use, in the order of CUDA_VISIBLE_DEVICES where that is set; () without
    any. UsageError if COTDISTILL_GPUS cannot be read."""
    setting = os.environ.get(GPUS)
    gpu_list = _said(setting) if setting is not None else _driver()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return gpu_list
    by_index = {gpu.index: gpu for gpu in gpu_list}
    return tuple(by_index[index] for index in map(str.strip, visible.split(",")) if index in by_index)


def indices() -> tuple[str, ...]:
    """The same by index alone. The driver is asked once a process: this is looked at many times a second."""
    setting = os.environ.get(GPUS)
    return tuple(gpu.index for gpu in gpus()) if setting is not None else _asked_once()


@cache
def _asked_once() -> tuple[str, ...]:
    return tuple(gpu.index for gpu in gpus())


def _said(text: str) -> tuple[Gpu, ...]:
    if text.strip() in ("", "none"):
        return ()
    gpu_list = []
    for part in text.split(","):
        index, _, megabytes = part.strip().partition(":")
        if not index.isdigit() or (megabytes and not megabytes.isdigit()):
            raise UsageError(
                f"{GPUS} is {text!r}; expected indices and megabytes such as 0:24000,1:24000, or none.",
                "Unset it or correct it.",
            )
        size = 1e6 * float(megabytes or 24_000)
        gpu_list.append(Gpu(index, "as told by the environment", size, size))
    return tuple(gpu_list)


def _driver() -> tuple[Gpu, ...]:
    try:
        done = subprocess.run(_ASK, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    gpu_list = []
    for line in done.stdout.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        # Part of a GPU (MIG) and some integrated ones tell no sizes.
        if len(cells) == 4 and cells[2].isdigit() and cells[3].isdigit():
            gpu_list.append(Gpu(cells[0], cells[1], float(cells[2]) * 2**20, float(cells[3]) * 2**20))
    return tuple(gpu_list)


@cache
def processor() -> tuple[str, frozenset[str]]:
    """Name and instruction sets of the processor, as Linux tells them: ("Intel(R) Xeon(R) Processor", {"amx_bf16",
    ...}); ("", empty) elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "", frozenset()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return fields.get("model name", ""), frozenset(fields.get("flags", "").split())


def is_bf16_faster() -> bool:
    """Whether this processor multiplies matrices in bf16 faster than in fp32: it has AMX. Processors with AVX512-BF16
    alone are not measured, so they count as slower."""
    return "amx_bf16" in processor()[1]


@dataclass(frozen=True)
class MachineMemory:
    """Bytes of memory: in all, and free for new processes (None where the system does not say). A container's own limit
    counts.
    """

    total: float
    free: float | None


def memory() -> MachineMemory:
    """The memory of this machine, or of the container that this process runs in."""
    total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    free: float | None = None
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    limit, used = _container()
    if limit is not None and limit < total:
        total, free = limit, min(limit - used, limit if free is None else free)
    return MachineMemory(total, free)


def _container() -> tuple[float | None, float]:
    """The memory limit of this control group and what it uses beyond the caches that can be dropped; None without a
    limit.
    """
    for folder, limit, used, cached in (
        ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most = (Path(folder) / limit).read_text(encoding="ascii").strip()
            if not most.isdigit():
                return None, 0.0
            stat = dict(
                line.split() for line in (Path(folder) / "memory.stat").read_text(encoding="ascii").splitlines()
            )
            return float(most), float((Path(folder) / used).read_text(encoding="ascii")) - float(stat.get(cached, 0))
        except (OSError, ValueError):
            continue
    return None, 0.0

"""doctor: what is installed, which device there is, how much memory and disk are left."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cotdistill import __version__
from cotdistill.cli.bundle import write_bundle
from cotdistill.cli.command import Command, Noun, Result
from cotdistill.errors import CotdistillError
from cotdistill.store import hardware
from cotdistill.store.store import Store, default_home
from cotdistill.text import size

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "streamlit",
    "plotly",
    "pandas",
    "pyarrow",
    "numpy",
    "scipy",
    "captum",
    "safetensors",
)
# Below this a study may run out: weights of several checkpoints per run, predictions, the system's own needs.
LEAST_DISK = 2e9
LEAST_MEMORY = 2e9


def doctor(arguments: argparse.Namespace) -> Result:
    problems: list[str] = []
    home = default_home()
    store: dict[str, Any] = {"path": str(home), "bytes": _folder_bytes(home), "jobs": None}
    opened: Store | None = None
    try:
        opened = Store.open()
        store |= {"path": str(opened.home), "bytes": _folder_bytes(opened.home), "jobs": len(opened.queue.jobs())}
    except CotdistillError as error:
        problems.append(f"{error.message} {error.hint}".strip())
    existing = next(parent for parent in (home, *home.resolve().parents) if parent.exists())
    disk = shutil.disk_usage(existing)
    room = hardware.memory()
    memory = {"total": int(room.total), "available": None if room.free is None else int(room.free)}
    packages = {name: _version(name) for name in PACKAGES}
    problems += [f"{name} is not installed: make setup" for name, found in packages.items() if found is None]
    if disk.free < LEAST_DISK:
        problems.append(
            f"Only {size(disk.free)} of disk are free, too little for a study. Free some, or set COTDISTILL_HOME."
        )
    if memory["available"] is not None and memory["available"] < LEAST_MEMORY:
        problems.append(
            f"Only {size(memory['available'])} of memory are free: use fewer workers (cotdistill queue workers 1)."
        )
    device = _device(problems)
    document = {
        "ok": not problems,
        "problems": problems,
        "cotdistill": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": memory,
        "disk": {"total": disk.total, "free": disk.free},
        "device": device,
        "packages": packages,
        "store": store,
        "bundle": None,
    }
    text = _text(document)
    if arguments.bundle:
        document["bundle"] = str(write_bundle(Path(arguments.bundle), document, opened))
        text += f"\n\nWritten: {document['bundle']} (versions, sizes, settings and counts; no data, names or paths)."
    return Result(document, text, 0 if document["ok"] else 1)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bundle",
        metavar="FILE.zip",
        help="also write a report that can be shared: no data, no names, no paths, no secrets",
    )


def _device(problems: list[str]) -> dict[str, Any]:
    """The device that torch uses; the one command of the terminal that imports torch in its own process."""
    try:
        # Imported here: torch takes seconds, and doctor also reports that it is broken.
        from cotdistill.students.loading import torch_device
    except (ImportError, OSError) as error:
        problems.append(f"torch cannot be imported ({error}): make setup")
        return {"name": "none", "kind": "none", "memory": None, "threads": 0}
    return torch_device()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _folder_bytes(folder: os.PathLike[str]) -> int:
    """What a folder holds; files that vanish meanwhile (a store is alive) count nothing."""
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue
    return total


def _text(document: dict[str, Any]) -> str:
    memory, device, store = document["memory"], document["device"], document["store"]
    free = f", {size(memory['available'])} free" if memory["available"] is not None else ""
    lines = [
        f"cotdistill {document['cotdistill']}, Python {document['python']} ({document['executable']})",
        f"{document['platform']}, {document['cpus']} CPUs",
        f"device    {device['kind']}: {device['name']}" + (f", {size(device['memory'])}" if device["memory"] else ""),
        f"memory    {size(memory['total'])}{free}",
        f"disk      {size(document['disk']['free'])} free of {size(document['disk']['total'])}",
        f"store     {store['path']}, {size(store['bytes'])}"
        + (f", {store['jobs']} jobs" if store["jobs"] is not None else ""),
        "packages  " + ", ".join(f"{name} {found or '(missing)'}" for name, found in document["packages"].items()),
        "",
        *(f"! {problem}" for problem in document["problems"]),
    ]
    return "\n".join(lines if document["problems"] else [*lines, "No problems found."])


NOUN = Noun(
    "doctor",
    "device, versions, memory, disk",
    (
        Command(
            "doctor",
            "",
            "device, versions, memory and disk; exit code 1 on a problem",
            doctor,
            {
                "ok": "whether nothing is wrong",
                "problems": "what is wrong, and what to do",
                "cotdistill": "version",
                "python": "version",
                "executable": "interpreter",
                "platform": "system",
                "cpus": "CPUs this process may use",
                "memory": "bytes",
                "memory.total": "in all",
                "memory.available": "free for a new process, or null",
                "disk": "bytes, where the store lies",
                "disk.total": "in all",
                "disk.free": "free",
                "device": "where training runs",
                "device.name": "name",
                "device.kind": "cpu, cuda or none",
                "device.memory": "bytes of a GPU, or null",
                "device.threads": "threads torch would take by itself",
                "packages": "version of each package, or null",
                "store": "the store",
                "store.path": "folder",
                "store.bytes": "size",
                "store.jobs": "jobs in it, or null if it cannot be opened",
                "bundle": "file of the report that was written, or null",
            },
            _arguments,
        ),
    ),
)

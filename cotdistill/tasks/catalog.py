"""Tasks by name: generated ones are made when first asked for, imported ones are found in the store."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotdistill.config import canonical_json, digest
from cotdistill.errors import DataError, NotFound, UnknownName, UsageError
from cotdistill.registry import Registry
from cotdistill.tasks.generated import arithmetic, world
from cotdistill.tasks.importing.writing import disk_in_words, write_note
from cotdistill.tasks.task import Task, open_folder


@dataclass(frozen=True, slots=True)
class Generated:
    """A task made by code: make(root, name, seed, settings) materialises one world of it."""

    name: str
    help: str
    version: int
    make: Callable[[Path, str, int, Mapping[str, Any]], Task]
    dials: type[Any]  # a config of its settings


TASKS: Registry[Generated] = Registry("task")

TASKS.register(
    Generated(
        "field_guide",
        "artificial: creatures, groups and facts, made from a seed",
        world.VERSION,
        world.materialise,
        world.WorldSettings,
    )
)
TASKS.register(
    Generated(
        "arithmetic",
        "artificial: chains of additions and multiplications in words; the answer is a number to write",
        arithmetic.VERSION,
        arithmetic.materialise,
        arithmetic.ArithmeticSettings,
    )
)


def open_task(root: Path, name: str, *, world: int = 0, settings: Mapping[str, Any] | None = None) -> Task:
    """A task by name (`name@digest` for an older version of an imported one). A generated one is made on first use, in
    seconds.

    `world` and `settings` matter to generated tasks only. UnknownName with near matches if there is no such task.
    """
    if name in TASKS:
        return _generated(root, TASKS.get(name), world, dict(settings or {}))
    wanted, _, version = name.partition("@")
    if wanted not in imported_names(root):
        raise UnknownName("task", name, [*TASKS.names(), *imported_names(root)])
    home = root / wanted
    if not version:
        return open_folder(home / (home / "newest").read_text().strip())
    versions = sorted(p.name for p in home.iterdir() if (p / "task.json").is_file() and not p.name.startswith("."))
    for folder in versions:
        if folder.startswith(version[:12]) and open_folder(home / folder).digest.startswith(version):
            return open_folder(home / folder)
    raise NotFound(f"The task {wanted!r} has no version {version!r}.", f"Versions: {', '.join(versions)}.")


def checked_task_name(name: str) -> str:
    """A name for an imported task; UsageError for one that cannot be a folder's, or is a generated task's."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) or name in TASKS:
        taken = " (that name belongs to a generated task)" if name in TASKS else ""
        raise UsageError(
            f"{name[:80]!r} cannot name a task{taken}.",
            "Use letters, digits, dot, dash or underscore, at most 64 of them.",
        )
    return name


def parse_reference(text: str) -> tuple[str, dict[str, Any]]:
    """A task as it is written with dials, `field_guide(choices=6)`, as name and dials; UsageError if it is neither."""
    match = re.fullmatch(r"\s*([^\s()]+)\s*(?:\((.*)\))?\s*", text)
    pairs = [part.partition("=") for part in (match.group(2) or "").split(",") if part.strip()] if match else []
    if match is None or not all(name.strip() and value.strip() for name, _, value in pairs):
        raise UsageError(
            f"{text[:100]!r} names no task.",
            "Write a task of `tasks list`, or one with dials, such as 'field_guide(choices=6)'.",
        )
    dials: dict[str, Any] = {}
    for name, _, value in pairs:
        try:
            dials[name.strip()] = json.loads(value)
        except ValueError:
            dials[name.strip()] = value.strip()
    return match.group(1), dials


def imported_names(root: Path) -> list[str]:
    """The names of imported tasks, in order."""
    if not root.is_dir():
        return []
    return sorted(
        p.name
        for p in root.iterdir()
        if (p / "newest").is_file() and p.name not in TASKS and not p.name.startswith(".")
    )


def _generated(root: Path, entry: Generated, world: int, settings: dict[str, Any]) -> Task:
    if opened := _open_generated(root, entry, world, settings):
        return opened
    task = entry.make(root, entry.name, world, settings)
    with disk_in_words(root):
        write_note(_note(root, entry, world, settings), task.folder.name)
    return task


def _open_generated(root: Path, entry: Generated, world: int, settings: dict[str, Any]) -> Task | None:
    """The world if it stands in the store already."""
    note = _note(root, entry, world, settings)
    if not note.is_file():
        return None
    folder = root / entry.name / note.read_text().strip()
    return open_folder(folder) if (folder / "task.json").is_file() else None


def _note(root: Path, entry: Generated, world: int, settings: dict[str, Any]) -> Path:
    """The file that names the folder of a world."""
    key = digest({"name": entry.name, "version": entry.version, "world": world, "settings": canonical_json(settings)})[
        :16
    ]
    return root / entry.name / f"world-{key}"


def list_tasks(root: Path) -> list[dict[str, Any]]:
    """Every task: id, title, help, artificial, rows per split, sources, chance, digest. Generated ones are not made by
    listing them: what is told is their first world, if it was made. One that cannot be read says so in its help, and
    hides none of the others."""
    rows = [_listed(entry.name, entry.help, _open_generated(root, entry, 0, {}), artificial=True) for entry in TASKS]
    for name in imported_names(root):
        try:
            task = open_task(root, name)
        except DataError as error:
            rows.append(_listed(name, error.message, None, artificial=False))
        else:
            rows.append(_listed(name, task.help, task, artificial=False))
    return rows


def _listed(name: str, help: str, task: Task | None, *, artificial: bool) -> dict[str, Any]:
    return {
        "id": name,
        "title": task.title if task else name,
        "help": help,
        "artificial": artificial,
        "rows": dict(task.info["rows"]) if task else None,
        "sources": list(task.sources) if task else [],
        "chance": (task.chance or None) if task else None,
        "digest": task.digest if task else None,
    }

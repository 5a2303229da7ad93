"""Mirrors of metrics in TensorBoard, MLflow or Weights & Biases: which there are, what each has been told, and how it
last failed.

A mirror is told about runs by a process of its own (`mirroring`), which reads the store and nothing else. So a mirror
that is slow, full or broken costs no run anything: its failure is written down here, shown, and what it missed is told
to it later.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cotdistill
from cotdistill.errors import NotFound, UsageError
from cotdistill.registry import Registry
from cotdistill.store.disk import disk_errors
from cotdistill.store.store import Store
from cotdistill.tasks.importing.writing import write_note


@dataclass(frozen=True, slots=True)
class MirrorKind:
    """A program that metrics can be mirrored to. package: what must be importable in its environment."""

    name: str
    help: str
    package: str


KINDS: Registry[MirrorKind] = Registry("kind of mirror")
KINDS.register(MirrorKind("tensorboard", "event files in a folder, one folder a run", "tensorboard"))
KINDS.register(MirrorKind("mlflow", "a SQLite file in a folder, or a tracking server", "mlflow"))
KINDS.register(MirrorKind("wandb", "Weights & Biases, offline: a folder that `wandb sync` can send", "wandb"))


@dataclass(frozen=True)
class Mirror:
    """A mirror of a store. to: a folder (or a server's address, MLflow only); python: the interpreter of its
    environment; added: unix time.
    """

    name: str
    kind: str
    to: str
    python: str
    added: float


@dataclass
class State:
    """What a mirror has been told. ended: attempt by identity of the runs whose end it knows; live: last step told of
    runs that go on; synced: unix time of the last pass that got through; failure: message and time of the last one that
    did not, None since it went well again."""

    ended: dict[str, int] = field(default_factory=dict)
    live: dict[str, int] = field(default_factory=dict)
    synced: float | None = None
    failure: dict[str, Any] | None = None


def folder(store: Store) -> Path:
    return store.home / "mirrors"


def mirrors(store: Store) -> list[Mirror]:
    """The mirrors of a store, by name. A file that cannot be read is no mirror."""
    mirror_list = []
    for path in sorted(folder(store).glob("*.mirror.json")):
        values = _read(path)
        if set(values) == set(Mirror.__dataclass_fields__):
            mirror_list.append(Mirror(**values))
    return mirror_list


def mirror(store: Store, name: str) -> Mirror:
    """NotFound if there is none of that name."""
    for one in mirrors(store):
        if one.name == name:
            return one
    known = ", ".join(one.name for one in mirrors(store)) or "none"
    raise NotFound(
        f"There is no mirror {name!r}.",
        f"Mirrors of this store: {known}. Add one: cotdistill mirrors add tensorboard --to FOLDER",
    )


def add(store: Store, kind: str, to: str, *, name: str = "", python: str = "") -> Mirror:
    """Set a mirror up. UnknownName for a kind that is not known, UsageError for an environment without its package or a
    place that does not do.
    """
    entry = KINDS.get(kind)
    name = name or kind
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}", name):
        raise UsageError(f"{name!r} cannot name a mirror.", "Use letters, digits, - and _, at most 60.")
    if any(one.name == name for one in mirrors(store)):
        raise UsageError(
            f"There is a mirror {name!r} already.",
            f"Remove it first (cotdistill mirrors remove {name}), or give another --name.",
        )
    if "://" not in to:
        place = Path(to).expanduser().absolute()
        if place.is_relative_to(store.home):
            raise UsageError(
                f"{place} lies in the store.",
                "Name a folder outside of it: the store keeps only what it has made itself.",
            )
        with disk_errors(place, "the mirror"):
            place.mkdir(parents=True, exist_ok=True)
        to = str(place)
    elif kind != "mlflow":
        raise UsageError(f"{to} is an address; {kind} is mirrored to a folder.", "Give --to FOLDER.")
    new_mirror = Mirror(name, kind, to, python or default_python(entry), time.time())
    _check(entry, new_mirror.python)
    _write(folder(store) / f"{name}.mirror.json", asdict(new_mirror))
    return new_mirror


def remove(store: Store, name: str) -> Mirror:
    """Forget a mirror; what stands in it stays there."""
    known = mirror(store, name)
    for suffix in ("mirror.json", "state.json", "log"):
        (folder(store) / f"{name}.{suffix}").unlink(missing_ok=True)
    return known


def state(store: Store, name: str) -> State:
    values = _read(folder(store) / f"{name}.state.json")
    return State(**{key: value for key, value in values.items() if key in State.__dataclass_fields__})


def save(store: Store, name: str, state: State) -> None:
    # Not for a mirror that was removed meanwhile.
    if (folder(store) / f"{name}.mirror.json").exists():
        _write(folder(store) / f"{name}.state.json", asdict(state))


def default_python(entry: MirrorKind) -> str:
    """The interpreter of `.venv-NAME` beside the package, where `make mirror-NAME` puts it; else this one."""
    interpreter = Path(cotdistill.__file__).resolve().parents[1] / f".venv-{entry.name}" / "bin" / "python"
    return str(interpreter) if interpreter.exists() else sys.executable


def _check(entry: MirrorKind, python: str) -> None:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({entry.package!r}) is None)"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(
            f"The interpreter {python} cannot be run: {error}.", "Give --python PATH of the environment of the mirror."
        ) from error
    if done.returncode:
        raise UsageError(
            f"{entry.package} is not installed for {python}.",
            f"Make its environment (make mirror-{entry.name}), or give --python PATH of an environment that has it.",
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _write(path: Path, values: Mapping[str, Any]) -> None:
    with disk_errors(path.parent, "the state of a mirror"):
        path.parent.mkdir(exist_ok=True)
        write_note(path, json.dumps(values, ensure_ascii=False))

"""mirrors add, list, sync, remove: metrics in TensorBoard, MLflow or Weights & Biases as well."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cotdistill.cli.command import Command, Noun, Result
from cotdistill.cli.output import printable
from cotdistill.errors import CotdistillError
from cotdistill.execution.mirrors import mirroring, settings
from cotdistill.execution.mirrors.settings import Mirror
from cotdistill.report.mirrors import mirror_told
from cotdistill.store.store import Store
from cotdistill.text import plural


@dataclass(frozen=True)
class MirrorDocument:
    """A mirror as documents show it."""

    name: str  # name
    kind: str  # tensorboard, mlflow or wandb
    to: str  # folder or address
    python: str  # interpreter of its environment
    ended: int  # finished jobs that it holds in full
    synced: float | None  # unix time of the last complete pass, or null
    failure: Mapping[str, Any] | None  # message and time (at) of the last failure; null after a pass without one


@dataclass(frozen=True)
class SyncedMirror(MirrorDocument):
    """A mirror after `mirrors sync`."""

    sent: int | None = field(metadata={"key": "told"})  # jobs that were sent now; null after a failure


def _fields(store: Store, mirror: Mirror) -> dict[str, Any]:
    """The fields of MirrorDocument."""
    state = settings.state(store, mirror.name)
    about = {name: getattr(mirror, name) for name in ("name", "kind", "to", "python")}
    return {**about, "ended": len(state.ended), "synced": state.synced, "failure": state.failure}


def _document(store: Store, mirror: Mirror) -> MirrorDocument:
    return MirrorDocument(**_fields(store, mirror))


def _line(store: Store, mirror: Mirror) -> str:
    return printable(mirror_told(mirror, settings.state(store, mirror.name)))


def add(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    mirror = settings.add(store, arguments.kind, arguments.to, name=arguments.name, python=arguments.python)
    text = [
        f"{printable(mirror.name)}: runs are mirrored to {printable(mirror.to)} while they train.",
        f"To send finished runs as well: cotdistill mirrors sync {mirror.name}",
    ]
    return Result(_document(store, mirror), "\n".join(text))


def list_(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    mirrors = settings.mirrors(store)
    text = "\n".join(_line(store, mirror) for mirror in mirrors)
    return Result(
        [_document(store, mirror) for mirror in mirrors],
        text or "No mirror. For example: cotdistill mirrors add tensorboard --to FOLDER",
    )


def remove(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    mirror = settings.mirror(store, arguments.name)
    document = _document(store, mirror)
    settings.remove(store, mirror.name)
    return Result(document, f"{printable(mirror.name)} is removed; its data stay in {printable(mirror.to)}.")


def sync(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    chosen = [settings.mirror(store, arguments.name)] if arguments.name else settings.mirrors(store)
    document, lines, code = [], [], 0
    with mirroring.alone(store):
        for mirror in chosen:
            sent: int | None = None
            try:
                sent, writer = mirroring.sync(store, mirror)
                if writer is not None:
                    writer.close()
                lines.append(f"{printable(mirror.name)}: {plural(sent, 'job')} sent.")
            except CotdistillError:
                code = 1
                lines.append(_line(store, mirror))
            document.append(SyncedMirror(**_fields(store, mirror), sent=sent))
    return Result(document, "\n".join(lines) or "No mirror.", code)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", help=", ".join(f"{kind.name} ({kind.help})" for kind in settings.KINDS))
    parser.add_argument(
        "--to", required=True, metavar="FOLDER", help="where; for mlflow also the address of a tracking server"
    )
    parser.add_argument("--name", default="", metavar="NAME", help="a name, for a second mirror of the same kind")
    parser.add_argument(
        "--python",
        default="",
        metavar="PATH",
        help="interpreter of its environment; default: .venv-KIND, else this one",
    )


def _name_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the mirror's name")


def _sync_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="one mirror; default: all")


NOUN = Noun(
    "mirrors",
    "metrics in TensorBoard, MLflow or Weights & Biases as well",
    (
        Command(
            "mirrors",
            "add",
            "mirror every run from now on; a mirror that fails never fails a run",
            add,
            MirrorDocument,
            _add_arguments,
            notes="Each kind has its own environment: make mirror-tensorboard, make mirror-mlflow, make mirror-wandb.",
        ),
        Command(
            "mirrors", "list", "the mirrors, what they hold, and their last failure", list_, MirrorDocument, listed=True
        ),
        Command(
            "mirrors", "remove", "stop mirroring; the data already there stay", remove, MirrorDocument, _name_arguments
        ),
        Command(
            "mirrors",
            "sync",
            "send the mirrors what they lack",
            sync,
            SyncedMirror,
            _sync_arguments,
            listed=True,
        ),
    ),
)

"""mirrors add, list, sync, remove: metrics in TensorBoard, MLflow or Weights & Biases as well."""

from __future__ import annotations

import argparse
from typing import Any

from cotdistill.cli.command import Command, Noun, Result
from cotdistill.cli.output import printable
from cotdistill.errors import CotdistillError
from cotdistill.execution.mirrors import mirroring, settings
from cotdistill.execution.mirrors.settings import Mirror
from cotdistill.report.mirrors import mirror_told
from cotdistill.store.store import Store
from cotdistill.text import plural


def _document(store: Store, mirror: Mirror) -> dict[str, Any]:
    state = settings.state(store, mirror.name)
    return {
        "name": mirror.name,
        "kind": mirror.kind,
        "to": mirror.to,
        "python": mirror.python,
        "ended": len(state.ended),
        "synced": state.synced,
        "failure": state.failure,
    }


def _line(store: Store, mirror: Mirror) -> str:
    return printable(mirror_told(mirror, settings.state(store, mirror.name)))


def add(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    made = settings.add(store, arguments.kind, arguments.to, name=arguments.name, python=arguments.python)
    text = [
        f"{printable(made.name)}: runs are mirrored to {printable(made.to)} while they are trained.",
        f"What has ended already: cotdistill mirrors sync {made.name}",
    ]
    return Result(_document(store, made), "\n".join(text))


def list_(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    found = settings.mirrors(store)
    text = "\n".join(_line(store, mirror) for mirror in found)
    return Result(
        [_document(store, mirror) for mirror in found],
        text or "No mirror. For example: cotdistill mirrors add tensorboard --to FOLDER",
    )


def remove(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    found = settings.mirror(store, arguments.name)
    document = _document(store, found)
    settings.remove(store, found.name)
    return Result(
        document, f"{printable(found.name)} is no longer told. What stands in {printable(found.to)} stays there."
    )


def sync(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    chosen = [settings.mirror(store, arguments.name)] if arguments.name else settings.mirrors(store)
    document, lines, code = [], [], 0
    with mirroring.alone(store):
        for mirror in chosen:
            told: int | None = None
            try:
                told, writer = mirroring.sync(store, mirror)
                if writer is not None:
                    writer.close()
                lines.append(f"{printable(mirror.name)}: {plural(told, 'job')} told.")
            except CotdistillError:
                code = 1
                lines.append(_line(store, mirror))
            document.append({**_document(store, mirror), "told": told})
    return Result(document, "\n".join(lines) or "There is no mirror.", code)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", help=", ".join(f"{kind.name} ({kind.help})" for kind in settings.KINDS))
    parser.add_argument(
        "--to", required=True, metavar="FOLDER", help="where; for mlflow also the address of a tracking server"
    )
    parser.add_argument("--name", default="", metavar="NAME", help="a name, if there is more than one of a kind")
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


_KEYS = {
    "name": "name",
    "kind": "tensorboard, mlflow or wandb",
    "to": "folder or address",
    "python": "interpreter of its environment",
    "ended": "jobs whose end it knows",
    "synced": "unix time of the last pass that got through, or null",
    "failure": "message and time (at) of the last failure, null since it went well again",
}

NOUN = Noun(
    "mirrors",
    "metrics in TensorBoard, MLflow or Weights & Biases as well",
    (
        Command(
            "mirrors",
            "add",
            "mirror every run from now on, beside the supervisor; a mirror that fails never fails a run",
            add,
            _KEYS,
            _add_arguments,
            notes="Each kind has an environment of its own: make mirror-tensorboard, make mirror-mlflow, make mirror-wandb.",
        ),
        Command("mirrors", "list", "the mirrors, what they know, how they last failed", list_, _KEYS, listed=True),
        Command(
            "mirrors", "remove", "no longer tell a mirror; what stands in it stays", remove, _KEYS, _name_arguments
        ),
        Command(
            "mirrors",
            "sync",
            "tell mirrors now what they do not know yet",
            sync,
            {**_KEYS, "told": "jobs told now, null where it failed"},
            _sync_arguments,
            listed=True,
        ),
    ),
)

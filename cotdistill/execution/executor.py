"""Where the jobs of a store run: in processes of this machine, or as tasks of a Ray cluster. A setting of the store,
kept until it is changed.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from cotdistill.errors import UnknownName, UsageError
from cotdistill.store.database import set_setting
from cotdistill.store.store import Store

EXECUTORS = {"local": "processes of this machine", "ray": "tasks of a Ray cluster"}
# The module whose process keeps the jobs going; both hold the same lock, so there is never more than one.
MODULES = {"local": "cotdistill.execution.supervisor", "ray": "cotdistill.execution.ray.driver"}


@dataclass(frozen=True)
class Executor:
    """name: of EXECUTORS. address: of a Ray cluster that this machine belongs to ("auto", "HOST:PORT"); "" starts Ray
    on this machine alone.
    """

    name: str = "local"
    address: str = ""


def executor(store: Store) -> Executor:
    with store.queue.database.read() as connection:
        settings = dict(
            connection.execute("SELECT name, value FROM setting WHERE name IN ('executor', 'address')").fetchall()
        )
    return Executor(settings.get("executor", "local"), settings.get("address", ""))


def check_executor(wanted: Executor) -> None:
    """UnknownName or UsageError for one that cannot be used here."""
    if wanted.name not in EXECUTORS:
        raise UnknownName("executor", wanted.name, EXECUTORS)
    if wanted.address and wanted.name != "ray":
        raise UsageError(f"--address {wanted.address} belongs to a Ray cluster.", "Add --executor ray.")
    if wanted.name == "ray" and importlib.util.find_spec("ray") is None:
        raise UsageError(
            "Ray is not installed here.",
            "On every node: .venv/bin/python -m pip install -c constraints.txt -r requirements-ray.txt (docs/ray.md)",
        )
    if wanted.address.startswith("ray://"):
        raise UsageError(
            f"{wanted.address} is the address of a Ray client; the store must lie on a machine of the cluster.",
            "Join the cluster (ray start --address=HOST:6379) and give --address auto.",
        )


def set_executor(store: Store, wanted: Executor) -> None:
    with store.queue.database.write() as connection:
        for name, value in (("executor", wanted.name), ("address", wanted.address)):
            set_setting(connection, name, value)

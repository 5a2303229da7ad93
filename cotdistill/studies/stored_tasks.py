"""Renaming and deleting imported tasks of a store: refused while a study or an unfinished job uses them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from cotdistill.errors import UnknownName, UsageError
from cotdistill.keytokens.annotations import rename_marks
from cotdistill.store.store import Store
from cotdistill.tasks.added import adopt_source
from cotdistill.tasks.catalog import TASKS, checked_task_name, imported_names, open_task
from cotdistill.tasks.importing.writing import adopt_folder, disk_in_words
from cotdistill.tasks.task import Task, added_folder
from cotdistill.text import plural


def rename_task(store: Store, old: str, new: str) -> Task:
    """Give an imported task another name, in all its versions, with added sources and marks. Its digest changes, since
    the name is part of its content.

    Raises:
        UnknownName, UsageError: there is no such task, the new name is taken or cannot be one, or the task is in use.
    """
    checked_task_name(new)
    _check_unused(store, old)
    root = store.tasks_root
    if new in imported_names(root):
        raise UsageError(f"There is a task {new!r} already.", "Choose another name, or delete that task first.")
    newest = open_task(root, old).folder.name
    for folder in sorted(path.parent for path in (root / old).glob("*/task.json")):
        if folder.name.startswith("."):
            continue
        renamed = adopt_folder(root, new, folder, newest=folder.name == newest)
        for source in sorted(added_folder(folder).glob("*")):
            adopt_source(renamed, source)
    rename_marks(store.home, old, new)
    with disk_in_words(root):
        shutil.rmtree(root / old)
    return open_task(root, new)


def delete_task(store: Store, name: str) -> int:
    """Remove an imported task with all its versions and added sources; gives the number of versions.

    Raises:
        UnknownName, UsageError: there is no such task, or it is in use.
    """
    _check_unused(store, name)
    home = store.tasks_root / name
    versions = len(list(home.glob("[0-9a-f]*/task.json")))
    with disk_in_words(home):
        # Without this note nothing is found under the name any more, whatever happens meanwhile.
        (home / "newest").unlink()
        shutil.rmtree(home)
    return versions


def _check_unused(store: Store, name: str) -> None:
    names = imported_names(store.tasks_root)
    if name in TASKS:
        raise UsageError(f"{name} is a generated task: it is made by code.", "Name an imported task.")
    if name not in names:
        raise UnknownName("imported task", name, names)
    studies = sorted({study.name for study in store.queue.studies() if name in _tasks_of(study.spec)})
    if studies:
        number = plural(len(studies), "study", "studies")
        raise UsageError(
            f"The task {name!r} is used by {number} of this store: {', '.join(studies)[:300]}.",
            "Their runs, figures and exports name it. Import the data again under another name instead.",
        )
    waiting = [
        job.id for job in store.queue.jobs() if job.state in ("queued", "running") and job.config.get("task") == name
    ]
    if waiting:
        raise UsageError(
            f"Jobs that have not ended use the task {name!r}: {', '.join(map(str, waiting))[:100]}.",
            "Wait until they have ended, or stop and delete them.",
        )


def _tasks_of(spec: Mapping[str, Any]) -> set[str]:
    """The tasks that a study trains on and is tested on, without their dials."""
    return {str(spec.get(key, "")).partition("(")[0].strip() for key in ("task", "also_test")}

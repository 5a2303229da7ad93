"""Derive every hash of a store again: artefacts, identities and results of jobs, plans of studies, digests of tasks.
Changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from cotdistill.errors import CotdistillError
from cotdistill.store.artifacts import hash_file
from cotdistill.store.records import identity_of, read_document, seal_of
from cotdistill.store.store import Store
from cotdistill.studies.spec import spec_from_mapping
from cotdistill.tasks.added import changed_sources
from cotdistill.tasks.task import open_folder


@dataclass(frozen=True)
class Verified:
    """How many artefacts, jobs and tasks were looked at, and what is wrong, in words."""

    artifacts: int
    jobs: int
    tasks: int
    problems: tuple[str, ...]


def verify(store: Store) -> Verified:
    """Look at everything; takes as long as reading the store once."""
    problems: list[str] = []
    present: set[str] = set()
    for path in store.artifacts.all():
        digest = path.name.partition(".")[0]
        present.add(digest)
        if (actual := hash_file(path)) != digest:
            problems.append(f"artefact {digest[:12]}: its content hashes to {actual[:12]} ({path})")
    jobs, row_problems = _rows(store, present)
    problems += row_problems
    folders = sorted(
        path.parent for path in store.tasks_root.glob("*/*/task.json") if not path.parent.name.startswith(".")
    )
    for folder in folders:
        try:
            task = open_folder(folder)
            problems += [*task.verify(), *changed_sources(task)]
        except CotdistillError as error:
            problems.append(error.message)
    return Verified(len(present), jobs, len(folders), tuple(problems))


def _rows(store: Store, present: set[str]) -> tuple[int, list[str]]:
    """How many jobs there are, and what is wrong in the database. What it says is not read where its pages do not fit
    together.
    """
    problems: list[str] = []
    with store.queue.database.read() as connection:
        damage = [str(row[0]) for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        if damage:
            return 0, [f"database {store.queue.database.path.name} is damaged: {one}" for one in damage]
        jobs = connection.execute(
            "SELECT id, identity, kind, recipe, config, result, seal FROM job ORDER BY id"
        ).fetchall()
        studies = connection.execute("SELECT name, spec, plan_hash FROM study ORDER BY id").fetchall()
        links = connection.execute(
            "SELECT job, role, digest FROM link WHERE direction = 'produced' ORDER BY job, role"
        ).fetchall()
    for job in jobs:
        try:
            expected = identity_of(job["kind"], job["recipe"], read_document(job["config"]))
        except ValueError:
            problems.append(f"run {job['id']}: its config cannot be read")
            continue
        if expected != job["identity"]:
            problems.append(
                f"run {job['id']}: its config hashes to {expected[:12]}, it is kept as {job['identity'][:12]}"
            )
        if job["result"] and job["seal"] and seal_of(job["result"]) != job["seal"]:
            problems.append(f"run {job['id']}: its result does not match its recorded checksum")
    for study in studies:
        try:
            same = spec_from_mapping(read_document(study["spec"])).plan_hash == study["plan_hash"]
        except (CotdistillError, ValueError):
            same = False
        if not same:
            problems.append(
                f"study {study['name']}: its plan does not hash to {study['plan_hash'][:12]}, as which it is kept"
            )
    problems += [
        f"run {link['job']}: its {link['role']} ({link['digest'][:12]}) is missing"
        for link in links
        if link["digest"] not in present
    ]
    return len(jobs), problems

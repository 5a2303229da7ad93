"""verify: derive every hash in the store again."""

from __future__ import annotations

import argparse

from cotdistill.cli.command import Command, Noun, Result
from cotdistill.cli.output import printable
from cotdistill.exchange.verify import verify as verify_store
from cotdistill.store.store import Store
from cotdistill.text import plural


def verify(arguments: argparse.Namespace) -> Result:
    found = verify_store(Store.open())
    document = {
        "ok": not found.problems,
        "artifacts": found.artifacts,
        "jobs": found.jobs,
        "tasks": found.tasks,
        "problems": list(found.problems),
    }
    checked = (
        f"{plural(found.artifacts, 'artefact')}, {plural(found.jobs, 'job')}, {plural(found.tasks, 'task')} checked"
    )
    if document["ok"]:
        return Result(document, f"{checked}: every hash is as recorded.")
    lines = [
        f"{checked}: {plural(len(found.problems), 'problem')}.",
        *(f"! {printable(problem)}" for problem in found.problems),
    ]
    return Result(document, "\n".join(lines), 1)


NOUN = Noun(
    "verify",
    "the store's hashes",
    (
        Command(
            "verify",
            "",
            "derive every hash in the store again: artefacts, identities of jobs, digests of tasks",
            verify,
            {
                "ok": "whether everything is as recorded",
                "artifacts": "files checked",
                "jobs": "jobs checked",
                "tasks": "tasks checked",
                "problems": "what differs",
            },
        ),
    ),
)

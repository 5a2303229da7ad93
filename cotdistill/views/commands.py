"""The terminal command that does the same as a button: every action of a page shows one."""

from __future__ import annotations

import dataclasses
import json
import shlex
from typing import Any

from cotdistill.config import plain
from cotdistill.studies.study import STUDIES, StudySpec

PROGRAM = "python -m cotdistill"

# Settings that have an option of their own; all others are said by --set.
OPTIONS = {
    "task": "--task",
    "student.name": "--student",
    "conditions": "--conditions",
    "replicates": "--seeds",
    "training.steps": "--steps",
    "budget": "--budget",
    "source": "--source",
    "tokenizer": "--tokenizer",
    "baseline": "--baseline",
    "missing_rationale": "--missing-rationale",
    "name": "--name",
}


def command(*words: str) -> str:
    """Words as one line that a shell reads as they stand."""
    return f"{PROGRAM} {shlex.join(words)}"


def run_study(spec: StudySpec, verb: str = "run") -> str:
    """The command for a study: a built-in one with what was changed, or a new one from its task."""
    built_in = spec.name in STUDIES
    base = STUDIES.get(spec.name).make() if built_in else StudySpec()
    words = ["study", verb, *([spec.name] if built_in else ["--task", spec.task])]
    for key, value in changed(spec, base).items():
        if key == "task" and not built_in:
            continue
        if key in OPTIONS:
            words += [OPTIONS[key], ",".join(value) if key == "conditions" else str(value)]
        else:
            words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return command(*words)


def changed(spec: StudySpec, base: StudySpec) -> dict[str, Any]:
    """The settings of a study that differ from another's: {"training.steps": 300}."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(spec):
        mine, theirs = plain(getattr(spec, field.name)), plain(getattr(base, field.name))
        if field.name in ("student", "training"):
            found |= {f"{field.name}.{key}": value for key, value in mine.items() if value != theirs[key]}
        elif mine != theirs:
            found[field.name] = mine
    return found

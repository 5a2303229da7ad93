"""The terminal command that does the same as a button: every action of a page shows one."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

from cotdistill.config import plain
from cotdistill.studies.study import STUDIES, StudySpec

PROGRAM = "python -m cotdistill"


def command(*words: str) -> str:
    """Words as one line that a shell reads as they stand."""
    return f"{PROGRAM} {shlex.join(words)}"


def run_study(spec: StudySpec, verb: str = "run") -> str:
    """The command for a study. What the options cannot say is told as a YAML file."""
    base = STUDIES.get(spec.name).make() if spec.name in STUDIES else StudySpec()
    if plain(spec) == plain(base):
        return command("study", verb, spec.name)
    words = ["study", verb]
    if spec.name in STUDIES:
        words.append(spec.name)
    easy = {"task": "--task", "conditions": "--conditions", "replicates": "--seeds", "budget": "--budget"}
    changed = _changed(spec, base)
    if set(changed) - {*easy, "student.name", "training.steps", "name", "title"}:
        return command("study", verb, f"{spec.name}.yaml")
    if spec.name not in STUDIES or "task" in changed:
        words += ["--task", spec.task]
    if "student.name" in changed:
        words += ["--student", spec.student.name]
    if "conditions" in changed:
        words += ["--conditions", ",".join(spec.conditions)]
    if "replicates" in changed or spec.name not in STUDIES:
        words += ["--seeds", str(spec.replicates)]
    if "training.steps" in changed:
        words += ["--steps", str(spec.training.steps)]
    if "budget" in changed:
        words += ["--budget", spec.budget]
    return command(*words)


def study_file(spec: StudySpec) -> dict[str, Any]:
    """What of a study differs from the defaults, nested as a YAML file holds it."""
    found: dict[str, Any] = {}
    for key, value in _changed(spec, StudySpec()).items():
        outer, _, inner = key.partition(".")
        if inner:
            found.setdefault(outer, {})[inner] = value
        else:
            found[outer] = value
    return {"task": spec.task, **found, "conditions": list(spec.conditions)}


def _changed(spec: StudySpec, base: StudySpec) -> dict[str, Any]:
    """Settings that differ, as {"training.steps": 300}."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(spec):
        mine, theirs = plain(getattr(spec, field.name)), plain(getattr(base, field.name))
        if field.name in ("student", "training") and isinstance(mine, Mapping):
            found |= {f"{field.name}.{key}": value for key, value in mine.items() if value != theirs[key]}
        elif mine != theirs:
            found[field.name] = mine
    return found

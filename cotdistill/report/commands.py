"""The terminal command that does the same as a button: every action of a page shows one."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import subprocess
import sys
from typing import Any

from cotdistill.config import plain
from cotdistill.store.store import Store
from cotdistill.studies.spec import STUDIES, StudySpec

PROGRAM = "cotdistill"
# What a page waits for at most.
LONGEST_SECONDS = 600

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
    "also_test": "--also-test",
    "missing_rationale": "--missing-rationale",
    "test_rows": "--test-rows",
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
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(spec):
        ours, theirs = plain(getattr(spec, field.name)), plain(getattr(base, field.name))
        if field.name in ("student", "training"):
            changes |= {f"{field.name}.{key}": value for key, value in ours.items() if value != theirs[key]}
        elif ours != theirs:
            changes[field.name] = ours
    return changes


def carried_out(store: Store, words: list[str]) -> dict[str, Any]:
    """Run a command in a process of its own, so that the page process stays small; the document that it prints."""
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "cotdistill", *words, "--json"],
            env={**os.environ, "COTDISTILL_HOME": str(store.home)},
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {
            "error": {
                "message": f"It took longer than {LONGEST_SECONDS // 60} minutes.",
                "hint": f"Run it in a terminal: {command(*words)}",
            }
        }
    try:
        return dict(json.loads(ran.stdout))
    except ValueError:
        return {"error": {"message": "It ended without an answer.", "hint": ran.stderr[-300:]}}

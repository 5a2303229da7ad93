"""The terminal as tests use it: run a command here or in a process of its own, and check its document against what is documented."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cotdistill.cli import NOUNS, main


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout; more or less than one is an error."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, str]:
        error = self.document["error"]
        assert set(error) == {"kind", "message", "hint"}
        return dict(error)


Say = Callable[..., Said]


def speaker(capsys: pytest.CaptureFixture[str]) -> Say:
    """say("runs list", ...) runs a command in this process."""

    def run(line: str, *more: str) -> Said:
        capsys.readouterr()
        code = main([*shlex.split(line), *more])
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return run


def process(*words: str, home: Path, **environment: str) -> Said:
    done = subprocess.run(
        [sys.executable, "-m", "cotdistill", *words],
        capture_output=True,
        text=True,
        timeout=240,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "COTDISTILL_HOME": str(home), "OMP_NUM_THREADS": "1", **environment},
    )
    return Said(done.returncode, done.stdout, done.stderr)


def keys_of(value: Any, prefix: str = "") -> set[str]:
    """The dotted keys of a document, [] for the items of a list."""
    found: set[str] = set()
    for key, item in value.items():
        found.add(f"{prefix}{key}")
        if isinstance(item, dict):
            found |= keys_of(item, f"{prefix}{key}.")
        elif isinstance(item, list):
            for part in item:
                if isinstance(part, dict):
                    found |= keys_of(part, f"{prefix}{key}[].")
    return found


def check_keys(words: str, document: Any) -> None:
    """Every key of a document is documented, and every documented key of the first level is there. Where a key's value is free (an open
    mapping such as a result or a spec), the keys inside are not listed."""
    noun, _, verb = words.partition(" ")
    (command,) = [c for c in NOUNS[noun] if c.verb == verb]
    documents = document if command.listed else [document]
    top = {key for key in command.documented if "." not in key}
    detailed = {key.rpartition(".")[0].removesuffix("[]") for key in command.documented if "." in key}
    for part in documents:
        assert set(part) == top, words
        for key in keys_of(part):
            parent = key.rpartition(".")[0].removesuffix("[]")
            if not parent or parent in detailed:
                assert key in command.documented, f"{words}: {key} is not documented"

"""CONTRIBUTING.md promises that a condition takes ten lines and appears everywhere: these tests run its code block."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def block() -> str:
    found = re.search(
        r"## Add a condition in ten lines.*?```python\n(.*?)```",
        (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert found, "CONTRIBUTING.md has no code block under 'Add a condition in ten lines'"
    return found.group(1)


def run(code: str, home: Path) -> str:
    """In a process of its own, so that the new transform is in no other test's registry."""
    environment = {**os.environ, "COTDISTILL_HOME": str(home), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=home, env=environment, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_block_is_at_most_ten_lines_without_blank_ones() -> None:
    assert len([line for line in block().splitlines() if line.strip()]) <= 10


def test_the_new_condition_is_in_the_list_of_the_terminal(tmp_path: Path) -> None:
    listed = json.loads(
        run(block() + "\nfrom cotdistill.cli import main\nmain(['conditions', 'list', '--json'])", tmp_path)
    )
    (entry,) = [entry for entry in listed if entry["id"] == "reverse"]
    assert entry["kind"] == "transform"
    assert entry["condition"] == "post_cot/reverse(unit=token)"
    assert [parameter["name"] for parameter in entry["parameters"]] == ["unit"]


def test_the_new_condition_is_in_the_table_of_the_docs(tmp_path: Path) -> None:
    page = run(block() + "\nfrom cotdistill.cli.reference import conditions_page\nprint(conditions_page())", tmp_path)
    assert re.search(r"^\| `reverse` \| reads the rationale backwards \| `unit=token", page, re.MULTILINE)


def test_the_new_condition_can_be_previewed_and_reads_backwards(tmp_path: Path) -> None:
    def previewed(condition: str) -> list[str]:
        code = (
            block()
            + f"\nfrom cotdistill.cli import main\nmain(['preview', '--task', 'field_guide', '--condition', {condition!r}, '--json'])"
        )
        document = json.loads(run(code, tmp_path))
        return [token["text"] for token in document["sequences"][0]["tokens"] if token["span"] == "rationale"]

    intact = previewed("post_cot")
    assert len(intact) > 5
    assert previewed("post_cot/reverse") == intact[::-1]

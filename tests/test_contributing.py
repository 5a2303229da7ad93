"""CONTRIBUTING.md promises what adding a thing takes, and that it then appears everywhere: these tests run its code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def block(heading: str = "Add a condition in ten lines") -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    match = re.search(rf"## {heading}\n.*?```python\n(.*?)```", text, re.DOTALL)
    assert match, f"CONTRIBUTING.md has no code block under {heading!r}"
    return match.group(1)


def run(code: str, home: Path, **variables: str) -> str:
    """In a process of its own, so that the new transform is in no other test's registry."""
    environment = {**os.environ, "COTDISTILL_HOME": str(home), "OMP_NUM_THREADS": "1", **variables}
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


def test_the_new_objective_is_listed_and_its_loss_is_the_cross_entropy_less_the_weighted_entropy(
    tmp_path: Path,
) -> None:
    code = """
import json, math
import numpy as np
from cotdistill.cli import main
from cotdistill.rationales.conditions import parse
from cotdistill.students.batches import Row, collate
from cotdistill.students.objectives.combined import Objectives
main(['conditions', 'list', '--json'])
condition = parse('label_only+confidence_penalty(beta=0.5)')
row = Row(np.array([1, 2], np.int32), np.array([0, 2], np.float32), np.array([0, 1], np.int8))
batch = collate([row], 0)
targets, weights = torch.from_numpy(batch.targets), torch.from_numpy(batch.weights)
total, _ = Objectives(condition.objectives).loss(torch.zeros(1, 4), targets, weights, batch)
print(json.dumps([condition.label, float(total) / math.log(4)]))
"""
    listed, computed = run(block("Add an objective") + code, tmp_path).rstrip().rsplit("\n", 1)
    (entry,) = [entry for entry in json.loads(listed) if entry["id"] == "confidence_penalty"]
    assert entry["kind"] == "objective" and entry["condition"].endswith("+confidence_penalty(beta=0.1)")
    # Even odds over four tokens: both the cross-entropy and the entropy are log 4; the token weighs 2.
    label, share = json.loads(computed)
    assert label == "label only, confidence penalty beta 0.5"
    assert round(share, 6) == 2 * (1 - 0.5)

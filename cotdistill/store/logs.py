"""Logs of processes that live long, kept within bounds while they are written to."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

MOST_BYTES = 1 << 20


def bound(path: Path, most: int = MOST_BYTES) -> bool:
    """Move what a log says to `NAME.old.log` when it is longer than `most` bytes; whether it was. Whoever writes must
    have opened it to append: the file stays the same and starts anew. What is written in the same instant may be
    lost."""
    with contextlib.suppress(OSError):
        if path.stat().st_size <= most:
            return False
        old = path.with_suffix(".old.log")
        part = old.with_name(f".{old.name}.{os.getpid()}")
        with open(path, "rb") as file:
            file.seek(-most, os.SEEK_END)
            part.write_bytes(file.read())
        os.replace(part, old)
        os.truncate(path, 0)
        return True
    return False

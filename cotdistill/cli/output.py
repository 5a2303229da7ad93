"""Output of the terminal: tables in columns, progress on stderr."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cotdistill.errors import UsageError


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[str] = ()) -> str:
    """Columns as wide as their widest cell, those in `right` aligned to the right. None becomes a dash."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(name), *(len(row[i]) for row in cells)) if cells else len(name) for i, name in enumerate(header)]

    def line(values: Sequence[str]) -> str:
        parts = [v.rjust(w) if name in right else v.ljust(w) for v, w, name in zip(values, widths, header, strict=True)]
        return "  ".join(parts).rstrip()

    return "\n".join([line(header), line(["-" * w for w in widths]), *(line(row) for row in cells)])


def _cell(value: Any) -> str:
    return "-" if value is None else printable(str(value))


def printable(text: str) -> str:
    """Text from data without control characters: a question must not control the terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path that replaces `path` in the end, whole or not at all. UsageError if it cannot be written."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror or error}.", "Choose a place that you may write to."
        ) from error
    finally:
        part.unlink(missing_ok=True)


def note(text: str) -> None:
    """A line for the person, on stderr."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """Progress on stderr: a bar in a terminal, a line now and then otherwise."""

    # A line a minute is enough in a log that runs overnight.
    EVERY = 60.0

    def __init__(self, total: float, unit: str) -> None:
        self.total, self.unit = total, unit
        self._bar = (
            tqdm(total=total, file=sys.stderr, bar_format="{percentage:3.0f} % |{bar}| {desc}", dynamic_ncols=True)
            if sys.stderr.isatty()
            else None
        )  # fmt: skip
        self._printed = -math.inf
        self._last = ""

    def show(self, done: float, text: str) -> None:
        """`done` of `total`, and what is going on."""
        if self._bar is not None:
            self._bar.total = self.total
            self._bar.n = min(done, self.total)
            self._bar.set_description_str(text)
            return
        now = time.monotonic()
        share = f"{100 * done / self.total:3.0f} %" if self.total else "100 %"
        line = f"{share}  {text}"
        if line != self._last and (now - self._printed >= self.EVERY or done >= self.total):
            note(line)
            self._printed, self._last = now, line

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

"""How far the scoring of a student is, and what of it was computed before it was cut off."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cotdistill.config import canonical_json


class ScoringProgress:
    """Tells a listener how many rows of a phase are done, and remembers the result of each batch in a file.

    The same student gives the same batch the same numbers (on a CPU to the bit), so a batch that is in the file is not
    computed again. The file holds one line per batch; a line that was cut off by a kill is not read.
    """

    def __init__(
        self,
        listen: Callable[[str, int, int], None] = lambda phase, done, rows: None,
        file: Path | None = None,
    ) -> None:
        """listen: is called with the phase (scoring, writing), rows done, and rows of this phase. file: of one student
        with the same weights alone."""
        self._listen, self._file = listen, file
        self._known: dict[str, Any] = {}
        if file is not None and file.is_file():
            for line in file.read_text(encoding="utf-8").splitlines():
                try:
                    key, value = json.loads(line)
                except (ValueError, TypeError):
                    continue
                self._known[str(key)] = value

    def computed(self, phase: str, batch: Any, compute: Callable[[], Any]) -> Any:
        """The result of a batch, as JSON types: from the file, or computed now and kept there. batch: plain values that
        say all that the result depends on beside the student."""
        if self._file is None:
            return compute()
        key = hashlib.sha256(canonical_json([phase, batch]).encode()).hexdigest()
        if key not in self._known:
            self._known[key] = compute()
            with open(self._file, "a", encoding="utf-8") as file:
                file.write(json.dumps([key, self._known[key]]) + "\n")
        return self._known[key]

    def note(self, phase: str, done: int, rows: int) -> None:
        """Tell the listener; raises what it raises, such as a request to stop."""
        self._listen(phase, done, rows)


SILENT = ScoringProgress()

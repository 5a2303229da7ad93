"""Commands that have another name now: the old spelling answers with the new command line."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from cotdistill.errors import UsageError

# Old command -> new command; {} is where the arguments of the old one go.
RENAMED = {
    "attribute": "inspect attribute {}",
    "influence": "inspect influence {}",
    "probe": "inspect probe {}",
    "attention": "inspect attention {}",
    "faithfulness": "inspect faithfulness {}",
    "stability": "inspect stability {}",
    "paraphrases": "inspect paraphrases {}",
    "modes": "inspect modes {}",
    "scorers": "inspect scorers {}",
    "follows": "inspect follows {}",
    "rivals": "study show {} --by rival",
    "study sizes": "study show {} --by size",
    "findings": "compare {}",
    "verdicts": "study list --claims {}",
    "verify": "store verify {}",
    "store check": "store verify {}",
    "tasks rationales": "teacher show --task TASK --example ID",
}


def refuse_old_spelling(program: str, argv: Sequence[str]) -> None:
    """Raise UsageError with the new command line where `argv` is a command under its old name; else do nothing."""
    for old, new in RENAMED.items():
        words = old.split()
        if list(argv[: len(words)]) == words:
            line = " ".join(new.format(shlex.join(argv[len(words) :])).split())
            raise UsageError(f"`{program} {old}` has another name now.", f"Use: {program} {line}")

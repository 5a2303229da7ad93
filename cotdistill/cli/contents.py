"""What `--help` lists without importing a command: contents.json, which `make docs` writes from the commands."""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotdistill.cli.command import Noun
from cotdistill.cli.nouns import NOUNS

PATH = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class Contents:
    """A noun, its help, and the help of each command by its verb ("" for the only command of a noun without verbs)."""

    noun: str
    help: str
    commands: dict[str, str]

    @property
    def verbs(self) -> list[str]:
        return [verb for verb in self.commands if verb]

    @property
    def width(self) -> int:
        """Letters of the longest command."""
        return max(len(f"{self.noun} {verb}".strip()) for verb in self.commands)

    def lines(self, width: int, leave: Container[str] = ()) -> list[str]:
        """A line for each command but those of `leave`, with its words in `width` columns."""
        named = {f"{self.noun} {verb}".strip(): help for verb, help in self.commands.items()}
        return [f"  {words.ljust(width)}  {help}" for words, help in named.items() if words not in leave]


def written() -> str:
    """The text of contents.json, from the commands themselves."""
    return json.dumps({noun.name: _entry(noun) for noun in NOUNS.values()}, indent=1, ensure_ascii=False) + "\n"


def listed() -> dict[str, Contents]:
    """Every noun's, in the order of the help. A noun that is newer than the file is loaded."""
    written_down = json.loads(PATH.read_text(encoding="utf-8"))
    return {name: Contents(name, **(written_down.get(name) or _entry(NOUNS[name]))) for name in NOUNS}


def _entry(noun: Noun) -> dict[str, Any]:
    return {"help": noun.help, "commands": {command.verb: command.help for command in noun}}

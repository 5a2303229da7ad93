"""What a command is: a noun and a verb, its arguments, what it gives back, and the keys of its JSON document."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Result:
    """What a command gives back: one JSON document, the same told to a person, and the exit code (0, or 1 where the work failed)."""

    document: Any
    text: str
    code: int = 0


Arguments = Callable[[argparse.ArgumentParser], None]


def no_arguments(parser: argparse.ArgumentParser) -> None:
    """A command that takes nothing but --json."""


@dataclass(frozen=True)
class Command:
    """One command of the terminal. `keys` documents its JSON document (a dot goes one level down, [] stands for the items of a list);
    `listed` means that the document is an array of such objects."""

    noun: str
    verb: str
    help: str
    run: Callable[[argparse.Namespace], Result]
    keys: Mapping[str, str]
    arguments: Arguments = no_arguments
    listed: bool = False
    notes: str = field(default="")

    @property
    def words(self) -> str:
        """What is typed after `cotdistill`."""
        return f"{self.noun} {self.verb}".strip()


@dataclass
class Noun:
    """A noun with its verbs; a noun of a single command has one with an empty verb."""

    name: str
    help: str
    commands: tuple[Command, ...]

    @property
    def verbs(self) -> list[str]:
        return [command.verb for command in self.commands if command.verb]

    def __iter__(self) -> Iterator[Command]:
        return iter(self.commands)

    def command(self, verb: str) -> Command:
        """The command of a verb; KeyError without one."""
        return {command.verb: command for command in self.commands}[verb]


def parsed_pairs(text: str) -> dict[str, str]:
    """`question=q,answer=gold` as a mapping; argparse.ArgumentTypeError for anything else."""
    pairs: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise argparse.ArgumentTypeError(f"{part!r} is not name=value (for example question=stem,answer=key)")
        pairs[key.strip()] = value.strip()
    return pairs


def whole_number(low: int) -> Callable[[str], int]:
    """An argument type: a whole number that is at least `low`."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < low:
            raise argparse.ArgumentTypeError(f"{text} is too small; expected at least {low}")
        return value

    return read

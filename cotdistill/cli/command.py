"""What a command is: a noun and a verb, its arguments, its result, and the keys of its JSON document."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """What a command gives back."""

    document: Any  # what --json prints: a dataclass, a mapping, or a list of either
    text: str  # the same for a person
    code: int = 0  # exit code; 1 where the work failed


@dataclass(frozen=True)
class StudyReference:
    """A study as documents name it."""

    id: int  # its number
    name: str  # its name


Arguments = Callable[[argparse.ArgumentParser], None]


def no_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of a command that has only --json."""


@dataclass(frozen=True)
class Command:
    """One command of the terminal."""

    noun: str  # study
    verb: str  # plan; empty for the only command of a noun
    help: str  # one line, as --help shows it
    run: Callable[[argparse.Namespace], Result]  # does the work
    keys: Mapping[str, str] | type[Any]  # its JSON document: a dataclass, or each key's meaning ("runs[].id": ...)
    arguments: Arguments = no_arguments  # adds its options to a parser
    listed: bool = False  # whether the document is an array of such objects
    notes: str = ""  # paragraphs below the help
    example: str = ""  # arguments of a typical call: starter --wait

    @property
    def documented(self) -> Mapping[str, str]:
        """The keys of its JSON document and what each is; see `documents.keys_of`."""
        if not isinstance(self.keys, type):
            return self.keys
        # Imported here: reading the comments of a dataclass is for the docs and the tests.
        from cotdistill.cli.documents import keys_of

        return keys_of(self.keys)

    @property
    def words(self) -> str:
        """What is typed after `cotdistill`."""
        return f"{self.noun} {self.verb}".strip()


@dataclass
class Noun:
    """A noun with its verbs; a noun of a single command has one with an empty verb."""

    name: str  # study
    help: str  # one line
    commands: tuple[Command, ...]  # in the order of the help

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

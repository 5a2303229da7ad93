"""The nouns of the terminal, each imported on first use: no command waits for the imports of another."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, MutableMapping

from cotdistill.cli.command import Command, Noun

# Noun -> where it is defined, in the order of the help.
PLACES = {
    "app": "commands.app.NOUN",
    "tasks": "commands.tasks.NOUN",
    "preview": "commands.preview.NOUN",
    "study": "commands.study.NOUN",
    "compare": "commands.compare.NOUN",
    "inspect": "nouns.INSPECT",
    "report": "commands.report.NOUN",
    "lint": "commands.lint.NOUN",
    "students": "commands.students.NOUN",
    "conditions": "commands.conditions.NOUN",
    "teacher": "commands.teacher.NOUN",
    "keytokens": "commands.keytokens.NOUN",
    "rounds": "commands.rounds.NOUN",
    "runs": "commands.runs.NOUN",
    "queue": "commands.queue.NOUN",
    "store": "commands.store.NOUN",
    "mirrors": "commands.mirrors.NOUN",
    "worker": "commands.worker.NOUN",
    "doctor": "commands.doctor.NOUN",
}

# The analyses: `inspect VERB` -> where the command is defined.
ANALYSES = {
    "attribute": "inspect.attribute.COMMAND",
    "influence": "inspect.influence.COMMAND",
    "probe": "inspect.probe.COMMAND",
    "attention": "inspect.attention.COMMAND",
    "faithfulness": "inspect.faithfulness.COMMAND",
    "stability": "inspect.faithfulness.STABILITY",
    "paraphrases": "inspect.paraphrases.COMMAND",
    "modes": "inspect.modes.COMMAND",
    "scorers": "inspect.scorers.COMMAND",
    "follows": "inspect.follows.COMMAND",
}


def _load(place: str) -> object:
    """The object at a place such as commands.tasks.NOUN, below cotdistill.cli."""
    module, _, name = place.rpartition(".")
    return getattr(importlib.import_module(f"cotdistill.cli.{module}"), name)


class Analyses(Noun):
    """The noun `inspect`, whose commands are imported one by one."""

    def __init__(self, places: dict[str, str]) -> None:
        super().__init__("inspect", "look inside a trained student (RUN) or all students of a study (STUDY)", ())
        self._places = dict(places)

    @property
    def verbs(self) -> list[str]:
        return list(self._places)

    def __iter__(self) -> Iterator[Command]:
        return (self.command(verb) for verb in self._places)

    def command(self, verb: str) -> Command:
        loaded = _load(self._places[verb])
        assert isinstance(loaded, Command) and loaded.words == f"inspect {verb}", f"{self._places[verb]}: wrong name"
        return loaded


INSPECT = Analyses(ANALYSES)


class Nouns(MutableMapping[str, Noun]):
    """Every noun by its name. A look-up imports the noun's module; iterating over the names imports nothing."""

    def __init__(self, places: dict[str, str]) -> None:
        self._places = dict(places)
        self._loaded: dict[str, Noun] = {}

    def __getitem__(self, name: str) -> Noun:
        if name not in self._loaded:
            noun = _load(self._places[name])
            assert isinstance(noun, Noun) and noun.name == name, f"{self._places[name]} is not the noun {name}"
            self._loaded[name] = noun
        return self._loaded[name]

    def __setitem__(self, name: str, noun: Noun) -> None:
        self._places.setdefault(name, "")
        self._loaded[name] = noun

    def __delitem__(self, name: str) -> None:
        del self._places[name]
        self._loaded.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


NOUNS = Nouns(PLACES)

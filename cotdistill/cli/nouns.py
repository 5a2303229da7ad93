"""The nouns of the terminal, each imported on first use: no command waits for the imports of another."""

from __future__ import annotations

import importlib
import importlib.util
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

# What `inspect` has beside the registered analyses, and where it is defined.
MORE = {"stability": "inspect.faithfulness.STABILITY", "follows": "inspect.follows.COMMAND"}


def _load(place: str) -> object:
    """The object at a place such as commands.tasks.NOUN, below cotdistill.cli."""
    module, _, name = place.rpartition(".")
    return getattr(importlib.import_module(f"cotdistill.cli.{module}"), name)


class Analyses(Noun):
    """The noun `inspect`: a command for each registered analysis, in the order of the registry, imported one by one."""

    def __init__(self) -> None:
        super().__init__("inspect", "look inside a trained student (RUN) or all students of a study (STUDY)", ())

    @property
    def verbs(self) -> list[str]:
        from cotdistill.studies.analyses import ANALYSES

        return [*ANALYSES.names(), *MORE]

    def __iter__(self) -> Iterator[Command]:
        return (self.command(verb) for verb in self.verbs)

    def command(self, verb: str) -> Command:
        if verb not in self.verbs:
            raise KeyError(verb)
        if verb not in MORE and importlib.util.find_spec(f"cotdistill.cli.inspect.{verb}") is None:
            from cotdistill.cli.inspect.registered import command_of
            from cotdistill.studies.analyses import ANALYSES

            return command_of(ANALYSES.get(verb))
        place = MORE.get(verb, f"inspect.{verb}.COMMAND")
        loaded = _load(place)
        assert isinstance(loaded, Command) and loaded.words == f"inspect {verb}", f"{place}: wrong name"
        return loaded


INSPECT = Analyses()


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

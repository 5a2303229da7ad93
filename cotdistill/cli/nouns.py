"""The nouns of the terminal, each loaded when it is first asked for: what one command needs, another does not wait for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, MutableMapping

from cotdistill.cli.command import Noun

# In the order of the help. A noun stands in the module of its name under NOUN, unless another place is named.
PLACES = {
    "tasks": "", "students": "", "conditions": "", "preview": "", "lint": "", "study": "", "runs": "", "queue": "", "compare": "",
    "findings": "commands.findings.FINDINGS", "verdicts": "commands.findings.VERDICTS", "report": "commands.findings.REPORT", "rivals": "", "attribute": "inspect.attribute.NOUN", "influence": "inspect.influence.NOUN",
    "probe": "inspect.probe.NOUN", "attention": "inspect.attention.NOUN", "paraphrases": "inspect.paraphrases.NOUN",
    "faithfulness": "inspect.faithfulness.NOUN", "stability": "inspect.faithfulness.STABILITY", "modes": "inspect.modes.NOUN", "scorers": "inspect.scorers.NOUN", "follows": "inspect.follows.NOUN", "rounds": "", "keytokens": "",
    "teacher": "", "mirrors": "", "worker": "", "store": "", "verify": "", "doctor": "", "app": "",
}  # fmt: skip


class Nouns(MutableMapping[str, Noun]):
    """Every noun by its name. Asking for one loads its module alone; asking which there are loads none."""

    def __init__(self, places: dict[str, str]) -> None:
        self._places = dict(places)
        self._loaded: dict[str, Noun] = {}

    def __getitem__(self, name: str) -> Noun:
        if name not in self._loaded:
            module, _, attribute = (self._places[name] or f"commands.{name}.NOUN").rpartition(".")
            found = getattr(importlib.import_module(f"cotdistill.cli.{module}"), attribute)
            assert isinstance(found, Noun) and found.name == name, (
                f"cotdistill.cli.{module}.{attribute} is not the noun {name}"
            )
            self._loaded[name] = found
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

"""What is done to a rationale: one function and one decorator each; the form, the CLI, the preview and the docs follow
from it.

A transform takes a passage and a `Draw` (the example, its corpus, a random generator of its own) and gives a passage.
It works on ids, so a token-unit transform never decodes and encodes again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from cotdistill.config import stable_seed
from cotdistill.errors import ConfigError, GrammarError, UnknownName
from cotdistill.rationales.passage import UNITS, Corpus, Passage, Token, joined, units
from cotdistill.rationales.words import is_function_word
from cotdistill.registry import Registry
from cotdistill.tasks.example import Example


@dataclass(frozen=True, slots=True)
class Draw:
    """What a transform may look at for one example. `rng` depends on the transform seed, the example's id and (if
    redrawn) the epoch.
    """

    corpus: Corpus
    index: int
    seed: int
    rng: np.random.Generator

    @property
    def example(self) -> Example:
        return self.corpus.examples[self.index]

    @classmethod
    def of(cls, corpus: Corpus, index: int, seed: int, epoch: int = 0) -> Draw:
        return cls(
            corpus, index, seed, np.random.default_rng(stable_seed("transform", seed, corpus.examples[index].id, epoch))
        )


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a transform: default (its type is the parameter's type), help, bounds or allowed values."""

    name: str
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] | None = None

    def read(self, text: str, where: str) -> Any:
        """The value in a condition's text, checked; GrammarError says what was expected."""
        if isinstance(self.default, (int, float)):
            try:
                value: Any = type(self.default)(text)
            except ValueError:
                raise GrammarError(f"{where}: {self.name}={text} is not a number.", self.help) from None
            if (self.low is not None and not value >= self.low) or (self.high is not None and not value <= self.high):
                bounds = f"{self.low:g} to {self.high:g}" if self.high is not None else f"at least {self.low:g}"
                raise GrammarError(f"{where}: {self.name}={text}; expected {bounds}.", self.help)
            return value
        if self.choices and text not in self.choices:
            raise GrammarError(f"{where}: {self.name}={text}; expected one of {', '.join(self.choices)}.", self.help)
        return text


Label = Callable[[dict[str, Any]], str]


@dataclass(frozen=True, slots=True)
class Transform:
    """A registered transform."""

    name: str
    """As a condition names it."""
    help: str
    """One line for lists and forms."""
    parameters: tuple[Parameter, ...]
    """In the order in which a condition's canonical form writes them."""
    apply: Callable[..., Passage]
    """apply(passage, draw, **parameters) gives the changed passage."""
    control: bool = False
    """A rival or a control: figures draw it hollow."""
    words: Label | None = None
    """What tables and figures call it, given its parameters; None: its name and every value."""

    def label(self, values: dict[str, Any]) -> str:
        """What tables and figures call it with these parameters."""
        if self.words is not None:
            return self.words(values)
        shown = [f"{name} {value:g}" if isinstance(value, float) else str(value) for name, value in values.items()]
        return " ".join([self.name.replace("_", " "), *shown])


TRANSFORMS: Registry[Transform] = Registry("transform")


def transform(
    name: str, help: str, *parameters: Parameter, control: bool = False, label: Label | None = None
) -> Callable[[Callable[..., Passage]], Callable[..., Passage]]:
    """Register a function as a transform under a name, with a one-line help and its parameters. label: what tables and
    figures call it, given its parameters; by default its name with every value."""

    def decorate(function: Callable[..., Passage]) -> Callable[..., Passage]:
        TRANSFORMS.register(Transform(name, help, parameters, function, control, label))
        return function

    return decorate


UNIT = Parameter("unit", "token", "what counts as one piece", choices=UNITS)


def _fraction(default: float, help: str) -> Parameter:
    return Parameter("fraction", default, help, low=0.0, high=1.0)


def _chosen(count: int, fraction: float, rng: np.random.Generator) -> list[int]:
    """round(fraction x count) places, drawn without replacement, in order."""
    return sorted(int(i) for i in rng.permutation(count)[: round(fraction * count)])


# Whose rationale takes the place, and how a table says so.
_SWAPPED = {"any": "swapped", "same_label": "swapped within the label", "other_label": "swapped (other label)"}


def quantity(values: dict[str, Any]) -> str:
    """k as a table says it: "5", or "20%"."""
    return f"{values['k']:.0%}" if values["k"] < 1 else f"{values['k']:g}"


def plural(values: dict[str, Any]) -> str:
    """The unit of a transform that keeps k of them: "word", "words"."""
    return str(values["unit"]) + ("" if values["k"] == 1 else "s")


@transform("identity", "the full rationale, untouched")
def identity(passage: Passage, draw: Draw) -> Passage:
    return passage


def _shuffled(values: dict[str, Any]) -> str:
    share = "" if values["fraction"] == 1 else f"{values['fraction']:.0%} of "
    return f"{share}{values['unit']}s shuffled"


@transform(
    "shuffle",
    "permutes the rationale's tokens, words or sentences",
    UNIT,
    _fraction(1.0, "share of the units that take part"),
    label=_shuffled,
)
def shuffle(passage: Passage, draw: Draw, *, unit: str, fraction: float) -> Passage:
    parts = units(passage, unit)
    places = _chosen(len(parts), fraction, draw.rng)
    moved = list(parts)
    for place, source in zip(places, draw.rng.permutation(places), strict=True):
        moved[place] = parts[source]
    return joined(moved)


@transform(
    "mask",
    "replaces tokens by one symbol; at 100 % with loss on it is the filler control",
    _fraction(0.5, "share of the units that are masked"),
    UNIT,
    Parameter("symbol", "_", "the symbol, one token of the student's vocabulary"),
    Parameter("loss", "auto", "whether the symbol is predicted; auto: only at 100 %", choices=("auto", "on", "off")),
    label=lambda values: (
        "filler only" if values["fraction"] == 1 and values["loss"] != "off" else f"{values['fraction']:.0%} masked"
    ),
)
def mask(passage: Passage, draw: Draw, *, fraction: float, unit: str, symbol: str, loss: str) -> Passage:
    parts = units(passage, unit)
    bears = loss == "on" or (loss == "auto" and fraction >= 1.0)
    symbol_id = draw.corpus.symbol_id(symbol)
    for place in _chosen(len(parts), fraction, draw.rng):
        parts[place] = parts[place].filled(as_symbol(t, symbol_id, symbol, loss=bears) for t in parts[place])
    return joined(parts)


@transform(
    "drop",
    "deletes tokens, so the text gets shorter; 100 % equals label only",
    _fraction(0.5, "share of the units that go"),
    UNIT,
    label=lambda values: f"{values['fraction']:.0%} dropped",
)
def drop(passage: Passage, draw: Draw, *, fraction: float, unit: str) -> Passage:
    parts = units(passage, unit)
    gone = set(_chosen(len(parts), fraction, draw.rng))
    return joined(part for i, part in enumerate(parts) if i not in gone)


@transform(
    "truncate",
    "keeps one end of the rationale",
    Parameter("keep", "first", "which end stays", choices=("first", "last")),
    _fraction(0.5, "share of the units that stay"),
    UNIT,
)
def truncate(passage: Passage, draw: Draw, *, keep: str, fraction: float, unit: str) -> Passage:
    parts = units(passage, unit)
    count = round(fraction * len(parts))
    return joined(parts[:count] if keep == "first" else parts[len(parts) - count :])


@transform(
    "swap",
    "another example's rationale: is it about this question, or about the label?",
    Parameter(
        "partner",
        "any",
        "whose: any row, one with the same answer text, one with another",
        choices=tuple(_SWAPPED),
    ),
    control=True,
    label=lambda values: _SWAPPED[values["partner"]],
)
def swap(passage: Passage, draw: Draw, *, partner: str) -> Passage:
    other = draw.corpus.partner(draw.index, partner, draw.seed)
    return () if other is None else _foreign(draw.corpus.passages[other])


@transform("random_tokens", "as many tokens, drawn from the training rationales: extra loss alone", control=True)
def random_tokens(passage: Passage, draw: Draw) -> Passage:
    if not passage:
        return ()
    ids = draw.rng.choice(draw.corpus.unigrams, size=len(passage))
    return tuple(Token(int(drawn), t.word, t.sentence, "", -1) for drawn, t in zip(ids, passage, strict=True))


@transform(
    "random_k",
    "keeps k units drawn uniformly from the same rationale",
    Parameter("k", 5.0, "how many stay; below 1 it is a share", low=0.0, high=1e6),
    Parameter("unit", "word", "what counts as one piece", choices=UNITS),
    control=True,
    label=lambda values: f"{quantity(values)}{' of the' if values['k'] < 1 else ''} {plural(values)} at random",
)
def random_k(passage: Passage, draw: Draw, *, k: float, unit: str) -> Passage:
    parts = units(passage, unit)
    count = min(len(parts), round(k * len(parts)) if k < 1 else round(k))
    kept = sorted(int(i) for i in draw.rng.permutation(len(parts))[:count])
    return joined(parts[i] for i in kept)


@transform("content_words", "keeps the content words (no stop words, no punctuation)")
def content_words(passage: Passage, draw: Draw) -> Passage:
    return tuple(token for token in passage if not is_function_word(token.text))


@transform("function_words", "keeps the function words and the punctuation", control=True)
def function_words(passage: Passage, draw: Draw) -> Passage:
    return tuple(token for token in passage if is_function_word(token.text))


@transform("label_text_only", "only the gold choice's text: leakage alone", control=True)
def label_text_only(passage: Passage, draw: Draw) -> Passage:
    return _foreign(draw.corpus.read(draw.example.answer_text)) if passage else ()


@transform("strip_labels", "the rationale without any choice's text: everything but leakage")
def strip_labels(passage: Passage, draw: Draw) -> Passage:
    words = units(passage, "word")
    gone = {place for choice in draw.example.choices for run in mentions(words, choice.text) for place in run}
    return joined(word for i, word in enumerate(words) if i not in gone)


def mentions(words: Sequence[Sequence[Token]], text: str) -> list[list[int]]:
    """Where a text stands among words: the places of each mention, whole words in a row, case and punctuation
    ignored.
    """
    wanted = [bare for part in re.findall(r"\w+", text) if (bare := _bare(part))]
    texts = [_bare(word[0].text) for word in words]
    at = [i for i, bare in enumerate(texts) if bare]
    runs = (at[start : start + len(wanted)] for start in range(len(at) - len(wanted) + 1))
    return [run for run in runs if wanted and [texts[i] for i in run] == wanted]


def _bare(text: str) -> str:
    """A word without case and punctuation, so that "Bank," meets "bank"."""
    return re.sub(r"\W", "", text).casefold()


def as_symbol(token: Token, symbol_id: int, symbol: str, *, loss: bool) -> Token:
    """A symbol in the place of a token."""
    return replace(token, id=symbol_id, text=symbol, origin=-1, loss=loss, piece=symbol, gap=False)


def _foreign(passage: Passage) -> Passage:
    return tuple(replace(token, origin=-1, loss=True) for token in passage)


class Parametrised(Protocol):
    """A registered name with parameters: a transform, an objective."""

    @property
    def name(self) -> str: ...

    @property
    def parameters(self) -> tuple[Parameter, ...]: ...


def check_parameters(entry: Parametrised, pairs: Sequence[tuple[str, str]]) -> tuple[tuple[str, Any], ...]:
    """All parameters of an entry in registry order, the given ones read and checked, the rest at their default."""
    known = {p.name: p for p in entry.parameters}
    values = {p.name: p.default for p in entry.parameters}
    seen: set[str] = set()
    for name, text in pairs:
        if name in seen:
            raise ConfigError([f"{entry.name}: {name} is given twice"])
        seen.add(name)
        if name not in known:
            raise UnknownName(f"parameter of {entry.name}", name, known)
        values[name] = known[name].read(text, entry.name)
    return tuple(values.items())

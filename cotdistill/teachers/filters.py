"""What may be asked of a rationale before a student learns from it: one function and one decorator each; terminal, page
and docs follow from it.

A filter looks at all answers that are left and says of each why it would go, "" for one that stays. Nothing is deleted:
what stays becomes a source of its own, and the rest is counted and shown.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cotdistill.errors import ConfigError, GrammarError, UnknownName
from cotdistill.rationales.transforms import Parameter
from cotdistill.registry import Registry
from cotdistill.tasks.leakage import names_key
from cotdistill.teachers.answers import TeacherAnswer
from cotdistill.teachers.duplicates import near_duplicates
from cotdistill.teachers.mentions import WORD

Judge = Callable[..., list[str]]
# How many examples of what a filter takes away are kept to be shown.
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Filter:
    """A registered filter; judge(answers, **parameters) gives a reason for each, "" where there is none."""

    name: str
    help: str
    parameters: tuple[Parameter, ...]
    judge: Judge


@dataclass(frozen=True, slots=True)
class ChosenFilter:
    """A filter with all its parameters; `str()` is canonical."""

    entry: Filter
    values: tuple[tuple[str, Any], ...]

    def __str__(self) -> str:
        inside = ",".join(
            f"{name}={f'{value:g}' if isinstance(value, float) else value}" for name, value in self.values
        )
        return f"{self.entry.name}({inside})" if inside else self.entry.name

    def judge(self, answers: Sequence[TeacherAnswer]) -> list[str]:
        return self.entry.judge(answers, **dict(self.values))


@dataclass(frozen=True)
class Counted:
    """What one filter did. seen: answers that it looked at; dropped: those that went; alone: those that it would take
    away by itself, from all; examples: (answer, reason) of the first few that went."""

    filter: str
    seen: int
    dropped: int
    alone: int
    examples: tuple[tuple[TeacherAnswer, str], ...]


FILTERS: Registry[Filter] = Registry("filter")


def filter_(name: str, help: str, *parameters: Parameter) -> Callable[[Judge], Judge]:
    """Register a function as a filter under a name, with a one-line help and its parameters."""

    def decorate(function: Judge) -> Judge:
        FILTERS.register(Filter(name, help, parameters, function))
        return function

    return decorate


def _share(name: str, default: float, help: str, low: float = 0.0) -> Parameter:
    return Parameter(name, default, help, low=low, high=1.0)


@filter_(
    "agrees",
    "keeps those whose answer is the gold label",
    Parameter("unknown", "drop", "an answer that is not known and cannot be read", choices=("drop", "keep")),
    Parameter(
        "label", "gold", "gold: the right label; given: the one that the teacher was shown", choices=("gold", "given")
    ),
    Parameter(
        "implied",
        "no",
        "whether an answer counts that is only implied: the one choice that a conclusion names",
        choices=("no", "yes"),
    ),
)
def agrees(answers: Sequence[TeacherAnswer], *, unknown: str, label: str, implied: str) -> list[str]:
    reasons = []
    for one in answers:
        wanted = one.given if label == "given" and one.given else one.example.answer
        said = one.answer or (one.stated.label if implied == "yes" else None)
        missing = f"no answer is known ({one.stated.problem or 'none stated'})" if unknown == "drop" else ""
        reasons.append(missing if said is None else "" if said == wanted else f"answers {said}, not {wanted}")
    return reasons


@filter_("one_answer", "drops refusals, several answers (A or E), none of the above, and texts that are empty")
def one_answer(answers: Sequence[TeacherAnswer]) -> list[str]:
    reasons = {
        "refusal": "a refusal",
        "several": "several answers",
        "none": "no choice fits, it says",
        "empty": "empty",
    }
    return [reasons.get(one.stated.problem, "") for one in answers]


@filter_("consistent", "drops those that state two different answers, deny the one they state, or take it back")
def consistent(answers: Sequence[TeacherAnswer]) -> list[str]:
    reasons = []
    for one in answers:
        several = f"states {' and '.join(one.stated.named)}" if len(one.stated.named) > 1 else ""
        reasons.append(several or ("denies or takes back its answer" if one.stated.contradicts else ""))
    return reasons


@filter_(
    "gives_reason",
    "drops those that are little more than a label",
    Parameter("words", 3, "fewest words beside the statement", low=1, high=1000),
)
def gives_reason(answers: Sequence[TeacherAnswer], *, words: int) -> list[str]:
    counts = [len(WORD.findall(one.rationale)) for one in answers]
    return ["" if count >= words else f"{count} words of reason" for count in counts]


@filter_(
    "length",
    "keeps those of a length, in words",
    Parameter("low", 5, "fewest words", low=0, high=100_000),
    Parameter("high", 80, "most words", low=1, high=100_000),
)
def length(answers: Sequence[TeacherAnswer], *, low: int, high: int) -> list[str]:
    counts = [len(one.shown.split()) for one in answers]
    return ["" if low <= count <= high else f"{count} words" for count in counts]


@filter_("names_letter", "drops those that name a choice by its letter")
def names_letter(answers: Sequence[TeacherAnswer]) -> list[str]:
    return ["names a letter" if names_key(one.as_example) else "" for one in answers]


@filter_(
    "repeats_question",
    "drops those that repeat the question",
    _share("share", 0.6, "share of the question's words that stand in a row in the rationale", 0.05),
    Parameter("words", 6, "fewest words in a row that count", low=1, high=1000),
)
def repeats_question(answers: Sequence[TeacherAnswer], *, share: float, words: int) -> list[str]:
    reasons = []
    for one in answers:
        asked = longest_run(one.example.question, one.shown)
        repeats = asked >= words and asked >= share * len(WORD.findall(one.example.question))
        reasons.append(f"{asked} words of the question in a row" if repeats else "")
    return reasons


def longest_run(question: str, text: str) -> int:
    """The most words in a row that two texts have in common, case and punctuation ignored."""
    first, second = (WORD.findall(part.casefold()) for part in (question, text))
    return difflib.SequenceMatcher(None, first, second, autojunk=False).find_longest_match().size


@filter_(
    "near_duplicate",
    "drops those that nearly repeat an earlier one",
    _share("similarity", 0.8, "Jaccard index of word triples from which on", 0.5),
)
def near_duplicate(answers: Sequence[TeacherAnswer], *, similarity: float) -> list[str]:
    first = near_duplicates([one.shown for one in answers], similarity)
    return ["" if place is None else f"nearly the same as that of {answers[place].example.id}" for place in first]


@filter_(
    "bottleneck",
    "drops those that tell the student which wrote them little of the label (rounds only; Referee, arXiv 2210.13800)",
    Parameter(
        "least", 0.0, "log p(label | question, rationale) less log p(label | question), nats", low=-1000.0, high=1000.0
    ),
)
def bottleneck(answers: Sequence[TeacherAnswer], *, least: float) -> list[str]:
    return [
        "nobody measured what it tells" if one.gain is None else "" if one.gain >= least else f"{one.gain:+.2f} nats"
        for one in answers
    ]


@filter_(
    "truncated",
    "drops those that were cut off: by the limit of tokens, or, where nobody noted why they end, without an end of a"
    " sentence",
)
def truncated(answers: Sequence[TeacherAnswer]) -> list[str]:
    reasons = []
    for one in answers:
        open_end = not one.finish and not re.search(r"[.!?…:;)\]}\"'”’]\s*$", one.shown)
        reasons.append(
            "ended by the limit of tokens"
            if one.finish == "length"
            else "ends in the middle of a sentence"
            if open_end
            else ""
        )
    return reasons


def parse_filters(text: str) -> list[ChosenFilter]:
    """`agrees,length(low=5,high=60)` as filters with all their parameters; UnknownName or GrammarError says what would
    be right.
    """
    filters_read: list[ChosenFilter] = []
    rest = text.strip()
    while rest:
        match = re.match(r"\s*([\w-]+)\s*(?:\(([^()]*)\))?\s*(?:,|$)", rest)
        if match is None:
            raise GrammarError(
                f"{rest[:60]!r} is not a filter.", "Write name or name(parameter=value,...), with commas between."
            )
        entry = FILTERS.get(match.group(1))
        if any(chosen.entry.name == entry.name for chosen in filters_read):
            raise GrammarError(f"The filter {entry.name} is named twice.", "Name each once.")
        filters_read.append(ChosenFilter(entry, _values(entry, match.group(2) or "")))
        rest = rest[match.end() :]
    return filters_read


def _values(entry: Filter, text: str) -> tuple[tuple[str, Any], ...]:
    known = {parameter.name: parameter for parameter in entry.parameters}
    values = {name: parameter.default for name, parameter in known.items()}
    for part in text.split(",") if text.strip() else ():
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            raise GrammarError(
                f"{part.strip()!r} is not name=value.", f"For example {entry.name}({next(iter(known), 'name')}=...)"
            )
        if name not in known:
            raise UnknownName(f"parameter of {entry.name}", name, known)
        values[name] = known[name].read(value, entry.name)
    if entry.name == "length" and values["low"] > values["high"]:
        raise ConfigError([f"length: low={values['low']} is above high={values['high']}"])
    return tuple(values.items())


def apply(
    answers: Sequence[TeacherAnswer], filters: Sequence[ChosenFilter]
) -> tuple[list[TeacherAnswer], list[Counted]]:
    """What stays when the filters act one after the other, each on what the ones before it left; and what each did."""
    left, counted = list(answers), []
    for chosen in filters:
        reasons = chosen.judge(left)
        alone = reasons if len(left) == len(answers) else chosen.judge(answers)
        gone = [(one, reason) for one, reason in zip(left, reasons, strict=True) if reason]
        counted.append(Counted(str(chosen), len(left), len(gone), sum(map(bool, alone)), tuple(gone[:SHOWN])))
        left = [one for one, reason in zip(left, reasons, strict=True) if not reason]
    return left, counted

"""The grammar of conditions, one for terminal, YAML, URL and store.

placement[/transform[(name=value,...)]]...[+objective[(name=value,...)]]...[@OPTION=VALUE[,OPTION=VALUE]...]

post_cot/shuffle(unit=token,fraction=1.0)     a transform with its parameters
post_cot/strip_labels/shuffle                 transforms are applied from left to right
label_only+label_smoothing(epsilon=0.1)       trained with another objective
post_cot@source=answer_first_long             another teacher's rationales
label_only@tokens=post_cot                    trained until it has seen as many tokens as post_cot in all its steps
post_cot@fraction=0.25                        trained on a quarter of the training rows
post_cot@target=naive                         its label tokenised apart from the text before it
post_cot@target=teacher                       its label is what the teacher concluded
post_cot@part=thinking                        what the teacher thought; also answer, and both
post_cot@rationales=4                         up to four rationales of a question, in turn
post_cot@mix=human:0.2,teacher:0.8            the source of each question drawn by a hash of its id
shuffled                                      a preset: a short name for one of the above
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cotdistill.errors import GrammarError, UnknownName
from cotdistill.rationales.keyed import selectors_of
from cotdistill.rationales.objectives import OBJECTIVES, Objective
from cotdistill.rationales.passage import Passage
from cotdistill.rationales.placement import PLACEMENTS, Placement
from cotdistill.rationales.structure import fixed_rationale
from cotdistill.rationales.transforms import TRANSFORMS, Draw, Transform, check_parameters
from cotdistill.registry import Registry
from cotdistill.tasks.views import MOST_RATIONALES, PARTS, SourceView, mix_text, read_mix


@dataclass(frozen=True, slots=True)
class Preset:
    """A short name for a condition."""

    name: str
    help: str
    condition: str


PRESETS: Registry[Preset] = Registry("preset")
# What may stand behind the @.
OPTIONS = ("source", "tokens", "fraction", "target", "part", "rationales", "mix")
# The label: the right one, tokenised as behind a text, with its leading space; the same tokenised apart (arXiv
# 2212.09912); or what the teacher concluded.
TARGETS = ("consistent", "naive", "teacher")

for _name, _help, _text in (
    ("shuffled", "post-CoT with its tokens shuffled (claim 2)", "post_cot/shuffle(unit=token)"),
    ("sentence_shuffled", "post-CoT with its sentences shuffled", "post_cot/shuffle(unit=sentence)"),
    ("masked", "post-CoT with half of its tokens masked", "post_cot/mask(fraction=0.5)"),
    ("filler", "post-CoT with nothing but the mask symbol, predicted", "post_cot/mask(fraction=1.0,loss=on)"),
    ("swapped", "post-CoT with the rationale of a question with another answer", "post_cot/swap(partner=other_label)"),
    ("random", "post-CoT with as many random tokens", "post_cot/random_tokens"),
):
    PRESETS.register(Preset(_name, _help, _text))


@dataclass(frozen=True, slots=True)
class _Chosen:
    """An entry of a registry as a condition names it, with a value for every one of its parameters."""

    name: str
    parameters: tuple[tuple[str, Any], ...]

    def __str__(self) -> str:
        inside = ",".join(f"{name}={value}" for name, value in self.parameters)
        return f"{self.name}({inside})" if inside else self.name

    @property
    def values(self) -> dict[str, Any]:
        return dict(self.parameters)


class ChosenTransform(_Chosen):
    """One transform of a condition, with all its parameters."""

    __slots__ = ()

    @property
    def entry(self) -> Transform:
        return TRANSFORMS.get(self.name)

    @property
    def label(self) -> str:
        return self.entry.label(self.values)


class ChosenObjective(_Chosen):
    """One objective of a condition, with all its parameters."""

    __slots__ = ()

    @property
    def entry(self) -> Objective:
        return OBJECTIVES.get(self.name)

    @property
    def label(self) -> str:
        return self.entry.label(self.values)


@dataclass(frozen=True, slots=True)
class Condition:
    """placement x transforms x objectives, with the rationale source and the token budget if they are not the study's,
    and the share of the training rows that it sees. naive: the label is tokenised apart from the text before it.
    `str()` is canonical."""

    placement: str
    steps: tuple[ChosenTransform, ...] = ()
    source: str = ""
    tokens: str = ""
    fraction: float = 1.0
    objectives: tuple[ChosenObjective, ...] = ()
    naive: bool = False
    part: str = ""
    """The part of a trace that is read; empty: the default one."""
    rationales: int = 1
    """Most rationales of a question that are read in turn."""
    mix: str = ""
    """Sources with their shares, in place of one source."""
    teacher_target: bool = False
    """The label is what the teacher concluded."""

    def __str__(self) -> str:
        text = "+".join(["/".join([self.placement, *map(str, self.steps)]), *map(str, self.objectives)])
        tokens = f"({self.tokens})" if re.search("[@,]", _outside(self.tokens)) else self.tokens
        fraction = "" if self.fraction == 1 else repr(self.fraction)
        target = "naive" if self.naive else "teacher" if self.teacher_target else ""
        rationales = "" if self.rationales == 1 else str(self.rationales)
        settings = (
            ("source", self.source), ("tokens", tokens), ("fraction", fraction), ("target", target),
            ("part", self.part), ("rationales", rationales), ("mix", f"({self.mix})" if self.mix else ""),
        )  # fmt: skip
        options = [f"{key}={value}" for key, value in settings if value]
        return f"{text}@{','.join(options)}" if options else text

    @property
    def spec(self) -> Placement:
        placement = PLACEMENTS.get(self.placement)
        for objective in self.objectives:
            placement = objective.entry.placed(placement)
        if fixed := fixed_rationale([(step.name, step.values) for step in self.steps]):
            # Asked as it was trained: with the same fixed tokens in the rationale's place.
            is_written = placement.primary == "own"
            placement = replace(
                placement,
                fixed=fixed,
                primary="given" if is_written else placement.primary,
                trained=tuple(mode for mode in placement.trained if mode != "own"),
            )
        return placement

    def reads(self, source: str) -> str:
        """The view of a task's rationales that it reads (see `tasks.views`), given the study's source."""
        if not (self.part or self.rationales != 1 or self.mix or self.teacher_target):
            return self.source or source
        sources = read_mix(self.mix) if self.mix else ((self.source or source, 1.0),)
        return str(SourceView(sources, self.part, self.rationales, self.teacher_target))

    @property
    def reads_source(self) -> bool:
        """Whether a teacher is needed at all: for its rationales, or for its answers."""
        return self.spec.uses_rationale or self.teacher_target

    def objective_parameters(self, objective: str) -> dict[str, Any] | None:
        """The parameters of one of its objectives; None where it has no such one."""
        return next((chosen.values for chosen in self.objectives if chosen.name == objective), None)

    @property
    def is_control(self) -> bool:
        """Controls stand beside the claims: foreign or emptied rationales, and the equal-token arms."""
        return (
            bool(self.tokens)
            or any(step.entry.control for step in self.steps)
            or any(objective.entry.control for objective in self.objectives)
        )

    @property
    def selectors(self) -> list[str]:
        """The selectors whose scores this condition reads, and the one that its token budget reads."""
        selectors = selectors_of([(step.name, step.values) for step in (*self.steps, *self.objectives)])
        return list(dict.fromkeys([*selectors, *(parse(self.tokens).selectors if self.tokens else ())]))

    @property
    def label(self) -> str:
        """The one name a condition has on every page and figure."""
        base = {
            "undistilled": "undistilled",
            "label_only": "label only",
            "pre_cot": "pre-CoT",
            "post_cot": "post-CoT",
        }.get(self.placement, self.placement)
        words = [base, *(step.label for step in self.steps), *(objective.label for objective in self.objectives)]
        if self.source:
            words.append(f"{self.source} teacher")
        if self.fraction != 1:
            words.append(f"{100 * self.fraction:g} % of the rows")
        if self.mix:
            words.append("mix of " + ", ".join(f"{100 * share:g} % {name}" for name, share in read_mix(self.mix)))
        if self.part:
            words.append({"both": "thinking and answer"}.get(self.part, f"{self.part} part"))
        if self.rationales != 1:
            words.append(f"{self.rationales} rationales in turn")
        if self.naive:
            words.append("naive target")
        if self.teacher_target:
            words.append("the teacher's label")
        if self.tokens:
            words.append(f"at the tokens of {parse(self.tokens).label}")
        return ", ".join(words)

    def rewrite(self, passage: Passage, draw: Draw) -> Passage:
        """The rationale as this condition shows it."""
        for step in self.steps:
            passage = step.entry.apply(passage, draw, **step.values)
        return passage

    def without_budget(self) -> Condition:
        return replace(self, tokens="")


def parse(text: str) -> Condition:
    """Read one condition; GrammarError or UnknownName says what is wrong and what would be right."""
    stripped = text.strip()
    if not stripped:
        raise GrammarError("A condition is empty.", "For example: post_cot/shuffle(unit=token)")
    if stripped in PRESETS:
        return parse(PRESETS.get(stripped).condition)
    head, *options = _split(stripped, "@")
    if len(options) > 1:
        raise GrammarError(
            f"{stripped!r} has two @.", "Separate options by commas: post_cot@source=NAME,tokens=CONDITION"
        )
    head, *added = _split(head, "+")
    placement, *parts = _split(head, "/")
    if placement in PRESETS:
        base = parse(PRESETS.get(placement).condition)
        placement, steps = base.placement, list(base.steps)
    else:
        steps = []
    if placement not in PLACEMENTS:
        raise UnknownName("condition", placement, [*PLACEMENTS.names(), *PRESETS.names()])
    steps += [step for part in parts if (step := _step(part)).name != "identity"]
    if steps and not PLACEMENTS.get(placement).uses_rationale:
        raise GrammarError(
            f"{stripped!r}: {placement} has no rationale to transform.", "Use post_cot, pre_cot or multitask."
        )
    values = dict.fromkeys(OPTIONS, "")
    for name, value in _pairs(_bracketed_mix(options[0])) if options else ():
        if name not in values:
            raise UnknownName("condition option", name, values)
        values[name] = (
            str(parse(value.removeprefix("(").removesuffix(")") if value.startswith("(") else value))
            if name == "tokens"
            else value
        )
    fraction = read_fraction(values["fraction"]) if values["fraction"] else 1.0
    if values["target"] not in ("", *TARGETS):
        raise GrammarError(
            f"{stripped!r}: target={values['target']} is unknown.", f"Expected one of {', '.join(TARGETS)}."
        )
    condition = Condition(
        placement,
        tuple(steps),
        values["source"],
        values["tokens"],
        fraction,
        tuple(_objective(part, placement) for part in added),
        values["target"] == "naive",
        values["part"],
        _read_count(values["rationales"]),
        mix_text(read_mix(values["mix"].removeprefix("(").removesuffix(")"))) if values["mix"] else "",
        values["target"] == "teacher",
    )
    _check_objectives(stripped, condition)
    _check_view(stripped, condition)
    if fraction != 1 and not condition.spec.sequences:
        raise GrammarError(
            f"{stripped!r}: {placement} is not trained, so it has no share of the training rows.",
            "Leave fraction= out.",
        )
    if (condition.naive or condition.teacher_target) and not condition.spec.sequences:
        raise GrammarError(f"{stripped!r}: {placement} is not trained, so it has no target.", "Leave target= out.")
    if condition.tokens:
        _check_budget(stripped, condition, parse(condition.tokens))
    return condition


def _check_objectives(written: str, condition: Condition) -> None:
    names = [one.name for one in condition.objectives]
    if len(set(names)) < len(names):
        raise GrammarError(f"{written!r} names an objective twice.", "Give each once.")
    for one in condition.objectives:
        if one.entry.intact and condition.steps:
            raise GrammarError(f"{written!r}: {one.name} reads the rationale as it is.", "Leave the transforms out.")
        if clash := next((name for name in one.entry.apart if name in names), None):
            raise GrammarError(f"{written!r}: {one.name} does not go with {clash}.", "Leave one of them out.")
        values = one.values
        if "end" in values and values["begin"] > values["end"]:
            raise GrammarError(
                f"{written!r}: {one.name} begins at {values['begin']:g} of the steps and ends at {values['end']:g}.",
                "Give an end= that is not before begin=.",
            )


def _bracketed_mix(options: str) -> str:
    """The options of a condition with the shares of a mix in brackets, so that their commas part no options."""
    return re.sub(r"\bmix=([^(),=]+(?:,[^(),=]+:[^(),=]+)*)(?=,|$)", r"mix=(\1)", options)


def _read_count(text: str) -> int:
    if not text:
        return 1
    if not text.isdecimal() or not 1 <= int(text[:9]) <= MOST_RATIONALES:
        raise GrammarError(
            f"rationales={text}; expected a whole number from 1 to {MOST_RATIONALES}.", "For example rationales=4"
        )
    return int(text)


def _check_view(written: str, condition: Condition) -> None:
    if condition.part and condition.part not in PARTS:
        raise GrammarError(f"{written!r}: part={condition.part} is unknown.", f"Expected one of {', '.join(PARTS)}.")
    if condition.mix and condition.source:
        raise GrammarError(f"{written!r} names a source and a mix of sources.", "Give source= or mix=.")
    named = next((name for name in ("part", "mix") if getattr(condition, name)), "")
    named = named or ("rationales" if condition.rationales != 1 else "")
    if named and not condition.reads_source:
        raise GrammarError(
            f"{written!r}: {condition.placement} reads no rationale, so {named}= means nothing.", f"Leave {named}= out."
        )
    varying = next((chosen.name for chosen in condition.objectives if chosen.entry.varying), "")
    if condition.rationales != 1 and (varying or condition.selectors):
        what = varying or f"the selection by {condition.selectors[0]}"
        raise GrammarError(
            f"{written!r}: {what} reads one rationale of a question, and rationales={condition.rationales} several.",
            "Leave rationales= out.",
        )


def read_fraction(text: str) -> float:
    """A share of the training rows: a number above 0, at most 1."""
    try:
        value = float(text)
    except ValueError:
        raise GrammarError(f"fraction={text} is not a number.", "For example fraction=0.25") from None
    if not 0 < value <= 1:
        raise GrammarError(
            f"fraction={text}; expected a share of the training rows, above 0 and at most 1.",
            "For example fraction=0.25",
        )
    return value


def _check_budget(written: str, condition: Condition, reference: Condition) -> None:
    if reference.tokens:
        raise GrammarError(
            f"{written!r}: the condition named by tokens= has a token budget itself.",
            "Name one that is trained for the steps of the study.",
        )
    if varying := next((one.name for one in (*condition.objectives, *reference.objectives) if one.entry.varying), None):
        raise GrammarError(
            f"{written!r}: under {varying} a rationale's length changes as training goes on, so tokens= cannot count"
            " what is read.",
            "Compare at equal steps: leave tokens= out, and a study's budget at steps.",
        )
    if reference.selectors and reference.fraction != condition.fraction:
        raise GrammarError(
            f"{written!r}: the condition named by tokens= keeps key tokens, which are selected on the rows that a"
            " condition sees.",
            "Give both the same fraction=.",
        )


def crossed(
    conditions: Sequence[Condition],
    *,
    sources: Sequence[str] = (),
    fractions: Sequence[float] = (),
    default_source: str = "",
) -> list[Condition]:
    """Each condition at each share of the training rows and, where it reads rationales, with each source; every result
    once, in that order.

    own: the study's source, which a condition need not name. Left as they are: what a condition says itself, and a
    student that is not trained.
    """
    product: list[Condition] = []
    for condition in conditions:
        chooses = condition.reads_source and not condition.source and not condition.mix
        named = sources if sources and chooses else (condition.source,)
        shares = (
            fractions if fractions and condition.spec.sequences and condition.fraction == 1 else (condition.fraction,)
        )
        product += [
            replace(condition, source="" if name == default_source else name, fraction=share)
            for name in named
            for share in shares
        ]
    return [parse(str(one)) for one in dict.fromkeys(product)]


def parse_list(text: str) -> list[Condition]:
    """Conditions separated by commas (commas in brackets and after an @ that lead to an option do not separate)."""
    items: list[str] = []
    for part in _split(text, ","):
        option = rf"\s*(?:({'|'.join(OPTIONS)})=|[\w.-]+:[\d.]+\s*(?:@|$))"
        if items and "@" in _outside(items[-1]) and re.match(option, part):
            items[-1] += "," + part
        elif part.strip():
            items.append(part)
    return [parse(part) for part in items]


def _called(text: str, what: str, example: str) -> tuple[str, list[tuple[str, str]]]:
    """The name and the given parameters of what is written name or name(parameter=value,...)."""
    match = re.fullmatch(r"\s*([\w.-]+)\s*(?:\((.*)\))?\s*", text, re.DOTALL)
    if not match:
        raise GrammarError(
            f"{text!r} is not {what}.", f"Write name or name(parameter=value,...), for example {example}"
        )
    return match.group(1), list(_pairs(match.group(2) or ""))


def _step(text: str) -> ChosenTransform:
    name, parameters = _called(text, "a transform", "shuffle(unit=word)")
    entry = TRANSFORMS.get(name)
    step = ChosenTransform(entry.name, check_parameters(entry, parameters))
    values = step.values
    if values.get("order") == "score" and values.get("rest") == "mask":
        raise GrammarError(
            f"{text!r}: masked tokens keep every unit in its place, so order=score means nothing.",
            "Use order=text, or rest=drop.",
        )
    return step


def _objective(text: str, placement: str) -> ChosenObjective:
    name, parameters = _called(text, "an objective", "label_only+label_smoothing(epsilon=0.1)")
    entry, spec = OBJECTIVES.get(name), PLACEMENTS.get(placement)
    if not spec.sequences:
        raise GrammarError(f"{placement} is not trained, so it has no objective.", "Leave the objective out.")
    if entry.placements and placement not in entry.placements:
        raise GrammarError(f"{entry.name} does not suit {placement}.", f"It suits {', '.join(entry.placements)}.")
    if entry.rationale and not spec.uses_rationale:
        raise GrammarError(
            f"{entry.name} needs a rationale, and {placement} has none.", "Use post_cot, pre_cot, mixed or multitask."
        )
    return ChosenObjective(entry.name, check_parameters(entry, parameters))


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for part in _split(text, ","):
        if not part.strip():
            continue
        name, equals, value = part.partition("=")
        if not equals or not value.strip():
            raise GrammarError(f"{part.strip()!r} is not name=value.", "For example fraction=0.5")
        yield name.strip(), value.strip()


def _outside(text: str) -> str:
    """The text without what stands in brackets."""
    return "".join(char for char, depth in _depths(text) if depth == 0)


def _split(text: str, at: str) -> list[str]:
    parts = [""]
    for char, depth in _depths(text):
        if char == at and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def _depths(text: str) -> Iterator[tuple[str, int]]:
    depth = 0
    for char in text:
        if char == ")":
            depth -= 1
            if depth < 0:
                raise GrammarError(f"{text!r}: a bracket is closed that was not opened.")
        yield char, depth + (char == ")")
        if char == "(":
            depth += 1
    if depth:
        raise GrammarError(f"{text!r}: a bracket is not closed.")

"""The generated task `arithmetic`: chains of additions and multiplications in words, with a number to write as answer.

A rationale holds the intermediate results, which the answer needs and the question does not state. So here an answer is
computed, where in `field_guide` it is remembered: a student that writes the steps first reads each result off the one
before it, and one that answers at once has to do the whole chain in its head.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotdistill.config import check, from_mapping, hashed, param, plain, stable_seed
from cotdistill.errors import UsageError
from cotdistill.tasks.example import NUMBER, Choice, Example
from cotdistill.tasks.importing.writing import write_task
from cotdistill.tasks.task import Rationale, Task
from cotdistill.tasks.template import Template

# Raised when the same seed gives another task.
VERSION = 1
STYLES = ("worked", "story", "answer_first", "mistaken")
PEOPLE = "mia tom ada leo ina max eva jon".split()
THINGS = "shells stamps apples coins cards stones pens nuts".split()
STARTS = ("{p} has {n} {t} .", "{p} begins with {n} {t} .", "at first {p} has {n} {t} .")
ADDED = ("{p} finds {n} more .", "{p} gets {n} more .", "then {n} more are added .")
TIMES = ("then {p} has {n} times as many .", "soon there are {n} times as many .", "the number grows {n} times .")
ASKED = ("how many {t} are there now ?", "how many {t} does {p} have ?")
LARGEST_START, LARGEST_ADDED, FACTORS = 19, 5, (2, 3)
# Of the rows, so many each for dev and test.
HELD_OUT = {"dev": 0.05, "test": 0.15}
TEMPLATE = Template(
    question="{question}",
    label_cue=" answer :",
    rationale_cue=" because :",
    label_task="label task : ",
    rationale_task="rationale task : ",
)


@dataclass(frozen=True)
class ArithmeticSettings:
    """The dials of the generated task."""

    steps: int = param(3, "additions and multiplications in a question", low=1, high=8)
    digits: int = param(2, "digits of the largest number; each number is one token", low=1, high=3)
    multiplications: float = param(0.4, "share of the steps that multiply, by 2 or 3", low=0.0, high=1.0)
    rows: int = param(2800, "questions, no chain twice; of them 5 % dev and 15 % test", low=100, high=50_000)


@dataclass(frozen=True)
class Chain:
    """One question as numbers: where it starts, and what is done to it, ("+", 4) or ("*", 3)."""

    start: int
    steps: tuple[tuple[str, int], ...]

    def results(self, slip: int = -1, error: int = 0) -> list[int]:
        """What stands after each step. error: added to the result of the step `slip`, and carried on."""
        value, results = self.start, []
        for place, (sign, number) in enumerate(self.steps):
            value = value + number if sign == "+" else value * number
            value += error if place == slip else 0
            results.append(value)
        return results


def chains(seed: int, settings: ArithmeticSettings) -> list[Chain]:
    """Distinct chains whose results all have at most the digits of the settings.

    Raises:
        UsageError: there are not so many.
    """
    rng, limit = random.Random(stable_seed("arithmetic", seed)), 10**settings.digits
    distinct: dict[Chain, None] = {}
    for _ in range(settings.rows * 40):
        if len(distinct) == settings.rows:
            break
        value = start = rng.randrange(2, min(LARGEST_START + 1, limit))
        steps: list[tuple[str, int]] = []
        for _ in range(settings.steps):
            times = rng.random() < settings.multiplications
            number = rng.choice(FACTORS) if times else rng.randrange(2, LARGEST_ADDED + 1)
            value = value * number if times else value + number
            steps.append(("*" if times else "+", number))
        chain = Chain(start, tuple(steps))
        if max(chain.results()) < limit:
            distinct.setdefault(chain)
    if len(distinct) < settings.rows:
        raise UsageError(
            f"There are only about {len(distinct):,} chains of {settings.steps} steps with {settings.digits} digits; "
            f"{settings.rows:,} rows were asked for.",
            "Ask for fewer rows, more steps or more digits.",
        )
    return list(distinct)


def question(chain: Chain, rng: random.Random) -> str:
    """The chain in words."""
    person, thing = rng.choice(PEOPLE), rng.choice(THINGS)
    sentences = [rng.choice(STARTS).format(p=person, t=thing, n=chain.start)]
    for sign, number in chain.steps:
        sentences.append(rng.choice(ADDED if sign == "+" else TIMES).format(p=person, n=number))
    return " ".join([*sentences, rng.choice(ASKED).format(p=person, t=thing)])


def rationale(chain: Chain, style: str, rng: random.Random, limit: int) -> tuple[str, int]:
    """What a teacher of a style says of a chain, and the number that it concludes.

    worked: each step as an equation in words; story: the same as told; answer_first: the answer, then the steps;
    mistaken: as worked, with a slip in one step that is carried on, so that it ends in a wrong number below `limit`.
    """
    results = chain.results()
    if style == "mistaken":
        results = _mistaken(chain, rng, limit)
    before = [chain.start, *results[:-1]]
    sentences = []
    for value, (sign, number), result in zip(before, chain.steps, results, strict=True):
        if style == "story":
            said = f"with {number} more it is {result} ." if sign == "+" else f"{number} times that is {result} ."
        else:
            said = f"{value} {'plus' if sign == '+' else 'times'} {number} is {result} ."
        sentences.append(said)
    if style == "story":
        sentences.insert(0, f"at first it is {chain.start} .")
    if style == "answer_first":
        sentences.insert(0, f"it is {results[-1]} .")
    return " ".join(sentences), results[-1]


def _mistaken(chain: Chain, rng: random.Random, limit: int) -> list[int]:
    slips = [
        results
        for slip in range(len(chain.steps))
        for error in (-3, -2, -1, 1, 2, 3)
        if min(results := chain.results(slip, error)) > 0 and max(results) < limit
    ]
    return rng.choice(slips) if slips else chain.results(len(chain.steps) - 1, -1)


def materialise(root: Path, name: str, seed: int, settings: Mapping[str, Any]) -> Task:
    """Make the questions of a seed as a task under `root`. The same seed and settings give the same bytes."""
    checked = from_mapping(ArithmeticSettings, settings)
    check(checked)
    drawn, limit = chains(seed, checked), 10**checked.digits
    dev, test = (round(HELD_OUT[split] * checked.rows) for split in ("dev", "test"))
    examples: list[Example] = []
    rationales: list[Rationale] = []
    for place, chain in enumerate(drawn):
        split = "dev" if place < dev else "test" if place < dev + test else "train"
        id = f"a{seed}-{place}"
        answer = chain.results()[-1]
        rng = random.Random(stable_seed("arithmetic question", seed, place))
        examples.append(
            Example(
                id=id,
                question=question(chain, rng),
                choices=(Choice("1", str(answer)),),
                answer="1",
                split=split,
                cluster=id,
                metadata={"multiplications": sum(sign == "*" for sign, _ in chain.steps)},
                kind=NUMBER,
            )
        )
        for style in STYLES:
            draw = random.Random(stable_seed("arithmetic rationale", seed, place, style))
            text, said = rationale(chain, style, draw, limit)
            rationales.append(Rationale(id, style, text, "1" if said == answer else str(said)))
    return write_task(
        root,
        name,
        examples=examples,
        rationales=rationales,
        template=TEMPLATE,
        roles=_roles(dev, test, len(examples)),
        title="Arithmetic (artificial)",
        help="Chains of additions and multiplications in words; rationales hold the intermediate results.",
        default_source="worked",
        artificial=True,
        tokenizer_kind="word",
        minimum=1,
        info={
            "generator": "arithmetic",
            "version": VERSION,
            "world": seed,
            "settings": hashed(ArithmeticSettings, plain(checked)),
        },
    )


def _roles(dev: int, test: int, rows: int) -> dict[str, str]:
    return {
        "train": f"{rows - dev - test:,} chains",
        "dev": f"{dev:,} other chains",
        "test": f"{test:,} other chains",
    }

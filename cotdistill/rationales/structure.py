"""Transforms of structure and content (arXiv 2502.07374): steps of other examples, wrong numbers, words that mark
reasoning, pause tokens (2310.02226). Shuffled, dropped and truncated steps are `shuffle`, `drop` and `truncate`.
"""

from __future__ import annotations

import re
from dataclasses import replace

from cotdistill.rationales.passage import UNITS, Passage, Token, joined, units
from cotdistill.rationales.transforms import Draw, Parameter, mentions, transform

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
# A corrupted number is one of these integers, both included.
LOWEST, HIGHEST = 0, 10
# How often a step of another example is looked for before the row is left as it is.
TRIES = 50
KEYWORDS = "wait|alternatively|however|hmm|let me think|let me check|let me see|just to make sure|double-check"


@transform(
    "insert",
    "adds steps of other examples' rationales at random places",
    Parameter("fraction", 0.5, "how many, as a share of its own units", low=0.0, high=10.0),
    Parameter("from", "other_example", "whose steps", choices=("other_example",)),
    Parameter("unit", "step", "what counts as one piece", choices=UNITS),
    control=True,
    label=lambda values: f"{values['fraction']:.0%} {values['unit']}s of other examples inserted",
)
def insert(passage: Passage, draw: Draw, *, fraction: float, unit: str, **_whose: str) -> Passage:
    parts = units(passage, unit)
    cluster = draw.example.cluster or draw.example.id
    for _ in range(round(fraction * len(parts))):
        for _ in range(TRIES):
            other = int(draw.rng.integers(len(draw.corpus.examples)))
            row = draw.corpus.examples[other]
            if draw.corpus.passages[other] and (row.cluster or row.id) != cluster:
                break
        else:
            break
        foreign = units(draw.corpus.passages[other], unit)
        step = foreign[int(draw.rng.integers(len(foreign)))]
        place = int(draw.rng.integers(len(parts) + 1))
        # It stands between the line breaks of its new neighbour.
        neighbour = parts[min(place, len(parts) - 1)]
        parts.insert(place, neighbour.filled(replace(token, origin=-1) for token in step))
    return joined(parts)


@transform(
    "corrupt_numbers",
    f"each number becomes a random integer from {LOWEST} to {HIGHEST}",
    Parameter("share", 1.0, "probability with which each number is replaced", low=0.0, high=1.0),
    control=True,
    label=lambda values: f"{values['share']:.0%} of the numbers corrupted",
)
def corrupt_numbers(passage: Passage, draw: Draw, *, share: float) -> Passage:
    starts, text = [], ""
    for token in passage:
        starts.append(len(text) + len(token.piece) - len(token.piece.lstrip()))
        text += token.piece
    ends = {
        start + len(token.piece.strip()): i + 1 for i, (start, token) in enumerate(zip(starts, passage, strict=True))
    }
    first = {start: i for i, start in enumerate(starts)}
    changed: list[Token] = []
    done = 0
    for match in NUMBER.finditer(text):
        # Both are drawn for every number, so that a larger share contains a smaller one.
        chance, value = draw.rng.random(), int(draw.rng.integers(LOWEST, HIGHEST + 1))
        start, end = first.get(match.start()), ends.get(match.end())
        if chance >= share or start is None or end is None:
            continue
        old = passage[start]
        spaced = start == 0 or old.piece[:1].isspace()
        read = draw.corpus.read if spaced else draw.corpus.read_bare
        number = [
            replace(old, id=token.id, text=str(value), origin=-1, piece=(" " if spaced and not i else "") + token.piece)
            for i, token in enumerate(read(str(value)))
        ]
        changed += [*passage[done:start], *number]
        done = end
    return (*changed, *passage[done:])


@transform(
    "drop_words",
    "removes words and phrases that mark reasoning, wherever they stand",
    Parameter("words", KEYWORDS, "what goes, separated by |; case and punctuation are ignored"),
    control=True,
    label=lambda values: (
        "reasoning words dropped" if values["words"] == KEYWORDS else f"without {values['words'].replace('|', ', ')}"
    ),
)
def drop_words(passage: Passage, draw: Draw, *, words: str) -> Passage:
    parts = units(passage, "word")
    gone = {i for phrase in words.split("|") for run in mentions(parts, phrase) for i in run}
    return joined(part for i, part in enumerate(parts) if i not in gone)


@transform(
    "pause",
    "n fixed tokens instead of the rationale, read and never predicted; at test time too (arXiv 2310.02226)",
    Parameter("n", 10, "how many", low=1, high=10_000),
    Parameter("symbol", "_", "the symbol, one token of the student's vocabulary"),
    control=True,
    label=lambda values: f"{values['n']} pause tokens",
)
def pause(passage: Passage, draw: Draw, *, n: int, symbol: str) -> Passage:
    return (Token(draw.corpus.symbol_id(symbol), 0, 0, symbol, -1, loss=False),) * n if passage else ()


def fixed_rationale(steps: list[tuple[str, dict[str, object]]]) -> tuple[str, int] | None:
    """The symbol and the number of tokens that stand where a rationale would, also at test time; None without pause."""
    name, values = steps[-1] if steps else ("", {})
    return (str(values["symbol"]), int(str(values["n"]))) if name == "pause" else None

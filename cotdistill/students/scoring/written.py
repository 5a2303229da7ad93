"""Answers that a student writes by itself, greedily, after the answer cue: to the terminator or a limit."""

from __future__ import annotations

from collections.abc import Sequence

from cotdistill.students.reader import Forward
from cotdistill.students.scoring.generation import Lots, WrittenText, greedy
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Example

# An answer may have so many times the tokens of the longest gold of the questions, and at least so many tokens.
ROOM, LEAST = 2, 16


def answer_limit(encoder: Encoder, examples: Sequence[Example]) -> int:
    """The most tokens of an answer, its terminator included."""
    longest = max((len(target) for example in examples for target in encoder.targets(example)), default=0)
    return max(LEAST, ROOM * longest)


def write_answers(
    reader: Forward,
    encoder: Encoder,
    examples: Sequence[Example],
    prompts: Sequence[Sequence[int]],
    batch: int = 256,
    lots: Lots | None = None,
) -> list[WrittenText]:
    """What the student writes after each prompt, which ends in the answer cue; terminated where it ended by itself.
    lots: drawn at random instead of greedily.
    """
    eos = encoder.specials.eos
    limit = answer_limit(encoder, examples)
    room = reader.positions - max(map(len, prompts), default=0)
    return greedy(
        reader, prompts, [eos], limit=max(1, min(limit, room) - 1), after=0, pad=encoder.specials.pad, eos=eos,
        batch=batch, lots=lots,
    )  # fmt: skip


def answer_ids(encoder: Encoder, answer: WrittenText) -> list[int]:
    """The tokens of a written answer as they are scored: with its terminator where it wrote one."""
    return [*answer.ids, encoder.specials.eos] if answer.terminated or not answer.ids else list(answer.ids)

"""What teachers wrote, as cards beside each other: the text with the choices that it names, its answer, and what may be
wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cotdistill.teachers.answers import TeacherAnswer
from cotdistill.teachers.mentions import mentions
from cotdistill.report.markup import CARD, LABEL_COLOR, QUIET, SMALL, escape, side_by_side
from cotdistill.report.figures.palette import BAD, GOOD, tint

# Why a text states no answer, as a person says it.
PROBLEMS = {
    "empty": "nothing is written", "refusal": "it refuses", "several": "it names several answers", "none": "it says that none fits",
    "silent": "it states no answer",
}
HOWS = {"letter": "stated by letter", "text": "stated in words", "weighed": "by weighing the choices", "implied": "only implied"}


@dataclass(frozen=True, slots=True)
class Told:
    """One card: whose answer it is, the answer, and a line below it."""

    title: str
    answer: TeacherAnswer
    below: str = ""


def cards(shown: Iterable[Told]) -> str:
    """Answers side by side, as many a row as there is room for."""
    return side_by_side(_card(one) for one in shown)


def _card(side: Told) -> str:
    answer = side.answer
    below = f'<div style="{SMALL};margin-top:auto">{escape(side.below)}</div>' if side.below else ""
    return (
        f'<div style="{CARD}"><div style="display:flex;gap:10px;align-items:baseline;flex-wrap:wrap"><strong style="font-weight:620">'
        f'{escape(side.title)}</strong>{verdict(answer)}</div>'
        f'<div style="white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.6">{marked(answer)}</div>'
        f'<div style="{SMALL}">{escape(" · ".join(remarks(answer)))}</div>{below}</div>'
    )


def verdict(answer: TeacherAnswer) -> str:
    """The teacher's answer, green with a tick where it is gold, red with a cross where it is not; grey where there is
    none.
    """
    if answer.answer is None:
        return f'<span style="color:{QUIET};font-size:0.85rem">? no answer known</span>'
    right = answer.answer == answer.example.answer
    text = next((c.text for c in answer.example.choices if c.label == answer.answer), "")
    sign, color = ("✓", GOOD) if right else ("✗", BAD)
    return f'<span style="color:{color};font-size:0.85rem">{sign} {escape(answer.answer)} {escape(text)}</span>'


def marked(answer: TeacherAnswer) -> str:
    """The text with every choice that it names underlaid; the gold one in the colour of labels."""
    text, at, parts = answer.shown, 0, []
    for mention in mentions(text, answer.example.choices):
        if mention.start < at:
            continue
        gold = mention.label == answer.example.answer
        style = f"background:{tint(LABEL_COLOR if gold else QUIET, 0.24)};border-radius:3px" + (";font-weight:600" if gold else "")
        parts += [escape(text[at : mention.start]), f'<span style="{style}" title="choice {escape(mention.label)}">']
        parts += [escape(text[mention.start : mention.end]), "</span>"]
        at = mention.end
    return "".join([*parts, escape(text[at:])])


def remarks(answer: TeacherAnswer) -> list[str]:
    """What is to be said of an answer, in words."""
    stated = answer.stated
    notes = [f"{len(answer.shown.split())} words"]
    notes.append(f"{stated.label} {HOWS[stated.how]}" if stated.label else PROBLEMS[stated.problem])
    if answer.label and stated.sure and stated.sure != answer.label:
        notes.append(f"noted with the answer {answer.label}")
    if stated.contradicts:
        notes.append("contradicts itself")
    if answer.given:
        notes.append(f"was shown {answer.given}")
    if answer.finish == "length":
        notes.append("cut off by the limit")
    if stated.bare and answer.shown:
        notes.append("a label without a reason")
    return notes

"""A rationale word by word: shaded by score, the key words framed, marked ones underlined. Only escaped text leaves
here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cotdistill.keytokens.spans import word_spans
from cotdistill.report.figures.palette import GOOD, tint
from cotdistill.report.heat import Scale, number, visible
from cotdistill.report.markup import QUIET, escape
from cotdistill.tasks.example import Example

MARKED = "#B565A7"
_SMALL = "font-size:0.78rem;line-height:1.4"


@dataclass(frozen=True, slots=True)
class WordRanking:
    """One way to rank the words of a rationale: its name, its scores (none: words alone), the places of its key words
    and of the marked ones. told: small print below; hue: of the name's dot."""

    title: str
    hue: str
    scores: Sequence[float] | None
    key: Collection[int] = ()
    marked: Collection[int] = ()
    caption: str = ""


def cards(rationale: str, shown: Sequence[WordRanking]) -> str:
    """Side by side, two a row where there is room."""
    inside = "".join(_card(rationale, card) for card in shown)
    return (
        "<div"
        ' style="display:grid;'
        f'grid-template-columns:repeat(auto-fit,minmax(min(380px,100%),1fr));gap:14px">{inside}</div>'
    )


def _card(rationale: str, card: WordRanking) -> str:
    limit = max((abs(score) for score in card.scores or ()), default=0.0)
    scale = Scale(limit, "", signed=any(score < 0 for score in card.scores or ()), more=card.hue, less="#D55E00")
    dot = f'<span style="display:inline-block;width:10px;height:10px;border-radius:5px;background:{card.hue}"></span>'
    caption = f'<div style="{_SMALL};opacity:0.75;margin-top:auto">{escape(card.caption)}</div>' if card.caption else ""
    return (
        f'<section aria-label="{escape(card.title)}" style="border:1px solid'
        f" {tint(QUIET, 0.35)};border-radius:6px;padding:12px 14px 10px;"
        f'display:flex;flex-direction:column;gap:8px"><div style="display:flex;gap:8px;align-items:baseline">{dot}'
        f'<strong style="font-weight:620">{escape(card.title)}</strong></div>'
        '<div dir="auto"'
        ' style="white-space:pre-wrap;'
        f'overflow-wrap:anywhere;line-height:2.05;unicode-bidi:isolate">{_words(rationale, card, scale)}'
        f"</div>{caption}</section>"
    )


def _words(rationale: str, card: WordRanking, scale: Scale) -> str:
    parts, at = [], 0
    scores = card.scores or ()
    ranks = {
        place: rank for rank, place in enumerate(sorted(range(len(scores)), key=lambda i: (-scores[i], i)), start=1)
    }
    for place, (start, end) in enumerate(word_spans(rationale)):
        parts.append(escape(visible(rationale[at:start])))
        parts.append(_word(rationale[start:end], place, ranks.get(place), card, scale))
        at = end
    parts.append(escape(visible(rationale[at:])))
    return "".join(parts)


def _word(text: str, place: int, rank: int | None, card: WordRanking, scale: Scale) -> str:
    style, hover = ["padding:2px 3px", "border-radius:3px"], [visible(text, short=True)]
    if card.scores is not None:
        style.append(f"background:{scale.background(card.scores[place])}")
        hover.append(f"score {number(card.scores[place], scale)}, place {rank} of {len(card.scores)}")
    if place in card.key:
        style += ["box-shadow:inset 0 0 0 1.6px currentColor", "font-weight:620"]
        hover.append("key word")
    if place in card.marked:
        style.append(f"border-bottom:3px solid {MARKED}")
        hover.append("marked")
    return f'<span style="{";".join(style)}" title="{escape(" · ".join(hover))}">{escape(visible(text))}</span>'


def legend(k: int, *, marked: bool = False) -> str:
    """How the cards are to be read."""
    box = "padding:1px 5px;border-radius:3px"
    shade = f"background:linear-gradient(90deg,{tint(QUIET, 0.0)},{tint(QUIET, 0.7)})"
    parts = [
        f'<span style="{box};{shade}">word</span> score, on the scale of its own selector (orange: below zero)',
        (
            f'<span style="{box};box-shadow:inset 0 0 0 1.6px currentColor;font-weight:620">word</span>'
            f" {'key word' if k == 1 else f'the {k} key words'}"
        ),
    ]
    if marked:
        parts.append(f'<span style="padding:1px 5px;border-bottom:3px solid {MARKED}">word</span> marked by people')
    inside = "".join(f'<span style="white-space:nowrap">{part}</span>' for part in parts)
    return f'<div style="display:flex;flex-wrap:wrap;gap:6px 24px;{_SMALL};margin-bottom:10px">{inside}</div>'


def question(example: Example) -> str:
    """Question and choices, the right one ticked."""
    shown = []
    for place, choice in enumerate(example.choices):
        right = place == example.gold
        style = f"color:{GOOD};font-weight:620" if right else "opacity:0.8"
        shown.append(f'<span style="{style}" dir="auto">{"✓ " if right else ""}{escape(visible(choice.text))}</span>')
    return (
        '<div style="margin-bottom:10px"><div dir="auto"'
        ' style="white-space:pre-wrap;'
        f'overflow-wrap:anywhere;font-size:1.05rem">{escape(visible(example.question))}</div><div'
        f' style="display:flex;flex-wrap:wrap;gap:4px 20px;margin-top:4px">{"".join(shown)}</div></div>'
    )

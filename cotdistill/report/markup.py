"""The one place where HTML is written. Every text is escaped here; nothing else hands markup to the browser."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cotdistill.report.figures.marks import image
from cotdistill.report.figures.palette import BAD, OTHER_HUE, STATES, look, tint
from cotdistill.report.spans import Piece

LABEL_COLOR, RATIONALE_COLOR, FOREIGN_COLOR, QUIET = "#009E73", OTHER_HUE, BAD, "#8A8F94"

CARD = (
    f"border:1px solid {tint(QUIET, 0.35)};border-radius:6px;padding:12px 14px"
    " 10px;display:flex;flex-direction:column;gap:8px"
)
SMALL = "font-size:0.8rem;opacity:0.72;line-height:1.35"


@dataclass(frozen=True, slots=True)
class ConditionCard:
    """One example under one condition: its name, the condition's text, the sequences as pieces, and a line on what
    changed.
    """

    condition: str
    label: str
    sequences: Sequence[Sequence[Piece]]
    caption: str


def escape(text: object) -> str:
    return html.escape(str(text), quote=True)


def sign(condition: str) -> str:
    """The condition's mark in its colour, as an inline image."""
    return image(look(condition))


def cards(shown: Iterable[ConditionCard]) -> str:
    """Conditions side by side, as many a row as there is room for."""
    return side_by_side(_card(card) for card in shown)


def side_by_side(cards: Iterable[str]) -> str:
    """Cards (markup that is escaped already), as many a row as there is room for."""
    return (
        "<div"
        ' style="display:grid;'
        f'grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:14px">{"".join(cards)}</div>'
    )


def _card(card: ConditionCard) -> str:
    every = [piece for sequence in card.sequences for piece in sequence]
    label, rationale = (sum(p.loss == kind for p in every) for kind in ("label", "rationale"))
    counted = (
        f"{len(every)} tokens, {label + rationale} predicted ({label} label, {rationale} rationale)"
        if every
        else "trains on nothing"
    )
    body = "".join(
        f'<div style="white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.95">{_sequence(s)}</div>'
        for s in card.sequences
    )
    return (
        f'<div style="{CARD}"><div style="display:flex;gap:8px;align-items:baseline">{sign(card.condition)}'
        f'<strong style="font-weight:620">{escape(card.label)}</strong></div>'
        f'<code style="font-size:0.76rem;opacity:0.8;overflow-wrap:anywhere">{escape(card.condition)}</code>'
        f'{body or _none()}<div style="{SMALL};margin-top:auto">{escape(card.caption)}<br>{escape(counted)}</div></div>'
    )


def _none() -> str:
    return f'<div style="{SMALL}">The student as it is: no training text.</div>'


def _sequence(pieces: Sequence[Piece]) -> str:
    return "".join(
        _piece(replace(piece, text=piece.text.lstrip(" ")) if place == 0 else piece)
        for place, piece in enumerate(pieces)
    )


def _piece(piece: Piece) -> str:
    style = ["padding:1px 0"]
    color = {"label": LABEL_COLOR, "rationale": RATIONALE_COLOR}.get(piece.loss)
    if color:
        style.append(f"border-bottom:2px solid {color}")
    if piece.segment == "label":
        style.append(f"background:{tint(LABEL_COLOR, 0.2)};font-weight:620")
    elif piece.change == "foreign":
        stripes = f"{tint(FOREIGN_COLOR, 0.28)} 0 3px,{tint(FOREIGN_COLOR, 0.1)} 3px 6px"
        style.append(f"background:repeating-linear-gradient(135deg,{stripes})")
    elif piece.segment == "rationale":
        style.append(f"background:{tint(RATIONALE_COLOR, 0.14)}")
        if piece.change == "moved":
            style.append(f"border-top:2px dotted {RATIONALE_COLOR}")
    else:
        style.append("opacity:0.78" if piece.segment in ("question", "choices") else "opacity:0.6")
    notes = [
        f"token {piece.id}",
        piece.segment.replace("_", " "),
        f"predicted ({piece.loss} loss)" if piece.loss else "read, not predicted",
    ]
    if piece.segment == "rationale":
        notes.append("from elsewhere" if piece.origin < 0 else f"place {piece.origin + 1} of the intact rationale")
    text = escape(piece.text).replace("\n", "↵\n")
    if piece.segment == "end":
        text = " ‹end›"
    gap = ""
    if piece.gap:
        left_out = f"{piece.gap} tokens of the intact rationale left out here"
        gap = f'<span style="color:{FOREIGN_COLOR};font-size:0.8em" title="{left_out}"> ⁁{piece.gap}</span>'
    return f'{gap}<span style="{";".join(style)}" title="{escape(" · ".join(notes))}">{text}</span>'


def legend() -> str:
    """How the spans of the cards are to be read."""

    def swatch(style: str, text: str) -> str:
        return f'<span style="white-space:nowrap"><span style="{style};padding:1px 5px">text</span> {text}</span>'

    parts = (
        swatch(f"background:{tint(LABEL_COLOR, 0.2)};border-bottom:2px solid {LABEL_COLOR}", "label, predicted"),
        swatch(
            f"background:{tint(RATIONALE_COLOR, 0.14)};border-bottom:2px solid {RATIONALE_COLOR}",
            "rationale, predicted",
        ),
        swatch(f"background:{tint(RATIONALE_COLOR, 0.14)}", "no line: read, never predicted"),
        swatch(f"background:{tint(RATIONALE_COLOR, 0.14)};border-top:2px dotted {RATIONALE_COLOR}", "moved"),
        swatch(
            f"background:repeating-linear-gradient(135deg,{tint(FOREIGN_COLOR, 0.28)} 0 3px,{tint(FOREIGN_COLOR, 0.1)}"
            " 3px 6px)",
            "from elsewhere",
        ),
        f'<span style="white-space:nowrap"><span style="color:{FOREIGN_COLOR}">⁁3</span> three tokens left out</span>',
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:6px 22px;{SMALL};opacity:0.9">{"".join(parts)}</div>'


@dataclass(frozen=True, slots=True)
class TableCell:
    """One cell of a table: its text, how it is set, a hover text, and the condition whose mark stands before it."""

    text: str
    struck: bool = False
    quiet: bool = False
    code: bool = False
    color: str = ""
    title: str = ""
    condition: str = ""


@dataclass(frozen=True, slots=True)
class Marks:
    """A cell of state marks, one a run."""

    states: Sequence[str]


@dataclass(frozen=True, slots=True)
class Shares:
    """A cell with a small bar cut by how often each thing occurs."""

    counts: Mapping[str, int]


def table(head: Sequence[str], rows: Iterable[Sequence[TableCell | Marks | Shares]], label: str) -> str:
    """A plain table with thin rules that scrolls sideways when it must; `label` names it for screen readers."""
    rule = f"1px solid {tint(QUIET, 0.3)}"
    first = "".join(
        f'<th scope="col" style="text-align:left;padding:5px 12px 5px 0;font-weight:600;opacity:0.75">{escape(h)}</th>'
        for h in head
    )
    body = "".join(f'<tr style="border-top:{rule}">{"".join(_cell(cell) for cell in row)}</tr>' for row in rows)
    return (
        f'<div style="overflow-x:auto"><table aria-label="{escape(label)}"'
        ' style="border-collapse:collapse;width:100%;font-size:0.88rem;'
        f'font-variant-numeric:tabular-nums"><thead><tr>{first}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cell(cell: TableCell | Marks | Shares) -> str:
    if isinstance(cell, Shares):
        return _shares(cell)
    if isinstance(cell, Marks):
        drawn = (
            f'<span style="color:{STATES.get(s, STATES["new"])[1]}"'
            f' title="{escape(s)}">{STATES.get(s, STATES["new"])[0]}</span>'
            for s in cell.states
        )
        return f'<td style="padding:5px 12px 5px 0;vertical-align:baseline;letter-spacing:2px">{"".join(drawn)}</td>'
    style = ["padding:5px 12px 5px 0", "vertical-align:baseline"]
    style += ["opacity:0.55"] if cell.struck else []
    style += ["opacity:0.65"] if cell.quiet and not cell.struck else []
    style += [f"color:{cell.color}"] if cell.color else []
    text = (
        f'<code style="font-size:0.8rem;overflow-wrap:anywhere">{escape(cell.text)}</code>'
        if cell.code
        else escape(cell.text)
    )
    text = f"<s>{text}</s>" if cell.struck else text
    mark = f"{sign(cell.condition)} " if cell.condition else ""
    return f'<td style="{";".join(style)}" title="{escape(cell.title)}">{mark}{text}</td>'


def _shares(cell: Shares) -> str:
    """Each part as wide as its share, its name in it where there is room for one, its count on hover."""
    total = sum(cell.counts.values())
    parts = []
    for place, (name, number) in enumerate(cell.counts.items()):
        share = number / total if total else 0.0
        shown = escape(name) if share > 0.06 and len(name) < 4 else ""
        text = f"{name}: {number:,} ({100 * share:.1f} %)"
        ground = tint(QUIET, 0.34 if place % 2 else 0.2)
        style = f"flex:{max(share, 0.001):.4f};background:{ground};text-align:center;overflow:hidden"
        parts.append(f'<span style="{style}" title="{escape(text)}">{shown}</span>')
    inside = (
        "<div"
        f' style="display:flex;width:150px;font-size:0.76rem;border-radius:3px;overflow:hidden">{"".join(parts)}</div>'
    )
    return f'<td style="padding:5px 12px 5px 0;vertical-align:baseline">{inside}</td>'

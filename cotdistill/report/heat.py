"""Heat maps of text: tokens, words or sentences on a colour scale, span by span, with what the student answers above.
Only escaped text leaves here.

Colours are laid over the page's own ground and never so strong that its text stops being readable, so light and dark
need no second set.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from cotdistill.report.explanation import Mass, ScoredUnit
from cotdistill.report.figures.palette import tint
from cotdistill.report.markup import QUIET, escape, sign
from cotdistill.text import percent, plural

# The strongest colour: text on it keeps a contrast of 4.5 on light and dark ground (tested).
STRONGEST = 0.72
HATCHED = f"background:repeating-linear-gradient(135deg,{tint(QUIET, 0.26)} 0 2px,transparent 2px 6px)"
_SMALL = "font-size:0.78rem;line-height:1.4"
_BEFORE = ("bos", "task", "rationale_cue", "label_cue")
_TOLD = {
    "target": "this is what is explained",
    "template": "part of the template; it stays as it is",
    "behind": "not attributed: it stands behind what is explained, or was not asked for",
}


@dataclass(frozen=True, slots=True)
class Scale:
    """A colour scale from -limit to limit, or from 0 to limit where there is no sign. unit: what its numbers count
    in.
    """

    limit: float
    unit: str = "nats"
    signed: bool = True
    more: str = "#1B7FC2"
    less: str = "#D55E00"

    def background(self, score: float) -> str:
        """The CSS colour of a score; its strength is linear in the score."""
        strength = min(1.0, abs(score) / self.limit) if self.limit > 0 else 0.0
        color = self.more if score >= 0 else self.less
        return f"{color}{round(255 * STRONGEST * strength):02x}"


def signed_scale(limit: float) -> Scale:
    """Scores with a sign: blue speaks for what is explained, orange against it."""
    return Scale(limit)


def length_scale(limit: float, unit: str) -> Scale:
    """Scores without a sign."""
    return Scale(limit, unit, signed=False, more="#008A78", less="#008A78")


def alignment_scale(limit: float, unit: str) -> Scale:
    """Training-signal alignment: violet where a step on the token lowers the label's loss, gold where it raises it."""
    return Scale(limit, unit, more="#8257B8", less="#B07A00")


@dataclass(frozen=True, slots=True)
class Bar:
    """A choice with its probability; gold: the right one; chosen: the one the student prefers; before: its probability
    before an edit.
    """

    text: str
    share: float
    gold: bool
    chosen: bool
    before: float | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One heat map. told: what stands in small print below it; warned: what must not be overlooked (not converged)."""

    title: str
    marks: Sequence[ScoredUnit]
    scale: Scale
    masses: Sequence[Mass] = ()
    caption: str = ""
    warned: str = ""


@dataclass(frozen=True, slots=True)
class StudentCard:
    """One student on one text: its name and condition, its prediction, its heat maps. told: what holds for all of them,
    such as why a span is not readable; failed: why there are none."""

    condition: str
    title: str
    bars: Sequence[Bar] = ()
    panels: Sequence[Panel] = ()
    caption: str = ""
    failed: str = ""
    waiting: bool = False


def cards(shown: Sequence[StudentCard], *, wide: bool = False, pairs: bool = False) -> str:
    """Students side by side, as many a row as there is room for. wide: one a row, its heat maps side by side; pairs:
    two a row.
    """
    columns = (
        "minmax(0,1fr)"
        if wide
        else "repeat(2,minmax(0,1fr))"
        if pairs
        else "repeat(auto-fit,minmax(min(300px,100%),1fr))"
    )
    inside = "".join(_card(card) for card in shown)
    return f'<div style="display:grid;grid-template-columns:{columns};gap:16px">{inside}</div>'


def _card(card: StudentCard) -> str:
    name = f'<strong style="font-weight:620">{escape(card.title)}</strong>'
    head = f'<div style="display:flex;gap:8px;align-items:baseline">{sign(card.condition)}{name}</div>'
    body = "".join(_panel(panel) for panel in card.panels)
    if card.failed or card.waiting:
        body = f'<div style="{_SMALL};opacity:0.8">{escape(card.failed or "asking the student …")}</div>'
    else:
        # Four methods, or five checkpoints, stand in one row where there is room.
        least = {1: "100%", 4: "200px", 5: "150px"}.get(len(card.panels), "260px")
        body = (
            f'<div style="display:grid;grid-template-columns:repeat(auto-fit,minmax(min({least},100%),1fr));gap:12px'
            f' 28px">{body}</div>'
        )
        body += f'<div style="{_SMALL};opacity:0.72">{escape(card.caption)}</div>' if card.caption else ""
    return (
        f'<section aria-label="{escape(card.title)}" style="border:1px solid'
        f" {tint(QUIET, 0.35)};border-radius:6px;padding:12px"
        f' 14px;display:flex;flex-direction:column;gap:12px">{head}{_bars(card.bars)}{body}</section>'
    )


def _bars(bars: Sequence[Bar]) -> str:
    """Probabilities over the choices; the right one is ticked, the preferred one is strong."""
    if not bars:
        return ""
    rows = []
    for bar in bars:
        weight = "font-weight:620" if bar.chosen else "opacity:0.85"
        filled = f"width:{100 * bar.share:.1f}%;background:{tint(QUIET, 0.95 if bar.chosen else 0.5)}"
        drawn = f'<span style="display:block;height:8px;border-radius:2px;{filled}"></span>'
        if bar.before is not None:
            place = (
                f"position:absolute;left:calc({100 * bar.before:.1f}% -"
                " 1px);top:-3px;width:2px;height:14px;background:#B37400"
            )
            drawn += f'<span style="{place}" title="before the edit: {percent(bar.before)}"></span>'
        right = ' title="the right answer" aria-label="the right answer"' if bar.gold else ""
        rows.append(
            f'<span style="text-align:right;overflow-wrap:anywhere;{weight}"'
            f' dir="auto">{escape(visible(bar.text))}</span>'
            f"<span{right}>{'✓' if bar.gold else ''}</span>"
            f'<span style="position:relative;background:{tint(QUIET, 0.12)};border-radius:2px">{drawn}</span>'
            f'<span style="text-align:right;font-variant-numeric:tabular-nums;{weight}">{percent(bar.share)}</span>'
        )
    return (
        '<div style="display:grid;grid-template-columns:fit-content(46%) 10px minmax(60px,220px) 4.2em;gap:2px'
        f' 7px;align-items:center;{_SMALL}">'
        f"{''.join(rows)}</div>"
    )


def _panel(panel: Panel) -> str:
    blocks = "".join(_block(panel, name, inside) for name, inside in blocks_of(panel.marks))
    title = f'<div style="{_SMALL};font-weight:620">{escape(panel.title)}</div>' if panel.title else ""
    warned = f'<div style="{_SMALL};color:#C2410C">⚠ {escape(panel.warned)}</div>' if panel.warned else ""
    caption = f'<div style="{_SMALL};opacity:0.72">{escape(panel.caption)}</div>' if panel.caption else ""
    return (
        "<div"
        f' style="display:flex;flex-direction:column;gap:7px">{title}{blocks}{_masses(panel)}{caption}{warned}</div>'
    )


def blocks_of(marks: Sequence[ScoredUnit]) -> Iterator[tuple[str, list[ScoredUnit]]]:
    """The spans of the example in order, each with the template text that leads it in or ends it."""
    held: list[ScoredUnit] = []
    name, inside = "", list[ScoredUnit]()
    for segment, group in groupby(marks, key=lambda mark: mark.segment):
        members = list(group)
        if segment in _BEFORE:
            held += members
        elif segment == "end":
            inside += members
        else:
            if inside:
                yield name, inside
            name, inside, held = segment, [*held, *members], []
    if inside or held:
        yield name or "template", [*inside, *held]


def _block(panel: Panel, name: str, inside: Sequence[ScoredUnit]) -> str:
    text = "".join(_mark(mark, panel, first=place == 0) for place, mark in enumerate(inside))
    return (
        "<div><div"
        f' style="font-size:0.7rem;letter-spacing:0.05em;text-transform:uppercase;opacity:0.6">{escape(name)}</div><div'
        ' dir="auto"'
        f' style="white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.75;unicode-bidi:isolate">{text}</div></div>'
    )


def _mark(mark: ScoredUnit, panel: Panel, *, first: bool) -> str:
    text = visible(mark.text.lstrip(" ") if first else mark.text)
    if first:
        # A span stands on a line of its own anyway.
        text = text.replace("↵\n", "↵ ")
    lead = text[: len(text) - len(text.lstrip(" "))]
    # The colour covers the word, not the space before it: two neighbours stay two.
    body = escape(text[len(lead) :]) or "·"
    style, hover = ["border-radius:3px", "padding:1.5px 0"], _hover(mark, panel)
    if mark.state == "":
        style.append(f"background:{panel.scale.background(mark.score)}")
        style += [f"border-bottom:2px dotted {tint(QUIET, 0.95)}"] if mark.noted else []
    elif mark.state == "target":
        style += [f"box-shadow:inset 0 0 0 1.5px {tint(QUIET, 0.9)}", "padding:1.5px 3px"]
    elif mark.state == "unreadable":
        style.append(HATCHED)
    else:
        style.append("opacity:0.5")
    return f'{lead}<span style="{";".join(style)}" title="{escape(hover)}">{body}</span>'


def _hover(mark: ScoredUnit, panel: Panel) -> str:
    name = visible(mark.text.strip(), short=True)
    if mark.state == "":
        text = f"{number(mark.score, panel.scale)} {panel.scale.unit}"
        text += f" · sum of {plural(mark.members, 'token')}" if mark.members > 1 else ""
        text += " · the right answer's own text" if mark.noted else ""
    elif mark.state == "unreadable":
        text = "not readable"
    else:
        text = _TOLD[mark.state]
    return f"{name}: {text}"


def number(score: float, scale: Scale) -> str:
    """A score with as many digits as the scale is worth: three figures of its limit."""
    if scale.limit <= 0 or not math.isfinite(scale.limit):
        return "0"
    digits = max(0, 2 - math.floor(math.log10(scale.limit)))
    if digits > 5:
        return f"{score:+.2e}" if scale.signed else f"{score:.2e}"
    text = f"{score:+.{digits}f}" if scale.signed else f"{score:.{digits}f}"
    return text.replace("-", "−")


def _masses(panel: Panel) -> str:
    """One bar cut by what each span bears."""
    if len(panel.masses) < 2:
        return ""
    parts, labels = [], []
    for place, mass in enumerate(panel.masses):
        each = number(mass.per_token, panel.scale).lstrip("+")
        hover = (
            f"{mass.segment}: {percent(mass.share)} of the mass, {each} {panel.scale.unit} a token over"
            f" {plural(mass.tokens, 'token')}"
        )
        style = f"flex:{max(mass.share, 0.002):.4f};background:{tint(QUIET, (0.3, 0.55, 0.85)[place % 3])};height:6px"
        parts.append(f'<span style="{style}" title="{escape(hover)}"></span>')
        labels.append(f"{mass.segment} {100 * mass.share:.0f} % ({each} a token)")
    return (
        f'<div><div style="display:flex;gap:2px;border-radius:3px;overflow:hidden">{"".join(parts)}</div>'
        f'<div style="{_SMALL};opacity:0.72">{escape(" · ".join(labels))}</div></div>'
    )


def legend(scale: Scale, says: str) -> str:
    """The colours of a scale with its numbers."""
    steps = 41
    low = -scale.limit if scale.signed else 0.0
    values = [low + (scale.limit - low) * i / (steps - 1) for i in range(steps)]
    ramp = "".join(f'<span style="flex:1;background:{scale.background(value)}"></span>' for value in values)
    ends = [low, 0.0, scale.limit] if scale.signed else [low, scale.limit]
    ticks = "".join(f"<span>{number(value, scale) if value else '0'}</span>" for value in ends)
    return (
        f'<div style="display:flex;flex-wrap:wrap;gap:6px 26px;align-items:center;{_SMALL}"><span'
        ' style="display:inline-block;width:260px">'
        '<span style="display:flex;height:11px;border-radius:3px;overflow:hidden;border:1px solid'
        f' {tint(QUIET, 0.3)}">{ramp}</span>'
        "<span"
        f' style="display:flex;justify-content:space-between;font-variant-numeric:tabular-nums">{ticks}</span></span>'
        f"<span>{escape(says)}</span></div>"
    )


def key(states: Sequence[str]) -> str:
    """How marks without a score, or with something to be said of them, are drawn; states: those in view."""
    samples = {
        "target": (
            f'<span style="box-shadow:inset 0 0 0 1.5px {tint(QUIET, 0.9)};border-radius:3px;padding:1px'
            ' 5px">text</span> what is explained'
        ),
        "unreadable": f'<span style="{HATCHED};border-radius:3px;padding:1px 5px">text</span> not readable (not 0)',
        "noted": f'<span style="border-bottom:2px dotted {tint(QUIET, 0.95)}">text</span> the right answer\'s own text',
        "template": '<span style="opacity:0.5;padding:1px 0">text</span> the template\'s, or behind what is explained',
    }
    shown = "".join(
        f'<span style="white-space:nowrap">{sample}</span>' for state, sample in samples.items() if state in states
    )
    return (
        f'<div style="display:flex;flex-wrap:wrap;gap:6px 26px;margin-top:10px;{_SMALL};opacity:0.85">{shown}</div>'
        if shown
        else ""
    )


_SHOWN = {"\n": "↵\n", "\r": "␍", "\t": "⇥\t"}


def visible(text: str, *, short: bool = False) -> str:
    """The text with what cannot be seen made visible: control characters as their pictures, marks of direction and
    other formatting by number, so that none of them can turn the order of the page. short: on one line, at most 60
    characters."""
    parts = []
    for place, char in enumerate(text):
        kind = unicodedata.category(char)
        if char in _SHOWN:
            parts.append(_SHOWN[char])
        elif kind == "Cc":
            parts.append(
                chr(0x2400 + ord(char)) if ord(char) < 0x20 else "␡" if ord(char) == 0x7F else f"‹{ord(char):02X}›"
            )
        elif kind in ("Zl", "Zp", "Cs", "Co", "Cn") or (kind == "Cf" and not _joins(text, place)):
            parts.append(f"‹{ord(char):04X}›")
        else:
            parts.append(char)
    shown = "".join(parts)
    if short:
        shown = " ".join(shown.split())
        shown = f"{shown[:60]}…" if len(shown) > 60 else shown
    return shown


def _joins(text: str, place: int) -> bool:
    """Whether a joiner stands where it belongs: inside an emoji, or inside a word of a script that needs it."""
    return text[place] in "\u200c\u200d" and 0 < place < len(text) - 1

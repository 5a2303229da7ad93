"""Numbers and sentences as a person reads them. No Streamlit, no Plotly."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any


def percent(share: float | None) -> str:
    """0.7231 -> "72.3 %"; a dash where there is none."""
    return "–" if share is None or math.isnan(share) else f"{100 * share:.1f} %"


def points(difference: float | None) -> str:
    """A difference of accuracies (share) in points with its sign: 0.195 -> "+19.5"."""
    if difference is None or math.isnan(difference):
        return "–"
    value = round(100 * difference, 1)
    return "0.0" if value == 0 else f"{value:+.1f}".replace("-", "−")


def between(low: float | None, high: float | None) -> str:
    """An interval of accuracies in percent: "69.1 to 75.4 %"."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return "no interval"
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def between_points(low: float | None, high: float | None) -> str:
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return "no interval"
    # No accuracies differ by more than 100 points, though a t interval over two questions would reach further.
    return f"{points(max(low, -1.0))} to {points(min(high, 1.0))}"


def p_value(p: float | None) -> str:
    """Two digits; what is smaller than .01 as such, so that no digit is shown that means nothing."""
    if p is None or math.isnan(p):
        return "–"
    return "< .01" if p < 0.01 else f"{p:.2f}".removeprefix("0")


def count(number: float | None) -> str:
    """12345 -> "12,345"; large numbers shortened: 12.3 M."""
    if number is None or math.isnan(number):
        return "–"
    for size, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(number) >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:,.0f}"


def size(octets: float) -> str:
    """Bytes for people: "3.4 MB"."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if octets < 1000 or unit == "TB":
            return f"{octets:.0f} {unit}" if unit == "B" else f"{octets:.3g} {unit}"
        octets /= 1000
    raise AssertionError("unreachable")


def duration(seconds: float | None) -> str:
    """12 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 10:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(whole / 60), 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def about(low: float, high: float) -> str:
    """A range of seconds: "5 to 11 min"; "under a minute"."""
    if high < 60:
        return "under a minute"
    if high < 90 * 60:
        first, last = max(1, round(low / 60)), max(1, round(high / 60))
        return f"{first} to {last} min" if first != last else f"about {last} min"
    return f"{low / 3600:.1f} to {high / 3600:.1f} h"


def ago(then: float | None, now: float | None = None) -> str:
    """How long ago a unix time was: "4 min ago"."""
    if not then:
        return "–"
    passed = max(0.0, (time.time() if now is None else now) - then)
    if passed < 45:
        return "just now"
    for length, unit in ((86_400.0, "day"), (3600.0, "hour"), (60.0, "min")):
        if passed >= length:
            number = round(passed / length)
            return f"{number} {unit}{'s' if number != 1 and unit != 'min' else ''} ago"
    return "1 min ago"


def phase_text(progress: Mapping[str, Any]) -> str:
    """What a running job does, with its count: "scoring 128 of 600 questions"; "" where it does not say."""
    phase, done, rows = (progress.get(key) for key in ("phase", "phase_done", "phase_rows"))
    return f"{phase} {done:,} of {rows:,} questions" if phase and rows else str(phase or "")


def share_done(progress: Mapping[str, Any]) -> float:
    """How much of a job is done, 0 to 1: by time where it says so, else by steps."""
    if progress.get("share") is not None:
        return min(1.0, float(progress["share"]))
    step, total = int(progress.get("step") or 0), int(progress.get("total") or 0)
    return min(1.0, step / total) if total else 0.0


def plural(number: int, singular: str, many: str = "") -> str:
    """1 run, 2 runs."""
    return f"{number:,} {singular if number == 1 else many or singular + 's'}"


def listed(items: Iterable[str], most: int = 4) -> str:
    """a, b, c and 3 more."""
    names = list(items)
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def capital(text: str) -> str:
    """The first letter large, the rest as it is: post-CoT -> Post-CoT."""
    return text[:1].upper() + text[1:]


# What is made a link by its looks alone: http://x, www.x, name@host.
_ADDRESS = re.compile(r"(https?:|www\.|\w@(?=\w))", re.IGNORECASE)


def plain_markdown(text: str) -> str:
    """Text from data, made safe where Streamlit reads Markdown (labels, captions): every sign that means something is
    escaped, and what looks like an address is taken apart by a sign of no width, for the page would make a link of it
    whatever is escaped."""
    text = _ADDRESS.sub("\\1\u2060", text)
    escaped = "".join(f"\\{char}" if char in "\\`*_{}[]()#+-.!|<>~$:&^" else char for char in text)
    return " ".join(escaped.split())

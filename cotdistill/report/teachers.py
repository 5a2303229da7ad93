"""What is known of teachers in words, for tables: the figures of a source, what an elicitation would take. No
Streamlit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cotdistill.planning.elicitation import Estimate
from cotdistill.teachers.asking import Pace
from cotdistill.teachers.quality import THIRDS
from cotdistill.text import about, count, percent


def figures(quality: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what it is, its value) of what `teachers.quality.quality` gives; only the number of rationales for a source that
    has none.
    """
    if not quality.get("answers"):
        return [("rationales", "0")]
    q, words, style = quality, quality["words"], quality["style"]
    return [
        ("rationales", f"{q['answers']:,}"),
        ("rows covered", percent(q["covered"])),
        ("label noted", percent(q["noted"])),
        ("noted labels that are gold", percent(q["noted_right"])),
        ("label noted or stated", percent(q["known"])),
        ("noted or stated labels that are gold", percent(q["agrees"])),
        ("words, mean", f"{words['mean']:.2f}"),
        ("words, nine in ten", f"{words['p5']:g} to {words['p95']:g}"),
        ("holds the gold choice's text", percent(q["leak_text"])),
        ("names a choice's letter", percent(q["leak_letter"])),
        ("content words that are the question's", percent(q["overlap"])),
        ("question's content words taken up", percent(q["recall"])),
        ("longest run of the question's words", f"{q['run']:.1f}"),
        ("opens by speaking of the question", percent(q["about_question"])),
        ("different words", f"{q['vocabulary']:,}"),
        ("different words in a thousand", "–" if q["variety"] is None else f"{q['variety']:.0f}"),
        ("near-duplicates", percent(q["near_duplicates"])),
        ("cut off by the limit of tokens", percent(q["cut_off"])),
        ("contradicts itself", percent(q["contradicts"])),
        ("a label without a reason", percent(q["label_alone"])),
        *(
            (f"answer first named in the {third}" if third != "never" else "answer never named", percent(style[third]))
            for third in THIRDS
        ),
    ]


def estimated(estimate: Estimate, pace: Pace) -> list[tuple[str, str]]:
    """An estimate as (what, how much)."""
    time = about(*estimate.seconds) if estimate.seconds else "not known before this model's first answers"
    money = (
        f"{estimate.cost[0]:.2f} to {estimate.cost[1]:.2f}" if pace.price_in or pace.price_out else "no price is set"
    )
    return [
        ("requests", f"{estimate.requests:,}, {estimate.cached:,} of them answered already"),
        ("tokens read", f"{count(estimate.tokens_in[0])} to {count(estimate.tokens_in[1])}"),
        ("tokens written", f"{count(estimate.tokens_out[0])} to {count(estimate.tokens_out[1])}"),
        ("cost", money),
        ("time", time),
        ("reckoned with", estimate.basis),
    ]

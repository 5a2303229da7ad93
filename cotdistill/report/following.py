"""Whether answers follow the rationale or the tag: words and rows for page and terminal, and the part of page
Compare.
"""

from __future__ import annotations

from collections.abc import Sequence

from cotdistill.results.following import RATIONALES, TAGS, Following
from cotdistill.statistics.intervals import Interval
from cotdistill.text import between, capital, percent, plural

HEAD = ("before the answer", "tag", "right", "the wrong choice argued for", "answers that the other tag changes")
READ = {"given": "the teacher's rationale", "wrong": "one for a wrong choice", "none": "no rationale"}


def rows(summary: Following) -> list[tuple[str, ...]]:
    """One row a rationale and tag, under HEAD."""
    return [
        (
            READ[rationale] if tag == TAGS[0] else "",
            f"[{tag}]",
            interval_text(summary.right[tag, rationale]),
            interval_text(summary.argued[tag, rationale]),
            interval_text(summary.by_tag[rationale]) if tag == TAGS[0] else "",
        )
        for rationale in RATIONALES
        for tag in TAGS
    ]


def interval_text(interval: Interval) -> str:
    """A share with its interval: "61.2 % (58.0 to 64.4)"."""
    return f"{percent(interval.mean)} ({between(interval.low, interval.high)})"


def title(summary: Following) -> str:
    """What changes more answers: the tag, or the rationale."""
    tag, rationale = summary.by_tag["given"].mean, summary.by_rationale["factual"].mean
    verb = "decides more than the rationale" if tag > rationale else "does not decide"
    return (
        f"{capital(summary.label)}: the tag {verb}; it changes {percent(tag)} of the answers, a rationale for a wrong"
        f" choice {percent(rationale)}"
    )


def caption(summaries: Sequence[Following]) -> str:
    """n, and how to read the table."""
    first = summaries[0]
    return (
        f"{first.items:,} test questions in {plural(first.clusters, 'cluster')},"
        f" {plural(first.replicates, 'replicate')}; 95 % intervals, {first.right[TAGS[0], RATIONALES[0]].speaks_of}."
        " Students are trained to answer under [factual] after the teacher's rationale, and under [counterfactual]"
        " after one for a wrong choice; the other pairs they have not met. If the tag alone decided, another tag would"
        " change the answers after one and the same rationale."
    )

"""What is read of a task's rationales: one source or a mix of several, which part of a trace, how many rationales per
question, and whose answer is the label.

A view is written after the name of its source, in one text that takes the place of the name wherever a source is named:

r1                                the default part, the first rationale of each question
r1[part=thinking]                 what the teacher thought
r1[rationales=4]                  up to four rationales per question, in turn
r1[target=teacher]                the label is what the teacher concluded, on training rows
a:0.2,b:0.8                       the source of each question is drawn by a hash of its id, with these shares
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cotdistill.config import stable_seed
from cotdistill.errors import GrammarError

PARTS = ("thinking", "answer", "both")
# Most rationales of one question that are read in turn.
MOST_RATIONALES = 1000
_VIEW = re.compile(r"(?P<sources>[^\[\]]*)(?:\[(?P<options>[^\[\]]*)\])?")


@dataclass(frozen=True, slots=True)
class SourceView:
    """Which rationales of a task are read; `str()` is canonical."""

    sources: tuple[tuple[str, float], ...]
    """Names and shares; one source has the share 1."""
    part: str = ""
    """A name of PARTS; empty: the default part, which the import chose."""
    rationales: int = 1
    """How many rationales of a question are read in turn, at most."""
    teacher_target: bool = False
    """On training rows the label is the teacher's answer; where that is not known, there is no rationale."""

    def __str__(self) -> str:
        names = self.sources[0][0] if len(self.sources) == 1 else mix_text(self.sources)
        options = [f"part={self.part}"] if self.part else []
        options += [f"rationales={self.rationales}"] if self.rationales != 1 else []
        options += ["target=teacher"] if self.teacher_target else []
        return f"{names}[{','.join(options)}]" if options else names

    def source_of(self, id: str) -> str:
        """The source that the rationales of a question come from: of a mix, drawn by a hash of the question's id."""
        place, total = stable_seed("mix", id) / 2**63, 0.0
        for name, share in self.sources:
            total += share
            if place < total:
                return name
        return self.sources[-1][0]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.sources]


def read_view(text: str) -> SourceView:
    """The view that a text stands for; a plain name is the default view of that source."""
    match = _VIEW.fullmatch(text)
    if match is None:
        return SourceView(((text, 1.0),))
    options = dict(option.split("=", 1) for option in (match["options"] or "").split(",") if "=" in option)
    named = match["sources"]
    return SourceView(
        read_mix(named) if ":" in named else ((named, 1.0),),
        options.get("part", ""),
        int(options.get("rationales", "1")),
        options.get("target") == "teacher",
    )


def mix_text(sources: Sequence[tuple[str, float]]) -> str:
    return ",".join(f"{name}:{share!r}" for name, share in sources)


def read_mix(text: str) -> tuple[tuple[str, float], ...]:
    """Sources with their shares, from `a:0.2,b:0.8`; GrammarError unless the shares add up to 1."""
    example = "For example mix=human:0.2,teacher:0.8"
    sources = []
    for part in text.split(","):
        name, _, share = part.strip().rpartition(":")
        try:
            value = float(share)
        except ValueError:
            value = 0.0
        if not name or not 0 < value <= 1:
            raise GrammarError(f"mix={text}: {part.strip()!r} is not SOURCE:SHARE with a share from 0 to 1.", example)
        sources.append((name.strip(), value))
    if len({name for name, _ in sources}) < max(2, len(sources)):
        raise GrammarError(f"mix={text}: expected two sources or more, each named once.", example)
    if abs(sum(share for _, share in sources) - 1) > 1e-9:
        raise GrammarError(f"mix={text}: the shares add up to {sum(s for _, s in sources):g}; expected 1.", example)
    return tuple(sources)

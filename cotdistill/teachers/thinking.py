"""What a reasoning model thought, apart from what it said: the marks of each family, as data.

A new family is one row of FAMILIES. A text whose first mark closes was opened by the prompt (chat templates do that),
and one whose last mark opens was cut off while the model thought.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Attributes of a tag: <think budget="512">.
_MORE = r"(?:\s[^<>]*)?"


@dataclass(frozen=True, slots=True)
class Family:
    """Marks around thoughts."""

    # What it is called in messages and tests.
    name: str
    # Regular expressions, matched without case.
    opens: str
    closes: str


FAMILIES = (
    Family("think", rf"<think(?:ing)?{_MORE}>", r"</think(?:ing)?>"),
    Family("reasoning", rf"<reasoning{_MORE}>", r"</reasoning>"),
    Family("thought", rf"<thoughts?{_MORE}>", r"</thoughts?>"),
    Family("brackets", r"\[THINK\]", r"\[/THINK\]"),
    Family("triangles", r"◁think▷", r"◁/think▷"),
    Family("seed", r"<seed:think>", r"</seed:think>"),
    Family(
        "channels",
        r"<\|channel\|>(?:analysis|commentary)[^<]*<\|message\|>",
        r"(?:<\|end\|>)?(?:<\|start\|>\s*assistant)?<\|channel\|>final[^<]*<\|message\|>",
    ),
)
# Marks that close a whole turn and say nothing.
_ENDS = re.compile(r"(?:<\|(?:end|return|im_end|eot_id)\|>\s*)+\Z")
_MARKS = [(re.compile(f.opens, re.IGNORECASE), re.compile(f.closes, re.IGNORECASE)) for f in FAMILIES]


def split_thinking(text: str) -> tuple[str, str]:
    """(what was thought, what was said) of a text, each without the marks around it."""
    thoughts: list[str] = []
    for opens, closes in _MARKS:
        text = _without(text, opens, closes, thoughts)
    return "\n".join(thought.strip() for thought in thoughts if thought.strip()), _ENDS.sub("", text)


def with_thinking(thinking: str, answer: str) -> str:
    """A text in the first family's marks, for a thought that a server sends in a field of its own."""
    return f"<think>\n{thinking.strip()}\n</think>\n{answer}" if thinking.strip() else answer


def _without(text: str, opens: re.Pattern[str], closes: re.Pattern[str], thoughts: list[str]) -> str:
    """The text outside the marks of one family; what stands inside is added to `thoughts`."""
    said: list[str] = []
    at = 0
    while at < len(text):
        start, end = opens.search(text, at), closes.search(text, at)
        if end is not None and (start is None or end.start() < start.start()):
            # Closed without having been opened: all that stands before was thought.
            thoughts.append("".join([*said, text[at : end.start()]]))
            said, at = [], end.end()
        elif start is not None:
            said.append(text[at : start.start()])
            end = closes.search(text, start.end())
            thoughts.append(text[start.end() : end.start() if end else len(text)])
            at = end.end() if end else len(text)
        else:
            break
    return "".join([*said, text[at:]])

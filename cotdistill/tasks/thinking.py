"""What a reasoning model thought, apart from what it said: the marks of each family, as data.

A new family is one row of FAMILIES. A text whose first mark closes was opened by the prompt (chat templates do that),
and one whose last mark opens was cut off while the model thought.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
        "begin_of_thought",
        r"<\|begin_of_thought\|>",
        r"<\|end_of_thought\|>(?:\s*<\|begin_of_solution\|>)?",
    ),
    Family(
        "channels",
        r"<\|channel\|>(?:analysis|commentary)[^<]*<\|message\|>",
        r"(?:<\|end\|>)?(?:<\|start\|>\s*assistant)?<\|channel\|>final[^<]*<\|message\|>",
    ),
)
# The plain opening mark of a family that a template may end in, and what closes it.
CLOSING = {
    "<think>": "</think>", "<thinking>": "</thinking>", "<reasoning>": "</reasoning>", "<thought>": "</thought>",
    "[THINK]": "[/THINK]", "◁think▷": "◁/think▷", "<seed:think>": "</seed:think>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
}  # fmt: skip
# Marks that close a whole turn and say nothing.
_ENDS = re.compile(r"(?:<\|(?:end|return|im_end|eot_id|end_of_solution)\|>\s*)+\Z")
# Fields beside the content, and types of its parts, in which servers and data sets hold what a model thought.
THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")
_THOUGHT_PARTS = ("reasoning", "thinking", "reasoning_text")
# Every mark has one of these characters, and most texts have none of them.
_MARK_CHARACTER = re.compile(r"[<\[◁]")
_MARKS = [(re.compile(f.opens, re.IGNORECASE), re.compile(f.closes, re.IGNORECASE)) for f in FAMILIES]


def split_thinking(text: str) -> tuple[str, str]:
    """(what was thought, what was said) of a text, each without the marks around it."""
    if _MARK_CHARACTER.search(text) is None:
        return "", text
    thoughts: list[str] = []
    for opens, closes in _MARKS:
        text = _without(text, opens, closes, thoughts)
    return "\n".join(thought.strip() for thought in thoughts if thought.strip()), _ENDS.sub("", text)


def opens_thinking(text: str) -> bool:
    """Whether a text opens thoughts and does not close them: the start of an answer, or one that was cut off."""
    if _MARK_CHARACTER.search(text) is None:
        return False
    for opens, closes in _MARKS:
        last = max((match.end() for match in opens.finditer(text)), default=-1)
        if last >= 0 and closes.search(text, last) is None:
            return True
    return False


def closing_mark(text: str) -> str:
    """What closes the thoughts that a text opens, in the words of the same family; "" if it opens none."""
    for opened, closing in CLOSING.items():
        if re.search(rf"{re.escape(opened)}\s*\Z", text, re.IGNORECASE):
            return closing
    return ""


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


def message_parts(message: Mapping[str, Any]) -> tuple[str, str]:
    """(what was said, what was thought) of a message: content as such or in parts, and fields beside it."""
    content = message.get("content")
    parts = [part for part in (content if isinstance(content, list) else [{"text": content}]) if isinstance(part, dict)]
    said = [part for part in parts if str(part.get("type", "text")) not in _THOUGHT_PARTS]
    thought = [part for part in parts if part not in said]
    thoughts = [_texts(thought), *(_texts([{"text": message.get(name)}]) for name in THOUGHT_FIELDS)]
    return _texts(said), "\n".join(dict.fromkeys(text for text in thoughts if text.strip()))


def _texts(parts: Sequence[Mapping[str, Any]]) -> str:
    """The texts of some parts; those of type thinking hold theirs under that name, as text or as parts."""
    texts: list[str] = []
    for part in parts:
        held = next((part[name] for name in ("text", "thinking", "reasoning") if part.get(name)), "")
        texts += [held] if isinstance(held, str) else [_texts(held)] if isinstance(held, list) else []
    # JSON may hold half a character, which no file can.
    return "".join(texts).encode("utf-8", "replace").decode("utf-8").replace("\0", "")

"""Conversations in a cell: `messages` and `conversations` as chat data sets publish them, and one turn of them as text.

A path picks a turn as it picks a nested value: `messages.user` is the last turn of the user, `messages.assistant.0` the
first of the assistant. What an assistant thought, in marks or in a field beside the content, stays with its turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cotdistill.tasks.thinking import message_parts, with_thinking

# What data sets call the two sides; compared without case.
SIDES = {
    "user": ("user", "human", "prompter", "question"),
    "assistant": ("assistant", "gpt", "model", "bot", "chatgpt"),
    "system": ("system",),
}


def is_conversation(value: Any) -> bool:
    """Whether a cell holds turns: a list of objects that all name their speaker."""
    return isinstance(value, Sequence) and not isinstance(value, str) and bool(value) and all(map(_speaker, value))


def turn(value: Any, path: Sequence[str]) -> str | None:
    """The text of one turn. path: a side of SIDES and, if not the last, its number ("0" the first, "-1" the last); None
    where there is no such turn.
    """
    side, *number = path
    if side not in SIDES or len(number) > 1 or not is_conversation(value):
        return None
    texts = [_text(message) for message in value if _speaker(message).casefold() in SIDES[side]]
    try:
        return texts[int(number[0]) if number else -1]
    except (IndexError, ValueError):
        return None


def _speaker(message: Any) -> str:
    """Who speaks in a turn; "" for what is no turn."""
    if not isinstance(message, Mapping):
        return ""
    speaker = message.get("role", message.get("from"))
    return speaker if isinstance(speaker, str) and any(k in message for k in ("content", "value", "text")) else ""


def _text(message: Mapping[str, Any]) -> str:
    content = next((message[name] for name in ("content", "value", "text") if message.get(name) is not None), "")
    text, thinking = message_parts({**message, "content": content})
    return with_thinking(thinking, text)

"""One cell of a row of a file: where it stands, and its text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cotdistill.errors import DataError
from cotdistill.tasks.importing.conversations import turn

Row = Mapping[str, Any]
# Written where there is nothing.
NOTHING = {"nan", "null", "none", "n/a"}


def at(row: Row, path: str) -> Any:
    """The value at a column name or dotted path, of a conversation the text of one turn (`messages.user`); None where
    there is none.
    """
    if not path:
        return None
    if path in row:
        return row[path]
    value: Any = row
    parts = path.split(".")
    for place, part in enumerate(parts):
        if isinstance(value, Sequence) and not isinstance(value, str):
            return turn(value, parts[place:])
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def text_of(value: Any, what: str) -> str | None:
    """A cell as trimmed text, None if it is empty; DataError (the reason only) if it cannot be text."""
    if isinstance(value, str):
        return _text(value, what)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, (int, float)):
        return str(value)
    raise DataError(f"the {what} is a {type(value).__name__}; expected text")


def _text(value: str, what: str) -> str | None:
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise DataError(f"the {what} holds half a character (an unpaired surrogate)") from None
    return value.strip().replace("\0", "") or None


def needed(value: Any, what: str) -> str:
    """As `text_of`, but an empty cell is refused."""
    text = _text(value, what) if isinstance(value, str) else text_of(value, what)
    if text is None:
        raise DataError(f"the {what} is empty")
    return text


def rationale_texts(value: Any, each: bool) -> list[str]:
    """The rationales in a cell: one, or with `each` every entry of a list as a rationale of its own."""
    several = each and isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    return [text for part in (value if several else [value]) if (text := rationale_text(part))]


def rationale_text(value: Any) -> str | None:
    """A rationale: text, or sentences in a list, which are joined by blanks. None for an empty one, and for a word that
    stands for nothing (nan, null).
    """
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        sentences = [text_of(part, "sentence of the rationale") for part in value]
        value = " ".join(sentence for sentence in sentences if sentence)
    text = text_of(value, "rationale")
    return None if text is None or text.casefold() in NOTHING else text


def metadata_of(row: Row, used: frozenset[str]) -> dict[str, Any]:
    """The other columns, and what stands under `metadata`, as far as they are short plain values; of QuaRel, the worlds
    that a story compares.
    """
    held: list[tuple[Any, Any]] = list(row.items())
    if isinstance(nested := row.get("metadata"), Mapping):
        held += nested.items()
    if isinstance(worlds := row.get("world_literals"), Mapping):
        held += [(key, ", ".join(map(str, value))) for key, value in worlds.items() if isinstance(value, list)]
    return {str(key): value for key, value in held if str(key) not in used and _is_plain(key) and _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        return len(value) < 200 and value.isprintable()
    return isinstance(value, int) and value.bit_length() < 64

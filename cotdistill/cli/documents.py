"""The keys of JSON documents, from the dataclasses that commands return: one per field, with the field's comment."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import types
import typing
from collections.abc import Mapping
from typing import Any


def keys_of(cls: type[Any]) -> Mapping[str, str]:
    """What each key of a dataclass as JSON is, by its path: {"jobs": ..., "jobs[].id": ...}.

    A dot goes one level down, [] stands for the items of a list. A field is described by the `help` of its metadata,
    else by the comment at the end of its line; TypeError for a field without either.
    """
    keys: dict[str, str] = {}
    hints = typing.get_type_hints(cls)
    comments = _comments(cls)
    for field in dataclasses.fields(cls):
        help = field.metadata.get("help") or comments.get(field.name)
        if not help:
            raise TypeError(f"{cls.__name__}.{field.name} has no comment that says what it is")
        key = field.metadata.get("key", field.name)
        keys[key] = help
        nested, many = _nested(hints[field.name])
        if nested is not None:
            prefix = f"{key}[]." if many else f"{key}."
            keys |= {f"{prefix}{inner}": text for inner, text in keys_of(nested).items()}
    return keys


def _comments(cls: type[Any]) -> dict[str, str]:
    """The comment behind each field of a dataclass, its bases included."""
    comments: dict[str, str] = {}
    for base in reversed([base for base in cls.__mro__ if dataclasses.is_dataclass(base)]):
        source = textwrap.dedent(inspect.getsource(base))
        lines = source.splitlines()
        (body,) = (node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
        for node in body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                _, hash_sign, comment = lines[(node.end_lineno or node.lineno) - 1][node.end_col_offset :].partition(
                    "#"
                )
                if hash_sign:
                    comments[node.target.id] = comment.strip()
    return comments


def _nested(hint: Any) -> tuple[type[Any] | None, bool]:
    """The dataclass inside a type such as Job, Job | None or list[Job], and whether there are many of it."""
    if dataclasses.is_dataclass(hint):
        return typing.cast("type[Any]", hint), False
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return next((inner for part in arguments if (inner := _nested(part))[0] is not None), (None, False))
    if origin in (list, tuple) and arguments:
        return _nested(arguments[0])[0], True
    return None, False

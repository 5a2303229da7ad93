"""Mirrors of metrics in words, for page and terminal."""

from __future__ import annotations

from cotdistill.execution.mirrors.settings import Mirror, State
from cotdistill.text import ago, plural


def mirror_told(mirror: Mirror, state: State) -> str:
    """One line: where it is, what it knows, and how it failed if it did."""
    known = f"knows {plural(len(state.ended), 'ended job')}" if state.synced or state.ended else "knows no job yet"
    line = f"mirror {mirror.name} ({mirror.kind}) at {mirror.to}: {known}"
    if state.failure is None:
        return line
    return (
        f"{line}; it failed {ago(state.failure['at'])}: {state.failure['message']} (no run is touched by that:"
        " cotdistill mirrors sync)"
    )

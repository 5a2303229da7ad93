"""Stability under paraphrase in words. No Streamlit, no Plotly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cotdistill.text import capital

SCOPE_NAMES = {"question": "question and choices", "rationale": "rationale", "all": "all"}


def title(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Which student's attributions agree most between wordings. found: by the student's name, the summary of its
    job.
    """
    ranks = {
        name: float(one["scopes"]["question"]["rank"]["mean"])
        for name, one in results.items()
        if "question" in one["scopes"]
    }
    if not ranks:
        return "No question has words enough to be ranked"
    most, least = max(ranks, key=lambda name: ranks[name]), min(ranks, key=lambda name: ranks[name])
    text = f"{capital(most)}: rank correlation {_two(ranks[most])} between wordings, on question and choices"
    return text if most == least else f"{text}; {_two(ranks[least])} for {least}"


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")

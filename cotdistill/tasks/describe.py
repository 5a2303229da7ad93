"""A task in numbers, and its rows as files."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any

from cotdistill.tasks.example import Example
from cotdistill.tasks.task import SPLITS, Task


def describe(task: Task) -> dict[str, Any]:
    """Counts, label balance, lengths in words, rationales by source with their leakage, roles of the splits, checks made at import."""
    splits = {}
    for split in SPLITS:
        rows = task.examples(split)
        splits[split] = {
            "role": task.roles.get(split, ""),
            "rows": len(rows),
            "clusters": len({e.cluster for e in rows}),
            "answers": dict(sorted(Counter(e.answer for e in rows).items())),
            "choices": dict(sorted(Counter(str(len(e.choices)) for e in rows).items())),
            "question_words": _lengths([e.question for e in rows]),
            "choices_words": _lengths([" ".join(c.text for c in e.choices) for e in rows]),
        }
    return {
        "name": task.name,
        "title": task.title,
        "artificial": task.artificial,
        "digest": task.digest,
        "chance": task.chance,
        "tokenizer": task.tokenizer_kind,
        "default_source": task.default_source,
        "splits": splits,
        "sources": {source: _source(task, source) for source in task.sources},
        "checks": task.info.get("checks", {}),
    }


def _source(task: Task, source: str) -> dict[str, Any]:
    """The training rationales of one source. Leakage: shares whose text holds the gold choice's text as whole words, or names an answer key."""
    rows = task.examples("train", source)
    told = [e for e in rows if e.rationale]
    return {
        "with_rationale": len(told),
        "share": len(told) / len(rows) if rows else 0.0,
        "words": _lengths([e.rationale or "" for e in told]),
        "gold_text": fmean(_holds(e) for e in told) if told else 0.0,
        "answer_key": fmean(bool(re.search(r"\(\s?[A-H]\s?\)|\b(?:option|choice|answer)\s[A-H]\b", e.rationale or "")) for e in told)
        if told
        else 0.0,
    }


def _holds(example: Example) -> bool:
    """Whether the rationale holds the gold choice's text as whole words, case and punctuation ignored."""
    text, gold = (" ".join(re.findall(r"\w+", part.casefold())) for part in (example.rationale or "", example.answer_text))
    return bool(gold) and f" {gold} " in f" {text} "


def _lengths(texts: Sequence[str]) -> dict[str, float]:
    counts = [len(text.split()) for text in texts]
    if not counts:
        return {}
    cut = quantiles(counts, n=20, method="inclusive") if len(counts) > 1 else [counts[0]] * 19
    return {"mean": round(fmean(counts), 2), "p5": cut[0], "median": cut[9], "p95": cut[18], "longest": max(counts)}


def export_task(task: Task, target: Path) -> list[Path]:
    """Write the rows as {train,dev,test}.jsonl and every source's rationales as rationales/SPLIT.SOURCE.jsonl: a folder that can be imported."""
    (target / "rationales").mkdir(parents=True, exist_ok=True)
    written = []
    for split in SPLITS:
        path = target / f"{split}.jsonl"
        rows = task.examples(split)
        path.write_text("".join(_line(_row(e)) for e in rows), encoding="utf-8")
        written.append(path)
        for source in task.sources:
            told = [e for e in task.examples(split, source) if e.rationale and e.source == source]
            if told:
                path = target / "rationales" / f"{split}.{source}.jsonl"
                path.write_text("".join(_line({"id": e.id, "rationale": e.rationale, "rationale_source": source}) for e in told), encoding="utf-8")
                written.append(path)
    return written


def _row(example: Example) -> dict[str, Any]:
    return {
        "id": example.id,
        "question": example.question,
        "choices": [{"label": c.label, "text": c.text} for c in example.choices],
        "answer": example.answer,
        "rationale": example.rationale,
        "rationale_source": example.source,
        "cluster": example.cluster,
        "split": example.split,
        "metadata": dict(example.metadata),
    }


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"

"""A task in numbers, and its rows as files."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any

from cotdistill.config import plain
from cotdistill.errors import UsageError
from cotdistill.tasks.example import Example
from cotdistill.tasks.importing.writing import disk_in_words
from cotdistill.tasks.leakage import holds_answer, names_key
from cotdistill.tasks.task import SPLITS, Rationale, Task
from cotdistill.tasks.thinking import with_thinking


def describe(task: Task) -> dict[str, Any]:
    """Counts, label balance, lengths in words, rationales by source with their leakage, roles of the splits, checks
    made at import.
    """
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
        "answer_kind": task.answer_kind,
        "chance": task.chance or None,
        "tokenizer": task.tokenizer_kind,
        "default_source": task.default_source,
        "splits": splits,
        "sources": {source: _source(task, source) for source in task.sources},
        "checks": task.info.get("checks", {}),
        "hub": task.info.get("hub"),
    }


def _source(task: Task, source: str) -> dict[str, Any]:
    """The training rationales of one source, as shares, and the counts behind them split by split. Leakage: rationales
    that hold the gold choice's text as whole words, or name an answer key. teacher_right: among those whose teacher's
    own answer is known (None if of none)."""
    labels = task.teacher_labels(source)
    explained = {
        split: [e for e in task.examples(split, source) if e.rationale and e.source == source] for split in SPLITS
    }
    counts = {split: _counts(rows, labels) for split, rows in explained.items()}
    train, rows = counts["train"], int(task.info["rows"]["train"])
    return {
        "with_rationale": train["with_rationale"],
        "share": train["with_rationale"] / rows if rows else 0.0,
        "words": _lengths([e.rationale or "" for e in explained["train"]]),
        "gold_text": train["gold_text"] / train["with_rationale"] if train["with_rationale"] else 0.0,
        "answer_key": train["answer_key"] / train["with_rationale"] if train["with_rationale"] else 0.0,
        "teacher_right": train["teacher_right"] / train["teacher_label"] if train["teacher_label"] else None,
        "splits": counts,
    }


def _counts(explained: Sequence[Example], labels: Mapping[str, str]) -> dict[str, int]:
    return {
        "with_rationale": len(explained),
        "gold_text": sum(map(holds_answer, explained)),
        "answer_key": sum(map(names_key, explained)),
        "teacher_label": sum(e.id in labels for e in explained),
        "teacher_right": sum(labels.get(e.id) == e.answer for e in explained),
    }


def told_of(task: Task, id: str) -> list[dict[str, Any]]:
    """What every source says of one example, in the order of the sources: source, rationale (None where it has none),
    words, teacher_label (the answer its teacher gave, None where that is not known), right (whether that is the label),
    gold_text and answer_key (whether the rationale gives the answer away). NotFound for an id that the task lacks."""
    cells = []
    for source in task.sources or ("",):
        example = task.example(id, source or None)
        annotated = example if example.source == source and example.rationale else None
        label = task.teacher_labels(source).get(id) if source else None
        if source:
            cells.append(
                {
                    "source": source,
                    "rationale": annotated.rationale if annotated else None,
                    "words": len((annotated.rationale or "").split()) if annotated else 0,
                    "teacher_label": label,
                    "right": label == example.answer if label is not None else None,
                    "gold_text": annotated is not None and holds_answer(annotated),
                    "answer_key": annotated is not None and names_key(annotated),
                }
            )
    return cells


def _lengths(texts: Sequence[str]) -> dict[str, float]:
    counts = [len(text.split()) for text in texts]
    if not counts:
        return {}
    cut = quantiles(counts, n=20, method="inclusive") if len(counts) > 1 else [counts[0]] * 19
    return {"mean": round(fmean(counts), 2), "p5": cut[0], "median": cut[9], "p95": cut[18], "longest": max(counts)}


def export_task(task: Task, target: Path) -> list[Path]:
    """Write the rows as {train,dev,test}.jsonl, every source's rationales as rationales/SPLIT.SOURCE.jsonl and the
    template as template.json: a folder that can be imported. UsageError if it holds something already; StoreError or
    DiskFull if it cannot be written."""
    with disk_in_words(target):
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UsageError(f"{target} is there already, and not an empty folder.", "Name a new folder.")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=target.parent))
        try:
            part.chmod(0o755)
            written = _export(task, part)
            os.replace(part, target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return [target / path.relative_to(part) for path in written]


def _is_rich(traces: Sequence[Rationale] | None) -> bool:
    """Whether a question has more than one plain rationale."""
    return traces is not None and (len(traces) > 1 or traces[0].thinking is not None)


def _export(task: Task, folder: Path) -> list[Path]:
    by_source = {source: task.traces(source) for source in task.sources}
    files: dict[str, list[Mapping[str, Any]]] = {}
    for split in SPLITS:
        files[f"{split}.jsonl"] = [
            # A trace with parts, and further rationales, stand in the files of their sources alone.
            _row(replace(e, rationale=None, source=None) if _is_rich(by_source.get(str(e.source), {}).get(e.id)) else e)
            for e in task.examples(split)
        ]
        for source in task.sources:
            traces = [trace for e in task.examples(split) for trace in by_source[source].get(e.id, ())]
            if traces:
                files[f"rationales/{split}.{source}.jsonl"] = [
                    {
                        "id": trace.id,
                        # Marks stand around what was thought, so that an import takes it apart again.
                        "rationale": with_thinking(trace.thinking, trace.answer or "")
                        if trace.thinking is not None
                        else trace.text,
                        "rationale_source": source,
                        "teacher_label": trace.teacher_label,
                    }
                    for trace in traces
                ]
    (folder / "rationales").mkdir()
    for name, rows in files.items():
        (folder / name).write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
        )
    (folder / "template.json").write_text(
        json.dumps(plain(task.template), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return [*(folder / name for name in files), folder / "template.json"]


def _row(example: Example) -> dict[str, Any]:
    passage, question = example.question_parts()
    return {
        "id": example.id,
        **({"passage": passage} if passage else {}),
        "question": question,
        "choices": [{"label": c.label, "text": c.text} for c in example.choices],
        "answer": example.answer,
        "rationale": example.rationale,
        "rationale_source": example.source,
        "cluster": example.cluster,
        "split": example.split,
        "metadata": dict(example.metadata),
    }

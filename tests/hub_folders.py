"""Data sets as they stand on the hub: folders with the hub's own schemas, written by `datasets` itself (Parquet with features, JSON, a card)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
from datasets import ClassLabel, Features, List, Value

Rows = Sequence[Mapping[str, Any]]

CHOICES = {"label": List(Value("string")), "text": List(Value("string"))}
COMMONSENSEQA = Features(
    {
        "id": Value("string"),
        "question": Value("string"),
        "question_concept": Value("string"),
        "choices": CHOICES,
        "answerKey": Value("string"),
    }
)
OPENBOOKQA = Features(
    {
        "id": Value("string"), "question_stem": Value("string"), "choices": {"text": List(Value("string")), "label": List(Value("string"))},
        "answerKey": Value("string"),
    }
)  # fmt: skip
FACTS = Features(
    {
        **OPENBOOKQA, "fact1": Value("string"), "humanScore": Value("float32"), "clarity": Value("float32"), "turkIdAnonymized": Value("string"),
    }
)  # fmt: skip
QUAREL = Features(
    {
        "id": Value("string"), "answer_index": Value("int32"), "logical_forms": List(Value("string")), "logical_form_pretty": Value("string"),
        "world_literals": {"world1": List(Value("string")), "world2": List(Value("string"))}, "question": Value("string"),
    }
)  # fmt: skip
ESNLI = Features(
    {
        "premise": Value("string"), "hypothesis": Value("string"), "label": ClassLabel(names=["entailment", "neutral", "contradiction"]),
        "explanation_1": Value("string"), "explanation_2": Value("string"), "explanation_3": Value("string"),
    }
)  # fmt: skip


def write(
    folder: Path, features: Features, splits: Mapping[str, Rows], config: str = "data", kind: str = "parquet"
) -> Path:
    """One config of a data set: `FOLDER/CONFIG/SPLIT-00000-of-00001.parquet` (or .jsonl), as the hub lays it out."""
    (folder / config).mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        path = folder / config / f"{split}-00000-of-00001.{kind}"
        if kind == "parquet":
            datasets.Dataset.from_list([dict(row) for row in rows], features=features).to_parquet(str(path))
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def card(folder: Path, configs: Mapping[str, Sequence[str]]) -> Path:
    """A README with the YAML that names the configs and their files. configs: the splits of each; the first is the default."""
    lines = ["---", "configs:"]
    for place, (config, splits) in enumerate(configs.items()):
        lines += [f"- config_name: {config}", *(["  default: true"] if place == 0 else []), "  data_files:"]
        for split in splits:
            lines += [f"  - split: {split}", f"    path: {config}/{split}-*"]
    (folder / "README.md").write_text("\n".join([*lines, "---", "# A data set", ""]), encoding="utf-8")
    return folder


def commonsenseqa(number: int, split: str, answers: bool = True) -> Rows:
    words = ("river", "bank", "forest", "desk", "pillow")
    return [
        {
            "id": f"{split}{i}", "question": f"Where would one look for thing number {i}?", "question_concept": f"thing {i}",
            "choices": {"label": list("ABCDE"), "text": list(words)}, "answerKey": "ABCDE"[i % 5] if answers else "",
        }
        for i in range(number)
    ]  # fmt: skip


def openbookqa(number: int, split: str, facts: bool = False) -> Rows:
    words = ["quit eating out", "make more calls", "buy less", "have lunch"]
    rows = [
        {
            "id": f"{split}-{i}", "question_stem": f"A person number {i} wants to save money, so they should",
            "choices": {"text": words, "label": list("ABCD")}, "answerKey": "ABCD"[i % 4],
        }
        for i in range(number)
    ]  # fmt: skip
    more = {
        "fact1": "using less resources saves money",
        "humanScore": 1.0,
        "clarity": 2.0,
        "turkIdAnonymized": "b356d338b7",
    }
    return [{**row, **more} for row in rows] if facts else rows


def quarel(number: int, split: str) -> Rows:
    return [
        {
            "id": f"QuaRel_{split}_{i:04}", "answer_index": i % 2,
            "logical_forms": ["(infer (speed higher world1) (smoothness higher world2) (smoothness higher world1))"],
            "logical_form_pretty": "qrel(speed, higher, world1) -> qrel(smoothness, higher, world2)",
            "world_literals": {"world1": ["ice"], "world2": ["snow", "powder"]},
            "question": f"Mike {i} (a boarder) went faster on the ice because _____ is smoother. (A) snow (B) ice",
        }
        for i in range(number)
    ]  # fmt: skip


def esnli(number: int, several: bool = False) -> Rows:
    """Three hypotheses a premise; training rows have one explanation, others three."""
    rows = []
    for i in range(number):
        more = (
            {"explanation_2": f"second reason {i}", "explanation_3": f"third reason {i}"}
            if several
            else {"explanation_2": "", "explanation_3": ""}
        )
        one = {
            "premise": f"A man number {i // 3} sleeps.",
            "hypothesis": f"He is {('awake', 'tired', 'asleep')[i % 3]}.",
            "label": i % 3,
        }
        rows.append({**one, "explanation_1": f"first reason {i}", **more})
    return rows

"""Counts and checks of a task: rows, label balance, lengths, rationales with their leakage, duplicates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from cotdistill.tasks.describe import describe
from cotdistill.tasks.task import Task
from cotdistill.dashboard import frame
from cotdistill.report import markup
from cotdistill.text import count, percent, plain_markdown


@st.cache_data(max_entries=16, show_spinner="Counting…")
def _described(_task: Task, digest: str, added: tuple[str, ...]) -> dict[str, Any]:
    return describe(_task)


def draw(task: Task) -> None:
    """The tables below the example; everything is counted once per version of a task."""
    statistics = _described(task, task.digest, task.added)
    frame.section("Counts and checks")
    st.html(_splits(statistics["splits"]))
    if statistics["sources"]:
        st.html(_sources(statistics["sources"], task.default_source))
        st.caption("Gold in text: the rationale names the right choice as whole words. Letter in text: it names an answer key such as (B).")
    if hub := statistics["hub"]:
        at = f" at commit {hub['commit'][:12]}" if hub["commit"] else ""
        config = f", config {hub['config']}" if hub["config"] else ""
        note = f" {hub['note']}" if hub["note"] else ""
        text = f"From the hub: {hub['dataset']}{config}{at}. Licence: {hub['licence']}.{note}"
        st.caption(f":material/cloud_download: {plain_markdown(text)}")
    for warning in task.info.get("warnings", ()):
        st.caption(f":material/rule: {plain_markdown(str(warning))}")
    checks = dict(statistics["checks"])
    if checks and not any(checks.values()):
        st.caption(":material/check: No question is repeated within or across the splits, and no cluster stands in two of them.")


def _splits(splits: Mapping[str, Mapping[str, Any]]) -> str:
    """One row a split: its role, its size, how the answers are spread, and how long questions are."""
    rows: list[list[markup.TableCell | markup.Shares]] = []
    for name, split in splits.items():
        rows.append(
            [
                markup.TableCell(name),
                markup.TableCell(f"{split['rows']:,}"),
                markup.TableCell(f"{split['clusters']:,}"),
                markup.Shares(split["answers"]),
                markup.TableCell(_lengths(split["question_words"])),
                markup.TableCell(str(split["role"]), quiet=True),
            ]
        )
    return markup.table(("Split", "Rows", "Clusters", "Answers", "Words a question", "What it is"), rows, "splits")


def _sources(sources: Mapping[str, Mapping[str, Any]], default: str) -> str:
    """One row a rationale source: how many rows it covers, how long it writes, how much of the answer it gives away."""
    rows = []
    for name, source in sources.items():
        rows.append(
            [
                markup.TableCell(f"{name} (default)" if name == default else name),
                markup.TableCell(f"{source['with_rationale']:,} ({percent(source['share'])})"),
                markup.TableCell(_lengths(source["words"])),
                markup.TableCell(percent(source["gold_text"])),
                markup.TableCell(percent(source["answer_key"])),
            ]
        )
    return markup.table(("Rationales by", "Training rows", "Words a rationale", "Gold in text", "Letter in text"), rows, "rationale sources")


def _lengths(words: Mapping[str, float]) -> str:
    """Median, range of nine in ten, and the longest."""
    if not words:
        return "–"
    return f"{count(words['median'])} ({count(words['p5'])} to {count(words['p95'])}), longest {count(words['longest'])}"

"""What every rationale source says of one example, side by side."""

from __future__ import annotations

from typing import Any

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.report import markup
from cotdistill.report.commands import command
from cotdistill.report.figures.palette import BAD
from cotdistill.tasks.describe import told_of
from cotdistill.tasks.example import Example
from cotdistill.tasks.task import Task
from cotdistill.text import plural


def draw(task: Task, example: Example) -> None:
    """A table of the sources; nothing for a task with fewer than two."""
    if len(task.sources) < 2:
        return
    rows = told_of(task, example.id)
    there = sum(one["rationale"] is not None for one in rows)
    with st.expander(f"What {plural(there, 'source')} of {len(rows)} say of this question", icon=":material/forum:"):
        st.html(table(rows))
        st.caption(
            "Gives away: the rationale holds the right choice's text, or names a letter. A teacher that was not shown"
            " the label may argue for another answer. In a study: the source is an axis, on page Train under Sizes and"
            " sources, or as @source=NAME in a condition."
        )
        frame.terminal(command("teacher", "show", "--task", task.name, "--example", example.id))


def table(sides: list[dict[str, Any]]) -> str:
    """One row a source."""
    rows = []
    for one in sides:
        revealed = [told for told, holds in (("text", one["gold_text"]), ("letter", one["answer_key"])) if holds]
        answered = (
            "–"
            if one["teacher_label"] is None
            else str(one["teacher_label"]) + ("" if one["right"] else " (not the label)")
        )
        rows.append(
            [
                markup.TableCell(one["source"]),
                markup.TableCell(one["rationale"] or "none", quiet=one["rationale"] is None),
                markup.TableCell(str(one["words"]) if one["rationale"] else "–", quiet=True),
                markup.TableCell(" and ".join(revealed) or "–", quiet=True),
                markup.TableCell(answered, color=BAD if one["right"] is False else ""),
            ]
        )
    return markup.table(
        ("Rationale by", "What it says", "Words", "Gives away", "Teacher's own answer"), rows, "rationales side by side"
    )

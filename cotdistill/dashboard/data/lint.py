"""What a tokenizer makes of a task, in plain words with examples: a part of page Data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from cotdistill.config import StudentConfig
from cotdistill.errors import CotdistillError
from cotdistill.students.files import here
from cotdistill.students.lint import Finding, limit_of, lint
from cotdistill.students.models import PRETRAINED
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.answer_kinds import needs_terminator
from cotdistill.tasks.task import Task
from cotdistill.tasks.vocabulary import KINDS
from cotdistill.dashboard import frame
from cotdistill.report import markup
from cotdistill.report.commands import command
from cotdistill.report.figures.palette import BAD
from cotdistill.text import plain_markdown

ROWS = 400
# All built-in students read as many tokens.
BUILT_IN = "nano"
BOUNDARY = "boundary"
HEADS = {
    "same": "choices that are one",
    "prefix": "a choice within a choice",
    "first_token": "shared first token",
    BOUNDARY: "a boundary that merges",
    "unknown_answer": "unknown answers",
    "unknown": "unknown words",
    "bytes": "characters in pieces",
    "too_long": "rows that are too long",
    "several_tokens": "answers of several tokens",
    "naive": "the naive target",
    "listed": "answers that cannot be copied",
    "space": "two spaces",
}


def draw(task: Task, source: str) -> str:
    """The findings for one tokenizer, grave ones first; gives the command that shows the same."""
    frame.section(
        "Tokenisation", "How a student's tokenizer reads the answers and the boundaries between spans: looked at before anything is trained."
    )
    students = {kind: None for kind in KINDS} | {one.name: here(StudentConfig(name=one.hub)) for one in PRETRAINED}
    known = [name for name, folder in students.items() if name in KINDS or folder is not None]
    name = frame.choose(
        "Read by",
        known,
        key="tokens",
        start=task.tokenizer_kind,
        label_of=lambda n: f"built-in students, {n} tokens" if n in KINDS else n,
        moving=True,
        width=320,
    )
    folder = students[name]
    path = task.tokenizer(source, name) if folder is None else folder / "tokenizer.json"
    words = ["--task", task.name, *(["--student", name] if name not in KINDS else ["--tokenizer", name] if name != task.tokenizer_kind else [])]
    same = command("lint", *words)
    try:
        limit = limit_of(StudentConfig(name=PRETRAINED.get(name).hub if name in PRETRAINED else BUILT_IN))
        findings, rows, vocabulary = _findings(task, task.digest, source, str(path), limit)
    except CotdistillError as error:
        frame.problem(error)
        return same
    about = f"{rows:,} training rows, {vocabulary:,} tokens known."
    if not findings:
        st.caption(
            f":material/check: {plain_markdown(about)} Every answer is one token, the same wherever it stands; no boundary between spans merges, "
            "nothing is unknown."
        )
    else:
        st.html(markup.table(("", "What", "How many", "For example", "What it means, and what to do"), [_row(one) for one in findings], "tokenisation"))
        grave = sum(one.grave for one in findings)
        caption = "Marked ones want mending before training." if grave else "Nothing here wants mending before training."
        st.caption(plain_markdown(f"{about} Bars stand between tokens. {caption} Tokenisation consistency: arXiv 2212.09912."))
    return same


@st.cache_data(max_entries=16, show_spinner="Reading the rows as tokens…")
def _findings(_task: Task, digest: str, source: str, path: str, limit: int) -> tuple[list[Finding], int, int]:
    rows = _task.examples("train", source or None)
    rows = rows[:: max(1, len(rows) // ROWS)][:ROWS]
    encoder = Encoder(Path(path), _task.template, terminator=needs_terminator(_task))
    return lint(encoder, rows, limit), len(rows), encoder.vocabulary_size


def _row(finding: Finding) -> Sequence[markup.TableCell]:
    return (
        markup.TableCell("!" if finding.grave else "", color=BAD if finding.grave else ""),
        markup.TableCell(HEADS[finding.kind.partition(":")[0]]),
        markup.TableCell(f"{finding.count:,} of {finding.of:,} {finding.unit}"),
        markup.TableCell(finding.shown[0] if finding.shown else "", code=True, title="\n".join(finding.shown)),
        markup.TableCell(f"{finding.message}. {finding.advice}", quiet=True),
    )

"""lint: what a student's tokenizer makes of a task, before anything is trained."""

from __future__ import annotations

import argparse
import dataclasses

from cotdistill.cli.command import Command, Noun, Result, whole_number
from cotdistill.cli.output import printable
from cotdistill.config import RunConfig, StudentConfig
from cotdistill.store.store import Store
from cotdistill.students.lint import Finding, limit_of, lint
from cotdistill.students.models import checked_name
from cotdistill.students.sources import encoder_of
from cotdistill.tasks.answer_kinds import needs_terminator
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.task import SPLITS


def run(arguments: argparse.Namespace) -> Result:
    task = open_task(Store.open().tasks_root, arguments.task, world=arguments.world)
    source = arguments.source or task.default_source
    kind = task.tokenizer_kind if arguments.tokenizer == "auto" else arguments.tokenizer
    student = StudentConfig(name=checked_name(StudentConfig(name=arguments.student)))
    config = RunConfig(
        task=task.name,
        task_digest=task.digest,
        condition="",
        source=source,
        tokenizer=kind,
        student=student,
        terminator=needs_terminator(task),
    )
    encoder = encoder_of(task, config)
    rows = task.examples(arguments.split, source or None)
    rows = rows[:: max(1, len(rows) // arguments.rows)][: arguments.rows] if arguments.rows else rows
    findings = lint(encoder, rows, limit_of(student) if arguments.limit is None else arguments.limit)
    document = {
        "task": task.name,
        "student": student.name,
        "tokenizer": encoder.path.name,
        "vocabulary": encoder.vocabulary_size,
        "split": arguments.split,
        "rows": len(rows),
        "findings": [dataclasses.asdict(one) for one in findings],
    }
    lines = [
        f"{task.name} read by {printable(student.name)}: {len(rows):,} rows of {arguments.split},"
        f" {encoder.vocabulary_size:,} tokens known"
    ]
    lines += [_finding_text(one) for one in findings]
    if not findings:
        lines += [
            "",
            (
                "Every check passes: answers are one token, the same wherever they stand, and no boundary between spans"
                " merges."
            ),
        ]
    return Result(document, "\n".join(lines))


def _finding_text(finding: Finding) -> str:
    cases = "".join(f"\n    {printable(case)}" for case in finding.shown)
    return (
        f"\n{'!' if finding.grave else '·'} {finding.message}: {finding.count:,} of {finding.of:,}"
        f" {finding.unit}{cases}\n  {finding.advice}"
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", required=True, metavar="T", help="a task of `tasks list`")
    parser.add_argument(
        "--student", default="nano", metavar="S", help="whose tokenizer: a built-in student, a folder or a hub id"
    )
    parser.add_argument(
        "--tokenizer", choices=("auto", "word", "bpe"), default="auto", help="built-in students: which tokenizer"
    )
    parser.add_argument("--source", default="", metavar="S", help="whose rationales; default: the task's")
    parser.add_argument("--split", choices=SPLITS, default="train", help="default train")
    parser.add_argument(
        "--rows",
        type=whole_number(0),
        default=400,
        metavar="N",
        help="rows looked at, spread over the split; 0: all; default 400",
    )
    parser.add_argument(
        "--limit",
        type=whole_number(0),
        default=None,
        metavar="N",
        help="tokens that it reads; default: all that it can; 0: unchecked",
    )
    parser.add_argument(
        "--world", type=whole_number(0), default=0, metavar="N", help="which world of a generated task (default 0)"
    )


NOUN = Noun(
    "lint",
    "what a tokenizer makes of a task",
    (
        Command(
            "lint",
            "",
            "check how a student's tokenizer reads a task: answers, boundaries between spans, unknown words, lengths"
            " (arXiv 2212.09912)",
            run,
            {
                "task": "name",
                "student": "whose tokenizer",
                "tokenizer": "its file",
                "vocabulary": "tokens that it knows",
                "split": "train, dev or test",
                "rows": "rows looked at",
                "findings": "what is worth knowing, grave things first; empty where every check passes",
                "findings[].kind": (
                    "same, prefix, first_token, boundary:A|B, unknown_answer, unknown, bytes, too_long, several_tokens,"
                    " naive, listed or space"
                ),
                "findings[].grave": "whether it should be mended before training",
                "findings[].count": "how many show it",
                "findings[].of": "of how many",
                "findings[].unit": "answers, questions or rows",
                "findings[].message": "what it means",
                "findings[].advice": "what to do",
                "findings[].shown": "the first few cases; bars stand between tokens",
            },
            _arguments,
        ),
    ),
)

"""teacher filters, quality, filter, show, export: what the rationales of a source are like, and a source made of those
that stay.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotdistill.cli.command import Result, whole_number
from cotdistill.cli.output import Progress, note, printable, table, whole_file
from cotdistill.config import plain
from cotdistill.errors import NoRationale, UnknownName, UsageError
from cotdistill.planning import elicitation
from cotdistill.report.commands import command
from cotdistill.report.teachers import figures
from cotdistill.results.source_quality import figures as figures_of
from cotdistill.store.store import Store
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.describe import told_of
from cotdistill.tasks.task import SPLITS, Task
from cotdistill.teachers.answers import TeacherAnswer, of_source
from cotdistill.teachers.elicitation import PARTS, ElicitConfig
from cotdistill.teachers.filters import FILTERS, apply, parse_filters
from cotdistill.teachers.quality import answer_overlap, mean_known, quality
from cotdistill.teachers.sources import ANSWER_ALONE, PICKS, add
from cotdistill.teachers.sources import rationales as source_rows
from cotdistill.text import plural

# What an example's text is cut to in a table; the JSON document holds all of it.
SHOWN = 100


@dataclass(frozen=True)
class Given:
    """The answers that a command is about: of a source of a task, or of an elicitation in whatever state it is."""

    task: Task
    name: str
    answers: list[TeacherAnswer]
    rows: int
    origin: Mapping[str, Any]


def requested(arguments: argparse.Namespace) -> Given:
    """The answers that the words name."""
    store = Store.open()
    if arguments.job:
        job = elicitation.elicited(store, arguments.job)
        asked_of = elicitation.task_of(store, ElicitConfig.from_plain(job.config))
        answers = elicitation.answers(store, job)
        return Given(
            asked_of,
            str(job.config["name"]),
            answers,
            rows_of(asked_of, [str(job.config["split"])]),
            {"job": job.identity},
        )
    if not arguments.task:
        raise UsageError(
            "Whose rationales? Neither a task nor an elicitation is named.", "Name --task, with --source, or --job."
        )
    task = open_task(store.tasks_root, arguments.task, world=arguments.world)
    source = arguments.source or task.default_source
    if not source:
        raise NoRationale(
            f"The task {task.name!r} has no rationales.", "Import it with rationales, or ask a teacher for some."
        )
    splits = splits_of(arguments.splits)
    return Given(
        task, source, of_source(task, source, splits), rows_of(task, splits), {"source": source, "splits": list(splits)}
    )


def splits_of(text: str) -> tuple[str, ...]:
    """`train,dev` as splits; UnknownName for one that there is not."""
    splits = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for split in splits:
        if split not in SPLITS:
            raise UnknownName("split", split, SPLITS)
    return splits or SPLITS


def rows_of(task: Task, splits: Sequence[str]) -> int:
    return sum(int(task.info["rows"][split]) for split in splits)


def filters(arguments: argparse.Namespace) -> Result:
    document = [
        {"id": entry.name, "help": entry.help, "parameters": [plain(p) for p in entry.parameters]} for entry in FILTERS
    ]  # fmt: skip
    rows = [[e.name, e.help, "; ".join(f"{p.name}={p.default}: {p.help}" for p in e.parameters)] for e in FILTERS]
    return Result(document, table(["filter", "", "parameters"], rows))


def show_quality(arguments: argparse.Namespace) -> Result:
    if arguments.job:
        if arguments.student:
            raise UsageError("--student reads sources of a task, not --job.", "Name --task and --sources.")
        arguments.source = ""
        asked_for = requested(arguments)
        document = {asked_for.name: quality(asked_for.answers, asked_for.rows)}
        return Result({"task": asked_for.task.name, "splits": [], "sources": document}, _side_by_side(document))
    if not arguments.task:
        raise UsageError("Whose rationales? Neither a task nor an elicitation is named.", "Name --task or --job.")
    store = Store.open()
    task = open_task(store.tasks_root, arguments.task, world=arguments.world)
    names = (
        [name.strip() for name in arguments.sources.split(",") if name.strip()]
        if arguments.sources
        else list(task.sources)
    )
    splits = splits_of(arguments.splits)
    progress = Progress(max(1, len(names)), "sources")
    by_source: dict[str, Any] = {}
    try:
        for number, name in enumerate(names):
            progress.show(number, f"reading {name}")
            by_source[name] = figures_of(store, task, name, splits)
        if arguments.student:
            progress.show(len(names), f"{arguments.student} reads the rationales")
            suited = _suited(store, task, arguments, names, splits)
            by_source = {name: {**quality_, "student": suited[name]} for name, quality_ in by_source.items()}
    finally:
        progress.close()
    return Result({"task": task.name, "splits": list(splits), "sources": by_source}, _side_by_side(by_source))


def _suited(
    store: Store, task: Task, arguments: argparse.Namespace, names: Sequence[str], splits: Sequence[str]
) -> dict[str, Any]:
    """By source: how the named student reads its rationales, and their overlap with the gold answer. Of a source with
    more than `--rationales`, as many at equal distances are read."""
    # Imported here: it loads torch.
    from cotdistill.execution.open_student import source_suitability

    examples = {}
    for name in names:
        shown = [answer.as_example for answer in of_source(task, name, splits) if answer.shown]
        examples[name] = [shown[i] for i in evenly(len(shown), arguments.rationales)]
    read = source_suitability(store, task, arguments.student, examples)
    return {
        name: {
            "name": arguments.student,
            **read[name],
            "answer_overlap": mean_known([answer_overlap(one.rationale or "", one.answer_text) for one in rows]),
        }
        for name, rows in examples.items()
    }


def evenly(count: int, most: int) -> list[int]:
    """At most so many places of `count`, at equal distances."""
    return list(range(count)) if count <= most else [i * count // most for i in range(most)]


def _side_by_side(by_source: Mapping[str, Mapping[str, Any]]) -> str:
    """One line a figure, one column a source."""
    columns = [dict(figures(one)) for one in by_source.values()]
    names = list(dict.fromkeys(name for column in columns for name in column))
    return table(
        ["", *by_source], [[name, *(column.get(name) for column in columns)] for name in names], right=list(by_source)
    )


def filter_(arguments: argparse.Namespace) -> Result:
    chosen = parse_filters(arguments.filters)
    asked_for = requested(arguments)
    left, counted = apply(asked_for.answers, chosen)
    choice = {"how": arguments.pick, "part": arguments.part, "drop": (ANSWER_ALONE,)}
    kept, left_out = source_rows(left, **choice)
    source = None
    if arguments.name:
        origin = {**asked_for.origin, "filters": ",".join(map(str, chosen))}
        source = add(asked_for.task, arguments.name, left, **choice, origin=origin)
    document: dict[str, Any] = {
        "task": asked_for.task.name,
        "of": asked_for.name,
        "answers": len(asked_for.answers),
        "kept": len(left),
        "questions": len(kept),
        "rationales": sum(row.text is not None for row in kept),
        "left_out": dict(left_out),
        "filters": [
            {
                "filter": c.filter, "seen": c.seen, "dropped": c.dropped, "alone": c.alone,
                "examples": [{"id": a.example.id, "text": a.text, "reason": reason} for a, reason in c.examples],
            }
            for c in counted
        ],
        "source": source,
    }  # fmt: skip
    rows = [[c.filter, f"{c.seen:,}", f"{c.dropped:,}", f"{c.alone:,}"] for c in counted]
    lines = (
        [
            table(
                ["filter", "seen", "dropped", "alone it would drop"],
                rows,
                right=("seen", "dropped", "alone it would drop"),
            )
        ]
        if rows
        else []
    )
    for c in counted:
        lines += [
            f"  {c.filter.partition('(')[0]}: {a.example.id}: {reason}: {printable(a.text)[:SHOWN]}"
            for a, reason in c.examples[:2]
        ]
    lines.append(
        f"{plural(len(left), 'rationale')} of {len(asked_for.answers):,} stay, for"
        f" {plural(document['questions'], 'question')}. Nothing is deleted."
    )
    if left_out:
        others = ", ".join(f"{why} {number:,}" for why, number in left_out.items())
        lines.append(f"{plural(document['rationales'], 'row')} of the source hold a rationale; left out: {others}.")
    if source:
        conditions = (
            f"label_only,post_cot@source={asked_for.name},post_cot@source={source}"
            if asked_for.name in asked_for.task.sources
            else "label_only,post_cot"
        )
        words = [
            "study",
            "run",
            "--task",
            asked_for.task.name,
            "--source",
            source,
            "--conditions",
            conditions,
            "--wait",
        ]
        lines.append(f"They are a source now: {source}\nTrain on it: {command(*words)}")
    else:
        lines.append("Name them to make them a source: --name N")
    return Result(document, "\n".join(lines))


def show(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    task = open_task(store.tasks_root, arguments.task, world=arguments.world)
    example = task.example(arguments.example)
    rows: list[dict[str, Any]] = []
    facts = {entry["source"]: entry for entry in told_of(task, example.id)}
    for source in task.sources:
        explained = task.example(example.id, source)
        if explained.source == source and explained.rationale:
            teacher_answer = TeacherAnswer(
                explained, explained.rationale, task.teacher_labels(source).get(explained.id)
            )
            rows.append(
                {
                    "source": source,
                    "text": teacher_answer.text,
                    "label": teacher_answer.label,
                    "stated": teacher_answer.stated.label,
                    "how": teacher_answer.stated.how or teacher_answer.stated.problem,
                    "reason": teacher_answer.rationale,
                    "contradicts": teacher_answer.stated.contradicts,
                    "words": len(teacher_answer.shown.split()),
                    **{key: facts[source][key] for key in ("right", "gold_text", "answer_key")},
                }
            )
    document = {
        "id": example.id,
        "question": example.question,
        "choices": [plain(c) for c in example.choices],
        "answer": example.answer,
        "rationales": rows,
    }
    lines = [
        printable(example.question),
        "  ".join(
            f"{'*' if c.label == example.answer else ''}({c.label}) {printable(c.text)}" for c in example.choices
        ),
    ]
    for row in rows:
        answer = f"answers {row['label']}" if row["label"] else f"{row['how']} {row['stated'] or ''}".strip()
        answer += ", not the label" if row["right"] is False else ""
        lines += ["", f"{row['source']} ({row['words']} words; {answer})", f"  {printable(row['text'])}"]
    return Result(document, "\n".join(lines if rows else [*lines, "", "No source says anything about this row."]))


def export(arguments: argparse.Namespace) -> Result:
    asked_for = requested(arguments)
    rows = [
        {
            "id": a.example.id,
            "rationale": a.shown,
            "rationale_source": asked_for.name,
            "teacher_label": a.answer,
            "split": a.example.split,
            "sample": a.sample,
            "given": a.given or None,
            "finish": a.finish or None,
        }
        for a in asked_for.answers
    ]
    write_lines(arguments.out, rows)
    document = {"task": asked_for.task.name, "source": asked_for.name, "rows": len(rows), "out": str(arguments.out)}
    return Result(document, f"{plural(len(rows), 'rationale')} written to {arguments.out}")


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write JSON lines, whole or not at all; UsageError where they cannot be."""
    with whole_file(path) as part:
        part.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    note(
        "Rows in the form of a side file: as rationales/SPLIT.SOURCE.jsonl beside the questions,"
        f" `{command('tasks', 'import')}` reads them."
    )


def task_arguments(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument("--task", required=required, metavar="T", help="a task of `tasks list`")
    parser.add_argument(
        "--world", type=whole_number(0), default=0, metavar="N", help="which world of a generated task; default 0"
    )


def which_arguments(parser: argparse.ArgumentParser) -> None:
    task_arguments(parser, required=False)
    parser.add_argument("--source", default="", metavar="S", help="whose rationales; default: the task's")
    parser.add_argument(
        "--job", default="", metavar="JOB", help="the answers of an elicitation instead, as far as it has come"
    )
    parser.add_argument("--splits", default="", metavar="A,B", help="of which splits; default: all")


def quality_arguments(parser: argparse.ArgumentParser) -> None:
    task_arguments(parser, required=False)
    parser.add_argument(
        "--job", default="", metavar="JOB", help="the answers of an elicitation instead, as far as it has come"
    )
    parser.add_argument(
        "--sources", default="", metavar="A,B", help="whose rationales; default: every source of the task"
    )
    parser.add_argument("--splits", default="", metavar="A,B", help="of which splits; default: all")
    parser.add_argument(
        "--student",
        default="",
        metavar="S",
        help="also how this student reads the rationales before training: a folder, a pretrained student or a run",
    )
    parser.add_argument(
        "--rationales",
        type=whole_number(1),
        default=200,
        metavar="N",
        help="with --student: rationales read of a source",
    )


def filter_arguments(parser: argparse.ArgumentParser) -> None:
    which_arguments(parser)
    parser.add_argument(
        "--filters",
        default="",
        metavar="F,...",
        help="names of `teacher filters`, such as 'agrees,length(low=5,high=60)'",
    )
    parser.add_argument(
        "--name", default="", metavar="N", help="make what stays a source of the task: N and a digest of its content"
    )
    parser.add_argument(
        "--pick", choices=PICKS, default="first", help="which of several answers to one question; default first"
    )
    parser.add_argument(
        "--part",
        choices=PARTS,
        default="all",
        help="all of the text, or the reason without the statement of the answer",
    )


def show_arguments(parser: argparse.ArgumentParser) -> None:
    task_arguments(parser)
    parser.add_argument("--example", required=True, metavar="ID", help="the row")


def export_arguments(parser: argparse.ArgumentParser) -> None:
    which_arguments(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the file that is written, JSON lines")

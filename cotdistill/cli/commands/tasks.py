"""tasks list, show, look, hub, import, export, rename, delete."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cotdistill.cli.command import Command, Noun, Result, parsed_pairs, whole_number
from cotdistill.cli.output import Progress, note, printable, table
from cotdistill.config import from_mapping, plain
from cotdistill.errors import UsageError
from cotdistill.report.commands import command
from cotdistill.store.store import Store
from cotdistill.studies.stored_tasks import delete_task, rename_task
from cotdistill.tasks.catalog import list_tasks, open_task
from cotdistill.tasks.describe import describe, export_task
from cotdistill.tasks.example import CHOICE
from cotdistill.tasks.importing.columns import ColumnMap
from cotdistill.tasks.importing.files import source_name
from cotdistill.tasks.importing.hub import PREFIX, HubSource, hub_source
from cotdistill.tasks.importing.hub_catalog import HUB
from cotdistill.tasks.importing.importer import import_task
from cotdistill.tasks.importing.preview import preview_source
from cotdistill.tasks.task import Task
from cotdistill.tasks.template import Template
from cotdistill.text import percent, plural


def list_(arguments: argparse.Namespace) -> Result:
    document = list_tasks(Store.open().tasks_root)
    rows = [
        [
            task["id"] + (" (artificial)" if task["artificial"] else ""),
            *((task["rows"] or {}).get(split) for split in ("train", "dev", "test")),
            None if task["chance"] is None else percent(task["chance"]),
            ", ".join(task["sources"]),
            task["help"],
        ]
        for task in document
    ]
    text = table(
        ["task", "train", "dev", "test", "chance", "rationales by", ""], rows, right=("train", "dev", "test", "chance")
    )
    return Result(document, text)


def _task(arguments: argparse.Namespace) -> Task:
    return open_task(Store.open().tasks_root, arguments.task, world=arguments.world)


def show(arguments: argparse.Namespace) -> Result:
    document = {"id": arguments.task, **plain(describe(_task(arguments)))}
    return Result(document, "\n".join(_outline(document)))


def _outline(value: dict[str, Any], depth: int = 0) -> list[str]:
    """A nested mapping as indented lines."""
    lines = []
    for key, item in value.items():
        name = f"{'  ' * depth}{str(key).replace('_', ' ')}"
        if isinstance(item, dict) and item:
            lines += [name, *_outline(item, depth + 1)]
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            lines += [
                name,
                *(f"{'  ' * (depth + 1)}{printable(json.dumps(part, ensure_ascii=False))}" for part in item),
            ]
        else:
            shown = (
                ", ".join(map(str, item))
                if isinstance(item, list)
                else f"{item:.4g}"
                if isinstance(item, float)
                else item
            )
            lines.append(f"{name}: {printable(str(shown)) if shown not in (None, '', {}) else '-'}")
    return lines


def _source(arguments: argparse.Namespace) -> Path | HubSource:
    """What is named: a data set of the hub behind hub:, else a file or folder."""
    if arguments.path.startswith(PREFIX):
        return hub_source(arguments.path, arguments.config or "", arguments.revision or "", arguments.splits)
    if arguments.config or arguments.revision:
        raise UsageError(
            "--config and --revision are for data sets of the hub.", f"Did you mean {PREFIX}{arguments.path[:80]}?"
        )
    path = Path(arguments.path).expanduser()
    if not path.exists():
        raise UsageError(
            f"There is no file or folder {path}.",
            "Name a JSONL, CSV or Parquet file, a folder with {train,dev,test} files, or a data set as hub:OWNER/NAME.",
        )
    return path


def look(arguments: argparse.Namespace) -> Result:
    source = _source(arguments)
    preview = preview_source(source, _map_changes(arguments), arguments.splits)
    document = preview.document()
    lines = [f"{name}: {count:,} rows" for name, count in preview.counts.items()]
    lines += [f"commit {preview.hub['commit'] or 'of a folder'}"] if preview.hub else []
    lines += ["", *(f"{name}: {_cell(preview.rows[0].get(name))}" for name in preview.rows[0])] if preview.rows else []
    fields = [[guess.field, guess.columns, guess.confidence, guess.why] for guess in preview.fields]
    lines += ["", table(["field", "read from", "confidence", ""], fields)]
    lines.append(f"Answers are read as {preview.answers}." if preview.answers else "")
    if preview.unread:
        lines.append(f"Text that no field reads: {printable(', '.join(preview.unread)[:300])}")
    for number, row in enumerate(document["examples"], 1):
        lines += [
            "",
            f"row {number}, as it would be read{': ' + row['split'] if row['split'] else ''}",
            *_read_row(row),
        ]
    lines += [""] if preview.warnings or preview.error or preview.problems else []
    lines += [f"warning: {printable(warning)}" for warning in preview.warnings]
    lines += [f"bad row: {p.file} line {p.line}: {printable(p.reason)}" for p in preview.problems[:5]]
    if len(preview.problems) > 5:
        lines.append(f"... and {len(preview.problems) - 5:,} more bad rows")
    if preview.error:
        lines.append(f"Cannot be imported like this: {printable(preview.error['message'])} {preview.error['hint']}")
    else:
        lines += ["", f"Next: {_next_import(arguments, bool(preview.problems))}"]
    return Result(document, "\n".join(lines))


def _cell(value: Any) -> str:
    """A value of a file on one line."""
    return printable(json.dumps(value, ensure_ascii=False, default=str)[:100])


def _read_row(row: Mapping[str, Any]) -> list[str]:
    """One row of a preview as lines: passage, question, choices with the right one marked, rationales."""
    lines = [f"  passage: {printable(row['passage'][:300])}"] if row["passage"] else []
    lines.append(f"  question: {printable(row['question'][:300])}")
    for choice in row["choices"]:
        mark = "*" if choice["label"] in row["gold"] else " "
        lines.append(f"  {mark} ({choice['label']}) {printable(choice['text'][:200])}")
    lines += [] if row["choices"] else [f"  answer: {printable(' or '.join(row['gold'])[:200])}"]
    for source, text in row["rationales"].items():
        lines += [f"  rationale by {source}:", *(f"    {printable(line)}" for line in text[:600].splitlines())]
    return lines if row["rationales"] else [*lines, "  no rationale"]


def _next_import(arguments: argparse.Namespace, bad_rows: bool) -> str:
    """The command that imports what was looked at."""
    known = arguments.path.removeprefix(PREFIX) in HUB and arguments.path.startswith(PREFIX)
    stem = source_name(Path(arguments.path.removeprefix(PREFIX)).name.split(".")[0])
    words = ["tasks", "import", arguments.path, *([] if known else ["--name", stem])]
    for option in ("config", "revision"):
        words += [f"--{option}", getattr(arguments, option)] if getattr(arguments, option) else []
    pairs = {name: value for part in arguments.columns or () for name, value in part.items()}
    if arguments.splits:
        words += ["--splits", ",".join(f"{ours}={names}" for ours, names in arguments.splits.items())]
    words += ["--map", *(f"{name}={value}" for name, value in pairs.items())] if pairs else []
    return command(*words, *(["--keep-good-rows"] if bad_rows else []))


# What the map of a known data set was tried on.
SEEN = {"rows": "its real rows", "schema": "made-up rows of its schema"}


def hub_list(arguments: argparse.Namespace) -> Result:
    document = [
        {
            "id": one.name,
            "title": one.title,
            "help": one.help,
            "dataset": one.dataset,
            "config": one.config,
            "revision": one.revision,
            "columns": one.columns.set_fields(),
            "splits": dict(one.splits),
            "template": plain(one.template),
            "licence": one.licence,
            "note": one.note,
            "shuffle_choices": one.shuffle_choices,
            "seen": one.seen,
        }
        for one in HUB
    ]
    rows = [[f"{PREFIX}{one.name}", one.dataset, one.config, one.revision[:12], one.help] for one in HUB]
    text = table(["name", "data set", "config", "revision", ""], rows)
    text += "\n\n" + "\n".join(
        f"{one.name}: tried on {SEEN[one.seen]}; licence {one.licence}. {one.note}" for one in HUB
    )
    footer = "Import one: cotdistill tasks import hub:openbookqa\nAny other:  cotdistill tasks look hub:OWNER/NAME"
    return Result(document, f"{text}\n\n{footer}")


def import_(arguments: argparse.Namespace) -> Result:
    source = _source(arguments)
    name = arguments.name or (source.known.name if isinstance(source, HubSource) and source.known else "")
    if not name:
        raise UsageError("The task needs a name.", "Give it one: --name mytask")
    template = _template(arguments.template) if arguments.template else None
    progress = Progress(1.0, "share")
    try:
        report = import_task(
            Store.open().tasks_root,
            source,
            name,
            changes=_map_changes(arguments),
            splits=arguments.splits,
            shuffle_choices=arguments.shuffle_choices,
            keep_good_rows=arguments.keep_good_rows,
            cluster=arguments.cluster,
            template=template,
            progress=lambda share, what: progress.show(share, what),
        )
    finally:
        progress.close()
    document: dict[str, Any] = {
        "task": report.task.name,
        "digest": report.task.digest,
        "rows": {split: len(report.task.examples(split)) for split in ("train", "dev", "test")},
        "sources": list(report.task.sources),
        "roles": dict(report.task.roles),
        "chance": report.task.chance,
        "hub": report.task.info.get("hub"),
        "columns": report.task.info.get("columns", {}),
        "answers": report.task.info.get("answers", ""),
        "problems": [plain(problem) for problem in report.problems],
        "warnings": list(report.warnings),
    }
    for problem in document["problems"]:
        note(f"left out: {printable(problem['file'])} line {problem['line']}: {printable(problem['reason'])}")
    lines = [f"Imported {document['task']} ({document['digest'][:12]})."]
    lines += [
        f"  {split}: {count} rows ({document['roles'].get(split, '')})" for split, count in document["rows"].items()
    ]
    written = report.task.answer_kind != CHOICE
    chance = "no chance line" if written else f"chance {percent(document['chance'])}"
    lines.append(f"  rationales by: {', '.join(document['sources']) or 'nobody'}; {chance}")
    answers = f"a written {report.task.answer_kind}" if written else document["answers"]
    lines.append(f"  read as: {printable(_read_as(document['columns']))}; answers as {answers}")
    lines += [f"  warning: {printable(warning)}" for warning in document["warnings"]]
    if document["problems"]:
        lines.append(f"  {len(document['problems'])} rows were left out; each is listed above with its reason.")
    conditions = "label_only,post_cot" if report.task.sources else "label_only"
    study = ["study", "run", "--task", report.task.name, "--conditions", conditions, "--seeds", "3", "--wait"]
    total = plural(sum(document["rows"].values()), "row")
    lines.append(f"Next: {command(*study)}")
    lines.append(f"Imported {total}. What is in them: {command('tasks', 'show', report.task.name)}")
    return Result(document, "\n".join(lines))


def _read_as(columns: Mapping[str, Any]) -> str:
    """A map that is kept with a task, as --map takes it."""
    empty = vars(ColumnMap())
    return " ".join(f"{name}={value}" for name, value in columns.items() if value != empty.get(name))


def _map_changes(arguments: argparse.Namespace) -> dict[str, Any]:
    """What --map says."""
    return _changes({field: column for pairs in arguments.columns or () for field, column in pairs.items()})


def _changes(pairs: Mapping[str, str]) -> dict[str, Any]:
    """Fields of the map: column names, but first_number, which is a number, and inline_choices, true or false."""
    values: dict[str, Any] = dict(pairs)
    if (flag := pairs.get("inline_choices", "").casefold()) in ("true", "false"):
        values["inline_choices"] = flag == "true"
    if (number := pairs.get("first_number", "")).lstrip("-").isdigit():
        values["first_number"] = int(number)
    checked = from_mapping(ColumnMap, values)
    return {field: getattr(checked, field) for field in values}


def _field_pairs(text: str) -> dict[str, str]:
    """`question=q,answer=gold` as a mapping. A comma that no field follows belongs to the value before it
    (values=false=no,true=yes); a field without a value is emptied.
    """
    pairs: dict[str, str] = {}
    last = ""
    for part in text.split(","):
        field, equals, value = part.partition("=")
        if equals and field.strip() and (last != "values" or field.strip() in vars(ColumnMap())):
            last = field.strip()
            pairs[last] = value.strip()
        elif last:
            pairs[last] += f",{part}"
        else:
            raise argparse.ArgumentTypeError(f"{text!r} is not FIELD=COLUMN (for example question=stem,answer=key)")
    return pairs


def _template(path: str) -> Template:
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The template {path} cannot be read: {error}",
            'Expected a JSON object such as {"label_cue": "\\nAnswer:"}.',
        ) from error
    template = from_mapping(Template, values)
    template.check()
    return template


def export(arguments: argparse.Namespace) -> Result:
    written = export_task(_task(arguments), Path(arguments.folder).expanduser())
    document = {"task": arguments.task, "files": [str(path) for path in written]}
    return Result(document, "\n".join(document["files"]))


def rename(arguments: argparse.Namespace) -> Result:
    task = rename_task(Store.open(), arguments.task, arguments.new_name)
    document = {"task": task.name, "was": arguments.task, "digest": task.digest}
    return Result(document, f"{arguments.task} is now {task.name} ({task.digest[:12]}).")


def delete(arguments: argparse.Namespace) -> Result:
    versions = delete_task(Store.open(), arguments.task)
    document = {"task": arguments.task, "versions": versions}
    return Result(document, f"Deleted {arguments.task} ({plural(versions, 'version')}).")


def _imported_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="NAME", help="name of an imported task")


def _rename_arguments(parser: argparse.ArgumentParser) -> None:
    _imported_argument(parser)
    parser.add_argument("new_name", metavar="NEW", help="its new name")


def _task_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", help="its name; name@digest opens that version of an imported task")
    parser.add_argument(
        "--world", type=whole_number(0), default=0, metavar="N", help="which world of a generated task (default 0)"
    )


def _example_arguments(parser: argparse.ArgumentParser) -> None:
    _task_arguments(parser)
    parser.add_argument("example", help="the id of an example")


def _source_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        metavar="DIR|FILE|hub:NAME",
        help=(
            "a folder with {train,dev,test}.{jsonl,csv,parquet}[.gz], one such file, hub:OWNER/NAME, or a known data"
            " set such as hub:openbookqa"
        ),
    )
    parser.add_argument("--config", metavar="C", help="hub: which config of the data set")
    parser.add_argument(
        "--revision", metavar="R", help="hub: a commit, tag or branch; the commit it stands for is recorded"
    )
    parser.add_argument(
        "--splits",
        type=parsed_pairs,
        metavar="OURS=THEIRS,...",
        help="which files of a folder, or splits of the hub, are train, dev and test (train=train_1+train_2,dev=val)",
    )
    parser.add_argument(
        "--columns",
        "--map",
        nargs="+",
        type=_field_pairs,
        metavar="FIELD=COLUMN",
        help="fields that are read otherwise than guessed (question=context+question, values=false=no,true=yes)",
    )


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    _source_arguments(parser)
    parser.add_argument("--name", metavar="N", help="the name it gets; known data sets have one")
    parser.add_argument(
        "--cluster",
        metavar="RULE",
        help="what groups rows that are not independent: a column's name, or regex:PATTERN on the question",
    )
    parser.add_argument(
        "--keep-good-rows",
        action="store_true",
        help="leave bad rows out (each is listed) instead of refusing the whole import",
    )
    parser.add_argument(
        "--shuffle-choices",
        type=whole_number(0),
        metavar="SEED",
        help="put the choices of each row into another order, drawn from the seed and the row's id",
    )
    parser.add_argument(
        "--template", metavar="FILE", help="a JSON file with the parts of the prompt that differ from the default"
    )


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    _task_arguments(parser)
    parser.add_argument("folder", help="where the files go")


NOUN = Noun(
    "tasks",
    "questions with answers and rationales",
    (
        Command(
            "tasks",
            "list",
            "the tasks of the store, and the generated one",
            list_,
            {
                "id": "name for --task",
                "title": "name for people",
                "help": "one line",
                "artificial": "whether it is made by code",
                "rows": "rows of each split; null for a generated task that was not made yet",
                "sources": "whose rationales there are",
                "chance": "accuracy of guessing (share), or null",
                "digest": "hash of its content, or null",
            },
            listed=True,
        ),
        Command(
            "tasks",
            "show",
            "counts, balance, lengths, leakage, duplicates and the roles of the splits",
            show,
            {
                "id": "name",
                "name": "name",
                "title": "name for people",
                "artificial": "whether it is made by code",
                "answer_kind": "choice, number or text: chosen, or written by the student",
                "digest": "hash of its content",
                "chance": "accuracy of guessing (share)",
                "tokenizer": "word or bpe: what built-in students read it with",
                "default_source": "whose rationales are used unless others are named; empty without any",
                "splits": (
                    "train, dev and test, each: role, rows, clusters, answers, choices (rows by number of them),"
                    " question_words and choices_words (mean, p5, median, p95, longest)"
                ),
                "sources": (
                    "by whose rationales, of the training split: with_rationale (rows), share, words, gold_text (share"
                    " whose text holds the gold choice's), answer_key (share that names a choice's letter),"
                    " teacher_right (share of the teacher's own answers that are right, or null), and splits: the"
                    " counts behind them for train, dev and test"
                ),
                "checks": "what was checked when it was made: duplicates and overlaps of the splits",
                "hub": "dataset, config, revision, commit, splits and licence of a data set of the hub, else null",
            },
            _task_arguments,
        ),
        Command(
            "tasks",
            "look",
            "preview a file, a folder or a data set of the hub without importing: the map, and the first rows as read",
            look,
            {
                "columns": "names of the columns, those of nested values with a dot",
                "guessed": "the map: the column of each field that is set",
                "fields": "the same with how sure it is",
                "fields[].field": "name of the field, as --map takes it",
                "fields[].columns": "its columns, joined by +",
                "fields[].confidence": "given (by --map), high, medium or low",
                "fields[].why": "how many rows have it, and which other columns could be meant",
                "missing": "fields that an import needs and no column is known for",
                "rows": "the first rows as they stand in the file",
                "examples": "the first rows as they would be read: id, split, passage, question, choices, gold,"
                " rationales",
                "unread": "columns of text that no field reads",
                "answers": "how answers are read: labels, texts or places; empty where that is not known",
                "counts": "rows of each file or split",
                "problems": "rows that cannot be read, of the first thousand per split: file, line, reason",
                "error": "why nothing can be imported like this (message, hint), or null",
                "hub": "dataset, config, commit and splits of a data set of the hub, or null",
                "warnings": "what deserves a look",
            },
            _source_arguments,
        ),
        Command(
            "tasks",
            "hub",
            "data sets of the hub that are known: where, at which commit, which column is what, licence",
            hub_list,
            {
                "id": "name for tasks import hub:NAME",
                "title": "name for people",
                "help": "one line",
                "dataset": "id on the hub",
                "config": "its config; empty for the default",
                "revision": "the pinned commit, or a branch whose commit is recorded at import",
                "columns": "the column of each field",
                "splits": "our splits by the hub's names; empty for the usual ones",
                "template": "the parts of the prompt",
                "licence": "as stated at the hub or the source",
                "note": "what to know before use",
                "shuffle_choices": "seed by which its choices are put into another order, or null",
                "seen": "what it was tried on: rows (its real rows, converted) or schema (made-up rows)",
            },
            listed=True,
        ),
        Command(
            "tasks",
            "import",
            "read a folder, a file or a data set of the hub; nothing is half-imported",
            import_,
            {
                "task": "its name",
                "digest": "hash of its content",
                "rows": "rows of each split",
                "sources": "whose rationales there are",
                "roles": "what each split is",
                "chance": "accuracy of guessing (share)",
                "hub": "dataset, config, revision, commit, splits and licence of a data set of the hub, or null",
                "columns": "the column of each field",
                "answers": "how answers were read: labels, texts or places",
                "problems": "rows that were left out",
                "problems[].file": "file",
                "problems[].line": "line (1-based)",
                "problems[].reason": "what is wrong",
                "warnings": "what deserves a look: duplicates, overlaps, clusters",
            },
            _import_arguments,
        ),
        Command(
            "tasks",
            "export",
            "write a task as JSONL files",
            export,
            {"task": "its name", "files": "what was written"},
            _export_arguments,
        ),
        Command(
            "tasks",
            "rename",
            "give an imported task another name; refused while a study uses it",
            rename,
            {"task": "its new name", "was": "its name before", "digest": "hash of its content, which holds the name"},
            _rename_arguments,
        ),
        Command(
            "tasks",
            "delete",
            "delete an imported task with all its versions; refused while a study uses it",
            delete,
            {"task": "its name", "versions": "how many versions are gone"},
            _imported_argument,
        ),
    ),
)

"""teacher elicit, resume, progress, list: ask a teacher for rationales, go on where it was left, see how far it is."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from cotdistill.cli.command import Result, whole_number
from cotdistill.cli.commands.teacher.rationales import task_arguments
from cotdistill.cli.inspect.shared import waited
from cotdistill.cli.output import printable, table
from cotdistill.config import check, from_mapping, plain
from cotdistill.errors import UsageError
from cotdistill.execution.supervisor import ensure_supervisor
from cotdistill.planning import elicitation
from cotdistill.report.commands import command
from cotdistill.report.teachers import estimated, outcome, spending
from cotdistill.store.records import Job
from cotdistill.store.store import Store
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.importing.files import source_name
from cotdistill.tasks.task import SPLITS, Task
from cotdistill.teachers.asking import Pace
from cotdistill.teachers.elicitation import (
    GIVEN,
    PARTS,
    Contrast,
    ElicitConfig,
    Sampling,
    TeacherConfig,
    checked,
    label_of,
    requests,
)
from cotdistill.teachers.prompts import MOST_SHOTS, PRESETS, Shot, draw_shots, read_shots, template_of
from cotdistill.teachers.responses import Responses
from cotdistill.text import duration

C = TypeVar("C")
# What of a long list a command prints; the JSON document holds more.
SHOWN = 5


def elicit(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    task = open_task(store.tasks_root, arguments.task, world=arguments.world)
    config = checked(config_of(task, arguments))
    pace = _read(Pace, arguments, elicitation.pace_of(store, config.teacher.model))
    check(pace)
    expected = elicitation.estimate(store, task, config, pace)
    first = requests(task, config)[0]
    document: dict[str, Any] = {
        "id": None,
        "state": None,
        "label": label_of(config),
        "estimate": plain(expected),
        "result": None,
    }
    document |= {"prompt": first.turns, "against": first.against}
    lines = [label_of(config), *_estimated(estimated(expected, pace)), "", "The first question as it is asked:"]
    lines += [f"  [{turn['role']}] {line}" for turn in first.turns for line in printable_lines(turn["content"])]
    if arguments.estimate:
        return Result(document, "\n".join([*lines, "", "Nothing was asked. Leave --estimate out to begin."]))
    job = elicitation.submit(store, config, pace)
    return _begun(store, job, document, lines, wait=arguments.wait)


def _begun(store: Store, job: Job, document: dict[str, Any], lines: list[str], *, wait: bool) -> Result:
    ensure_supervisor(store)
    if wait:
        job = waited(store, job.id)
    document |= {"id": job.id, "state": job.state, "result": job.result}
    if job.state != "finished":
        return Result(
            document,
            "\n".join(
                [*lines, "", f"Job {job.id} is {job.state}. See it: {command('teacher', 'progress', str(job.id))}"]
            ),
        )
    return Result(document, "\n".join([*lines, "", *_progress_parts(job)]))


def _progress_parts(job: Job) -> list[str]:
    result = job.result or {}
    lines = [f"Job {job.id}:", *outcome(result, job.config, job.id)]
    if result["failed"]:
        causes = ", ".join(f"{cause} {number}" for cause, number in result["causes"].items())
        lines.append(
            f"{result['failed']:,} got no answer ({causes}). Ask them again:"
            f" {command('teacher', 'resume', str(job.id))}"
        )
    if source := result["source"]:
        words = [
            "study",
            "run",
            "--task",
            str(job.config["task"]),
            "--source",
            str(source),
            "--conditions",
            "label_only,pre_cot,post_cot",
            "--wait",
        ]
        lines += [f"They are a source now: {source}", f"Train on it: {command(*words)}"]
    return lines


def _estimated(words: list[tuple[str, str]]) -> list[str]:
    return [f"  {what.ljust(15)} {told}" for what, told in words]


def printable_lines(text: str) -> list[str]:
    return [printable(line) for line in text.splitlines()]


def config_of(task: Task, arguments: argparse.Namespace) -> ElicitConfig:
    """The elicitation that the words describe."""
    ids = _ids(arguments.ids) if arguments.ids else ()
    shots, shown = _shots(task, arguments)
    template = (
        template_of(Path(arguments.template).read_text(encoding="utf-8"))
        if _is_file(arguments.template)
        else template_of(arguments.template)
    )
    extra = {
        **_extra(arguments.extra),
        **({"reasoning_effort": effort} if (effort := arguments.reasoning_effort) else {}),
    }
    teacher = dataclasses.replace(_read(TeacherConfig, arguments, TeacherConfig()), extra=extra)
    sampling = dataclasses.replace(_read(Sampling, arguments, Sampling()), stop=tuple(arguments.stop))
    name = arguments.name or source_name(Path(arguments.model).name)[:48]
    return ElicitConfig(
        task=task.name,
        task_digest=task.digest,
        name=name,
        teacher=teacher,
        template=template,
        shots=shots,
        shown_shots=shown,
        given=arguments.given,
        wrong=arguments.wrong,
        sampling=sampling,
        contrast=_read(Contrast, arguments, Contrast()),
        split=arguments.split,
        part=arguments.part,
        rows=arguments.rows,
        ids=ids,
        world=arguments.world,
    )


def _is_file(text: str) -> bool:
    if text in PRESETS or text.lstrip().startswith("{"):
        return False
    if not Path(text).is_file():
        PRESETS.get(text)
    return True


def _ids(text: str) -> tuple[str, ...]:
    try:
        listed = (
            Path(text).read_text(encoding="utf-8").splitlines()
            if "," not in text and Path(text).is_file()
            else text.split(",")
        )
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{text} cannot be read: {error}", "Expected a text file with one id a line.") from error
    return tuple(dict.fromkeys(id.strip() for id in listed if id.strip()))


def _shots(task: Task, arguments: argparse.Namespace) -> tuple[tuple[Shot, ...], int]:
    if arguments.shots_file:
        try:
            shots = read_shots(Path(arguments.shots_file).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{arguments.shots_file} cannot be read: {error}",
                "Expected JSON lines: question, choices, answer, rationale.",
            ) from error
        return shots, arguments.shots or len(shots)
    return (
        draw_shots(task, arguments.shots_source or task.default_source, arguments.shots, arguments.shots_seed),
        arguments.shots,
    )


def _extra(text: str) -> Mapping[str, Any]:
    try:
        values = json.loads(text or "{}")
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise UsageError(
            f"--extra {text[:80]!r} is no JSON object.", """For example --extra '{"reasoning_effort": "low"}'"""
        )
    return values


def _read(cls: type[C], arguments: argparse.Namespace, start: C) -> C:
    """A config from the options that were given, laid over `start`."""
    options = {f.name: getattr(arguments, f.name) for f in _fields(cls) if getattr(arguments, f.name, None) is not None}
    return from_mapping(cls, {**plain(start), **options})


def _fields(cls: type[Any]) -> list[dataclasses.Field[Any]]:
    """The fields that an option can hold."""
    return [f for f in dataclasses.fields(cls) if isinstance(f.default, (str, int, float))]


def resume(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    job = elicitation.elicited(store, arguments.job)
    model = str(job.config["teacher"]["model"])
    pace = _read(Pace, arguments, elicitation.pace_of(store, model))
    check(pace)
    Responses(store.home).set_pace(model, plain(pace))
    again = elicitation.resume(store, job.id)
    document: dict[str, Any] = {"label": again.label, "asked_again": again.id != job.id}
    return _begun(store, again, document, [again.label], wait=arguments.wait)


def progress(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    job = elicitation.elicited(store, arguments.job)
    responses = Responses(store.home)
    counted, failures = responses.count(job.identity), responses.failures(job.identity)
    latest = responses.answers(job.identity, newest=SHOWN)
    document = {
        "id": job.id,
        "state": job.state,
        "label": job.label,
        "asked": counted.asked,
        "answered": counted.answered,
        "failed": counted.failed,
        "tokens_in": counted.tokens_in,
        "tokens_out": counted.tokens_out,
        "progress": dict(job.progress),
        "failures": failures,
        "latest": [{key: row[key] for key in ("id", "sample", "text", "finish")} for row in latest],
        "error": job.error,
        "result": job.result,
    }
    lines = [f"job {job.id} ({printable(job.label)}): {job.state}"]
    lines.append(
        f"{counted.answered:,} of {counted.asked:,} answered, {counted.failed:,} without an answer;"
        f" {duration(job.seconds)} so far"
    )
    lines += spending(job.progress, counted.tokens_in, counted.tokens_out)
    lines += outcome(job.result, job.config, job.id) if job.result else []
    lines += [f"failed: {(job.error or {}).get('message', '')}"] if job.state == "failed" else []
    if failures:
        rows = [[f["id"], f["cause"], f["tries"], printable(f["detail"])] for f in failures[:SHOWN]]
        lines += ["", table(["without an answer", "cause", "tries", ""], rows, right=("tries",))]
    for row in latest:
        lines += ["", f"{row['id']} ({row['finish']})", *(f"  {line}" for line in printable_lines(row["text"]))]
    return Result(document, "\n".join(lines))


def list_(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    responses = Responses(store.home)
    listed = []
    for job in store.queue.jobs(kind="elicit"):
        counted = responses.count(job.identity)
        listed.append(
            {
                "id": job.id,
                "label": job.label,
                "state": job.state,
                "task": job.config["task"],
                "model": job.config["teacher"]["model"],
                "asked": counted.asked,
                "answered": counted.answered,
                "failed": counted.failed,
                "source": (job.result or {}).get("source"),
            }
        )
    rows = [
        [j["id"], j["state"], printable(j["label"]), j["answered"], j["asked"], j["failed"], j["source"]]
        for j in listed
    ]
    text = table(
        ["job", "state", "what", "answered", "asked", "failed", "source"],
        rows,
        right=("job", "answered", "asked", "failed"),
    )
    return Result(listed, text if rows else "No teacher was asked yet.")


def elicit_arguments(parser: argparse.ArgumentParser) -> None:
    task_arguments(parser)
    parser.add_argument(
        "--name", default="", metavar="N", help="of the source that the answers become; default: the model's name"
    )
    parser.add_argument("--given", choices=GIVEN, default="gold", help="what answer the teacher is shown; default gold")
    parser.add_argument(
        "--wrong",
        default="",
        metavar="LABEL",
        help="the wrong answer it is shown or held against; default: drawn for each row",
    )
    names = ", ".join(PRESETS.names())
    parser.add_argument(
        "--template",
        default="deductive",
        metavar="NAME|FILE",
        help=f"how it is asked: {names}, or a JSON file (or text) of parts",
    )
    parser.add_argument(
        "--shots",
        type=whole_number(0),
        default=0,
        metavar="N",
        help=f"worked examples it is shown, 0 to {MOST_SHOTS}; default 0",
    )
    parser.add_argument(
        "--shots-source", default="", metavar="S", help="whose rationales they have; default: the task's"
    )
    parser.add_argument(
        "--shots-seed", type=whole_number(0), default=0, metavar="N", help="which of them are drawn; default 0"
    )
    parser.add_argument(
        "--shots-file",
        default="",
        metavar="FILE",
        help="your own instead, JSON lines: question, choices, answer, rationale",
    )
    parser.add_argument("--split", choices=SPLITS, default="train", help="which rows; default train")
    parser.add_argument(
        "--rows", type=whole_number(0), default=0, metavar="N", help="how many of them, by a fixed hash; default 0: all"
    )
    parser.add_argument(
        "--ids", default="", metavar="A,B|FILE", help="these rows instead, or a file with one id a line"
    )
    parser.add_argument(
        "--part",
        choices=PARTS,
        default="reason",
        help="what of an answer the source holds; default: the reason without its statement",
    )
    parser.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="a text at which it stops (repeatable)"
    )
    parser.add_argument("--extra", default="", metavar="JSON", help="endpoint: further fields of the request")
    parser.add_argument(
        "--reasoning-effort", default="", metavar="LEVEL", help="endpoint: sent as it is, such as low, medium, high"
    )
    for cls in (TeacherConfig, Sampling, Contrast, Pace):
        _add(parser, cls)
    parser.add_argument(
        "--estimate", action="store_true", help="show the prompt and what it would take, and ask nothing"
    )
    parser.add_argument("--wait", action="store_true", help="wait until it has ended")


def _add(parser: argparse.ArgumentParser, cls: type[Any]) -> None:
    """One option for every field. What is not given keeps its default; a pace keeps what was last set for the model."""
    for field in _fields(cls):
        choices = field.metadata["choices"]
        text = (
            f"{field.metadata['help']}; default {field.default}"
            if field.default not in ("", None)
            else field.metadata["help"]
        )
        metavar = None if choices else "TEXT" if isinstance(field.default, str) else "N"
        option = f"--{field.name.replace('_', '-')}"
        if isinstance(field.default, bool):
            parser.add_argument(
                option, action=argparse.BooleanOptionalAction, default=None, help=field.metadata["help"]
            )
            continue
        parser.add_argument(
            option,
            type=type(field.default),
            default=None,
            choices=choices,
            metavar=metavar,
            help=text,
            required=field.name == "model",
        )


def resume_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="number of the job")
    _add(parser, Pace)
    parser.add_argument("--wait", action="store_true", help="wait until it has ended")


def progress_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="number of the job")


JOB_KEYS = {
    "id": "number of the job, or null",
    "state": "queued, running, finished, failed or stopped, or null",
    "label": "what it is",
}
RESULT = (
    "null before the end; requests, answered, cached (before it began), failed, causes, tokens_in, tokens_out, cost (of"
    " this go), stated, agrees, cut_off, texts (answers read), rationales (of them, in the source), left_out (why the"
    " others are not, with numbers), served (model by the server's own words, with numbers), other_model (answers of"
    " another model than was asked for), fingerprints (system fingerprints), remarks (what was not done as asked, with"
    " numbers), source (full name of the source that was made, or null)"
)

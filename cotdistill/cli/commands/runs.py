"""runs list, show, log, stop, pause, resume, move, retry, import, delete: jobs, queued, running and finished."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cotdistill.cli.command import Command, Noun, Result, StudyReference, parsed_pairs, whole_number
from cotdistill.cli.output import printable, table
from cotdistill.config import RECIPES, from_mapping, plain
from cotdistill.errors import NotFound
from cotdistill.exchange.import_predictions import import_answers
from cotdistill.exchange.prediction_file import SCORES, AnswerColumns
from cotdistill.exchange.scorer_logs import LogChoice
from cotdistill.execution.supervisor import ensure_supervisor
from cotdistill.rationales.conditions import parse
from cotdistill.store.memory_shortage import retry_at_half
from cotdistill.store.records import Job
from cotdistill.store.store import Store
from cotdistill.studies import analyses  # noqa: F401 - registers the kinds of job that analyses are
from cotdistill.text import ago, duration, percent, phase_text, plural

STATES = ("queued", "running", "finished", "failed", "stopped")


@dataclass(frozen=True)
class RunDocument:
    """A job as `runs list` shows it."""

    id: int  # number
    identity: str  # hash of everything that defines the run
    kind: str  # train, base ...
    label: str  # its name for people
    condition: str | None  # canonical form, or null
    task: str | None  # task, or null
    state: str  # queued, running, finished, failed or stopped
    held: bool  # whether it is paused
    position: float  # order in the queue
    attempt: int  # number of the last attempt, 0 before the first
    progress: dict[str, Any]  # step, total and the latest values
    accuracy: float | None  # share of test questions answered correctly, or null
    seconds: float  # compute so far
    created: float  # unix time
    started: float | None  # unix time, or null
    finished: float | None  # unix time, or null
    waits: str | None  # why it cannot start until a person acts, or null
    error: Mapping[str, Any] | None  # kind, message, hint and traceback of a failure, or null
    origin: str | None  # digest of the file that it was imported from; null for a run of this store


@dataclass(frozen=True)
class RunDetails(RunDocument):
    """A job as `runs show` shows it."""

    config: dict[str, Any]  # everything that defines the run
    result: Mapping[str, Any] | None  # its result, or null
    produced: dict[str, str]  # role and digest of each artefact
    used: dict[str, str]  # role and digest of its inputs
    left_out: dict[str, str]  # role and digest of what an imported run had produced and its file leaves out


@dataclass(frozen=True)
class RunLog:
    """The log of one attempt."""

    id: int  # number of the run
    attempt: int  # number of the attempt
    path: str  # file
    text: str  # the log, at most its last 200 kB


@dataclass(frozen=True)
class RunsChanged:
    """What an action did."""

    done: str  # the verb
    ids: list[int]  # numbers of the runs; of the new ones with retry --half-micro-batch


@dataclass(frozen=True)
class RunMoved:
    """A run's new place in the queue."""

    id: int  # number of the run
    place: int | None  # its place among the queued jobs (1 starts next), or null


def _fields(job: Job) -> dict[str, Any]:
    """The fields of RunDocument."""
    return {
        **{
            name: getattr(job, name)
            for name in ("id", "identity", "kind", "label", "state", "held", "position", "attempt", "seconds")
        },
        **{name: getattr(job, name) for name in ("created", "started", "finished", "error")},
        "condition": job.config.get("condition"),
        "task": job.config.get("task"),
        "progress": dict(job.progress),
        "accuracy": (job.result or {}).get("accuracy"),
        "waits": job.waits or None,
        "origin": job.origin or None,
    }


def list_(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    study = None if arguments.study is None else store.queue.study(arguments.study).id
    kind = None if arguments.kind == "all" else arguments.kind
    jobs = store.queue.jobs(state=arguments.state, kind=kind, study=study, limit=arguments.limit or None)
    document = [RunDocument(**_fields(job)) for job in jobs]
    rows = [
        [
            run.id,
            run.label,
            run.state
            + (", paused" if run.held else "")
            + (", imported" if run.origin else "")
            + (f" ({run.waits})" if run.waits else ""),
            _progress(run),
            percent(run.accuracy) if run.accuracy is not None else None,
            duration(run.seconds) if run.seconds else None,
            ago(run.created),
        ]
        for run in document
    ]
    text = table(
        ["run", "what", "state", "progress", "accuracy", "time", "queued"], rows, right=("run", "accuracy", "time")
    )
    if not document:
        text = "No runs here. Start some: cotdistill study run starter"
    if store.queue.paused:
        text += "\n\nThe queue is paused: cotdistill queue resume"
    if full := store.refusal:
        text += f"\n\n{full}"
    return Result(document, text)


def _progress(run: RunDocument) -> str | None:
    step, total = run.progress.get("step"), run.progress.get("total")
    if run.state != "running":
        return None
    if run.progress.get("phase") not in (None, "training"):
        return phase_text(run.progress)
    return f"{step}/{total}" if total else None


def show(arguments: argparse.Namespace) -> Result:
    job = Store.open().queue.job(arguments.run)
    parts: dict[str, Any] = {name: dict(getattr(job, name)) for name in ("config", "produced", "used", "left_out")}
    document = RunDetails(**_fields(job), **parts, result=job.result)
    lines = [
        f"{key.replace('_', ' ')}: {_value(value)}"
        for key, value in plain(document).items()
        if value not in (None, {}, "") and key != "error"
    ]
    if job.error:
        lines += ["", f"{job.error['kind']}: {printable(job.error['message'])}", printable(job.error.get("hint") or "")]
    return Result(document, "\n".join(lines))


def _value(value: Any) -> str:
    return printable(json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value))


def log(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    job = store.queue.job(arguments.run)
    attempt = arguments.attempt or job.attempt
    path = store.queue.log_path(job.id, attempt)
    if not path.is_file():
        never = "It was imported; its log stayed where it ran." if job.origin else "It has not started yet."
        hint = f"Attempts so far: {job.attempt}." if job.attempt else never
        raise NotFound(f"Run {job.id} has no log of attempt {attempt}.", hint)
    text = store.queue.log(job.id, attempt)
    return Result(RunLog(job.id, attempt, str(path), text), text.rstrip())


def _each(
    verb: str, done: str, act: Callable[[Store, int], object], *, starts: bool = False
) -> Callable[[argparse.Namespace], Result]:
    """A command that does the same to several runs; all of them are looked up before the first is touched."""

    def command(arguments: argparse.Namespace) -> Result:
        store = Store.open()
        jobs = [store.queue.job(run) for run in arguments.runs]
        for job in jobs:
            act(store, job.id)
        if starts:
            ensure_supervisor(store)
        text = "\n".join(f"{done}: {job.id} {job.label}" for job in jobs)
        return Result(RunsChanged(verb, [job.id for job in jobs]), text)

    return command


def retry(arguments: argparse.Namespace) -> Result:
    if not arguments.half_micro_batch:
        return _each("retry", "queued again", lambda s, i: s.queue.retry(i), starts=True)(arguments)
    store = Store.open()
    jobs = [store.queue.job(run) for run in arguments.runs]
    halved = [retry_at_half(store.queue, job) for job in jobs]
    ensure_supervisor(store)
    lines = [
        f"Run {job.id} trains again as run {new.id} with micro-batch {new.config['training']['micro_batch']}: the same "
        "steps under another identity, in its place in its studies."
        for job, new in zip(jobs, halved, strict=True)
    ]
    return Result(RunsChanged("retry", [new.id for new in halved]), "\n".join(lines))


def move(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    job = store.queue.job(arguments.run)
    if arguments.before is not None:
        store.queue.move(job.id, before=store.queue.job(arguments.before).id)
    else:
        store.queue.move(job.id, before="first" if arguments.first else "last")
    queued = sorted(store.queue.jobs(state="queued"), key=lambda other: other.position)
    place = next((i + 1 for i, other in enumerate(queued) if other.id == job.id), None)
    return Result(RunMoved(job.id, place), f"Run {job.id} is number {place} of {len(queued)} in the queue.")


@dataclass(frozen=True)
class ImportedCondition:
    """One condition of a file of predictions."""

    name: str  # name in the file
    id: str  # canonical form
    label: str  # its name for people
    replicates: list[int]  # its replicates
    accuracies: list[float]  # accuracy of each, a share


@dataclass(frozen=True)
class ImportedRuns:
    """What `runs import` answers."""

    study: StudyReference | None  # the new study; null with --dry-run
    name: str  # the name it has, or would get
    digest: str  # digest of the file, kept with the runs
    conditions: list[ImportedCondition]  # every condition of the file
    items: int  # test questions (per replicate, where each has its own)
    clusters: int  # independent groups of them
    nested: bool  # whether each replicate has questions of its own
    dev_items: int  # questions of dev, which fix the non-inferiority margin
    chance: float  # accuracy of guessing
    notes: list[str] = field(metadata={"key": "told"})  # warnings


def import_(arguments: argparse.Namespace) -> Result:
    done = import_answers(
        Store.open(),
        arguments.file.expanduser(),
        arguments.study,
        columns=from_mapping(AnswerColumns, arguments.columns) if arguments.columns else None,
        scores=arguments.scores,
        task=arguments.task or "",
        student=arguments.student or "",
        title=arguments.title or "",
        baseline=arguments.baseline or "",
        primary=arguments.primary or "",
        names=arguments.map,
        choice=LogChoice(arguments.pattern, arguments.eval_task, arguments.metric, arguments.filter),
        dry_run=arguments.dry_run,
    )
    conditions = [
        ImportedCondition(
            name,
            condition,
            parse(condition).label,
            [replicate for c, replicate, _ in done.runs if c == condition],
            [accuracy for c, _, accuracy in done.runs if c == condition],
        )
        for name, condition in done.conditions.items()
    ]
    counts: dict[str, Any] = {
        name: getattr(done, name) for name in ("items", "clusters", "nested", "dev_items", "chance")
    }
    study = None if done.study is None else StudyReference(done.study, done.name)
    document = ImportedRuns(study, done.name, done.digest, conditions, **counts, notes=list(done.notes))
    rows = [[c.name, c.id, len(c.replicates), " ".join(percent(a) for a in c.accuracies)] for c in conditions]
    head = (
        "Nothing was written; it can be imported"
        if study is None
        else f"Imported study {study.name} (number {study.id})"
    )
    sizes = [plural(done.items, "question"), plural(done.clusters, "cluster"), plural(len(done.runs), "run")]
    lines = [f"{head}: {sizes[0]} in {sizes[1]}, {sizes[2]}.", ""]
    lines += [table(["in the file", "condition", "replicates", "each"], rows, right=("replicates",)), ""]
    lines += [printable(text) for text in done.notes]
    lines += [] if study is None else [f"See it: cotdistill compare {study.name}"]
    return Result(document, "\n".join(lines))


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--study", metavar="S", help="of one study (name or number)")
    parser.add_argument("--state", choices=STATES, help="in one state")
    parser.add_argument(
        "--kind", choices=("all", *RECIPES), default="train", help="kind of job (default: student training runs)"
    )
    parser.add_argument(
        "--limit",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="at most so many, the newest; 0 means all (default)",
    )


def _run_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="its number, or the start of its identity")


def _several(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="run", help="numbers, or starts of identities")


def _retry_arguments(parser: argparse.ArgumentParser) -> None:
    _several(parser)
    parser.add_argument(
        "--half-micro-batch",
        action="store_true",
        help="after running out of memory: new runs with half the micro-batch replace the old ones in their studies",
    )


def _log_arguments(parser: argparse.ArgumentParser) -> None:
    _run_argument(parser)
    parser.add_argument("--attempt", type=whole_number(1), metavar="N", help="which attempt; default: the last")


def _move_arguments(parser: argparse.ArgumentParser) -> None:
    _run_argument(parser)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--before", metavar="RUN", help="right before that run")
    place.add_argument("--first", action="store_true", help="to the front")
    place.add_argument("--last", action="store_true", help="to the end")


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE|FOLDER",
        help="a .csv, .parquet or .jsonl file, plain or .gz, with one row per question, condition and replicate; or"
        " what lm-eval (samples_*.jsonl), lighteval (details_*.parquet) or Inspect (.eval, .json) wrote; or a folder"
        " of any of them",
    )
    parser.add_argument("--study", required=True, metavar="NAME", help="the study that it becomes")
    parser.add_argument(
        "--task",
        metavar="TASK",
        help="the task of this store that the questions are from: right answers, clusters and texts come from it",
    )
    parser.add_argument(
        "--baseline", metavar="CONDITION", help="what differences are taken to; default: label_only, or the first"
    )
    parser.add_argument(
        "--primary",
        metavar="CONDITION",
        help="of several key-token conditions, the one that claim 3 is judged by; without it a sweep is not judged",
    )
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="NAME=CONDITION",
        help="which condition a name of the file stands for (repeatable)",
    )
    parser.add_argument(
        "--scores",
        choices=SCORES,
        default="prob",
        help="what the numbers of the choices are: probabilities (default), or log-likelihoods",
    )
    parser.add_argument(
        "--columns",
        type=parsed_pairs,
        metavar="FIELD=COLUMN,...",
        help="which column holds which field, where it is not guessed",
    )
    parser.add_argument(
        "--pattern",
        default="",
        metavar="PATTERN",
        help="of a folder: where condition and replicate stand in a path; default: the usual forms, such as"
        " {condition}-seed{replicate}",
    )
    parser.add_argument("--eval-task", default="", metavar="NAME", help="of a log: its task, where there are several")
    parser.add_argument("--metric", default="", metavar="NAME", help="of a log: what says right or wrong")
    parser.add_argument("--filter", default="", metavar="NAME", help="of lm-eval: whose answers count")
    parser.add_argument("--student", metavar="TEXT", help="what the student is called; for people")
    parser.add_argument("--title", metavar="TEXT", help="one line; for people")
    parser.add_argument("--dry-run", action="store_true", help="check everything and write nothing")


NOUN = Noun(
    "runs",
    "jobs: queued, running and finished",
    (
        Command(
            "runs",
            "list",
            "training runs, newest first; --kind all for every job",
            list_,
            RunDocument,
            _list_arguments,
            listed=True,
            example="--study starter --state failed",
        ),
        Command(
            "runs",
            "show",
            "one run: settings, result, products, inputs, and why it failed",
            show,
            RunDetails,
            _run_argument,
        ),
        Command("runs", "log", "the log of one attempt", log, RunLog, _log_arguments),
        Command(
            "runs",
            "stop",
            "stop runs; `runs resume` continues them, `runs retry` starts them again",
            _each("stop", "stopping", lambda s, i: s.queue.stop(i)),
            RunsChanged,
            _several,
        ),
        Command(
            "runs",
            "pause",
            "pause runs where they are",
            _each("pause", "pausing", lambda s, i: s.queue.pause(i)),
            RunsChanged,
            _several,
        ),
        Command(
            "runs",
            "resume",
            "continue paused, stopped or failed runs from their last checkpoint",
            _each("resume", "continues", lambda s, i: s.queue.resume(i), starts=True),
            RunsChanged,
            _several,
        ),
        Command("runs", "move", "change a run's place in the queue", move, RunMoved, _move_arguments),
        Command(
            "runs",
            "retry",
            "queue failed, stopped or imported runs again, from their first step",
            retry,
            RunsChanged,
            _retry_arguments,
        ),
        Command(
            "runs",
            "import",
            "import predictions of other code as a study, with the same comparisons and verdicts",
            import_,
            ImportedRuns,
            _import_arguments,
            notes="Columns: item, condition, replicate, answer (not needed with --task), and the choices' "
            "probabilities: a list in `probabilities`, or p_0, p_1 ...\nor prob_A, prob_B ...; optional cluster, "
            "prediction, tokens, split; for free text `correct` (1 or 0) instead.\nEvery row that cannot be read is "
            "listed with its line.",
            example="results.csv --study ours --dry-run",
        ),
        Command(
            "runs",
            "delete",
            "delete runs and their folders",
            _each("delete", "deleted", lambda s, i: s.queue.delete(i)),
            RunsChanged,
            _several,
        ),
    ),
)

"""runs list, show, log, stop, pause, resume, move, retry, import, delete: what is queued, running and done."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from cotdistill.cli.command import Command, Noun, Result, whole_number
from cotdistill.cli.commands import answers
from cotdistill.cli.output import printable, table
from cotdistill.config import RECIPES
from cotdistill.errors import NotFound
from cotdistill.execution.supervisor import ensure_supervisor
from cotdistill.store.memory_shortage import retry_at_half
from cotdistill.store.records import Job
from cotdistill.store.store import Store
from cotdistill.text import ago, duration, percent

STATES = ("queued", "running", "finished", "failed", "stopped")


def _document(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "identity": job.identity,
        "kind": job.kind,
        "label": job.label,
        "condition": job.config.get("condition"),
        "task": job.config.get("task"),
        "state": job.state,
        "held": job.held,
        "position": job.position,
        "attempt": job.attempt,
        "progress": dict(job.progress),
        "accuracy": (job.result or {}).get("accuracy"),
        "seconds": job.seconds,
        "created": job.created,
        "started": job.started,
        "finished": job.finished,
        "waits": job.waits or None,
        "error": job.error,
        "origin": job.origin or None,
    }


def list_(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    study = None if arguments.study is None else store.queue.study(arguments.study).id
    kind = None if arguments.kind == "all" else arguments.kind
    jobs = store.queue.jobs(state=arguments.state, kind=kind, study=study, limit=arguments.limit or None)
    document = [_document(job) for job in jobs]
    rows = [
        [
            run["id"],
            run["label"],
            run["state"]
            + (", paused" if run["held"] else "")
            + (", imported" if run["origin"] else "")
            + (f" ({run['waits']})" if run["waits"] else ""),
            _progress(run),
            percent(run["accuracy"]) if run["accuracy"] is not None else None,
            duration(run["seconds"]) if run["seconds"] else None,
            ago(run["created"]),
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


def _progress(run: dict[str, Any]) -> str | None:
    step, total = run["progress"].get("step"), run["progress"].get("total")
    return f"{step}/{total}" if run["state"] == "running" and total else None


def show(arguments: argparse.Namespace) -> Result:
    job = Store.open().queue.job(arguments.run)
    document = {
        **_document(job), "config": dict(job.config), "result": job.result, "produced": dict(job.produced), "used": dict(job.used),
        "left_out": dict(job.left_out),
    }  # fmt: skip
    lines = [
        f"{key.replace('_', ' ')}: {_told(value)}"
        for key, value in document.items()
        if value not in (None, {}, "") and key != "error"
    ]
    if job.error:
        lines += ["", f"{job.error['kind']}: {printable(job.error['message'])}", printable(job.error.get("hint") or "")]
    return Result(document, "\n".join(lines))


def _told(value: Any) -> str:
    return printable(json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value))


def log(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    job = store.queue.job(arguments.run)
    attempt = arguments.attempt or job.attempt
    path = store.queue.log_path(job.id, attempt)
    if not path.is_file():
        never = "It was imported: its log stayed where it ran." if job.origin else "It has not started yet."
        told = f"Attempts so far: {job.attempt}." if job.attempt else never
        raise NotFound(f"Run {job.id} has no log of attempt {attempt}.", told)
    text = store.queue.log(job.id, attempt)
    return Result({"id": job.id, "attempt": attempt, "path": str(path), "text": text}, text.rstrip())


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
        return Result(
            {"done": verb, "ids": [job.id for job in jobs]}, "\n".join(f"{done}: {job.id} {job.label}" for job in jobs)
        )

    return command


def retry(arguments: argparse.Namespace) -> Result:
    if not arguments.half_micro_batch:
        return _each("retry", "queued again", lambda s, i: s.queue.retry(i), starts=True)(arguments)
    store = Store.open()
    jobs = [store.queue.job(run) for run in arguments.runs]
    made = [retry_at_half(store.queue, job) for job in jobs]
    ensure_supervisor(store)
    lines = [
        f"Run {job.id} is trained anew as run {new.id}, micro-batch {new.config['training']['micro_batch']}: the same steps, another identity. "
        "It takes its place in its studies."
        for job, new in zip(jobs, made, strict=True)
    ]
    return Result({"done": "retry", "ids": [new.id for new in made]}, "\n".join(lines))


def move(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    job = store.queue.job(arguments.run)
    if arguments.before is not None:
        store.queue.move(job.id, before=store.queue.job(arguments.before).id)
    else:
        store.queue.move(job.id, before="first" if arguments.first else "last")
    queued = sorted(store.queue.jobs(state="queued"), key=lambda other: other.position)
    place = next((i + 1 for i, other in enumerate(queued) if other.id == job.id), None)
    return Result({"id": job.id, "place": place}, f"Run {job.id} is number {place} of {len(queued)} in the queue.")


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


def _one(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="its number, or the start of its identity")


def _several(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="run", help="numbers, or starts of identities")


def _retry_arguments(parser: argparse.ArgumentParser) -> None:
    _several(parser)
    told = "for runs that ran out of memory: as new runs that read half as many sequences at a time, which take the old ones' places in their studies"
    parser.add_argument("--half-micro-batch", action="store_true", help=told)


def _log_arguments(parser: argparse.ArgumentParser) -> None:
    _one(parser)
    parser.add_argument("--attempt", type=whole_number(1), metavar="N", help="which attempt; default: the last")


def _move_arguments(parser: argparse.ArgumentParser) -> None:
    _one(parser)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--before", metavar="RUN", help="right before that run")
    place.add_argument("--first", action="store_true", help="to the front")
    place.add_argument("--last", action="store_true", help="to the end")


_RUN = {
    "id": "number",
    "identity": "hash of everything that makes the run",
    "kind": "train, base ...",
    "label": "what it is, for people",
    "condition": "canonical form, or null",
    "task": "task, or null",
    "state": "queued, running, finished, failed or stopped",
    "held": "whether it is paused",
    "position": "order in the queue",
    "attempt": "number of the last attempt, 0 before the first",
    "progress": "step, total and the latest values",
    "accuracy": "share of test questions answered rightly, or null",
    "seconds": "compute so far",
    "created": "unix time",
    "started": "unix time, or null",
    "finished": "unix time, or null",
    "waits": "why it cannot start before a person does something, or null",
    "error": "kind, message, hint and traceback of a failure, or null",
    "origin": "digest of the file that it was imported from; null for a run of this store",
}
_DONE = {"done": "the verb", "ids": "numbers of the runs"}

NOUN = Noun(
    "runs",
    "what is queued, running and done",
    (
        Command(
            "runs",
            "list",
            "student training runs, newest first; --kind all for the rest",
            list_,
            _RUN,
            _list_arguments,
            listed=True,
        ),
        Command(
            "runs",
            "show",
            "one run: settings, result, what it produced and used, why it failed",
            show,
            {
                **_RUN,
                "config": "everything that makes the run",
                "result": "what came out, or null",
                "produced": "role and digest of each artefact",
                "used": "what it was made from",
                "left_out": "role and digest of what an imported run had made and its file did not bring",
            },
            _one,
        ),
        Command(
            "runs",
            "log",
            "the log of one attempt",
            log,
            {
                "id": "number of the run",
                "attempt": "attempt",
                "path": "file",
                "text": "the log, at most its last 200 kB",
            },
            _log_arguments,
        ),
        Command(
            "runs",
            "stop",
            "end runs; resume lets them go on, retry starts them anew",
            _each("stop", "stopping", lambda s, i: s.queue.stop(i)),
            _DONE,
            _several,
        ),
        Command(
            "runs",
            "pause",
            "hold runs where they are",
            _each("pause", "pausing", lambda s, i: s.queue.pause(i)),
            _DONE,
            _several,
        ),
        Command(
            "runs",
            "resume",
            "let paused, stopped or failed runs go on where they were",
            _each("resume", "goes on", lambda s, i: s.queue.resume(i), starts=True),
            _DONE,
            _several,
        ),
        Command(
            "runs",
            "move",
            "change a run's place in the queue",
            move,
            {"id": "number of the run", "place": "its place among the queued (1 is next), or null"},
            _move_arguments,
        ),
        Command(
            "runs",
            "retry",
            "queue failed or stopped runs again, from their start; run imported ones here",
            retry,
            {**_DONE, "ids": "numbers of the runs; of the new ones under --half-micro-batch"},
            _retry_arguments,
        ),
        answers.IMPORT,
        Command(
            "runs",
            "delete",
            "remove runs and their folders",
            _each("delete", "deleted", lambda s, i: s.queue.delete(i)),
            _DONE,
            _several,
        ),
    ),
)

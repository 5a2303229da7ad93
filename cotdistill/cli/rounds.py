"""rounds: the student as the next round's teacher, several rounds in a row, and what came of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from cotdistill.cli.command import Command, Noun, Result, whole_number
from cotdistill.cli.output import note, table
from cotdistill.cli.waiting import wait, wait_for
from cotdistill.config import plain
from cotdistill.errors import StudentError, UsageError
from cotdistill.rationales.conditions import Condition
from cotdistill.studies import rounds
from cotdistill.studies.jobs import Job, Study
from cotdistill.studies.looks import task_of
from cotdistill.studies.planning import launch, plan
from cotdistill.studies.rounds import FILTERS, MOST_ROUNDS, Generation
from cotdistill.studies.store import Store
from cotdistill.studies.supervisor import ensure_supervisor
from cotdistill.tasks.added import reopened
from cotdistill.teachers.filters import Counted, parse_filters
from cotdistill.views.commands import command
from cotdistill.views.wording import between, between_points, percent, plural, points


def run(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    study = store.queue.study(arguments.study)
    condition = rounds.base_condition(study, arguments.condition)
    parse_filters(arguments.filters)
    if not 1 <= arguments.rounds <= MOST_ROUNDS:
        raise UsageError(f"{arguments.rounds} rounds; expected 1 to {MOST_ROUNDS}.", "For example --rounds 2")
    sources: list[str] = []
    now, learnt = study, condition
    for number in range(1, arguments.rounds + 1):
        written = _written(store, rounds.writer(store, now.id, str(learnt)))
        made, counted = rounds.add_round(store, written, number, now.name, arguments.filters, f"{arguments.name}{number}")
        note(f"Round {number}: {made.kept:,} of {plural(made.written, 'rationale')} stay, as the source {made.source}. {_dropped(counted)}")
        sources.append(made.source)
        now, learnt = _trained(store, study, condition, sources)
    return _shown(store, study.name, _task_job(store, study, condition))


def _written(store: Store, teacher: Job) -> Job:
    """The job that asked a student for its rationales, finished."""
    spec = rounds.write_job(store, teacher)
    store.queue.submit([spec])
    ensure_supervisor(store)
    wait_for(store, lambda: [job for job in store.queue.jobs(kind="write") if job.identity == spec.identity], command("runs", "list"))
    job = store.queue.job(spec.identity)
    if job.state != "finished":
        told = (job.error or {}).get("message", job.state)
        raise StudentError(f"The student's rationales could not be had: {told}", f"See: {command('runs', 'log', str(job.id))}")
    return job


def _trained(store: Store, study: Study, condition: Condition, sources: Sequence[str]) -> tuple[Study, Condition]:
    """The study in which students learn from the last source, all of it trained, and their condition."""
    submission = launch(store, plan(store, rounds.next_spec(study, condition, sources)))
    assert submission.study_id is not None
    ensure_supervisor(store)
    wait(store, submission.study_id)
    found = store.queue.study(submission.study_id)
    return found, rounds.from_source(condition, sources[-1])


def _dropped(counted: Sequence[Counted]) -> str:
    return "Dropped: " + ", ".join(f"{c.dropped:,} by {c.filter.partition('(')[0]}" for c in counted) + "."


def _task_job(store: Store, study: Study, condition: Condition) -> Job:
    return rounds.writer(store, study.id, str(condition))


def show(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    study = store.queue.study(arguments.study)
    condition = rounds.base_condition(study, arguments.condition)
    return _shown(store, study.name, _task_job(store, study, condition))


def _shown(store: Store, name: str, job: Job) -> Result:
    study, found = rounds.generations(store, name, reopened(task_of(store, job)))
    document = {"study": study.name, "generations": [_document(one) for one in found]}
    return Result(document, _text(study, found))


def _document(one: Generation) -> dict[str, Any]:
    over = one.over_teacher
    return {
        "condition": one.summary.condition,
        "round": None if one.made is None else plain(one.made),
        "accuracy": one.summary.mean,
        "accuracy_low": one.summary.low,
        "accuracy_high": one.summary.high,
        "over_teacher": None if over is None else over.mean,
        "over_teacher_low": None if over is None else over.low,
        "over_teacher_high": None if over is None else over.high,
        "finished": one.summary.finished,
        "planned": one.summary.planned,
        "items": one.summary.items,
    }


HEAD = ("learnt from", "rationales kept", "words", "tells of the label, nats", "accuracy", "against the teacher's, points")


def _text(study: Study, found: Sequence[Generation]) -> str:
    rows = []
    for one in found:
        made, over = one.made, one.over_teacher
        told = ["the teacher", "", "", ""] if made is None else [
            f"round {made.number} ({made.source})", f"{made.kept:,} of {made.written:,}", f"{made.words:.1f}", f"{made.gain:+.2f}".replace("-", "−")
        ]  # fmt: skip
        accuracy = "–" if one.summary.mean is None else f"{percent(one.summary.mean)} ({between(one.summary.low, one.summary.high)})"
        rows.append([*told, accuracy, "" if over is None else f"{points(over.mean)} ({between_points(over.low, over.high)})"])
    first = found[0].summary
    return "\n".join(
        [
            f"study {study.name}: {first.label}, all on the rows that every source speaks about",
            "",
            table(list(HEAD), rows),
            "",
            f"{first.items:,} test questions, {plural(first.finished, 'replicate')}; {first.speaks_of}. "
            "One student writes for all: replicate 0 of the round before.",
        ]
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY", help="its name (the latest of that name) or number; its students write the first round")
    parser.add_argument("--condition", metavar="C", default="pre_cot", help="whose students write, and what is trained on what they wrote (pre_cot)")


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    _arguments(parser)
    parser.add_argument("--rounds", type=whole_number(1), metavar="N", default=1, help=f"how many, at most {MOST_ROUNDS} (default 1)")
    parser.add_argument("--filters", metavar="F,...", default=FILTERS, help=f"names of `teacher filters`; default {FILTERS}")
    parser.add_argument("--name", metavar="N", default="round", help="of the sources: N and the number of the round (default round)")


_SCHEMA = {
    "study": "the study in which all generations stand side by side",
    "generations": "one entry a generation of students, those of the teacher first",
    "generations[].condition": "canonical form",
    "generations[].round": "the source that they learnt from; null for the teacher's",
    "generations[].round.number": "from 1",
    "generations[].round.source": "its full name",
    "generations[].round.writer": "identity of the run whose student wrote it",
    "generations[].round.condition": "that student's condition",
    "generations[].round.parent": "whose rationales it had learnt from",
    "generations[].round.study": "the study that it was trained in",
    "generations[].round.filters": "what was asked of the rationales",
    "generations[].round.written": "rationales before the filters",
    "generations[].round.kept": "after them",
    "generations[].round.words": "mean words of those",
    "generations[].round.gain": "mean of log p(label | question, rationale) less log p(label | question), by the writer, nats",
    "generations[].accuracy": "mean over replicates, or null",
    "generations[].accuracy_low": "lower end of its 95 % interval, or null",
    "generations[].accuracy_high": "upper end, or null",
    "generations[].over_teacher": "paired difference to the teacher's students, a share, or null",
    "generations[].over_teacher_low": "lower end of its 95 % interval, or null",
    "generations[].over_teacher_high": "upper end, or null",
    "generations[].finished": "replicates finished",
    "generations[].planned": "replicates planned",
    "generations[].items": "test questions",
}

NOUN = Noun(
    "rounds",
    "the student as the next round's teacher",
    (
        Command(
            "rounds",
            "run",
            "have students write rationales, filter them, train the next students on them; several rounds in a row (Referee, arXiv 2210.13800)",
            run,
            _SCHEMA,
            _run_arguments,
        ),
        Command("rounds", "show", "every generation on the same rows, with its lineage", show, _SCHEMA, _arguments),
    ),
)

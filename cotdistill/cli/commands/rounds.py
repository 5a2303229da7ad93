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
from cotdistill.execution.supervisor import ensure_supervisor
from cotdistill.planning import rounds
from cotdistill.planning.plan import launch, plan
from cotdistill.planning.rounds import FILTERS, MOST_ROUNDS, Generation
from cotdistill.rationales.conditions import Condition
from cotdistill.report.commands import command
from cotdistill.report.rounds import HEAD, caption, rows
from cotdistill.store.records import Job, Study
from cotdistill.store.store import Store
from cotdistill.teachers.filters import Counted, parse_filters
from cotdistill.text import plural


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
        new_round, counted = rounds.add_round(
            store, written, number, now.name, arguments.filters, f"{arguments.name}{number}"
        )
        note(
            f"Round {number}: {new_round.kept:,} of {plural(new_round.written, 'rationale')} kept, as the source"
            f" {new_round.source}. " + _dropped(counted)
        )
        sources.append(new_round.source)
        now, learnt = _trained(store, study, condition, sources)
    return _shown(store, study.name)


def _written(store: Store, teacher: Job) -> Job:
    """The job that asked a student for its rationales, finished."""
    spec = rounds.write_job(store, teacher)
    store.queue.submit([spec])
    ensure_supervisor(store)
    wait_for(
        store,
        lambda: [job for job in store.queue.jobs(kind="write") if job.identity == spec.identity],
        command("runs", "list"),
    )
    job = store.queue.job(spec.identity)
    if job.state != "finished":
        reason = (job.error or {}).get("message", job.state)
        raise StudentError(
            f"The student's rationales could not be written: {reason}", f"See: {command('runs', 'log', str(job.id))}"
        )
    return job


def _trained(store: Store, study: Study, condition: Condition, sources: Sequence[str]) -> tuple[Study, Condition]:
    """The study in which students learn from the last source, all of it trained, and their condition."""
    submission = launch(store, plan(store, rounds.next_spec(study, condition, sources)))
    assert submission.study_id is not None
    ensure_supervisor(store)
    wait(store, submission.study_id)
    return store.queue.study(submission.study_id), rounds.from_source(condition, sources[-1])


def _dropped(counted: Sequence[Counted]) -> str:
    return "Dropped: " + ", ".join(f"{c.dropped:,} by {c.filter.partition('(')[0]}" for c in counted) + "."


def show(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    return _shown(store, store.queue.study(arguments.study).name)


def _shown(store: Store, name: str) -> Result:
    study = rounds.last_round(store, name)
    generations = rounds.generations(store, study.id)
    document = {"study": study.name, "generations": [_document(generation) for generation in generations]}
    return Result(document, _text(study, generations))


def _document(generation: Generation) -> dict[str, Any]:
    over = generation.over_teacher
    return {
        "condition": generation.summary.condition,
        "round": None if generation.round is None else plain(generation.round),
        "accuracy": generation.summary.mean,
        "accuracy_low": generation.summary.low,
        "accuracy_high": generation.summary.high,
        "over_teacher": None if over is None else over.mean,
        "over_teacher_low": None if over is None else over.low,
        "over_teacher_high": None if over is None else over.high,
        "finished": generation.summary.finished,
        "planned": generation.summary.planned,
        "items": generation.summary.items,
    }


def _text(study: Study, generations: Sequence[Generation]) -> str:
    title = f"study {study.name}: {generations[0].summary.label}, all on the rows that every source covers"
    return "\n".join([title, "", table(list(HEAD), rows(generations)), "", caption(generations)])


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "study",
        metavar="STUDY",
        help="its name (the latest of that name) or number; its students write the first round",
    )


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    _arguments(parser)
    parser.add_argument(
        "--condition",
        metavar="C",
        default="pre_cot",
        help="whose students write, and what is trained on what they wrote (pre_cot)",
    )

    parser.add_argument(
        "--rounds", type=whole_number(1), metavar="N", default=1, help=f"how many, at most {MOST_ROUNDS} (default 1)"
    )
    parser.add_argument(
        "--filters", metavar="F,...", default=FILTERS, help=f"names of `teacher filters`; default {FILTERS}"
    )
    parser.add_argument(
        "--name", metavar="N", default="round", help="of the sources: N and the number of the round (default round)"
    )


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
    "generations[].round.gain": "mean log p(label | question, rationale) - log p(label | question), nats",
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
            "students write rationales, filters drop some, new students train on the rest (Referee, 2210.13800)",
            run,
            _SCHEMA,
            _run_arguments,
        ),
        Command("rounds", "show", "every generation on the same rows, with its lineage", show, _SCHEMA, _arguments),
    ),
)

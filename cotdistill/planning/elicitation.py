"""Elicitations as jobs: what one would cost, how it is put into the queue and goes on, and what has been answered so
far. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cotdistill.config import check, from_mapping, plain
from cotdistill.errors import UsageError
from cotdistill.store.records import Job, JobSpec
from cotdistill.store.store import Store
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.task import Task
from cotdistill.teachers.answers import TeacherAnswer, of_rows
from cotdistill.teachers.asking import Pace
from cotdistill.teachers.elicitation import ElicitConfig, asked_again, checked, label_of, requests
from cotdistill.teachers.endpoint import address
from cotdistill.teachers.responses import Responses

# English text under the tokenizers of the common models; only where the server has counted nothing yet.
CHARACTERS_PER_TOKEN = 4.0
# Tokens that a server adds to each turn of a conversation.
TURN_TOKENS = 4
# The shortest answer that is reckoned with, as a share of the longest.
SHORT_ANSWER = 0.25


@dataclass(frozen=True)
class Estimate:
    """What an elicitation would take. cached: requests that are answered already and cost nothing. tokens_in,
    tokens_out, cost, seconds: (low, high) of the others; seconds is None before anything is known of this model's
    speed. basis: what it rests on, in words."""

    requests: int
    cached: int
    tokens_in: tuple[float, float]
    tokens_out: tuple[float, float]
    cost: tuple[float, float]
    seconds: tuple[float, float] | None
    basis: str


def estimate(store: Store, task: Task, config: ElicitConfig, pace: Pace) -> Estimate:
    """What is left to be asked, in tokens, money and time: counted by earlier answers of the same model where there are
    any.
    """
    wanted = {request.key: request for request in requests(task, config)}
    responses = Responses(store.home)
    have = responses.known(list(wanted))
    left = [request for key, request in wanted.items() if key not in have]
    turns = [turn for request in left for turn in (*request.turns, *(request.against or ()))]
    read = sum(len(turn["content"]) for turn in turns) / CHARACTERS_PER_TOKEN + TURN_TOKENS * len(turns)
    usual = responses.usual(config.teacher.model)
    longest = float(config.sampling.max_tokens)
    mean = usual.get("completion_tokens") if usual else None
    low, high = (0.7 * mean, min(longest, 1.4 * mean)) if mean else (SHORT_ANSWER * longest, longest)
    tokens_in, tokens_out = (0.8 * read, 1.3 * read), (low * len(left), max(low, high) * len(left))
    each = usual.get("seconds") if usual else None
    # Locally the time of a batch was shared out among its answers; a server answers many requests side by side.
    share = each if each is None or config.teacher.kind == "local" else each / pace.concurrency
    return Estimate(
        requests=len(wanted),
        cached=len(have),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cost=(pace.cost(tokens_in[0], tokens_out[0]), pace.cost(tokens_in[1], tokens_out[1])),
        seconds=None if share is None else (0.7 * share * len(left), 1.6 * share * len(left)),
        basis=(
            f"{CHARACTERS_PER_TOKEN:g} characters a token; answers as long as this model's earlier ones"
            if mean
            else (
                f"{CHARACTERS_PER_TOKEN:g} characters a token; answers of {SHORT_ANSWER * longest:.0f} to {longest:.0f}"
                " tokens"
            )
        ),
    )


def elicit_job(config: ElicitConfig, seconds: float = 60.0) -> JobSpec:
    """The job of an elicitation; ConfigError with everything that is wrong at once."""
    checked(config)
    return JobSpec("elicit", plain(config), (), label_of(config), seconds)


def pace_of(store: Store, model: str) -> Pace:
    """How a model is asked, as it was last set."""
    return from_mapping(Pace, Responses(store.home).pace(model))


def submit(store: Store, config: ElicitConfig, pace: Pace) -> Job:
    """Queue an elicitation and keep its pace for this model. UsageError where an endpoint is meant and this process
    knows no address.
    """
    check(pace)
    if config.teacher.kind == "endpoint":
        address()
    expected = estimate(store, task_of(store, config), config, pace)
    spec = elicit_job(config, sum(expected.seconds) / 2 if expected.seconds else 60.0)
    Responses(store.home).set_pace(config.teacher.model, plain(pace))
    store.queue.submit([spec])
    return store.queue.job(spec.identity)


def resume(store: Store, key: int | str) -> Job:
    """Let an elicitation go on: where it was paused, stopped or has failed; or, where it has finished, with the
    questions that got no answer. UsageError where there is nothing to go on with."""
    job = elicited(store, key)
    if job.state != "finished":
        if job.state == "running" or (job.state == "queued" and not job.held):
            return job
        store.queue.resume(job.id)
        return store.queue.job(job.id)
    if not (job.result or {}).get("failed"):
        raise UsageError(
            f"Job {job.id} has finished, and every question was answered.",
            "Ask for more rows or samples: teacher elicit",
        )
    spec = elicit_job(asked_again(ElicitConfig.from_plain(job.config)), job.estimate)
    store.queue.submit([spec])
    return store.queue.job(spec.identity)


def elicited(store: Store, key: int | str) -> Job:
    """The elicitation of that number or identity; UsageError for another kind of job."""
    job = store.queue.job(key)
    if job.kind != "elicit":
        raise UsageError(
            f"Job {job.id} asks no teacher: it is a job of kind {job.kind}.",
            "See them: cotdistill teacher list",
        )
    return job


def task_of(store: Store, config: ElicitConfig) -> Task:
    """The task that an elicitation is about, in the version that it was planned with."""
    task = open_task(store.tasks_root, config.task, world=config.world, settings=config.task_settings or None)
    return (
        task
        if task.digest == config.task_digest
        else open_task(store.tasks_root, f"{config.task}@{config.task_digest}")
    )


def answers(store: Store, job: Job) -> list[TeacherAnswer]:
    """What has been answered so far, in whatever state the job is."""
    return of_rows(task_of(store, ElicitConfig.from_plain(job.config)), rows(store, job))


def rows(store: Store, job: Job) -> list[Mapping[str, Any]]:
    """The answers of a job as rows: from the table that it made, else as far as it has come."""
    digest = job.produced.get("answers", "")
    if digest and digest in store.artifacts:
        listed: list[Mapping[str, Any]] = [
            {str(k): v for k, v in row.items()} for row in store.artifacts.table(digest).to_dict("records")
        ]
        return listed
    return list(Responses(store.home).answers(job.identity))

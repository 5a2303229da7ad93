"""An elicitation as a job: asks for what is not answered yet, keeps every answer as it comes, and makes a source of
them at the end.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import pandas as pd

from cotdistill.errors import NoRationale, TeacherError
from cotdistill.execution.context import Outcome, as_planned
from cotdistill.execution.worker import WorkerContext
from cotdistill.planning.elicitation import CHARACTERS_PER_TOKEN, pace_of
from cotdistill.store.artifacts import parquet
from cotdistill.tasks.task import Task
from cotdistill.teachers import sources
from cotdistill.teachers.answers import TeacherAnswer, of_rows
from cotdistill.teachers.asking import Pace, ask_all
from cotdistill.teachers.elicitation import ElicitConfig, Request, requests
from cotdistill.teachers.endpoint import Endpoint, address, body_of, same_model
from cotdistill.teachers.responses import Failure, Response, Responses

COLUMNS = (
    "id",
    "sample",
    "given",
    "text",
    "finish",
    "prompt_tokens",
    "completion_tokens",
    "seconds",
    "received",
    "key",
    "served",
    "fingerprint",
    "logprob",
    "remarks",
)

# Answers that do not enter the source; `teacher filter` makes one of them, too.
DROPPED = (sources.CUT_OFF, sources.ANSWER_ALONE)


class Tally:
    """Counts and keeps what comes back, and tells how far the job is. Money is counted for what was answered since the
    job began or went on.
    """

    def __init__(
        self, context: WorkerContext, responses: Responses, pace: Pace, keys: dict[str, list[Request]], have: set[str]
    ) -> None:
        self._context, self._responses, self._pace = context, responses, pace
        self._keys = keys
        self.cached, self.total = len(have), len(keys)
        self.answered, self.failed = len(have), 0
        self.tokens_in = self.tokens_out = 0
        self.causes: Counter[str] = Counter()
        self._remarked: set[str] = set()
        self._begun = time.monotonic()

    @property
    def cost(self) -> float:
        return self._pace.cost(self.tokens_in, self.tokens_out)

    def arrived(self, answers: list[Response], failures: list[Failure]) -> None:
        """Keep what has come; only then it counts."""
        self._responses.put(answers)
        self._responses.fail(self._context.identity, failures)
        self.answered += len(answers)
        self.failed += len(failures)
        self.tokens_in += sum(self._tokens_in(one) for one in answers) + sum(f.tokens[0] for f in failures)
        self.tokens_out += sum(self._tokens_out(one) for one in answers) + sum(f.tokens[1] for f in failures)
        for remark in self._new_remarks(answers):
            self._context.log(remark)
        for failure in failures:
            self.causes[failure.cause] += 1
            self._context.log(
                f"No answer for {self._place(failure.place)} after {failure.tries} tries: {failure.cause}:"
                f" {failure.detail}"
            )

    def _tokens_in(self, answer: Response) -> int:
        """As the server counts, else reckoned from the characters: a limit must hold without its help, too."""
        if answer.prompt_tokens is not None:
            return answer.prompt_tokens
        return round(sum(len(turn["content"]) for turn in self._keys[answer.key][0].turns) / CHARACTERS_PER_TOKEN)

    def _tokens_out(self, answer: Response) -> int:
        counted = answer.completion_tokens
        return round(len(answer.text) / CHARACTERS_PER_TOKEN) if counted is None else counted

    def _new_remarks(self, answers: list[Response]) -> list[str]:
        """What was not done as asked, each said once: it is counted at the end."""
        remarks = [remark for one in answers for remark in one.remarks]
        remarks += [
            f"the server says that {one.served} answers, not {one.model}"
            for one in answers
            if one.served and not same_model(one.model, one.served)
        ]
        fresh = [remark for remark in dict.fromkeys(remarks) if remark not in self._remarked]
        self._remarked.update(fresh)
        return [f"Not as asked: {remark}." for remark in fresh]

    def _place(self, place: int) -> str:
        return next((same[0].example.id for same in self._keys.values() if same[0].place == place), str(place))

    def tick(self, wait: float) -> None:
        """Tell how far the job is; raises StopRequested if a person asked to stop, TeacherError when the money is
        spent.
        """
        seconds = time.monotonic() - self._begun
        new = self.answered - self.cached
        left = self.total - self.answered - self.failed
        self._context.report(
            self.answered + self.failed,
            self.total,
            answered=self.answered,
            cached=self.cached,
            failed=self.failed,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
            cost=round(self.cost, 6),
            wait=round(wait, 1),
            pace=round(new / seconds, 3) if seconds > 1 else None,
            seconds_left=round(left * seconds / new + wait, 1) if new and seconds > 1 else None,
            cost_left=round(self.cost / new * left, 6) if new and self.cost else None,
            tokens_left=round((self.tokens_in + self.tokens_out) / new * left) if new else None,
        )
        spent = self.tokens_in + self.tokens_out
        if self._pace.budget_tokens and spent >= self._pace.budget_tokens and left:
            raise TeacherError(
                f"{spent:,} tokens were read and written since the job began or went on; the limit is"
                f" {self._pace.budget_tokens:,}.",
                f"{self.answered:,} of {self.total:,} answers are kept. Resume for as many tokens again, or raise"
                " --budget-tokens.",
            )
        if self._pace.budget and self.cost >= self._pace.budget and left:
            raise TeacherError(
                f"The answers of this go have cost {self.cost:.4f}, the limit is {self._pace.budget:g}.",
                "Raise the budget, then resume: nothing is lost.",
            )


def job(context: WorkerContext) -> Outcome:
    """The job kind "elicit": product "answers", one row an answer: id, sample, given, text, finish, tokens, seconds,
    received, key, and what its text states (label, how, problem)."""
    config = ElicitConfig.from_plain(context.config)
    task = context.task(config.task, config.world, config.task_settings)
    hint = "Ask again: what was answered is not asked a second time."
    as_planned(task, config.task, config.task_digest, "this elicitation", hint)
    responses, pace = Responses(context.store.home), pace_of(context.store, config.teacher.model)
    wanted = requests(task, config)
    keys: dict[str, list[Request]] = {}
    for request in wanted:
        keys.setdefault(request.key, []).append(request)
    have = responses.begin(context.identity, wanted)
    failed_before = responses.failed_places(context.identity)
    tally = Tally(context, responses, pace, keys, have)
    # What failed in an earlier go comes last: what has never been asked comes first under a limit of tokens.
    todo = sorted((same[0] for k, same in keys.items() if k not in have), key=lambda r: r.place in failed_before)
    context.log(f"{len(keys)} requests, {len(have)} of them answered already; {pace.concurrency} at a time.")
    tally.tick(0.0)
    if todo:
        _ask(config, todo, pace, tally, failed_before)
    rows = responses.answers(context.identity)
    if not rows:
        cause = ", ".join(f"{cause} ({number})" for cause, number in tally.causes.most_common())
        raise TeacherError(f"No question was answered: {cause}.", "The log tells each cause. Mend it, then resume.")
    answers = of_rows(task, rows)
    table = pd.DataFrame(
        [
            {
                **{name: row[name] for name in COLUMNS},
                "label": a.stated.label,
                "how": a.stated.how,
                "problem": a.stated.problem,
            }
            for row, a in zip(rows, answers, strict=True)
        ]
    )
    produced = {"answers": context.keep(parquet(table), "answers", "parquet")}
    context.report(tally.total, tally.total, stage="making a source of the answers")
    source = _source(task, config, answers, context)
    kept, left_out = sources.rationales(answers, config.part, drop=DROPPED)
    summary = _summary(tally, answers) | _not_as_asked(config.teacher.model, rows)
    summary |= {"rationales": sum(row.text is not None for row in kept), "left_out": dict(left_out)}
    return Outcome({**summary, "source": source}, produced, {"task": task.digest})


def _ask(config: ElicitConfig, todo: list[Request], pace: Pace, tally: Tally, failed_before: set[int]) -> None:
    if config.teacher.kind == "local":
        # Imported here: a job that asks a server needs no torch.
        from cotdistill.teachers.local import ask_local

        ask_local(config, todo, pace, tally.arrived, tally.tick)
        return
    endpoint = Endpoint(address(), pace.concurrency, pace.timeout, drop_refused=pace.drop_refused)

    def ask(request: Request) -> Response:
        return endpoint.ask(body_of(config, request), request.key)

    ask_all(ask, todo, pace, tally.arrived, tally.tick, failed_before)


def _summary(tally: Tally, answers: list[TeacherAnswer]) -> dict[str, Any]:
    known = [a for a in answers if a.answer is not None]
    return {
        "requests": tally.total,
        "answered": tally.answered,
        "cached": tally.cached,
        "failed": tally.failed,
        "causes": dict(tally.causes),
        "tokens_in": tally.tokens_in,
        "tokens_out": tally.tokens_out,
        "cost": round(tally.cost, 6),
        "stated": len(known),
        "agrees": sum(a.answer == a.example.answer for a in known) / len(known) if known else None,
        "cut_off": sum(a.finish == "length" for a in answers),
        "texts": len(answers),
    }


def _not_as_asked(model: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Which model answered by the server's own words, under which fingerprints, and what else was not done as asked."""
    served = Counter(row["served"] for row in rows if row["served"])
    return {
        "served": dict(served),
        "other_model": sum(number for name, number in served.items() if not same_model(model, name)),
        "fingerprints": sorted({row["fingerprint"] for row in rows if row["fingerprint"]}),
        "remarks": dict(Counter(remark for row in rows for remark in json.loads(row["remarks"]))),
    }


def _source(task: Task, config: ElicitConfig, answers: list[TeacherAnswer], context: WorkerContext) -> str | None:
    """Answers as a source of the task; None where they speak about no training row."""
    origin = {"job": context.identity, "model": config.teacher.model, "given": config.given}
    try:
        return sources.add(task, config.name, answers, part=config.part, drop=DROPPED, origin=origin)
    except NoRationale as error:
        context.log(f"No source was made: {error.message}")
        return None

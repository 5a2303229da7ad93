"""Ask a server that misbehaves in every known way about 2,000 questions, and see whether an answer is lost, doubled or changed.

    python benchmarks/teacher_soak.py [--questions 2000] [--concurrency 16] [--json FILE]

The server refuses two parameters always. By the number of the question it answers properly, or first fails in a way that may pass (500, 429 in two
forms, an error in a 200, a cut connection, no JSON, no choice, too late), or answers in a way that is to be put right (stop text left in, thought in
a field of its own, another model), or gives what is no rationale (cut off, a bare letter), or fails for good (an error in a 200, filtered, nothing
but a thought). A cap on tokens stops the job again and again, and it is resumed each time; what failed for good is then asked again of a server that
has been mended. In the end every question must have its one answer, asked for successfully once, with the text that was sent, and the source must
hold exactly those that give a reason. Prints one line; the exit code is 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cotdistill.execution.worker as worker
from cotdistill.planning import elicitation
from cotdistill.store.store import Store
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.importing.importer import import_task
from cotdistill.teachers.asking import Pace
from cotdistill.teachers.elicitation import ElicitConfig, Sampling, TeacherConfig
from cotdistill.teachers.responses import Responses
from tests.protocol_server import Server, serving

STOP = "[END]"
# Tokens of an answer as the server counts them, and how many a go may spend.
TOKENS, CAP = 62, 20_000
# What the server does, by the number of the question; those of the second tuple never get better by themselves.
PASSING = ("500", "429", "limit", "cut", "raw", "empty", "error 429 in 200")
FOR_GOOD = ("error 400 in 200", "filtered", "thought alone")
KINDS = ("proper", *PASSING, *FOR_GOOD, "stop left in", "thought beside", "other model", "cut off", "bare letter")
# Of so many questions one is answered too late the first time.
LATE_EACH, TIMEOUT = 250, 10.0


class Faults:
    """What the server does with a request, and how often it has answered each question with success."""

    def __init__(self, server: Server) -> None:
        self._server, self._lock = server, threading.Lock()
        self.mended = False
        self.answered: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def plan(self, question: str, before: int) -> tuple[Any, ...] | None:
        body = next(b for b in reversed(self._server.bodies) if question in b["messages"][-1]["content"])
        for name in ("top_p", "max_tokens"):
            if name in body:
                with self._lock:
                    self.refused[name] += 1
                return ("status", 400, {}, f"Unsupported parameter: '{name}' is not supported with this model.")
        number = int(re.search(r"\d+", question).group())  # type: ignore[union-attr]
        kind = KINDS[number % len(KINDS)]
        with self._lock:
            tried, self.refused[question] = self.refused[question], self.refused[question] + 1
        if not tried and number % LATE_EACH == 0:
            time.sleep(1.2 * TIMEOUT)
            return ("raw", b"too late")
        passing: dict[str, tuple[Any, ...]] = {
            "500": ("status", 500),
            "429": ("status", 429, {"retry-after-ms": "20"}),
            "limit": ("status", 429, {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20ms"}),
            "cut": ("cut",),
            "raw": ("raw", b"{oops"),
            "empty": ("json", {"choices": []}),
            "error 429 in 200": ("json", {"error": {"message": "slow down", "code": 429}}),
        }
        if kind in passing and not tried:
            return passing[kind]
        if not self.mended and kind == "error 400 in 200":
            return ("json", {"error": {"message": "the context is 4096 tokens", "code": 400}})
        if not self.mended and kind == "filtered":
            return ("json", {"choices": [{"message": {"content": "half"}, "finish_reason": "content_filter"}]})
        if not self.mended and kind == "thought alone":
            return ("json", {"choices": [{"message": {"content": "", "reasoning_content": "Hm."}}]})
        with self._lock:
            self.answered[f"q{number}"] += 1
        message = {"content": sent(number, kind)}
        message |= {"reasoning_content": "Is it (A)?"} if kind == "thought beside" else {}
        choice = {"message": message, "finish_reason": "length" if kind == "cut off" else "stop"}
        usage = {"prompt_tokens": TOKENS - 12, "completion_tokens": 12}
        name = "small" if kind == "other model" else "big"
        return ("json", {"choices": [choice], "usage": usage, "model": name, "system_fingerprint": "f1"})


def sent(number: int, kind: str) -> str:
    """What the server says about a question."""
    label = "AB"[number % 2]
    if kind == "bare letter":
        return label
    text = f"Split in two, {number} leaves {number % 2} over. The answer is ({label})."
    return text + (f"{STOP} And more." if kind == "stop left in" else "")


def expected(number: int) -> str:
    """What of it is to be kept."""
    kind = KINDS[number % len(KINDS)]
    text = sent(number, kind).partition(STOP)[0]
    return f"<think>\nIs it (A)?\n</think>\n{text}" if kind == "thought beside" else text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--json", type=Path, help="write the counts here")
    arguments = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, serving() as server:
        report = soak(Path(folder), server, arguments.questions, arguments.concurrency)
    report["seconds"] = round(time.monotonic() - begun, 1)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(", ".join(f"{name} {value}" for name, value in report.items() if name != "wrong"))
    for line in report["wrong"][:20]:
        print(f"WRONG: {line}")
    return bool(report["wrong"])


def soak(home: Path, server: Server, questions: int, concurrency: int) -> dict[str, Any]:
    """Ask until all is answered; counts, and in `wrong` what is not as it must be."""
    choices = [{"label": "A", "text": "even"}, {"label": "B", "text": "odd"}]
    rows = [
        {"id": f"q{i}", "question": f"number {i}?", "choices": choices, "answer": "AB"[i % 2], "split": "train"}
        for i in range(questions)
    ]
    rows += [{**row, "id": f"{split}{row['id']}", "split": split} for split in ("dev", "test") for row in rows[:2]]
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    os.environ["COTDISTILL_TEACHER_URL"] = server.url
    os.environ.pop("COTDISTILL_TEACHER_KEY", None)
    worker.IDLE_SECONDS = 0.1
    store = Store.open(home / "store")
    import_task(store.tasks_root, home / "rows.jsonl", "numbers")
    task = open_task(store.tasks_root, "numbers")
    faults = Faults(server)
    server.plan = faults.plan
    config = ElicitConfig(
        "numbers", task.digest, "soak", TeacherConfig(model="big"), sampling=Sampling(stop=(STOP,)), rows=0
    )
    pace = Pace(concurrency=concurrency, timeout=TIMEOUT, tries=4, pause=0.02, budget_tokens=CAP, drop_refused=True)
    job = elicitation.submit(store, config, pace)
    goes = 1
    worker.work(store)
    while store.queue.job(job.id).state == "failed" and goes < 50:
        elicitation.resume(store, job.id)
        worker.work(store)
        goes += 1
    first = store.queue.job(job.id)
    wrong = [] if first.state == "finished" else [f"the job is {first.state}: {first.error}"]
    for_good = {f"q{i}" for i in range(questions) if KINDS[i % len(KINDS)] in FOR_GOOD}
    failed = {failure["id"] for failure in Responses(store.home).failures(job.identity)}
    wrong += [f"{len(failed ^ for_good)} other failures than planned"] if failed != for_good else []
    faults.mended = True
    again = elicitation.resume(store, job.id)
    worker.work(store)
    while store.queue.job(again.id).state == "failed" and goes < 100:
        elicitation.resume(store, again.id)
        worker.work(store)
        goes += 1
    done = store.queue.job(again.id)
    result = done.result or {}
    answers = {row["id"]: row["text"] for row in Responses(store.home).answers(again.identity)}
    wrong += [f"q{i} holds {answers.get(f'q{i}')!r}" for i in range(questions) if answers.get(f"q{i}") != expected(i)]
    wrong += [f"{id} was answered {n} times" for id, n in faults.answered.items() if n != 1]
    giving = {f"q{i}" for i in range(questions) if KINDS[i % len(KINDS)] not in ("cut off", "bare letter")}
    source = str(result.get("source"))
    task = open_task(store.tasks_root, "numbers")
    held = {e.id for e in task.examples("train", source) if e.rationale} if source in task.sources else set()
    wrong += [f"the source differs in {len(held ^ giving)} rows"] if held != giving else []
    return {
        "questions": questions,
        "requests": server.asked.total(),
        "answers": len(answers),
        "goes": goes,
        "failed at first": len(failed),
        "rationales": len(held),
        "cut off": result.get("cut_off"),
        "of another model": result.get("other_model"),
        "sent with refused parameters": faults.refused["top_p"] + faults.refused["max_tokens"],
        "wrong": wrong,
    }


if __name__ == "__main__":
    sys.exit(main())

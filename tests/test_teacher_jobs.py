"""An elicitation as a job: live counts, a source at the end, kept apart failures, and a kill -9 after which no question is asked twice."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cotdistill.config import plain
from cotdistill.errors import UsageError
from cotdistill.execution.worker import work
from cotdistill.planning import elicitation
from cotdistill.store.store import Store
from cotdistill.tasks.added import source_info
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.importing.importer import import_task
from cotdistill.teachers.asking import Pace
from cotdistill.teachers.elicitation import ElicitConfig, Sampling, TeacherConfig, rows_of
from cotdistill.teachers.responses import Responses
from tests.protocol_server import serving
from tests.terminal import check_keys, speaker

ROOT = Path(__file__).resolve().parents[1]
SECRET = "sk-not-to-be-told-4711"
QUICK = Pace(concurrency=4, timeout=10.0, tries=2, pause=0.01, price_in=1000.0, price_out=10_000.0)


@pytest.fixture
def server(monkeypatch):
    with serving() as server:
        monkeypatch.setenv("COTDISTILL_TEACHER_URL", server.url)
        monkeypatch.setenv("COTDISTILL_TEACHER_KEY", SECRET)
        yield server


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store with a task of 60 rows, imported without tokenizers: they are trained when a source is added."""
    rows = [
        {"id": f"q{i}", "question": f"number {i}?", "choices": [{"label": "A", "text": "even"}, {"label": "B", "text": "odd"}], "answer": "AB"[i % 2],
         "rationale": f"by two leaves {i % 2}", "rationale_source": "people"}
        for i in range(60)
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("COTDISTILL_HOME", str(tmp_path / "home"))
    # A worker that has no more to do waits for more; nothing more comes here.
    monkeypatch.setattr("cotdistill.execution.worker.IDLE_SECONDS", 0.1)
    store = Store.open(tmp_path / "home")
    import_task(store.tasks_root, tmp_path / "rows.jsonl", "numbers")
    return store


def config(store, **more):
    task = open_task(store.tasks_root, "numbers")
    return ElicitConfig("numbers", task.digest, "mine", TeacherConfig(model="big"), **more)


def run(store, wanted, pace=QUICK):
    job = elicitation.submit(store, wanted, pace)
    work(store)
    return store.queue.job(job.id)


def everything(folder):
    """All bytes that a store holds."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_answers_become_a_source_and_nothing_is_asked_a_second_time(store, server):
    job = run(store, config(store, rows=20))
    assert job.state == "finished", job.error
    result = job.result
    assert (result["requests"], result["answered"], result["cached"], result["failed"], result["agrees"]) == (
        20,
        20,
        0,
        0,
        1.0,
    )
    # 50 tokens in and 12 out, each: 20 x (50 x 1000 + 12 x 10000) / 1e6
    assert (result["tokens_in"], result["tokens_out"], result["cost"]) == (1000, 240, pytest.approx(3.4))
    task = open_task(store.tasks_root, "numbers")
    told = [e for e in task.examples("train", result["source"]) if e.rationale]
    assert result["source"].startswith("mine-") and len(told) == 20
    assert (
        told[0].rationale == f"It follows from what was asked in {told[0].question}"
        and task.teacher_labels(result["source"])[told[0].id] == told[0].answer
    )
    assert source_info(task, result["source"])["origin"]["model"] == "big"
    table = store.artifacts.table(job.produced["answers"])
    assert len(table) == 20 and set(table["how"]) == {"letter"} and set(table["finish"]) == {"stop"}
    # More rows: those that were answered are not asked again, and cost nothing.
    more = run(store, config(store, rows=30))
    assert (more.result["answered"], more.result["cached"], more.result["cost"]) == (30, 20, pytest.approx(1.7))
    assert all(count == 1 for count in server.asked.values()) and len(server.asked) == 30
    # The very same: the job is there already.
    assert elicitation.submit(store, config(store, rows=20), QUICK).id == job.id


def test_address_and_key_are_nowhere_in_the_store(store, server):
    first = open_task(store.tasks_root, "numbers").examples("train")[0].question
    server.plan = lambda question, before: ("status", 400, {}, f"{SECRET} {server.url}") if question == first else None
    run(store, config(store))
    server.plan = lambda question, before: ("status", 401, {}, SECRET)
    failed = run(store, config(store, given="nothing"))
    assert failed.state == "failed" and "key is missing or not accepted" in failed.error["message"]
    held = everything(store.home)
    assert b"the server answers 400" in held and SECRET.encode() not in held
    assert server.url.encode() not in held and f"127.0.0.1:{server.server_port}".encode() not in held


def test_failures_are_kept_apart_and_asked_for_again(store, server):
    bad = {"number 7?", "number 8?"}
    server.plan = lambda question, before: ("json", {"choices": []}) if question in bad else None
    job = run(store, config(store, split="train"))
    responses = Responses(store.home)
    failures = responses.failures(job.identity)
    assert job.state == "finished" and job.result["failed"] == len(failures) == len(
        {f["id"] for f in failures} & {"q7", "q8"}
    )
    assert {(f["cause"], f["tries"]) for f in failures} == {("empty", 2)} and job.result["causes"] == {
        "empty": len(failures)
    }
    asked = dict(server.asked)
    server.plan = lambda question, before: None
    again = elicitation.resume(store, job.id)
    assert again.id != job.id and again.label.endswith("asked again 1")
    work(store)
    done = store.queue.job(again.id)
    assert done.result["failed"] == 0 and done.result["cached"] == job.result["answered"]
    assert all(server.asked[q] == asked[q] for q in asked if q not in bad)
    # Other content, so a source of another name beside the first.
    assert done.result["source"] != job.result["source"]
    assert elicitation.resume(store, job.id).id == again.id
    with pytest.raises(UsageError, match="every question was answered"):
        elicitation.resume(store, done.id)


def test_a_budget_stops_a_job_and_more_of_it_lets_it_go_on(store, server):
    server.plan = lambda question, before: ("slow", 0.15)
    job = run(store, config(store, rows=40), Pace(concurrency=2, price_in=1000.0, budget=0.4))
    assert job.state == "failed" and "the limit is 0.4" in job.error["message"]
    answered = Responses(store.home).count(job.identity).answered
    assert 8 <= answered < 40
    server.plan = lambda question, before: None
    Responses(store.home).set_pace("big", plain(QUICK))
    elicitation.resume(store, job.id)
    work(store)
    done = store.queue.job(job.id)
    assert done.state == "finished" and done.result["answered"] == 40 and done.result["cached"] == answered
    assert all(count == 1 for count in server.answered.values())


def test_a_limit_of_tokens_stops_a_job_and_every_resume_gives_as_many_again(store, server):
    # 62 tokens an answer: the third passes 150, and two may be on their way.
    capped = Pace(concurrency=2, budget_tokens=150)
    server.plan = lambda question, before: ("slow", 0.3)
    job = run(store, config(store, rows=8), capped)
    assert job.state == "failed" and "the limit is 150" in job.error["message"] and "Resume" in job.error["hint"]
    answered = Responses(store.home).count(job.identity).answered
    assert 3 <= answered < 8 and job.progress["tokens_left"] % 62 == 0
    while store.queue.job(job.id).state == "failed":
        elicitation.resume(store, job.id)
        work(store)
    done = store.queue.job(job.id)
    assert done.state == "finished" and done.result["answered"] == 8 and set(server.answered.values()) == {1}


def test_a_limit_of_tokens_holds_where_the_server_counts_none(store, server):
    def plan(question, before):
        time.sleep(0.3)
        return ("json", {"choices": [{"message": {"content": "It is so, I say. " * 40}}]})

    server.plan = plan
    job = run(store, config(store, rows=8), Pace(concurrency=1, budget_tokens=400))
    # 680 characters are 170 tokens, and the prompt as many more as it has characters by four: two answers pass 400.
    assert job.state == "failed" and Responses(store.home).count(job.identity).answered < 8


def shaped(text, finish="stop", **more):
    return ("json", {"choices": [{"message": {"content": text}, "finish_reason": finish}], **more})


def test_a_nearly_empty_source_says_what_is_left_and_why(store, server, capsys, monkeypatch):
    """Ten answers: seven bare letters, one cut off, one thought, one reason."""
    order = [e.question for e in rows_of(open_task(store.tasks_root, "numbers"), config(store, rows=10))]

    def plan(question, before):
        place = order.index(question)
        if place == 0:
            return shaped("Split in two it leaves one over. The answer is (B).", model="other", system_fingerprint="f1")
        if place == 1:
            return shaped("It leaves one when it is split in two and then", "length")
        return shaped("<think>It leaves one.</think>", "stop") if place == 2 else shaped("B")

    server.plan = plan
    monkeypatch.setattr("cotdistill.cli.commands.teacher.elicit.ensure_supervisor", work)
    say = speaker(capsys)
    said = say("teacher elicit --task numbers --model big --name thin --rows 10 --given nothing --wait --json").document
    result = said["result"]
    assert (result["texts"], result["rationales"], result["cut_off"]) == (10, 1, 1)
    assert result["left_out"] == {
        "an answer without a reason": 7,
        "cut off by the limit of tokens": 1,
        "a thought and nothing said": 1,
    }
    assert (result["served"], result["other_model"], result["fingerprints"]) == ({"other": 1}, 1, ["f1"])
    told = say(f"teacher progress {said['id']}").out
    assert "1 rationale of 10 answers (10.0 %)" in told and "Most answers give no rationale" in told
    assert "1 of 10 answers (10.0 %) were cut off at 160 tokens" in told and "--name thin_all" in told
    assert "Asked for big; by the server's own words these answered: other 1." in told
    # The source holds one rationale; its figures are of all ten answers.
    figures = say(f"teacher quality --task numbers --sources {result['source']} --json").document["sources"]
    (figures,) = figures.values()
    assert figures["rationales"] == 1 and figures["answers"] == 8 and figures["left_out"] == {"no text": 7}
    kept = say(f"teacher filter --job {said['id']} --name thin_all --part reason --json").document
    assert kept["rationales"] == 2 and kept["left_out"]["an answer without a reason"] == 7
    table = store.artifacts.table(store.queue.job(said["id"]).produced["answers"])
    assert sorted(table["served"]) == [""] * 9 + ["other"]


def test_the_estimate_counts_what_is_left_by_what_the_model_did_before(store, server):
    task = open_task(store.tasks_root, "numbers")
    first = elicitation.estimate(store, task, config(store, rows=20), QUICK)
    assert (first.requests, first.cached, first.seconds) == (20, 0, None) and first.tokens_out == (
        20 * 40.0,
        20 * 160.0,
    )
    run(store, config(store, rows=10))
    later = elicitation.estimate(store, task, config(store, rows=20), QUICK)
    assert (
        (later.requests, later.cached) == (20, 10) and later.seconds is not None and later.seconds[0] < later.seconds[1]
    )
    # Its answers had 12 tokens: 10 more of 8.4 to 16.8.
    assert later.tokens_out == (pytest.approx(84.0), pytest.approx(168.0)) and later.cost[0] > 0


def worker(store, server):
    environment = {**os.environ, "COTDISTILL_TEACHER_URL": server.url, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "cotdistill.execution.worker", "--home", str(store.home)]
    return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def until(what, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_after_a_kill_half_way_no_question_is_answered_twice(store, server):
    server.hold_after = 20
    wanted = config(store, split="train", sampling=Sampling(max_tokens=50))
    job = elicitation.submit(store, wanted, QUICK)
    responses = Responses(store.home)
    process = worker(store, server)
    try:
        # Twenty or a few more are answered and recorded; the next ones hang at the server when the process is killed.
        until(lambda: server.now >= 4 and sum(server.answered.values()) >= 20)
        until(lambda: responses.count(job.identity).answered == sum(server.answered.values()))
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    answered = dict(server.answered)
    assert len(answered) >= 20
    asked = dict(server.asked)
    time.sleep(0.3)
    server.hold_after = None
    server.gate.set()
    work(store)
    done = store.queue.job(job.id)
    assert done.state == "finished" and done.result["cached"] == len(answered) and done.attempt == 2
    # No question that was answered before was asked again, and none was answered twice.
    assert all(server.asked[question] == asked[question] for question in answered)
    assert set(server.answered.values()) == {1} and len(server.answered) == done.result["answered"]


def test_a_stopped_job_has_what_it_was_answered_and_goes_on(store, server):
    server.plan = lambda question, before: ("slow", 0.25)
    job = elicitation.submit(store, config(store), Pace(concurrency=2))
    stopper = threading.Thread(
        target=lambda: (until(lambda: sum(server.answered.values()) >= 6), store.queue.stop(job.id))
    )
    stopper.start()
    work(store)
    stopper.join()
    stopped = store.queue.job(job.id)
    assert stopped.state == "stopped"
    assert Responses(store.home).count(job.identity).answered == sum(server.answered.values()) < 40
    assert len(elicitation.answers(store, stopped)) == sum(server.answered.values())
    server.plan = lambda question, before: None
    elicitation.resume(store, job.id)
    work(store)
    assert store.queue.job(job.id).state == "finished" and set(server.answered.values()) == {1}


def test_several_samples_come_with_seeds_of_their_own(store, server):
    job = run(store, config(store, rows=5, sampling=Sampling(temperature=0.8, samples=3, seed=10)))
    assert job.result["requests"] == 15 and sorted({body["seed"] for body in server.bodies}) == [10, 11, 12]
    assert len(store.artifacts.table(job.produced["answers"])) == 15
    task = open_task(store.tasks_root, "numbers")
    assert sum(bool(e.rationale) for e in task.examples("train", job.result["source"])) == 5


def test_without_an_address_nothing_is_queued(store, monkeypatch):
    for name in ("COTDISTILL_TEACHER_URL", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="No teacher's address"):
        elicitation.submit(store, config(store), QUICK)
    assert store.queue.jobs() == []


def test_the_terminal_estimates_elicits_tells_and_filters(store, server, capsys, tmp_path, monkeypatch):
    say = speaker(capsys)
    # In this process, so that the test needs no supervisor.
    monkeypatch.setattr("cotdistill.cli.commands.teacher.elicit.ensure_supervisor", work)
    words = "teacher elicit --task numbers --model big --name net --rows 12 --shots 1 --price-in 2 --price-out 8 --concurrency 3 --pause 0.01 --tries 2"
    looked = say(f"{words} --estimate --json")
    check_keys("teacher elicit", looked.document)
    assert (
        looked.document["id"] is None
        and looked.document["prompt"][2]["role"] == "assistant"
        and server.asked.total() == 0
    )
    server.plan = lambda question, before: (
        ("json", {"choices": []}) if question == looked.document["prompt"][-1]["content"].split("\n")[0][10:] else None
    )
    said = say(f"{words} --wait --json")
    check_keys("teacher elicit", said.document)
    number, result = said.document["id"], said.document["result"]
    assert (
        said.document["state"] == "finished" and result["answered"] == 11 and result["failed"] == 1 and server.most <= 3
    )
    far = say(f"teacher progress {number} --json")
    check_keys("teacher progress", far.document)
    assert (
        far.document["failures"][0]["cause"] == "empty"
        and len(far.document["latest"]) == 5
        and far.document["answered"] == 11
    )
    assert "empty" in say(f"teacher progress {number}").out
    listed = say("teacher list --json")
    check_keys("teacher list", listed.document)
    assert [(j["id"], j["answered"], j["source"]) for j in listed.document] == [(number, 11, result["source"])]
    server.plan = lambda question, before: None
    resumed = say(f"teacher resume {number} --wait --json")
    check_keys("teacher resume", resumed.document)
    assert resumed.document["asked_again"] and resumed.document["result"]["failed"] == 0
    kept = say(f"teacher filter --job {number} --filters agrees,gives_reason --name clean --json").document
    assert kept["of"] == "net" and kept["kept"] == 11 and kept["source"].startswith("clean-")
    assert say(f"teacher quality --job {number} --json").document["sources"]["net"]["agrees"] == 1.0
    out = tmp_path / "out.jsonl"
    assert say(f"teacher export --job {number} --out {out} --json").document["rows"] == 11
    assert json.loads(out.read_text().splitlines()[0])["finish"] == "stop"
    assert say(f"runs show {number} --json").document["kind"] == "elicit"
    assert SECRET not in far.out + said.out + said.err


@pytest.mark.parametrize(
    ("words", "kind", "told"),
    [
        ("--task numbers --model m --samples 3", "bad_config", "temperature above 0"),
        ("--task numbers --model m --against empty", "bad_config", "only a local teacher"),
        ("--task numbers --model m --template deductiv", "unknown_name", "deductiv"),
        ("--task numbers --model m --shots 9", "bad_config", "0 to 8"),
        ("--task numbers --model m --ids q99", "usage", "no row"),
        ("--task numbers --model m --extra [1]", "usage", "no JSON object"),
        ("--task numbers --model m --extra '{\"stream\":true}'", "bad_config", "a stream"),
        ("--task numbers --model m --concurrency 0", "bad_config", "concurrency is 0"),
        ("--task numbers --model m --max-tokens 0", "bad_config", "max_tokens is 0"),
        ("--task number --model m", "unknown_name", "number"),
        ("--task numbers", "usage", "model"),
    ],
)
def test_words_that_fit_nothing_are_answered_before_anything_is_asked(store, server, capsys, words, kind, told):
    error = speaker(capsys)(f"teacher elicit {words} --json").error
    assert error["kind"] == kind and told in error["message"] and server.asked.total() == 0


def test_a_job_of_another_kind_asks_no_teacher(store, server, capsys):
    assert speaker(capsys)("teacher progress 99 --json").error["kind"] == "not_found"
    assert speaker(capsys)("teacher list").out.strip() == "No teacher was asked yet."

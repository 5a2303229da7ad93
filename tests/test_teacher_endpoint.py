"""A teacher behind a real HTTP server: every way in which it may not answer, waits that it asks for, and what is never told of its address."""

import time
from email.utils import formatdate

import pytest

from cotdistill.errors import TeacherError, UsageError
from cotdistill.tasks.example import Choice, Example
from cotdistill.teachers.asking import Pace, ask_all
from cotdistill.teachers.elicitation import ElicitConfig, Request, Sampling, TeacherConfig
from cotdistill.teachers.endpoint import LARGEST, Address, Endpoint, Refused, address, body_of, same_model
from cotdistill.teachers.rate_limits import exhausted_wait, refused_wait, reset_seconds, retry_after
from tests.protocol_server import serving

CONFIG = ElicitConfig(
    "t",
    "0" * 64,
    "n",
    TeacherConfig(model="big"),
    sampling=Sampling(temperature=0.5, samples=2, seed=7, stop=("\n\n",)),
)
CHOICES = (Choice("A", "tree"), Choice("B", "pond"))
SECRET = "sk-not-to-be-told-4711"


@pytest.fixture
def server():
    with serving() as server:
        yield server


def request(i, sample=0):
    question = f"number {i}?"
    turns = [{"role": "user", "content": f"Question: {question}\nThe right answer is (B) pond."}]
    return Request(i, Example(f"q{i}", question, CHOICES, "B", "train"), sample, "B", turns, None, f"key{i}-{sample}")


def ask(server, one, timeout=5.0):
    return Endpoint(Address(server.url, SECRET), 1, timeout).ask(body_of(CONFIG, one), one.key)


def crew(server, requests, pace=None, tick=lambda wait: None):
    """Ask for all of them; gives (answers, failures)."""
    answers, failures = [], []

    def arrived(more, lost):
        answers.extend(more)
        failures.extend(lost)

    pace = pace or Pace(concurrency=4, timeout=2.0, tries=3, pause=0.01)
    endpoint = Endpoint(Address(server.url, SECRET), pace.concurrency, pace.timeout)
    ask_all(lambda r: endpoint.ask(body_of(CONFIG, r), r.key), requests, pace, arrived, tick)
    return answers, failures


def test_an_answer_comes_back_with_its_counts_and_the_request_says_everything(server):
    found = ask(server, request(1, sample=1))
    assert found.text == "It follows from what was asked in number 1? The answer is (B)." and found.finish == "stop"
    assert (found.prompt_tokens, found.completion_tokens, found.key, found.model) == (50, 12, "key1-1", "big")
    body = server.bodies[0]
    assert {k: body[k] for k in ("model", "temperature", "top_p", "max_tokens", "stop", "seed", "stream")} == {
        "model": "big", "temperature": 0.5, "top_p": 1.0, "max_tokens": 160, "stop": ["\n\n"], "seed": 8, "stream": False,
    }  # fmt: skip
    assert server.headers[0]["Authorization"] == f"Bearer {SECRET}"
    newer = ElicitConfig(
        "t", "0", "n", TeacherConfig(model="o", limit_name="max_completion_tokens", extra={"reasoning_effort": "low"})
    )
    told = body_of(newer, request(1))
    assert (
        told["max_completion_tokens"] == 160
        and told["reasoning_effort"] == "low"
        and "max_tokens" not in told
        and told["seed"] == 0
    )


@pytest.mark.parametrize(
    ("action", "cause", "again"),
    [
        (("status", 429, {"Retry-After": "3"}), "busy", True),
        (("status", 500), "server", True),
        (("status", 503, {"Retry-After": "2"}), "server", True),
        (("status", 408), "server", True),
        (("status", 400), "request", False),
        (("status", 422), "request", False),
        (("status", 401), "denied", False),
        (("status", 403), "denied", False),
        (("status", 404), "denied", False),
        (("status", 302, {"Location": "http://127.0.0.1:1/"}), "denied", False),
        (("status", 429, {}, "insufficient_quota: pay first"), "denied", False),
        (("raw", b"{not json"), "malformed", True),
        (("raw", b"[" * 100_000), "malformed", True),
        (("raw", b"[]"), "malformed", True),
        (("json", {"choices": {}}), "malformed", True),
        (("json", {"choices": [{"text": "old"}]}), "malformed", True),
        (("json", {"choices": []}), "empty", True),
        (("json", {"choices": [{"message": {"content": None}}]}), "empty", True),
        (("json", {"choices": [{"message": {"content": "  "}, "finish_reason": "stop"}]}), "empty", True),
        (("json", {"choices": [{"message": {"content": ""}, "finish_reason": "length"}]}), "request", False),
        (
            ("json", {"choices": [{"message": {"content": "half"}, "finish_reason": "content_filter"}]}),
            "request",
            False,
        ),
        (("cut",), "connection", True),
        (("slow", 1.0), "timeout", True),
        (("drip", 0.05), "timeout", True),
    ],
)
def test_every_way_of_not_answering_has_a_cause(server, action, cause, again):
    server.plan = lambda question, before: action
    with pytest.raises(Refused) as error:
        ask(server, request(1), timeout=0.4)
    assert (error.value.cause, error.value.again) == (cause, again)
    assert error.value.wait == (3.0 if action[1:2] == (429,) and action[2] else 2.0 if action[1:2] == (503,) else None)


def test_odd_but_proper_answers_are_read(server):
    parts = [{"type": "text", "text": "It is "}, {"type": "text", "text": "so \ud800\0."}]
    server.plan = lambda question, before: (
        "json",
        {"choices": [{"message": {"content": parts}}], "usage": {"prompt_tokens": "many"}},
    )
    found = ask(server, request(1))
    assert found.text == "It is so ?." and found.finish == "" and found.prompt_tokens is None


def test_an_answer_without_end_is_cut_short(server):
    server.plan = lambda question, before: ("raw", b" " * (LARGEST + 10))
    with pytest.raises(Refused, match="more than 8 MiB"):
        ask(server, request(1))


def test_a_server_that_is_not_there_cannot_be_reached():
    with pytest.raises(Refused) as error:
        Endpoint(Address("http://127.0.0.1:9/v1", ""), 1, 1.0).ask({"model": "m"}, "k")
    assert error.value.cause == "connection" and "127.0.0.1" not in str(error.value)


def test_neither_address_nor_key_is_ever_told(server):
    server.plan = lambda question, before: (
        "status",
        400,
        {},
        f"bad key {SECRET} at {server.url} ({server.url.split('/')[2]})",
    )
    with pytest.raises(Refused) as error:
        ask(server, request(1))
    assert (
        SECRET not in str(error.value)
        and str(server.server_port) not in str(error.value)
        and "bad key …" in str(error.value)
    )
    server.plan = lambda question, before: ("status", 401, {}, "Incorrect API key provided: sk-not********4711")
    with pytest.raises(Refused) as error:
        ask(server, request(1))
    assert "4711" not in str(error.value)
    assert SECRET not in repr(Address(server.url, SECRET)) and server.url not in repr(Address(server.url, SECRET))


def test_waits_are_given_in_seconds_or_as_a_date():
    assert retry_after("7") == 7.0 and retry_after(" 0 ") == 0.0
    assert retry_after(formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=2)
    assert retry_after(formatdate(time.time() - 30, usegmt=True)) == 0.0
    assert retry_after(None) is None and retry_after("soon") is None and retry_after("") is None


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_wait_that_the_server_asks_for_holds_every_thread_and_uses_up_no_try(server, form):
    told = {}

    def plan(question, before):
        if not told:
            told["at"] = time.monotonic()
            told["until"] = time.time() + 2
            return (
                "status",
                429,
                {"Retry-After": "1" if form == "seconds" else formatdate(told["until"], usegmt=True)},
            )
        return None

    server.plan = plan
    waits = []
    answers, failures = crew(
        server, [request(i) for i in range(12)], Pace(concurrency=1, tries=1, pause=0.01), waits.append
    )
    assert len(answers) == 12 and not failures
    # A date has whole seconds: two seconds ahead is at least one away.
    assert server.at[1] - told["at"] >= 0.99
    assert max(waits) > 0.5


def test_what_fails_now_and_then_is_asked_again_and_what_fails_for_good_is_kept_apart(server):
    bad = {
        "number 1?": ("status", 500), "number 2?": ("raw", b"oops"), "number 3?": ("cut",), "number 4?": ("json", {"choices": []}),
        "number 5?": ("status", 400, {}, "too long"),
    }  # fmt: skip
    server.plan = lambda question, before: (
        bad.get(question) if before < 2 or question in ("number 4?", "number 5?") else None
    )
    answers, failures = crew(server, [request(i) for i in range(8)])
    assert sorted(a.key for a in answers) == [f"key{i}-0" for i in (0, 1, 2, 3, 6, 7)]
    assert sorted((f.place, f.cause, f.tries) for f in failures) == [(4, "empty", 3), (5, "request", 1)]
    assert "too long" in next(f.detail for f in failures if f.place == 5)
    assert server.asked["number 1?"] == 3 and server.asked["number 0?"] == 1


def test_a_refused_key_stops_everything_at_once(server):
    server.plan = lambda question, before: ("status", 401)
    with pytest.raises(TeacherError, match="key is missing or not accepted"):
        crew(server, [request(i) for i in range(500)])
    assert sum(server.asked.values()) <= 8


def test_a_server_that_fails_for_everyone_stops_the_job_instead_of_failing_every_question(server):
    server.plan = lambda question, before: ("status", 500, {}, "out of memory")
    with pytest.raises(TeacherError, match=r"10 questions in a row got no answer.*out of memory"):
        crew(server, [request(i) for i in range(300)], Pace(concurrency=1, tries=1, pause=0.0))
    assert sum(server.asked.values()) <= 12


def test_a_wait_beyond_the_longest_stops_the_job(server):
    server.plan = lambda question, before: ("status", 429, {"Retry-After": "7200"})
    with pytest.raises(TeacherError, match="left alone for 7200 s"):
        crew(server, [request(i) for i in range(5)])


def test_two_hundred_questions_go_out_at_once_up_to_the_limit(server):
    server.plan = lambda question, before: ("slow", 0.3)
    begun = time.monotonic()
    answers, failures = crew(server, [request(i) for i in range(200)], Pace(concurrency=200, timeout=30.0))
    assert len(answers) == 200 and not failures and time.monotonic() - begun < 15
    assert all(count == 1 for count in server.asked.values()) and 20 < server.most <= 200
    server.most = 0
    crew(server, [request(i) for i in range(200, 230)], Pace(concurrency=3, timeout=30.0))
    assert server.most <= 3


def test_two_hundred_at_once_against_a_limit_of_rate_are_all_answered(server):
    seen = []

    def plan(question, before):
        now = time.monotonic()
        seen[:] = [at for at in seen if now - at < 0.5]
        if len(seen) >= 60:
            return ("status", 429, {"Retry-After": "1"})
        seen.append(now)
        return None

    server.plan = plan
    answers, failures = crew(server, [request(i) for i in range(200)], Pace(concurrency=100, tries=2, timeout=30.0))
    assert len(answers) == 200 and not failures
    assert all(count == 1 for count in server.answered.values())


def test_stopping_waits_for_what_is_on_its_way_and_loses_nothing(server):
    server.plan = lambda question, before: ("slow", 0.3)

    class Stop(BaseException):
        pass

    ticks = []

    def tick(wait):
        ticks.append(wait)
        if len(ticks) == 2:
            raise Stop

    got = []
    endpoint = Endpoint(Address(server.url, ""), 5, 10.0)
    with pytest.raises(Stop):
        ask_all(
            lambda r: endpoint.ask(body_of(CONFIG, r), r.key), [request(i) for i in range(50)], Pace(concurrency=5),
            lambda more, lost: got.extend(more), tick,
        )  # fmt: skip
    assert 5 <= len(got) < 50 and len(got) == sum(server.answered.values())


def test_an_answer_that_could_not_be_recorded_is_offered_again_at_the_end(server):
    got, tried = [], []

    def arrived(more, lost):
        tried.append(len(more))
        if more and len([n for n in tried if n]) == 1:
            raise OSError("the disk is busy")
        got.extend(more)

    endpoint = Endpoint(Address(server.url, ""), 1, 10.0)
    with pytest.raises(OSError):
        ask_all(
            lambda r: endpoint.ask(body_of(CONFIG, r), r.key),
            [request(1)],
            Pace(concurrency=1),
            arrived,
            lambda wait: None,
        )
    assert [a.key for a in got] == ["key1-0"]


def test_the_address_comes_from_the_environment_and_a_key_goes_with_its_own_address_only(monkeypatch):
    for other in ("COTDISTILL_TEACHER_URL", "COTDISTILL_TEACHER_KEY", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(other, raising=False)
    with pytest.raises(UsageError, match="No teacher's address") as error:
        address()
    assert "COTDISTILL_TEACHER_URL" in error.value.hint
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    assert address() == Address("https://api.openai.com/v1", SECRET)
    monkeypatch.setenv("COTDISTILL_TEACHER_URL", "http://localhost:8000/v1/")
    assert address() == Address("http://localhost:8000/v1", "")
    monkeypatch.setenv("COTDISTILL_TEACHER_KEY", "own")
    assert address().key == "own"
    for wrong in ("localhost:8000", "ftp://x/v1", "http://user:pw@x/v1", "http://:80/v1", "http://[x/v1"):
        monkeypatch.setenv("COTDISTILL_TEACHER_URL", wrong)
        with pytest.raises(UsageError, match="COTDISTILL_TEACHER_URL is no address") as error:
            address()
        assert wrong not in error.value.message


def asked_of(server, body, drop=False):
    """One answer of an endpoint that may leave out what is refused, and the endpoint."""
    endpoint = Endpoint(Address(server.url, SECRET), 1, 5.0, drop_refused=drop)
    return endpoint.ask(body, "key"), endpoint


def refusing(server, *names, words="Unsupported parameter: '{}' is not supported with this model."):
    """The server refuses every request that holds one of these parameters."""

    def plan(question, before):
        named = next((name for name in names if name in server.bodies[-1]), "")
        return ("status", 400, {}, words.format(named)) if named else None

    server.plan = plan


BODY = body_of(CONFIG, request(1))


def test_a_refused_parameter_is_left_out_only_where_the_person_agreed_and_the_answer_says_so(server):
    refusing(server, "top_p", "seed")
    with pytest.raises(Refused, match=r"'top_p' is not supported.*--drop-refused"):
        asked_of(server, BODY)
    assert len(server.bodies) == 1
    answer, endpoint = asked_of(server, BODY, drop=True)
    assert answer.remarks == tuple(f"sent without {name}, which the server refused" for name in ("top_p", "seed"))
    # Each was refused once, and the next request does not hold them.
    assert [sorted({"top_p", "seed"} & set(body)) for body in server.bodies[1:]] == [["seed", "top_p"], ["seed"], []]
    endpoint.ask(BODY, "key2")
    assert len(server.bodies) == 5 and "top_p" not in server.bodies[-1] and server.bodies[-1]["temperature"] == 0.5


@pytest.mark.parametrize(
    ("name", "other"), [("max_tokens", "max_completion_tokens"), ("max_completion_tokens", "max_tokens")]
)
def test_what_the_limit_is_called_is_found_out(server, name, other):
    refusing(server, name, words="'{}' is not supported with this model. Use another name instead.")
    answer, endpoint = asked_of(server, {**{k: v for k, v in BODY.items() if k != "max_tokens"}, name: 160})
    assert answer.remarks == () and server.bodies[-1][other] == 160 and name not in server.bodies[-1]
    refusing(server, name, other)
    # Both are refused: it is not asked for ever.
    with pytest.raises(Refused, match="not supported"):
        endpoint.ask({**BODY, name: 160}, "key")


def test_a_value_that_is_refused_is_no_refused_parameter(server):
    refusing(server, "max_tokens", words="{} is too large: 160")
    with pytest.raises(Refused, match="too large"):
        asked_of(server, BODY, drop=True)
    assert len(server.bodies) == 1


def reply(**more):
    choice = {"message": {"content": "It flies. END More."}, "finish_reason": "length"}
    return ("json", {"choices": [choice], **more})


def test_a_stop_text_that_the_server_left_in_is_cut_off(server):
    server.plan = lambda question, before: reply()
    answer, _ = asked_of(server, {**BODY, "stop": ["never", "END"]})
    assert (answer.text, answer.finish) == ("It flies. ", "stop")
    assert answer.remarks == ("the stop text was left in; it is cut off here",)
    assert asked_of(server, {**BODY, "stop": ["never"]})[0].text == "It flies. END More."
    # Where the server refused the stop text itself, too.
    server.plan = lambda question, before: ("status", 400, {}, "stop: unknown field") if not before else reply()
    assert asked_of(server, {**BODY, "messages": request(2).turns, "stop": "END"}, drop=True)[0].text == "It flies. "


def test_what_was_asked_for_and_did_not_come_is_said(server):
    server.plan = lambda question, before: reply(model="small", system_fingerprint="b7")
    answer, _ = asked_of(server, {**BODY, "n": 3, "logprobs": True})
    assert (answer.served, answer.fingerprint, answer.logprob) == ("small", "b7", None)
    assert answer.remarks == (
        "asked for 3 choices (n), got 1",
        "asked for log-probabilities (logprobs), got none",
    )
    tokens = {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5}, {"token": "c"}]}
    server.plan = lambda question, before: (
        "json",
        {"choices": [{"message": {"content": "x"}, "logprobs": tokens}] * 2},
    )
    answer, _ = asked_of(server, {**BODY, "n": 2, "logprobs": True})
    assert answer.logprob == -1.0 and answer.remarks == (
        "of several choices the first is kept; --samples asks for several",
    )


def test_a_name_with_its_path_revision_or_date_means_the_same_model():
    for served in ("gpt-x", "org/gpt-x", "/models/GPT-X.gguf", "gpt-x@main", "gpt-x:latest", "gpt-x-2026-08-06"):
        assert same_model("gpt-x", served), served
    for served in ("gpt-x-mini", "gpt-y", "gpt-x-mini-2026-08-06"):
        assert not same_model("gpt-x", served), served


def test_rate_limits_are_read_in_every_form(monkeypatch):
    monkeypatch.setattr("cotdistill.teachers.rate_limits.time.time", lambda: 1_800_000_000.0)
    for text, seconds in (
        ("6m0s", 360.0), ("20ms", 0.02), ("1h30m", 5400.0), ("2.5", 2.5), ("1800000030", 30.0),
        ("1800000030000", 30.0), ("2027-01-15T08:00:07Z", 7.0), ("soon", None), ("", None),
    ):  # fmt: skip
        assert reset_seconds(text) == (None if seconds is None else pytest.approx(seconds)), text
    used_up = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2s"}
    used_up |= {"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "9m"}
    assert exhausted_wait(used_up) == 2.0 and exhausted_wait({"x-ratelimit-remaining-tokens": "12"}) is None
    assert refused_wait(used_up) == 2.0 and refused_wait({**used_up, "Retry-After": "5"}) == 5.0
    assert refused_wait({"retry-after-ms": "1500", "Retry-After": "5"}) == 1.5


def test_a_limit_that_an_answer_calls_used_up_holds_the_next_request(server):
    def plan(question, before):
        server.extra = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "700ms"}

    server.plan = plan
    answers, failures = crew(server, [request(i) for i in range(3)], Pace(concurrency=1, tries=1))
    assert len(answers) == 3 and not failures
    assert all(later - earlier >= 0.69 for earlier, later in zip(server.at, server.at[1:], strict=False))
    assert all(count == 1 for count in server.asked.values())


def test_an_answer_of_no_use_counts_what_it_has_cost(server):
    usage = {"prompt_tokens": 40, "completion_tokens": 160}
    server.plan = lambda question, before: (
        "json", {"choices": [{"message": {"content": ""}, "finish_reason": "length"}], "usage": usage},
    )  # fmt: skip
    _, failures = crew(server, [request(1)])
    assert [(f.cause, f.tokens) for f in failures] == [("request", (40, 160))]


def test_what_failed_in_an_earlier_go_says_nothing_about_the_teacher_when_it_fails_again(server):
    server.plan = lambda question, before: ("status", 400, {}, "too long")
    lost = []
    endpoint = Endpoint(Address(server.url, ""), 1, 5.0)
    again = [request(i) for i in range(15)]
    ask_all(
        lambda r: endpoint.ask(body_of(CONFIG, r), r.key), again, Pace(concurrency=1), lambda more, failed: lost.extend(failed),
        lambda wait: None, {r.place for r in again},
    )  # fmt: skip
    assert len(lost) == 15
    with pytest.raises(TeacherError, match="in a row"):
        crew(server, again)

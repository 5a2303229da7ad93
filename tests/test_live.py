"""The warm process: a real one, asked, killed, fed nonsense, and told to end."""

import contextlib
import json
import os
import signal
import socket
import threading
import time

import pytest

from cotdistill.errors import StoreError, UsageError
from cotdistill.execution.live import client
from cotdistill.execution.live.server import Server, edited
from cotdistill.execution.supervisor import stop_all
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.store.locks import holder, is_held
from cotdistill.store.store import Store
from cotdistill.studies.spec import study_spec
from tests.test_looking import SPEC

WRITTEN = {
    "question": "what does a bird eat ?",
    "choices": [["A", "seeds"], ["B", "shrimp"]],
    "answer": "A",
    "rationale": "it is a climber .",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    store = Store.open(tmp_path_factory.mktemp("live"))
    launch(store, plan(store, study_spec(None, {**SPEC, "conditions": "pre_cot"})))
    work(store)
    return store


@pytest.fixture
def store(trained):
    yield trained
    stop_all(trained)
    assert not client.is_warm(trained)


@pytest.fixture
def server(trained):
    return Server(trained, 60.0)


def question(store, **more):
    run = store.queue.jobs(kind="train")[0].identity
    return {"do": "attribute", "run": run, "edited": WRITTEN, "settings": {"method": "saliency"}, **more}


def test_an_example_is_answered_by_a_process_that_is_started_for_it_and_killed_and_started_again(store):
    first = client.ask(store, question(store))
    assert len(first["reading"]["pieces"]) == len(first["explanations"][0]["scores"])
    assert first["reading"]["choice_texts"] == ["seeds", "shrimp"] and sum(first["probabilities"]) == pytest.approx(1)
    pid = client.ask(store, {"do": "ping"})["pid"]
    assert pid == holder(client.lock_path(store)).pid != os.getpid()
    os.kill(pid, signal.SIGKILL)
    # The same numbers from another process, whatever the dead one left behind.
    again = client.ask(store, question(store))
    assert again["explanations"] == first["explanations"]
    assert client.ask(store, {"do": "ping"})["pid"] != pid
    # A change of the text changes the attribution; what is wrong with it is said in the process's words.
    other = client.ask(store, question(store, edited={**WRITTEN, "rationale": "it is a digger ."}))
    assert other["explanations"] != first["explanations"]
    with pytest.raises(client.LiveError, match="The question is empty") as caught:
        client.ask(store, question(store, edited={**WRITTEN, "question": " "}))
    assert caught.value.as_dict()["kind"] == "usage"
    _garbage_does_no_harm(store)
    _many_at_once(store)


def _garbage_does_no_harm(store):
    pid = client.ask(store, {"do": "ping"})["pid"]
    for sent in (b"\x00\xff\n", b"[]\n", b"{\n", b"[" * 100_000 + b"\n", b"x" * (client.MOST_BYTES + 70_000), b""):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(client.socket_path(store)))
            if len(sent) > client.MOST_BYTES:
                # The process answers and hangs up in the middle of it: the rest may meet a closed door.
                with contextlib.suppress(ConnectionError):
                    connection.sendall(sent)
                continue
            connection.sendall(sent)
            if sent:
                assert b'"error"' in connection.recv(1 << 16)
    assert client.ask(store, {"do": "ping"})["pid"] == pid


def _many_at_once(store):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(client.ask(store, question(store))["explanations"]))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and all(one == found[0] for one in found)


def test_it_ends_by_itself_when_nobody_asks(store, monkeypatch):
    monkeypatch.setenv("COTDISTILL_LIVE_IDLE_SECONDS", "0.5")
    client.ask(store, {"do": "ping"})
    deadline = time.monotonic() + 20
    while client.is_warm(store) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not client.is_warm(store) and not client.socket_path(store).exists()


def test_a_process_of_another_version_makes_way(store, monkeypatch):
    pid = client.ask(store, {"do": "ping"})["pid"]
    document = _raw(store, {"do": "ping", "form": "0.0.1/0"})
    assert document["error"]["kind"] == "other_form"
    deadline = time.monotonic() + 20
    while is_held(client.lock_path(store)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert client.ask(store, {"do": "ping"})["pid"] != pid


def _raw(store, document):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(client.socket_path(store)))
        connection.sendall(json.dumps(document).encode() + b"\n")
        return json.loads(connection.makefile().readline())


@pytest.mark.parametrize(("request_", "kind"), [
    ({"do": "remove"}, "unknown_name"), ({"do": None}, "unknown_name"), ({"do": "attribute"}, "not_found"), ({"do": "attribute", "run": 7}, "usage"),
    ({"do": "attribute", "run": "x" * 9999}, "usage"),
])  # fmt: skip
def test_a_question_that_cannot_be_answered_says_why(server, request_, kind):
    answer = server.answer(json.dumps({"form": client.FORM, **request_}).encode())
    assert answer["error"]["kind"] == kind and answer["error"]["message"]


@pytest.mark.parametrize("change", [
    {"settings": []}, {"settings": {"method": "magic"}}, {"settings": {"colour": 1}}, {"settings": {"steps": "many"}}, {"checkpoint": "0.77"},
    {"source": "nobody"}, {"edited": 3}, {"edited": {**WRITTEN, "choices": [["A", "x"]]}}, {"edited": {**WRITTEN, "answer": "Z"}},
    {"edited": {**WRITTEN, "choices": [["A", "x"], ["A", "y"]]}}, {"edited": {**WRITTEN, "rationale": 7}},
    {"edited": {**WRITTEN, "choices": [["A", "x"], ["B", ""]]}}, {"edited": {**WRITTEN, "question": "word " * 5000}},
])  # fmt: skip
def test_nonsense_in_a_question_is_told_in_words(server, trained, change):
    answer = server.answer(json.dumps({"form": client.FORM, **question(trained, **change)}).encode())
    assert answer["error"]["kind"] != "unexpected" and answer["error"]["message"]


def test_an_edited_example_keeps_what_was_written():
    found = edited({**WRITTEN, "rationale": ""})
    assert found.gold == 0 and found.rationale is None and found.choices[1].text == "shrimp"
    with pytest.raises(UsageError):
        edited({**WRITTEN, "choices": "AB"})


def test_a_question_that_is_too_long_is_not_sent(trained):
    with pytest.raises(client.LiveError, match="at most"):
        client.ask(trained, {"do": "ping", "more": "x" * client.MOST_BYTES})


def test_the_socket_lies_where_only_its_owner_may_go(trained, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    path = client.socket_path(trained)
    assert path.parent.stat().st_mode & 0o077 == 0
    os.chmod(path.parent, 0o755)
    with pytest.raises(StoreError, match="not a folder of yours alone"):
        client.socket_path(trained)

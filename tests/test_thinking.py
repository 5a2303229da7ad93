"""What a teacher thought, apart from what it said: every family's marks, also half of them, also in fields of their own."""

import json

import pytest

from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.thinking import FAMILIES, split_thinking, with_thinking
from cotdistill.teachers.answers import TeacherAnswer
from cotdistill.teachers.elicitation import ElicitConfig, Request, Sampling, TeacherConfig
from cotdistill.teachers.endpoint import Address, Endpoint, Refused, body_of
from cotdistill.teachers.parse import parse

CHOICES = (Choice("A", "dune"), Choice("B", "heath"), Choice("C", "elm"))
THOUGHT, SAID = "At first the answer is (A).", "The card shows the word heath."
MARKS = {
    "think": ("<think>", "</think>"),
    "think with attributes": ('<Thinking budget="512">', "</Thinking>"),
    "reasoning": ("<reasoning>", "</reasoning>"),
    "thought": ("<thought>", "</thought>"),
    "brackets": ("[THINK]", "[/THINK]"),
    "triangles": ("◁think▷", "◁/think▷"),
    "seed": ("<seed:think>", "</seed:think>"),
    "begin_of_thought": ("<|begin_of_thought|>", "<|end_of_thought|>"),
    "channels": ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
}


def test_every_family_is_tried():
    assert {family.name for family in FAMILIES} <= {name.split(" ")[0] for name in MARKS}


@pytest.mark.parametrize("name", MARKS)
def test_a_thought_is_taken_from_what_was_said_and_no_label_is_read_from_it(name):
    opens, closes = MARKS[name]
    assert split_thinking(f"{opens}{THOUGHT}{closes}\n{SAID}") == (THOUGHT, f"\n{SAID}")
    stated = parse(f"{opens}{THOUGHT}{closes}\n{SAID}", CHOICES)
    assert stated.sure is None and stated.reason == SAID and stated.label == "B"


@pytest.mark.parametrize("name", MARKS)
def test_a_mark_that_only_closes_was_opened_by_the_prompt(name):
    assert split_thinking(f"{THOUGHT}{MARKS[name][1]}{SAID}") == (THOUGHT, SAID)


@pytest.mark.parametrize("name", MARKS)
def test_a_mark_that_only_opens_was_cut_off_in_thought(name):
    assert split_thinking(f"{MARKS[name][0]}{THOUGHT}") == (THOUGHT, "")
    assert parse(f"{MARKS[name][0]}{THOUGHT}", CHOICES).problem == "empty"


def test_several_thoughts_are_all_taken_and_marks_that_end_a_turn_say_nothing():
    assert split_thinking("<think>a</think>x <think>b</think>y<|return|>") == ("a\nb", "x y")
    assert split_thinking("2 < 3 and <b>bold</b>") == ("", "2 < 3 and <b>bold</b>")
    example = Example("e", "?", CHOICES, "B", "train")
    assert TeacherAnswer(example, f"<think>{THOUGHT}</think>{SAID}").thinking == THOUGHT
    assert split_thinking(with_thinking("a", "b")) == ("a", "\nb") and with_thinking(" ", "b") == "b"


def read(message, **more):
    answer = {"choices": [{"message": message, "finish_reason": "stop"}], **more}
    return Endpoint(Address("http://localhost:1/v1", ""), 1, 1.0)._read(answer, {}, None)[0]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_in_a_field_are_kept_apart_and_alone_they_are_no_answer(name):
    assert split_thinking(read({"content": SAID, name: THOUGHT})) == (THOUGHT, f"\n{SAID}")
    with pytest.raises(Refused, match=f"stands in {name}") as refused:
        read({"content": None, name: THOUGHT})
    assert not refused.value.again


@pytest.mark.parametrize(
    "part",
    [{"type": "reasoning", "text": THOUGHT}, {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}],
)
def test_thoughts_in_parts_are_kept_apart(part):
    assert split_thinking(read({"content": [part, {"type": "text", "text": SAID}]})) == (THOUGHT, f"\n{SAID}")


def test_an_error_with_status_200_is_the_servers_own_words_and_asked_once():
    endpoint = Endpoint(Address("http://localhost:1/v1", ""), 1, 1.0)

    def refused(error):
        with pytest.raises(Refused) as raised:
            endpoint._answer({}, json.dumps({"error": error}).encode(), {})
        return raised.value

    short = refused({"message": "the context is 4096 tokens", "code": 400})
    assert (short.cause, short.again) == ("request", False) and "the context is 4096 tokens" in short.detail
    assert refused("out of order").detail == "the server answers with an error: out of order"
    assert refused({"message": "slow down", "code": 429}).cause == "busy"
    assert refused({"message": "upstream", "code": 502}).cause == "server"


def test_a_parameter_that_is_null_is_left_out_and_one_that_is_refused_is_named():
    teacher = TeacherConfig(model="m", extra={"top_p": None, "temperature": None, "reasoning_effort": "low"})
    request = Request(0, Example("e", "?", CHOICES, "B", "train"), 0, "", [], None, "k")
    body = body_of(ElicitConfig("t", "0", "n", teacher, sampling=Sampling()), request)
    assert "top_p" not in body and "temperature" not in body and body["reasoning_effort"] == "low"
    endpoint = Endpoint(Address("http://localhost:1/v1", ""), 1, 1.0)
    said = json.dumps({"error": {"message": "Unsupported parameter: 'top_p'"}}).encode()
    assert """leave it out: --extra '{"top_p": null}'""" in endpoint._refusal(400, {}, said, {"top_p": 1.0}).detail

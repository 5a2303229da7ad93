"""What is sent to a teacher follows from template, shots and config alone; equal requests have equal keys."""

import dataclasses

import pytest

from cotdistill.config import plain
from cotdistill.errors import ConfigError, DataError, NoRationale, UnknownName, UsageError
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.importing.writing import write_task
from cotdistill.tasks.task import Rationale
from cotdistill.tasks.template import Template
from cotdistill.teachers.elicitation import (
    Contrast,
    ElicitConfig,
    Sampling,
    TeacherConfig,
    asked_again,
    checked,
    label_of,
    requests,
)
from cotdistill.teachers.prompts import (
    PRESETS,
    PromptTemplate,
    Shot,
    asked,
    changed,
    draw_shots,
    messages,
    plain_prompt,
    read_shots,
    template_of,
)

CHOICES = (Choice("A", "tree {label}"), Choice("B", "pond"), Choice("C", "house"))
TERSE = PromptTemplate(
    system="S", question="Q {question} / {choices}", choice="{label}={text}", between=" ", given=" [{label}:{text}]", ask=" ?",
    ask_given=" why {label}?", reply="{rationale} #{label}", separator=" | ",
)  # fmt: skip
FISH = Example("q1", "where is {text} ?", CHOICES, "B", "train")


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    rows = [Example(f"t{i:02}", f"question {i} ?", CHOICES, "ABC"[i % 3], "train") for i in range(12)]
    rows += [Example("d", "dev ?", CHOICES, "A", "dev"), Example("e", "test ?", CHOICES, "A", "test")]
    told = [Rationale(f"t{i:02}", "model", f"reason {i}", "ABC"[i % 3] if i != 4 else "A") for i in range(12)]
    return write_task(
        tmp_path_factory.mktemp("root"),
        "fish",
        examples=rows,
        rationales=told,
        template=Template(),
        roles={},
        title="Fish",
    )


def config(task, **more):
    return ElicitConfig("fish", task.digest, "mine", TeacherConfig(model="m"), template=TERSE, **more)


def test_a_question_is_filled_in_once_and_braces_in_the_data_stay():
    assert asked(TERSE, FISH, "") == "Q where is {text} ? / A=tree {label} B=pond C=house ?"
    assert asked(TERSE, FISH, "A") == "Q where is {text} ? / A=tree {label} B=pond C=house [A:tree {label}] why A?"


def test_shots_are_turns_with_their_own_answers_and_a_row_is_never_its_own_shot():
    shots = (
        Shot("one ?", CHOICES, "C", "r1", "q1"),
        Shot("two ?", CHOICES, "A", "r2", "q2"),
        Shot("three ?", CHOICES, "B", "r3"),
    )
    turns = messages(TERSE, shots, 2, FISH, "B")
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert [turn["content"] for turn in turns[1:5]] == [
        "Q two ? / A=tree {label} B=pond C=house [A:tree {label}] why A?", "r2 #A",
        "Q three ? / A=tree {label} B=pond C=house [B:pond] why B?", "r3 #B",
    ]  # fmt: skip
    blind = messages(TERSE, shots, 1, Example("q9", "x", CHOICES, "B", "train"), "")
    assert blind[1]["content"].endswith(" ?") and "[" not in blind[1]["content"] and len(blind) == 4
    assert plain_prompt(TERSE, turns[-1:]) == turns[-1]["content"] + "\n"
    assert messages(dataclasses.replace(TERSE, system=" "), (), 0, FISH, "")[0]["role"] == "user"


def test_shots_are_drawn_from_right_rationales_with_one_to_spare(task):
    shots = draw_shots(task, "model", 3, seed=5)
    assert (
        len(shots) == 4
        and shots == draw_shots(task, "model", 3, seed=5)
        and shots != draw_shots(task, "model", 3, seed=6)
    )
    assert all(shot.rationale == f"reason {int(shot.id[1:])}" for shot in shots)
    # t04's teacher answered A where B is right; it can never be a shot, so eight and one to spare are all that is left.
    assert "t04" not in {s.id for s in draw_shots(task, "model", 8, seed=0)}
    assert draw_shots(task, "model", 0, seed=0) == ()
    with pytest.raises(ConfigError, match="0 to 8"):
        draw_shots(task, "model", 9, seed=0)
    with pytest.raises(UnknownName):
        draw_shots(task, "nobody", 1, seed=0)


def test_too_few_rationales_for_the_shots_are_said_to_be_so(tmp_path):
    rows = [Example(f"{s}", "?", CHOICES, "A", s) for s in ("train", "dev", "test")]
    small = write_task(
        tmp_path, "s", examples=rows, rationales=[Rationale("train", "m", "r")], template=Template(), roles={}, title=""
    )
    with pytest.raises(NoRationale, match="1 training rationales to draw 1 shots"):
        draw_shots(small, "m", 1, seed=0)


def test_shots_of_ones_own_are_read_line_by_line():
    text = '{"question": "q?", "choices": {"A": "x", "B": "y"}, "answer": "B", "rationale": "so"}\n\n'
    text += '{"question": "q2?", "choices": [{"label": "1", "text": "x"}, ["2", "y"]], "answer": 2, "rationale": "r", "id": "i"}'
    first, second = read_shots(text)
    assert first == Shot("q?", (Choice("A", "x"), Choice("B", "y")), "B", "so") and (second.answer, second.id) == (
        "2",
        "i",
    )
    for wrong in (
        '{"question": "q"}',
        "[]",
        "x",
        '{"question": "q", "choices": {"A": "x"}, "answer": "B", "rationale": "r"}',
    ):
        with pytest.raises(DataError, match="Line 2"):
            read_shots(text.splitlines()[0] + "\n" + wrong)


def test_a_template_may_be_named_or_given_in_parts_and_is_checked():
    assert (
        template_of("answer_first") == PRESETS.get("answer_first").template
        and template_of("deductive") == PromptTemplate()
    )
    assert changed(template_of('{"ask": " Why?"}')) == {"ask": " Why?"}
    for wrong, told in (
        ('{"question": "no place"}', "lacks {question}"), ('{"ask": " "}', "'ask' is empty"), ('{"ask": 3}', "expected text"), ("{nope", "as JSON"),
        ('{"given": "yes"}', "shows no answer"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=told):
            template_of(wrong)
    with pytest.raises(UnknownName):
        template_of("deductiv")


def test_what_the_teacher_is_shown_is_nothing_the_gold_or_a_wrong_answer(task):
    gold = requests(task, config(task))
    assert all(r.given == r.example.answer for r in gold) and gold[0].turns[-1]["content"].endswith(
        f"why {gold[0].given}?"
    )
    assert all(
        r.given == "" and r.turns[-1]["content"].endswith("house ?")
        for r in requests(task, config(task, given="nothing"))
    )
    wrong = requests(task, config(task, given="wrong"))
    assert all(r.given and r.given != r.example.answer for r in wrong) and len({r.given for r in wrong}) > 1
    assert [r.given for r in wrong] == [r.given for r in requests(task, config(task, given="wrong"))]
    named = requests(task, config(task, given="wrong", wrong="C"))
    assert {r.given for r in named if r.example.answer != "C"} == {"C"} and "C" not in {
        r.given for r in named if r.example.answer == "C"
    }
    with pytest.raises(UsageError, match="no choice 'X'"):
        requests(task, config(task, given="wrong", wrong="X"))


def test_contrast_holds_no_answer_or_a_wrong_one_against_the_one_shown(task):
    empty = requests(task, config(task, contrast=Contrast(against="empty")))[0]
    assert empty.against is not None and empty.against[-1]["content"].endswith("house ?")
    other = requests(task, config(task, contrast=Contrast(against="wrong"), wrong="C"))
    assert all(r.against[-1]["content"].endswith("why C?") for r in other if r.example.answer != "C")
    # A rationale for a wrong answer is held against one for the right one.
    counter = requests(task, config(task, given="wrong", contrast=Contrast(against="wrong")))
    assert all(r.against[-1]["content"].endswith(f"why {r.example.answer}?") for r in counter)


def test_more_rows_include_fewer_and_ids_name_rows(task):
    few, more = ([r.example.id for r in requests(task, config(task, rows=n))] for n in (4, 9))
    assert more[:4] == few and len(set(more)) == 9 and few != sorted(few)
    assert [r.example.id for r in requests(task, config(task, ids=("t03", "t01")))] == ["t03", "t01"]
    assert len(requests(task, config(task, split="test"))) == 1
    with pytest.raises(UsageError, match="no row 'd'"):
        requests(task, config(task, ids=("d",)))


def test_a_key_is_the_content_of_a_request_and_nothing_else(task):
    base = {r.example.id: r.key for r in requests(task, config(task))}
    assert len(set(base.values())) == 12
    same = [
        config(task, rows=5),
        dataclasses.replace(config(task), name="other", part="all"),
        asked_again(config(task)),
    ]
    for one in same:
        assert all(base[r.example.id] == r.key for r in requests(task, one))
    changed_ones = [
        config(task, sampling=Sampling(max_tokens=9)), config(task, given="nothing"), config(task, sampling=Sampling(seed=1)),
        dataclasses.replace(config(task), template=dataclasses.replace(TERSE, ask_given="how {label}?")),
        dataclasses.replace(config(task), teacher=TeacherConfig(model="m", revision="2")),
        config(task, shots=draw_shots(task, "model", 1, 0), shown_shots=1),
    ]  # fmt: skip
    for one in changed_ones:
        assert not {r.key for r in requests(task, one)} & set(base.values())
    several = requests(task, config(task, sampling=Sampling(samples=3, temperature=1.0), rows=2))
    assert [(r.place, r.sample) for r in several] == [(0, 0), (1, 1), (2, 2), (3, 0), (4, 1), (5, 2)] and len(
        {r.key for r in several}
    ) == 6


def test_a_config_survives_the_store_and_says_what_it_is(task):
    shots = draw_shots(task, "model", 2, 0)
    one = config(
        task,
        shots=shots,
        shown_shots=2,
        sampling=Sampling(temperature=0.7, samples=4, stop=("x",)),
        given="nothing",
        ids=("t01",),
    )
    assert ElicitConfig.from_plain(plain(one)) == one
    assert label_of(one) == "fish · m · no answer shown · 2 shots · 4 samples"
    assert (
        label_of(asked_again(config(task, contrast=Contrast(against="empty"))))
        == "fish · m · gold answer shown · contrast with no answer · asked again 1"
    )


def test_everything_that_is_wrong_is_told_at_once(task):
    bad = dataclasses.replace(
        config(task, given="golden", sampling=Sampling(samples=3, max_tokens=0), contrast=Contrast(against="wrong"), shown_shots=2, part="some"),
        teacher=TeacherConfig(model=""), template=dataclasses.replace(TERSE, reply="x"),
    )  # fmt: skip
    with pytest.raises(ConfigError) as error:
        checked(bad)
    told = error.value.message
    for part in (
        "max_tokens is 0",
        "'reply' lacks",
        "model is empty",
        "given is 'golden'",
        "temperature above 0",
        "only a local teacher",
        "2 shots",
        "part is",
    ):
        assert part in told, part
    with pytest.raises(UsageError, match="cannot name"):
        checked(dataclasses.replace(config(task), name="a b"))
    with pytest.raises(ConfigError, match="a wrong label is named"):
        checked(config(task, wrong="A"))
    assert checked(config(task)) == config(task)

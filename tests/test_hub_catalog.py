"""Every known data set is read from a folder with the columns that its card states, through `load_dataset` itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pytest
from datasets import ClassLabel, Features, Image, List, Value

from cotdistill.tasks.importing.hub import HubSource
from cotdistill.tasks.importing.hub_catalog import HUB
from cotdistill.tasks.importing.importer import import_task
from cotdistill.tasks.importing.preview import preview_source
from tests import hub_folders as like

TEXT, WHOLE, TRUTH, TEXTS = Value("string"), Value("int32"), Value("bool"), List(Value("string"))
USUAL = ("train", "validation", "test")
Row = Mapping[str, Any]


class Published(NamedTuple):
    """A data set as its card describes it, and what its second row (i = 1) is read as."""

    features: Mapping[str, Any]
    row: Callable[[int, str], Row]  # of (number, split); a split whose labels are kept back has none
    question: str
    gold: str
    rationales: Mapping[str, str] = {}
    passage: str = ""
    splits: tuple[str, ...] = USUAL


def lettered(i: int, split: str, **more: Any) -> Row:
    labels = ["1", "2", "3"] if i % 3 == 2 else ["A", "B", "C"]
    choices = {"text": [f"red {i}", f"blue {i}", f"green {i}"], "label": labels}
    return {
        "id": f"{split}{i}",
        "question": f"Which colour {i}?",
        "choices": choices,
        "answerKey": labels[i % 3],
        **more,
    }


LETTERED = {"id": TEXT, "question": TEXT, "choices": {"text": TEXTS, "label": TEXTS}, "answerKey": TEXT}
ARC = Published(LETTERED, lettered, "Which colour 1?", "blue 1")
PUBLISHED = {
    "commonsenseqa": Published(
        {**LETTERED, "question_concept": TEXT},
        lambda i, s: lettered(i, s, question_concept="colour", **({"answerKey": ""} if s == "test" else {})),
        "Which colour 1?",
        "blue 1",
    ),
    "arc-challenge": ARC,
    "arc-easy": ARC,
    "qasc": Published(
        {**LETTERED, "fact1": TEXT, "fact2": TEXT, "combinedfact": TEXT, "formatted_question": TEXT},
        lambda i, s: lettered(
            i,
            s,
            **({"answerKey": ""} if s == "test" else {}),
            fact1="one",
            fact2="two",
            combinedfact=f"one and two {i}",
            formatted_question="(A)",
        ),
        "Which colour 1?",
        "blue 1",
        {"human-qasc": "one and two 1"},
    ),
    "aqua-rat": Published(
        {"question": TEXT, "options": TEXTS, "rationale": TEXT, "correct": TEXT},
        lambda i, s: {
            "question": f"What is {i} plus {i}?",
            "options": [f"A){2 * i}", f"B){i}", f"C){i + 50}", f"D){i + 60}", f"E){i + 70}"],
            "rationale": f"{i} + {i} = {2 * i}\nso the answer is A",
            "correct": "ABCDE"[i % 5],
        },
        "What is 1 plus 1?",
        "1",
        {"human-aqua": "1 + 1 = 2\nso the answer is A"},
    ),
    "cos-e": Published(
        {
            "id": TEXT,
            "question": TEXT,
            "choices": TEXTS,
            "answer": TEXT,
            "abstractive_explanation": TEXT,
            "extractive_explanation": TEXT,
        },
        lambda i, s: {
            "id": f"{s}{i}",
            "question": f"Where is {i}?",
            "choices": ["bank", "river", "A"],
            "answer": ["bank", "river", "A"][i % 3],
            "abstractive_explanation": f"water {i}",
            "extractive_explanation": "water",
        },
        "Where is 1?",
        "river",
        {"human-cos-e": "water 1"},
        splits=("train", "validation"),
    ),
    "ecqa": Published(
        dict.fromkeys(
            [*"q_no q_concept q_text q_op1 q_op2 q_op3 q_op4 q_op5 q_ans taskA_pos taskA_neg taskB".split()], TEXT
        ),
        lambda i, s: {
            "q_no": f"{s}{i}",
            "q_concept": "c",
            "q_text": f"Where is {i}?",
            **{f"q_op{n}": f"place {n}" for n in range(1, 6)},
            "q_ans": f"place {i % 5 + 1}",
            "taskA_pos": "it is",
            "taskA_neg": "it is not",
            "taskB": f"since it is {i}",
        },
        "Where is 1?",
        "place 2",
        {"human-ecqa": "since it is 1"},
    ),
    "sciq": Published(
        dict.fromkeys(["question", "distractor3", "distractor1", "distractor2", "correct_answer", "support"], TEXT),
        lambda i, s: {
            "question": f"What melts {i}?",
            **{f"distractor{n}": f"stone {n}" for n in (1, 2, 3)},
            "correct_answer": f"ice {i}",
            "support": f"Ice {i} melts." if i % 2 else "",
        },
        "What melts 1?",
        "ice 1",
        {"human-sciq": "Ice 1 melts."},
    ),
    "scienceqa": Published(
        {
            "image": Image(),
            "question": TEXT,
            "choices": TEXTS,
            "answer": Value("int8"),
            "hint": TEXT,
            "task": TEXT,
            "grade": TEXT,
            "subject": TEXT,
            "topic": TEXT,
            "category": TEXT,
            "skill": TEXT,
            "lecture": TEXT,
            "solution": TEXT,
        },
        lambda i, s: {
            "image": None,
            "question": f"Which is it {i}?",
            "choices": ["1", "2"] if i % 2 else ["0", "1", "2"],
            "answer": i % 2,
            "hint": f"Look at {i}." if i % 2 else "",
            "lecture": "",
            "solution": f"By looking {i}.",
            **dict.fromkeys(["task", "grade", "subject", "topic", "category", "skill"], "x"),
        },
        "Which is it 1?",
        "2",
        {"human-scienceqa": "By looking 1."},
        "Look at 1.",
    ),
    "siqa": Published(
        dict.fromkeys(["context", "question", "answerA", "answerB", "answerC", "label"], TEXT),
        lambda i, s: {
            "context": f"Ann {i} left.",
            "question": "Why?",
            "answerA": "2",
            "answerB": "1",
            "answerC": "tired",
            "label": str(i % 3 + 1),
        },
        "Why?",
        "1",
        passage="Ann 1 left.",
        splits=("train", "validation"),
    ),
    "cosmosqa": Published(
        {
            **dict.fromkeys(["id", "context", "question", "answer0", "answer1", "answer2", "answer3"], TEXT),
            "label": WHOLE,
        },
        lambda i, s: {
            "id": f"{s}{i}",
            "context": f"It rained {i}.",
            "question": "What then?",
            **{f"answer{n}": f"end {n}" for n in range(4)},
            "label": -1 if s == "test" else i % 4,
        },
        "What then?",
        "end 1",
        passage="It rained 1.",
    ),
    "race": Published(
        {"example_id": TEXT, "article": TEXT, "answer": TEXT, "question": TEXT, "options": TEXTS},
        lambda i, s: {
            "example_id": f"{s}{i // 2}.txt",
            "article": f"A long day {i // 2}.\nIt ended.",
            "answer": "ABCD"[i % 4],
            "question": f"What ended {i}?",
            "options": ["A day", "B", "C", "none"],
        },
        "What ended 1?",
        "B",
        passage="A long day 0.\nIt ended.",
    ),
    "piqa": Published(
        {"goal": TEXT, "sol1": TEXT, "sol2": TEXT, "label": ClassLabel(names=["0", "1"])},
        lambda i, s: {"goal": f"Open {i}", "sol1": "pull", "sol2": "push", "label": -1 if s == "test" else i % 2},
        "Open 1",
        "push",
    ),
    "hellaswag": Published(
        {
            "ind": WHOLE,
            **dict.fromkeys(["activity_label", "ctx_a", "ctx_b", "ctx"], TEXT),
            "endings": TEXTS,
            **dict.fromkeys(["source_id", "split", "split_type", "label"], TEXT),
        },
        lambda i, s: {
            "ind": i,
            "activity_label": "a",
            "ctx_a": "A man",
            "ctx_b": "he",
            "ctx": f"A man {i}. he",
            "endings": ["runs", "1", "2", "sits"],
            "source_id": f"{s}~{i // 2}",
            "split": "train",
            "split_type": "indomain",
            "label": "" if s == "test" else str(i % 4),
        },
        "A man 1. he",
        "1",
    ),
    "medmcqa": Published(
        {
            **dict.fromkeys(["id", "question", "opa", "opb", "opc", "opd"], TEXT),
            "cop": ClassLabel(names=["a", "b", "c", "d"]),
            **dict.fromkeys(["choice_type", "exp", "subject_name", "topic_name"], TEXT),
        },
        lambda i, s: {
            "id": f"{s}{i}",
            "question": f"Which bone {i}?",
            **{f"op{letter}": f"bone {letter}" for letter in "abcd"},
            "cop": -1 if s == "test" else i % 4,
            "choice_type": "single",
            "exp": f"Ans. b\nsee {i}" if i % 2 else None,
            "subject_name": "x",
            "topic_name": "y",
        },
        "Which bone 1?",
        "bone b",
        {"human-medmcqa": "Ans. b\nsee 1"},
    ),
    "mmlu": Published(
        {"question": TEXT, "subject": TEXT, "choices": TEXTS, "answer": ClassLabel(names=list("ABCD"))},
        lambda i, s: {"question": f"{s} {i}?", "subject": "", "choices": ["B", "A", "3", "4"], "answer": i % 4},
        "auxiliary_train 1?",
        "A",
        splits=("auxiliary_train", "test", "validation", "dev"),
    ),
    "logiqa2": Published(
        {"id": WHOLE, "answer": WHOLE, "text": TEXT, "question": TEXT, "options": TEXTS},
        lambda i, s: {
            "id": i,
            "answer": i % 4,
            "text": f"All {i} are old.",
            "question": "So?",
            "options": ["none", "some", "all", "few"],
        },
        "So?",
        "some",
        passage="All 1 are old.",
    ),
    "strategyqa": Published(
        {
            **dict.fromkeys(["qid", "term", "description", "question"], TEXT),
            "answer": TRUTH,
            "facts": TEXT,
            "decomposition": TEXT,
        },
        lambda i, s: {
            "qid": f"{s}{i}",
            "term": "t",
            "description": "d",
            "question": f"Is {i} odd?",
            "answer": i % 2 == 1,
            "facts": f"{i} is a number.",
            "decomposition": "",
        },
        "Is 1 odd?",
        "yes",
        {"human-strategyqa": "1 is a number."},
        splits=("train", "test"),
    ),
    "boolq": Published(
        {"question": TEXT, "answer": TRUTH, "passage": TEXT},
        lambda i, s: {"question": f"is {i} odd", "answer": i % 2 == 1, "passage": f"Numbers {i}."},
        "is 1 odd",
        "yes",
        passage="Numbers 1.",
        splits=("train", "validation"),
    ),
    "winogrande": Published(
        dict.fromkeys(["sentence", "option1", "option2", "answer"], TEXT),
        lambda i, s: {
            "sentence": f"_ is late {i}.",
            "option1": "2",
            "option2": "1",
            "answer": "" if s == "test" else str(i % 2 + 1),
        },
        "_ is late 1.",
        "1",
    ),
}
PUBLISHED |= {
    "gsm8k": Published(
        {"question": TEXT, "answer": TEXT},
        lambda i, s: {
            "question": f"Add {i} and 1,000?",
            "answer": f"{i} plus 1,000\nis <<{i}+1000={i + 1000}>>{i + 1000}.\n#### 1,00{i % 10}",
        },
        "Add 1 and 1,000?",
        "1,001",
        {"rationale": "1 plus 1,000\nis 1001."},
        splits=("train", "test"),
    ),
    "svamp": Published(
        dict.fromkeys(["ID", "Body", "Question", "Equation", "Answer", "Type", "question_concat"], TEXT),
        lambda i, s: {
            "ID": f"{s}-{i}",
            "Body": f"Ann has {i} pens.",
            "Question": "How many?",
            "Equation": f"( {i}.0 )",
            "Answer": f"{i}.0",
            "Type": "Addition",
            "question_concat": "x",
        },
        "How many?",
        "1.0",
        passage="Ann has 1 pens.",
        splits=("train", "test"),
    ),
    "math": Published(
        dict.fromkeys(["problem", "level", "solution", "type"], TEXT),
        lambda i, s: {
            "problem": f"What is ${i}/2$?",
            "level": "Level 1",
            "solution": f"Halve it.\nSo $\\boxed{{\\frac{{{i}}}{{2}}}}$.",
            "type": "Algebra",
        },
        "What is $1/2$?",
        "\\frac{1}{2}",
        {"rationale": "Halve it.\nSo $\\boxed{\\frac{1}{2}}$."},
        splits=("train", "test"),
    ),
    "openthoughts-math": Published(
        dict.fromkeys(["source", "problem", "solution", "system"], TEXT)
        | {"messages": List({"content": TEXT, "role": TEXT}), "conversations": List({"from": TEXT, "value": TEXT})}
        | {"generated_token_count": WHOLE, "correct": TRUTH},
        lambda i, s: {
            "source": "amc",
            "problem": f"What is ${i}+1$?",
            "solution": f"Add. So $\\boxed{{{i + 1}}}$.",
            "system": "Think first.",
            "messages": [
                {"content": f"What is ${i}+1$?", "role": "user"},
                {"content": "Add.", "role": "assistant"},
            ],
            "conversations": [
                {"from": "user", "value": f"Return your final response within \\boxed{{}}. What is ${i}+1$?"},
                {
                    "from": "assistant",
                    "value": f"<|begin_of_thought|>\n\nOne more than {i}.\n\n<|end_of_thought|>\n\n"
                    f"<|begin_of_solution|>\n\nIt is \\boxed{{{i + 1}}}.\n\n<|end_of_solution|>",
                },
            ],
            "generated_token_count": 30,
            "correct": True,
        },
        "What is $1+1$?",
        "2",
        {
            "rationale": "<|begin_of_thought|>\n\nOne more than 1.\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n"
            "It is \\boxed{2}.\n\n<|end_of_solution|>"
        },
        splits=("train",),
    ),
}
# Tests of their own, in test_hub.py, with whole imports.
ELSEWHERE = {"openbookqa", "openbookqa-facts", "quarel", "esnli"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own cache is seen or changed."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def source(name: str, folder: Path, rows: int = 12) -> HubSource:
    """The entry of a name, laid over a folder with rows as its card describes them."""
    published = PUBLISHED[name]
    splits = {split: [dict(published.row(i, split)) for i in range(rows)] for split in published.splits}
    like.write(folder, Features(dict(published.features)), splits)
    return HubSource(str(folder), "", "", dict(HUB.get(name).splits), HUB.get(name))


def test_at_least_twenty_data_sets_are_known_and_each_is_tried() -> None:
    assert len(HUB.names()) >= 20 and {*PUBLISHED} | ELSEWHERE == {*HUB.names()}
    assert {entry.name for entry in HUB if entry.seen == "rows"} == {
        "commonsenseqa",
        "openbookqa",
        "openbookqa-facts",
        "esnli",
        "gsm8k",
    }


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_known_data_set_is_read_as_its_card_describes_it(name: str, tmp_path: Path) -> None:
    published = PUBLISHED[name]
    seen = preview_source(source(name, tmp_path / name))
    assert seen.error is None and not seen.problems
    row = seen.examples[1]
    # Where there is one split, it is cut by hash at the import.
    split = "train" if len(published.splits) > 1 else ""
    assert (row.split, row.passage, row.question) == (split, published.passage, published.question)
    assert [dict(row.choices).get(gold, gold) for gold in row.gold] == [
        published.gold
    ] and row.rationales == published.rationales


def test_what_a_trace_thought_and_what_it_said_are_kept_apart(tmp_path: Path) -> None:
    name = "openthoughts-math"
    report = import_task(tmp_path / "root", source(name, tmp_path / name, 40), name)
    assert any("kept apart: rationale (40)" in warning for warning in report.warnings)
    kept = [example.rationale for part in ("train", "dev", "test") for example in report.task.examples(part)]
    assert len(kept) == 40 and "It is \\boxed{2}." in kept
    thought = [example.rationale for example in report.task.examples("train", "rationale[part=thinking]")]
    assert all(text and text.startswith("One more than ") for text in thought)


def test_choices_whose_right_one_has_its_own_column_are_shuffled_and_articles_are_clusters(tmp_path: Path) -> None:
    report = import_task(tmp_path / "root", source("sciq", tmp_path / "sciq", 30), "sciq")
    assert report.task.info["shuffle_choices"] == 0 and {e.gold for e in report.task.examples("train")} == {0, 1, 2, 3}
    assert all(e.answer_text.startswith("ice") for e in report.task.examples("train"))
    task = import_task(tmp_path / "root", source("race", tmp_path / "race"), "race").task
    assert [e.cluster for e in task.examples("train")].count("train0.txt") == 2

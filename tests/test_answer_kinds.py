"""Written answers: which texts are which numbers, when one is right, how they are imported, trained and judged."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from cotdistill.errors import BadRows, NotReadable, UsageError
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.rationales.conditions import parse
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.report.captions import written_told
from cotdistill.results import results
from cotdistill.saliency.probe import StudentQueries
from cotdistill.saliency.reading import read_example
from cotdistill.saliency.targets import parse_target, queries
from cotdistill.store.store import Store
from cotdistill.students.loading import new_built_in, prepare_torch
from cotdistill.students.models import BuiltIn
from cotdistill.students.scoring.evaluation import _judged, score
from cotdistill.students.scoring.generation import WrittenText
from cotdistill.students.scoring.written import answer_limit
from cotdistill.students.tokens import LABEL, Encoder
from cotdistill.studies.spec import study_spec
from cotdistill.tasks.answer_kinds import boxed, flexible, folded_text, judge, last_number, number_of_text
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.example import NUMBER, TEXT, Choice, Example
from cotdistill.tasks.importing.columns import guess_columns
from cotdistill.tasks.importing.importer import import_task
from cotdistill.tasks.importing.written import guessed_kind, split_answer, without_calculator
from tests.conftest import example


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("72", 72),
        ("$1,234.50", Fraction(2469, 2)),
        ("\\$70,000", 70000),
        ("50 %", 50),
        ("50\\%", 50),
        ("−3", -3),
        ("-$3", -3),
        ("+7", 7),
        ("3/4", Fraction(3, 4)),
        ("1 1/2", Fraction(3, 2)),
        ("-1 1/2", Fraction(-3, 2)),
        ("\\frac{3}{4}", Fraction(3, 4)),
        ("-\\dfrac{1}{2}", Fraction(-1, 2)),
        ("2.500", Fraction(5, 2)),
        ("72.", 72),
        (".5", Fraction(1, 2)),
        ("3e4", 30000),
        ("007", 7),
    ],
)
def test_numbers_are_read_alike_however_they_are_written(text, number):
    assert number_of_text(text) == number


@pytest.mark.parametrize("text", ["", "72 apples", "1,23", "1/0", "one", "3 4", "1" * 61, "--2", "1.2.3"])
def test_what_is_no_number_or_more_than_one_is_none(text):
    assert number_of_text(text) is None


def test_the_flexible_reading_takes_the_last_number_a_boxed_one_first():
    assert last_number("48/2 = 24 and 24+48 = 72 clips.") == "72"
    assert last_number("so \\boxed{\\frac{1}{2}} of 1,200") == "\\frac{1}{2}"
    assert last_number("no number") == ""
    assert boxed("\\boxed{3 and \\boxed{4") == ""
    assert flexible(NUMBER, ["72"], "it is 70 + 2 = 72.0 , yes") and not flexible(NUMBER, ["72"], "72 then 73")
    assert flexible(TEXT, ["the Beatles"], "they were Beatles then") and not flexible(TEXT, ["cat"], "concatenate")


def test_an_answer_is_right_when_it_equals_a_gold_after_normalising():
    assert judge(NUMBER, ["1,000"], "1000.0").right and judge(NUMBER, ["3", "4"], "4").right
    assert not judge(NUMBER, ["72"], "73").right and not judge(NUMBER, ["72"], "so 72").readable
    # Within a millionth of the gold: 1/3 written with seven digits, not with five.
    assert judge(NUMBER, ["1/3"], "0.3333333").right and not judge(NUMBER, ["1/3"], "0.33333").right
    assert judge(TEXT, ["The Beatles", "Fab Four"], "  beatles!").right and judge(TEXT, ["x"], "fab").readable
    assert not judge(TEXT, ["x"], " ").readable
    assert folded_text("An apple, the  Hat.") == "apple hat"


def test_a_cell_gives_its_rationale_and_its_answer():
    assert split_answer("She sold 48/2 = <<48/2=24>>24 clips.\n#### 72") == (
        "She sold 48/2 = <<48/2=24>>24 clips.",
        "72",
    )
    assert split_answer("Hence $\\boxed{5}$.")[1] == "5" and split_answer("\\boxed{5}") == ("", "5")
    assert split_answer(12) == ("", "12")
    assert without_calculator("48/2 = <<48/2=24>>24") == "48/2 = 24"
    assert guessed_kind(["#### 1", "#### 2,000"]) == NUMBER and guessed_kind(["\\boxed{x+1}", "\\boxed{y}"]) == TEXT
    assert guessed_kind(["blue", "red"]) == "" and guessed_kind([1, 2.5]) == NUMBER


def test_columns_of_worked_solutions_are_guessed():
    gsm = guess_columns(["question", "answer"], [{"question": "how many?", "answer": "so\n#### 3"}])
    assert (gsm.question, gsm.answer, gsm.answer_kind, gsm.missing()) == ("question", "answer", NUMBER, [])
    rows = [{"question": "how many?", "solution": "so \\boxed{3}", "level": "1"}]
    solved = guess_columns(["question", "solution", "level"], rows)
    assert (solved.answer, solved.rationale, solved.answer_kind) == ("solution", "", NUMBER)


ROWS = [
    {"question": f"A hen lays {i} eggs a day. How many in {i + 1} days?",
     "answer": f"It is {i} x {i + 1} = <<{i}*{i + 1}={i * (i + 1)}>>{i * (i + 1)}.\n#### {i * (i + 1):,}"}
    for i in range(30, 42)
]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    with gzip.open(folder / "rows.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, ROWS)))
    store = Store.open(folder / "store")
    import_task(store.tasks_root, folder / "rows.jsonl.gz", "eggs")
    return store


def test_a_task_of_numbers_is_imported_as_it_lies(store):
    task = open_task(store.tasks_root, "eggs")
    rows = [row for split in ("train", "dev", "test") for row in task.examples(split)]
    assert (task.answer_kind, task.chance, len(rows)) == (NUMBER, 0.0, 12)
    row = next(row for row in rows if "lays 40" in row.question)
    assert (row.answer_text, row.golds, row.rationale) == ("1,640", ("1,640",), "It is 40 x 41 = 1640.")
    assert task.template.choices_text(row) == ""
    assert any("calculator" in warning for warning in task.info["warnings"])


def test_a_gold_that_is_no_number_is_told_with_its_line(tmp_path):
    (tmp_path / "rows.jsonl").write_text(
        "\n".join(map(json.dumps, [*ROWS, {"question": "why?", "answer": "#### many"}]))
    )
    with pytest.raises(BadRows) as error:
        import_task(tmp_path / "tasks", tmp_path / "rows.jsonl", "eggs")
    assert [(p.line, p.reason) for p in error.value.problems] == [(13, "the answer 'many' is no number")]


def test_several_texts_are_golds_and_the_calculator_can_be_kept(tmp_path):
    rows = [{"question": f"who is {i}?", "answer": ["The Fab Four", f"Beatle {i}"]} for i in range(12)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = import_task(tmp_path / "tasks", tmp_path / "rows.jsonl", "who", changes={"answer_kind": "text"}).task
    row = task.examples("test")[0]
    assert row.kind == TEXT and row.golds[0] == "The Fab Four" and len(row.golds) == 2 and row.also_right == ("2",)
    (tmp_path / "eggs.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    kept = import_task(tmp_path / "tasks", tmp_path / "eggs.jsonl", "eggs", changes={"calculator": "keep"}).task
    assert "<<" in (kept.examples("train")[0].rationale or "")


def test_several_right_choices_are_all_right_and_the_first_is_trained(tmp_path):
    rows = [{"question": f"which {i}?", "choices": ["red", "blue", "green"], "answer": ["C", "A"]} for i in range(12)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = import_task(tmp_path / "tasks", tmp_path / "rows.jsonl", "several", shuffle_choices=1)
    assert any("12 rows with several right choices" in warning for warning in report.warnings)
    assert report.task.chance == pytest.approx(2 / 3)
    for split in ("train", "dev", "test"):
        for row in report.task.examples(split):
            assert row.golds == ("green", "red") and row.answer_text == "green"


TINY = BuiltIn("tiny", "for tests", layers=2, width=16, heads=2, positions=64)


@pytest.fixture
def model():
    prepare_torch(1, False)
    return new_built_in(TINY, 62, seed=3).eval()


def test_of_several_right_choices_the_highest_is_held_against_the_wrong_ones(model, encoder, examples):
    plain, several = examples[0], replace(examples[0], also_right=("B",))
    (one,), (two,) = (
        score(model, encoder, [row], PLACEMENTS.get("label_only"), "direct", metric="sum", limit=1)
        for row in (plain, several)
    )
    a, b, c, d = two.sums
    assert one.sums == two.sums and two.margin == pytest.approx(max(a, b) - max(c, d))
    assert two.correct == (max(a, b) > max(c, d)) and two.answer == (two.predicted if two.correct else 0)


def written(encoder: Encoder) -> tuple[Encoder, Example]:
    row = replace(example("e", "bird", "tree", "it flies"), choices=(Choice("1", "tree house"),), answer="1", kind=TEXT)
    return Encoder(encoder.path, encoder.template, terminator=True), row


def test_a_written_answer_is_what_the_student_writes_greedily_and_its_gold_is_scored_beside(model, encoder):
    reader, row = written(encoder)
    (found,) = score(model, reader, [row], PLACEMENTS.get("label_only"), "direct", metric="sum", limit=1)
    # "tree house <eos>" are three tokens: the least room for an answer, its end included, is 16.
    assert answer_limit(reader, [row]) == 16
    ids = prompt = reader.prompt(row, ("question", "choices", "label_cue"))
    with torch.no_grad():
        for _ in range(15):
            token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
            if token == reader.specials.eos:
                break
            ids = [*ids, token]
        gold = [t.id for t in reader.target("tree house")]
        logs = model(torch.tensor([[*prompt, *gold]])).logits.log_softmax(-1)[0]
    assert found.written_answer == reader.written_text(ids[len(prompt) :]).strip()
    assert found.sums[0] == pytest.approx(
        sum(float(logs[len(prompt) - 1 + i, token]) for i, token in enumerate(gold)), abs=1e-4
    )
    assert (found.answer, found.predicted, found.correct) == (0, 1, False)


def test_right_is_what_ended_and_equals_a_gold(encoder):
    reader, row = written(encoder)
    ids = [t.id for t in reader.read("the tree house !")]

    def judged(ended, rationale=None):
        return _judged(reader, row, [-1.0, -2.0], "direct", rationale, WrittenText(ids, ended, []))

    assert judged(True).correct and judged(True).readable and judged(True).answer_ended
    assert judged(True).probabilities == pytest.approx([math.exp(-1), math.exp(-2)]) and judged(True).margin == 1.0
    # Cut off at the limit: wrong, though the flexible reading finds it; so behind a rationale that never ended.
    assert not judged(False).correct and judged(False).flexible and not judged(False).answer_ended
    assert not judged(True, WrittenText([], False, [])).correct and judged(True, WrittenText([], True, [])).correct


def test_the_label_of_a_written_answer_is_its_first_gold_and_the_end(encoder):
    reader, row = written(encoder)
    (encoded,) = reader.sequences(reader.corpus([row]), 0, parse("label_only"), 0)
    label = [reader.piece(int(id)).strip() for id in encoded.ids[encoded.loss == LABEL]]
    assert label == ["tree", "house", "<eos>"]


def test_a_study_of_written_answers_runs_to_honest_figures(store):
    spec = study_spec(None, {
        "task": "eggs", "name": "eggs", "conditions": "undistilled,label_only,pre_cot,post_cot", "replicates": 1,
        "training": {"steps": 2, "batch_size": 4, "evaluations": 1, "checkpoints": "1"},
    })  # fmt: skip
    planned = plan(store, spec)
    assert planned.spec.terminator == "on" and any("Answers are written" in check for check in planned.checks)
    launch(store, planned)
    assert work(store) == 4
    summaries = results.summary(store, "eggs")
    assert all(s.chance is None and not s.at_chance and s.mean == 0.0 and s.written is not None for s in summaries)
    said = written_told(summaries)
    assert "judged strictly" in said and "differences between them say little" in said
    table = results.predictions(store, "eggs")
    assert set(table["answer"]) == {0} and set(table["predicted"]) == {1}
    for refused in ("label_only+margin", "pre_cot+counterfactual"):
        with pytest.raises(UsageError, match="needs wrong choices"):
            plan(store, study_spec(None, {"task": "eggs", "conditions": refused}))
    with pytest.raises(UsageError, match="without a terminator"):
        plan(store, study_spec(None, {"task": "eggs", "conditions": "label_only", "terminator": "off"}))


def test_a_written_answer_is_explained_by_its_gold_and_has_nothing_to_contrast(encoder):
    reader, row = written(encoder)
    reading = read_example(reader, row, PLACEMENTS.get("label_only"))
    assert reading.written and [reader.piece(int(id)).strip() for id in reading.choices[0]] == [
        "tree",
        "house",
        "<eos>",
    ]
    (query,) = queries(reading, parse_target("gold"), ("question",))
    assert query.weights.tolist() == [1.0] and not query.against.any()
    for target in ("contrast", "predicted", "label:1"):
        with pytest.raises(NotReadable, match="Answers of this task are written"):
            queries(reading, parse_target(target), ("question",), 0)


def test_the_probability_of_a_gold_is_its_own_and_no_share_of_the_golds(model, encoder):
    reader, row = written(encoder)
    placement = PLACEMENTS.get("label_only")
    (found,) = score(model, reader, [row], placement, "direct", metric="sum", limit=1)
    (probabilities,) = StudentQueries(model, reader.specials.pad).choice_probabilities(
        [read_example(reader, row, placement)]
    )
    assert probabilities.tolist() == pytest.approx([math.exp(found.sums[0])], rel=1e-3)

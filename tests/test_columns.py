"""Columns: guessed from names met in the wild; rows read into choices and answers, or refused with a reason."""

import pytest

from cotdistill.errors import DataError
from cotdistill.tasks.example import Choice
from cotdistill.tasks.importing.columns import (
    ColumnMap,
    answer_of,
    choices_of,
    first_number,
    guess_columns,
    header_of,
    question_of,
    text_of,
)

AB = (Choice("A", "tree"), Choice("B", "pond"))


def texts(value, columns=None):
    return [(c.label, c.text) for c in choices_of({"choices": value}, columns or ColumnMap(choices="choices"))]


def test_the_hub_form_of_commonsenseqa_has_lists_of_labels_and_texts():
    row = {
        "id": "1",
        "question": "where ?",
        "question_concept": "x",
        "choices": {"label": ["A", "B"], "text": ["tree", "pond"]},
        "answerKey": "B",
    }
    columns = guess_columns(header_of([row]))
    assert (columns.question, columns.choices, columns.answer, columns.id) == ("question", "choices", "answerKey", "id")
    assert choices_of(row, columns) == AB


def test_the_original_form_of_commonsenseqa_nests_stem_and_choices():
    row = {
        "question": {"stem": "where ?", "choices": [{"label": "A", "text": "tree"}, {"label": "B", "text": "pond"}]},
        "answerKey": "A",
    }
    columns = guess_columns(header_of([row]))
    assert question_of(row, columns) == "where ?"
    assert choices_of(row, columns) == AB


def test_premise_and_hypothesis_become_one_question_with_fixed_choices():
    row = {"premise": "a man sleeps", "hypothesis": "he is awake", "label": 2, "explanation_1": "no"}
    columns = guess_columns(header_of([row]))
    assert question_of(row, columns) == "Premise: a man sleeps Hypothesis: he is awake"
    assert [c.text for c in choices_of(row, columns)] == ["entailment", "neutral", "contradiction"]
    assert columns.rationale == "explanation_1"
    assert answer_of(2, choices_of(row, columns), 0) == "C"


def test_choices_in_columns_of_their_own_are_found_and_the_last_may_be_empty():
    row = {"question": "q", "option1": "tree", "option2": "pond", "option3": None, "answer": "1"}
    columns = guess_columns(header_of([row]))
    assert columns.choices == "option1+option2+option3"
    assert choices_of(row, columns) == AB


@pytest.mark.parametrize(
    "value",
    [
        ["tree", "pond"],
        "tree|pond",
        '["tree", "pond"]',
        {"text": ["tree", "pond"]},
        {"A": "tree", "B": "pond"},
        [{"text": "tree"}, {"text": "pond"}],
    ],
)
def test_choices_in_other_shapes_say_the_same(value):
    assert texts(value) == [("A", "tree"), ("B", "pond")]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no choices"),
        ([], "no choices"),
        (["tree"], "one choice"),
        (7, "expected a list"),
        ({"text": ["a", "b"], "label": ["A"]}, "as many labels"),
        ({"x": 1}, "without a list"),
        ("[not json", "cannot be read"),
        ([{"label": "A", "text": "x"}, {"label": "A", "text": "y"}], "same label"),
        (["tree", ""], "is empty"),
        (["tree", ["pond"]], "expected text"),
    ],
)
def test_choices_that_cannot_be_used_are_refused_with_the_reason(value, reason):
    with pytest.raises(DataError, match=reason):
        texts(value)


@pytest.mark.parametrize(
    ("given", "label"), [("A", "A"), ("b", "B"), ("pond", "B"), ("Tree", "A"), (0, "A"), ("1", "B"), (1.0, "B")]
)
def test_an_answer_may_be_a_label_a_text_or_a_number(given, label):
    assert answer_of(given, AB, 0) == label


@pytest.mark.parametrize("given", ["C", "", None, 2, -1, True, {"a": 1}, "nest", float("nan")])
def test_an_answer_that_is_no_choice_is_refused(given):
    with pytest.raises(DataError):
        answer_of(given, AB, 0)


def test_an_answer_that_is_the_text_of_two_choices_is_refused():
    with pytest.raises(DataError, match="two choices"):
        answer_of("x", (Choice("A", "x"), Choice("B", "x")), 0)


def test_numbers_count_from_one_if_one_of_them_is_the_number_of_choices_and_none_is_zero():
    assert first_number([("1", AB), ("2", AB)]) == 1
    assert first_number([("1", AB), ("0", AB), ("2", AB)]) == 0
    assert first_number([("tree", AB)]) == 0


def test_a_map_says_what_it_lacks():
    assert ColumnMap().missing() == ["question", "answer", "choices"]
    assert ColumnMap(question="q", answer="a", fixed_choices="no|yes").missing() == []


def test_cells_become_trimmed_text_and_half_a_character_is_refused():
    assert [text_of(v, "cell") for v in ("  x ", "", None, float("nan"), 3.0, True)] == [
        "x",
        None,
        None,
        None,
        "3",
        "true",
    ]
    with pytest.raises(DataError, match="surrogate"):
        text_of("\ud800", "cell")

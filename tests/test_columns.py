"""Columns: guessed from names met in the wild; rows read into choices and answers, or refused with a reason."""

import pytest

from cotdistill.errors import DataError
from cotdistill.tasks.example import Choice
from cotdistill.tasks.importing.answers import answer_of, reading_of
from cotdistill.tasks.importing.cells import rationale_text, text_of
from cotdistill.tasks.importing.columns import (
    ColumnMap,
    choices_of,
    guess_columns,
    header_of,
    inline,
    question_of,
    unread_texts,
    without_letters,
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
    assert answer_of(2, choices_of(row, columns), "number_from_0") == "C"


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
    ("given", "reading", "label"),
    [
        ("A", "label", "A"), ("b", "label", "B"), ("(B)", "label", "B"), ("b.", "label", "B"), ("pond", "text", "B"),
        ("Tree", "text", "A"), (0, "number_from_0", "A"), ("1", "number_from_0", "B"), (1.0, "number_from_1", "A"),
    ],
)  # fmt: skip
def test_an_answer_is_read_as_a_label_a_text_or_a_place(given, reading, label):
    assert answer_of(given, AB, reading) == label


@pytest.mark.parametrize("given", ["C", "", None, 2, -1, True, {"a": 1}, "nest", float("nan")])
@pytest.mark.parametrize("reading", ["label", "text", "number_from_0"])
def test_an_answer_that_is_no_choice_is_refused(given, reading):
    with pytest.raises(DataError):
        answer_of(given, AB, reading)


def test_an_answer_that_is_the_text_of_two_choices_is_refused():
    with pytest.raises(DataError, match="two choices"):
        answer_of("x", (Choice("A", "x"), Choice("B", "x")), "text")


def choices(*texts, labels="ABCDEFGH"):
    return tuple(Choice(label, text) for label, text in zip(labels, texts, strict=False))


def test_numbers_count_from_one_where_one_of_them_is_the_number_of_choices_and_none_is_zero():
    assert reading_of([("1", AB), ("2", AB)], own_labels=False) == "number_from_1"
    assert reading_of([("1", AB), ("0", AB)], own_labels=False) == "number_from_0"
    # One value that fits neither leaves the rule to the others, and is told by itself.
    assert reading_of([("1", AB), ("2", AB), ("7", AB)], own_labels=False) == "number_from_1"


def test_numbers_among_choices_that_are_numbers_are_places_where_a_row_shows_it():
    wheels, color = choices("2", "3", "4", "5"), choices("red", "blue", "green", "grey")
    assert reading_of([(2, wheels), (0, color)], own_labels=False) == "number_from_0"
    with pytest.raises(DataError, match="3 ways") as refused:
        reading_of([(2, wheels), (3, wheels)], own_labels=False)
    assert "as texts of the choices it is '2'" in refused.value.message and "from 0 it is '4'" in refused.value.message
    assert "--map answer_is=text" in refused.value.hint and "answer_is=number first_number=1" in refused.value.hint
    assert reading_of([(2, wheels), (3, wheels)], own_labels=False, answer_is="text") == "text"
    assert reading_of([(2, wheels), (3, wheels)], own_labels=False, first_number=1) == "number_from_1"


def test_labels_that_we_made_up_never_win_over_texts_and_those_of_the_file_do():
    inference = choices("c", "e", "n")
    assert reading_of([("e", inference), ("c", inference)], own_labels=False) == "text"
    ours = choices("2", "1", labels="12")
    assert reading_of([("1", ours), ("2", ours)], own_labels=True) == "label"


def test_an_answer_that_fits_no_reading_is_refused_row_by_row():
    assert reading_of([("tree", AB), ("pond", AB), ("nest", AB)], own_labels=False) == "text"


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


def test_rationales_are_text_or_lists_of_sentences_and_words_for_nothing_are_none():
    assert rationale_text(["It has fins.", " It swims. ", ""]) == "It has fins. It swims."
    assert [rationale_text(value) for value in ("nan", "NULL", "", None, [], "so")] == [None] * 5 + ["so"]


def test_a_map_with_named_values_and_several_question_columns():
    columns = ColumnMap(question="context+question", answer="a", fixed_choices="no|yes", values="false=no,true=yes")
    assert columns.named_values() == {"false": "no", "true": "yes"}
    assert question_of({"context": "A ball is in the box.", "question": "What is in it?"}, columns) == (
        "A ball is in the box.\nWhat is in it?"
    )
    assert columns.noted()["values"] == "false=no,true=yes" and "values" not in ColumnMap().noted()


@pytest.mark.parametrize(
    "question",
    [
        "which? (A) red (B) blue",
        "which?\nA. red\nB. blue",
        "which?\nOptions:\nA)red\nB)blue",
        "which?\n\nOPTIONS:\n- red\n- blue",
    ],
)
def test_choices_that_end_a_question_are_read_in_every_form(question):
    assert inline(question) == ("which?", [("A", "red"), ("B", "blue")])


def test_dashes_that_follow_no_heading_are_a_list_and_no_choices():
    assert inline("which of\n- red\n- blue\nis it?")[1] == []


def test_letters_before_choices_are_taken_off_where_all_have_them_in_order():
    assert without_letters(choices("A)0", "B)1")) == choices("0", "1")
    assert without_letters(choices("(A) x y", "(B) z")) == choices("x y", "z")
    assert without_letters(choices("A)0", "C)1")) is None and without_letters(choices("A)0", "1")) is None


def test_options_that_are_null_are_no_choices_and_keys_with_values_are():
    columns = ColumnMap(question="q", answer="a", choices="options")
    assert choices_of({"options": {"A": "x", "B": "y", "C": None}}, columns) == choices("x", "y")
    listed = [{"key": "A", "value": "x"}, {"key": "B", "value": "y"}]
    assert choices_of({"options": listed}, columns) == choices("x", "y")


def test_columns_of_text_that_no_field_reads_are_named():
    rows = [
        {"question": f"what is {i}?", "a": "x", "story": f"a story that is long enough, number {i}"} for i in range(4)
    ]
    assert unread_texts(rows, ColumnMap(question="question", answer="a", fixed_choices="x|y")) == ["story"]

"""The stated answer is read from what a teacher wrote, and what is left of the text without it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cotdistill.tasks.example import Choice
from cotdistill.teachers.mentions import exact, mentions, sentences, stem
from cotdistill.teachers.parse import HOWS, PROBLEMS, parse

PLACES = tuple(
    Choice(label, text)
    for label, text in zip("ABCDE", ("bank", "library", "department store", "mall", "new york"), strict=True)
)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("The answer is B because it is quiet there.", "B"),
        ("Banks need security. So the answer is (a).", "A"),
        ("Banks need security. So the answer is a.", "A"),
        ("The correct answer is option (C) department store as it has many doors.", "C"),
        ("I would choose option D.", "D"),
        ("Answer: A, because banks need security", "A"),
        ("**Answer:** C", "C"),
        ("Doors turn both ways there.\n\nFinal answer: [E] new york", "E"),
        ("Doors turn.\n#### D", "D"),
        (r"Thus we get \boxed{D}", "D"),
        ("<think>maybe (A), no, (C)</think>The answer is B.", "B"),
        ("B", "B"),
        ("(B) library", "B"),
        ("B. library", "B"),
        ("B) It is quiet there, and one needs to be let in.", "B"),
        ("Quiet is needed.\nB", "B"),
        ("Therefore B is the correct answer.", "B"),
        ("Option B is correct.", "B"),
        ("The answer is A and B is wrong because libraries are open.", "A"),
        ("None of the above is perfect, but the best answer is C.", "C"),
    ],
)
def test_an_answer_stated_by_its_letter_is_read(text, label):
    found = parse(text, PLACES)
    assert (found.label, found.how, found.problem) == (label, "letter", "")
    assert not found.contradicts


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("The answer is bank.", "A"),
        ("So, the answer is the mall, not the bank.", "D"),
        ("The answer must be “New York” since it is large.", "E"),
        ("Library is the right answer.", "B"),
        ("A department store would be the most likely choice here.", "C"),
        ("library", "B"),
    ],
)
def test_an_answer_stated_by_its_text_is_read(text, label):
    assert (parse(text, PLACES).label, parse(text, PLACES).how) == (label, "text")


def test_what_the_choices_are_weighed_by_states_an_answer_only_where_nothing_else_does():
    text = "The answer must be a place that needs security. Of the above choices, only banks need security."
    assert (parse(text, PLACES).label, parse(text, PLACES).how) == ("A", "weighed")
    assert parse(text + " The answer is (D).", PLACES).label == "D"
    # Two of them are no answer, and "none of the choices" is none either.
    assert parse("Of the above choices, only banks and libraries need it.", PLACES).label is None
    assert parse("None of the choices is a bank.", PLACES).problem == "none"


def test_the_only_choice_of_a_conclusion_is_implied_and_not_sure():
    found = parse("Banks have doors, malls have doors. So one would be at a bank.", PLACES)
    assert (found.label, found.how, found.sure) == ("A", "implied", None)
    assert parse("The answer is bank.", PLACES).sure == "A"


@pytest.mark.parametrize(
    ("text", "problem", "named"),
    [
        ("A or E", "several", ("A", "E")),
        ("The answer is either (A) or (E).", "several", ("A", "E")),
        ("The answers are A, B and D.", "several", ("A", "B", "D")),
        ("The answer is bank or mall.", "several", ("A", "D")),
        ("None of the above.", "none", ()),
        ("There is no correct answer among them.", "none", ()),
        ("It cannot be determined where.", "none", ()),
        ("I'm sorry, but I can't help with that.", "refusal", ()),
        ("As an AI language model, I have no opinion on places.", "refusal", ()),
        ("I cannot answer this question.", "refusal", ()),
        ("", "empty", ()),
        ("  \n ", "empty", ()),
        ("<think>it may be B", "empty", ()),
        ("It has a revolving door.", "silent", ()),
    ],
)
def test_a_text_without_one_answer_says_why(text, problem, named):
    found = parse(text, PLACES)
    assert (found.label, found.problem, found.named) == (None, problem, named)


@pytest.mark.parametrize(
    "text",
    [
        "The answer is A bird in the hand.",  # an article
        "The answer must be a bank account holder.",  # the start of something longer
        "The options are: A) bank B) library.",
        "Let's look at each option: A. Banks have guards. B. Libraries are open.",
        "A revolving door stands at E-mart.",
        "The only thing that is also correct is not named.",
        "None of the options B, C or D are correct.",
    ],
)
def test_what_looks_like_a_statement_but_is_none_is_not_taken_for_one(text):
    assert parse(text, PLACES).how not in ("letter", "text")


@pytest.mark.parametrize(
    "text",
    [
        "The answer is B. So the mall is the correct choice.",
        "A is wrong. The answer is A.",
        "The answer is not D. Malls have doors, so the answer is D.",
        "The answer is C. No, wait, that's not correct. It is a bank.",
        "The answer is (A). The correct answer is (B).",
    ],
)
def test_an_answer_that_contradicts_its_reason_is_seen(text):
    assert parse(text, PLACES).contradicts


def test_a_choice_that_says_none_of_the_above_is_a_choice():
    choices = (Choice("A", "bank"), Choice("B", "none of the above"))
    assert parse("The answer is none of the above.", choices).label == "B"
    assert parse("The answer is (B) none of the above.", choices).label == "B"


def test_numbers_as_labels_and_as_choices_are_told_apart():
    letters = (Choice("A", "2"), Choice("B", "4"))
    assert parse("So the answer is 4.", letters).label == "B"
    numbers = (Choice("1", "4"), Choice("2", "1"))
    assert parse("So the answer is (1).", numbers).label == "1"
    assert parse("So the answer is 1.", numbers).label == "2"  # alone, it is the text that is meant
    assert parse("The answer is 2.", (Choice("1", "cat"), Choice("2", "dog"))).label == "2"


def test_yes_and_no_are_answers_only_where_they_are_stated():
    choices = (Choice("A", "yes"), Choice("B", "no"))
    assert parse("There is no doubt, no one flies.", choices).label is None
    assert parse("Fish do not fly. So the answer is no.", choices).label == "B"
    assert parse("Yes, because birds fly.", choices).label == "A"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Banks need security. So the answer is (a).", "Banks need security."),
        ("The answer is B because it is quiet there.", "It is quiet there."),
        ("The answer is (B) library. It is quiet there.", "It is quiet there."),
        ("Answer: A, since banks need guards", "Banks need guards"),
        ("Of the above choices, only banks need security.", "Of the above choices, only banks need security."),
        ("Banks need guards, so the answer is A.", "Banks need guards, so the answer is A."),
        ("It is quiet.\nAnswer: B", "It is quiet."),
        ("B", ""),
    ],
)
def test_the_reason_is_the_text_without_the_sentences_that_state_the_answer(text, reason):
    assert parse(text, PLACES).reason == reason


def test_a_label_without_a_reason_is_bare():
    assert parse("The answer is (B) library.", PLACES).bare and parse("So, B.", PLACES).bare
    assert not parse("It is quiet there. The answer is B.", PLACES).bare


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_text_at_all_is_read_without_an_error(text):
    found = parse(text, PLACES)
    assert (found.label is None) == bool(found.problem)
    assert found.problem in ("", *PROBLEMS) and found.how in ("", *HOWS)


def test_a_choice_is_met_inflected_and_the_longest_and_the_literal_one_win():
    one = (
        Choice("A", "act"),
        Choice("B", "acting"),
        Choice("C", "get wet"),
        Choice("D", "bank"),
        Choice("E", "river bank"),
    )
    text = "x acting on river banks is getting wet"
    found = [(m.label, text[m.start : m.end]) for m in mentions(text, one)]
    assert found == [("B", "acting"), ("E", "river banks"), ("C", "getting wet")]
    assert (
        stem("Getting") == stem("get") and stem("banks") == stem("bank's") == stem("bank") and stem("grass") == "grass"
    )
    assert mentions("(a) or b) or d", one)[0].label == "A" and [m.label for m in mentions("(a) or b) or d", one)] == [
        "A",
        "B",
    ]


def test_sentences_are_cut_at_their_ends_and_at_lines():
    text = "It is.  Is it? Yes\n\nno 3.5 m"
    assert [text[a:b] for a, b in sentences(text)] == ["It is.", "Is it?", "Yes", "no 3.5 m"]
    assert exact("the river bank is", Choice("E", "a river bank"), 0) == len("the river bank")
    assert exact("river banks", Choice("E", "river bank"), 0) is None


CLOSINGS = (
    r"\boxed{B}", r"$\boxed{B}$", r"$$\boxed{B}$$", r"\[\boxed{\text{B}}\]", r"\(\boxed{B}\)", r"The answer is $\boxed{B}$.",
    r"The final answer is: $\boxed{B}$", r"\boxed{heath}", r"$\boxed{\text{heath}}$", "<answer>B</answer>", "<answer> (B) </answer>",
    "<answer>heath</answer>", "<final_answer>B</final_answer>", "Answer: B", "Answer: (B)", "Answer: $B$", "Answer: **B**", "**Answer:** B",
    "**Answer: B**", "Final answer: B", "Final Answer: (B) heath", "Final answer: heath.", "The answer is B", "The answer is (B).",
    "The answer is *B*", "The answer is **B**.", "The answer is `B`.", "The answer is B. heath", "The answer is B) heath", "The answer is: B",
    "The answer is “heath”.", "The answer is heath.", "The correct answer is B.", "The best answer is (B) heath.", "The correct option is B.",
    "The right choice is B.", "So the answer is B.", "Therefore, the answer is B.", "Hence the answer must be B.", "Thus, the correct choice is heath.",
    "I would choose B.", "I choose (B).", "I'd go with B.", "We select option B.", "My answer: B", "Option B is correct.", "B is the correct answer.",
    "(B) is the right option.", "Heath is the best answer.", "So B is right.", '{"answer": "B"}', '{"answer": "heath"}', "{'answer': 'B'}",
    "#### B", "### B", "B", "(B)", "B.", "(B) heath", "B. heath", "B) heath", "heath", "Choose B.", "The solution is B.",
    "The most likely answer is therefore B.", "Response: B",
)  # fmt: skip


@pytest.mark.parametrize("closing", CLOSINGS)
def test_a_closing_in_any_form_states_its_answer_and_no_other(closing):
    choices = [Choice("A", "dune"), Choice("B", "heath"), Choice("C", "elm")]
    assert parse(f"Unlike dune, the word begins with h.\n{closing}", choices).sure in ("B", None)
    assert len(CLOSINGS) >= 60


def test_nearly_all_closings_are_read_for_sure():
    choices = [Choice("A", "dune"), Choice("B", "heath"), Choice("C", "elm")]
    read = [parse(f"Unlike dune, the word begins with h.\n{closing}", choices).sure for closing in CLOSINGS]
    assert [closing for closing, label in zip(CLOSINGS, read, strict=True) if label is None] == ["{'answer': 'B'}"]


@pytest.mark.parametrize("text", ["nan", "NULL", " None. "[:5]])
def test_words_that_stand_for_nothing_are_no_rationale(text):
    assert parse(text, [Choice("A", "dune"), Choice("B", "heath")]).problem == "empty"

"""Filters say of each answer why it would go; near-duplicates are found among thousands; what stays becomes a source."""

import random
import time

import pytest

from cotdistill.errors import ConfigError, GrammarError, NoRationale, UnknownName
from cotdistill.tasks.added import reopened, source_info
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.importing.writing import write_task
from cotdistill.tasks.task import Rationale
from cotdistill.tasks.template import Template
from cotdistill.teachers.answers import TeacherAnswer, of_rows, of_source
from cotdistill.teachers.duplicates import near_duplicates, shingles
from cotdistill.teachers.filters import FILTERS, apply, longest_run, parse_filters
from cotdistill.teachers.sources import ANSWER_ALONE, CUT_OFF, NOT_PICKED, add, pick, rationales

CHOICES = (Choice("A", "tree"), Choice("B", "pond"))
QUESTION = "Where does a fish that is red live in summer?"


def answer(text, *, id="q1", gold="B", **more):
    return TeacherAnswer(Example(id, QUESTION, CHOICES, gold, "train"), text, **more)


def reasons(filters, *answers):
    (chosen,) = parse_filters(filters)
    return chosen.judge(answers)


def test_agreement_with_gold_uses_the_known_answer_first_and_then_what_the_text_states():
    right, wrong = answer("Fish swim. The answer is pond."), answer("Birds sit. The answer is tree.")
    noted = answer("The answer is pond.", label="A")
    implied = answer("So it swims in a pond.")
    assert reasons("agrees", right, wrong, noted, implied) == [
        "",
        "answers A, not B",
        "answers A, not B",
        "no answer is known (none stated)",
    ]
    assert reasons("agrees(unknown=keep)", implied) == [""] and reasons("agrees(implied=yes)", implied) == [""]
    argued = answer("It sits there. The answer is tree.", given="A")
    assert reasons("agrees", argued) != [""] and reasons("agrees(label=given)", argued) == [""]


def test_texts_without_one_answer_or_against_themselves_are_seen():
    bad = [answer("A or B"), answer("None of the above."), answer("I'm sorry, I can't help with that."), answer(" ")]
    assert reasons("one_answer", *bad, answer("It is blue.")) == [
        "several answers",
        "no choice fits, it says",
        "a refusal",
        "empty",
        "",
    ]
    told = reasons(
        "consistent",
        answer("The answer is A. So the answer is B."),
        answer("A is wrong. The answer is A."),
        answer("The answer is A."),
    )
    assert told == ["states A and B", "denies or takes back its answer", ""]
    assert reasons("gives_reason", answer("The answer is (B)."), answer("Fish can swim. The answer is (B).")) == [
        "0 words of reason",
        "",
    ]


def test_length_is_counted_in_words_and_letters_are_seen():
    assert reasons("length(low=2,high=3)", answer("one"), answer("one two"), answer("1 2 3 4")) == [
        "1 words",
        "",
        "4 words",
    ]
    assert reasons("names_letter", answer("Option (B) swims."), answer("A fish swims.")) == ["names a letter", ""]


def test_a_repeated_question_is_counted_in_words_in_a_row():
    assert longest_run("a b c d e", "x B, c! d y") == 3
    told = reasons(
        "repeats_question",
        answer("Where does a fish that is red live? In a pond."),
        answer("A fish lives in a pond in summer."),
    )
    assert told == ["9 words of the question in a row", ""]  # ... red live in


def test_a_text_is_cut_off_by_the_limit_or_where_nobody_noted_why_by_its_open_end():
    texts = [
        answer("Fish swim.", finish="length"),
        answer("Fish swim in the", finish="stop"),
        answer("Fish swim in the"),
        answer('Fish "swim."'),
    ]
    assert reasons("truncated", *texts) == ["ended by the limit of tokens", "", "ends in the middle of a sentence", ""]


def test_shingles_are_word_triples_and_short_texts_are_one():
    assert shingles("The cat, the CAT sat") == ("the cat the", "cat the cat", "the cat sat")
    assert shingles("Hi there") == ("hi there",) and shingles(" ?! ") == ()


def test_the_first_of_a_family_is_kept_and_the_others_point_to_it():
    base = " ".join(f"w{i}" for i in range(40))
    nearly = base.replace("w39", "end")  # 37 of 39 triples are shared: 37 / 39 = .95
    half = " ".join(f"w{i}" for i in range(20)) + " " + " ".join(f"v{i}" for i in range(20))
    assert near_duplicates([base, "other words altogether here", nearly, base.upper(), half, "", ""]) == [
        None,
        None,
        0,
        0,
        None,
        None,
        None,
    ]
    # 18 triples of 58 in all are shared: .31, below the lowest threshold.
    assert near_duplicates([base, half], 0.5) == [None, None]
    assert near_duplicates([]) == []


def test_candidates_miss_almost_nothing_that_comparing_every_pair_finds():
    rng = random.Random(3)
    words = [f"w{i}" for i in range(300)]
    texts = []
    for _ in range(150):
        base = rng.choices(words, k=30)
        texts.append(" ".join(base))
        for _ in range(3):
            changed = list(base)
            for place in rng.sample(range(30), rng.randrange(0, 5)):
                changed[place] = rng.choice(words)
            texts.append(" ".join(changed))
    sets = [set(shingles(text)) for text in texts]
    for similarity in (0.5, 0.7, 0.8):
        kept, expected = [], []
        for own in sets:
            match = next((i for i in kept if len(own & sets[i]) / len(own | sets[i]) >= similarity), None)
            expected.append(match)
            if match is None:
                kept.append(len(expected) - 1)
        found = near_duplicates(texts, similarity)
        agreeing = sum(a == b for a, b in zip(found, expected, strict=True))
        assert sum(e is not None for e in expected) > 100 and agreeing >= len(texts) - 3


def test_ten_thousand_rationales_take_seconds():
    rng = random.Random(5)
    words = [f"w{i}" for i in range(4000)]
    texts = [" ".join(rng.choices(words, k=25)) for _ in range(9_900)]
    texts += texts[:100]
    begun = time.process_time()
    found = near_duplicates(texts)
    assert sum(place is not None for place in found) == 100 and found[9_900:] == list(range(100))
    assert time.process_time() - begun < 8


def test_filters_act_one_after_the_other_and_each_is_counted_alone_too():
    few = [answer("Fish swim. The answer is pond.", id=f"q{i}") for i in range(3)] + [
        answer("The answer is tree.", id="q9"),
        answer("A or B", id="q8"),
    ]
    left, counted = apply(few, parse_filters("agrees,near_duplicate"))
    assert [a.example.id for a in left] == ["q0"]
    first, second = counted
    assert (first.filter, first.seen, first.dropped, first.alone) == (
        "agrees(unknown=drop,label=gold,implied=no)",
        5,
        2,
        2,
    )
    assert (second.seen, second.dropped, second.alone) == (3, 2, 2)
    assert second.examples[0][0].example.id == "q1" and second.examples[0][1] == "nearly the same as that of q0"
    assert apply(few, [])[0] == few


def test_filters_are_text_in_one_form_and_what_is_wrong_is_named():
    assert [str(c) for c in parse_filters(" length( high=9 ) , names_letter")] == [
        "length(low=5,high=9)",
        "names_letter",
    ]
    assert parse_filters("") == []
    for wrong, error in (
        ("lenght", UnknownName), ("length(hihg=3)", UnknownName), ("length(high=x)", GrammarError), ("length(high)", GrammarError),
        ("agrees agrees", GrammarError), ("agrees,agrees", GrammarError), ("length(low=9,high=3)", ConfigError),
        ("near_duplicate(similarity=2)", GrammarError),
    ):  # fmt: skip
        with pytest.raises(error):
            parse_filters(wrong)
    assert all(entry.help for entry in FILTERS)


@pytest.fixture
def task(tmp_path):
    rows = [Example(f"t{i}", QUESTION, CHOICES, "AB"[i % 2], "train") for i in range(4)]
    rows += [Example("d", QUESTION, CHOICES, "A", "dev"), Example("e", QUESTION, CHOICES, "A", "test")]
    told = [Rationale(f"t{i}", "model", f"Number {i} is so. The answer is pond.", "B") for i in range(3)] + [
        Rationale("e", "other", "aside")
    ]
    return write_task(tmp_path, "fish", examples=rows, rationales=told, template=Template(), roles={}, title="Fish")


def test_what_stays_becomes_a_source_that_a_study_can_name(task):
    answers = of_source(task, "model")
    assert [(a.example.id, a.label) for a in answers] == [("t0", "B"), ("t1", "B"), ("t2", "B")]
    left, _ = apply(answers, parse_filters("agrees"))
    name = add(task, "right", left, part="reason", origin={"source": "model", "filters": "agrees"})
    again = reopened(task)
    assert [e.rationale for e in again.examples("train", name)] == [None, "Number 1 is so.", None, None]
    assert source_info(again, name)["origin"] == {
        "source": "model",
        "filters": "agrees",
        "pick": "first",
        "part": "reason",
    }
    # Nothing was deleted.
    assert len(of_source(again, "model")) == 3 and of_source(again, name)[0].answer == "B"
    with pytest.raises(NoRationale):
        add(task, "none", [], origin={})
    with pytest.raises(UnknownName, match="no rationale source"):
        of_source(task, "modle")


def test_one_of_several_samples_is_picked_and_the_majority_is_that_of_the_answers(task):
    rows = [
        {"id": "t0", "sample": 0, "text": "The answer is tree. Long and winding it is.", "given": "", "finish": "stop"},
        {"id": "t0", "sample": 1, "text": "So: pond. The answer is pond.", "given": "", "finish": "stop"},
        {"id": "t0", "sample": 2, "text": "The answer is pond.", "given": "", "finish": "length"},
        {"id": "gone", "sample": 0, "text": "x", "given": "", "finish": "stop"},
        {"id": "t1", "sample": 0, "text": "silence", "given": "B", "finish": "stop"},
    ]
    answers = of_rows(task, rows)
    assert [(a.example.id, a.sample, a.given) for a in answers] == [
        ("t0", 0, ""),
        ("t0", 1, ""),
        ("t0", 2, ""),
        ("t1", 0, "B"),
    ]
    picked = {how: [a.sample for a in pick(answers, how)] for how in ("first", "shortest", "longest", "majority")}
    assert picked == {"first": [0, 0], "shortest": [2, 0], "longest": [0, 0], "majority": [1, 0]}
    # Of t0 one answer is a statement alone, one has a single word beside it: the third is taken. t1 was shown B.
    kept, left_out = rationales(answers, "reason", how="shortest", drop=(ANSWER_ALONE,))
    assert [(r.text, r.teacher_label) for r in kept] == [("Long and winding it is.", "A"), ("silence", "B")]
    assert left_out == {"an answer without a reason": 2}
    # Cut off, and not to be taken: counted under that, whatever it says.
    assert rationales(answers, "all", drop=(CUT_OFF,))[1] == {CUT_OFF: 1, NOT_PICKED: 1}
    bare, left_out = rationales(answers[1:3], "all", drop=(ANSWER_ALONE,))
    assert [(r.text, r.teacher_label) for r in bare] == [(None, "B")] and left_out.total() == 2
    with pytest.raises(UnknownName):
        pick(answers, "best")
    with pytest.raises(UnknownName):
        rationales(answers, "half")

"""What is done to a rationale at test time: touched tokens counted by hand, and what may never happen to it."""

from collections import Counter

import numpy as np
import pytest

from cotdistill.errors import UnknownName, UsageError
from cotdistill.rationales.passage import Token
from cotdistill.rationales.perturbations import (
    CONTROL,
    PERTURBATIONS,
    SHARES,
    PerturbationRows,
    checked_tests,
    replaced,
)
from tests.conftest import example


@pytest.fixture
def rows(encoder, examples):
    corpus = encoder.corpus(examples)
    return PerturbationRows(corpus, corpus.unigrams, ("bird", "fish"), seed=3)


def rows_of(encoder, *told, types=("bird", "fish")):
    corpus = encoder.corpus(list(told))
    return PerturbationRows(
        corpus, encoder.corpus([example("u", "dog", "pond", "it has fins . a red fish sleeps")]).unigrams, types
    )


def apply(rows, name, share=1.0, index=0):
    return PERTURBATIONS.get(name).apply(rows, index, share)


def ids(passage):
    return [token.id for token in passage]


def text(encoder, passage):
    return "".join(encoder.piece(token.id) for token in passage).strip()


def test_truncating_cuts_the_end_and_a_whole_cut_leaves_nothing(rows, encoder):
    # 13 tokens: a quarter is 3.25, a half 6.5 (to the even 6), three quarters 9.75.
    assert text(encoder, apply(rows, "truncate", 0.25).passage) == "it has wings . it flies so it lives in"
    assert [apply(rows, "truncate", share).touched for share in SHARES] == [3, 6, 10, 13]
    assert [len(apply(rows, "truncate", share).passage) for share in SHARES] == [10, 7, 3, 0]


def test_shuffling_keeps_the_tokens_and_moves_at_most_the_share(rows):
    intact = ids(rows.passage(0))
    for share, most in zip(SHARES, (3, 6, 10, 13), strict=True):
        found = apply(rows, "shuffle", share)
        assert found.touched == most and Counter(ids(found.passage)) == Counter(intact)
        assert 0 < sum(a != b for a, b in zip(ids(found.passage), intact, strict=True)) <= most


def test_exactly_the_share_is_replaced_and_a_larger_share_contains_the_smaller(rows):
    for index, n in enumerate((13, 14, 7, 6, 10)):
        intact, before = ids(rows.passage(index)), {}
        assert len(intact) == n
        for share in SHARES:
            found = apply(rows, CONTROL, share, index)
            changed = {
                place: new
                for place, (new, old) in enumerate(zip(ids(found.passage), intact, strict=True))
                if new != old
            }
            assert len(changed) == found.touched == round(share * n)
            assert before.items() <= changed.items() and set(changed.values()) <= set(rows.unigrams.tolist())
            before = changed


def test_a_draw_depends_on_the_example_and_the_seed_alone(encoder, examples, rows):
    one, other = (PerturbationRows(rows.corpus, rows.unigrams, rows.types, seed) for seed in (3, 4))
    alone = PerturbationRows(encoder.corpus(examples[:1]), rows.unigrams, rows.types, seed=3)
    for name in ("shuffle", CONTROL):
        assert ids(apply(one, name).passage) == ids(apply(rows, name).passage) == ids(apply(alone, name).passage)
        assert ids(apply(other, name).passage) != ids(apply(rows, name).passage)


def test_a_vocabulary_of_one_word_ends_too(rows):
    single = PerturbationRows(rows.corpus, np.array([rows.passage(0)[0].id] * 5), (), 0)
    assert len(set(ids(replaced(single, 0, 13)))) == 1
    assert ids(replaced(PerturbationRows(rows.corpus, np.array([], np.int64), (), 0), 0, 0)) == ids(rows.passage(0))


def test_a_mistake_names_a_wrong_choice_where_the_right_one_stood(encoder):
    rows = rows_of(encoder, example("m", "bird", "tree", "the tree . it flies so the tree . not the pond ."))
    once, throughout = apply(rows, "mistake"), apply(rows, "mistakes")
    said = text(encoder, once.passage).split()
    assert (once.touched, throughout.touched) == (1, 2) and said[1] in ("pond", "house", "kennel")
    assert text(encoder, once.passage) == f"the {said[1]} . it flies so the tree . not the pond ."
    assert text(encoder, throughout.passage) == f"the {said[1]} . it flies so the {said[1]} . not the pond ."
    assert once.passage[1].origin == -1 and once.passage[0].origin == 0


def test_a_wrong_choice_becomes_another_wrong_one_never_the_right_one(encoder):
    found = set()
    for number in range(20):
        rows = rows_of(encoder, example(f"w{number}", "bird", "tree", "it lives in the pond , not in a house ."))
        made = apply(rows, "mistake")
        said = text(encoder, made.passage).split()
        assert made.touched == 1 and said[:4] == "it lives in the".split() and said[5:] == ", not in a house .".split()
        found.add(said[4])
    assert found == {"house", "kennel"}


def test_what_cannot_be_made_leaves_the_rationale_as_it_is(encoder):
    rows = rows_of(encoder, example("n", "cat", "house", "it has wings ."), example("e", "cat", "pond", None), types=())
    for name in ("mistake", "mistakes", "wrong_type", "swap_same", "swap_other", "strip_labels"):
        found = apply(rows, name)
        assert found.touched == 0 and ids(found.passage) == ids(rows.passage(0)), name
    for name in PERTURBATIONS.names():
        assert apply(rows, name, index=1).passage == () and apply(rows, name, index=1).touched == 0


def test_the_type_is_changed_wherever_it_stands(encoder):
    rows = rows_of(
        encoder, example("t", "dog", "tree", "the bird is a bird . the fish swims ."), types=("bird", "fish", "cat")
    )
    found = apply(rows, "wrong_type")
    said = text(encoder, found.passage).split()
    assert (
        found.touched == 2
        and said[1] in ("fish", "cat")
        and " ".join(said) == f"the {said[1]} is a {said[1]} . the fish swims ."
    )


def test_swaps_take_the_rationale_of_the_same_or_of_another_answer(rows):
    # Only e1 and e5 have the same answer, tree.
    assert ids(apply(rows, "swap_same").passage) == ids(rows.passage(4)) and apply(rows, "swap_same").touched == 13
    assert apply(rows, "swap_same", index=1).touched == 0
    for index in range(5):
        other = ids(apply(rows, "swap_other", index=index).passage)
        donors = {i for i in range(5) if ids(rows.passage(i)) == other}
        assert donors and not donors & ({0, 4} if index in (0, 4) else {index})


def test_stripping_takes_every_choice_and_nothing_else(rows, encoder):
    found = apply(rows, "strip_labels")
    assert text(encoder, found.passage) == "it has wings . it flies so it lives in the ." and found.touched == 1


def test_a_paraphrase_takes_the_place_of_the_whole_and_is_made_only_where_there_is_one(rows, encoder):
    other = encoder.read("a bird flies to the tree")
    told = PerturbationRows(rows.corpus, rows.unigrams, rows.types, 3, (other, ()))
    assert apply(told, "paraphrase").passage == other and apply(told, "paraphrase").touched == 13
    assert (
        apply(told, "paraphrase", index=1).passage == rows.passage(1)
        and apply(told, "paraphrase", index=1).touched == 0
    )
    same = PerturbationRows(rows.corpus, rows.unigrams, rows.types, 3, rows.corpus.passages)
    assert apply(same, "paraphrase").passage == rows.passage(0) and apply(same, "paraphrase").touched == 0
    assert apply(rows, "paraphrase").touched == 0 and "paraphrase" not in checked_tests((), generated=True)
    assert checked_tests(("paraphrase",), generated=False) == ("paraphrase",)


def test_tests_are_named_in_one_order_and_unknown_ones_are_told():
    assert checked_tests(("shuffle", "truncate", "shuffle"), generated=False) == ("truncate", "shuffle")
    assert set(checked_tests((), generated=True)) - set(checked_tests((), generated=False)) == {"wrong_type"}
    with pytest.raises(UsageError, match="needs a generated task"):
        checked_tests(("wrong_type",), generated=False)
    with pytest.raises(UnknownName) as caught:
        checked_tests(("shufle",), generated=True)
    assert "shuffle" in caught.value.hint


def test_written_ids_become_a_passage_of_the_same_ids_with_their_words(encoder, examples):
    read = encoder.read(examples[0].rationale)
    assert encoder.passage([token.id for token in read]) == read
    assert encoder.passage([]) == () and all(isinstance(token, Token) for token in read)

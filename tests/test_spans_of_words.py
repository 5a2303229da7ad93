"""Words by character: the same words as the tokens', whatever white space stands between them."""

import pytest

from cotdistill.keytokens.spans import ranges_of, touched, word_spans

TEXT = "It  has wings.\n  the bird's nest -- it flies"


def test_words_stand_where_they_stand_in_the_text():
    assert [TEXT[a:b] for a, b in word_spans(TEXT)] == [
        "It",
        "has",
        "wings",
        ".",
        "the",
        "bird's",
        "nest",
        "--",
        "it",
        "flies",
    ]
    assert word_spans("") == word_spans(" \n") == []


@pytest.mark.parametrize("text", [TEXT, "a ,b", "it lives in the tree ."])
def test_the_number_of_a_word_is_the_one_its_tokens_bear(encoder, text):
    passage = encoder.read(text)
    spans = word_spans(text)
    assert [text[slice(*spans[token.word])] for token in passage] == [token.text for token in passage]


def test_a_range_touches_every_word_that_it_shares_a_character_with():
    spans = word_spans(TEXT)
    assert touched(spans, [(8, 9)]) == {2}
    assert touched(spans, [(5, 14)]) == {1, 2, 3}
    assert touched(spans, [(2, 4), (13, 14)]) == {3}
    assert touched(spans, []) == set()


def test_chosen_words_are_kept_as_ranges_and_found_again():
    spans = word_spans(TEXT)
    assert ranges_of(spans, [5, 2, 2]) == ((8, 13), (21, 27))
    assert touched(spans, ranges_of(spans, [5, 2])) == {2, 5}

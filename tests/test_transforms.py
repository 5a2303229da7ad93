"""Transforms on ids, against results worked out by hand."""

from collections import Counter

import pytest

from cotdistill.rationales.conditions import parse
from cotdistill.rationales.passage import units
from cotdistill.rationales.selection import Selection
from cotdistill.rationales.transforms import TRANSFORMS, Draw
from tests.conftest import example


def rewritten(encoder, examples, index, text, seed=0, epoch=0):
    corpus = encoder.corpus(examples)
    return parse(text).rewrite(corpus.passages[index], Draw.of(corpus, index, seed, epoch))


def texts(encoder, tokens):
    return [encoder.piece(t.id).strip() for t in tokens]


@pytest.mark.parametrize("unit", ["token", "word", "sentence"])
def test_shuffling_keeps_every_token_and_changes_their_order(encoder, examples, unit):
    intact = encoder.corpus(examples).passages[0]
    moved = [rewritten(encoder, examples, 0, f"post_cot/shuffle(unit={unit})", seed) for seed in range(5)]
    assert all(Counter(t.id for t in m) == Counter(t.id for t in intact) for m in moved)
    assert any([t.id for t in m] != [t.id for t in intact] for m in moved)


def test_shuffling_sentences_keeps_each_sentence_whole(encoder, examples):
    whole = {tuple(t.id for t in part) for part in units(encoder.corpus(examples).passages[0], "sentence")}
    moved = next(
        m
        for s in range(9)
        if (m := rewritten(encoder, examples, 0, "post_cot/shuffle(unit=sentence)", s))[0].sentence == 1
    )
    assert {tuple(t.id for t in part) for part in units(moved, "sentence")} == whole


def test_half_a_shuffle_leaves_at_least_half_in_place(encoder, examples):
    moved = rewritten(encoder, examples, 1, "post_cot/shuffle(fraction=0.5)")
    assert sum(t.origin == i for i, t in enumerate(moved)) >= len(moved) // 2


def test_the_same_seed_draws_the_same_and_another_epoch_draws_anew(encoder, examples):
    one = rewritten(encoder, examples, 1, "post_cot/shuffle")
    assert one == rewritten(encoder, examples, 1, "post_cot/shuffle")
    assert one != rewritten(encoder, examples, 1, "post_cot/shuffle", epoch=1)


def test_a_masked_token_is_context_and_not_predicted_unless_all_are_masked(encoder, examples):
    half = rewritten(encoder, examples, 1, "post_cot/mask(fraction=0.5)")
    masked = [t for t in half if t.id == encoder.symbol_id("_")]
    assert len(masked) == round(0.5 * len(half))
    assert not any(t.loss for t in masked)
    assert all(t.loss for t in half if t not in masked)
    assert all(t.loss for t in rewritten(encoder, examples, 1, "post_cot/mask(fraction=1.0)"))


def test_dropping_a_quarter_of_eight_tokens_leaves_six_in_order(encoder, examples):
    kept = rewritten(encoder, examples, 2, "post_cot/drop(fraction=0.25)")
    assert len(encoder.corpus(examples).passages[2]) == 7
    assert len(kept) == 7 - round(0.25 * 7)
    assert [t.origin for t in kept] == sorted(t.origin for t in kept)


def test_truncation_keeps_the_named_end(encoder, examples):
    assert texts(encoder, rewritten(encoder, examples, 3, "post_cot/truncate(keep=first,fraction=0.5)")) == [
        "one",
        "of",
        "the",
    ]
    assert texts(encoder, rewritten(encoder, examples, 3, "post_cot/truncate(keep=last,fraction=0.5)")) == [
        "red",
        "kennel",
        ".",
    ]


def test_a_swap_is_a_derangement_that_keeps_to_its_rule(encoder, examples):
    corpus = encoder.corpus(examples)
    for seed in range(10):
        partners = [corpus.partner(i, "other_label", seed) for i in range(5)]
        assert sorted(p for p in partners if p is not None) == list(range(5))
        assert all(examples[i].answer_text != examples[p].answer_text for i, p in enumerate(partners) if p is not None)
    assert [corpus.partner(i, "same_label", 0) for i in range(5)] == [4, None, None, None, 0]


def test_a_swap_never_takes_a_paraphrase_of_the_same_cluster(encoder):
    rows = [example(f"e{i}", "bird", "tree", "it flies .", cluster="c1" if i < 2 else "c2") for i in range(4)]
    corpus = encoder.corpus(rows)
    assert {(i < 2) == (corpus.partner(i, "any", s) < 2) for i in range(4) for s in range(5)} == {False}


def test_random_tokens_have_the_same_length_and_come_from_the_rationales(encoder, examples):
    drawn = rewritten(encoder, examples, 0, "post_cot/random_tokens")
    corpus = encoder.corpus(examples)
    assert len(drawn) == len(corpus.passages[0])
    assert {t.id for t in drawn} <= set(corpus.unigrams.tolist())
    assert all(t.origin == -1 for t in drawn)


def test_k_random_words_stay_in_the_order_of_the_text_and_a_share_counts_too(encoder, examples):
    kept = rewritten(encoder, examples, 0, "post_cot/random_k(k=3)")
    assert len(kept) == 3 and [t.origin for t in kept] == sorted(t.origin for t in kept)
    assert len(rewritten(encoder, examples, 0, "post_cot/random_k(k=0.5)")) == round(
        0.5 * len(encoder.corpus(examples).passages[0])
    )
    assert len(rewritten(encoder, examples, 3, "post_cot/random_k(k=99)")) == 6


def test_content_and_function_words_share_out_the_text(encoder, examples):
    content = rewritten(encoder, examples, 3, "post_cot/content_words")
    function = rewritten(encoder, examples, 3, "post_cot/function_words")
    assert texts(encoder, content) == ["red", "kennel"]
    assert texts(encoder, function) == ["one", "of", "the", "."]


def test_the_label_alone_or_everything_but_the_choices(encoder, examples):
    assert texts(encoder, rewritten(encoder, examples, 1, "post_cot/label_text_only")) == ["pond"]
    assert "tree" not in texts(encoder, rewritten(encoder, examples, 0, "post_cot/strip_labels"))
    assert texts(encoder, rewritten(encoder, examples, 3, "post_cot/strip_labels")) == ["one", "of", "the", "red", "."]


@pytest.mark.parametrize("name", TRANSFORMS.names())
def test_every_transform_takes_an_empty_and_a_one_word_rationale(encoder, name):
    rows = [example("a", "cat", "house", "house"), example("b", "dog", "kennel", None)]
    condition = parse(f"post_cot/{name}")
    corpus = encoder.corpus(rows, {name: Selection(name) for name in condition.selectors})
    for index in range(2):
        # Pause tokens are as many as they are, whatever stood there.
        longest = 10 if name == "pause" else 2 if name == "insert" else 1
        assert len(condition.rewrite(corpus.passages[index], Draw.of(corpus, index, 0))) <= longest

"""Examples as a student reads them: words, sentences and pieces of every token, whatever the text holds."""

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from cotdistill.errors import SequenceTooLong, UnknownName
from cotdistill.rationales.conditions import parse
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.saliency.reading import read_example
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.template import Template

HARD = (
    ("markup", "<script>alert('x')</script> & <b>bold</b>"),
    ("control characters", "a\x00b \x07 c\x1b[31m d\u2028e"),
    ("right to left", "שלום עולם and مرحبا"),
    ("emoji", "a 👩‍👩‍👧 family 🎉🎉 and ☃️"),
    ("a replacement character", "odd \ufffd sign"),
    ("special tokens spelled out", "<eos> and <pad>"),
)


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory):
    """A byte-level tokenizer that knows single bytes and a few merges, as GPT-2's does."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the cat sat on the mat because it was the best"] * 20, trainer)
    path = tmp_path_factory.mktemp("bytes") / "tokenizer.json"
    tokenizer.save(str(path))
    return Encoder(path, Template())


def of(question="What is it?", rationale="It is. It is so.", answer="A"):
    return Example(
        "e",
        question,
        (Choice("A", "cat"), Choice("B", "the best mat")),
        answer,
        "dev",
        rationale,
        "teacher",
        cluster="c",
    )


def test_a_reading_is_the_training_sequence_of_its_placement(encoder, examples):
    for name in ("label_only", "pre_cot", "post_cot"):
        placement = PLACEMENTS.get(name)
        reading = read_example(encoder, examples[0], placement)
        (trained,) = encoder.sequences(encoder.corpus(examples), 0, parse(name), 0)
        assert reading.ids.tolist() == trained.ids.tolist()
        assert reading.segments.tolist() == trained.segments.tolist()
        assert reading.origin.tolist() == trained.origin.tolist()
        assert reading.pieces[reading.label_at] == " tree"


def test_the_label_reads_the_rationale_only_where_it_stands_behind_it(encoder, examples):
    readable = {
        name: read_example(encoder, examples[0], PLACEMENTS.get(name)).label_reads_rationale
        for name in PLACEMENTS.names()
    }
    assert readable == {
        "undistilled": False,
        "label_only": False,
        "pre_cot": True,
        "post_cot": False,
        "multitask": False,
        "mixed": False,
    }
    assert read_example(encoder, examples[0], PLACEMENTS.get("mixed"), sequence="rationale").label_reads_rationale


def test_words_and_sentences_are_numbered_over_the_whole_sequence(encoder, examples):
    reading = read_example(encoder, examples[0], PLACEMENTS.get("pre_cot"))
    rationale = reading.columns("rationale")
    # "it has wings . it flies so it lives in the tree ."
    assert [
        reading.word_texts[w] for w in reading.words[rationale]
    ] == "it has wings . it flies so it lives in the tree .".split()
    sentences = reading.sentences[rationale]
    assert (sentences - sentences[0]).tolist() == [0] * 4 + [1] * 9
    assert (np.diff(reading.words) >= 0).all() and (np.diff(reading.sentences) >= 0).all()


@pytest.mark.parametrize(("what", "text"), HARD, ids=[what for what, _ in HARD])
def test_the_pieces_spell_the_text_whatever_it_holds(byte_level, what, text):
    reading = read_example(byte_level, of(question=text, rationale=text), PLACEMENTS.get("pre_cot"))
    told = "".join(reading.pieces[c] for c in reading.columns("question"))
    assert told == f"Question: {text}"
    assert "".join(reading.pieces[c] for c in reading.columns("rationale")).split() == text.split()


def test_bytes_of_one_character_are_one_word_and_shown_once(byte_level):
    reading = read_example(byte_level, of(rationale="so é 🎉 then"), PLACEMENTS.get("post_cot"))
    columns = reading.columns("rationale")
    words = [reading.word_texts[w] for w in reading.words[columns]]
    assert list(dict.fromkeys(words)) == ["so", "é", "🎉", "then"]
    party = [reading.pieces[c] for c, word in zip(columns, words, strict=True) if word == "🎉"]
    assert len(party) > 1 and "".join(party).strip() == "🎉" and party[-1] == ""


def test_an_empty_rationale_leaves_the_label_only_sequence(byte_level):
    one = read_example(byte_level, of(rationale=""), PLACEMENTS.get("post_cot"))
    other = read_example(byte_level, of(), PLACEMENTS.get("label_only"))
    assert one.ids.tolist() == other.ids.tolist() and not len(one.columns("rationale"))


def test_a_rationale_of_two_thousand_tokens_is_cut_to_what_the_student_reads(byte_level):
    long = of(rationale=" ".join(["cat"] * 2000))
    reading = read_example(byte_level, long, PLACEMENTS.get("pre_cot"), limit=200)
    whole = read_example(byte_level, long, PLACEMENTS.get("pre_cot"))
    # The longest choice must fit, too: "the best mat" is longer than "cat".
    spare = len(reading.choices[1]) - len(reading.choices[0])
    assert len(reading) == 200 - spare and reading.left_out == len(whole) - len(reading) > 1800
    assert reading.pieces[reading.label_at] == " cat"


def test_a_question_that_leaves_no_room_is_refused_in_words(byte_level):
    with pytest.raises(SequenceTooLong, match="the student reads 100"):
        read_example(byte_level, of(question="word " * 500), PLACEMENTS.get("pre_cot"), limit=100)


def test_a_metric_that_does_not_exist_answers_with_those_that_do(byte_level):
    with pytest.raises(UnknownName, match="per_bite"):
        read_example(byte_level, of(), PLACEMENTS.get("pre_cot"), metric="per_bite")

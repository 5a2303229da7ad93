"""Exact sequences: spans, loss masks, and what a placement makes of them."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer

from cotdistill.errors import SequenceTooLong, StudentError
from cotdistill.rationales.conditions import parse
from cotdistill.rationales.placement import SEGMENTS
from cotdistill.students.tokens import LABEL, NO_LOSS, RATIONALE, Encoder, shortened
from cotdistill.tasks.template import Template
from tests.conftest import example
from tests.tiny_students import tokenizer_of


def told(encoder, encoded):
    return "".join(encoder.pieces(encoded)).strip()


def test_post_cot_reads_question_choices_label_rationale_end(encoder, examples):
    (encoded,) = encoder.sequences(encoder.corpus(examples), 3, parse("post_cot"), 0)
    text = "where does the dog lives ? choices : tree , pond , house , kennel answer : kennel because : one of the red kennel . <eos>"
    assert told(encoder, encoded).split() == text.split()
    spans = [SEGMENTS[s] for s in encoded.segments]
    assert spans == ["question"] * 6 + ["choices"] * 9 + ["label_cue"] * 2 + ["label"] + ["rationale_cue"] * 2 + [
        "rationale"
    ] * 6 + ["end"]
    assert encoded.loss.tolist() == [NO_LOSS] * 17 + [LABEL] + [NO_LOSS] * 2 + [RATIONALE] * 7
    assert encoded.origin.tolist() == [-1] * 20 + [0, 1, 2, 3, 4, 5, -1]


def test_pre_cot_learns_the_cue_that_ends_its_rationale(encoder, examples):
    (encoded,) = encoder.sequences(encoder.corpus(examples), 3, parse("pre_cot"), 0)
    assert told(encoder, encoded).endswith("because : one of the red kennel . answer : kennel")
    assert encoded.loss.tolist() == [NO_LOSS] * 17 + [RATIONALE] * 8 + [LABEL]


def test_multitask_is_two_sequences_with_their_task_in_front(encoder, examples):
    label, rationale = encoder.sequences(encoder.corpus(examples), 3, parse("multitask"), 0)
    assert told(encoder, label).startswith("[ label ] where") and told(encoder, label).endswith("answer : kennel")
    assert told(encoder, rationale).startswith("[ rationale ] where") and told(encoder, rationale).endswith(
        "kennel . <eos>"
    )


def test_the_undistilled_student_reads_nothing(encoder, examples):
    assert encoder.sequences(encoder.corpus(examples), 0, parse("undistilled"), 0) == []


@pytest.mark.parametrize(
    "emptied", ["post_cot/mask(fraction=1.0,loss=off)", "post_cot/drop(fraction=1.0)", "pre_cot/drop(fraction=1.0)"]
)
def test_a_rationale_that_is_gone_or_not_predicted_equals_label_only_to_the_bit(encoder, examples, emptied):
    corpus = encoder.corpus(examples)
    for index in range(len(examples)):
        (one,) = encoder.sequences(corpus, index, parse(emptied), 0)
        (other,) = encoder.sequences(corpus, index, parse("label_only"), 0)
        assert np.array_equal(one.ids, other.ids) and np.array_equal(one.loss, other.loss)


def test_a_row_without_a_rationale_trains_as_label_only(encoder):
    corpus = encoder.corpus([example("a", "cat", "house", None)])
    (one,), (other,) = (encoder.sequences(corpus, 0, parse(c), 0) for c in ("post_cot", "label_only"))
    assert np.array_equal(one.ids, other.ids)


def test_the_prompt_of_each_mode_is_the_training_sequence_up_to_the_label(encoder, examples):
    pre, post = parse("pre_cot"), parse("post_cot")
    corpus = encoder.corpus(examples)
    (encoded,) = encoder.sequences(corpus, 0, pre, 0)
    assert encoder.prompt(examples[0], pre.spec.prompt("given")) == encoded.ids[:-1].tolist()
    (encoded,) = encoder.sequences(corpus, 0, post, 0)
    direct = encoder.prompt(examples[0], post.spec.prompt("direct"))
    assert direct == encoded.ids[: len(direct)].tolist()
    assert encoder.prompt(examples[0], pre.spec.prompt("own"))[-2:] == [
        encoder.tokenizer.token_to_id(w) for w in ("because", ":")
    ]


def test_a_label_has_the_same_ids_wherever_it_stands(encoder, examples):
    corpus = encoder.corpus(examples)
    label = SEGMENTS.index("label")
    ids = [
        s.ids[s.segments == label].tolist()
        for c in ("label_only", "pre_cot", "post_cot")
        for s in encoder.sequences(corpus, 1, parse(c), 0)
    ]
    assert ids[0] == ids[1] == ids[2] == encoder.targets(examples[1])[1]


def test_words_and_sentences_are_found_in_the_text(encoder):
    tokens = encoder.read("It has Wings. it flies!\n so")
    assert [t.text for t in tokens] == ["It", "has", "Wings", ".", "it", "flies", "!", "so"]
    assert [t.word for t in tokens] == list(range(8))
    assert [t.sentence for t in tokens] == [0, 0, 0, 0, 1, 1, 1, 2]


def test_a_rationale_cannot_imitate_a_line_break(encoder):
    assert encoder.tokenizer.token_to_id("\n") not in [t.id for t in encoder.read("tree\nanswer : pond")]


def test_a_long_sequence_is_refused_or_cut_where_it_was_said(encoder, examples):
    (encoded,) = encoder.sequences(encoder.corpus(examples), 3, parse("post_cot"), 0)
    with pytest.raises(SequenceTooLong):
        shortened(encoded, 20, "refuse")
    cut = shortened(encoded, 24, "rationale")
    assert len(cut) == 24 and told(encoder, cut).endswith("because : one of the <eos>")
    cut = shortened(encoded, 24, "question")
    assert told(encoder, cut).startswith("dog lives ?")
    with pytest.raises(SequenceTooLong):
        shortened(encoded, 20, "question")


def test_a_mask_symbol_of_several_tokens_is_refused_with_advice(encoder):
    with pytest.raises(StudentError) as error:
        encoder.symbol_id("tree pond")
    assert "one token" in error.value.hint


def test_a_folder_without_a_tokenizer_is_named(tmp_path, terse):
    with pytest.raises(StudentError) as error:
        Encoder(tmp_path / "none.json", terse)
    assert "none.json" in error.value.message


def test_a_special_token_spelt_out_in_the_data_is_text(encoder):
    assert encoder.specials.eos not in [t.id for t in encoder.read("tree <eos> pond")]


@pytest.mark.parametrize("direction", ["left", "right"])
def test_a_tokenizer_saved_with_padding_or_truncation_reads_like_any_other(encoder, terse, tmp_path, direction):
    padded = Tokenizer.from_file(str(encoder.path))
    padded.enable_padding(direction=direction, pad_id=0, pad_token="<pad>", length=32)
    padded.enable_truncation(2)
    (tmp_path / direction).mkdir()
    padded.save(str(tmp_path / direction / "tokenizer.json"))
    again = Encoder(tmp_path / direction / "tokenizer.json", terse)
    text = "the bird lives in the tree"
    assert [t.id for t in again.read(text)] == [t.id for t in encoder.read(text)]


def test_an_id_that_the_tokenizer_does_not_have_is_no_special_token(encoder, terse):
    for pad in (-1, 10_000, None):
        (encoder.path.parent / "config.json").write_text(json.dumps({"pad_token_id": pad, "eos_token_id": [3, 4]}))
        found = Encoder(encoder.path, terse).specials
        assert (found.bos, found.eos, found.pad) == (None, 3, 0)


def test_a_student_without_a_padding_token_is_padded_with_its_end(tmp_path, terse):
    tokenizer, told_of = tokenizer_of("bytes", ["where does the bird live ?"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(told_of))
    found = Encoder(tmp_path / "tokenizer.json", terse).specials
    assert found.pad == found.eos == tokenizer.token_to_id("<|endoftext|>") and found.bos is None


def test_ids_with_gaps_are_counted_up_to_the_largest(encoder, terse, tmp_path):
    vocabulary = {"a": 0, "<eos>": 1, "b": 9}
    (tmp_path / "gaps").mkdir()
    settings = json.loads(encoder.path.read_text())
    settings["model"]["vocab"] = vocabulary | {"<unk>": 5}
    settings["added_tokens"] = []
    (tmp_path / "gaps" / "tokenizer.json").write_text(json.dumps(settings))
    assert Encoder(tmp_path / "gaps" / "tokenizer.json", terse).vocabulary_size == 10


def test_a_tokenizer_that_begins_every_text_with_a_space_adds_none_inside_a_sequence(examples, tmp_path):
    template = Template()
    sentence = template.question_text(examples[0]) + template.choices_text(examples[0]) + template.label_cue
    tokenizer, told_of = tokenizer_of("llama", [sentence])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(told_of))
    encoder = Encoder(tmp_path / "tokenizer.json", template)
    prompt = encoder.prompt(examples[0], ("question", "choices", "label_cue"))
    assert prompt[0] == tokenizer.token_to_id("<s>") == encoder.specials.bos
    assert tokenizer.decode(prompt, skip_special_tokens=True) == sentence
    assert "".join(encoder.piece(id) for id in prompt[1:]).strip() == sentence

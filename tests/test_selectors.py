"""What scores the tokens of rationales: by hand where words decide, against the student where it does."""

import dataclasses
import importlib.util
import math

import numpy as np
import pytest
import torch

from cotdistill.errors import DataError, GrammarError, UnknownName, UsageError
from cotdistill.keytokens import texts
from cotdistill.keytokens.selectors import SELECTORS, SelectInput, parse_selector
from cotdistill.rationales.conditions import parse
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.saliency.attribution import attribute
from cotdistill.saliency.influence import Aligner
from cotdistill.saliency.settings import AttributionSettings
from cotdistill.students.loading import new_built_in
from cotdistill.students.models import BuiltIn
from cotdistill.students.reader import Forward
from tests import conftest

TINY = BuiltIn("tiny", "for tests", layers=2, width=16, heads=2, positions=128)


@pytest.fixture
def model(words):
    torch.manual_seed(0)
    found = new_built_in(TINY, len(words), seed=3)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return found.eval()


@pytest.fixture
def given(encoder, examples, model):
    def make(placement="pre_cot", **more):
        corpus = encoder.corpus(examples)
        sequences = [encoder.sequences(corpus, i, parse(placement), 0)[0] for i in range(len(examples))]
        return SelectInput(
            encoder, examples, corpus.passages, placement=PLACEMENTS.get(placement), sequences=sequences, dev=examples[3:],
            student=lambda share: model, counts=np.ones(52, int), **more,
        )  # fmt: skip

    return make


def by_word(given, scores, index=0):
    words = [t.text for t in given.passages[index]]
    return dict(zip(words, scores[given.examples[index].id], strict=True))


def test_a_selector_is_read_with_its_option():
    assert parse_selector("tf_idf")[0].name == "tf_idf"
    assert parse_selector("vectors:/tmp/glove.txt")[1] == "/tmp/glove.txt"
    assert (
        parse_selector("influence") == (SELECTORS.get("influence"), "") and parse_selector("influence:0.5")[1] == "0.5"
    )
    assert parse("post_cot/key_tokens(selector=vectors:/a/b.txt,k=3)").selectors == ["vectors:/a/b.txt"]
    for text, error in {
        "tfidf": UnknownName,
        "tf_idf:5": GrammarError,
        "vectors": GrammarError,
        "vectors:": GrammarError,
        "human": GrammarError,
    }.items():
        with pytest.raises(error):
            parse_selector(text)


def test_tf_idf_weighs_what_is_frequent_here_and_rare_elsewhere(given):
    one = given()
    scores = by_word(one, SELECTORS.get("tf_idf").compute(one))
    # "wings" stands in one of five rationales, "it" three times here and in one other, "the" in all.
    assert (
        scores["wings"] == pytest.approx(math.log(5))
        and scores["it"] == pytest.approx(3 * math.log(5 / 2))
        and scores["the"] == 0
    )


def test_pmi_tells_which_words_go_with_the_answer(given):
    one = given()
    scores = by_word(one, SELECTORS.get("pmi").compute(one))
    # "tree" stands in both rationales with the answer tree and in no other; "the" in all five.
    assert scores["tree"] == pytest.approx(math.log(2.5 * 5 / (3 * 2))) and scores["the"] == pytest.approx(
        math.log(2.5 * 5 / (6 * 2))
    )
    assert scores["tree"] == max(scores.values())


def test_random_scores_are_one_draw_a_word_and_follow_the_seed(given):
    one, other = given(seed=1), given(seed=2)
    first = SELECTORS.get("random").compute(one)
    assert first == SELECTORS.get("random").compute(given(seed=1)) != SELECTORS.get("random").compute(other)
    assert SELECTORS.get("random").draws and not SELECTORS.get("tf_idf").draws
    assert [len(first[e.id]) for e in one.examples] == [len(p) for p in one.passages]


@pytest.mark.parametrize("name", ["integrated_gradients", "input_x_gradient", "saliency", "occlusion"])
def test_attribution_selectors_score_the_rationale_for_the_right_answer_against_the_others(given, model, name):
    one = given()
    scores = SELECTORS.get(name).compute(one)
    settings = AttributionSettings(method=name, target="contrast", moves="rationale")
    direct = attribute(model, one.encoder, one.examples, one.placement, settings, one.counts)
    for example, passage, found in zip(one.examples, one.passages, direct, strict=True):
        columns = found.reading.columns("rationale")
        assert scores[example.id] == pytest.approx(found.scores[columns], abs=1e-6) and len(scores[example.id]) == len(
            passage
        )
    assert SELECTORS.get(name).reads == "pre_cot"


def test_influence_is_the_cosine_with_matched_minus_random_dev_questions(given, model, examples):
    one = given("post_cot")
    scores = SELECTORS.get("influence").compute(one)
    aligner = Aligner(model, one.encoder, one.placement, one.dev)
    direct = aligner.align(examples[0], one.sequences[0])
    assert direct.matched == 1
    assert scores["e1"] == pytest.approx(direct.cosine[1] - direct.cosine[2], abs=1e-6)
    # The fish has no dev question with its answer: its own question stands in.
    assert scores["e2"] == pytest.approx(aligner.align(examples[1], one.sequences[1]).cosine[0], abs=1e-6)


def test_influence_without_other_dev_questions_is_that_with_matched_ones(given, model, examples):
    one = dataclasses.replace(given("post_cot"), dev=examples[4:])
    scores = SELECTORS.get("influence").compute(one)
    direct = Aligner(model, one.encoder, one.placement, one.dev).align(examples[0], one.sequences[0])
    assert direct.matched == 1 and np.isnan(direct.cosine[2]).all()
    assert scores["e1"] == pytest.approx(direct.cosine[1], abs=1e-6) and any(scores["e1"])


def test_contrastive_scores_are_how_much_the_right_answer_raises_each_token(given, model, encoder, examples):
    one = given("post_cot")
    scores = SELECTORS.get("contrastive").compute(one)
    prompt = encoder.prompt(examples[0], ("question", "choices", "label_cue"))
    passage = [t.id for t in one.passages[0]]

    def told(choice):
        head = [*prompt, *choice, *encoder.cue("rationale_cue")]
        logits = model(torch.tensor([[*head, *passage]])).logits[0].log_softmax(-1)
        return np.array([float(logits[len(head) + i - 1, token].detach()) for i, token in enumerate(passage)])

    choices = encoder.targets(examples[0])
    expected = told(choices[0]) - np.mean([told(c) for c in choices[1:]], axis=0)
    assert scores["e1"] == pytest.approx(expected, abs=1e-4)


def test_contrastive_scores_do_not_depend_on_how_much_is_forwarded_at_once(given, monkeypatch):
    one = given("post_cot")
    whole = SELECTORS.get("contrastive").compute(one)
    monkeypatch.setattr("cotdistill.saliency.contrast.MEMORY_BYTES", 1)
    single = SELECTORS.get("contrastive").compute(one)
    assert list(single) == list(whole)
    for id, scores in whole.items():
        assert single[id] == pytest.approx(scores, abs=1e-5)


def test_contrastive_scores_end_where_the_student_reads_no_further(given, monkeypatch):
    one = given("post_cot")
    whole = SELECTORS.get("contrastive").compute(one)
    head = (
        len(one.encoder.prompt(one.examples[0], ("question", "choices", "label_cue")))
        + 1
        + len(one.encoder.cue("rationale_cue"))
    )

    def reading(limit):
        def reader(model):
            found = Forward(model)
            found.positions = limit
            return found

        monkeypatch.setattr("cotdistill.saliency.contrast.Forward", reader)
        return SELECTORS.get("contrastive").compute(one)["e1"]

    cut = reading(head + 4)
    assert cut[:4] == pytest.approx(whole["e1"][:4], abs=1e-5) and not any(cut[4:]) and len(cut) == len(whole["e1"])
    assert not any(reading(3))


def test_similarity_is_the_cosine_of_the_students_own_embeddings(given, model, encoder, examples):
    one = given()
    scores = by_word(one, SELECTORS.get("similarity").compute(one))
    table = model.get_input_embeddings().weight.detach().numpy()
    whole = table[[t.id for t in encoder.read(f"{examples[0].question} {examples[0].answer_text}")]].mean(0)
    wings = table[encoder.tokenizer.token_to_id("wings")]
    assert scores["wings"] == pytest.approx(
        float(wings @ whole / np.linalg.norm(wings) / np.linalg.norm(whole)), abs=1e-5
    )


@pytest.mark.parametrize("head", ["", "3 2\n"], ids=["glove", "word2vec"])
def test_vectors_come_from_a_text_file_of_either_form(given, tmp_path, head):
    path = tmp_path / "v.txt"
    path.write_text(f"{head}Wings 1 0\ntree 1 0\nbird 1 1\nunheard 5 5\n", encoding="utf-8")
    one = given(option=str(path))
    scores = by_word(one, SELECTORS.get("vectors").compute(one))
    # Question and answer: bird (1, 1) and tree (1, 0), mean (1, .5); wings and tree lie at the same angle to it; "flies" has no vector.
    assert scores["wings"] == scores["tree"] == pytest.approx(1 / math.hypot(1, 0.5)) and scores["flies"] == 0


def test_words_of_a_vector_file_may_hold_spaces(given, tmp_path):
    path = tmp_path / "v.txt"
    path.write_text("wings 1 0\n. . . 5 5\ntree 0 1\n", encoding="utf-8")
    assert set(texts.read_vectors(str(path), {"wings", "tree"})) == {"wings", "tree"}


def test_words_are_told_apart_for_vectors_as_for_tokens():
    wanted = texts.vocabulary([conftest.example("e1", "bird", "tree", "A well-known and/or tree's nest, it flies.")])
    assert {"well", "known", "and", "or", "tree's", "nest", "flies"} <= wanted and not wanted & {
        "",
        ".",
        "well-known",
        "andor",
    }


def test_vectors_that_cannot_be_read_say_where(given, tmp_path):
    path = tmp_path / "v.txt"
    for text, told in {
        "a 1 2\nb 1\n": "line 2 has 1 numbers", "the 1 2\na x y\n": "line 2 cannot be read", "a nan 1\n": "line 1 .* finite",
        "zebra 1 2\n": "none of the",
        "": "none of the", "a\n": "expected some",
    }.items():  # fmt: skip
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=told):
            SELECTORS.get("vectors").compute(given(option=str(path)))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError):
        SELECTORS.get("vectors").compute(given(option=str(path)))
    with pytest.raises(UsageError, match="no file"):
        SELECTORS.get("vectors").compute(given(option="/nowhere/v.txt"))


@pytest.mark.skipif(importlib.util.find_spec("gensim") is not None, reason="gensim is installed")
def test_without_gensim_word2vec_says_how_to_get_it(given):
    with pytest.raises(UsageError, match="needs gensim") as caught:
        SELECTORS.get("word2vec").compute(given())
    assert "requirements-keytokens.txt" in caught.value.hint


@pytest.mark.skipif(importlib.util.find_spec("gensim") is None, reason="gensim is an optional extra and not installed")
def test_word2vec_is_the_same_every_time(given):
    one = given()
    assert SELECTORS.get("word2vec").compute(one) == SELECTORS.get("word2vec").compute(one)


@pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None,
    reason="sentence-transformers is an optional extra and not installed",
)
@pytest.mark.filterwarnings("default")
def test_a_sentence_transformers_folder_gives_cosines_of_its_own_vectors(given, tmp_path, monkeypatch):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    names = ["[PAD]", "[UNK]", "bird", "tree", "wings", "flies"]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(tmp_path)
    bert = BertModel(
        BertConfig(
            vocab_size=len(names),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=64,
        )
    ).eval()
    bert.save_pretrained(tmp_path)
    one = given(option=str(tmp_path))

    def mean(text):
        with torch.no_grad():
            return bert(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0].mean(0).numpy()

    scores = by_word(one, SELECTORS.get("sentence_transformer").compute(one))
    whole, wings = mean(f"{one.examples[0].question} {one.examples[0].answer_text}"), mean("wings")
    assert scores["wings"] == pytest.approx(
        float(whole @ wings / np.linalg.norm(whole) / np.linalg.norm(wings)), abs=1e-5
    )
    with pytest.raises(UsageError, match="cannot be loaded"):
        SELECTORS.get("sentence_transformer").compute(given(option=str(tmp_path / "nowhere")))


@pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is not None, reason="sentence-transformers is installed"
)
def test_without_sentence_transformers_the_selector_says_how_to_get_it(given):
    with pytest.raises(UsageError, match="not installed"):
        SELECTORS.get("sentence_transformer").compute(given(option="all-MiniLM-L6-v2"))


def test_human_marks_count_one_and_the_rest_nothing(given):
    one = given(option="ann", marks={"e1": frozenset({2, 5}), "e2": frozenset()})
    scores = SELECTORS.get("human").compute(one)
    assert (
        set(scores) == {"e1", "e2"} and [i for i, s in enumerate(scores["e1"]) if s] == [2, 5] and not any(scores["e2"])
    )
    for marks, error in (({}, UsageError), ({"x": frozenset({1})}, UsageError), ({"e1": frozenset({99})}, DataError)):
        with pytest.raises(error):
            SELECTORS.get("human").compute(given(option="ann", marks=marks))


def test_a_word_shares_its_score_out_over_its_tokens(encoder, examples):
    passage = encoder.corpus(examples).passages[3]  # one of the red kennel .
    joined = tuple(dataclasses.replace(t, word=min(t.word, 4), text="x" if t.word >= 4 else t.text) for t in passage)
    assert texts.shared_out(joined, lambda word: 6.0 if word == "x" else 1.0) == (1.0, 1.0, 1.0, 1.0, 3.0, 3.0)

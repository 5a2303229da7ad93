"""Tokenizers: the same for the same text, special tokens in their places, nothing of a prompt unknown."""

from tokenizers import Tokenizer

from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.template import Template
from cotdistill.tasks.vocabulary import SPECIALS, SYMBOL, literal_text, train_bpe, train_word, training_text

ROW = Example(
    "e",
    "Where do Birds sleep?",
    (Choice("A", "tree"), Choice("B", "pond")),
    "A",
    "train",
    "They nest in a tree, don't they?",
)
TEXTS = training_text([ROW], Template())


def tokens(tokenizer: Tokenizer, text: str) -> list[str]:
    return list(tokenizer.encode(text, add_special_tokens=False).tokens)


def test_special_tokens_come_first_in_both_kinds():
    for tokenizer in (train_word(TEXTS, [], minimum=1), train_bpe(TEXTS, [])):
        assert [tokenizer.token_to_id(name) for name in SPECIALS] == [0, 1, 2]


def test_the_mask_symbol_is_one_token_of_its_own():
    word, bpe = train_word(TEXTS, [], minimum=1), train_bpe(TEXTS, [])
    assert tokens(word, "a _ b")[1] == SYMBOL and tokens(word, "_") == [SYMBOL]
    assert bpe.encode("_").ids == [bpe.token_to_id(SYMBOL)]


def test_words_are_lower_case_and_punctuation_and_new_lines_stand_alone():
    tokenizer = train_word(TEXTS, [], minimum=1)
    assert tokens(tokenizer, "Birds, birds!") == ["birds", ",", "birds", "<unk>"]
    assert tokens(tokenizer, "tree\nAnswer:")[:2] == ["tree", "\n"]


def test_a_word_met_once_is_unknown_where_two_are_asked_for_unless_the_template_needs_it():
    tokenizer = train_word(["bird bird fish"], literal_text(Template()), minimum=2)
    assert tokens(tokenizer, "bird fish") == ["bird", "<unk>"]
    prompt = "Question: Choices: (A) (B) Answer: Because: [label] [rationale]"
    assert "<unk>" not in tokens(tokenizer, prompt)


def test_frequent_words_come_first_and_ties_by_the_alphabet():
    tokenizer = train_word(["b a c c"], [], minimum=1)
    assert [tokenizer.id_to_token(i) for i in range(4, 7)] == ["c", "a", "b"]


def test_bpe_reads_any_text_and_gives_it_back():
    tokenizer = train_bpe(TEXTS, literal_text(Template()))
    for text in ("ein Vögelchen 🐦 \t x", "Answer: tree", "\x00\x7f"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


def test_the_same_text_gives_the_same_tokenizer():
    for train in (train_word, train_bpe):
        assert train(TEXTS * 40, ["Answer:"]).to_str() == train(TEXTS * 40, ["Answer:"]).to_str()


def test_training_text_holds_the_prompt_every_possible_answer_and_the_rationale():
    assert TEXTS == [
        "Question: Where do Birds sleep?",
        "\nChoices: (A) tree (B) pond",
        "tree",
        "pond",
        "They nest in a tree, don't they?",
    ]
    assert "" in training_text([Example("x", "q", ROW.choices, "A", "train")], Template())

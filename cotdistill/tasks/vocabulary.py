"""Tokenizers trained once per task and source, on training text only, the same for every condition."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders
from tokenizers.models import BPE, WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.trainers import BpeTrainer

from cotdistill.tasks.example import Example
from cotdistill.tasks.template import Template

KINDS = ("word", "bpe")
# Padding, end and unknown have a role; the underscore is the symbol that masks a token.
SPECIALS = ("<pad>", "<eos>", "<unk>")
SYMBOL = "_"
WORDS = r"\n|\w+|[^\w\s]"
LARGEST_WORD_LEVEL = 16_384
LARGEST_BPE = 4_096


def training_text(examples: Sequence[Example], template: Template) -> list[str]:
    """Everything a student may read of some examples: prompts, answers, rationales."""
    texts = []
    for example in examples:
        texts += [
            template.question_text(example),
            template.choices_text(example),
            *template.target_texts(example),
            example.rationale or "",
        ]
    return texts


def literal_text(template: Template) -> list[str]:
    """The fixed parts of a template; a vocabulary without them could not ask."""
    parts = (
        template.label_cue,
        template.rationale_cue,
        template.label_task,
        template.rationale_task,
        template.choices,
        template.question,
        template.between,
        template.choice,
        *filter(None, (template.rationale_end,)),
    )
    letters = "A B C D E" if "{label}" in template.choice or template.target == "letter" else ""
    return [*(re.sub(r"\{\w+\}", "", part) for part in parts), letters]


def train_word(texts: Iterable[str], always: Iterable[str], *, minimum: int = 2) -> Tokenizer:
    """A lower-case word-level tokenizer: words met at least `minimum` times, the most frequent first, and all words of
    `always`.
    """
    counts = Counter(word for text in texts for word in re.findall(WORDS, text.lower()))
    fixed = list(dict.fromkeys(word for text in always for word in re.findall(WORDS, text.lower())))
    frequent = sorted((w for w, n in counts.items() if n >= minimum), key=lambda w: (-counts[w], w))
    words = list(dict.fromkeys([*SPECIALS, SYMBOL, *fixed, *frequent]))[:LARGEST_WORD_LEVEL]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Split(Regex(WORDS), "removed", invert=True)
    return tokenizer


def train_bpe(texts: Iterable[str], always: Iterable[str]) -> Tokenizer:
    """A byte-level BPE tokenizer: no text is unknown to it."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=LARGEST_BPE,
        special_tokens=[*SPECIALS],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
        max_token_length=24,
    )
    tokenizer.train_from_iterator([*texts, *always], trainer)
    tokenizer.add_tokens([AddedToken(SYMBOL, normalized=False)])
    return tokenizer

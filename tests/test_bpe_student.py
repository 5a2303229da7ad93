"""A student with GPT-2's own byte-level BPE, built here, saved, and loaded through from_pretrained: bytes become words again."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel

from cotdistill.config import StudentConfig
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.saliency import aggregates
from cotdistill.saliency.attribution import attribute
from cotdistill.saliency.methods import METHODS
from cotdistill.saliency.settings import AttributionSettings
from cotdistill.saliency.tables import token_table
from cotdistill.students.loading import load_student
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.template import Template

BPE = Path(os.environ.get("COTDISTILL_SHARED", Path(__file__).parents[2] / "shared")) / "data" / "gpt2_bpe"

pytestmark = pytest.mark.skipif(
    not BPE.is_dir(), reason="GPT-2's vocabulary (shared/data/gpt2_bpe) is not on this machine"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What save_pretrained leaves: weights, config and a fast tokenizer."""
    folder = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=50257, n_positions=128, n_embd=8, n_layer=2, n_head=2))
    with torch.no_grad():
        model.transformer.wte.weight.mul_(20)
    model.save_pretrained(folder)
    lines = (BPE / "vocab.bpe").read_text(encoding="utf-8").splitlines()[1:]
    merges = [tuple(line.split(" ")) for line in lines if line.strip()]
    tokenizer = Tokenizer(models.BPE(json.loads((BPE / "encoder.json").read_text(encoding="utf-8")), merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def student(folder):
    return load_student(StudentConfig(name=str(folder)), 50257, 0).eval(), Encoder(
        folder / "tokenizer.json", Template()
    )


HARD = Example(
    "q", "Where would Zoë's thingamajig be — in Tōkyō?", (Choice("A", "naïve café"), Choice("B", "東京")), "A", "dev",
    "It's an unbelievably naïve 🎉👩‍👩‍👧 place, 東京 isn't.", "teacher",
)  # fmt: skip


def test_the_vocabulary_is_gpt2s(student):
    _, encoder = student
    assert encoder.vocabulary_size == 50257 and encoder.tokenizer.encode(" hello world").ids == [23748, 995]
    assert encoder.specials.eos == 50256


def test_pieces_and_words_are_the_text_again(student):
    model, encoder = student
    for placement in ("pre_cot", "post_cot", "label_only"):
        (one,) = attribute(
            model,
            encoder,
            [HARD],
            PLACEMENTS.get(placement),
            AttributionSettings(method="saliency"),
            np.ones(50257, int),
        )
        reading = one.reading
        for segment, text in (
            ("question", f"Question: {HARD.question}"),
            ("rationale", HARD.rationale),
            ("label", "naïve café"),
        ):
            columns = reading.columns(segment)
            told = "".join(reading.pieces[c] for c in columns).strip()
            assert told == text or (segment == "rationale" and placement == "label_only" and not len(columns)), segment
        words = [reading.word_texts[w] for w in dict.fromkeys(reading.words[reading.columns("question")].tolist())]
        assert words == ["Question", ":", "Where", "would", "Zoë's", "thingamajig", "be", "—", "in", "Tōkyō", "?"]


@pytest.mark.parametrize("method", METHODS.names())
def test_tokens_of_a_word_add_up_to_its_score(student, method):
    model, encoder = student
    settings = AttributionSettings(method=method, target="contrast", samples=2, steps=8)
    (one,) = attribute(model, encoder, [HARD], PLACEMENTS.get("pre_cot"), settings, np.ones(50257, int))
    tokens = token_table([one])
    words = aggregates.words(tokens).set_index("word_text")["score"]
    mine = tokens[tokens["word_text"] == "thingamajig"]
    assert len(mine) > 1 and words["thingamajig"] == pytest.approx(mine["score"].sum())
    assert words.sum() == pytest.approx(np.nansum(one.scores), rel=1e-6)
    assert {"東京", "naïve"} <= set(words.index)

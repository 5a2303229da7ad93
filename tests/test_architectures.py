"""Every architecture takes the same path: loaded from its folder, trained, scored, asked for rationales, attributed, kept, opened again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from cotdistill.config import StudentConfig, TrainingConfig
from cotdistill.errors import StudentError
from cotdistill.rationales.conditions import parse
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.saliency.attribution import attribute
from cotdistill.saliency.settings import AttributionSettings
from cotdistill.students.batches import Stream, weighted
from cotdistill.students.loading import load_student, prepare_torch, read_tensors, save_weights, set_weights
from cotdistill.students.reader import Forward
from cotdistill.students.scoring.evaluation import choice_scores, score
from cotdistill.students.tokens import Encoder
from cotdistill.students.training import Hooks, Log, train
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.template import Template
from tests.tiny_students import ARCHITECTURES, build

PLACES = ("a tall green tree", "the small pond", "house", "an old wooden kennel")
ANIMALS = (
    ("bird", 0, "It has wings. It flies."),
    ("fish", 1, "It has fins and swims."),
    ("cat", 2, "It sleeps inside."),
    ("dog", 3, "It guards."),
)
EXAMPLES = [
    Example(
        f"{animal}{i}", f"Where does the {animal} number {i} live?", tuple(Choice(c, t) for c, t in zip("ABCD", PLACES, strict=True)),
        "ABCD"[place], "train", rationale, "teacher",
    )
    for i in range(3) for animal, place, rationale in ANIMALS
]  # fmt: skip
TEXTS = [
    f"Question: {e.question}\nChoices: (A) {' (B) '.join(PLACES)}\nAnswer: {e.rationale}\nBecause:" for e in EXAMPLES
]


@dataclass(frozen=True)
class Trained:
    folder: Path
    encoder: Encoder
    model: PreTrainedModel
    log: Log


@pytest.fixture(scope="module", params=ARCHITECTURES)
def trained(request, tmp_path_factory) -> Trained:
    prepare_torch(1, False)
    folder = build(tmp_path_factory.mktemp("student"), request.param, TEXTS)
    encoder = Encoder(folder / "tokenizer.json", Template())
    model = load_student(StudentConfig(name=str(folder)), encoder.vocabulary_size, 0)
    config = TrainingConfig(steps=16, batch_size=6, evaluations=0, lr=1e-2)
    corpus = encoder.corpus(EXAMPLES)
    rows = [weighted(encoder.sequences(corpus, i, parse("pre_cot"), 0), config) for i in range(len(EXAMPLES))]
    stream = Stream([len(row[0].ids) for row in rows], config.batch_size, seed=0)
    hooks = Hooks(lambda log, values: None)
    log = train(model, lambda i, e: rows[i], stream, config, steps=config.steps, pad=encoder.specials.pad, hooks=hooks)
    return Trained(folder, encoder, model, log)


@torch.no_grad()
def alone(model: PreTrainedModel, prompt: list[int], choice: list[int]) -> float:
    """The log-likelihood of a choice from one forward pass of the whole model, nothing padded, nothing packed."""
    table = model(torch.tensor([[*prompt, *choice]]), use_cache=False).logits[0].log_softmax(-1)
    return sum(float(table[len(prompt) - 1 + i, token]) for i, token in enumerate(choice))


def test_training_lowers_the_loss(trained: Trained):
    losses = [value for _, _, _, name, value in trained.log.curve if name == "loss"]
    assert losses[-1] < 0.8 * losses[0]


def test_packed_scores_equal_one_choice_at_a_time(trained: Trained):
    encoder = trained.encoder
    prompts = [encoder.prompt(e, ("question", "choices", "label_cue")) for e in EXAMPLES[:5]]
    choices = [encoder.targets(e) for e in EXAMPLES[:5]]
    assert any(len(choice) > 1 for choice in choices[0])
    for batch in (1, 5):
        found = choice_scores(Forward(trained.model), prompts, choices, encoder.specials.pad, batch)
        for prompt, options, row in zip(prompts, choices, found, strict=True):
            assert row == pytest.approx([alone(trained.model, prompt, option) for option in options], abs=1e-4)


def test_rationales_written_side_by_side_equal_those_written_alone(trained: Trained):
    told = score(trained.model, trained.encoder, EXAMPLES[:5], PLACEMENTS.get("pre_cot"), "own", metric="sum", limit=6)
    for e, one in zip(EXAMPLES[:5], told, strict=True):
        (single,) = score(trained.model, trained.encoder, [e], PLACEMENTS.get("pre_cot"), "own", metric="sum", limit=6)
        assert one.rationale == single.rationale
        assert one.sums == pytest.approx(single.sums, abs=1e-4)


def test_attributions_explain_the_score_that_the_student_gives(trained: Trained):
    encoder, model = trained.encoder, trained.model
    settings = AttributionSettings(method="input_x_gradient", target="gold")
    (one,) = attribute(
        model, encoder, EXAMPLES[:1], PLACEMENTS.get("pre_cot"), settings, np.ones(encoder.vocabulary_size, int)
    )
    reading = one.reading
    prompt = reading.ids[: reading.label_at].tolist()
    assert one.value == pytest.approx(alone(model, prompt, list(reading.choices[reading.gold])), abs=1e-4)
    told = one.scores[reading.columns("rationale")]
    assert np.isfinite(told).all() and np.abs(told).max() > 0
    # The same numbers by hand: the gradient of that log-likelihood in the embeddings, times the embeddings.
    gold = list(reading.choices[reading.gold])
    embeds = model.get_input_embeddings()(torch.tensor([[*prompt, *gold[:-1]]])).detach().requires_grad_()
    table = model(inputs_embeds=embeds, use_cache=False).logits[0].log_softmax(-1)
    sum(table[len(prompt) - 1 + i, token] for i, token in enumerate(gold)).backward()
    by_hand = (embeds.grad * embeds.detach()).sum(-1)[0, : len(prompt)].numpy()
    where = np.isfinite(one.scores[: len(prompt)])
    assert one.scores[: len(prompt)][where] == pytest.approx(by_hand[where], abs=1e-4)


def test_a_student_opened_again_gives_the_same_scores(trained: Trained, tmp_path):
    save_weights(trained.model, tmp_path / "w.safetensors")
    again = load_student(StudentConfig(name=str(trained.folder)), trained.encoder.vocabulary_size, 1).eval()
    set_weights(again, read_tensors(tmp_path / "w.safetensors")[0])
    one, other = (
        score(model, trained.encoder, EXAMPLES[:4], PLACEMENTS.get("label_only"), "direct", metric="sum", limit=1)
        for model in (trained.model, again)
    )
    for before, after in zip(one, other, strict=True):
        assert after.sums == pytest.approx(before.sums, abs=1e-5)


def test_what_sets_architectures_apart_is_found(tmp_path):
    def found(name: str):
        folder = build(tmp_path / name, name, TEXTS)
        return Forward(load_student(StudentConfig(name=str(folder)), 1, 0))

    assert found("llama").abilities.plain_head and found("llama").packs(10_000)
    assert not found("gemma2").abilities.plain_head
    assert found("gemma2").packs(4096) and not found("gemma2").packs(4097)
    assert not found("bloom").packs(1)
    neo, mamba = found("gpt_neo"), found("mamba")
    assert not neo.packs(9) and neo.abilities.left_padding
    assert not mamba.packs(1) and not mamba.abilities.left_padding


def test_attention_cannot_be_followed_where_answers_cannot_be_packed(tmp_path):
    folder = build(tmp_path, "bloom", TEXTS)
    encoder = Encoder(folder / "tokenizer.json", Template())
    model = load_student(StudentConfig(name=str(folder)), encoder.vocabulary_size, 0)
    settings = AttributionSettings(method="attention_rollout", target="contrast")
    with pytest.raises(StudentError, match="Bloom"):
        attribute(
            model, encoder, EXAMPLES[:1], PLACEMENTS.get("pre_cot"), settings, np.ones(encoder.vocabulary_size, int)
        )

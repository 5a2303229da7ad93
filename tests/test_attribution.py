"""Attributions: closed forms on toy students, brute force on real ones, captum's own layer version, and awkward texts."""

import numpy as np
import pytest
import torch
from captum.attr import LayerIntegratedGradients
from transformers import GemmaConfig, GemmaForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from cotdistill.errors import ConfigError, UnknownName
from cotdistill.rationales.placement import PLACEMENTS, SEGMENTS
from cotdistill.saliency.attribution import attribute
from cotdistill.saliency.methods import METHODS
from cotdistill.saliency.probe import StudentQueries
from cotdistill.saliency.reading import read_example
from cotdistill.saliency.settings import AttributionSettings
from cotdistill.saliency.tables import EXAMPLE_COLUMNS, TOKEN_COLUMNS, example_table, token_table
from cotdistill.saliency.targets import parse_target, queries
from cotdistill.students.loading import new_built_in
from cotdistill.students.models import BuiltIn
from cotdistill.tasks.example import Choice, Example
from tests.conftest import example

TINY = BuiltIn("tiny", "for tests", layers=2, width=16, heads=2, positions=128)
GRADIENT = ("integrated_gradients", "input_x_gradient", "saliency", "gradient_shap")


@pytest.fixture
def model(words):
    torch.manual_seed(0)
    found = new_built_in(TINY, len(words), seed=3)
    with torch.no_grad():
        for parameter in found.parameters():  # far enough from the start that attributions are no noise
            parameter.add_(0.15 * torch.randn_like(parameter))
    return found.eval()


@pytest.fixture
def counts(words):
    return np.arange(1, len(words) + 1)


def run(model, encoder, examples, counts, placement="pre_cot", **settings):
    return attribute(model, encoder, examples, PLACEMENTS.get(placement), AttributionSettings(**settings), counts)


@pytest.fixture
def linear(model, monkeypatch):
    """A probe whose value is linear in the embeddings, value = sum over tokens and dimensions of w x: every method has a closed form."""
    w = torch.linspace(-1.0, 1.0, 16)
    monkeypatch.setattr(
        StudentQueries,
        "values",
        lambda self, embeds, batch, index: (embeds * w).sum(-1).masked_fill(~batch.moves[index], 0.0).sum(1),
    )
    return w


def moved_columns(one):
    return np.flatnonzero(~np.isnan(one.scores))


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
@pytest.mark.parametrize("baseline", ["mean", "zero", "pad"])
def test_on_a_linear_student_a_token_counts_its_distance_from_the_baseline(
    model, encoder, examples, counts, linear, method, baseline
):
    (one,) = run(model, encoder, examples[:1], counts, method=method, baseline=baseline)
    probe = StudentQueries(model, encoder.specials.pad)
    table = model.get_input_embeddings().weight
    start = {
        "mean": (table * torch.tensor(counts / counts.sum())[:, None]).sum(0),
        "zero": torch.zeros(16),
        "pad": table[0],
    }[baseline]
    assert torch.allclose(probe.baseline(baseline, counts), start.float(), atol=1e-6)
    for column in moved_columns(one):
        expected = float(((table[int(one.reading.ids[column])] - start) * linear).sum())
        assert one.scores[column] == pytest.approx(expected, abs=1e-5)


def test_on_a_linear_student_gradient_times_input_and_the_gradients_length_are_known(
    model, encoder, examples, counts, linear
):
    table = model.get_input_embeddings().weight
    (product,) = run(model, encoder, examples[:1], counts, method="input_x_gradient")
    (length,) = run(model, encoder, examples[:1], counts, method="saliency")
    for column in moved_columns(product):
        assert product.scores[column] == pytest.approx(
            float((table[int(product.reading.ids[column])] * linear).sum()), abs=1e-5
        )
        assert length.scores[column] == pytest.approx(float(linear.norm()), rel=1e-5)


def test_on_a_linear_student_gradient_shap_is_the_mean_distance_from_its_drawn_baselines(
    model, encoder, examples, linear, words
):
    only = np.zeros(len(words), int)
    only[7] = 5  # one token to draw from: the mean over draws is known
    (one,) = run(model, encoder, examples[:1], only, method="gradient_shap", samples=4)
    table = model.get_input_embeddings().weight
    for column in moved_columns(one):
        assert one.scores[column] == pytest.approx(
            float(((table[int(one.reading.ids[column])] - table[7]) * linear).sum()), abs=1e-5
        )


def test_integrated_gradients_of_a_product_share_it_out_evenly(model, encoder, examples, counts, monkeypatch):
    # value = x_i . x_j for two tokens; from a zero baseline each of them bears half of it.
    columns = (2, 7)

    def product(self, embeds, batch, index):
        return (embeds[:, columns[0]] * embeds[:, columns[1]]).sum(-1)

    monkeypatch.setattr(StudentQueries, "values", product)
    (one,) = run(model, encoder, examples[:1], counts, baseline="zero", steps=4)
    table = model.get_input_embeddings().weight
    whole = float((table[int(one.reading.ids[2])] * table[int(one.reading.ids[7])]).sum())
    assert one.scores[[2, 7]] == pytest.approx([whole / 2, whole / 2], abs=1e-6)
    others = np.setdiff1d(moved_columns(one), columns)
    assert np.abs(one.scores[others]).max() < 1e-7 and one.gap < 1e-4


def test_rollout_of_uniform_attention_is_known(model, encoder, examples, counts):
    # Zero query and key weights: every token looks evenly at all before it.
    with torch.no_grad():
        for block in model.transformer.h:
            block.attn.c_attn.weight[:, :32] = 0
            block.attn.c_attn.bias[:32] = 0
    (one,) = run(model, encoder, examples[:1], counts, method="attention_rollout", moves="all")
    n = one.reading.label_at
    flow = np.eye(n)
    layer = np.tril(np.ones((n, n))) / np.arange(1, n + 1)[:, None]
    for _ in range(2):
        flow = (0.5 * layer + 0.5 * np.eye(n)) @ flow
    assert one.scores[:n] == pytest.approx(flow[-1], abs=1e-5)
    assert model.config._attn_implementation != "eager"


def test_rollout_agrees_between_architectures_with_and_without_packed_choices(model, encoder, counts):
    choices = (Choice("A", "tree"), Choice("B", "red pond"))
    mixed = Example("m", "where is it ?", choices, "A", "dev", "it flies .", "t")
    single = Example("m", "where is it ?", (choices[0], Choice("B", "red")), "A", "dev", "it flies .", "t")
    one, other = (
        run(model, encoder, [e], counts, "label_only", method="attention_rollout")[0] for e in (mixed, single)
    )
    assert np.nansum(one.scores) < 1 and len(one.scores) == len(other.scores) + 1


def test_occlusion_equals_one_forward_pass_a_token(model, encoder, examples, counts):
    for one in run(model, encoder, examples[:3], counts, method="occlusion", target="contrast"):
        (query,) = queries(one.reading, parse_target("contrast"), ("question", "choices", "rationale", "label"))
        probe = StudentQueries(model, encoder.specials.pad)
        base = probe.baseline("mean", counts)
        whole = probe.values_of([query])[0]
        for column in moved_columns(one):
            without = np.zeros(query.length, bool)
            without[column] = True
            assert one.scores[column] == pytest.approx(whole - probe.values_of([query], [without], base)[0], abs=1e-5)


def test_occlusion_by_words_takes_all_tokens_of_a_word_and_shares_out_their_effect(model, encoder, counts, monkeypatch):
    one = example("e", "bird", "tree", "it has wings .")
    reading = read_example(encoder, one, PLACEMENTS.get("pre_cot"))
    (query,) = queries(reading, parse_target("gold"), ("question", "choices", "rationale"))
    query.words[:] = query.words // 2  # two tokens a word
    found = (
        METHODS.get("occlusion")
        .compute(StudentQueries(model, 0), [query], AttributionSettings(method="occlusion", unit="word"), counts)[0]
        .scores
    )
    probe = StudentQueries(model, 0)
    whole, base = probe.values_of([query])[0], probe.baseline("mean", counts)
    for word in np.unique(query.words[query.moves]):
        members = (query.words == word) & query.moves
        effect = whole - probe.values_of([query], [members], base)[0]
        assert found[members] == pytest.approx([effect / members.sum()] * members.sum(), abs=1e-5)


@pytest.mark.parametrize("baseline", ["pad", "mean"])
def test_integrated_gradients_equal_captums_layer_version_example_by_example(encoder, examples, words, baseline):
    # A further row of the embedding table holds the baseline, since the layer version takes ids.
    torch.manual_seed(1)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(words) + 1,
            n_positions=128,
            n_embd=16,
            n_layer=2,
            n_head=2,
            bos_token_id=None,
            eos_token_id=1,
        )
    ).eval()
    counts = np.append(np.arange(len(words)), 0)
    extra = len(words)
    probe = StudentQueries(model, 0)
    with torch.no_grad():
        model.get_input_embeddings().weight[extra] = probe.baseline(baseline, counts)
    for one in attribute(
        model,
        encoder,
        examples[:3],
        PLACEMENTS.get("pre_cot"),
        AttributionSettings(baseline=baseline, steps=32),
        counts,
    ):
        n = one.reading.label_at
        ids = torch.tensor(one.reading.ids[:n].astype(np.int64))[None]
        moves = torch.tensor(~np.isnan(one.scores[:n]))[None]
        gold = one.reading.choices[one.reading.gold][0]
        layer = LayerIntegratedGradients(
            lambda i, g=gold: model(input_ids=i).logits[:, -1].log_softmax(-1)[:, g], model.get_input_embeddings()
        )
        theirs = (
            layer.attribute(ids, torch.where(moves, torch.full_like(ids, extra), ids), n_steps=one.steps)
            .sum(-1)[0]
            .detach()
            .numpy()
        )
        assert one.scores[:n][moves[0].numpy()] == pytest.approx(
            theirs[moves[0].numpy()], rel=1e-4, abs=1e-5 * float(np.abs(theirs).max())
        )


def test_integrated_gradients_add_up_to_what_they_explain(model, encoder, examples, counts):
    for one in run(model, encoder, examples, counts, steps=64, target="contrast"):
        (query,) = queries(one.reading, parse_target("contrast"), ("question", "choices", "rationale", "label"))
        probe = StudentQueries(model, 0)
        start = probe.values_of([query], [query.moves], probe.baseline("mean", counts))[0]
        assert np.nansum(one.scores) == pytest.approx(one.value - start, rel=0.01)
        assert one.gap < 0.01 and one.converged


def test_steps_are_doubled_until_the_gap_is_small_and_else_it_is_said(model, encoder, examples, counts):
    rough = run(model, encoder, examples, counts, steps=2, most_steps=2)
    fine = run(model, encoder, examples, counts, steps=2, most_steps=256)
    assert all(one.steps == 2 for one in rough) and any(one.converged is False for one in rough)
    assert all(one.converged for one in fine) and max(one.steps for one in fine) > 2
    # Those that had converged at once kept their steps.
    assert [one.steps for one in fine if one.steps == 2] == [2 for one in rough if one.converged]


@pytest.mark.parametrize("method", METHODS.names())
def test_scores_do_not_depend_on_what_stands_beside_an_example(model, encoder, examples, counts, method):
    placement, settings = (
        PLACEMENTS.get("pre_cot"),
        AttributionSettings(method=method, samples=3, steps=8, most_steps=8),
    )
    together = attribute(model, encoder, examples, placement, settings, counts)
    alone = [attribute(model, encoder, [e], placement, settings, counts)[0] for e in examples]
    small = attribute(model, encoder, examples, placement, settings, counts, memory=1)
    for one, two, three in zip(together, alone, small, strict=True):
        assert one.reading.id == two.reading.id == three.reading.id
        np.testing.assert_allclose(one.scores, two.scores, atol=1e-5)
        np.testing.assert_allclose(one.scores, three.scores, atol=1e-5)


@pytest.mark.parametrize("method", METHODS.names())
def test_a_token_that_stands_there_twice_has_a_score_of_its_own_each_time(model, encoder, counts, method):
    (one,) = run(
        model, encoder, [example("e", "bird", "tree", "it flies . it flies and it has wings .")], counts, method=method
    )
    twice = [c for c in one.reading.columns("rationale") if one.reading.pieces[c] == " it"]
    assert len(twice) == 3 and len({round(float(one.scores[c]), 9) for c in twice}) == 3


def test_a_label_does_not_read_a_rationale_that_stands_behind_it(model, encoder, examples, counts):
    (one,) = run(model, encoder, examples[:1], counts, "post_cot")
    assert np.isnan(one.scores[one.reading.columns("rationale")]).all()
    assert not np.isnan(one.scores[one.reading.columns("question")]).any()
    assert "not readable" in one.not_readable
    (before,) = run(model, encoder, examples[:1], counts, "pre_cot")
    assert not before.not_readable and not np.isnan(before.scores[before.reading.columns("rationale")]).any()
    assert not run(model, encoder, examples[:1], counts, "label_only")[0].not_readable


def test_only_the_spans_that_are_asked_for_move(model, encoder, examples, counts):
    for moves, wanted in {
        "question": ("question", "choices"),
        "rationale": ("rationale",),
        "content": ("question", "choices", "rationale"),
    }.items():
        (one,) = run(model, encoder, examples[:1], counts, moves=moves)
        assert {SEGMENTS[s] for s in one.reading.segments[moved_columns(one)]} == set(wanted)


@pytest.mark.parametrize("make", [
    lambda v: LlamaForCausalLM(LlamaConfig(vocab_size=v, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                                           max_position_embeddings=128)),
    lambda v: GemmaForCausalLM(GemmaConfig(vocab_size=v, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                                           num_key_value_heads=1, head_dim=8, max_position_embeddings=128)),
], ids=["llama", "gemma"])  # fmt: skip
def test_other_architectures_are_read_by_their_own_embeddings(encoder, examples, words, counts, make):
    torch.manual_seed(0)
    model = make(len(words)).eval()
    for method in METHODS.names():
        (one,) = run(model, encoder, examples[:1], counts, method=method, samples=2)
        n = one.reading.label_at
        with torch.no_grad():
            plain = (
                model(input_ids=torch.tensor(one.reading.ids[:n].astype(np.int64))[None]).logits[0, -1].log_softmax(-1)
            )
        assert one.value == pytest.approx(float(plain[one.reading.choices[one.reading.gold][0]]), abs=1e-4)
        assert np.isfinite(one.scores[moved_columns(one)]).all()
        assert one.gap is None or one.gap < 0.05


def test_the_tables_hold_every_token_and_every_explanation(model, encoder, examples, counts):
    found = run(model, encoder, examples[:2], counts, "post_cot", target="rationale", method="input_x_gradient")
    tokens, told = token_table(found), example_table(found)
    assert list(tokens) == list(TOKEN_COLUMNS) and list(told) == list(EXAMPLE_COLUMNS)
    rationale = [len(encoder.read(e.rationale)) for e in examples[:2]]
    assert len(told) == sum(rationale) and len(tokens) == sum(len(one.reading) for one in found)
    first = tokens[(tokens.example == "e1") & (tokens.target_at == told.target_at[0])]
    assert first.text.tolist() == list(found[0].reading.pieces)
    assert first.score.notna().sum() == (first.segment.isin(["question", "choices", "label"])).sum()
    assert set(first[first.segment == "label_cue"].word_class) == {""} and set(
        first[first.word_text == "the"].word_class
    ) == {"function"}
    assert token_table([]).empty and example_table([]).empty


def test_progress_counts_examples(model, encoder, examples, counts):
    seen = []
    attribute(
        model,
        encoder,
        examples * 20,
        PLACEMENTS.get("pre_cot"),
        AttributionSettings(method="saliency"),
        counts,
        report=lambda *at: seen.append(at),
    )
    assert seen == [(0, 100), (32, 100), (64, 100), (96, 100), (100, 100)]


def test_settings_out_of_bounds_and_unknown_methods_are_told(model, encoder, examples, counts):
    with pytest.raises(UnknownName, match="integrated_gradient"):
        run(model, encoder, examples[:1], counts, method="integrated_gradient")
    with pytest.raises(ConfigError, match="steps is 1"):
        run(model, encoder, examples[:1], counts, steps=1)


@pytest.mark.parametrize("method", METHODS.names())
def test_a_student_in_bf16_is_explained_by_every_method(model, encoder, examples, counts, method):
    one = run(model.to(torch.bfloat16), encoder, examples[:1], counts, method=method, steps=8)[0]
    scores = one.scores[moved_columns(one)]
    assert len(scores) and np.isfinite(scores).all()

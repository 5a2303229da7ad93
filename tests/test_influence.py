"""Training-signal alignment against one backward pass a token, forward-mode derivatives, and real steps."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.func import functional_call, jvp

from cotdistill.config import TrainingConfig
from cotdistill.errors import NotReadable, UnknownName, UsageError
from cotdistill.rationales.conditions import parse
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.saliency.influence import BETA1, BETA2, EPS, Aligner, align_all
from cotdistill.saliency.pools import POOL, Pools
from cotdistill.saliency.reading import read_example
from cotdistill.students.batches import weighted
from cotdistill.students.loading import new_built_in
from cotdistill.students.models import BuiltIn
from tests.conftest import example

TINY = BuiltIn("tiny", "for tests", layers=2, width=16, heads=2, positions=96)


@pytest.fixture
def model(words):
    torch.manual_seed(0)
    found = new_built_in(TINY, len(words), seed=3)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return found


@pytest.fixture
def dev():
    """Questions with two answers in common with the training examples, by text and by cluster, and others."""
    return [
        example("d1", "fish", "tree", "it flies .", cluster="c1"),
        example("d2", "cat", "pond", "it swims .", cluster="c2"),
        example("d3", "dog", "kennel", None, cluster="bird"),
        example("d4", "dog", "house", "so .", cluster="c4"),
        example("d5", "cat", "kennel", "so .", cluster="c5"),
    ]


def sequence(encoder, examples, index=0, condition="post_cot"):
    return encoder.sequences(encoder.corpus(examples), index, parse(condition), 0)[0]


def aligner(model, encoder, dev, placement="post_cot", **more):
    return Aligner(model, encoder, PLACEMENTS.get(placement), dev, **more)


def label_loss(model, encoder, example, placement="post_cot"):
    """By a plain forward pass: all choices here are one token."""
    reading = read_example(encoder, example, PLACEMENTS.get(placement))
    logits = model(torch.tensor(reading.ids[: reading.label_at].astype(np.int64))[None]).logits[0, -1]
    return torch.nn.functional.cross_entropy(
        logits[[c[0] for c in reading.choices]][None], torch.tensor([reading.gold])
    )


def near(got, expected, found, target):
    """Equal to 1e-5 of the product of the two gradients' lengths, which is what an inner product in single precision can promise."""
    return got == pytest.approx(np.array(expected), abs=1e-5 * float(target.norm() * max(n for n in found)), rel=1e-5)


def one_by_one(model, found, encoded, columns, target):
    """By a backward pass of its own for each token."""
    ids = torch.tensor(encoded.ids.astype(np.int64))[None]
    products = []
    for column in columns:
        loss = -model(ids).logits[0, column - 1].log_softmax(-1)[ids[0, column]]
        gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, found.parameters)])
        products.append(float(gradient @ target))
    return products


@pytest.mark.parametrize("parameters", ["blocks", "all"])
def test_alignment_equals_one_backward_pass_a_token(model, encoder, examples, dev, parameters):
    found = aligner(model, encoder, dev, parameters=parameters)
    encoded = sequence(encoder, examples)
    got = found.align(examples[0], encoded)
    own = torch.cat(
        [g.reshape(-1) for g in torch.autograd.grad(label_loss(model, encoder, examples[0]), found.parameters)]
    )
    assert near(got.raw[0], one_by_one(model, found, encoded, got.columns, own), got.norm, own)
    matched = [label_loss(model, encoder, e) for e in (dev[0],)]
    target = torch.cat([g.reshape(-1) for g in torch.autograd.grad(sum(matched) / 1, found.parameters)])
    assert near(got.raw[1], one_by_one(model, found, encoded, got.columns, target), got.norm, target)
    assert got.value == pytest.approx(got.raw[1] - got.raw[2])
    names = set(found.names)
    assert ("transformer.wte.weight" in names) == (
        parameters == "all"
    ) and "transformer.h.0.attn.c_attn.weight" in names
    assert ("lm_head.weight" in names) == (parameters == "all")


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own, inside its forward mode
def test_alignment_equals_forward_mode_derivatives(model, encoder, examples, dev):
    found = aligner(model, encoder, dev)
    encoded = sequence(encoder, examples)
    got = found.align(examples[0], encoded)
    flat = found.label_gradient([examples[0]])
    cuts = torch.split(flat, [p.numel() for p in found.parameters])
    weights = dict(zip(found.names, (p.detach() for p in found.parameters), strict=True))
    direction = {name: cut.view_as(weights[name]) for name, cut in zip(found.names, cuts, strict=True)}
    ids = torch.tensor(encoded.ids.astype(np.int64))[None]
    columns = torch.tensor(got.columns)
    model.set_attn_implementation("eager")  # SDPA has no forward-mode derivative

    def losses(parameters):
        logits = functional_call(model, parameters, (ids,)).logits[0, columns - 1]
        return torch.nn.functional.cross_entropy(logits, ids[0, columns], reduction="none")

    value, derivative = jvp(losses, (weights,), (direction,))
    model.set_attn_implementation("sdpa")
    assert got.loss == pytest.approx(value.numpy(), rel=1e-5)
    assert near(got.raw[0], derivative.numpy(), got.norm, flat)


def test_alignment_foretells_what_one_small_step_on_the_token_alone_does_to_the_label_loss(
    model, encoder, examples, dev
):
    found = aligner(model.double(), encoder, dev)
    encoded = sequence(encoder, examples)
    got = found.align(examples[0], encoded)
    lr = 3e-4
    for place, column in enumerate(got.columns):
        ((_, gradient),) = found.token_gradients(encoded, np.array([column]))
        # A step with the gradient and one against it: what is left after halving is the slope.
        losses = []
        for sign in (-1, 2):
            at = 0
            with torch.no_grad():
                for p in found.parameters:
                    p += sign * lr * gradient[0, at : at + p.numel()].view_as(p)
                    at += p.numel()
            losses.append(found.label_loss([dev[0]]))
        at = 0
        with torch.no_grad():
            for p in found.parameters:
                p -= lr * gradient[0, at : at + p.numel()].view_as(p)
                at += p.numel()
        after, against = losses
        assert (against - after) / (2 * lr) == pytest.approx(got.raw[1][place], rel=0.01, abs=2e-3)


def test_cosines_lengths_and_adam_follow_from_the_gradients(model, encoder, examples, dev):
    corpus = encoder.corpus(examples)
    rows = [weighted(encoder.sequences(corpus, i, parse("post_cot"), 0), TrainingConfig())[0] for i in range(4)]
    found = aligner(model, encoder, dev, batches=[rows[:2], rows[2:]], training=TrainingConfig(batch_size=2, clip=0.0))
    encoded = sequence(encoder, examples)
    got = found.align(examples[0], encoded)
    gradients = torch.cat([g for _, g in found.token_gradients(encoded, got.columns)])
    own = found.label_gradient([examples[0]])
    assert got.norm == pytest.approx(gradients.norm(dim=1).numpy(), rel=1e-5)
    expected = torch.nn.functional.cosine_similarity(gradients, own[None])
    assert got.cosine[0] == pytest.approx(expected.numpy(), abs=1e-5) and np.abs(got.cosine).max() <= 1
    assert got.adam[0] == pytest.approx((gradients @ (own / (found.second.sqrt() + EPS))).numpy(), rel=1e-4, abs=1e-3)


def test_moments_are_those_of_clipped_batch_gradients(model, encoder, examples, dev):
    corpus = encoder.corpus(examples)
    batches = [
        [weighted(encoder.sequences(corpus, i, parse("post_cot"), 0), TrainingConfig())[0] for i in pair]
        for pair in ((0, 1), (2, 3))
    ]
    found = aligner(model, encoder, dev, batches=batches, training=TrainingConfig(batch_size=2, clip=0.5))
    named = dict(model.named_parameters())
    for parameter in named.values():
        parameter.requires_grad_(True)
    first, second = 0, 0
    for rows in batches:
        loss = 0
        for row in rows:
            ids = torch.tensor(row.ids.astype(np.int64))
            each = torch.nn.functional.cross_entropy(model(ids[None]).logits[0, :-1], ids[1:], reduction="none")
            loss = loss + (each * torch.tensor(row.weights[1:])).sum() / 2
        loss.backward()
        length = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        assert length > 0.5  # else nothing is clipped here
        gradient = torch.cat([named[name].grad.reshape(-1) for name in found.names])
        first, second = first + gradient / 2, second + gradient.square() / 2
        model.zero_grad()
    torch.testing.assert_close(found.mean, first, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.second, second, rtol=1e-4, atol=1e-8)


def test_a_token_mean_is_divided_by_the_tokens_of_the_batch_and_the_span_loss_by_its_examples(
    model, encoder, examples, dev
):
    """Two rows of 1 on every predicted token: divided by their tokens they give less than divided by two examples, by that ratio."""
    settings = TrainingConfig(loss="token_mean", batch_size=2, clip=0.0)
    corpus = encoder.corpus(examples)
    rows = [weighted(encoder.sequences(corpus, i, parse("post_cot"), 0), settings)[0] for i in range(2)]
    by_token = aligner(model, encoder, dev, batches=[rows], training=settings)
    by_example = aligner(model, encoder, dev, batches=[rows], training=dataclasses.replace(settings, loss="span"))
    predicted = sum(int((row.groups != 0).sum()) for row in rows)
    torch.testing.assert_close(by_example.mean, by_token.mean * predicted / 2, rtol=1e-4, atol=1e-6)


def test_only_the_chosen_parameters_are_left_open_for_gradients(model, encoder, examples, dev):
    corpus = encoder.corpus(examples)
    rows = [weighted(encoder.sequences(corpus, i, parse("post_cot"), 0), TrainingConfig())[0] for i in range(2)]
    found = aligner(model, encoder, dev, batches=[rows], training=TrainingConfig(batch_size=2))
    assert {name for name, p in model.named_parameters() if p.requires_grad} == set(found.names)


def test_a_small_real_adamw_step_does_what_its_formula_says_beyond_what_the_moments_do_alone(
    model, encoder, examples, dev
):
    corpus = encoder.corpus(examples)
    rows = [weighted(encoder.sequences(corpus, i, parse("post_cot"), 0), TrainingConfig())[0] for i in range(5)]
    found = aligner(model, encoder, dev, batches=[rows[:2], rows[2:]], training=TrainingConfig(batch_size=2))
    encoded = sequence(encoder, examples)
    got = found.align(examples[0], encoded)
    gradients = torch.cat([g for _, g in found.token_gradients(encoded, got.columns)])

    def update(gradient):
        return (BETA1 * found.mean + (1 - BETA1) * gradient) / (
            (BETA2 * found.second + (1 - BETA2) * gradient.square()).sqrt() + EPS
        )

    own = found.label_gradient([examples[0]])
    slopes = np.array([float(own @ (update(g) - update(torch.zeros_like(g)))) for g in gradients])
    falls = found.adamw_step(examples[0], encoded, got.columns, lr=1e-5) / 1e-5
    assert falls == pytest.approx(slopes, rel=0.1, abs=0.05 * np.abs(slopes).max())


def test_a_real_adamw_step_ranks_tokens_as_the_preconditioned_alignment_does(model, encoder, examples, dev):
    corpus = encoder.corpus(examples)
    rows = [weighted(encoder.sequences(corpus, i, parse("post_cot"), 0), TrainingConfig())[0] for i in range(5)]
    found = aligner(model, encoder, dev, batches=[rows[:2], rows[2:]], training=TrainingConfig(batch_size=2))
    encoded = sequence(encoder, examples)
    got = found.align(examples[0], encoded)
    before = [p.detach().clone() for p in found.parameters]
    falls = found.adamw_step(examples[0], encoded, got.columns, lr=1e-4)
    assert spearmanr(falls, got.adam[0]).statistic > 0.7
    assert all(torch.equal(p, old) for p, old in zip(found.parameters, before, strict=True))


def test_results_do_not_depend_on_how_many_tokens_go_at_once(model, encoder, examples, dev):
    encoded = sequence(encoder, examples)
    many = aligner(model, encoder, dev).align(examples[0], encoded)
    one = aligner(model, encoder, dev, memory=1).align(examples[0], encoded)
    assert one.raw == pytest.approx(many.raw, rel=1e-5, abs=1e-6) and one.cosine == pytest.approx(
        many.cosine, rel=1e-5, abs=1e-6
    )


def test_pools_are_matched_by_answer_or_cluster_and_random_by_neither(model, encoder, examples, dev):
    bird = example("t", "bird", "tree", "it flies .", cluster="bird")
    matched, other = Pools(dev, "shared").of(bird)
    assert {e.id for e in matched} == {"d1", "d3"} and {e.id for e in other} == {"d2", "d4", "d5"}
    matched, other = Pools(dev, "each").of(bird)
    assert {e.id for e in matched} == {"d1", "d3"} and {e.id for e in other} < {"d2", "d4", "d5"} and len(other) == 2
    lonely = example("t", "bird", "house", "it flies .", cluster="z")
    alone = [e for e in dev if e.id != "d4"]
    got = aligner(model, encoder, alone).align(lonely, sequence(encoder, [lonely]))
    assert got.matched == 0 and np.isnan(got.value).all() and not np.isnan(got.raw[0]).any()


def test_every_example_draws_its_own_random_pool_and_the_same_one_each_time():
    many = [example(f"t{i}", "bird", "tree", None, cluster=f"t{i}") for i in range(20)] + [
        example(f"o{i}", "dog", "house", None, cluster=f"o{i}") for i in range(200)
    ]
    asked = [example(f"x{i}", "bird", "tree", None, cluster=f"x{i}") for i in range(10)]
    drawn = [[e.id for e in Pools(many).of(one)[1]] for one in asked]
    assert len({tuple(ids) for ids in drawn}) == 10 and {len(set(ids)) for ids in drawn} == {POOL}
    assert drawn == [[e.id for e in Pools(list(reversed(many))).of(one)[1]] for one in asked]
    assert len({tuple(e.id for e in Pools(many, "shared").of(one)[1]) for one in asked}) == 1
    # A dev example is not held against itself, and case does not tell answers apart.
    shouted = dataclasses.replace(
        asked[0], choices=tuple(dataclasses.replace(c, text=c.text.upper()) for c in asked[0].choices)
    )
    assert "t3" not in {e.id for e in Pools(many).of(many[3])[0]} and len(Pools(many).of(shouted)[0]) == POOL


def test_test_questions_are_refused(model, encoder, dev):
    with pytest.raises(UsageError, match="never taken on test"):
        aligner(model, encoder, [*dev, dataclasses.replace(dev[0], split="test")])
    with pytest.raises(UnknownName, match="draw pools"):
        aligner(model, encoder, dev, draw="once")
    with pytest.raises(UnknownName, match="parameters"):
        aligner(model, encoder, dev, parameters="some")


def test_the_labels_own_text_is_marked_and_only_trained_tokens_are_aligned(model, encoder, examples, dev):
    found = aligner(model, encoder, dev)
    got = found.align(examples[0], sequence(encoder, examples))
    texts = [encoder.piece(int(id)).strip() for id in got.ids]
    assert [t for t, flag in zip(texts, got.label_text, strict=True) if flag] == ["tree"]
    assert got.words[:3] == ("it", "has", "wings")
    masked = found.align(examples[0], sequence(encoder, examples, 0, "post_cot/mask(fraction=0.5)"))
    assert len(masked.columns) < len(got.columns)
    with pytest.raises(NotReadable):
        found.align(examples[0], sequence(encoder, examples, 0, "label_only"))


def test_a_student_that_reads_the_rationale_first_is_aligned_on_the_label_behind_it(model, encoder, examples, dev):
    found = aligner(model, encoder, dev, "pre_cot")
    encoded = sequence(encoder, examples, 0, "pre_cot")
    got = found.align(examples[0], encoded)
    own = torch.cat(
        [
            g.reshape(-1)
            for g in torch.autograd.grad(label_loss(model, encoder, examples[0], "pre_cot"), found.parameters)
        ]
    )
    assert near(got.raw[0], one_by_one(model, found, encoded, got.columns, own), got.norm, own)


def test_many_examples_are_counted_and_those_without_a_rationale_left_out(model, encoder, examples, dev):
    rows = [*examples[:2], example("n", "cat", "house", None)]
    seen = []
    got = align_all(
        aligner(model, encoder, dev),
        [(e, sequence(encoder, rows, i)) for i, e in enumerate(rows)],
        report=lambda *at: seen.append(at),
    )
    assert [one.id for one in got] == ["e1", "e2"] and seen == [(0, 3), (1, 3), (2, 3)]
    with pytest.raises(NotReadable, match="trained on"):
        align_all(aligner(model, encoder, dev), [(rows[2], sequence(encoder, rows, 2))])


def test_the_output_matrix_aligns_as_worked_out_by_hand(model, encoder, examples, dev):
    """With the output matrix alone, the gradient of a cross-entropy is (p - e) h', so <grad, grad'> = (p - e).(q - f) x h.h'."""
    found = aligner(model, encoder, dev, parameters="all")
    found.names, found.parameters, found.size = ["lm_head.weight"], [model.lm_head.weight], model.lm_head.weight.numel()
    encoded = sequence(encoder, examples)
    got = found.align(examples[0], encoded)
    with torch.no_grad():
        ids = torch.tensor(encoded.ids.astype(np.int64))
        hidden = model.transformer(ids[None]).last_hidden_state[0]
        logits = hidden @ model.lm_head.weight.T
        reading = read_example(encoder, examples[0], PLACEMENTS.get("post_cot"))
        choices = [c[0] for c in reading.choices]
        label = torch.zeros(logits.shape[1])  # the label loss is a softmax among the choices only
        label[choices] = logits[reading.label_at - 1, choices].softmax(-1)
        label[choices[reading.gold]] -= 1
        expected = []
        for column in got.columns:
            token = logits[column - 1].softmax(-1)
            token[ids[column]] -= 1
            expected.append(float(token @ label * (hidden[column - 1] @ hidden[reading.label_at - 1])))
    assert got.raw[0] == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("metric", ["sum", "per_byte"])
def test_answers_of_several_tokens_are_scored_as_the_runs_metric_does(model, encoder, dev, metric):
    texts = ("the tree", "a pond of water", "house", "in the kennel")
    base = example("l", "bird", "tree", "it flies so it lives in the tree .")
    long = dataclasses.replace(
        base, choices=tuple(dataclasses.replace(c, text=t) for c, t in zip(base.choices, texts, strict=True))
    )
    found = aligner(model, encoder, dev, metric=metric)
    reading = read_example(encoder, long, PLACEMENTS.get("post_cot"))
    assert max(map(len, reading.choices)) > 2
    head, scores = reading.ids[: reading.label_at].tolist(), []
    for choice, text in zip(reading.choices, texts, strict=True):
        told = model(torch.tensor([[*head, *choice]])).logits[0].log_softmax(-1)
        summed = sum(told[len(head) - 1 + i, id] for i, id in enumerate(choice))
        scores.append(summed / len(text.encode()) if metric == "per_byte" else summed)
    loss = -torch.stack(scores).log_softmax(0)[long.gold]
    expected = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, found.parameters)])
    torch.testing.assert_close(found.label_gradient([long]), expected, rtol=1e-4, atol=1e-6)
    # "the" is no answer, "tree" is.
    got = found.align(long, sequence(encoder, [long]))
    assert [w for w, flag in zip(got.words, got.label_text, strict=True) if flag] == ["tree"]


def test_words_from_elsewhere_are_told_by_their_tokens_where_these_are_words(model, encoder, examples, dev):
    found = aligner(model, encoder, dev)
    swapped = found.align(examples[0], sequence(encoder, examples, 0, "post_cot/swap(partner=other_label)"))
    assert (swapped.origin == -1).all()
    assert list(swapped.words) == [encoder.piece(int(id)).strip() for id in swapped.ids]

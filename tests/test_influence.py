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
from cotdistill.saliency.influence import EPS, Aligner, align_all
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
    return torch.nn.functional.cross_entropy(logits[[c[0] for c in reading.choices]][None], torch.tensor([reading.gold]))


def one_by_one(model, found, encoded, columns, target):
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
    own = torch.cat([g.reshape(-1) for g in torch.autograd.grad(label_loss(model, encoder, examples[0]), found.parameters)])
    assert got.raw[0] == pytest.approx(one_by_one(model, found, encoded, got.columns, own), rel=1e-4, abs=1e-5)
    matched = [label_loss(model, encoder, e) for e in (dev[0],)]
    target = torch.cat([g.reshape(-1) for g in torch.autograd.grad(sum(matched) / 1, found.parameters)])
    assert got.raw[1] == pytest.approx(one_by_one(model, found, encoded, got.columns, target), rel=1e-4, abs=1e-5)
    assert got.value == pytest.approx(got.raw[1] - got.raw[2])
    names = set(found.names)
    assert ("transformer.wte.weight" in names) == (parameters == "all") and "transformer.h.0.attn.c_attn.weight" in names
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
    assert got.raw[0] == pytest.approx(derivative.numpy(), rel=1e-4, abs=1e-5)


def test_alignment_foretells_what_one_small_step_on_the_token_alone_does_to_the_label_loss(model, encoder, examples, dev):
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
    found = aligner(model, encoder, dev, batches=[rows[:2], rows[2:]])
    encoded = sequence(encoder, examples)
    got = found.align(examples[0], encoded)
    gradients = torch.cat([g for _, g in found.token_gradients(encoded, got.columns)])
    own = found.label_gradient([examples[0]])
    assert got.norm == pytest.approx(gradients.norm(dim=1).numpy(), rel=1e-5)
    expected = torch.nn.functional.cosine_similarity(gradients, own[None])
    assert got.cosine[0] == pytest.approx(expected.numpy(), abs=1e-5) and np.abs(got.cosine).max() <= 1
    assert got.adam[0] == pytest.approx((gradients @ (own / (found.second.sqrt() + EPS))).numpy(), rel=1e-4, abs=1e-3)
    # Two batches by hand: the mean of the squares, not the square of the mean.
    assert (found.second >= found.mean.square() - 1e-12).all()


def test_a_real_adamw_step_ranks_tokens_as_the_preconditioned_alignment_does(model, encoder, examples, dev):
    corpus = encoder.corpus(examples)
    rows = [weighted(encoder.sequences(corpus, i, parse("post_cot"), 0), TrainingConfig())[0] for i in range(5)]
    found = aligner(model, encoder, dev, batches=[rows[:2], rows[2:]])
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
    assert one.raw == pytest.approx(many.raw, rel=1e-5, abs=1e-6) and one.cosine == pytest.approx(many.cosine, rel=1e-5, abs=1e-6)


def test_pools_are_matched_by_answer_or_cluster_and_random_by_neither(model, encoder, examples, dev):
    found = aligner(model, encoder, dev)
    bird = example("t", "bird", "tree", "it flies .", cluster="bird")
    matched, other = found.pools(bird)
    assert {e.id for e in matched} == {"d1", "d3"} and {e.id for e in other} == {"d2", "d4", "d5"}
    lonely = example("t", "bird", "house", "it flies .", cluster="z")
    alone = [e for e in dev if e.id != "d4"]
    got = aligner(model, encoder, alone).align(lonely, sequence(encoder, [lonely]))
    assert got.matched == 0 and np.isnan(got.value).all() and not np.isnan(got.raw[0]).any()


def test_test_questions_are_refused(model, encoder, dev):
    with pytest.raises(UsageError, match="never taken on test"):
        aligner(model, encoder, [*dev, dataclasses.replace(dev[0], split="test")])
    with pytest.raises(UnknownName, match="parameters"):
        aligner(model, encoder, dev, parameters="some")


def test_the_labels_own_text_is_marked_and_only_trained_tokens_are_aligned(model, encoder, examples, dev):
    found = aligner(model, encoder, dev)
    got = found.align(examples[0], sequence(encoder, examples))
    texts = [encoder.piece(int(id)).strip() for id in got.ids]
    assert [t for t, flag in zip(texts, got.label_text, strict=True) if flag] == ["tree"]
    masked = found.align(examples[0], sequence(encoder, examples, 0, "post_cot/mask(fraction=0.5)"))
    assert len(masked.columns) < len(got.columns)
    with pytest.raises(NotReadable):
        found.align(examples[0], sequence(encoder, examples, 0, "label_only"))


def test_a_student_that_reads_the_rationale_first_is_aligned_on_the_label_behind_it(model, encoder, examples, dev):
    found = aligner(model, encoder, dev, "pre_cot")
    encoded = sequence(encoder, examples, 0, "pre_cot")
    got = found.align(examples[0], encoded)
    own = torch.cat([g.reshape(-1) for g in torch.autograd.grad(label_loss(model, encoder, examples[0], "pre_cot"), found.parameters)])
    assert got.raw[0] == pytest.approx(one_by_one(model, found, encoded, got.columns, own), rel=1e-4, abs=1e-5)


def test_many_examples_are_counted_and_those_without_a_rationale_left_out(model, encoder, examples, dev):
    rows = [*examples[:2], example("n", "cat", "house", None)]
    seen = []
    got = align_all(aligner(model, encoder, dev), [(e, sequence(encoder, rows, i)) for i, e in enumerate(rows)], report=lambda *at: seen.append(at))
    assert [one.id for one in got] == ["e1", "e2"] and seen == [(0, 3), (1, 3), (2, 3)]
    with pytest.raises(NotReadable, match="trained on"):
        align_all(aligner(model, encoder, dev), [(rows[2], sequence(encoder, rows, 2))])

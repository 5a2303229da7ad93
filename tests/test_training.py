"""The loop on a tiny real student."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from transformers.models.gpt2.modeling_gpt2 import GPT2MLP

from cotdistill.config import TrainingConfig
from cotdistill.errors import StudentError
from cotdistill.rationales.conditions import parse
from cotdistill.students.batches import Row, Stream, collate, weighted
from cotdistill.students.loading import new_built_in, prepare_torch, weights
from cotdistill.students.models import BuiltIn
from cotdistill.students.reader import Forward
from cotdistill.students.tokens import LABEL, RATIONALE
from cotdistill.students.training import Hooks, batch_loss, checkpoint_shares, learning_rate, optimiser, train

TINY = BuiltIn("tiny", "for tests", layers=1, width=16, heads=2, positions=64)


class Stop(Exception):
    pass


def quiet(log, values):
    pass


@pytest.fixture(autouse=True)
def one_thread():
    prepare_torch(1, False)


def trained(encoder, examples, text="post_cot", config=None, hooks=None, resume=None, identity="run"):
    config = config or TrainingConfig(steps=12, batch_size=4, evaluations=0, lr=1e-2)
    corpus = encoder.corpus(examples)
    rows = [weighted(encoder.sequences(corpus, i, parse(text), 0), config) for i in range(len(examples))]
    model = new_built_in(TINY, len(encoder.tokenizer.get_vocab()), seed=1)
    stream = Stream([20 + i for i in range(len(examples))], config.batch_size, seed=0)
    log = train(
        model,
        lambda i, e: rows[i],
        stream,
        config,
        steps=config.steps,
        pad=0,
        hooks=hooks or Hooks(quiet),
        resume=resume,
        identity=identity,
    )
    return model, log


def same(one, two):
    a, b = weights(one), weights(two)
    return all(torch.equal(a[name], b[name]) for name in a)


def test_the_loss_is_the_label_mean_plus_the_rationale_mean_over_examples(encoder, examples):
    corpus, config = encoder.corpus(examples), TrainingConfig(rationale_weight=0.5)
    model = new_built_in(TINY, len(encoder.tokenizer.get_vocab()), seed=1)
    sequences = [encoder.sequences(corpus, i, parse("post_cot"), 0)[0] for i in range(3)]
    rows = [row for s in sequences for row in weighted([s], config)]
    batch = collate(rows, 0)
    loss, losses = batch_loss(Forward(model), batch, 3.0)
    by_hand = 0.0
    for s in sequences:
        ids = torch.tensor(s.ids.astype(np.int64))[None]
        token = (
            torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="none").detach().numpy()
        )
        by_hand += token[s.loss[1:] == LABEL].mean() + 0.5 * token[s.loss[1:] == RATIONALE].mean()
    assert float(loss.detach()) == pytest.approx(by_hand / 3, rel=1e-5)
    assert len(losses) == len(batch.groups) and (batch.groups == LABEL).sum() == 3


def test_the_gradient_is_the_same_under_accumulation(encoder, examples):
    whole, _ = trained(encoder, examples, config=TrainingConfig(steps=1, batch_size=4, evaluations=0, lr=0.0))
    grads = {n: p.grad.clone() for n, p in whole.named_parameters()}
    split, _ = trained(
        encoder, examples, config=TrainingConfig(steps=1, batch_size=4, micro_batch=1, evaluations=0, lr=0.0)
    )
    assert all(torch.allclose(grads[n], p.grad, atol=1e-6) for n, p in split.named_parameters())


def test_training_lowers_the_loss(encoder, examples):
    _, log = trained(encoder, examples, config=TrainingConfig(steps=40, batch_size=4, evaluations=0, lr=1e-2))
    losses = [value for _, _, _, name, value in log.curve if name == "label_loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert log.tokens > 0 and log.loss_tokens > 0 and log.padded_tokens >= log.tokens


def test_the_same_run_gives_the_same_bits(encoder, examples):
    assert same(trained(encoder, examples)[0], trained(encoder, examples)[0])


@pytest.mark.parametrize("emptied", ["post_cot/mask(fraction=1.0,loss=off)", "post_cot/drop(fraction=1.0)"])
def test_a_student_of_emptied_rationales_is_the_label_only_student_to_the_bit(encoder, examples, emptied):
    assert same(trained(encoder, examples, emptied)[0], trained(encoder, examples, "label_only")[0])


@pytest.mark.parametrize("at", [1, 5, 11])
def test_a_run_stopped_at_any_step_and_resumed_ends_with_the_same_bits(encoder, examples, tmp_path, at):
    def stop(log, values):
        if log.step == at:
            raise Stop

    whole, log = trained(encoder, examples)
    with pytest.raises(Stop):
        trained(encoder, examples, hooks=Hooks(stop), resume=tmp_path / "resume.safetensors")
    resumed, again = trained(encoder, examples, resume=tmp_path / "resume.safetensors")
    assert same(whole, resumed)
    assert [row[:2] + row[3:] for row in log.curve] == [row[:2] + row[3:] for row in again.curve]
    assert (log.tokens, log.flops) == (again.tokens, again.flops)


def test_a_damaged_checkpoint_costs_the_work_but_not_the_run(encoder, examples, tmp_path):
    def stop(log, values):
        if log.step == 6:
            raise Stop

    path, said = tmp_path / "resume.safetensors", []
    for damage in (lambda data: data[: len(data) // 2], lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]):
        with pytest.raises(Stop):
            trained(encoder, examples, hooks=Hooks(stop), resume=path)
        path.write_bytes(damage(path.read_bytes()))
        resumed, _ = trained(encoder, examples, hooks=Hooks(quiet, log=said.append), resume=path)
        assert same(resumed, trained(encoder, examples)[0])
        path.unlink(missing_ok=True)
    assert len([line for line in said if "starts over" in line]) == 2


def test_a_checkpoint_of_another_run_is_not_used(encoder, examples, tmp_path):
    def stop(log, values):
        raise Stop

    path, said = tmp_path / "resume.safetensors", []
    with pytest.raises(Stop):
        trained(encoder, examples, hooks=Hooks(stop), resume=path, identity="other")
    trained(encoder, examples, hooks=Hooks(quiet, log=said.append), resume=path)
    assert "another run" in said[0]


def test_weights_are_kept_at_the_named_shares_and_dev_is_scored_equally_often(encoder, examples):
    kept, scored = [], []
    config = TrainingConfig(steps=10, batch_size=2, evaluations=3, checkpoints="0,0.5,1")
    hooks = Hooks(
        quiet, evaluate=lambda: scored.append(1) or 0.25, keep=lambda share: kept.append(share) or f"w{share}"
    )
    _, log = trained(encoder, examples, config=config, hooks=hooks)
    assert kept == [0.0, 0.5, 1.0] and log.kept == {"weights@0": "w0.0", "weights@0.5": "w0.5", "weights@1": "w1.0"}
    assert [row[0] for row in log.curve if row[3] == "dev_accuracy"] == [4, 7, 10]


def test_the_learning_rate_rises_then_falls_to_nothing():
    config = TrainingConfig(lr=1.0, warmup=0.1)
    assert learning_rate(config, 0, 100) == pytest.approx(0.1)
    assert learning_rate(config, 9, 100) == pytest.approx(1.0)
    assert learning_rate(config, 55, 100) == pytest.approx(0.5)
    assert learning_rate(config, 99, 100) < 1e-3


def test_a_loss_that_is_no_number_stops_the_run_with_advice():
    model = new_built_in(TINY, 10, seed=0)
    with torch.no_grad():
        model.transformer.wte.weight.fill_(float("nan"))
    row = Row(np.array([3, 4, 5], np.int32), np.array([0, 0, 1], np.float32), np.array([0, 0, 1], np.int8))
    with pytest.raises(StudentError) as error:
        train(
            model,
            lambda i, e: [row],
            Stream([3], 1, 0),
            TrainingConfig(steps=1, batch_size=1),
            steps=1,
            pad=0,
            hooks=Hooks(quiet),
        )
    assert "learning rate" in error.value.hint


def test_checkpoint_shares_that_are_no_shares_are_refused():
    assert checkpoint_shares(TrainingConfig(checkpoints="")) == [1.0]
    for text in ("a,b", "0.5,2"):
        with pytest.raises(StudentError):
            checkpoint_shares(TrainingConfig(checkpoints=text))


def test_a_resume_checkpoint_is_plain_safetensors(encoder, examples, tmp_path):
    def stop(log, values):
        raise Stop

    with pytest.raises(Stop):
        trained(encoder, examples, hooks=Hooks(stop), resume=tmp_path / "r.safetensors")
    assert "random" in safetensors.torch.load_file(tmp_path / "r.safetensors")
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".json"] == ["r.safetensors"]


def test_activations_that_are_computed_again_give_the_same_weights(encoder, examples, monkeypatch):
    calls, forward = [], GPT2MLP.forward
    monkeypatch.setattr(
        GPT2MLP, "forward", lambda self, *args, **kwargs: calls.append(self.training) or forward(self, *args, **kwargs)
    )
    kept, _ = trained(encoder, examples, config=TrainingConfig(steps=5, batch_size=4, evaluations=0, lr=1e-2))
    once = sum(calls)
    again, _ = trained(
        encoder,
        examples,
        config=TrainingConfig(steps=5, batch_size=4, evaluations=0, lr=1e-2, gradient_checkpointing=True),
    )
    assert (once, sum(calls) - once) == (5, 10)
    a, b = weights(kept), weights(again)
    # What is computed again is computed for every token of the last block, too, so sums are rounded otherwise.
    assert all(torch.allclose(a[name], b[name], atol=1e-4) for name in a)
    assert not again.is_activation_checkpointing


def test_a_student_without_a_compiler_is_told_of_it_before_it_is_trained(encoder, examples, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StudentError) as error:
        trained(encoder, examples, config=TrainingConfig(steps=1, batch_size=4, evaluations=0, compile=True))
    assert "g++" in error.value.hint and "training.compile" in error.value.hint


@pytest.mark.extras
@pytest.mark.skipif(Path(sys.prefix).name != ".venv-extras", reason="compiling takes a minute: make test-extras")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_steps_give_the_same_losses(encoder, examples):
    config = TrainingConfig(steps=4, batch_size=4, evaluations=0, lr=1e-2)
    plain, compiled = (trained(encoder, examples, config=replace(config, compile=on))[1].curve for on in (False, True))
    assert [v for *_, name, v in compiled if name == "loss"] == pytest.approx(
        [v for *_, name, v in plain if name == "loss"], rel=1e-4
    )


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        # Ten steps, no warm-up: 1 - done, with done = 0, .1, ..., .9.
        ("linear", [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        ("constant", [1.0] * 10),
    ],
)
def test_a_linear_schedule_falls_evenly_and_a_constant_one_stays(schedule, rates):
    config = TrainingConfig(lr=2.0, schedule=schedule, warmup=0.0)
    assert [learning_rate(config, step, 10) for step in range(10)] == pytest.approx([2.0 * rate for rate in rates])


def test_a_linear_schedule_begins_to_fall_where_the_warm_up_ends():
    config = TrainingConfig(lr=1.0, schedule="linear", warmup=0.2)
    # Two of ten steps rise (.5, 1), then 1 - done over the eight that are left.
    assert [learning_rate(config, step, 10) for step in (0, 1, 2, 6, 9)] == pytest.approx([0.5, 1.0, 1.0, 0.5, 0.125])


def test_weight_decay_pulls_on_matrices_and_on_nothing_else():
    model = new_built_in(TINY, 20, seed=1)
    decayed, plain = optimiser(model, TrainingConfig(weight_decay=0.25)).param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.25, 0.0)
    assert {p.ndim for p in decayed["params"]} == {2} and {p.ndim for p in plain["params"]} == {1}
    assert len(decayed["params"]) + len(plain["params"]) == len(list(model.parameters()))
    before = {name: weight.clone() for name, weight in weights(model).items()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser(model, TrainingConfig(weight_decay=0.25, lr=0.1)).step()
    # Without a gradient, a decayed weight is multiplied by 1 - lr x decay = 0.975.
    for name, weight in weights(model).items():
        factor = 0.975 if weight.ndim == 2 else 1.0
        assert torch.allclose(weight, before[name] * factor, rtol=1e-6, atol=0), name


def test_gradients_are_clipped_to_the_length_that_is_asked_for(encoder, examples):
    config = TrainingConfig(steps=1, batch_size=4, evaluations=0, lr=0.01, warmup=0.0, weight_decay=0.0, clip=1e-8)
    corpus = encoder.corpus(examples)
    rows = [weighted(encoder.sequences(corpus, i, parse("post_cot"), 0), config) for i in range(len(examples))]
    stream = Stream([20 + i for i in range(len(examples))], 4, seed=0)
    reference = new_built_in(TINY, len(encoder.tokenizer.get_vocab()), seed=1)
    batch = collate([row for i, _ in stream.step(0) for row in rows[i]], 0)
    batch_loss(Forward(reference), batch, 4.0)[0].backward()
    length = torch.sqrt(sum((p.grad**2).sum() for p in reference.parameters()))
    after = dict(trained(encoder, examples, config=config)[0].named_parameters())
    for name, parameter in reference.named_parameters():
        # The first step of Adam: lr x g / (|g| + eps), where clipping has brought g near eps.
        gradient = parameter.grad * (1e-8 / length)
        expected = parameter - 0.01 * gradient / (gradient.abs() + 1e-8)
        assert torch.allclose(after[name], expected, atol=1e-5), name
        assert (after[name] - parameter).abs().max() < 0.006, "an unclipped step moves every weight by 0.01"

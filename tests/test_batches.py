"""Rows, weights and the order of examples."""

import numpy as np

from cotdistill.config import TrainingConfig
from cotdistill.rationales.conditions import parse
from cotdistill.students.batches import BUCKET_BATCHES, Stream, collate, steps_for_tokens, tokens_in_steps, weighted


def test_the_span_loss_gives_label_and_rationale_their_weight_whatever_their_length(encoder, examples):
    sequences = encoder.sequences(encoder.corpus(examples), 3, parse("post_cot"), 0)
    (row,) = weighted(sequences, TrainingConfig(rationale_weight=0.5))
    assert row.weights[row.groups == 1].tolist() == [1.0]
    assert np.allclose(row.weights[row.groups == 2], 0.5 / 7)
    (row,) = weighted(sequences, TrainingConfig(loss="token_mean"))
    assert row.weights[row.groups > 0].tolist() == [1.0] * 8


def test_the_two_sequences_of_multitask_share_one_examples_weight(encoder, examples):
    rows = weighted(encoder.sequences(encoder.corpus(examples), 3, parse("multitask"), 0), TrainingConfig())
    assert np.isclose(sum(row.weights.sum() for row in rows), 2.0)


def test_an_epoch_meets_every_example_once_and_a_step_is_full_across_its_border():
    stream = Stream([5, 9, 1, 7, 3, 8, 2], batch_size=2, seed=0)
    pairs = [pair for step in range(BUCKET_BATCHES) for pair in stream.step(step)]
    assert len(pairs) == 2 * BUCKET_BATCHES
    for epoch in range(4):
        assert sorted(i for i, e in pairs if e == epoch) == list(range(7))


def test_a_step_follows_from_seed_and_number_alone():
    one, two = Stream(range(1, 101), 8, seed=3), Stream(range(1, 101), 8, seed=3)
    later = [two.step(s) for s in (90, 5, 41)]
    assert [one.step(s) for s in (5, 41, 90)] == [later[1], later[2], later[0]]
    assert Stream(range(1, 101), 8, seed=4).step(5) != one.step(5)


def test_bucketing_puts_similar_lengths_together():
    lengths = np.random.default_rng(0).integers(10, 100, 1000)
    stream = Stream(lengths, 16, seed=0)
    padding = sum(
        max(lengths[i] for i, _ in stream.step(s)) * 16 - sum(lengths[i] for i, _ in stream.step(s)) for s in range(62)
    )
    assert padding < 0.1 * lengths.sum()


def test_a_batch_asks_for_logits_before_each_predicted_token_only(encoder, examples):
    rows = [
        row
        for i in (0, 3)
        for row in weighted(encoder.sequences(encoder.corpus(examples), i, parse("label_only"), 0), TrainingConfig())
    ]
    batch = collate(rows, pad=0)
    assert batch.ids.shape == (2, 18)
    assert batch.columns.tolist() == [16, 16] and batch.rows.tolist() == [0, 1]
    assert batch.targets.tolist() == [int(row.ids[-1]) for row in rows]


def test_equal_tokens_is_the_fewest_steps_that_reach_the_other_conditions_tokens():
    stream = Stream([1] * 50, batch_size=5, seed=0)
    assert tokens_in_steps(stream, lambda i, e: 30, 4) == 600
    assert steps_for_tokens(stream, lambda i, e: 11, 600) == 11  # 10 steps see 550 tokens, 11 see 605

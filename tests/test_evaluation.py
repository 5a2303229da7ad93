"""Scores and written rationales of a tiny real student, against brute force."""

from dataclasses import replace

import pytest
import torch

from cotdistill.errors import SequenceTooLong
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.students.loading import new_built_in, prepare_torch
from cotdistill.students.models import BuiltIn
from cotdistill.students.reader import Forward
from cotdistill.students.scoring.evaluation import _parsed, accuracy, choice_scores, primary_metric, score
from cotdistill.students.scoring.generation import greedy
from tests.conftest import example

TINY = BuiltIn("tiny", "for tests", layers=2, width=16, heads=2, positions=64)


@pytest.fixture
def model():
    prepare_torch(1, False)
    return new_built_in(TINY, 62, seed=3).eval()


@torch.no_grad()
def brute(model, prompt, choice):
    likelihood = model(torch.tensor([[*prompt, *choice]])).logits.log_softmax(-1)[0]
    return sum(float(likelihood[len(prompt) - 1 + i, token]) for i, token in enumerate(choice))


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_packed_scores_equal_one_choice_at_a_time(model, batch):
    prompts = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]
    choices = [[[20], [21, 22, 23]], [[24, 25], [26], [27, 28]], [[29, 30, 31], [29, 30]]]
    scores = choice_scores(Forward(model), prompts, choices, pad=0, batch=batch)
    for prompt, options, row in zip(prompts, choices, scores, strict=True):
        assert row == pytest.approx([brute(model, prompt, option) for option in options], abs=1e-5)


def test_written_rationales_equal_one_forward_pass_a_token(model):
    prompts = [[5, 6, 7], [8, 9, 10, 11], [12]]
    for prompt, written in zip(
        prompts, greedy(Forward(model), prompts, [60, 61], limit=9, after=2, pad=0, eos=1, batch=2), strict=True
    ):
        ids = list(prompt)
        for _ in written.ids:
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        assert ids[len(prompt) :] == written.ids
        assert not written.terminated


def test_writing_ends_at_the_cue_and_goes_on_for_the_answer(model):
    free = greedy(Forward(model), [[5, 6, 7]], [60, 61], limit=8, after=0, pad=0, eos=1)[0].ids
    stop = free[2:4]
    written = greedy(Forward(model), [[5, 6, 7]], stop, limit=8, after=2, pad=0, eos=1)[0]
    first = next(i for i in range(len(free)) if free[i : i + 2] == stop)
    assert written.terminated and written.ids == free[:first] and written.after == free[first + 2 : first + 4]


def test_the_answer_is_the_longest_choice_that_the_text_begins_with():
    assert _parsed([7, 8, 9], [[7], [7, 8], [8]]) == 1
    assert _parsed([5], [[7], [7, 8]]) == -1


def test_every_mode_gives_a_prediction_with_probabilities_that_sum_to_one(model, encoder, examples):
    for mode in ("direct", "own", "given"):
        found = score(model, encoder, examples, PLACEMENTS.get("pre_cot"), mode, metric="sum", limit=5)
        assert [p.id for p in found] == [e.id for e in examples]
        for p in found:
            assert sum(p.probabilities) == pytest.approx(1.0)
            assert p.correct == (p.margin > 0)
            assert (p.rationale is not None) == (mode == "own")
    assert 0 <= accuracy(found) <= 1


def test_answers_of_several_tokens_are_judged_per_byte(encoder, examples):
    assert primary_metric(encoder, examples) == "sum"
    longer = example("x", "cat", "house", None)
    object.__setattr__(longer, "choices", tuple(type(c)(c.label, f"{c.text} tree") for c in longer.choices))
    assert primary_metric(encoder, [longer]) == "per_byte"


def test_per_byte_scores_divide_by_the_length_of_the_text(model, encoder, examples):
    (one,) = score(model, encoder, examples[:1], PLACEMENTS.get("label_only"), "direct", metric="per_byte", limit=1)
    assert one.scores == pytest.approx(
        [s / len(t) for s, t in zip(one.sums, ("tree", "pond", "house", "kennel"), strict=True)]
    )


def test_a_prompt_longer_than_the_student_reads_is_refused(model):
    with pytest.raises(SequenceTooLong):
        choice_scores(Forward(model), [[5] * 64], [[[6, 7]]], pad=0)


def test_a_given_rationale_that_is_too_long_is_cut_where_the_student_reads_no_more(model, encoder):
    long = example("long", "bird", "tree", " ".join(["it flies"] * 200))
    fits = example("fits", "bird", "tree", "it flies")
    placement = PLACEMENTS.get("pre_cot")
    found = score(model, encoder, [long, fits], placement, "given", metric="sum", limit=5)
    assert [p.id for p in found] == ["long", "fits"]
    room = TINY.positions - len(encoder.prompt(long, placement.prompt("given"), [])) - len(encoder.cue("rationale_cue"))
    whole = [t.id for t in encoder.read(long.rationale)]
    cut = encoder.prompt(long, placement.prompt("given"), whole[:room])
    likelihood = (
        model(torch.tensor([cut])).logits[0, -1].log_softmax(-1).detach()
    )  # the answers are one token, read from the last place
    assert found[0].sums == pytest.approx([float(likelihood[ids[0]]) for ids in encoder.targets(long)], abs=1e-4)


@pytest.mark.parametrize("mode", ["direct", "own", "given"])
def test_one_question_that_is_too_long_loses_its_first_tokens_and_leaves_the_others_alone(model, encoder, mode):
    placement = PLACEMENTS.get("pre_cot")
    long, fits = (example(id, "bird", "tree", None) for id in ("long", "fits"))
    long = replace(long, question=" ".join(["the bird is red"] * 20))
    both, alone = (
        score(model, encoder, rows, placement, mode, metric="sum", limit=3) for rows in ([long, fits], [fits])
    )
    assert both[1].sums == pytest.approx(alone[0].sums, abs=1e-5) and len(both[0].sums) == 4
    room = encoder.answer_room([long], mode, TINY.positions)
    # Direct: one token of answer is read from the last place; own: a token, the cue of two and the answer follow.
    assert room == (64 if mode != "own" else 64 - 1 - 2 - 1)
    whole = encoder.prompt(long, placement.prompt(mode))
    cut = encoder.prompt(long, placement.prompt(mode), room=room)
    assert len(cut) == room and len(whole) > room and cut == whole[len(whole) - room :]


def test_a_prompt_whose_question_cannot_give_enough_keeps_its_end(encoder):
    rows = example("e", "bird", "tree", None)
    whole = encoder.prompt(rows, ("question", "choices", "label_cue"))
    assert encoder.prompt(rows, ("question", "choices", "label_cue"), room=3) == whole[-3:]
    assert encoder.prompt(rows, ("question", "choices", "label_cue"), room=len(whole)) == whole

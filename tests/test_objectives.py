"""Objectives: read from a condition, and a step as each of them makes it, by hand."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binomtest
from streamlit.testing.v1 import AppTest

from cotdistill.config import RunConfig, StudentConfig, TrainingConfig
from cotdistill.errors import GrammarError, StudentError, UnknownName
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.rationales.conditions import parse
from cotdistill.rationales.keyed import ranked_weights
from cotdistill.rationales.objectives import OBJECTIVES
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.results import rivals
from cotdistill.store.store import Store
from cotdistill.students.batches import Row, Stream, collate
from cotdistill.students.loading import new_built_in
from cotdistill.students.models import BuiltIn
from cotdistill.students.objectives.combined import Objectives
from cotdistill.students.objectives.self_generated import SelfGenerated, proposer
from cotdistill.students.preparation import prepare
from cotdistill.students.reader import Forward
from cotdistill.students.training import Hooks, batch_loss, micro_batches, train
from cotdistill.studies.spec import STUDIES, study_spec
from tests.terminal import check_keys, speaker

TINY = BuiltIn("tiny", "for tests", layers=1, width=16, heads=2, positions=64)


class Stop(Exception):
    pass


def row(*ids, first=1):
    """A sequence that is predicted from place `first` on."""
    told = np.array([0] * first + [1] * (len(ids) - first), np.int8)
    return Row(np.array(ids, np.int32), told / max(1, told.sum()), told)


def of(text, **more):
    """The objectives of a condition; more: attributes of its one objective, as a run would have set them."""
    objectives = Objectives(parse(text).objectives)
    for name, value in more.items():
        setattr(objectives.parts[0], name, value)
    return objectives


def self_generated(propose, rows_with_rationale, begin):
    memory = SelfGenerated({"begin": begin, "temperature": 1.0})
    memory.propose, memory.rows_with_rationale = propose, rows_with_rationale
    return memory


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_every_objective_reads_back_and_has_a_name_for_people(name):
    entry = OBJECTIVES.get(name)
    condition = parse(f"{'post_cot' if 'post_cot' in (entry.placements or ('post_cot',)) else 'pre_cot'}+{name}")
    assert parse(str(condition)) == condition and name in str(condition)
    assert (
        condition.label.startswith(("post-CoT, ", "pre-CoT, "))
        and condition.is_control == entry.control
        and entry.source
    )


def test_objectives_stand_between_transforms_and_options():
    condition = parse("post_cot/shuffle+label_smoothing(epsilon=0.2)+word_dropout@fraction=0.5")
    assert [one.name for one in condition.objectives] == [
        "label_smoothing",
        "word_dropout",
    ] and condition.fraction == 0.5
    assert str(condition) == (
        "post_cot/shuffle(unit=token,fraction=1.0)+label_smoothing(epsilon=0.2)+word_dropout(share=0.1,symbol=_)@fraction=0.5"
    )
    assert condition.label == "post-CoT, tokens shuffled, label smoothing epsilon 0.2, word dropout, 50 % of the rows"
    assert parse("post_cot+token_weights(selector=tf_idf)").selectors == ["tf_idf"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("label_only+token_weights", GrammarError), ("multitask+stepwise_removal", GrammarError), ("undistilled+label_smoothing", GrammarError),
        ("label_only+word_dropout+word_dropout", GrammarError), ("label_only+", GrammarError), ("label_only+smooth", UnknownName),
        ("label_only+label_smoothing(share=0.1)", UnknownName), ("label_only+label_smoothing(epsilon=2)", GrammarError),
        ("pre_cot+stepwise_removal(begin=0.9)", GrammarError), ("post_cot+last_to_all(begin=0.6)", GrammarError),
        ("pre_cot+stepwise_removal@tokens=pre_cot", GrammarError), ("label_only@tokens=(pre_cot+self_generated)", GrammarError),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(text, error):
    with pytest.raises(error):
        parse(text)


def test_label_smoothing_gives_a_share_of_the_target_to_every_token():
    logits, weights = torch.tensor([[math.log(6.0), math.log(3.0), 0.0]]), torch.ones(1)
    total, losses = of("label_only+label_smoothing(epsilon=0.3)").loss(
        logits, torch.tensor([0]), weights, collate([row(1, 2)], 0)
    )
    # Probabilities .6, .3 and .1; targets .8, .1 and .1.
    assert (
        float(total)
        == float(losses[0])
        == pytest.approx(-(0.8 * math.log(0.6) + 0.1 * math.log(0.3) + 0.1 * math.log(0.1)))
    )


def test_word_dropout_replaces_what_is_read_and_nothing_that_is_predicted():
    batch = collate([row(*range(1, 60)), row(7, 8, 9)], 0)
    objectives = of("label_only+word_dropout(share=0.5)", seed=3, symbol=99)
    read = objectives.batch(batch, 4, 0)
    hit = read.ids != batch.ids
    assert set(read.ids[hit]) == {99} and 15 < hit.sum() < 45 and not hit[1, 3:].any()
    assert (read.targets == batch.targets).all()
    again, other = objectives.batch(batch, 4, 0), objectives.batch(batch, 5, 0)
    assert (again.ids == read.ids).all() and (other.ids != read.ids).any()


def test_half_of_a_step_comes_back_in_the_next_under_self_distillation():
    stream = Stream([2] * 12, 4, seed=0)
    rows = [row(i, i) for i in range(12)]
    objectives = of("label_only+self_distillation")
    steps = [
        [int(one.ids[0]) for one in objectives.rows(step, 10, stream, lambda i, e: [rows[i]])] for step in range(6)
    ]
    assert all(len(step) == 4 for step in steps)
    assert all(steps[i][2:] == steps[i + 1][:2] for i in range(5))
    # The halves are those of the stream, one new one a step.
    assert steps[0] + steps[2] == [i for step in (0, 1) for i, _ in stream.step(step)]


def test_self_distillation_is_the_divergence_from_what_was_said_before():
    objectives = of("label_only+self_distillation(alpha=2.0,temperature=2.0)")
    stream, rows = Stream([2] * 4, 2, seed=0), [row(i, i) for i in range(4)]
    before, now = torch.tensor([[0.0, 2.0], [4.0, 0.0]]), torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    weights = torch.ones(2)
    totals = []
    for step, logits in enumerate((before, now)):
        batch = collate(objectives.rows(step, 2, stream, lambda i, e: [rows[i]]), 0)
        targets = torch.tensor([0, 0])
        total, losses = objectives.loss(logits, targets, weights, batch)
        totals.append(float(total - losses.sum()))
        objectives.done()
    # The second row of the first step comes back first: softmax(4/2, 0) = .881, .119 against .5, .5.
    p = 1 / (1 + math.exp(-2.0))
    assert totals == pytest.approx([0.0, 2.0 * 4.0 * (p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5))])


def ranked_batch():
    """Two examples: the first with two wrong choices, one of them two tokens long; the second with one."""

    def rival(*ids, first):
        groups = np.array([0] * first + [3] * (len(ids) - first), np.int8)
        return Row(np.array(ids, np.int32), np.zeros(len(ids), np.float32), groups, follows=True)

    return [row(5, 0), rival(5, 1, first=1), rival(5, 2, 2, first=1), row(6, 7, 1, first=2), rival(6, 7, 0, first=2)]


def test_margin_is_the_hinge_over_the_wrong_choices():
    batch = collate(ranked_batch(), 9)
    # Log probabilities of tokens 0, 1 and 2: log .5, log .3, log .2 at every place.
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2]])).repeat(len(batch.targets), 1)
    targets, weights = torch.from_numpy(batch.targets), torch.from_numpy(batch.weights)
    a, b, c = math.log(0.5), math.log(0.3), math.log(0.2)
    hinge = (max(0.0, 1 - a + b) + max(0.0, 1 - a + 2 * c)) / 2 + (1 - b + a)
    assert 1 - a + 2 * c < 0 < 1 - a + b
    assert float(of("label_only+margin").loss(logits, targets, weights, batch)[0]) == pytest.approx(hinge)
    total, _ = of("label_only+margin(margin=1.0,alpha=0.25)").loss(logits, targets, weights, batch)
    assert float(total) == pytest.approx(0.25 * hinge + 0.75 * (-a - b))
    # Smoothing is of the cross-entropy; choices are ranked by their likelihood.
    smoothed, _ = of("label_only+margin+label_smoothing(epsilon=0.3)").loss(logits, targets, weights, batch)
    assert float(smoothed) == pytest.approx(hinge)


@pytest.mark.parametrize(("size", "cut"), [(1, [3, 2]), (2, [3, 2]), (4, [5]), (None, [5])])
def test_no_micro_batch_parts_an_example_from_its_rivals(size, cut):
    config = TrainingConfig(batch_size=2, micro_batch=size) if size else TrainingConfig(batch_size=2)
    assert [len(batch.lengths) for batch in micro_batches(ranked_batch(), config, 0)] == cut

    def total(config):
        objectives, found = of("label_only+margin"), 0.0
        for b in micro_batches(ranked_batch(), config, 0):
            found += float(
                objectives.loss(
                    torch.zeros(len(b.targets), 9), torch.from_numpy(b.targets), torch.from_numpy(b.weights), b
                )[0]
            )
        return found

    # Even odds over nine tokens: 1 and nothing for the longer rival, the mean of it; and 1.
    assert total(config) == pytest.approx(1.5) == pytest.approx(total(TrainingConfig(batch_size=2)))


def test_weights_follow_ranks_and_keep_their_sum():
    assert ranked_weights([0.5, 3.0, -1.0], 0.2) == pytest.approx([0.6, 1.0, 0.2])
    assert ranked_weights([7.0], 0.2) == pytest.approx([1.0]) and ranked_weights([1.0, 1.0], 0.0) == pytest.approx(
        [1.0, 0.0]
    )


def test_a_rationale_is_taken_away_in_stages():
    objectives = of("pre_cot+stepwise_removal(begin=0.1,end=0.6)")
    assert [objectives.parts[0].share_left(step, 100) for step in (0, 10, 35, 60, 99)] == [1.0, 1.0, 0.5, 0.0, 0.0]
    assert parse("pre_cot+stepwise_removal").spec.primary == "direct" and parse("pre_cot").spec.primary == "own"
    asked = []
    objectives = of(
        "pre_cot+stepwise_removal(begin=0.0,end=1.0)",
        truncated_rows=lambda i, e, share: asked.append(share) or [row(1, 2)],
    )
    objectives.rows(5, 10, Stream([2] * 4, 2, seed=0), lambda i, e: pytest.fail("the whole rationale"))
    assert asked == [0.5, 0.5]


def test_a_rationale_is_taken_away_from_the_half_that_comes_back_under_self_distillation_too():
    asked = []
    objectives = of("pre_cot+stepwise_removal(begin=0.0,end=1.0)+self_distillation")
    objectives.parts[0].truncated_rows = lambda i, e, share: asked.append((i, share)) or [row(1, 2)]
    stream = Stream([2] * 8, 4, seed=0)
    objectives.rows(3, 4, stream, lambda i, e: pytest.fail("the whole rationale"))
    # Step 3 holds halves 3 and 4 of the stream, of which the first comes back.
    members = [i for i, _ in (*stream.step(1)[2:], *stream.step(2)[:2])]
    assert asked == [(i, 0.25) for i in members]


def test_loss_grows_from_the_last_sentence_to_all_in_stages():
    asked = []
    objectives = of(
        "post_cot+last_to_all(begin=0.2,end=0.7)", tail_loss_rows=lambda i, e, share: asked.append(share) or [row(1, 2)]
    )
    assert [objectives.parts[0].share_with_loss(step, 100) for step in (0, 20, 45, 70, 99)] == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert objectives.values(45, 100) == {"rationale_told": 0.5} and of("post_cot").values(45, 100) == {}
    stream, whole = Stream([2] * 4, 2, seed=0), []
    for step in (0, 45, 70):
        objectives.rows(step, 100, stream, lambda i, e: whole.append(i) or [row(1, 2)])
    assert asked == [0.0, 0.0, 0.5, 0.5] and len(whole) == 2


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_what_is_cross_entropy_alone_goes_the_short_way(name, encoder):
    placement = (OBJECTIVES.get(name).placements or ("post_cot",))[0]
    objectives, model = of(f"{placement}+{name}"), new_built_in(TINY, encoder.vocabulary_size, seed=0)
    assert objectives.plain != (name in ("label_smoothing", "margin", "self_distillation"))
    if not objectives.plain:
        return
    found, batch = [], collate([row(*range(3, 20)), row(7, 8, 9)], 0)
    for plain in (True, False):
        objectives.plain = plain
        model.zero_grad()
        loss, _ = batch_loss(Forward(model), batch, 2.0, objectives)
        loss.backward()
        found.append([loss.detach(), *(p.grad.clone() for p in model.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_what_begins_where_it_ends_comes_at_once():
    objectives = of("pre_cot+stepwise_removal(begin=0.5,end=0.5)")
    assert [objectives.parts[0].share_left(step, 10) for step in (0, 4, 5, 9)] == [1.0, 1.0, 0.0, 0.0]
    assert [of("post_cot+last_to_all(begin=0,end=0)").parts[0].share_with_loss(step, 10) for step in (0, 9)] == [
        1.0,
        1.0,
    ]


def test_a_rationale_of_its_own_takes_the_place_of_the_one_before_where_it_leads_to_the_answer():
    # Two examples a step; at each, what the student writes for them: None where the answer would be wrong.
    written = {1: {0: [7, 7], 1: None}, 2: {2: None, 3: [8]}, 3: {0: None, 1: [9, 9, 9]}, 4: {2: None, 3: [6]}}
    stream = type("Stream", (), {"step": lambda self, step: [(2 * (1 - step % 2) + k, step) for k in (0, 1)]})()
    teacher, own = lambda i, e: [row(1, 100 + i)], lambda i, e, ids: [row(1, *ids)]
    memory = self_generated(lambda members, step: [written[step][i] for i in members], own, 0.1)
    steps, values = [], []
    for step in range(5):
        steps.append([list(one.ids[1:]) for one in memory.step_rows(step, 10, stream, teacher)])
        values.append(memory.values(step, 10))
    assert steps == [[[102], [103]], [[7, 7], [101]], [[102], [8]], [[7, 7], [9, 9, 9]], [[102], [6]]]
    # Ages: at step 3 the first is two steps old and the second new; the teacher's count from the start.
    assert values == [
        {}, {"acceptance": 0.5, "memory_age": 0.5, "memory_own": 0.5}, {"acceptance": 0.5, "memory_age": 1.0, "memory_own": 0.5},
        {"acceptance": 0.5, "memory_age": 1.0, "memory_own": 1.0}, {"acceptance": 0.5, "memory_age": 2.0, "memory_own": 0.5},
    ]  # fmt: skip
    assert memory.values(3, 10) == {}
    again = self_generated(lambda members, step: [None] * len(members), own, 0.1)
    again.load(memory.state())
    assert [list(one.ids[1:]) for one in again.step_rows(5, 10, stream, teacher)] == [[7, 7], [9, 9, 9]]
    empty = self_generated(lambda members, step: [None] * len(members), own, 0.1)
    again.load(empty.state())
    assert [list(one.ids[1:]) for one in again.step_rows(5, 10, stream, teacher)] == [[100], [101]]
    with pytest.raises(StudentError, match="several processes"):
        of("pre_cot+self_generated").check(2)


def test_a_rationale_of_its_own_that_is_longer_than_what_is_trained_on_is_not_taken(encoder, examples):
    run = RunConfig(
        "t",
        "0" * 64,
        "pre_cot+self_generated",
        source="teacher",
        sources=("teacher",),
        training=TrainingConfig(batch_size=5),
    )
    whole = prepare(encoder, {"teacher": examples}, run, 128)
    rows = {i: whole.training_set.rows(i, 0)[0] for i in range(5)}
    longest = max(rows, key=lambda i: len(rows[i].ids))
    prepared = prepare(
        encoder, {"teacher": examples}, replace(run, student=StudentConfig(max_length=len(rows[longest].ids))), 128
    )
    # As many tokens as the teacher's longest rationale fit, one more does not.
    teacher = len(encoder.read(examples[longest].rationale))
    for more, taken in ((0, True), (1, False)):
        memory = self_generated(
            lambda members, step, more=more: [[20] * (teacher + more) for _ in members],
            prepared.training_set.rows_with_rationale,
            0.0,
        )
        read = memory.step_rows(1, 4, Stream([2] * 5, 5, 0), prepared.training_set.rows)
        assert any(list(row.ids) == list(rows[longest].ids) for row in read) != taken
        assert (memory.values(1, 4)["acceptance"] == 1.0) == taken


def test_only_ended_rationales_after_which_the_student_is_right_are_proposed(encoder, examples):
    placement = PLACEMENTS.get("pre_cot")
    model = new_built_in(TINY, encoder.vocabulary_size, seed=0)
    # Taught for a while to write a few words and to answer by the animal, so that some of what it draws leads to the right answer.
    rows = []
    for one in examples:
        told = [*(token.id for token in encoder.read("it swims")), *encoder.label_cue, *encoder.targets(one)[one.gold]]
        start = encoder.prompt(one, placement.prompt("own"))
        bears = np.array([0] * len(start) + [1] * len(told), np.int8)
        rows.append(Row(np.array([*start, *told], np.int32), bears.astype(np.float32), bears))
    stream, config = (
        Stream([len(one.ids) for one in rows], 5, 0),
        TrainingConfig(steps=25, batch_size=5, evaluations=0, lr=0.02),
    )
    train(model, lambda i, e: [rows[i]], stream, config, steps=25, pad=0, hooks=Hooks(lambda log, values: None))
    propose = proposer(model, encoder, examples, placement, limit=6, metric="sum", seed=3, temperature=1.0)
    found = [(i, ids) for step in range(12) for i, ids in enumerate(propose(range(5), step))]
    taken = [(i, ids) for i, ids in found if ids is not None]
    assert 0 < len(taken) < len(found) and propose([2, 0], 7) == [propose(range(5), 7)[2], propose(range(5), 7)[0]]
    for i, ids in taken:
        prompt = [*encoder.prompt(examples[i], placement.prompt("own")), *ids, *encoder.label_cue]
        with torch.no_grad():
            last = model(input_ids=torch.tensor([prompt])).logits[0, -1]
        choices = torch.stack([last[ids[0]] for ids in encoder.targets(examples[i])])
        assert int(choices.argmax()) == examples[i].gold and 0 < len(ids) <= 6 and encoder.specials.eos not in ids


def test_self_distillation_in_several_processes_is_refused():
    with pytest.raises(StudentError, match="several processes"):
        of("label_only+self_distillation").check(2)
    of("label_only+label_smoothing").check(2)


def test_a_run_that_was_stopped_remembers_what_it_had_written(encoder, examples, tmp_path):
    run = RunConfig(
        "t",
        "0" * 64,
        "pre_cot+self_generated(begin=0.0)",
        source="teacher",
        sources=("teacher",),
        training=TrainingConfig(batch_size=3),
    )
    prepared, placement, ends = prepare(encoder, {"teacher": examples}, run, 64), PLACEMENTS.get("pre_cot"), []
    config = TrainingConfig(steps=14, batch_size=3, evaluations=0, lr=0.02)

    def go(seed, stop_at=None):
        model, path = new_built_in(TINY, encoder.vocabulary_size, seed=seed), tmp_path / f"{bool(ends)}.safetensors"
        propose = proposer(model, encoder, examples, placement, limit=15, metric="sum", seed=0, temperature=1.0)
        # What the student would not have got right is taken too, or so small a one would remember nothing.
        memory = self_generated(
            lambda members, step: [ids or [20 + step] for ids in propose(members, step)],
            prepared.training_set.rows_with_rationale,
            0.0,
        )
        objectives = of(run.condition)
        objectives.parts = [memory]

        def report(log, values):
            if log.step == stop_at:
                raise Stop

        train(
            model, prepared.training_set.rows, prepared.stream, config, steps=14, pad=0, hooks=Hooks(report, log=lambda text: None), resume=path,
            objectives=objectives,
        )  # fmt: skip
        ends.append((model.state_dict(), memory.state()))

    go(0)
    with pytest.raises(Stop):
        go(0, stop_at=8)
    go(1)
    (weights, held), (again, too) = ends
    assert len(held["memory.ids"]) and all(torch.equal(weights[name], again[name]) for name in weights)
    assert all(torch.equal(held[name], too[name]) for name in held)


@pytest.mark.parametrize("text", ["label_only+self_distillation", "label_only+word_dropout"])
def test_a_run_that_was_stopped_resumes_to_the_bit(text, tmp_path):
    rows = [row(*np.random.default_rng(i).integers(3, 30, 6)) for i in range(12)]
    ends = []
    for stop_at in (None, 7):
        model = new_built_in(TINY, 30, seed=0)
        stream, config = Stream([6] * 12, 4, seed=0), TrainingConfig(steps=12, batch_size=4, evaluations=0)
        path = tmp_path / f"{stop_at}.safetensors"

        def report(log, values, stop_at=stop_at):
            if log.step == stop_at:
                raise Stop

        def go(hooks, model=model, stream=stream, config=config, path=path):
            train(
                model, lambda i, e: [rows[i]], stream, config, steps=12, pad=0, hooks=hooks, resume=path, objectives=of(text, symbol=1)
            )  # fmt: skip

        if stop_at:
            with pytest.raises(Stop):
                go(Hooks(report))
            model = new_built_in(TINY, 30, seed=1)
            go(Hooks(lambda log, values: None, log=lambda text: None), model=model)
        else:
            go(Hooks(report))
        ends.append(model.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_mixed_student_is_asked_under_the_tag_of_its_order():
    mixed = PLACEMENTS.get("mixed")
    assert (
        mixed.prompt("direct")[0] == "task:label"
        and mixed.prompt("own")[0] == mixed.prompt("given")[0] == "task:rationale"
    )
    assert PLACEMENTS.get("multitask").prompt("own")[0] == "task:label"


# One of each kind of the study's conditions.
FEW = (
    "label_only", "post_cot", "label_only+label_smoothing", "label_only+self_distillation", "label_only+margin", "mixed", "pre_cot+stepwise_removal",
    "post_cot+token_weights(selector=tf_idf)", "pre_cot+counterfactual", "pre_cot+self_generated",
)  # fmt: skip


@pytest.fixture(scope="module")
def neighbours(tmp_path_factory):
    """The study neighbours, shrunk, with every run finished."""
    store = Store.open(tmp_path_factory.mktemp("neighbours"))
    values = {
        "task_settings": {"creatures": 24, "documents": 10, "wordings": 1}, "replicates": 1, "base_steps": 0, "conditions": FEW,
        "training": {"steps": 5, "batch_size": 4, "evaluations": 1, "dev_examples": 4, "checkpoints": "1"},
    }  # fmt: skip
    launch(store, plan(store, study_spec("neighbours", values)))
    work(store)
    return store


def test_the_study_neighbours_ends_with_one_table_of_what_each_rival_accounts_for(neighbours, monkeypatch, capsys):
    jobs = neighbours.queue.jobs(kind="train")
    assert {job.state for job in jobs} == {"finished"}, [job.error for job in jobs if job.error]
    by = {str(job.config["condition"]): job for job in jobs}
    left = pd.read_parquet(
        neighbours.artifacts.path(by["pre_cot+stepwise_removal(begin=0.1,end=0.8)"].produced["curve"])
    ).query("name == 'rationale_left'")
    assert left.value.iloc[0] > left.value.iloc[-1] == 0.0
    assert set(by["mixed"].result["modes"]) == {"direct", "own", "given"}
    curve = neighbours.artifacts.table(by["pre_cot+self_generated(begin=0.3,temperature=1.0)"].produced["curve"])
    assert {"acceptance", "memory_age", "memory_own"} <= set(curve["name"])
    document = rivals.rivals(neighbours, "neighbours")
    assert [one["condition"] for one in document["rivals"]] == [str(parse(one)) for one in FEW[2:]]
    planned = [str(parse(one)) for one in STUDIES.get("neighbours").make().conditions]
    assert {str(parse(one)) for one in FEW} <= set(planned) and all(rivals.why(parse(one)) for one in planned[3:])
    monkeypatch.setenv("COTDISTILL_HOME", str(neighbours.home))
    told = speaker(capsys)("study show neighbours --by rival").out
    assert "label only, label smoothing" in told and "share of the gain" in told


def test_what_the_tag_decides_and_what_both_orders_answer_are_told_in_the_terminal(neighbours, monkeypatch, capsys):
    monkeypatch.setenv("COTDISTILL_HOME", str(neighbours.home))
    say = speaker(capsys)
    followed = say("inspect follows neighbours --json")
    check_keys("inspect follows", followed.document)
    (one,) = followed.document
    run = next(job for job in neighbours.queue.jobs(kind="train") if job.config["condition"] == one["condition"])
    assert {f"{c['tag']}, {c['rationale']}": c["right"] for c in one["cells"]} == pytest.approx(run.result["follows"])
    # Asked under its own tag after the teacher's rationale, it is the mode that the run itself recorded.
    assert run.result["follows"]["factual, given"] == pytest.approx(run.result["modes"]["given"]["accuracy"])
    assert "the other tag changes" in say("inspect follows neighbours").out
    modes = say("inspect modes neighbours --show --json").document
    crossed = {c["condition"]: c for c in modes["crossed"]}
    assert (
        {"mixed", one["condition"]} <= set(crossed)
        and crossed["mixed"]["trained"]
        and not crossed[one["condition"]]["trained"]
    )
    mixed = next(job for job in neighbours.queue.jobs(kind="train") if job.config["condition"] == "mixed")
    asked = pd.read_parquet(neighbours.artifacts.path(mixed.produced["predictions"]))
    right = {mode: part.set_index("id")["correct"] for mode, part in asked.groupby("mode")}
    (counts,) = crossed["mixed"]["replicates"]
    only = int((right["direct"] & ~right["own"]).sum()), int((~right["direct"] & right["own"]).sum())
    assert (counts["only_direct"], counts["only_own"]) == only and counts["both"] == int(
        (right["direct"] & right["own"]).sum()
    )
    assert counts["mcnemar_p"] == pytest.approx(binomtest(only[0], sum(only)).pvalue if sum(only) else 1.0)
    assert crossed["mixed"]["gain"] == pytest.approx(100 * (only[1] - only[0]) / crossed["mixed"]["items"])
    assert crossed["mixed"]["both"] + crossed["mixed"]["only_direct"] + crossed["mixed"]["only_own"] + crossed["mixed"][
        "neither"
    ] == pytest.approx(1)
    assert "only after its own rationale" in say("inspect modes neighbours --show").out


def test_the_page_shows_both(neighbours):
    def page(home):
        from cotdistill.dashboard.compare import modes
        from cotdistill.results import results
        from cotdistill.store.store import Store

        store = Store.open(home)
        modes.draw(store, store.queue.study("neighbours"), results.summary(store, "neighbours"))

    app = AppTest.from_function(page, args=(neighbours.home,), default_timeout=30).run()
    told = " ".join(
        str(getattr(one, "value", getattr(one, "body", "")))
        for kind in ("markdown", "caption", "html", "subheader")
        for one in app.get(kind)
    )
    assert not app.exception and "McNemar" in told and "the wrong choice argued for" in told.lower()


def test_what_an_objective_draws_a_step_with_is_a_curve_of_its_own(neighbours):
    def page(home):
        from cotdistill.dashboard.compare import learning_curves
        from cotdistill.results import results
        from cotdistill.store.store import Store

        store = Store.open(home)
        learning_curves.draw(store, store.queue.study("neighbours"), results.summary(store, "neighbours"))

    app = AppTest.from_function(page, args=(neighbours.home,), default_timeout=30)
    app.query_params["curve"] = "acceptance"
    app.run()
    shown = json.loads(app.get("plotly_chart")[0].proto.spec)
    assert not app.exception and {one["hovertemplate"].partition(":")[0] for one in shown["data"]} == {
        "pre-CoT, self generated"
    }
    assert "Dev questions" not in " ".join(one.value for one in app.caption)


def test_the_word_of_a_rival_follows_from_both_comparisons():
    # p of the gain, difference to intact post-CoT, p of that difference, p of being no worse.
    shown = [rivals._accounts(0.01, *rest) for rest in ((-0.1, 0.01, 1.0), (0.0, 0.9, 0.01), (0.1, 0.01, 0.001))]
    assert shown == [rivals.PART, rivals.ALL, rivals.MORE]
    nothing = [rivals._accounts(0.3, *rest) for rest in ((-0.1, 0.01, 1.0), (0.0, 0.9, 0.9), (0.0, 0.9, 0.01))]
    assert nothing == [rivals.NONE, rivals.UNCLEAR, rivals.UNCLEAR]
    assert rivals._accounts(0.01, -0.01, 0.3, 0.3) == "some of the gain"


def form():
    """The form of a condition alone, as a page script."""
    import streamlit as st

    from cotdistill.dashboard.widgets.forms import condition

    st.write(str(condition((), key="one")))


def test_an_objective_is_added_in_the_form_and_its_parameters_are_asked_for():
    app = AppTest.from_function(form).run()
    placement, transforms, objectives = app.selectbox[0], app.multiselect[0], app.multiselect[1]
    assert (
        objectives.label == "Objectives" and placement.value == "pre_cot" and "stepwise_removal" in objectives.options
    )
    transforms.select("strip_labels")
    objectives.select("label_smoothing").select("stepwise_removal").run()
    next(one for one in app.number_input if one.label == "Epsilon").set_value(0.25).run()
    assert not app.exception
    assert (
        app.markdown[-1].value
        == "pre_cot/strip_labels+label_smoothing(epsilon=0.25)+stepwise_removal(begin=0.1,end=0.8)"
    )
    # What does not suit the next placement is not offered there.
    app.selectbox[0].set_value("multitask").run()
    assert "stepwise_removal" not in app.multiselect[1].options

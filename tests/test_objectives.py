"""Objectives: read from a condition, and a step as each of them makes it, by hand."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binomtest
from streamlit.testing.v1 import AppTest

from cotdistill.config import TrainingConfig
from cotdistill.errors import GrammarError, StudentError, UnknownName
from cotdistill.rationales.conditions import parse
from cotdistill.rationales.keyed import ranked_weights
from cotdistill.rationales.objectives import OBJECTIVES
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.students.batches import Row, Stream, collate
from cotdistill.students.loading import new_built_in
from cotdistill.students.models import BuiltIn
from cotdistill.students.objectives import Objectives
from cotdistill.students.training import Hooks, micro_batches, train
from cotdistill.studies import rivals
from cotdistill.studies.planning import launch, plan
from cotdistill.studies.runner import work
from cotdistill.studies.store import Store
from cotdistill.studies.study import STUDIES, study_spec
from tests.terminal import check_keys, speaker

TINY = BuiltIn("tiny", "for tests", layers=1, width=16, heads=2, positions=64)


class Stop(Exception):
    pass


def row(*ids, first=1):
    """A sequence that is predicted from place `first` on."""
    told = np.array([0] * first + [1] * (len(ids) - first), np.int8)
    return Row(np.array(ids, np.int32), told / max(1, told.sum()), told)


def of(text, **more):
    return Objectives(parse(text).objectives, **more)


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_every_objective_reads_back_and_has_a_name_for_people(name):
    entry = OBJECTIVES.get(name)
    condition = parse(f"{'post_cot' if 'post_cot' in (entry.placements or ('post_cot',)) else 'pre_cot'}+{name}")
    assert parse(str(condition)) == condition and name in str(condition)
    assert condition.label.startswith(("post-CoT, ", "pre-CoT, ")) and condition.is_control == entry.control and entry.source


def test_objectives_stand_between_transforms_and_options():
    condition = parse("post_cot/shuffle+label_smoothing(epsilon=0.2)+word_dropout@fraction=0.5")
    assert [one.name for one in condition.objectives] == ["label_smoothing", "word_dropout"] and condition.fraction == 0.5
    assert str(condition) == ("post_cot/shuffle(unit=token,fraction=1.0)+label_smoothing(epsilon=0.2)+word_dropout(share=0.1,symbol=_)@fraction=0.5")
    assert condition.label == "post-CoT, tokens shuffled, label smoothing epsilon 0.2, word dropout, 50 % of the rows"
    assert parse("post_cot+token_weights(selector=tf_idf)").selectors == ["tf_idf"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("label_only+token_weights", GrammarError), ("multitask+stepwise_removal", GrammarError), ("undistilled+label_smoothing", GrammarError),
        ("label_only+word_dropout+word_dropout", GrammarError), ("label_only+", GrammarError), ("label_only+smooth", UnknownName),
        ("label_only+label_smoothing(share=0.1)", UnknownName), ("label_only+label_smoothing(epsilon=2)", GrammarError),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(text, error):
    with pytest.raises(error):
        parse(text)


def test_label_smoothing_gives_a_share_of_the_target_to_every_token():
    logits, weights = torch.tensor([[math.log(6.0), math.log(3.0), 0.0]]), torch.ones(1)
    total, losses = of("label_only+label_smoothing(epsilon=0.3)").loss(logits, torch.tensor([0]), weights, collate([row(1, 2)], 0))
    # Probabilities .6, .3 and .1; targets .8, .1 and .1.
    assert float(total) == float(losses[0]) == pytest.approx(-(0.8 * math.log(0.6) + 0.1 * math.log(0.3) + 0.1 * math.log(0.1)))


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
    steps = [[int(one.ids[0]) for one in objectives.rows(step, 10, stream, lambda i, e: [rows[i]])] for step in range(6)]
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
            found += float(objectives.loss(torch.zeros(len(b.targets), 9), torch.from_numpy(b.targets), torch.from_numpy(b.weights), b)[0])
        return found

    # Even odds over nine tokens: 1 and nothing for the longer rival, the mean of it; and 1.
    assert total(config) == pytest.approx(1.5) == pytest.approx(total(TrainingConfig(batch_size=2)))


def test_weights_follow_ranks_and_keep_their_sum():
    assert ranked_weights([0.5, 3.0, -1.0], 0.2) == pytest.approx([0.6, 1.0, 0.2])
    assert ranked_weights([7.0], 0.2) == pytest.approx([1.0]) and ranked_weights([1.0, 1.0], 0.0) == pytest.approx([1.0, 0.0])


def test_a_rationale_is_taken_away_in_stages():
    objectives = of("pre_cot+stepwise_removal(begin=0.1,end=0.6)")
    assert [objectives.share_left(step, 100) for step in (0, 10, 35, 60, 99)] == [1.0, 1.0, 0.5, 0.0, 0.0]
    assert parse("pre_cot+stepwise_removal").spec.primary == "direct" and parse("pre_cot").spec.primary == "own"
    asked = []
    objectives = of("pre_cot+stepwise_removal(begin=0.0,end=1.0)", left=lambda i, e, share: asked.append(share) or [row(1, 2)])
    objectives.rows(5, 10, Stream([2] * 4, 2, seed=0), lambda i, e: pytest.fail("the whole rationale"))
    assert asked == [0.5, 0.5]


def test_loss_grows_from_the_last_sentence_to_all_in_stages():
    asked = []
    objectives = of("post_cot+last_to_all(begin=0.2,end=0.7)", last=lambda i, e, share: asked.append(share) or [row(1, 2)])
    assert [objectives.share_told(step, 100) for step in (0, 20, 45, 70, 99)] == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert objectives.values(45, 100) == {"rationale_told": 0.5} and of("post_cot").values(45, 100) == {}
    stream, whole = Stream([2] * 4, 2, seed=0), []
    for step in (0, 45, 70):
        objectives.rows(step, 100, stream, lambda i, e: whole.append(i) or [row(1, 2)])
    assert asked == [0.0, 0.0, 0.5, 0.5] and len(whole) == 2


def test_self_distillation_in_several_processes_is_refused():
    with pytest.raises(StudentError, match="several processes"):
        of("label_only+self_distillation").check(2)
    of("label_only+label_smoothing").check(2)


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
    assert mixed.prompt("direct")[0] == "task:label" and mixed.prompt("own")[0] == mixed.prompt("given")[0] == "task:rationale"
    assert PLACEMENTS.get("multitask").prompt("own")[0] == "task:label"


# One of each kind of the study's conditions.
FEW = (
    "label_only", "post_cot", "label_only+label_smoothing", "label_only+self_distillation", "label_only+margin", "mixed", "pre_cot+stepwise_removal",
    "post_cot+token_weights(selector=tf_idf)", "pre_cot+counterfactual",
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
    left = pd.read_parquet(neighbours.artifacts.path(by["pre_cot+stepwise_removal(begin=0.1,end=0.8)"].produced["curve"])).query(
        "name == 'rationale_left'"
    )
    assert left.value.iloc[0] > left.value.iloc[-1] == 0.0
    assert set(by["mixed"].result["modes"]) == {"direct", "own", "given"}
    document = rivals.rivals(neighbours, "neighbours")
    assert [one["condition"] for one in document["rivals"]] == [str(parse(one)) for one in FEW[2:]]
    planned = [str(parse(one)) for one in STUDIES.get("neighbours").make().conditions]
    assert {str(parse(one)) for one in FEW} <= set(planned) and all(rivals.why(parse(one)) for one in planned[3:])
    monkeypatch.setenv("COTDISTILL_HOME", str(neighbours.home))
    told = speaker(capsys)("rivals neighbours").out
    assert "label only, label smoothing" in told and "share of the gain" in told


def test_what_the_tag_decides_and_what_both_orders_answer_are_told_in_the_terminal(neighbours, monkeypatch, capsys):
    monkeypatch.setenv("COTDISTILL_HOME", str(neighbours.home))
    say = speaker(capsys)
    followed = say("follows neighbours --json")
    check_keys("follows", followed.document)
    (one,) = followed.document
    run = next(job for job in neighbours.queue.jobs(kind="train") if job.config["condition"] == one["condition"])
    assert {f"{c['tag']}, {c['rationale']}": c["right"] for c in one["cells"]} == pytest.approx(run.result["follows"])
    # Asked under its own tag after the teacher's rationale, it is the mode that the run itself recorded.
    assert run.result["follows"]["factual, given"] == pytest.approx(run.result["modes"]["given"]["accuracy"])
    assert "the other tag changes" in say("follows neighbours").out
    modes = say("modes neighbours --show --json").document
    crossed = {c["condition"]: c for c in modes["crossed"]}
    assert {"mixed", one["condition"]} <= set(crossed) and crossed["mixed"]["trained"] and not crossed[one["condition"]]["trained"]
    mixed = next(job for job in neighbours.queue.jobs(kind="train") if job.config["condition"] == "mixed")
    asked = pd.read_parquet(neighbours.artifacts.path(mixed.produced["predictions"]))
    right = {mode: part.set_index("id")["correct"] for mode, part in asked.groupby("mode")}
    (counts,) = crossed["mixed"]["replicates"]
    only = int((right["direct"] & ~right["own"]).sum()), int((~right["direct"] & right["own"]).sum())
    assert (counts["only_direct"], counts["only_own"]) == only and counts["both"] == int((right["direct"] & right["own"]).sum())
    assert counts["mcnemar_p"] == pytest.approx(binomtest(only[0], sum(only)).pvalue if sum(only) else 1.0)
    assert crossed["mixed"]["gain"] == pytest.approx(100 * (only[1] - only[0]) / crossed["mixed"]["items"])
    assert crossed["mixed"]["both"] + crossed["mixed"]["only_direct"] + crossed["mixed"]["only_own"] + crossed["mixed"]["neither"] == pytest.approx(1)
    assert "only after its own rationale" in say("modes neighbours --show").out


def test_the_page_shows_both(neighbours):
    def page(home):
        from cotdistill.studies import results
        from cotdistill.studies.store import Store
        from cotdistill.views import modes

        store = Store.open(home)
        modes.draw(store, store.queue.study("neighbours"), results.summary(store, "neighbours"))

    app = AppTest.from_function(page, args=(neighbours.home,), default_timeout=30).run()
    told = " ".join(
        str(getattr(one, "value", getattr(one, "body", ""))) for kind in ("markdown", "caption", "html", "subheader") for one in app.get(kind)
    )
    assert not app.exception and "McNemar" in told and "the wrong choice argued for" in told.lower()


def test_the_word_of_a_rival_follows_from_both_comparisons():
    def said(word, p):
        return rivals._accounts({"word": word, "p": p})

    assert (said("worse", 0.01), said("no worse", 0.01), said("better", 0.01)) == (rivals.PART, rivals.ALL, rivals.MORE)
    assert (said("worse", 0.3), said("not distinguishable", 0.3), said("no worse", 0.3)) == (rivals.NONE, rivals.UNCLEAR, rivals.UNCLEAR)
    assert said("not distinguishable", 0.01) == "some of the gain" and said("provisional", None) == "provisional"


def form():
    """The form of a condition alone, as a page script."""
    import streamlit as st

    from cotdistill.views.forms import condition

    st.write(str(condition((), key="one")))


def test_an_objective_is_added_in_the_form_and_its_parameters_are_asked_for():
    app = AppTest.from_function(form).run()
    placement, transforms, objectives = app.selectbox[0], app.multiselect[0], app.multiselect[1]
    assert objectives.label == "Objectives" and placement.value == "pre_cot" and "stepwise_removal" in objectives.options
    transforms.select("strip_labels")
    objectives.select("label_smoothing").select("stepwise_removal").run()
    next(one for one in app.number_input if one.label == "Epsilon").set_value(0.25).run()
    assert not app.exception
    assert app.markdown[-1].value == "pre_cot/strip_labels+label_smoothing(epsilon=0.25)+stepwise_removal(begin=0.1,end=0.8)"
    # What does not suit the next placement is not offered there.
    app.selectbox[0].set_value("multitask").run()
    assert "stepwise_removal" not in app.multiselect[1].options

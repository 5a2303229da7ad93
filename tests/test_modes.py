"""Modes and perturbed rationales of tiny real students: equal to what their runs recorded, to the direct form, and to sums made by hand."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from cotdistill.config import RunConfig
from cotdistill.dashboard.compare import scorers as scorers_view
from cotdistill.errors import UnknownName
from cotdistill.exchange.verify import verify
from cotdistill.execution.jobs import modes as look_modes
from cotdistill.execution.open_student import open_run
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.rationales.perturbations import CONTROL, SHARES
from cotdistill.report import modes as modes_wording
from cotdistill.report.figures import modes as modes_figures
from cotdistill.results import modes, results, scorers
from cotdistill.results.modes import ModeCell, PerturbationCurve, PerturbationPoint
from cotdistill.statistics.intervals import Interval
from cotdistill.store.artifacts import parquet
from cotdistill.store.records import StopRequested
from cotdistill.store.store import Store
from cotdistill.students.scoring import evaluation
from cotdistill.students.scoring.evaluation import choice_scores
from cotdistill.students.scoring.rationale_tests import Saved, StudentUnderTest, every_test
from cotdistill.studies.inspection_jobs import modes_of
from cotdistill.studies.modes import EVERYTHING, Wanted, asked
from cotdistill.studies.spec import study_spec
from cotdistill.tasks.generated.world import reworded, world_of
from tests.terminal import check_keys, speaker

SPEC = {
    "name": "read",
    "task_settings": {"creatures": 24, "documents": 50, "wordings": 1, "trained_relations": 6},
    "conditions": "label_only,pre_cot,post_cot",
    "replicates": 2,
    "fixed_seeds": {"world": 0},
    "training": {"steps": 6, "batch_size": 4, "evaluations": 0, "checkpoints": "1"},
}
QUARTERS = [0.0, *SHARES]
SCORED, SCORED_CONDITIONS, SAMPLES = 16, ["label_only", "pre_cot"], 2


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A finished study; its pre-CoT students have been asked everything, and some are scored anew."""
    home = tmp_path_factory.mktemp("read")
    store = Store.open(home)
    launch(store, plan(store, study_spec(None, SPEC)))
    work(store)
    store.queue.submit(
        [
            one.spec
            for wanted in (EVERYTHING, Wanted(("paraphrase",), 20))
            for one in asked(store, "read", wanted, ["pre_cot"])
        ]
    )
    store.queue.submit([one.spec for one in scorers.asked(store, "read", SCORED, SCORED_CONDITIONS, SAMPLES)])
    work(store)
    return home


@pytest.fixture
def store(home, monkeypatch):
    monkeypatch.setenv("COTDISTILL_HOME", str(home))
    return Store.open(home)


@pytest.fixture
def say(capsys, store, monkeypatch):
    # A worker in this process instead of a supervisor's.
    for module in ("inspect.modes", "inspect.scorers", "waiting"):
        monkeypatch.setattr(f"cotdistill.cli.{module}.ensure_supervisor", work)
    return speaker(capsys)


def pre_cot(store):
    return [one for one in asked(store, "read", conditions=["pre_cot"]) if one.finished]


def answers(store, one):
    return store.artifacts.table(one.job.produced["answers"])


def test_every_mode_is_what_the_run_itself_recorded_to_the_bit(store):
    for one in pre_cot(store):
        mine = store.artifacts.table(one.job.produced["predictions"])
        theirs = store.artifacts.table(one.trained.produced["predictions"])
        assert set(mine["mode"]) == set(theirs["mode"]) == {"direct", "own", "given"} and list(mine) == list(theirs)
        for mode in ("direct", "own", "given"):
            a, b = (table[table["mode"] == mode].set_index("id") for table in (mine, theirs))
            assert list(a.index) == list(b.index) and list(a["rationale"]) == list(b["rationale"])
            assert np.array_equal(np.stack(a["scores"]), np.stack(b["scores"]))
            assert one.job.result["modes"][mode]["correct"] == one.trained.result["modes"][mode]["correct"]


def test_nothing_cut_is_the_mode_and_everything_cut_is_the_direct_form_to_the_bit(store):
    for one in pre_cot(store):
        table, predictions = answers(store, one), store.artifacts.table(one.job.produced["predictions"])
        assert list(table) == list(look_modes.COLUMNS)
        direct, own, given = (
            {row.id: row for row in predictions[predictions["mode"] == mode].itertuples()}
            for mode in ("direct", "own", "given")
        )
        for rationale, mode in (("given", given), ("own", own)):
            part = table[table["rationale"] == rationale]
            for name, share, wanted in (("intact", 0.0, mode), ("truncate", 1.0, direct)):
                for row in part[(part["test"] == name) & (part["share"] == share)].itertuples():
                    if name == "truncate" and not row.tokens:
                        continue  # nothing was written, so there is nothing to cut
                    theirs = wanted[row.example]
                    assert row.predicted == theirs.predicted and row.correct == theirs.correct
                    assert row.p_gold == np.float32(theirs.probabilities[theirs.answer])


def test_the_shares_touch_exact_numbers_of_tokens_and_the_control_as_many(store):
    for one in pre_cot(store):
        table = answers(store, one)
        replaced = table[table["test"] == CONTROL].set_index(["rationale", "share", "example"])
        for name in ("truncate", "shuffle"):
            part = table[table["test"] == name]
            assert sorted(part["share"].unique()) == list(SHARES)
            assert all(row.touched == round(row.share * row.tokens) for row in part.itertuples())
            mine = part.set_index(["rationale", "share", "example"]).sort_index()
            assert np.array_equal(mine["control_p_gold"].astype("float32"), replaced.sort_index()["p_gold"])
        assert (
            replaced["control_correct"].isna().all()
            and (replaced["touched"] == [round(s * t) for (_, s, _), t in replaced["tokens"].items()]).all()
        )
        changed = table[table["test"] != "intact"].merge(
            table[table["test"] == "intact"], on=["rationale", "example"], suffixes=("", "_intact")
        )
        assert (changed["changed"] == (changed["predicted"] != changed["predicted_intact"])).all()
        made = table[(table["share"] == 1.0) & (table["touched"] > 0)].groupby(["rationale", "test"]).size()
        assert {r: {t: n for t, n in tests.items() if n} for r, tests in one.job.result["made"].items()} == {
            r: {t: int(made[r, t]) for t in made[r].index} for r in ("given", "own")
        }


def test_a_student_asked_for_what_it_was_not_trained_for_is_marked(store):
    assert (
        modes_of("undistilled") == ()
        and modes_of("label_only") == ("direct",)
        and modes_of("pre_cot") == ("own", "given")
    )
    cells = {(c.condition, c.mode): c for c in modes.grid(store, asked(store, "read"))}
    assert [m for c, m in cells if cells[c, m].trained] == ["direct", "own", "given", "direct"]
    # What no run has recorded and no job asked is empty.
    assert (
        cells["label_only", "own"].accuracy is None
        and cells["label_only", "own"].points == ()
        and cells["label_only", "own"].planned == 2
    )
    assert cells["label_only", "direct"].accuracy is not None


def test_the_grid_is_the_summary_of_the_study(store):
    cells = {(c.condition, c.mode): c for c in modes.grid(store, asked(store, "read"))}
    told = {s.condition: s for s in results.summary(store, "read")}
    for condition, mode in (("pre_cot", "own"), ("post_cot", "direct"), ("label_only", "direct")):
        cell, summary = cells[condition, mode], told[condition]
        assert cell.accuracy is not None
        assert (cell.accuracy.mean, cell.accuracy.low, cell.accuracy.high) == (summary.mean, summary.low, summary.high)
        assert (cell.over_direct is None) == (mode == "direct")
        assert cell.points == summary.points and (cell.items, cell.clusters) == (summary.items, summary.clusters)


def test_the_gain_of_a_mode_is_paired_with_the_same_students_direct_answers(store):
    cells = {(c.condition, c.mode): c for c in modes.grid(store, asked(store, "read"))}
    one, other = (results.predictions(store, "read", mode) for mode in ("own", "direct"))
    pairs = one.merge(other, on=["condition", "replicate", "item"], suffixes=("_own", "_direct"))
    assert set(pairs["condition"]) == {"pre_cot"}
    gain = (pairs["correct_own"].astype(float) - pairs["correct_direct"].astype(float)).mean()
    assert (
        cells["pre_cot", "own"].over_direct.mean == pytest.approx(gain)
        and cells["label_only", "own"].over_direct is None
    )


def test_a_loss_is_the_area_between_the_intact_line_and_the_curve(store):
    for rationale in ("given", "own"):
        for measure in modes.MEASURES:
            found = {c.test: c for c in modes.curves(store, pre_cot(store), rationale, measure)}
            curve = found["truncate"]
            assert [p.share for p in curve.points] == QUARTERS and curve.replicates == 2 and curve.trained
            sign = 1 if measure == "changed" else -1
            gaps = [sign * (p.value.mean - curve.points[0].value.mean) for p in curve.points]
            # Trapezoids a quarter wide: the inner points count a quarter, the last an eighth.
            assert curve.loss.mean == pytest.approx(0.25 * sum(gaps[1:4]) + 0.125 * gaps[4], abs=1e-6)
            assert curve.over_control.mean == pytest.approx(curve.loss.mean - curve.control_loss.mean, abs=1e-9)
            assert curve.control_loss.mean == pytest.approx(found[CONTROL].loss.mean, abs=1e-9)
            one = found["mistake"]
            assert one.loss.mean == pytest.approx(
                sign * (one.points[1].value.mean - one.points[0].value.mean), abs=1e-6
            )
            assert found[CONTROL].over_control is None and found[CONTROL].points[2].control is None
            assert all(p.value.low is None or 0 <= p.value.low <= p.value.high <= 1 for p in curve.points)
    assert found["truncate"].points[0].value.mean == 0 == found["truncate"].points[0].control.mean


def table_of(answers, items="abcd"):
    """Intact and truncated halfway and wholly, right or wrong by item; the control wrong everywhere at the end."""
    rows = []
    for share, right, control in answers:
        for item, mine, other in zip(items, right, control or "_" * len(items), strict=True):
            test = "truncate" if share else "intact"
            told = (None,) * 4 if control is None else (0, other == "1", 0.5, other != "1")
            rows.append(
                (
                    item,
                    item,
                    "given",
                    test,
                    share,
                    10,
                    round(10 * share),
                    0,
                    mine == "1",
                    0.5,
                    mine != "1" and bool(share),
                    *told,
                )
            )
    types = {
        "control_predicted": "Int16",
        "control_correct": "boolean",
        "control_p_gold": "Float32",
        "control_changed": "boolean",
    }
    return pd.DataFrame(rows, columns=list(look_modes.COLUMNS)).astype(types)


def fake(store, one, table, replicate=0):
    digest = store.artifacts.put_bytes(parquet(table), "answers", "parquet")
    return dataclasses.replace(one, replicate=replicate, job=dataclasses.replace(one.job, produced={"answers": digest}))


def test_losses_are_paired_over_replicates_and_questions(store):
    one = pre_cot(store)[0]
    first = fake(store, one, table_of([(0.0, "1111", None), (0.5, "1110", "1000"), (1.0, "1000", "0000")]))
    second = fake(store, one, table_of([(0.0, "1101", None), (0.5, "1101", "1000"), (1.0, "1001", "0000")]), 1)
    (curve,) = modes.curves(store, [first, second], "given")
    assert [p.value.mean for p in curve.points] == [7 / 8, 6 / 8, 3 / 8] and [p.control.mean for p in curve.points] == [
        7 / 8,
        2 / 8,
        0,
    ]
    # Area by item: a quarter of each of the two gaps at a half, and another quarter of the gaps at the end.
    areas = np.array([[0.0, 0.25, 0.25, 0.75], [0.0, 0.25, 0.0, 0.0]])
    assert (
        curve.loss.mean == pytest.approx(areas.mean())
        and curve.loss.speaks_of == "it speaks of new questions and new seeds"
    )
    assert curve.control_loss.mean == pytest.approx((7 / 8 - 2 / 8) / 2 + (7 / 8) / 4)
    assert curve.over_control.mean == pytest.approx(curve.loss.mean - curve.control_loss.mean)
    assert (curve.items, curve.clusters, curve.replicates, curve.applied, curve.touched) == (4, 4, 2, 1.0, 1.0)
    (single,) = modes.curves(store, [first], "given")
    assert "one seed" in single.loss.speaks_of and single.loss.mean == pytest.approx(areas[0].mean())


def test_worlds_of_their_own_are_nested_and_cut_to_the_smallest(store):
    one = pre_cot(store)[0]
    first = fake(store, one, table_of([(0.0, "1111", None), (1.0, "1010", "0000")]))
    second = fake(store, one, table_of([(0.0, "111", None), (1.0, "000", "000")], items="xyz"), 1)
    (curve,) = modes.curves(store, [first, second], "given")
    assert curve.items == 3 and "new worlds" in curve.loss.speaks_of
    assert curve.loss.mean == pytest.approx((1 / 3 + 1) / 2)


def test_what_is_saved_is_taken_up_again_and_nothing_is_scored_twice(store, tmp_path, monkeypatch):
    opened = open_run(store, pre_cot(store)[0].trained.id)
    examples = opened.task.examples("test")[:12]
    train = opened.encoder.corpus(opened.task.examples("train"))
    scored = []

    def counting(reader, prompts, *more):
        scored.append(len(prompts))
        return choice_scores(reader, prompts, *more)

    monkeypatch.setattr(evaluation, "choice_scores", counting)

    def run(saved, report=None):
        student = StudentUnderTest(
            opened.model, opened.encoder, examples, opened.condition.spec, metric=opened.metric, limit=20, saved=saved
        )
        return every_test(student, ("truncate", CONTROL, "swap_other"), SHARES, train.unigrams, (), 0, report)

    whole = look_modes.table(run(Saved())[2])
    everything = sum(scored)
    for stop in (0, 2, 6, 15):
        scored.clear()
        saved = Saved()

        def interrupted(done, total, stop=stop):
            assert total == 3 + 2 * 9
            if done == stop:
                raise StopRequested("pause")

        with pytest.raises(StopRequested):
            run(saved, interrupted)
        look_modes.write_saved(tmp_path / "resume", saved)
        again = look_modes.table(run(look_modes.read_saved(tmp_path / "resume"))[2])
        pd.testing.assert_frame_equal(again, whole)
        assert sum(scored) == everything
    (tmp_path / "resume").write_text("{")
    assert look_modes.read_saved(tmp_path / "resume") == Saved() == look_modes.read_saved(tmp_path / "none")


def test_the_same_question_is_asked_once_and_fewer_tests_are_read_from_more(store):
    specs = [one.spec for one in pre_cot(store)]
    assert len(specs) == 2 and store.queue.submit(specs).new == ()
    narrow = asked(store, "read", Wanted(tests=("shuffle",)), ["pre_cot"])
    assert all(one.finished and not one.missing for one in narrow) and narrow[0].spec.identity != specs[0].identity
    assert [c.test for c in modes.curves(store, narrow, "given", tests=("shuffle",))] == ["shuffle"]
    assert all(one.missing for one in asked(store, "read", Wanted(examples=7), ["pre_cot"]))
    # As many as there are is all of them; another source is another question.
    assert asked(store, "read", Wanted(examples=10_000))[0].spec.identity == asked(store, "read")[0].spec.identity
    assert all(one.missing for one in asked(store, "read", Wanted(source="deductive"), ["pre_cot"]))
    with pytest.raises(UnknownName, match="condition of this study"):
        asked(store, "read", conditions=["multitask"])


def test_the_terminal_asks_waits_and_tells(say, store):
    shown = say("inspect modes read --show --examples 9 --json")
    assert shown.code == 0 and shown.document["jobs"] == {**dict.fromkeys(shown.document["jobs"], 0), "missing": 6}
    assert shown.document["tests"] == shown.document["read"] == []
    check_keys("inspect modes", shown.document)
    said = say("inspect modes read --condition label_only,pre_cot --tests truncate,mistake --examples 9 --wait --json")
    assert (
        said.code == 0
        and said.document["jobs"]["finished"] == 4
        and [r["names_answer_given"] for r in said.document["read"]] == [1.0, 1.0]
    )
    check_keys("inspect modes", said.document)
    cells = {(c["condition"], c["mode"]): c for c in said.document["modes"]}
    assert cells["label_only", "own"]["trained"] is False and cells["label_only", "own"]["items"] == 9
    kinds = {(t["condition"], t["rationale"], t["test"], t["measure"]) for t in said.document["tests"]}
    assert len(kinds) == len(said.document["tests"]) == 2 * 2 * 2 * 3
    job = next(
        j
        for j in store.queue.jobs(kind="modes")
        if j.config["examples"] == 9 and j.config["run"] == pre_cot(store)[0].trained.identity
    )
    ids = sorted(e.id for e in open_run(store, job.config["run"]).task.examples("test"))[:9]
    assert sorted(set(store.artifacts.table(job.produced["answers"])["example"])) == ids
    text = say("inspect modes read --condition label_only,pre_cot --tests truncate,mistake --examples 9").out
    assert "not trained for this mode" in text and "never part of a claim" in text and "cut from the end" in text
    assert "students asked: 2 finished, 4 missing" in say("inspect modes read --show").out


def test_the_teachers_rationale_said_in_other_words_keeps_its_facts_and_older_jobs_their_identity(say, store):
    said = say("inspect modes read --condition pre_cot --tests paraphrase --examples 20 --show --json")
    given, own = (t for t in said.document["tests"] if t["test"] == "paraphrase" and t["measure"] == "correct")
    assert said.code == 0 and given["made"] == 1.0 and own["made"] == 0.0 and own["loss"] == 0.0
    jobs = store.queue.jobs(kind="modes")
    assert any("paraphrase" in job.config["tests"] for job in jobs) and not any(
        "paraphrases" in job.config for job in jobs
    )
    task = open_run(store, jobs[0].config["run"]).task
    world = world_of(task)
    for example in task.examples("test")[:50]:
        other = reworded(world, example, "mixed")
        assert (
            other != example.rationale
            and example.metadata["teacher_believes"] in other
            and example.answer_text in other
        )
    assert say("inspect modes read --tests paraphrase --paraphrases nobody --show").code == 2


@pytest.mark.parametrize(
    "words", ["--tests shufle", "--condition multitask", "--source nobody", "--examples -1", "--tests wrong_typ"]
)
def test_wrong_words_are_told_with_what_was_expected(say, words):
    said = say(f"inspect modes read {words} --show --json")
    assert said.code == 2 and said.error["hint"]


def test_students_are_scored_anew_in_the_mode_they_are_judged_in(store, say, tmp_path):
    words = f"inspect scorers read --condition {','.join(SCORED_CONDITIONS)} --examples {SCORED} --samples {SAMPLES}"
    none = say("inspect scorers read --condition post_cot --show --json").document
    check_keys("inspect scorers", none)
    assert none["jobs"]["missing"] == 2 and none["scorers"] == []
    said = say(f"{words} --wait --json", "--out", str(tmp_path / "every.parquet"))
    assert said.code == 0 and said.document["jobs"]["finished"] == 4
    check_keys("inspect scorers", said.document)
    found = scorers.asked(store, "read", SCORED, SCORED_CONDITIONS, SAMPLES)
    for one in found:
        # The scorer that runs are judged by answers what the run has recorded.
        theirs = store.artifacts.table(one.trained.produced["predictions"])
        theirs = theirs[theirs["mode"] == one.trained.result["mode"]].set_index("id")["predicted"]
        mine = store.artifacts.table(one.job.produced["scored"])
        mine = mine[mine["scorer"] == "label"].set_index("example")
        assert len(mine) == 16 and mine["predicted"].to_dict() == theirs[mine.index].to_dict() and mine["agrees"].all()
    by = {(c["condition"], c["scorer"]): c for c in said.document["conditions"]}
    assert by["pre_cot", "pmi"]["mode"] == "own" and by["label_only", "pmi"]["mode"] == "direct"
    # Answers of one token are their own full text.
    assert by["label_only", "text"]["over_label"] == 0 and by["label_only", "text"]["agreement"] == 1
    every = pd.read_parquet(tmp_path / "every.parquet")
    part = (
        every[(every["condition"] == "label_only") & (every["scorer"] == "pmi")].groupby("replicate")["correct"].mean()
    )
    assert len(every) == (2 * 6 + 2 * 7) * 16 and by["label_only", "pmi"]["replicates"] == pytest.approx(part.tolist())
    assert by["label_only", "pmi"]["spread"] == pytest.approx(abs(part[0] - part[1]) / np.sqrt(2))
    # Only students that were trained to write a rationale first draw any; the other jobs are those of a plain look.
    assert [one.job.config.get("samples") for one in found] == [None, 2, None, 2] and scorers.drawn_before(
        store, "read"
    ) == (2, 0)
    (marginal,) = said.document["marginal"]
    tables = [store.artifacts.table(one.job.produced["marginal"]) for one in found if one.condition == "pre_cot"]
    assert marginal["log_likelihood"] == pytest.approx(np.mean([t["log_likelihood"].mean() for t in tables]))
    errors = [np.sqrt((t["standard_error"] ** 2).sum()) / 16 for t in tables]
    assert marginal["samples"] == 2 and marginal["standard_error"] == pytest.approx(
        np.sqrt(errors[0] ** 2 + errors[1] ** 2) / 2
    )
    drawn_by_hand = every[
        (every["condition"] == "pre_cot") & (every["scorer"] == "marginal") & (every["replicate"] == 0)
    ].set_index("example")
    assert drawn_by_hand["p_gold"][tables[0]["example"]].to_numpy() == pytest.approx(
        tables[0]["p_gold"].to_numpy(), abs=1e-6
    )
    shown = say(f"{words.removesuffix(' --samples 2')} --show").out
    assert "spread over restarts" in shown and "error of the draws" in shown and "own rationales drawn" in shown
    wrong = say("inspect scorers read --condition swap --show --json")
    assert wrong.code in (1, 2) and wrong.error["hint"]
    cells = scorers.table(store, found)
    figure = scorers_view.grid(cells)
    assert len(figure.data[0].z) == 2 and f"<b>{100 * cells[0].accuracy.mean:.1f}</b>" in [
        a.text for a in figure.layout.annotations
    ]


def page(store):
    import streamlit as st

    from cotdistill.dashboard.compare import modes
    from cotdistill.results import results
    from cotdistill.store.store import Store

    opened = Store.open(store)
    study = opened.queue.study("read")
    st.session_state["drawn"] = True
    modes.draw(opened, study, results.summary(opened, study.id))


def drawn(home, **query):
    app = AppTest.from_function(page, kwargs={"store": home}, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    return app


def told(app):
    return "\n".join(
        str(part.value) for kind in (app.subheader, app.markdown, app.caption, app.code) for part in kind
    ).replace("\\", "")


def test_the_view_draws_what_there_is_and_offers_the_rest(home, store, monkeypatch):
    monkeypatch.setattr("cotdistill.dashboard.widgets.job_requests.ensure_supervisor", lambda store: None)
    monkeypatch.setattr("cotdistill.dashboard.widgets.queue.ensure_supervisor", lambda store: None)
    app = drawn(home)
    assert "never part of a claim" in told(app) and "cotdistill inspect modes read --wait" in told(app)
    assert [b.label for b in app.button if b.key in ("modes.go", "scorers.go")] == [
        "Ask 4 students",
        "Score 6 students anew",
    ]
    assert len(app.get("plotly_chart")) == 3 and app.multiselect(key="reader").value == ["pre_cot"]
    own = drawn(home, rationale="own", measure="changed", reader=["pre_cot", "nobody"])
    assert (
        "wrote its own, greedily" in told(own)
        and "They name the right answer" in told(own)
        and any("which is not here" in w.value for w in own.warning)
    )
    store.queue.set_paused(True)
    app.button(key="modes.go").click().run()
    assert not app.exception and "4 students being asked" in told(app)
    queued = store.queue.jobs(kind="modes", state="queued")
    assert len(queued) == 4
    for job in queued:
        store.queue.delete(job.id)
    store.queue.set_paused(False)


def cell(mode, mean, trained=True, condition="pre_cot", gain=None, planned=1):
    found = None if mean is None else Interval(mean, 0.1, 0.9, None, None, "", "it speaks of new questions")
    over = (
        None if gain is None else Interval(gain, gain - 0.1, gain + 0.1, None, None, "", "it speaks of new questions")
    )
    return ModeCell(condition, condition, mode, trained, found, over, (mean,) if mean else (), 10, 5, planned)


def test_untrained_cells_are_hollow_and_the_title_says_the_largest_trained_step():
    cells = [cell("direct", 0.5, trained=False), cell("own", 0.7, gain=0.2, planned=2), cell("given", 0.8, gain=0.3),
             cell("direct", 0.6, condition="label_only"), cell("own", 0.1, trained=False, condition="label_only", gain=-0.5),
             cell("given", None, trained=False, condition="label_only")]  # fmt: skip
    title = modes_wording.grid_title(cells)
    assert title == "Pre_cot answers 80.0 % after the teacher's rationale, 50.0 % without one"
    figure = modes_figures.grid(cells, 0.25, title)
    assert [s.line.dash for s in figure.layout.shapes] == ["dot", "solid", "solid", "solid", "dot"]
    assert [s.fillcolor == "rgba(0,0,0,0)" for s in figure.layout.shapes] == [True, False, False, False, True]
    assert [a.text for a in figure.layout.annotations] == [
        "50.0 °",
        "<b>70.0</b> <span style='font-size:11px'>(1 of 2)</span>",
        "<b>80.0</b>",
        "<b>60.0</b>",
        "10.0 °",
        "–",
    ]
    hovers = figure.data[0].hovertemplate
    assert (
        "not trained" in hovers[0]
        and "10.0 to 90.0 %" in hovers[1]
        and "1 replicate of 2" in hovers[1]
        and "against no rationale: +20.0 points (+10.0 to +30.0)" in hovers[1]
        and "not asked yet" in hovers[5]
    )


def curve(test, losses, over, condition="pre_cot", trained=True, graded=True):
    def around(mean, half=0.01):
        return Interval(mean, mean - half, mean + half, None, None, "", "it speaks of new questions")

    points = tuple(
        PerturbationPoint(s, around(0.9 - loss), around(0.8))
        for s, loss in zip((0.0, 0.5, 1.0), (0.0, *losses), strict=True)
    )
    return PerturbationCurve(
        condition,
        condition,
        "given",
        test,
        trained,
        graded,
        points,
        around(losses[0]),
        around(0.1),
        around(over),
        1.0,
        1.0,
        10,
        5,
        3,
    )


def test_a_title_prefers_what_costs_more_than_random_tokens():
    dear, telling = curve("truncate", (0.3, 0.5), -0.1), curve("shuffle", (0.2, 0.3), 0.05)
    assert modes_wording.curves_title([dear, telling], "correct") == (
        "Pre_cot loses 20.0 points of accuracy on average when the tokens of the teacher's rationale are shuffled, "
        "5.0 more than with as many random tokens"
    )
    assert "30.0 points" in modes_wording.curves_title(
        [dear], "correct"
    ) and "10.0 fewer" in modes_wording.curves_title([dear], "correct")
    assert modes_wording.curves_title([curve("shuffle", (0.0, 0.0), 0.0)], "correct").startswith(
        "No test is seen to cost anything"
    )
    assert "changes 20.0 % of its answers" in modes_wording.curves_title([telling], "changed")


def test_curves_have_their_intact_line_their_control_and_the_chance_line():
    found = [curve("truncate", (0.3, 0.5), -0.1), curve("truncate", (0.1, 0.2), -0.1, "label_only", trained=False)]
    figure = modes_figures.curves(found, 0.25, "correct", "title")
    lines = {(t.line.dash, t.mode, t.y[0] == t.y[-1]) for t in figure.data if t.mode and t.line.width}
    assert {("dash", "lines", True), ("dot", "lines", True), (None, "lines+markers", False)} <= lines
    marks = [t.marker.symbol for t in figure.data if t.mode == "lines+markers"]
    assert marks == ["circle", "circle-open"] and any("chance 25 %" in a.text for a in figure.layout.annotations)
    texts = [a.text for a in figure.layout.annotations]
    assert "label_only °" in texts and "pre_cot" in texts and any(t.startswith("Cut from the end<br>") for t in texts)
    points = modes_figures.points([curve("wrong_type", (0.3, 0.5), 0.2, graded=False)], "correct", "title")
    assert any("lost +30.0 (+29.0 to +31.0) points" in str(t.hovertemplate) for t in points.data)
    empty = dataclasses.replace(found[0], applied=0.0, test="mistake", graded=False)
    assert any("cannot be made" in a.text for a in modes_figures.points([empty], "correct", "title").layout.annotations)


def test_the_identity_of_a_run_knows_nothing_of_the_modes(store):
    job = pre_cot(store)[0].trained
    assert RunConfig.from_plain(job.config).job_config() == dict(job.config)
    assert not verify(store).problems

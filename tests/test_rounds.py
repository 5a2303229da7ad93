"""The student as the next round's teacher: what it wrote, the filters, the lineage, and the students of every round side by side."""

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from cotdistill.errors import NoRationale, UsageError
from cotdistill.execution.open_student import open_run
from cotdistill.execution.worker import work
from cotdistill.planning import rounds
from cotdistill.planning.plan import launch, plan
from cotdistill.rationales.conditions import parse
from cotdistill.store.store import Store
from cotdistill.studies.spec import study_spec
from cotdistill.tasks.added import reopened
from cotdistill.tasks.catalog import open_task
from cotdistill.teachers.answers import TeacherAnswer
from cotdistill.teachers.filters import apply, parse_filters
from tests.conftest import example
from tests.terminal import check_keys, speaker

SETTINGS = {"creatures": 20, "documents": 40, "wordings": 1}
SPEC = {
    "name": "taught", "task_settings": SETTINGS, "conditions": "label_only,pre_cot", "replicates": 1, "fixed_seeds": {"world": 0}, "base_steps": 0,
    "training": {"steps": 40, "batch_size": 8, "evaluations": 0, "checkpoints": "1"},
}  # fmt: skip
LENIENT = "length(low=1,high=80),bottleneck(least=-1000)"


def test_the_bottleneck_keeps_what_tells_the_writer_enough():
    one = example("e1", "bird", "tree", None)
    answers = [TeacherAnswer(one, "it flies .", "A", gain=gain) for gain in (0.7, 0.2, -0.1, None)]
    left, (counted,) = apply(answers, parse_filters("bottleneck(least=0.2)"))
    assert [a.gain for a in left] == [0.7, 0.2] and [reason for _, reason in counted.examples] == [
        "-0.10 nats",
        "nobody measured what it tells",
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A finished study, and two rounds of it: the second round's teacher has learnt from the first."""
    store = Store.open(tmp_path_factory.mktemp("rounds"))
    patch = pytest.MonkeyPatch()
    patch.setattr("cotdistill.execution.worker.IDLE_SECONDS", 0.0)
    launch(store, plan(store, study_spec(None, SPEC)))
    work(store)
    study, condition, sources = store.queue.study("taught"), parse("pre_cot"), []
    now, learnt = study, condition
    for number in (1, 2):
        spec = rounds.write_job(store, rounds.writer(store, now.id, str(learnt)))
        store.queue.submit([spec])
        work(store)
        made, _ = rounds.add_round(store, store.queue.job(spec.identity), number, now.name, LENIENT, f"own{number}")
        sources.append(made.source)
        launch(store, plan(store, rounds.next_spec(study, condition, sources)))
        work(store)
        now, learnt = store.queue.study(rounds.round_name("taught", number)), rounds.from_source(condition, made.source)
    patch.undo()
    return store


def test_a_student_writes_of_every_training_question_and_what_it_tells_is_measured(store):
    job = store.queue.jobs(kind="write")[-1]
    opened = open_run(store, job.config["run"])
    examples = {e.id: e for e in opened.task.examples("train")}
    table = store.artifacts.table(job.produced["written"]).set_index("id")
    assert (
        set(table.index) == set(examples)
        and job.result["n"] == len(table)
        and set(table["finish"]) <= {"stop", "length"}
    )
    assert job.result["right"] == sum(examples[id].answer == row.answer for id, row in table.iterrows())
    encoder, spec = opened.encoder, opened.condition.spec

    def likelihood(prompt, answer):
        with torch.no_grad():
            return float(torch.log_softmax(opened.model(input_ids=torch.tensor([prompt])).logits[0, -1], -1)[answer])

    for id in list(examples)[:5]:
        one, (answer,) = examples[id], encoder.targets(examples[id])[examples[id].gold]
        written = [token.id for token in encoder.read(table.loc[id, "text"])]
        after = likelihood([*encoder.prompt(one, spec.prompt("own")), *written, *encoder.label_cue], answer)
        without = likelihood(encoder.prompt(one, spec.prompt("direct")), answer)
        assert table.loc[id, "gain"] == pytest.approx(after - without, abs=1e-4)


def test_a_round_says_who_wrote_it_and_from_whom_that_student_had_learnt(store):
    task = reopened(open_task(store.tasks_root, "field_guide", settings=SETTINGS))
    one, two = rounds.lineage(task, next(name for name in task.added if name.startswith("own2-")))
    assert (one.number, one.parent, one.study, two.number, two.parent, two.study) == (
        1,
        "mixed",
        "taught",
        2,
        one.source,
        "taught-round1",
    )
    first, second = (store.queue.job(made.writer) for made in (one, two))
    assert (
        first.config["condition"] == "pre_cot"
        and second.config["condition"] == f"pre_cot@source={one.source}" == two.condition
    )
    assert one.filters == "length(low=1,high=80),bottleneck(least=-1000)" and 0 < one.kept <= one.written == len(
        task.examples("train")
    )
    assert rounds.lineage(task, "mixed") == []
    kept = [e for e in task.examples("train", one.source) if e.rationale]
    assert len(kept) == one.kept and np.mean([len(e.rationale.split()) for e in kept]) == pytest.approx(one.words)


def test_generations_stand_side_by_side_on_the_same_rows(store, monkeypatch, capsys):
    study = rounds.last_round(store, "taught")
    found = rounds.generations(store, study.id)
    assert (
        rounds.generations(store, "taught") == []
        and study.name == "taught-round2"
        and [one.round and one.round.number for one in found] == [None, 1, 2]
    )
    rows = {job.result["train_rows"] for job in store.queue.jobs(study=study.id, kind="train")}
    assert len(rows) == 1 and rows.pop() <= min(one.round.kept for one in found[1:])
    assert found[0].over_teacher is None and found[2].over_teacher.mean == pytest.approx(
        found[2].summary.mean - found[0].summary.mean
    )
    monkeypatch.setenv("COTDISTILL_HOME", str(store.home))
    say = speaker(capsys)
    told = say("rounds show taught --json")
    check_keys("rounds show", told.document)
    assert told.document["generations"][2]["round"]["parent"] == found[1].round.source
    assert "round 2 (own2-" in say("rounds show taught").out

    def page(home, name):
        from cotdistill.dashboard.compare import page as compare
        from cotdistill.store.store import Store

        store = Store.open(home)
        compare._rounds(store, store.queue.study(name))

    app = AppTest.from_function(page, args=(store.home, study.name), default_timeout=30).run()
    assert not app.exception and "Learnt from" in " ".join(one.proto.body for one in app.get("html"))


def test_what_cannot_go_in_rounds_is_refused(store, monkeypatch, capsys):
    study = store.queue.study("taught")
    for text, why in (("post_cot", "has no condition"), ("label_only", "not trained to write")):
        with pytest.raises(UsageError, match=why):
            rounds.base_condition(study, text)
    with pytest.raises(NoRationale):
        rounds.add_round(store, store.queue.jobs(kind="write")[0], 1, "taught", "bottleneck(least=900)", "none")
    monkeypatch.setenv("COTDISTILL_HOME", str(store.home))
    say = speaker(capsys)
    for words in (
        "run taught --rounds 99",
        "run taught --filters nosuch",
        "show taught-round1",
        "run taught --condition swap",
    ):
        assert say(f"rounds {words} --json").code == 2, words

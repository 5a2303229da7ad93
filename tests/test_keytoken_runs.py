"""From a rationale's scores to a student trained on its key words, in one tiny real study."""

import dataclasses
import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest

from cotdistill.config import RunConfig
from cotdistill.errors import DataError, NotReadable, UsageError
from cotdistill.exchange.verify import verify
from cotdistill.execution.jobs import select
from cotdistill.execution.jobs.select import checked_reader, marks
from cotdistill.execution.open_student import open_run, training_corpus
from cotdistill.execution.worker import work
from cotdistill.keytokens.annotations import AnnotationSet, Mark, text_hash
from cotdistill.keytokens.selectors import SELECTORS
from cotdistill.planning.plan import launch, plan
from cotdistill.rationales.selection import read_selection
from cotdistill.store.store import Store
from cotdistill.studies.inputs import SelectConfig, readers, select_job
from cotdistill.studies.spec import STUDIES, study_spec
from cotdistill.tasks.catalog import open_task
from tests.terminal import check_keys, speaker

CONDITIONS = (
    "label_only,post_cot/key_tokens(selector=integrated_gradients,k=3),post_cot/matched_random_k(selector=integrated_gradients,k=3),"
    "post_cot/key_tokens(selector=tf_idf,k=2),post_cot/key_tokens(selector=influence,k=2),post_cot/key_tokens(selector=random,k=2),"
    "post_cot/human(annotations=lab),post_cot/key_tokens(selector=tf_idf,k=2)@tokens=post_cot"
)
SPEC = {
    "name": "keys",
    "task_settings": {"creatures": 24, "documents": 50, "wordings": 1},
    "conditions": CONDITIONS,
    "replicates": 1,
    "fixed_seeds": {"world": 0, "base": 0},
    "training": {"steps": 4, "batch_size": 4, "evaluations": 1, "dev_examples": 5},
    "base_steps": 3,
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    store = Store.open(tmp_path_factory.mktemp("keys"))
    task = open_task(store.tasks_root, "field_guide", settings=SPEC["task_settings"])
    first = task.examples("train")[0]
    AnnotationSet(store.home, "field_guide", "lab").add(
        Mark(first.id, "ada", ((0, len(first.rationale.split()[0])),), text_hash(first.rationale))
    )
    planned = plan(store, study_spec(None, SPEC))
    launch(store, planned)
    work(store)
    return store, planned


def jobs(store, kind):
    return store.queue.jobs(kind=kind)


def test_everything_is_planned_before_anything_runs(ran):
    store, planned = ran
    kinds = [one.job.kind for one in plan(store, dataclasses.replace(planned.spec, replicates=2)).inputs]
    # pre_cot and post_cot students of two replicates; integrated gradients, influence and random twice, TF-IDF and the marks once for both.
    assert kinds.count("train") == 4 and kinds.count("select") == 2 + 2 + 2 + 1 + 1
    assert {str(c) for c in readers(tuple(planned.spec.parsed()))} == {"pre_cot", "post_cot"}
    assert all(job.state == "finished" for job in store.queue.jobs())
    again = plan(store, planned.spec)
    assert again.new == 0 and {one.state for one in again.inputs} == {"finished"}


def test_a_run_names_its_selection_and_the_selection_its_student(ran):
    store, _ = ran
    run = next(j for j in jobs(store, "train") if "integrated_gradients" in j.config["condition"])
    made = store.queue.job(run.config["selections"]["integrated_gradients"])
    assert run.used["selection:integrated_gradients"] == made.produced["selection"]
    reader = store.queue.job(made.config["reads"])
    assert reader.config["condition"] == "pre_cot" and reader.config["seeds"] == run.config["seeds"]
    assert made.used["weights"] == reader.produced["weights@1"]
    assert made.result["rows"] == run.result["train_rows"] and 0 <= made.result["label_text_share"] <= 1
    assert not verify(store).problems


def test_the_student_reads_the_words_that_were_selected(ran):
    store, _ = ran
    run = next(
        j
        for j in jobs(store, "train")
        if "key_tokens(selector=tf_idf" in j.config["condition"] and "@" not in j.config["condition"]
    )
    opened = open_run(store, run.id)
    corpus = training_corpus(opened)
    selection = read_selection(store.artifacts.path(run.used["selection:tf_idf"]), "tf_idf")
    encoded = opened.encoder.sequences(corpus, 0, opened.condition, 0)[0]
    scores = np.array(selection.scores[corpus.examples[0].id])
    kept = encoded.origin[encoded.origin >= 0]
    assert len(kept) == 2 and scores[kept].min() >= np.sort(scores)[-2]


def test_controls_report_how_well_they_match_and_marks_how_many_rows_have_none(ran):
    store, _ = ran
    matched = next(j for j in jobs(store, "train") if "matched_random_k" in j.config["condition"])
    assert matched.result["match_gap"] >= 0 and matched.result["unmatched_share"] == 0
    human = next(j for j in jobs(store, "train") if "human" in j.config["condition"])
    assert human.result["unselected_rows"] == human.result["train_rows"] - 1


def test_equal_tokens_train_key_words_for_longer(ran):
    store, _ = ran
    short, longer = (
        next(
            j
            for j in jobs(store, "train")
            if "tf_idf" in j.config["condition"] and ("@" in j.config["condition"]) == more
        ).result
        for more in (False, True)
    )
    assert longer["steps"] > short["steps"] and longer["tokens"] > short["tokens"]


def test_a_label_gradient_of_a_post_cot_student_is_refused_with_the_reason(ran):
    store, _ = ran
    post = next(j for j in jobs(store, "train") if j.config["condition"] == "post_cot")
    pre = next(j for j in jobs(store, "train") if j.config["condition"] == "pre_cot")
    with pytest.raises(NotReadable, match="does not read a rationale"):
        checked_reader(store, SELECTORS.get("integrated_gradients"), post.identity)
    with pytest.raises(NotReadable, match="behind the label"):
        checked_reader(store, SELECTORS.get("influence"), pre.identity)
    keyed = next(j for j in jobs(store, "train") if "key_tokens" in j.config["condition"])
    with pytest.raises(NotReadable, match="changed rationales"):
        checked_reader(store, SELECTORS.get("influence"), keyed.identity)


def test_marks_that_changed_after_planning_are_refused(ran):
    store, _ = ran
    config = SelectConfig.from_plain(
        next(j for j in jobs(store, "select") if j.config["selector"] == "human:lab").config
    )
    run = open_run(store, next(j for j in jobs(store, "train") if j.config["condition"] == "post_cot").id)
    rows = run.task.examples("train")
    assert len(marks(store, config, run.encoder, rows, "lab")) == 1
    with pytest.raises(DataError, match="has changed since"):
        marks(store, dataclasses.replace(config, annotations="0" * 64), run.encoder, rows, "lab")


def test_a_file_of_vectors_belongs_to_the_selection_by_its_content(ran, tmp_path):
    store, planned = ran
    file = tmp_path / "vectors.txt"
    run = RunConfig.from_plain(planned.runs[0].job.config)
    with pytest.raises(UsageError, match="cannot be read"):
        select_job(store, f"vectors:{file}", run, "", "", 1.0)
    file.write_text("it 1 0\n")
    first = select_job(store, f"vectors:{file}", run, "", "", 1.0)
    file.write_text("it 0 1\n")
    second = select_job(store, f"vectors:{file}", run, "", "", 1.0)
    assert first.identity != second.identity and first.config["file"] == hashlib.sha256(b"it 1 0\n").hexdigest()
    assert "file" not in select_job(store, "tf_idf", run, "", "", 1.0).config
    context = SimpleNamespace(
        config=first.config, store=store, task=lambda *_: SimpleNamespace(digest=first.config["task_digest"])
    )
    with pytest.raises(DataError, match="The file of vectors:"):
        select.job(context)


def test_a_selection_in_use_cannot_be_deleted_under_its_runs(ran):
    store, _ = ran
    made = next(j for j in jobs(store, "select") if j.config["selector"] == "tf_idf")
    with pytest.raises(UsageError, match="is needed by"):
        store.queue.delete(made.id)
    with pytest.raises(UsageError, match="is needed by"):
        store.queue.delete(
            store.queue.job(next(j for j in jobs(store, "select") if j.config["reads"]).config["reads"]).id
        )


def test_runs_without_selections_keep_their_identity(ran):
    store, _ = ran
    plain_run = next(j for j in jobs(store, "train") if j.config["condition"] == "label_only")
    assert "selections" not in plain_run.config and RunConfig.from_plain(plain_run.config).selections == {}


def test_the_built_in_study_has_the_planned_comparison_its_controls_and_the_sweep():
    spec = STUDIES.get("keytokens").make()
    first = next(c for c in spec.conditions if c.startswith("post_cot/key_tokens"))
    assert "integrated_gradients" in first and "k=5.0" in first
    for needed in (
        "matched_random_k",
        "drop_key_tokens",
        "bottom_k",
        "strip_labels/key_tokens",
        "label_text_only",
        "@tokens=post_cot",
    ):
        assert any(needed in c for c in spec.conditions), needed
    swept = {c for c in spec.conditions if c.startswith("post_cot/key_tokens") and "@" not in c}
    assert len(swept) == 4 * 7


@pytest.fixture
def say(capsys, ran, monkeypatch):
    monkeypatch.setenv("COTDISTILL_HOME", str(ran[0].home))
    monkeypatch.setattr("cotdistill.cli.inspect.shared.ensure_supervisor", work)
    return speaker(capsys)


def selection(store, selector):
    return next(j for j in jobs(store, "select") if j.config["selector"] == selector)


def test_selectors_are_listed(say):
    said = say("keytokens selectors --json")
    check_keys("keytokens selectors", said.document)
    assert {"integrated_gradients", "human", "tf_idf"} <= {s["id"] for s in said.document} and "pre_cot" in say(
        "keytokens selectors"
    ).out


def test_a_selection_that_is_there_is_told_and_shows_its_lineage_both_ways(say, ran):
    store, _ = ran
    pre = next(j for j in jobs(store, "train") if j.config["condition"] == "pre_cot")
    said = say(f"keytokens select {pre.id} --selector integrated_gradients --json")
    check_keys("keytokens select", said.document)
    assert said.document["id"] == selection(store, "integrated_gradients").id and said.document["run"] == pre.id
    shown = say(f"keytokens show {said.document['id']} --json")
    check_keys("keytokens show", shown.document)
    assert shown.document["reads"] == pre.id and len(shown.document["used_by"]) == 2
    words = shown.document["example"]["words"]
    assert sorted(w["rank"] for w in words) == list(range(1, len(words) + 1))
    assert max(words, key=lambda w: w["score"])["rank"] == 1
    assert "used by 2 runs" in say(f"keytokens show {said.document['id']}").out


def test_selections_are_compared(say, ran):
    store, _ = ran
    ids = [selection(store, s).id for s in ("tf_idf", "random", "influence")]
    said = say(f"keytokens compare {ids[0]} {ids[1]} {ids[2]} --json")
    check_keys("keytokens compare", said.document)
    assert len(said.document["pairs"]) == 3 and all(
        0 <= p["jaccard"] <= 1 and p["examples"] == 48 for p in said.document["pairs"]
    )
    assert "by chance" in say(f"keytokens compare {ids[0]} {ids[1]}").out


def test_marks_go_out_and_come_in_again(say, ran, tmp_path):
    task = "--task field_guide --set lab"
    out = tmp_path / "marks.jsonl"
    # The tests' world has its own dials; whether its row stands in the default world as well is no matter for JSON lines.
    said = say(f"keytokens export {task} --json", "--out", str(out))
    assert said.code == 0 and said.document["marks"] == 1 and said.document["left_out"] == 0
    check_keys("keytokens export", said.document)
    said = say(f"keytokens import {out} --task field_guide --set other --json")
    assert said.code in (0, 1) and (said.code == 0 or said.error["kind"] == "bad_rows")
    assert say("keytokens export --task field_guide --set none --json", "--out", str(out)).error["kind"] == "usage"


def test_marks_of_the_default_world_go_through_label_studio_and_nothing_is_half_imported(say, ran, tmp_path):
    store, _ = ran
    row = next(e for e in open_task(store.tasks_root, "field_guide").examples("train") if e.rationale)
    annotations = AnnotationSet(store.home, "field_guide", "studio")
    annotations.add_all(
        [
            Mark(row.id, "ada", ((0, 3),), text_hash(row.rationale)),
            Mark(row.id, "ada", ((0, 3),), text_hash("elsewhere")),
        ]
    )
    AnnotationSet(store.home, "field_guide", "far").add(Mark(row.id, "ada", ((0, 3),), text_hash("elsewhere")))
    out = tmp_path / "marks.json"
    said = say("keytokens export --task field_guide --set far --form label_studio --json", "--out", str(out))
    assert said.error["kind"] == "usage" and "these rationales" in said.error["message"] and not out.exists()
    said = say("keytokens export --task field_guide --set studio --form label_studio --json", "--out", str(out))
    assert said.document["marks"] == said.document["left_out"] == 1
    said = say(f"keytokens import {out} --task field_guide --set again --json")
    check_keys("keytokens import", said.document)
    (mark,) = AnnotationSet(store.home, "field_guide", "again").marks()
    assert (mark.example, mark.annotator, mark.spans) == (row.id, "ada", ((0, 3),))
    lines = [
        {"example": row.id, "annotator": "bob", "spans": [[0, 3]]},
        {"example": row.id, "annotator": "a..b", "spans": [[0, 3]]},
    ]
    out.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    said = say(f"keytokens import {out} --task field_guide --set half --json")
    assert said.error["kind"] == "bad_rows" and "line 2" in said.error["message"]
    assert AnnotationSet(store.home, "field_guide", "half").marks() == []


@pytest.mark.parametrize(("words", "kind"), [
    ("select 99 --selector tf_idf", "not_found"), ("select {pre} --selector tfidf", "unknown_name"), ("show {sel} --example nobody", "usage"),
    ("select {pre} --selector influence", "not_readable"), ("select {post} --selector saliency", "not_readable"), ("show {pre}", "usage"),
    ("show 99", "not_found"), ("compare {sel}", "usage"), ("import /nowhere --task field_guide --set a", "usage"),
    ("import /nowhere --task nothing --set a", "unknown_name"),
])  # fmt: skip
def test_wrong_words_about_key_tokens_are_told(say, ran, words, kind):
    store, _ = ran
    ids = {
        name: next(j.id for j in jobs(store, "train") if j.config["condition"] == f"{name}_cot")
        for name in ("pre", "post")
    }
    said = say(f"keytokens {words.format(**ids, sel=selection(store, 'tf_idf').id)} --json")
    assert said.code in (1, 2) and said.error["kind"] == kind and said.error["message"]


def test_the_study_tells_its_claims(say):
    said = say("study show keys")
    assert said.code == 0 and "key words by tf idf" in said.out
    told = say("compare keys --json").document["claims"]
    assert [c["id"] for c in told] == ["1", "2", "3"]


def test_a_k_that_takes_whole_rationales_is_said_in_the_plan(ran):
    store, _ = ran
    spec = study_spec(
        None,
        {
            **SPEC,
            "conditions": "label_only,post_cot/key_tokens(selector=tf_idf,k=500),post_cot/key_tokens(selector=tf_idf,k=2)",
        },
    )
    told = [check for check in plan(store, spec).checks if "all of them are selected" in check]
    assert len(told) == 1 and "500 words" in told[0]

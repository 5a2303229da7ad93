"""Looking inside trained students, from the terminal and as jobs: a tiny real study, trained once for this file."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from cotdistill.errors import NotFound, NotReadable, UnknownName, UsageError
from cotdistill.exchange.verify import verify
from cotdistill.execution import open_student
from cotdistill.execution.jobs import attention, faithfulness, probe
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.saliency.settings import AttributionSettings
from cotdistill.saliency.tables import EXAMPLE_COLUMNS, TOKEN_COLUMNS
from cotdistill.store.records import JobSpec
from cotdistill.store.store import Store
from cotdistill.studies.analyses.attribute import AttributeConfig
from cotdistill.studies.analyses.influence import COLUMNS
from cotdistill.studies.analyses.paraphrases import ParaphrasesConfig
from cotdistill.studies.inspection_jobs import (
    checkpoints,
    pick_examples,
    task_of,
    trained,
)
from cotdistill.studies.spec import study_spec
from tests.terminal import check_keys, speaker
from tests.test_contributing import ROOT, block, run

SPEC = {
    "name": "look",
    "task_settings": {"creatures": 24, "documents": 50, "wordings": 1},
    "conditions": "label_only,pre_cot,post_cot",
    "replicates": 1,
    "training": {"steps": 4, "batch_size": 4, "evaluations": 0, "checkpoints": "0,0.5,1"},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("look")
    store = Store.open(home)
    launch(store, plan(store, study_spec(None, SPEC)))
    work(store)
    return home


@pytest.fixture
def store(home, monkeypatch):
    monkeypatch.setenv("COTDISTILL_HOME", str(home))
    return Store.open(home)


@pytest.fixture
def say(capsys, store, monkeypatch):
    # A worker in this process instead of a supervisor's.
    monkeypatch.setattr("cotdistill.cli.inspect.shared.ensure_supervisor", work)
    return speaker(capsys)


def run_of(store, condition):
    return next(job for job in store.queue.jobs(kind="train") if job.config["condition"] == condition)


def test_a_student_is_opened_at_each_of_its_recorded_checkpoints_and_kept_open(store):
    job = run_of(store, "pre_cot")
    assert checkpoints(job) == ["0", "0.5", "1"]
    first, last = (open_student.open_run(store, job.id, share) for share in ("0", "1.0"))
    assert not np.array_equal(
        first.model.get_input_embeddings().weight.detach(), last.model.get_input_embeddings().weight.detach()
    )
    assert open_student.open_run(store, job.identity, "1") is last
    # Every training rationale and every right answer counts.
    task = task_of(store, job)
    tree = last.encoder.read(task.examples("train")[0].answer_text)[0].id
    assert last.counts[tree] > 0 and last.counts.sum() > 10 * len(task.examples("train"))


def test_the_least_lately_used_student_makes_room(store, monkeypatch):
    monkeypatch.setattr(open_student, "KEPT_BYTES", 1)
    first = open_student.open_run(store, run_of(store, "pre_cot").id)
    open_student.open_run(store, run_of(store, "post_cot").id)
    assert open_student.open_run(store, run_of(store, "pre_cot").id) is not first


def test_what_cannot_be_looked_into_says_why(store):
    with pytest.raises(NotFound, match="no run"):
        trained(store, 999)
    with pytest.raises(UnknownName, match=r"checkpoint .* named '0.3'"):
        open_student.open_run(store, run_of(store, "pre_cot").id, "0.3")
    queued = store.queue.submit(
        [JobSpec("train", {**run_of(store, "pre_cot").config, "missing_rationale": "fail"})]
    ).new[0]
    with pytest.raises(UsageError, match="is queued, so there is no trained student"):
        trained(store, queued)
    store.queue.delete(queued)


def test_examples_are_picked_by_number_by_id_and_from_a_file(store, tmp_path):
    task = task_of(store, run_of(store, "pre_cot"))
    ids = sorted(example.id for example in task.examples("dev"))
    assert [e.id for e in pick_examples(task, "dev", "3", "")] == ids[:3]
    assert [e.id for e in pick_examples(task, "dev", "1000000", "")] == ids
    assert [e.id for e in pick_examples(task, "dev", f" {ids[2]} ,{ids[0]},{ids[2]}", "")] == [ids[2], ids[0]]
    (tmp_path / "ids.txt").write_text(f"{ids[1]}\n\n{ids[0]}\n")
    assert [e.id for e in pick_examples(task, "dev", str(tmp_path / "ids.txt"), "")] == [ids[1], ids[0]]
    for nonsense in ("0", "", ",", "-1", str(tmp_path)):
        with pytest.raises(UsageError):
            pick_examples(task, "dev", nonsense, "")
    with pytest.raises(NotFound) as caught:
        pick_examples(task, "dev", ids[0][:-1], "")
    assert "Did you mean" in caught.value.hint
    with pytest.raises(UnknownName, match="split"):
        pick_examples(task, "validation", "1", "")


def test_a_few_examples_are_answered_at_once(say, store):
    run = run_of(store, "pre_cot").id
    said = say(f"inspect attribute {run} --examples 2 --json")
    assert said.code == 0
    check_keys("inspect attribute", said.document)
    assert said.document["job"] is None and said.document["explanations"] == 2
    first = said.document["results"][0]
    scored = [t for t in first["tokens"] if t["score"] is not None]
    assert {t["segment"] for t in scored} == {"question", "choices", "rationale"} and first["converged"] is True
    told = say(f"inspect attribute {run} --examples 1")
    assert first["id"] in told.out and "integrated gradients of gold" in told.out


def test_many_examples_become_a_job_that_is_found_again(say, store, tmp_path):
    run = run_of(store, "pre_cot").id
    out = tmp_path / "tokens.parquet"
    words = f"inspect attribute {run} --examples 5 --method input_x_gradient --target contrast --job --json"
    first, again = say(words, "--out", str(out)), say(words)
    assert first.code == again.code == 0 and first.document["job"] == again.document["job"] is not None
    job = store.queue.job(first.document["job"])
    assert job.kind == "attribute" and set(job.produced) == {"tokens", "examples"}
    assert job.used["weights"] == run_of(store, "pre_cot").produced["weights@1"]
    assert list(store.artifacts.table(job.produced["examples"])) == list(EXAMPLE_COLUMNS)
    assert list(pd.read_parquet(out)) == list(TOKEN_COLUMNS)
    assert "tokens" not in first.document["results"][0] and "tokens" in again.document["results"][0]
    assert not verify(store).problems
    # The same numbers as at once.
    at_once = say(f"inspect attribute {run} --examples 1 --method input_x_gradient --target contrast --json").document[
        "results"
    ][0]["tokens"]
    assert [t["score"] for t in at_once] == pytest.approx(
        [t["score"] for t in again.document["results"][0]["tokens"]], abs=1e-5, nan_ok=True
    )


def test_a_label_that_does_not_read_the_rationale_says_not_readable(say, store):
    said = say(f"inspect attribute {run_of(store, 'post_cot').id} --json")
    assert said.code == 0 and "not readable" in said.document["not_readable"]
    tokens = said.document["results"][0]["tokens"]
    assert all(t["score"] is None for t in tokens if t["segment"] == "rationale")
    assert any(t["score"] is not None for t in tokens if t["segment"] == "question")
    assert "not readable" in say(f"inspect attribute {run_of(store, 'post_cot').id}").out


def test_each_rationale_token_of_a_post_cot_student_is_explained(say, store):
    said = say(f"inspect attribute {run_of(store, 'post_cot').id} --target rationale --method saliency --json")
    results = said.document["results"]
    assert len(results) > 5 and [r["target_at"] for r in results] == sorted(r["target_at"] for r in results)
    assert said.document["not_readable"] is None
    said = say(f"inspect attribute {run_of(store, 'label_only').id} --target rationale --json")
    assert said.code == 1 and said.error["kind"] == "not_readable"


@pytest.mark.parametrize(("words", "kind"), [
    ("--method integrated_gradient", "unknown_name"), ("--target label:Z", "unknown_name"), ("--target span:5-2", "bad_condition"),
    ("--steps 1", "bad_config"), ("--examples nobody", "not_found"), ("--checkpoint 7", "unknown_name"), ("--source nobody", "unknown_name"),
    ("--out tokens.csv", "usage"), ("--out /nowhere/t.parquet", "usage"), ("--baseline blank", "usage"), ("--split all", "usage"),
])  # fmt: skip
def test_wrong_words_answer_with_what_was_expected(say, store, words, kind):
    said = say(f"inspect attribute {run_of(store, 'pre_cot').id} {words} --json")
    assert said.code == 2 and said.error["kind"] == kind


def test_a_job_that_fails_is_told_in_its_own_words(say, store):
    job = run_of(store, "pre_cot")
    config = AttributeConfig(job.identity, "dev", ("no-such-example",), settings=AttributionSettings(method="saliency"))
    store.queue.submit([config.spec(job)])
    work(store)
    failed = next(j for j in store.queue.jobs(kind="attribute") if j.config["examples"] == ["no-such-example"])
    assert failed.state == "failed" and "no-such-example" in failed.error["message"]


def test_a_config_reads_back_from_its_plain_form(store):
    job = run_of(store, "pre_cot")
    config = AttributeConfig(
        job.identity, "dev", ("a", "b"), "0.5", "", dataclasses.replace(AttributionSettings(), method="occlusion")
    )
    spec = config.spec(job)
    assert AttributeConfig.from_plain(spec.config) == config and spec.needs == (job.identity,)


def test_the_alignment_of_rationale_tokens_is_told_by_checkpoint(say, store, tmp_path):
    run = run_of(store, "post_cot").id
    said = say(f"inspect influence {run} --examples 6 --steps 4 --json")
    assert said.code == 0
    check_keys("inspect influence", said.document)
    assert [at["checkpoint"] for at in said.document["checkpoints"]] == ["0", "0.5", "1"] and said.document[
        "job"
    ] is None
    last = said.document["checkpoints"][-1]
    groups = {g["group"]: g for g in last["groups"]}
    assert {"all but the label's text", "content words", "role: type"} <= set(groups) and 0 < last["type_words"][
        "examples"
    ] <= 6
    own = [r for r in said.document["results"] if r["checkpoint"] == "1" and not r["label_text"]]
    assert groups["all but the label's text"]["mean"] == pytest.approx(
        np.mean([r["value"] for r in own if r["value"] is not None])
    )
    assert {r["role"] for r in own} <= {"type", "value", "other"} and last["adam_step"]["tokens"] == 4
    rest = [r["value"] > 0 for r in own if r["value"] is not None]
    assert groups["all but the label's text"]["positive"] == pytest.approx(np.mean(rest))
    assert all(-1 <= last["adam_step"][name] <= 1 for name in ("raw", "adam", "raw_small", "adam_small"))
    out = tmp_path / "a.parquet"
    again = say(f"inspect influence {run} --examples 6 --checkpoints 1 --steps 0 --job --json", "--out", str(out))
    assert again.document["job"] is not None and set(pd.read_parquet(out)) == set(COLUMNS)
    assert [r["own"] for r in again.document["results"]] == pytest.approx(
        [r["own"] for r in said.document["results"] if r["checkpoint"] == "1"], rel=1e-4, abs=1e-5
    )
    assert "AUC" in say(f"inspect influence {run} --examples 6 --checkpoint 1").out


@pytest.mark.parametrize(("condition", "words", "code", "kind"), [
    ("label_only", "", 1, "not_readable"), ("post_cot", "--split test", 2, "usage"), ("post_cot", "--checkpoints 0.9", 2, "unknown_name"),
    ("post_cot", "--source nobody", 2, "usage"), ("post_cot", "--steps -1", 2, "usage"), ("post_cot", "--parameters few", 2, "usage"),
])  # fmt: skip
def test_what_cannot_be_aligned_says_why(say, store, condition, words, code, kind):
    said = say(f"inspect influence {run_of(store, condition).id} {words} --json")
    assert said.code == code and said.error["kind"] == kind and said.error["hint"]


def test_methods_are_judged_against_random_tokens(say, store, tmp_path):
    run = run_of(store, "pre_cot").id
    out = tmp_path / "curves.parquet"
    said = say(
        f"inspect faithfulness {run} --examples 4 --methods saliency,occlusion --random 3 --json", "--out", str(out)
    )
    assert said.code == 0
    check_keys("inspect faithfulness", said.document)
    assert [m["id"] for m in said.document["methods"]] == ["saliency", "occlusion"] and said.document[
        "target"
    ] == "predicted"
    for one in said.document["methods"]:
        curve = one["curves"]["without"]
        assert one["comprehensiveness"]["mean"] == pytest.approx(np.mean([point["mean"] for point in curve[1:-1]]))
        assert one["shares"][0] == 0 and curve[0]["mean"] == pytest.approx(0, abs=1e-6)
    assert len(pd.read_parquet(out)) == 2 * 4 * 8
    kept = say(f"inspect faithfulness {run} --examples 4 --methods saliency --random 3 --job --json").document[
        "methods"
    ][0]
    assert kept["job"] is not None and kept["left_out"] == 0 and kept["not_readable"] is None
    rows = store.artifacts.table(store.queue.job(kept["job"]).produced["examples"])
    assert list(rows.columns) == list(faithfulness.EXAMPLE_COLUMNS)
    assert rows["comprehensiveness"].mean() == pytest.approx(kept["comprehensiveness"]["mean"])
    assert kept["comprehensiveness"]["mean"] == pytest.approx(
        said.document["methods"][0]["comprehensiveness"]["mean"], abs=1e-5
    )
    assert "Comprehensiveness" in say(f"inspect faithfulness {run} --examples 4 --methods saliency --random 3").out
    other = say(
        f"inspect faithfulness {run} --examples 4 --methods saliency --random 3 --shares 0.5,0.25 --json"
    ).document["methods"][0]
    assert other["shares"] == [0.25, 0.5] and len(other["curves"]["without"]) == 2


def test_a_post_cot_student_is_judged_on_its_question_and_never_on_its_rationale(say, store):
    run = run_of(store, "post_cot").id
    told = say(f"inspect faithfulness {run} --examples 4 --methods saliency --random 2 --json").document["methods"][0]
    assert "stands before the rationale" in told["not_readable"] and told["examples"] == 4
    assert (
        "the rationale is not ranked"
        in say(f"inspect faithfulness {run} --examples 4 --methods saliency --random 2").out
    )
    refused = say(f"inspect faithfulness {run} --examples 4 --methods saliency --moves rationale --json")
    assert (
        refused.code == 1
        and refused.error["kind"] == "not_readable"
        and "stands before the rationale" in refused.error["message"]
    )


def test_agreement_between_methods_and_checkpoints_is_told(say, store):
    run = run_of(store, "pre_cot").id
    said = say(
        f"inspect stability {run} --examples 4 --methods saliency,input_x_gradient --checkpoints 0.5,1 -k 3 --json"
    )
    assert said.code == 0
    check_keys("inspect stability", said.document)
    assert len(said.document["pairs"]) == 6 and all(p["examples"] == 4 and p["k"] == 3 for p in said.document["pairs"])
    assert all(p["absolute"] for p in said.document["pairs"] if "saliency" in p["one"] + p["other"])
    assert [p["absolute"] for p in said.document["pairs"] if "saliency" not in p["one"] + p["other"]] == [False]
    assert "by chance" in say(f"inspect stability {run} --examples 4 --methods saliency,input_x_gradient").out
    sizes = say(
        f"inspect stability {run} --examples 4 --methods input_x_gradient --checkpoints 0.5,1 --by size --json"
    ).document
    assert sizes["by"] == "size" and [p["absolute"] for p in sizes["pairs"]] == [True]
    # The question is the same in students of other placements, columns are not.
    both = f"{run},{run_of(store, 'post_cot').id}"
    (pair,) = say(f"inspect stability {both} --examples 4 --methods saliency --json").document["pairs"]
    assert (pair["examples"], pair["explanations"]) == (4, 4)
    span = say(f"inspect stability {both} --examples 4 --methods saliency --target span:3-4 --json")
    assert span.code == 2 and "several placements" in span.error["message"]
    one = say(f"inspect stability {run} --examples 4 --methods saliency --json")
    assert one.code == 2 and "nothing to compare" in one.error["message"]


@pytest.mark.parametrize(
    "words", ["--methods magic", "--methods ,", "--random 0", "--target rationale", "--checkpoint 3", "--shares 0,1"]
)
def test_wrong_words_about_judging_are_told(say, store, words):
    said = say(f"inspect faithfulness {run_of(store, 'post_cot').id} {words} --json")
    assert said.code in (1, 2) and said.error["message"] and said.error["hint"]


def test_wordings_of_a_question_are_held_against_each_other(say, store, tmp_path):
    pre, post = run_of(store, "pre_cot"), run_of(store, "post_cot")
    out = tmp_path / "agreed.parquet"
    said = say(
        f"inspect paraphrases {pre.id},{post.id} --examples 6 --method input_x_gradient --json", "--out", str(out)
    )
    assert said.code == 0
    check_keys("inspect paraphrases", said.document)
    scopes = [{scope["scope"] for scope in one["scopes"]} for one in said.document["runs"]]
    assert scopes == [{"question", "rationale", "all"}, {"question", "all"}]
    agreed = pd.read_parquet(out)
    mine = agreed[(agreed["run"] == pre.id) & (agreed["scope"] == "rationale")]
    told = next(scope for scope in said.document["runs"][0]["scopes"] if scope["scope"] == "rationale")
    assert told["rank"]["mean"] == pytest.approx(mine["rank"].mean()) and said.document["runs"][0]["versions"] == 3
    (by,) = (c for c in said.document["conditions"] if (c["condition"], c["scope"]) == ("pre_cot", "rationale"))
    assert by["rank"]["mean"] == pytest.approx(mine["rank"].mean()) and by["replicates"] == pytest.approx(
        [mine["rank"].mean()]
    )
    assert "another question's" in say(f"inspect paraphrases {pre.id} --examples 6 --method input_x_gradient").out
    wrong = say(f"inspect paraphrases {pre.id} --examples 6 --target span:1-2 --json")
    assert wrong.code == 1 and "speaks for the answer" in wrong.error["message"]
    config = ParaphrasesConfig(pre.identity, "dev", ("x",))
    with pytest.raises(NotReadable, match="has no paraphrases"):
        config.spec(dataclasses.replace(pre, config={**pre.config, "task": "csqa"}))


def test_attention_is_told_by_region_layer_and_head_and_by_condition(say, store, tmp_path):
    run, other = run_of(store, "pre_cot").id, run_of(store, "post_cot").id
    said = say(f"inspect attention {run},{other} --examples 12 --json", "--out", str(tmp_path / "heads.parquet"))
    assert said.code == 0
    check_keys("inspect attention", said.document)
    first, second = said.document["runs"]
    heads = pd.read_parquet(tmp_path / "heads.parquet")
    assert list(heads) == [*attention.COLUMNS, "run"] and first["job"] is None
    heads = heads[heads["run"] == run]
    # The mean over everything, and each layer with its mean and its heads.
    assert (heads.groupby("region").size() == 1 + first["layers"] * (1 + first["heads"])).all()
    assert (
        set(first["regions"]) >= {"relevant", "gold", "rationale", "question", "choices", "subject"}
        and "latent" not in second["regions"]
    )
    single = heads[(heads["region"] == "rationale") & (heads["head"] > 0)]
    mean = heads[(heads["region"] == "rationale") & (heads["layer"] == -1)]["share"].item()
    assert mean == pytest.approx(single["share"].mean()) and first["best"]["rationale"]["over"] == pytest.approx(
        single["over"].max()
    )
    (by,) = (c for c in said.document["conditions"] if (c["condition"], c["region"]) == ("pre_cot", "rationale"))
    assert by["share"] == pytest.approx(mean) and by["replicates"] == pytest.approx([mean]) and by["items"] == 12
    # The same student twice is no second replicate.
    twice = say(f"inspect attention {run},{run} --examples 12").out
    assert twice.count("attention in run") == 1 and "replicates" not in twice
    assert say("inspect attention , --json").code == 2


def test_probes_are_fitted_at_every_layer_and_place_and_kept_as_a_job(say, store, tmp_path):
    run = run_of(store, "post_cot").id
    out = tmp_path / "cells.parquet"
    said = say(f"inspect probe {run} --what group --examples 30 --rows 40 --job --json", "--out", str(out))
    assert said.code == 0
    check_keys("inspect probe", said.document)
    cells = pd.read_parquet(out)
    assert list(cells) == list(probe.COLUMNS) and len(cells) == len(said.document["layers"]) * len(
        said.document["places"]
    )
    assert said.document["rows"] == 40 and said.document["control"] == "clusters" and said.document["classes"] > 2
    # Only a place behind the label reads it, and none of those is the best.
    reads = {row["place"]: row["reads"] for row in said.document["results"]}
    assert reads["label_cue"] == "nothing" and reads["label"] == "label" and reads["rationale"] == "label and rationale"
    assert "label" not in reads[said.document["best"]["place"]]
    # The embedding of a cue is the same in every example, so a probe there can do no better than one guess for all of them.
    first = next(row for row in said.document["results"] if row["layer"] == 0 and row["place"] == "label_cue")
    assert first["accuracy"] <= 0.35
    assert "answer cue" in say(f"inspect probe {run} --what group --examples 30 --rows 40").out
    wrong = say(f"inspect probe {run} --what colour --json")
    assert wrong.code == 2 and "group" in wrong.error["hint"]


def test_the_analysis_of_contributing_is_a_command_a_job_and_a_part_of_page_saliency(home):
    code = """
import json, os
from cotdistill.cli import main
from cotdistill.cli.inspect import shared
from cotdistill.exchange.validation import CONFIGS
from cotdistill.execution.worker import KINDS, work
from cotdistill.exchange.verify import verify
from cotdistill.store.store import Store
shared.ensure_supervisor = work
store = Store.open()
run = next(job.id for job in store.queue.jobs(kind='train') if job.config['condition'] == 'post_cot')
main(['inspect', 'confidence', str(run), '--examples', '5', '--json'])
print('---')
main(['inspect', 'confidence', str(run), '--examples', '5', '--job', '--json'])
print('---')
print(json.dumps([CONFIGS['confidence'].__qualname__, verify(store).problems]))
from streamlit.testing.v1 import AppTest
page = AppTest.from_file(os.environ['APP'], default_timeout=60).switch_page('pages/4_Saliency.py')
for key, value in {'study': 'look', 'student': f'{run}', 'split': 'dev', 'part': 'confidence'}.items():
    page.query_params[key] = value
page.run()
print(json.dumps([[part.message for part in page.exception], len(page.dataframe), [c.value for c in page.caption]]))
"""
    printed = run(block("Add an analysis") + code, home, APP=str(ROOT / "app.py"))
    at_once, as_job, rest = printed.split("---")
    first, second = json.loads(at_once), json.loads(as_job)
    assert first["job"] is None and second["job"] and first["results"] == second["results"]
    assert len(first["results"]) == 5 and 1 / 5 <= first["summary"]["mean"] <= 1
    names, page = (json.loads(line) for line in rest.strip().splitlines())
    assert names == ["AnalysisConfig.from_plain", []]
    exceptions, tables, captions = page
    assert not exceptions and tables >= 1 and f"mean {first['summary']['mean']}" in " ".join(captions).replace("\\", "")

"""A study as one file: the same numbers on the other side, marked as imported; and nothing at all of a file that cannot be trusted."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import signal
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cotdistill.config import digest, plain
from cotdistill.errors import ArchiveTooNew, BadArchive, DataError, DiskFull, NotFound, UsageError
from cotdistill.exchange import import_archive, insert_imported, reader, validation
from cotdistill.exchange.export import export_study
from cotdistill.exchange.import_archive import import_study
from cotdistill.exchange.verify import verify
from cotdistill.execution.attempts import claim
from cotdistill.execution.supervisor import stop_all
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.results import results
from cotdistill.results.findings import findings
from cotdistill.results.prediction_matrix import matrix, texts
from cotdistill.store.records import JobSpec, identity_of
from cotdistill.store.store import Store
from cotdistill.studies import inspection_jobs
from cotdistill.studies.analyses.attribute import AttributeConfig
from cotdistill.studies.analyses.modes import ModesConfig
from cotdistill.studies.annotations import remark, set_remark
from cotdistill.studies.spec import study_spec
from cotdistill.tasks.added import add_source, changed_sources, source_info
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.importing.importer import import_task
from cotdistill.tasks.task import SPLITS, Rationale
from tests import test_browser
from tests.terminal import check_keys, speaker
from tests.test_browser import at_rest, free_port, page, serve

__all__ = ["page"]

SPEC = {
    "name": "shared",
    "title": "One for <all>",
    "task_settings": {"creatures": 24, "documents": 20, "wordings": 1},
    "conditions": "label_only,pre_cot,post_cot,post_cot/key_tokens(selector=tf_idf,k=2)",
    "replicates": 2,
    "fixed_seeds": {"world": 0, "base": 0},
    "base_steps": 2,
    "training": {"steps": 2, "batch_size": 4, "evaluations": 1, "dev_examples": 5, "checkpoints": "1"},
}
# What an import may change in what the terminal says of a study.
OWN = ("id", "origin", "imported_runs")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a finished study, and two looks at one of its students."""
    store = Store.open(tmp_path_factory.mktemp("source"))
    launch(store, plan(store, study_spec(None, SPEC)))
    work(store)
    first = next(job for job in store.queue.jobs(kind="train") if job.config["condition"] == "post_cot")
    config = AttributeConfig(first.identity, "test", (results.predictions(store, "shared")["item"][0],))
    store.queue.submit([config.spec(first)])
    attempt = claim(store.queue)
    assert attempt is not None
    buffer = io.BytesIO()
    pd.DataFrame({"example": ["x"], "text": ["a word of the task"]}).to_parquet(buffer)
    attempt.finish({"examples": 1}, {"tokens": store.artifacts.put_bytes(buffer.getvalue(), "tokens", "parquet")}, {})
    attempt.close()
    store.queue.submit([ModesConfig(first.identity, ()).spec(first, 5)])
    attempt = claim(store.queue)
    assert attempt is not None
    asked = (
        store.artifacts.table(first.produced["predictions"])
        .query("mode == 'direct'")
        .assign(rationale="what the student wrote")
    )
    own = {
        "accuracy": float(asked["correct"].mean()),
        "n": len(asked),
        "correct": int(asked["correct"].sum()),
        "trained": True,
    }
    row = {
        "example": "x",
        "cluster": "x",
        "rationale": "given",
        "test": "intact",
        "share": 0.0,
        "tokens": 3,
        "touched": 0,
        "predicted": 0,
    }
    row |= {"correct": True, "p_gold": 0.5, "changed": False}
    flags = {
        "control_predicted": "Int16",
        "control_correct": "boolean",
        "control_p_gold": "Float32",
        "control_changed": "boolean",
    }
    answers = pd.DataFrame([row | dict.fromkeys(flags)]).astype(flags)
    made = {}
    for role, table in (("predictions", asked), ("answers", answers)):
        buffer = io.BytesIO()
        table.to_parquet(buffer)
        made[role] = store.artifacts.put_bytes(buffer.getvalue(), role, "parquet")
    attempt.finish({"n": len(asked), "modes": {"direct": own}}, made, {})
    attempt.close()
    set_remark(store, "shared", note="Look at replicate 1.", tags=["thursday"], baseline="post_cot")
    return store


@pytest.fixture(scope="module")
def archive(source: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("archive") / "shared.cotdistill.zip"
    export_study(source, "shared", out)
    return out


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "other")


JOBS = ("failures", "queued", "stopped")


def said(
    store: Store, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    monkeypatch.setenv("COTDISTILL_HOME", str(store.home))
    document = dict(speaker(capsys)(words).document)
    return {key: value for key, value in document.items() if key not in OWN}


def is_untouched(store: Store) -> bool:
    left = [
        path for path in store.home.rglob("*") if path.is_file() and path.name not in ("store.sqlite", "store.lock")
    ]
    return (
        not store.queue.jobs()
        and not store.queue.studies()
        and not [path for path in left if not path.name.startswith("store.sqlite-")]
    )


# --- the same numbers ---------------------------------------------------------------------------------------------------------------------------


def test_another_store_tells_the_same_to_the_last_digit(source, archive, store, capsys, monkeypatch):
    done = import_study(store, archive)
    assert (done.study, done.name, done.completed, done.reused) == (1, "shared", 0, 0)
    for words in ("compare shared --margin 3 --json", "compare shared --baseline pre_cot --json"):
        assert said(store, words, capsys, monkeypatch) == said(source, words, capsys, monkeypatch)
    pd.testing.assert_frame_equal(results.predictions(store, 1), results.predictions(source, "shared"))
    pd.testing.assert_frame_equal(results.curves(store, 1), results.curves(source, "shared"))
    assert (matrix(store, 1).gold == matrix(source, "shared").gold).all()
    pd.testing.assert_frame_equal(texts(store, 1), texts(source, "shared"))
    assert len(texts(store, 1)) == len(matrix(store, 1).items)
    assert (remark(store, 1).note, remark(store, 1).tags, remark(store, 1).baseline) == (
        "Look at replicate 1.",
        ("thursday",),
        "post_cot",
    )
    assert verify(store).problems == () and verify(store).jobs == len(source.queue.jobs())


def test_imported_runs_are_marked_with_the_archive_and_keep_their_lineage(source, archive, store, capsys, monkeypatch):
    done = import_study(store, archive)
    theirs = {job.identity: job for job in source.queue.jobs()}
    for job in store.queue.jobs():
        there = theirs[job.identity]
        assert job.origin == done.digest and job.attempt == 0 and not there.origin
        assert (job.used, job.result, job.seconds, job.finished) == (
            there.used,
            there.result,
            there.seconds,
            there.finished,
        )
        assert {**job.produced, **job.left_out} == there.produced
    assert store.queue.needs() == source.queue.needs() and store.queue.study("shared").origin == done.digest
    monkeypatch.setenv("COTDISTILL_HOME", str(store.home))
    say = speaker(capsys)
    assert {run["origin"] for run in say("runs list --json").document} == {done.digest} and "imported" in say(
        "runs list"
    ).out
    assert (
        say("compare shared --json").document["imported_runs"] == 8
        and f"8 runs imported ({done.digest[:16]})" in say("compare shared").out
    )
    assert "stayed where it ran" in say("runs log 2 --json").error["hint"]
    shown = say("runs show 2 --json").document
    assert set(shown["left_out"]) == {"weights@1"} and "weights@1" not in shown["produced"]


def test_the_commands_say_what_is_documented(archive, source, store, capsys, monkeypatch, tmp_path):
    say = speaker(capsys)
    monkeypatch.setenv("COTDISTILL_HOME", str(source.home))
    written = say("study export shared --json", "--out", str(tmp_path / "again.cotdistill.zip"))
    check_keys("study export", written.document)
    assert written.document["bytes"] == archive.stat().st_size and written.document["left_out"] == [
        "the students' weights: ask for them with --weights"
    ]
    monkeypatch.setenv("COTDISTILL_HOME", str(store.home))
    tried = say("study import --dry-run --json", str(archive))
    check_keys("study import", tried.document)
    assert tried.document["study"] is None and tried.document["new"] == len(source.queue.jobs()) and is_untouched(store)
    assert say("study import --json", str(archive)).document["study"] == {"id": 1, "name": "shared"}
    assert say("study list --json").document[0]["origin"] == tried.document["digest"]
    assert say("study import --json", str(tmp_path / "nothing.zip")).error["kind"] == "usage"
    assert say("study export shared --json --out", str(tmp_path / "nowhere" / "x.zip")).error["kind"] == "usage"
    assert say("study export nothing --json --out", str(tmp_path / "x.zip")).error["kind"] == "unknown_name"


def test_the_same_study_gives_the_same_bytes_without_times(source, archive, tmp_path):
    again = export_study(source, "shared", tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()
    with zipfile.ZipFile(archive) as held:
        assert {info.date_time for info in held.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        manifest = json.loads(held.read("manifest.json"))
        assert held.namelist() == ["manifest.json", *sorted(held.namelist()[1:])]
        for member in manifest["members"]:
            content = held.read(member["name"])
            assert (len(content), hashlib.sha256(content).hexdigest()) == (member["size"], member["sha256"])
    bare = {key: value for key, value in manifest.items() if key != "digest"}
    by_hand = hashlib.sha256(
        json.dumps(bare, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    ).hexdigest()
    assert manifest["digest"] == by_hand == again.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.zip"]


def test_what_is_exported_again_says_where_it_first_came_from(source, archive, store, tmp_path):
    first = import_study(store, archive)
    second = export_study(store, "shared", tmp_path / "second.zip")
    third = Store.open(tmp_path / "third")
    import_study(third, tmp_path / "second.zip")
    assert {job.origin for job in third.queue.jobs()} == {first.digest} and third.queue.study(
        "shared"
    ).origin == second.digest != first.digest


def test_without_texts_no_word_of_the_task_is_in_the_file_and_the_numbers_stay(
    source, store, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "bare.zip"
    done = export_study(source, "shared", out, texts=False)
    assert not done.tasks and not done.texts
    with zipfile.ZipFile(out) as held:
        names = held.namelist()
        written = [pd.read_parquet(io.BytesIO(held.read(name))) for name in names if name.endswith(".parquet")]
        kinds = {job["kind"] for job in json.loads(held.read("jobs.json"))}
        assert kinds == {"base", "train", "select", "modes"}
    assert not [name for name in names if name.startswith("tasks/")]
    predictions = [table for table in written if "probabilities" in table]
    assert len(predictions) == 9 and all(table["rationale"].isna().all() for table in predictions)
    own = source.artifacts.table(
        next(j for j in source.queue.jobs(kind="train") if j.config["condition"] == "pre_cot").produced["predictions"]
    )
    assert own["rationale"].notna().any()
    question = texts(source, "shared")["question"].iloc[0]
    for words in (question, "what the student wrote", "a word of the task"):
        assert words.encode() not in out.read_bytes()
    import_study(store, out)
    assert said(store, "compare shared --json", capsys, monkeypatch) == said(
        source, "compare shared --json", capsys, monkeypatch
    )
    assert verify(store).problems == () and not (store.home / "tasks" / "field_guide").exists()


def test_a_student_can_be_opened_where_its_weights_came_along(source, archive, store, tmp_path):
    import_study(store, archive)
    run = next(job for job in store.queue.jobs(kind="train") if job.config["condition"] == "post_cot")
    with pytest.raises(NotFound, match="was imported without its weights") as error:
        inspection_jobs.checked_checkpoint(run, "1")
    assert f"runs retry {run.id}" in error.value.hint
    export_study(source, "shared", tmp_path / "whole.zip", weights=True)
    done = import_study(store, tmp_path / "whole.zip")
    assert (done.new, done.completed, done.study) == (0, 0, 1)
    run = store.queue.job(run.id)
    assert (
        inspection_jobs.checked_checkpoint(run, "1") == "1"
        and not run.left_out
        and run.produced == source.queue.job(run.identity).produced
    )
    from cotdistill.execution.open_student import open_run

    assert open_run(store, run.id).encoder.vocabulary_size == open_run(source, run.identity).encoder.vocabulary_size
    assert verify(store).problems == ()


def test_texts_that_come_later_take_the_place_of_what_was_left_out(source, archive, store, tmp_path):
    export_study(source, "shared", tmp_path / "bare.zip", texts=False)
    import_study(store, tmp_path / "bare.zip")
    own = next(job for job in store.queue.jobs(kind="train") if job.config["condition"] == "pre_cot")
    assert (
        set(own.left_out) == {"weights@1", "predictions"} and own.left_out["predictions"] != own.produced["predictions"]
    )
    done = import_study(store, archive)
    assert (done.new, done.completed) == (1, 0)  # the look, which is full of words
    assert store.queue.job(own.id).produced["predictions"] == own.left_out["predictions"] and len(
        texts(store, 1)
    ) == len(matrix(store, 1).items)
    assert verify(store).problems == ()


def test_replicates_that_were_added_after_a_look_are_named_on_the_other_side(source, store, tmp_path):
    more = Store.open(tmp_path / "more")
    export_study(source, "shared", tmp_path / "first.zip", texts=False)
    import_study(more, tmp_path / "first.zip")
    launch(more, plan(more, study_spec(None, {**SPEC, "replicates": 3})))
    looked = findings(more, "shared")["extended"]
    assert (looked["id"], looked["replicates"], looked["runs"], looked["of"]) == (1, 2, 8, 12)
    export_study(more, "shared", tmp_path / "second.zip", texts=False)
    import_study(store, tmp_path / "second.zip")
    looked = findings(store, "shared")["extended"]
    assert (looked["id"], looked["replicates"], looked["runs"]) == (None, 2, None)


def test_rationales_that_were_added_to_a_task_travel_with_the_runs_that_read_them(tmp_path, store):
    other = Store.open(tmp_path / "there")
    lines = [
        json.dumps(
            {"id": f"{i}", "question": f"is {i} even ?", "choices": ["yes", "no"], "answer": i % 2, "rationale": "so"}
        )
        for i in range(60)
    ]
    (tmp_path / "even.jsonl").write_text("\n".join(lines))
    task = import_task(other.tasks_root, tmp_path / "even.jsonl", "even").task
    rows = [Rationale(e.id, "", f"since {e.id} is so") for split in SPLITS for e in task.examples(split)]
    zoo, unread = add_source(task, "zoo", rows, {"made": "by hand"}), add_source(task, "ark", rows, {})
    values = {
        "name": "even",
        "task": "even",
        "conditions": f"label_only,post_cot@source={zoo}",
        "replicates": 1,
        "tokenizer": "word",
    }
    launch(
        other,
        plan(
            other,
            study_spec(
                None, {**values, "training": {"steps": 1, "batch_size": 4, "evaluations": 0, "checkpoints": "1"}}
            ),
        ),
    )
    assert work(other) == 2
    done = export_study(other, "even", tmp_path / "even.zip", weights=True)
    assert done.tasks == ("even",) and not [name for name in members_of(tmp_path / "even.zip") if unread in name]
    import_study(store, tmp_path / "even.zip")
    here = open_task(store.tasks_root, "even")
    assert (here.digest, here.added) == (task.digest, (zoo,)) and source_info(here, zoo)["origin"] == {
        "made": "by hand"
    }
    assert changed_sources(here) == [] and verify(store).problems == ()
    pd.testing.assert_frame_equal(texts(store, "even"), texts(other, "even"))
    run = next(job for job in store.queue.jobs() if "zoo" in job.config["condition"])
    assert inspection_jobs.task_of(store, run).examples("train", zoo)[0].rationale.startswith("since")
    members = members_of(tmp_path / "even.zip")
    name = next(n for n in members if n.endswith("/source.json"))
    third = Store.open(tmp_path / "third")
    for content, told in (
        (b"{}", "cannot be used"),
        (members[name].replace(zoo.encode(), b"zoo-00000000"), "is not what it says"),
    ):
        assert told in refused(third, write(tmp_path / "x.zip", {**members, name: content}), DataError)


# --- what is here already -----------------------------------------------------------------------------------------------------------------------


def test_the_same_archive_twice_is_one_study(archive, store):
    import_study(store, archive)
    again = import_study(store, archive)
    assert (again.study, again.new, again.completed, len(store.queue.studies())) == (1, 0, 0, 1)


def test_runs_of_this_store_stay_its_own_and_waiting_ones_get_their_result(source, archive, tmp_path):
    store = Store.open(tmp_path / "busy")
    launch(store, plan(store, study_spec(None, SPEC)))
    base = claim(store.queue)
    assert base is not None and base.job.kind == "base"
    with pytest.raises(UsageError, match="are running here: 1"):
        import_study(store, archive)
    base.release("stop")
    base.close()
    done = import_study(store, archive)
    assert (done.study, done.new, done.completed) == (1, 2, len(source.queue.jobs()) - 2) and len(
        store.queue.studies()
    ) == 1
    assert all(job.state == "finished" and job.origin == done.digest for job in store.queue.jobs())
    own = import_study(source, archive)
    assert (own.new, own.completed) == (0, 0) and not any(job.origin for job in source.queue.jobs())


def test_an_imported_run_can_be_run_here_and_is_then_one_of_this_store(source, store, tmp_path):
    out = tmp_path / "whole.zip"
    export_study(source, "shared", out, weights=True)
    import_study(store, out)
    run = next(job for job in store.queue.jobs(kind="train") if job.config["condition"] == "post_cot")
    store.queue.retry(run.id)
    assert store.queue.job(run.id).result is None and results.comparison(store, 1, "label_only").provisional
    assert work(store) == 1
    again = store.queue.job(run.id)
    assert (again.origin, again.state, again.left_out) == ("", "finished", {}) and again.attempt == 1
    theirs = source.queue.job(run.identity).produced
    assert {role: again.produced[role] for role in ("predictions", "weights@1")} == {
        role: theirs[role] for role in ("predictions", "weights@1")
    }


def test_a_run_that_has_other_answers_here_is_not_passed_over(source, archive, tmp_path):
    changed = repack(archive, tmp_path / "changed.zip", predictions=flipped)
    before = {job.id: job for job in source.queue.jobs()}
    with pytest.raises(UsageError, match="have finished here with other answers"):
        import_study(source, changed)
    assert {job.id: job for job in source.queue.jobs()} == before


def test_another_study_of_the_name_is_told_and_can_stand_beside_it(archive, store, tmp_path):
    launch(store, plan(store, study_spec(None, {**SPEC, "replicates": 1})))
    before = store.queue.jobs()
    with pytest.raises(UsageError, match="has another study named 'shared'") as error:
        import_study(store, archive)
    assert "--name" in error.value.hint and store.queue.jobs() == before
    done = import_study(store, archive, name="theirs")
    study = store.queue.study("theirs")
    assert (done.study, study.spec["name"]) == (2, "theirs") and len(store.queue.study("shared").members) != len(
        study.members
    )


def test_half_a_study_stays_provisional_and_its_failures_are_told_without_where_they_happened(
    tmp_path, store, capsys, monkeypatch
):
    other = Store.open(tmp_path / "half")
    spec = study_spec(
        None,
        {
            **SPEC,
            "conditions": "label_only,post_cot",
            "base_steps": 0,
            "title": "",
            "training": {"steps": 1, "batch_size": 4},
        },
    )
    launch(other, plan(other, spec))
    attempt = claim(other.queue)
    assert attempt is not None
    attempt.fail(
        {
            "kind": "student",
            "message": "It did not fit.",
            "hint": "Take a smaller one.",
            "traceback": "/home/somebody/secret.py",
        }
    )
    attempt.close()
    other.queue.pause(other.queue.jobs(state="queued")[-1].id)
    export_study(other, "shared", tmp_path / "half.zip")
    assert b"/home/somebody" not in (tmp_path / "half.zip").read_bytes()
    done = import_study(store, tmp_path / "half.zip")
    assert [job.state for job in sorted(store.queue.jobs(), key=lambda job: job.id)].count("failed") == 1
    assert {job.state for job in store.queue.jobs()} == {"failed", "stopped"} and store.queue.backlog().total == 0
    assert "4 of its jobs had not finished" in done.notes[-1]
    # What became of its jobs is each store's own.
    here, there = (
        {
            key: value
            for key, value in said(each, "compare shared --json", capsys, monkeypatch).items()
            if key not in JOBS
        }
        for each in (store, other)
    )
    assert here == there
    failed = store.queue.jobs(state="failed")[0]
    assert failed.error == {"kind": "student", "message": "It did not fit.", "hint": "Take a smaller one."}
    store.queue.retry(failed.id)
    assert work(store) == 1 and store.queue.job(failed.id).state == "finished"
    assert {job.id for job in store.queue.jobs() if not job.origin} == {failed.id}


def test_a_run_that_was_deleted_stays_a_gap(source, tmp_path, store):
    copy = Store.open(tmp_path / "copy")
    export_study(source, "shared", tmp_path / "a.zip", texts=False)
    import_study(copy, tmp_path / "a.zip")
    gone = next(job for job in copy.queue.jobs(kind="train") if job.config["condition"] == "label_only")
    copy.queue.delete(gone.id)
    done = export_study(copy, "shared", tmp_path / "b.zip")
    assert "1 planned runs that were deleted" in done.left_out
    import_study(store, tmp_path / "b.zip")
    assert [m.identity for m in store.queue.study("shared").missing] == [gone.identity]


# --- what cannot be trusted -----------------------------------------------------------------------------------------------------------------------


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as held:
        return {name: held.read(name) for name in held.namelist()}


def write(path: Path, members: dict[str, bytes], *, signed: bool = True, **manifest: Any) -> Path:
    """An archive of these members. signed: with a manifest that fits them, as whoever forges one would write it."""
    if signed:
        told = {**json.loads(members.pop("manifest.json")), **manifest}
        told["members"] = [
            {"name": n, "size": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in sorted(members.items())
        ]
        del told["digest"]
        members = {"manifest.json": json.dumps({**told, "digest": digest(told)}).encode(), **members}
    with zipfile.ZipFile(path, "w") as held:
        for name, content in members.items():
            held.writestr(zipfile.ZipInfo(name), content)
    return path


def flipped(table: pd.DataFrame) -> pd.DataFrame:
    """One answer less right, or one more."""
    first = table.iloc[0]
    other = (first["answer"] + 1) % len(first["probabilities"]) if first["correct"] else first["answer"]
    changed = table.assign(
        predicted=[other, *table["predicted"][1:]], correct=[not first["correct"], *table["correct"][1:]]
    )
    return changed.astype({"predicted": "int16", "correct": bool})


def repack(
    archive: Path,
    out: Path,
    *,
    jobs: Callable[[list[dict[str, Any]]], Any] = lambda jobs: jobs,
    study: Callable[[dict[str, Any]], Any] = lambda study: study,
    predictions: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
    recount: bool = True,
    **manifest: Any,
) -> Path:
    """An archive in which something was changed by somebody who knows how to make every digest fit again."""
    members = members_of(archive)
    held = json.loads(members["jobs.json"])
    if predictions is not None:
        job = next(one for one in held if one["kind"] == "train" and one["config"]["condition"] == "label_only")
        product = job["produced"]["predictions"]
        table = predictions(pd.read_parquet(io.BytesIO(members.pop(f"artifacts/{product['held']}.parquet"))))
        buffer = io.BytesIO()
        table.to_parquet(buffer)
        product["made"] = product["held"] = hashlib.sha256(buffer.getvalue()).hexdigest()
        members[f"artifacts/{product['held']}.parquet"] = buffer.getvalue()
        if recount:
            right = table[table["mode"] == job["result"]["mode"]]["correct"]
            job["result"] |= {"n": len(right), "correct": int(right.sum()), "accuracy": float(right.sum() / len(right))}
    members["jobs.json"] = json.dumps(jobs(held)).encode()
    members["study.json"] = json.dumps(study(json.loads(members["study.json"]))).encode()
    return write(out, members, **manifest)


def refused(store: Store, path: Path, error: type[Exception] = BadArchive) -> str:
    """The message; nothing may have been written."""
    with pytest.raises(error) as raised:
        import_study(store, path)
    assert raised.type is error and raised.value.hint and is_untouched(store)
    return str(raised.value.message)


def test_a_file_that_was_packed_again_by_another_program_is_the_same_archive(archive, store, tmp_path):
    members = members_of(archive)
    with zipfile.ZipFile(tmp_path / "packed.zip", "w", zipfile.ZIP_DEFLATED) as held:
        for name in reversed(members):
            held.writestr(name, members[name])
    done = import_study(store, tmp_path / "packed.zip")
    assert done.digest == json.loads(members["manifest.json"])["digest"] and done.study == 1


@pytest.mark.parametrize(
    "name",
    [
        "../evil.json", "/etc/passwd", "C:\\evil", "C:/evil", "artifacts/../../evil.parquet", "artifacts\\evil.parquet", "tasks/../x", "evil.json",
        f"artifacts/{'a' * 64}.exe", f"artifacts/{'a' * 64}.parquet/", "tasks/..", f"tasks/ok/{'a' * 64}/../../../evil", "", "MANIFEST.JSON",
        f"tasks/ok/{'a' * 64}/tokenizers/word-../x.json", "artifacts/\x00.parquet",
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(archive, store, tmp_path, name):
    members = {**members_of(archive), name: b"evil"}
    refused(store, write(tmp_path / "x.zip", members))
    assert not list(tmp_path.rglob("*evil*")) and not list(tmp_path.rglob("passwd"))


def test_links_folders_doubles_and_locked_members_are_refused(archive, store, tmp_path):
    members = members_of(archive)

    def packed(change: Callable[[zipfile.ZipFile], None]) -> Path:
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as held:
            for name, content in members.items():
                info = zipfile.ZipInfo(name)
                if change.__name__ == "link" and name == "study.json":
                    info.external_attr = 0o120777 << 16
                held.writestr(info, content)
            change(held)
        return tmp_path / "x.zip"

    def link(held: zipfile.ZipFile) -> None:
        pass

    def double(held: zipfile.ZipFile) -> None:
        with pytest.warns(UserWarning, match="Duplicate"):
            held.writestr("study.json", b"{}")

    def packing(held: zipfile.ZipFile) -> None:
        held.writestr(zipfile.ZipInfo(f"artifacts/{'a' * 64}.parquet"), b"x", zipfile.ZIP_LZMA)

    assert "as a link or a folder" in refused(store, packed(link))
    assert "twice" in refused(store, packed(double))
    assert "packed in a way" in refused(store, packed(packing))
    content = bytearray(packed(packing).read_bytes())
    content = bytearray(archive.read_bytes())
    at = content.rindex(b"PK\x01\x02")  # the flags of the last entry of the list
    content[at + 8] |= 1
    (tmp_path / "x.zip").write_bytes(content)
    assert "encrypted" in refused(store, tmp_path / "x.zip")


def test_bombs_are_refused_before_they_are_unpacked(archive, store, tmp_path, monkeypatch):
    members = members_of(archive)
    with zipfile.ZipFile(tmp_path / "dense.zip", "w", zipfile.ZIP_DEFLATED) as held:
        for name, content in members.items():
            held.writestr(name, content)
        held.writestr(f"artifacts/{'a' * 64}.parquet", bytes(50 << 20))
    assert "too much" in refused(store, tmp_path / "dense.zip")
    # A size that is stated too small, in the list and before the member itself.
    name = next(n for n in members if n.endswith(".parquet"))
    whole = archive.read_bytes()
    true, false = struct.pack("<L", len(members[name])), struct.pack("<L", 10)
    for_list = whole.rindex(name.encode()) - 46 + 24
    assert whole[for_list : for_list + 4] == true
    (tmp_path / "liar.zip").write_bytes(whole[:for_list] + false + whole[for_list + 4 :])
    refused(store, tmp_path / "liar.zip")
    monkeypatch.setattr(reader, "MOST_MEMBERS", len(members) - 1)
    assert "expected at most" in refused(store, archive)
    monkeypatch.setattr(reader, "LARGEST_LIST", 100)
    assert "lists its members in" in refused(store, archive)
    monkeypatch.undo()
    monkeypatch.setattr(reader, "LARGEST_JSON", 200)
    assert "expected at most 200" in refused(store, archive)


def test_two_members_cannot_share_their_bytes(archive, store, tmp_path):
    """The list of an archive can name one stretch of bytes many times, which then unpacks to more than the file holds."""
    members = members_of(archive)
    content = archive.read_bytes()
    start = content.rindex(b"PK\x05\x06")
    entry = content[content.rindex(b"PK\x01\x02") : start]
    name = entry[46 : 46 + struct.unpack("<H", entry[28:30])[0]]
    copies = b"".join(
        entry.replace(name, f"artifacts/{i:064x}.parquet".encode().ljust(len(name), b"t")[: len(name)])
        for i in range(3)
    )
    size, offset = struct.unpack("<LL", content[start + 12 : start + 20])
    many = len(members) + 3
    end = content[start : start + 8] + struct.pack("<HHLLH", many, many, size + len(copies), offset, 0)
    (tmp_path / "x.zip").write_bytes(content[:start] + copies + end)
    refused(store, tmp_path / "x.zip")


def test_half_a_file_is_refused_wherever_it_ends(archive, store, tmp_path):
    content = archive.read_bytes()
    for length in (
        0,
        1,
        21,
        22,
        100,
        len(content) // 3,
        len(content) // 2,
        len(content) - 4000,
        len(content) - 23,
        len(content) - 22,
        len(content) - 1,
    ):
        (tmp_path / "x.zip").write_bytes(content[:length])
        refused(store, tmp_path / "x.zip")
    (tmp_path / "x.zip").write_bytes(content + b"more")
    refused(store, tmp_path / "x.zip")


def test_a_flipped_bit_is_noticed_or_means_nothing(archive, tmp_path, monkeypatch):
    """Times and attributes of zip entries mean nothing here; every other bit does."""
    content, rng = archive.read_bytes(), random.Random(7)
    expected = members_of(archive)
    start = content.rindex(b"PK\x05\x06")
    listed = struct.unpack("<L", content[start + 16 : start + 20])[0]
    places = [rng.randrange(len(content)) for _ in range(60)] + [
        rng.randrange(listed, len(content)) for _ in range(140)
    ]
    noticed = 0
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(8)
        path = tmp_path / "x.zip"
        path.write_bytes(changed)
        try:
            with reader.opened(path) as held:
                held.check()
                assert {name: held.read(name, 1 << 30) for name in held.members} == {
                    n: c for n, c in expected.items() if n != "manifest.json"
                }
        except BadArchive:
            noticed += 1
    assert noticed > len(places) / 2


@pytest.mark.parametrize(
    "content", [b"", b"no archive", b"PK\x03\x04" + bytes(100), b"\x1f\x8b\x08" + bytes(64), b"PK\x05\x06" + bytes(18)]
)
def test_what_is_no_archive_is_told(store, tmp_path, content):
    (tmp_path / "x.zip").write_bytes(content)
    assert "x.zip" in refused(store, tmp_path / "x.zip")


def test_a_folder_is_no_archive(store, tmp_path):
    refused(store, tmp_path, UsageError)


def test_a_newer_format_asks_for_an_update(archive, store, tmp_path):
    told = refused(store, repack(archive, tmp_path / "x.zip", version=2, written_by="9.0"), ArchiveTooNew)
    assert "format 2" in told and "9.0" in told
    assert "does not say so" in refused(store, repack(archive, tmp_path / "x.zip", format="other"))
    refused(store, repack(archive, tmp_path / "x.zip", version="1"))


def job_with(**values: Any) -> dict[str, Any]:
    """A change to the first training run of an archive."""

    def change(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        next(job for job in jobs if job["kind"] == "train").update(values)
        return jobs

    return {"jobs": change}


def result_with(**values: Any) -> dict[str, Any]:
    def change(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        next(job for job in jobs if job["kind"] == "train")["result"].update(values)
        return jobs

    return {"jobs": change}


def relabelled(study: dict[str, Any]) -> dict[str, Any]:
    """Two runs of a study change places, so that one condition shows the numbers of the other."""
    runs = [member for member in study["members"] if member[3] == "run"]
    first, second = runs[0], next(run for run in runs if run[1] != runs[0][1])
    first[0], second[0] = second[0], first[0]
    return study


CONTRADICTIONS = {
    "a config that was changed": {
        "jobs": lambda jobs: [{**job, "config": {**job["config"], "task": "other"}} for job in jobs]
    },
    "no list of jobs": {"jobs": lambda jobs: {}},
    "a job that is text": {"jobs": lambda jobs: [*jobs, "job"]},
    "a job twice": {"jobs": lambda jobs: [*jobs, jobs[0]]},
    "no jobs": {"jobs": lambda jobs: []},
    "another state": job_with(state="running"),
    "a result that is a list": job_with(result=[]),
    "an identity that is none": job_with(identity="abc"),
    "a negative time": job_with(seconds=-1),
    "a time that is no number": job_with(created="today"),
    "a boolean for a number": job_with(estimate=True),
    "needs that are no list": job_with(needs="abc"),
    "another accuracy": result_with(accuracy=0.99),
    "another count": result_with(n=7),
    "an accuracy above one": result_with(accuracy=1.5),
    "a mode that was not asked": result_with(mode="given"),
    "predictions that are not there": {"jobs": lambda jobs: [{**job, "produced": {}} for job in jobs]},
    "an artefact that is not there": {
        "jobs": lambda jobs: [
            {**j, "produced": {**j["produced"], "more": {"made": "b" * 64, "held": "b" * 64, "suffix": "parquet"}}}
            for j in jobs
        ]
    },
    "an ending that is none": {
        "jobs": lambda jobs: [
            {**j, "produced": {r: {**p, "suffix": "pkl"} for r, p in j["produced"].items()}} for j in jobs
        ]
    },
    "an artefact that nobody names": {
        "jobs": lambda jobs: [j | ({"produced": {}} if j["kind"] == "select" else {}) for j in jobs]
    },
    "a study that is a list": {"study": lambda study: []},
    "another plan": {"study": lambda study: {**study, "spec": {**study["spec"], "replicates": 5}}},
    "another name than in its settings": {"study": lambda study: {**study, "name": "other"}},
    "no runs": {"study": lambda study: {**study, "members": []}},
    "a run twice": {"study": lambda study: {**study, "members": study["members"] * 2}},
    "members that are mappings": {"study": lambda study: {**study, "members": [{}]}},
    "a replicate below zero": {
        "study": lambda study: {**study, "members": [[*m[:2], -1, m[3]] for m in study["members"]]}
    },
    "another role": {"study": lambda study: {**study, "members": [[*m[:3], "boss"] for m in study["members"]]}},
    "runs under other conditions": {"study": relabelled},
    "a note without end": {"study": lambda study: {**study, "remark": {**study["remark"], "note": "x" * 20_000}}},
    "a baseline that is no condition": {
        "study": lambda study: {**study, "remark": {**study["remark"], "baseline": "multitask"}}
    },
    "an answer beyond the choices": {"predictions": lambda table: table.assign(predicted=9)},
    "an answer below the choices": {"predictions": lambda table: table.assign(answer=-1)},
    "a question asked twice": {"predictions": lambda table: table.assign(id="same")},
    "predictions without probabilities": {"predictions": lambda table: table.drop(columns="probabilities")},
    "probabilities that are text": {"predictions": lambda table: table.assign(probabilities="0.5")},
    "empty cells": {"predictions": lambda table: table.assign(margin=None).astype({"margin": "float64"})},
    "answers that do not give the accuracy": {"predictions": flipped, "recount": False},
    "an earlier look at no replicate": {"study": lambda study: {**study, "extends": 0}},
    "the accuracy of another mode": {
        "jobs": lambda jobs: [
            j | {"result": {**j["result"], "modes": {"direct": {**j["result"]["modes"]["direct"], "accuracy": 0.0}}}}
            if j["kind"] == "modes"
            else j
            for j in jobs
        ]
    },
}


@pytest.mark.parametrize("change", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_an_archive_that_contradicts_itself_is_refused(archive, store, tmp_path, change):
    refused(store, repack(archive, tmp_path / "x.zip", **change))


@pytest.mark.parametrize(
    "change",
    [
        job_with(kind="dream"), job_with(recipe=99), {"study": lambda study: {**study, "spec": {**study["spec"], "mood": "good"}}},
        {"jobs": lambda jobs: [with_config(job, mood="good") if job["kind"] == "train" else job for job in jobs]},
        {"jobs": lambda jobs: [with_config(job, task=7) if job["kind"] == "train" else job for job in jobs]},
        {"jobs": lambda jobs: [with_config(job, condition="post_cot/sing") if job["kind"] == "train" else job for job in jobs]},
    ],
    ids=["kind", "recipe", "study", "setting", "type", "condition"],
)  # fmt: skip
def test_what_only_a_newer_version_knows_asks_for_an_update(archive, store, tmp_path, change):
    refused(store, repack(archive, tmp_path / "x.zip", **change), ArchiveTooNew)


def with_config(job: dict[str, Any], **values: Any) -> dict[str, Any]:
    config = {**job["config"], **values}
    return {**job, "config": config, "identity": identity_of(job["kind"], job["recipe"], config)}


@pytest.mark.parametrize(
    "text",
    [
        '{"a": NaN}',
        "[" * 100_000,
        '{"a": 1',
        "\ud800".encode("utf-16", "surrogatepass").decode("latin-1"),
        '["\\ud800"]',
    ],
)
def test_json_that_is_none_is_refused(archive, store, tmp_path, text):
    members = {**members_of(archive), "study.json": text.encode()}
    assert "is not JSON" in refused(store, write(tmp_path / "x.zip", members))


def test_a_manifest_that_does_not_fit_is_refused(archive, store, tmp_path):
    members = members_of(archive)
    manifest = json.loads(members["manifest.json"])
    for told in (
        {**manifest, "study": "other"}, {**manifest, "digest": "0" * 64}, {**manifest, "members": []},
        {**manifest, "members": manifest["members"][1:]},
        {**manifest, "members": "all"}, [], {key: value for key, value in manifest.items() if key != "members"},
    ):  # fmt: skip
        refused(store, write(tmp_path / "x.zip", {**members, "manifest.json": json.dumps(told).encode()}, signed=False))
    del members["manifest.json"]
    assert "has no manifest.json" in refused(store, write(tmp_path / "x.zip", members, signed=False))
    for name in ("study.json", "jobs.json"):
        less = {key: content for key, content in members_of(archive).items() if key != name}
        assert "lacks" in refused(store, write(tmp_path / "x.zip", less))


def test_a_task_that_is_not_what_it_says_is_refused(archive, store, tmp_path):
    members = members_of(archive)
    name = next(n for n in members if n.endswith("/task.json"))
    info = json.loads(members[name])
    other = {**members, name: json.dumps({**info, "title": "changed"}).encode()}
    assert "its files hash to" in refused(store, write(tmp_path / "x.zip", other), DataError)


def test_a_table_that_unpacks_to_too_much_is_refused(archive, store, tmp_path, monkeypatch):
    dense = repack(archive, tmp_path / "x.zip", predictions=lambda table: table.assign(padding="x" * 100_000))
    largest = max(len(content) for content in members_of(dense).values()) + 1
    monkeypatch.setattr(validation, "LARGEST_TABLE", largest)
    assert "unpacks to more than" in refused(store, dense)


# --- ends without warning ------------------------------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from cotdistill.exchange import import_archive, insert_imported
from cotdistill.store.store import Store

def die(*anything, **more):
    os.kill(os.getpid(), signal.SIGKILL)

place = sys.argv[3]
if place == "copying":
    put, left = import_archive.Store.open(Path(sys.argv[1])).artifacts.__class__.put_blocks, [5]
    def some(self, *given):
        left[0] -= 1
        if not left[0]:
            die()
        return put(self, *given)
    import_archive.Store.open(Path(sys.argv[1])).artifacts.__class__.put_blocks = some
elif place == "rows":
    import_archive.record = die
else:
    insert_imported._insert_study = die
import_archive.import_study(Store.open(Path(sys.argv[1])), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("place", ["copying", "rows", "study"])
def test_an_import_that_is_killed_leaves_no_row_and_the_next_one_ends(archive, store, source, place):
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(store.home), str(archive), place],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert not store.queue.jobs() and not store.queue.studies() and verify(store).problems == ()
    assert list(store.artifacts.all())
    assert import_study(store, archive).study == 1
    assert verify(store).problems == () and len(store.queue.jobs()) == len(source.queue.jobs())


def test_a_full_disk_takes_back_what_was_brought(archive, store, monkeypatch):
    put, room = store.artifacts.put_blocks, [4]

    def full(*given: Any) -> bool:
        room[0] -= 1
        if room[0] < 0:
            raise DiskFull("There is no room left.", "Free some.")
        return put(*given)

    monkeypatch.setattr(store.artifacts, "put_blocks", full)
    refused(store, archive, DiskFull)
    monkeypatch.undo()
    monkeypatch.setattr(import_archive.shutil, "disk_usage", lambda home: type("Usage", (), {"free": 1000}))
    refused(store, archive, DiskFull)


def test_a_run_that_begins_meanwhile_stops_the_import(archive, store, source, monkeypatch):
    job = next(j for j in source.queue.jobs(kind="base"))

    def begin(*given: Any) -> Any:
        store.queue.submit([JobSpec("base", plain(job.config))])
        return found(*given)

    found = insert_imported.record
    monkeypatch.setattr(import_archive, "record", begin)
    with pytest.raises(UsageError, match="while it was imported"):
        import_study(store, archive)
    assert [one.kind for one in store.queue.jobs()] == ["base"] and not store.queue.studies()


# --- the page -----------------------------------------------------------------------------------------------------------------------------------


@test_browser.pytestmark
def test_a_page_brings_a_study_in_shows_it_and_hands_it_on(source, archive, store, page, tmp_path):
    port = free_port()
    process = serve(store.home, port)
    try:
        page.goto(f"http://localhost:{port}/Findings")
        page.get_by_role("button", name="Archive").click()
        page.locator("input[type=file]").set_input_files(archive)
        page.get_by_role("button", name="Import", exact=True).click()
        page.get_by_text("Imported shared").wait_for()
        page.get_by_text("Every condition").wait_for()
        page.get_by_text(f"8 runs imported ({store.queue.study('shared').origin[:16]})").wait_for()
        assert (
            "study=shared" in page.url
            and findings(store, "shared")["conditions"] == findings(source, "shared")["conditions"]
        )
        # Drawing the page once more replaces what the button downloads.
        at_rest(page)
        if not page.get_by_role("button", name="Download the archive").is_visible():
            page.get_by_role("button", name="Archive").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download the archive").click()
        assert download.value.suggested_filename == "shared.cotdistill.zip"
        download.value.save_as(tmp_path / "on.zip")
        answers = tmp_path / "lab.csv"
        answers.write_text('item,condition,replicate,answer,probabilities\nq,mine,0,0,"[0.5, 0.6]"\n')
        page.locator("input[type=file]").set_input_files(answers)
        page.get_by_label("Name of the study").wait_for()
        page.get_by_role("button", name="Import", exact=True).click()
        page.get_by_text("1 row cannot be read").wait_for()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        stop_all(store)
    third = Store.open(tmp_path / "third")
    import_study(third, tmp_path / "on.zip")
    assert findings(third, "shared")["claims"] == findings(source, "shared")["claims"]

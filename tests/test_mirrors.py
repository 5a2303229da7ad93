"""Mirrors: what they are told, that a broken one costs no run anything, and that what stands in each can be read back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cotdistill.errors import MirrorFailed, UnknownName, UsageError
from cotdistill.execution import worker
from cotdistill.execution.attempts import claim
from cotdistill.execution.mirrors import mirroring, settings
from cotdistill.execution.mirrors.writer import folder_of, points_of
from cotdistill.execution.supervisor import ensure_supervisor, stop_all
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.report.mirrors import mirror_told
from cotdistill.store.records import JobSpec
from cotdistill.store.store import Store
from cotdistill.studies.spec import study_spec
from tests.terminal import Say, speaker
from tests.test_study_runs import SMALL
from tests.test_supervisor import counting, finished, until


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_kinds: None) -> Iterator[Store]:
    monkeypatch.setattr(worker, "IDLE_SECONDS", 0.0)
    monkeypatch.setenv("COTDISTILL_HOME", str(tmp_path / "store"))
    made = Store.open(tmp_path / "store")
    yield made
    stop_all(made)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    return speaker(capsys)


def unchecked(store: Store, to: Path, kind: str = "tensorboard", python: str = sys.executable) -> settings.Mirror:
    """A mirror as it is after its environment has broken: it was whole when it was added."""
    made = settings.Mirror(kind, kind, str(to), python, 0.0)
    settings._write(settings.folder(store) / f"{kind}.mirror.json", settings.asdict(made))
    return made


def test_an_ended_run_is_told_once_with_its_numbers_and_a_running_one_by_its_latest_values(store: Store) -> None:
    store.queue.submit([counting(1, steps=20)])
    assert work(store) == 1
    store.queue.submit([JobSpec("count", {"steps": 9, "seed": 2}, label="the second")])
    attempt = claim(store.queue)
    assert attempt is not None
    attempt.beat({"step": 4, "total": 9, "loss": 0.25, "note": "text"})
    running, ended = mirroring.pending(store, settings.State())
    assert running["points"] == [["live/loss", 4, 0.25, 0.0]] and running["result"] is None
    job = store.queue.job(1)
    assert job.result is not None
    assert ended["result"] == {"accuracy": job.result["accuracy"], "steps": 20, "total": job.result["total"]}
    assert ended["config"]["seed"] == 1 and ended["config"]["kind"] == "count" and ended["state"] == "finished"
    told = settings.State(ended={job.identity: 1}, live={running["run"]: 4})
    assert not list(mirroring.pending(store, told))
    told.ended[job.identity] = 0
    assert [message["run"] for message in mirroring.pending(store, told)] == [job.identity]
    attempt.release("stop")
    attempt.close()


def test_the_numbers_of_a_result_stand_at_the_last_step_of_the_curve() -> None:
    run = {"points": [["loss", 1, 2.0, 0.5], ["loss", 6, float("nan"), 3.0]], "result": {"accuracy": 0.75}}
    assert points_of(run) == [("loss", 1, 2.0, 0.5), ("result/accuracy", 6, 0.75, 3.0)]


def test_a_folder_is_named_for_people_and_cannot_leave_its_place() -> None:
    assert (
        folder_of({"name": "../../etc · pre_cot/mask(p=0.5)", "run": "ab" * 32})
        == "etc-pre_cot-mask-p=0.5-abababababab"
    )


def test_a_broken_mirror_fails_no_run_and_its_failure_is_written_down_and_shown(
    store: Store, tmp_path: Path, say: Say
) -> None:
    mirror = unchecked(store, tmp_path / "there", python=str(tmp_path / "no-python"))
    store.queue.submit([counting(n) for n in range(2)])
    ensure_supervisor(store)
    until(lambda: finished(store))
    until(lambda: settings.state(store, mirror.name).failure)
    failure = settings.state(store, mirror.name).failure
    assert failure is not None and "no-python cannot be run" in failure["message"]
    assert "it failed" in mirror_told(mirror, settings.state(store, mirror.name))
    listed = say("mirrors list --json").document
    assert listed[0]["failure"]["message"] == failure["message"] and listed[0]["ended"] == 0
    assert {job.state for job in store.queue.jobs()} == {"finished"}


def test_a_writer_that_cannot_import_its_package_says_so(store: Store, tmp_path: Path) -> None:
    if subprocess.run([sys.executable, "-c", "import mlflow"], capture_output=True).returncode == 0:
        pytest.skip("MLflow is installed here")
    store.queue.submit([counting(1)])
    work(store)
    with pytest.raises(MirrorFailed, match="ModuleNotFoundError"):
        mirroring.sync(store, unchecked(store, tmp_path / "there", "mlflow"))
    failure = settings.state(store, "mlflow").failure
    assert failure is not None and "mlflow" in failure["message"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"kind": "tensorbord", "to": "x"}, "tensorboard"),
        ({"kind": "tensorboard", "to": "http://host"}, "is an address"),
        ({"kind": "mlflow", "to": "x", "name": "../x"}, "cannot name a mirror"),
        ({"kind": "wandb", "to": "x", "python": "/nowhere/python"}, "cannot be run"),
        ({"kind": "wandb", "to": "STORE/x"}, "lies in the store"),
    ],
)
def test_what_cannot_be_a_mirror_is_refused_in_words(
    store: Store, tmp_path: Path, words: dict[str, str], told: str
) -> None:
    given = {
        **words,
        "to": words["to"].replace("STORE", str(store.home)) if words["to"] != "x" else str(tmp_path / "x"),
    }
    with pytest.raises((UsageError, UnknownName)) as refused:
        settings.add(store, **given)
    assert told in f"{refused.value.message} {refused.value.hint}"
    assert settings.mirrors(store) == []


def test_remove_forgets_the_mirror_and_leaves_what_stands_in_it(store: Store, tmp_path: Path, say: Say) -> None:
    unchecked(store, tmp_path / "there")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "kept").touch()
    assert say("mirrors remove tensorboard --json").document["to"] == str(tmp_path / "there")
    assert settings.mirrors(store) == [] and (tmp_path / "there" / "kept").exists()
    assert say("mirrors remove tensorboard").code == 2


# --- read back from the real programs ---------------------------------------------------------------------------------------------------------


def environment(kind: str) -> str:
    """The interpreter of a mirror's environment; skips where there is none."""
    python = os.environ.get(f"COTDISTILL_{kind.upper()}_PYTHON") or settings.default_python(settings.KINDS.get(kind))
    if subprocess.run([python, "-c", f"import {kind}"], capture_output=True).returncode:
        pytest.skip(f"{kind} is not installed: make test-extras")
    return python


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store.open(tmp_path_factory.mktemp("trained") / "store")
    launch(store, plan(store, study_spec(None, {**SMALL, "conditions": "label_only,pre_cot", "replicates": 1})))
    assert work(store) == 3
    return store


READ_BACK = {
    "tensorboard": """
import json, pathlib, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
found = {}
for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    found[folder.name[-12:]] = {tag: [[e.step, e.value] for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
print(json.dumps(found))
""",
    "mlflow": """
import json, sys
from mlflow import MlflowClient
client = MlflowClient("sqlite:///" + sys.argv[1] + "/mlflow.db")
found = {}
for run in client.search_runs([client.get_experiment_by_name("small").experiment_id]):
    assert run.info.status == "FINISHED" and run.data.params["task"] == "field_guide"
    found[run.data.tags["cotdistill.run"][:12]] = {
        name: [[m.step, m.value] for m in client.get_metric_history(run.info.run_id, name)] for name in run.data.metrics}
print(json.dumps(found))
""",
    # The library has no reader of its own files. They are LevelDB logs: blocks of 32 KiB, each record with checksum, length and type.
    "wandb": """
import json, pathlib, struct, sys
from wandb.proto import wandb_internal_pb2 as pb

def records(data):
    place, whole = 7, b""
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield whole
            whole = b""

found = {}
for path in sorted(pathlib.Path(sys.argv[1]).glob("wandb/offline-run-*/*.wandb")):
    rows = {}
    for data in records(path.read_bytes()):
        record = pb.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            for item in record.history.item:
                name = item.key or "/".join(item.nested_key)
                if not name.startswith("_"):
                    rows.setdefault(name, []).append([record.history.step.num, json.loads(item.value_json)])
    found[path.stem.removeprefix("run-")[:12]] = rows
print(json.dumps(found))
""",
}


@pytest.mark.extras
@pytest.mark.parametrize("kind", READ_BACK)
def test_what_stands_in_a_mirror_is_what_the_store_holds(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    python = environment(kind)
    # Asked for here: where the package is missing, nothing is trained.
    trained: Store = request.getfixturevalue("trained")
    mirror = settings.add(trained, kind, str(tmp_path / "there"), python=python)
    try:
        count, writer = mirroring.sync(trained, mirror)
        assert count == 3 and writer is not None
        writer.close()
        assert mirroring.sync(trained, mirror) == (0, None)
    finally:
        settings.remove(trained, kind)
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-W", "ignore", "-c", READ_BACK[kind], mirror.to],
        capture_output=True,
        text=True,
        env=clean,
        cwd=tmp_path,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.strip().splitlines()[-1])
    jobs = [job for job in trained.queue.jobs() if job.identity[:12] in found]
    # The base belongs to no study, so the experiment of the study holds the two students alone.
    assert len(jobs) == len(found) and len(jobs) >= 2
    for job in jobs:
        assert job.result is not None
        said = found[job.identity[:12]]
        curve = trained.artifacts.table(job.produced["curve"]).dropna()
        for name, rows in curve.groupby("name"):
            expected = sorted(
                [int(step), pytest.approx(value, rel=1e-6)]
                for step, value in zip(rows["step"], rows["value"], strict=True)
            )
            assert sorted(said[str(name)]) == expected
        if job.kind == "train":
            assert said["result/accuracy"][-1][1] == pytest.approx(job.result["accuracy"], rel=1e-6)

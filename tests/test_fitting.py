"""Whether runs fit: what the machine says it has, the micro-batch that is settled, and the advice."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from cotdistill.config import StudentConfig, TrainingConfig
from cotdistill.errors import SequenceTooLong, StoreError, UsageError
from cotdistill.planning import cost, memory_fit
from cotdistill.planning.cost import Costs, Lengths
from cotdistill.planning.plan import launch, plan
from cotdistill.store import hardware
from cotdistill.store.hardware import Gpu, MachineMemory
from cotdistill.store.store import Store
from cotdistill.students.memory import PROCESS_BYTES, of_built_in
from cotdistill.students.models import PRETRAINED, STUDENTS
from cotdistill.studies.spec import spec_from_mapping
from cotdistill.tasks.importing.importer import import_task

CONDITIONS = tuple(spec_from_mapping({"task": "field_guide", "conditions": "label_only,post_cot"}).parsed())
COSTS = Costs(
    conditions=CONDITIONS,
    lengths={"label_only": Lengths(40, 2, 50, 2, 1), "post_cot": Lengths(80, 40, 100, 50, 1)},
    student=StudentConfig("small"),
    shape=of_built_in(STUDENTS.get("small"), 1_000),
    known=True, train_rows=1_000, rows_at={}, excluded_rows=0, test_items=100, test_clusters=100, rationale=50, choices=4,
)  # fmt: skip


def with_memory(monkeypatch: pytest.MonkeyPatch, total: float, free: float | None = None) -> None:
    monkeypatch.setattr(hardware, "memory", lambda: MachineMemory(total, total if free is None else free))


def peak(training: TrainingConfig) -> float:
    return COSTS.memory(training).process


def test_the_worst_condition_counts_with_every_row_as_long_as_the_longest() -> None:
    load = COSTS.load(CONDITIONS[1], TrainingConfig(batch_size=32, micro_batch=8))
    assert (load.rows, load.length, load.predicted, load.passes, load.written) == (8, 100, 400, 4, 0)
    assert COSTS.load(CONDITIONS[1], TrainingConfig(batch_size=12, micro_batch=8)).passes == 2
    assert COSTS.memory(TrainingConfig()).activations > 0


def test_an_automatic_micro_batch_is_the_largest_half_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = TrainingConfig(batch_size=256, micro_batch=-1)
    # Room for exactly a quarter of the batch, and not for half of it.
    quarter, half = (peak(dataclasses.replace(asked, micro_batch=n)) for n in (64, 128))
    with_memory(monkeypatch, 0.5 * (quarter + half) / memory_fit.SHARE["cpu"])
    assert memory_fit.settled(COSTS, asked, workers=1).micro_batch == 64
    with_memory(monkeypatch, 1e15)
    assert memory_fit.settled(COSTS, asked, workers=1) == dataclasses.replace(asked, micro_batch=0)
    with_memory(monkeypatch, 1e6)
    assert memory_fit.settled(COSTS, asked, workers=1).micro_batch == 1


def test_workers_share_the_memory_and_what_is_free_today_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = TrainingConfig(batch_size=256, micro_batch=-1)
    total = 1.01 * peak(dataclasses.replace(asked, micro_batch=128)) / memory_fit.SHARE["cpu"]
    with_memory(monkeypatch, total, free=1e6)
    assert memory_fit.settled(COSTS, asked, workers=1).micro_batch == 128
    assert 0 < memory_fit.settled(COSTS, asked, workers=2).micro_batch < 128


def test_a_chosen_micro_batch_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    with_memory(monkeypatch, 1e6)
    for chosen in (0, 16):
        assert memory_fit.settled(COSTS, TrainingConfig(micro_batch=chosen), workers=1).micro_batch == chosen


def told(training: TrainingConfig, workers: int = 1) -> list[str]:
    return memory_fit.checks(COSTS, training, training, memory_fit.fit(COSTS, training, workers))


def test_what_does_not_fit_is_told_with_what_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    training = TrainingConfig(batch_size=256)
    with_memory(monkeypatch, 1e12)
    assert told(training) == []
    with_memory(monkeypatch, 1e12, free=1.5 * peak(training))
    assert "queue workers 1" in told(training, workers=2)[0] and "for 2 at once" in told(training, workers=2)[0]
    with_memory(monkeypatch, 1e12, free=0.5 * (peak(training) + peak(dataclasses.replace(training, micro_batch=128))))
    assert "set training.micro_batch to 128" in told(training)[0]
    # Nothing but activations of one sequence at a time would still not fit; computed again, they do.
    one = dataclasses.replace(training, micro_batch=1)
    deep = dataclasses.replace(
        COSTS, shape=dataclasses.replace(COSTS.shape, layers=2000, parameters=1_000_000, blocks=900_000)
    )
    again = deep.memory(dataclasses.replace(one, gradient_checkpointing=True)).process
    with_memory(monkeypatch, 1e12, free=1.1 * again)
    assert again < 0.5 * deep.memory(one).process
    assert "training.gradient_checkpointing" in memory_fit.checks(deep, one, one, memory_fit.fit(deep, one, 1))[0]
    with_memory(monkeypatch, 1e12, free=PROCESS_BYTES)
    large = dataclasses.replace(COSTS, student=StudentConfig("owner/name"))
    assert "train adapters instead" in memory_fit.checks(large, one, one, memory_fit.fit(large, one, 1))[0]
    assert "no micro-batch helps" in told(training)[0]


def test_runs_for_a_gpu_are_held_against_the_smallest(monkeypatch: pytest.MonkeyPatch) -> None:
    training = TrainingConfig(batch_size=256, device="cuda")
    monkeypatch.setenv(hardware.GPUS, "0:80000,1:2000")
    found = memory_fit.fit(COSTS, training, workers=2)
    assert (found.device, found.total, found.at_once, found.fits) == ("cuda", 2e9, 1, False)
    assert "free on a GPU" in told(training)[0]
    assert "This machine has a GPU, and training.device is cpu" in told(TrainingConfig())[0]
    monkeypatch.setenv(hardware.GPUS, "none")
    assert "no GPU is seen" in told(training)[0]


def test_gpus_are_told_by_the_environment_and_limited_to_the_visible_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv(hardware.GPUS, "0:16000, 1")
    assert [(gpu.index, gpu.total) for gpu in hardware.gpus()] == [("0", 16e9), ("1", 24e9)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert hardware.indices() == ("1",)
    monkeypatch.setenv(hardware.GPUS, "first")
    with pytest.raises(UsageError, match="expected indices"):
        hardware.gpus()


def test_the_driver_is_asked_and_what_tells_no_sizes_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(hardware.GPUS, raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho '0, NVIDIA H100 80GB HBM3, 81559, 80000'\necho '1, GRID, [N/A], [N/A]'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert hardware.gpus() == (Gpu("0", "NVIDIA H100 80GB HBM3", 81559 * 2**20, 80000 * 2**20),)
    driver.write_text("#!/bin/sh\nexit 9\n")
    assert hardware.gpus() == ()


def test_the_machine_has_memory_and_some_of_it_is_free() -> None:
    room = hardware.memory()
    assert room.free is not None and 0 < room.free <= room.total


def test_a_student_of_the_paper_is_counted_with_its_published_sizes_before_it_is_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    store = Store.open(tmp_path / "store")
    monkeypatch.setattr(cost, "encoder_of", lambda task, run: pytest.fail("nothing is downloaded for a plan"))
    values = {
        "task": "field_guide",
        "task_settings": {"creatures": 24, "documents": 100, "wordings": 2},
        "conditions": "label_only",
        "replicates": 1,
    }
    planned = plan(
        store,
        spec_from_mapping({**values, "student": "microsoft/phi-1_5", "student.lora_rank": 0, "training.batch_size": 2}),
    )
    assert planned.fit.memory.weights == pytest.approx(4 * PRETRAINED.get("phi-1_5").parameters, rel=1e-3)
    assert not any("sizes of the student are not" in check for check in planned.checks)


def test_a_plan_settles_the_micro_batch_before_runs_get_their_identity(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "store")
    values = {
        "task": "field_guide", "task_settings": {"creatures": 24, "documents": 100, "wordings": 2}, "conditions": "label_only,post_cot",
        "replicates": 1, "training.micro_batch": -1, "training.batch_size": 64,
    }  # fmt: skip
    roomy = plan(store, spec_from_mapping(values))
    whole = plan(store, spec_from_mapping({**values, "training.micro_batch": 0}))
    assert [run.job.identity for run in roomy.runs] == [
        run.job.identity for run in whole.runs
    ] and roomy.plan_hash == whole.plan_hash
    with_memory(monkeypatch, PROCESS_BYTES / memory_fit.SHARE["cpu"], free=1e6)
    store.queue.set_workers(1)
    tight = plan(store, spec_from_mapping(values))
    assert {run.job.config["training"]["micro_batch"] for run in tight.runs} == {1} == {tight.spec.training.micro_batch}
    assert any(check.startswith("Micro-batch 1: the largest that fits") for check in tight.checks)
    assert any("It would run out of memory" in check for check in tight.checks) and not tight.fit.fits


def test_one_row_that_is_too_long_is_seen_by_the_plan_wherever_it_stands_and_nothing_is_launched(
    tmp_path: Path,
) -> None:
    store = Store.open(tmp_path / "store")
    # 601 rows: the sample for lengths takes every second one, and row 301 is not in it.
    rows = [
        {"question": f"question {i}", "choices": ["red", "blue"], "answer": "AB"[i % 2],
         "rationale": "so it is " * (300 if i == 301 else 3), "split": "train" if i < 601 else "test" if i % 2 else "dev"}
        for i in range(661)
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    import_task(store.tasks_root, tmp_path / "rows.jsonl", "long_row")
    entries = {"name": "s", "task": "long_row", "conditions": "label_only,post_cot", "replicates": 1}
    planned = plan(store, spec_from_mapping(entries))
    (sentence,) = planned.too_long
    assert "post-CoT: 1 of 601 training rows are longer than 512 tokens" in sentence and sentence in planned.checks
    with pytest.raises(SequenceTooLong, match="1 of 601 training rows") as error:
        launch(store, planned)
    assert "student.truncate=rationale" in error.value.hint and not store.queue.jobs()
    # The row can be left out of every condition by its id: 600 rows remain, and everything else is as before.
    assert planned.too_long_rows == ("rows.jsonl:302",) and "--set left_out=rows.jsonl:302" in error.value.hint
    without = plan(store, spec_from_mapping({**entries, "left_out": "rows.jsonl:302"}))
    assert not without.too_long and without.train_rows == 600 and without.excluded_rows == 0
    assert "1 training row left out of every condition, as chosen." in without.checks
    assert without.plan_hash != planned.plan_hash and without.runs[0].job.config["left_out"] == ["rows.jsonl:302"]
    nothing = plan(store, spec_from_mapping({**entries, "left_out": []}))
    assert nothing.plan_hash == planned.plan_hash and "left_out" not in nothing.runs[0].job.config
    cut = plan(store, spec_from_mapping({**entries, "student": {"truncate": "rationale"}}))
    assert not cut.too_long and any("the rationale is cut" in check for check in cut.checks)
    assert launch(store, cut)


def test_a_test_question_that_is_too_long_is_refused_at_launch_or_cut(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    rows = [
        {"question": "why " * 600 if i == 7 else f"question {i}", "choices": ["red", "blue"], "answer": "AB"[i % 2],
         "split": "train" if i < 6 else "test"}
        for i in range(12)
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    import_task(store.tasks_root, tmp_path / "rows.jsonl", "long_question")
    entries = {"name": "s", "task": "long_question", "conditions": "label_only", "replicates": 1}
    for truncate in ("refuse", "rationale"):
        planned = plan(store, spec_from_mapping({**entries, "student": {"truncate": truncate}}))
        assert any("1 of 6 test questions" in sentence for sentence in planned.too_long)
        with pytest.raises(SequenceTooLong, match="test questions leave no room"):
            launch(store, planned)
    cut = plan(store, spec_from_mapping({**entries, "student": {"truncate": "question"}}))
    assert not cut.too_long and any("the question is cut at its start" in check for check in cut.checks)


def test_checkpoints_that_do_not_fit_the_disk_are_refused_at_launch(tmp_path: Path) -> None:
    # fp32: 4 bytes for each weight; 0, half and the end, which is always kept.
    parameters = COSTS.shape.parameters
    assert COSTS.kept_bytes(TrainingConfig(checkpoints="0,0.5")) == 4 * 3 * parameters
    store = Store.open(tmp_path / "store")
    planned = plan(store, spec_from_mapping({"name": "s", "task": "field_guide", "conditions": "label_only"}))
    assert 0 < planned.disk < store.room
    with pytest.raises(StoreError, match="will take 1e") as error:
        launch(store, dataclasses.replace(planned, disk=1e18))
    assert "training.checkpoints=1" in error.value.hint and not store.queue.jobs()

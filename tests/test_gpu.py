"""The loop, scoring and memory on a CUDA GPU. Imports the compute floors alone, so that it runs on a machine that nobody prepared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from cotdistill.config import TrainingConfig
from cotdistill.students.batches import Row, Stream
from cotdistill.students.loading import new_built_in, prepare_torch, weights
from cotdistill.students.memory import Load, estimate, of_config
from cotdistill.students.models import STUDENTS
from cotdistill.students.reader import Forward
from cotdistill.students.scoring.evaluation import choice_scores
from cotdistill.students.training import Hooks, Log, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here: benchmarks/gpu.py runs these on one"),
]
VOCABULARY = 500
CONFIG = TrainingConfig(steps=20, batch_size=16, evaluations=0, lr=1e-3, device="cuda")


class Stop(Exception):
    pass


@pytest.fixture(autouse=True)
def after() -> Iterator[None]:
    yield
    prepare_torch(1, False)


def rows(number: int = 64) -> list[Row]:
    """Rows whose last eight tokens follow from the first one, so that there is something to learn."""
    draw = np.random.default_rng(0)
    found = []
    for _ in range(number):
        length = int(draw.integers(24, 48))
        ids = draw.integers(10, VOCABULARY, length, dtype=np.int32)
        ids[-8:] = ids[0]
        groups = np.zeros(length, np.int8)
        groups[-8:-4], groups[-4:] = 1, 2
        found.append(Row(ids, (groups > 0).astype(np.float32) / 4, groups))
    return found


def trained(
    config: TrainingConfig, device: str = "cuda", resume: Path | None = None, stop_at: int = 0
) -> tuple[transformers.PreTrainedModel, Log]:
    prepare_torch(1, config.deterministic)
    data = rows()
    model = new_built_in(STUDENTS.get("micro"), VOCABULARY, 1).to(torch.device(device))  # type: ignore[arg-type]

    def report(log: Log, values: dict[str, float]) -> None:
        if log.step == stop_at:
            raise Stop

    stream = Stream([len(row.ids) for row in data], config.batch_size, 0)
    log = train(
        model,
        lambda i, epoch: [data[i]],
        stream,
        config,
        steps=config.steps,
        pad=0,
        hooks=Hooks(report),
        resume=resume,
        identity="gpu",
    )
    return model, log


def losses(log: Log) -> list[float]:
    return [value for _, _, _, name, value in log.curve if name == "loss"]


def same(one: Any, two: Any) -> bool:
    a, b = weights(one), weights(two)
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_gpu_follows_the_cpu_s_loss_curve_in_full_precision() -> None:
    on_gpu, on_cpu = (losses(trained(replace(CONFIG, device=device), device)[1]) for device in ("cuda", "cpu"))
    assert len(on_gpu) == 20 and on_gpu == pytest.approx(on_cpu, rel=2e-3)


def test_training_in_bf16_lowers_the_loss_as_full_precision_does() -> None:
    half, full = (losses(trained(replace(CONFIG, steps=60, precision=precision))[1]) for precision in ("bf16", "fp32"))
    assert half[0] == pytest.approx(full[0], rel=0.02)
    assert half[-1] < 0.8 * half[0] and half[-1] == pytest.approx(full[-1], rel=0.15)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_deterministic_training_gives_the_same_bits_twice(precision: str) -> None:
    config = replace(CONFIG, deterministic=True, precision=precision)
    assert same(trained(config)[0], trained(config)[0])


def test_a_run_that_was_stopped_and_resumed_ends_with_the_same_bits(tmp_path: Path) -> None:
    config = replace(CONFIG, deterministic=True)
    whole, _ = trained(config)
    with pytest.raises(Stop):
        trained(config, resume=tmp_path / "resume.safetensors", stop_at=7)
    resumed, log = trained(config, resume=tmp_path / "resume.safetensors")
    assert log.step == 20 and same(whole, resumed)


def test_the_loss_does_not_depend_on_the_micro_batch() -> None:
    whole, split = (losses(trained(replace(CONFIG, micro_batch=size))[1]) for size in (0, 4))
    assert split == pytest.approx(whole, rel=2e-3)


def test_scores_on_a_gpu_are_those_of_the_cpu() -> None:
    prompts = [row.ids[:20].tolist() for row in rows(16)]
    choices = [[[5], [6, 7], [8, 9, 10]]] * 16
    model = new_built_in(STUDENTS.get("micro"), VOCABULARY, 1)
    model.eval()
    on_cpu = choice_scores(Forward(model), prompts, choices, 0)
    on_gpu = choice_scores(Forward(model.to(torch.device("cuda"))), prompts, choices, 0)  # type: ignore[arg-type]
    assert np.abs(np.array(on_gpu) - np.array(on_cpu)).max() < 1e-3


@pytest.mark.parametrize(("precision", "micro"), [("fp32", 0), ("bf16", 0), ("bf16", 8)])
def test_the_peak_is_within_a_quarter_of_the_estimate(precision: str, micro: int) -> None:
    prepare_torch(1, False)
    drops = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    torch.manual_seed(0)
    config = TrainingConfig(
        steps=3, batch_size=32, micro_batch=micro, precision=precision, device="cuda", evaluations=0, lr=1e-5
    )
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=50_257, **drops)).to(torch.device("cuda"))  # type: ignore[arg-type]
    groups = np.zeros(96, np.int8)
    groups[-30:] = 2
    draw = np.random.default_rng(0)
    torch.cuda.reset_peak_memory_stats()
    train(
        model, lambda i, epoch: [Row(draw.integers(3, 50_000, 96, dtype=np.int32), groups / 30, groups)], Stream([96] * 64, 32, 0), config,
        steps=3, pad=0, hooks=Hooks(lambda log, values: None),
    )  # fmt: skip
    size = micro or 32
    load = Load(size, 96, 30 * size, passes=32 // size, precision=precision, device="cuda")
    assert estimate(of_config(model.config.to_dict()), load).peak == pytest.approx(
        torch.cuda.max_memory_allocated(), rel=0.25
    )

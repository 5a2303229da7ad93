"""Settings that suit a pretrained student follow from its size, and only fill what a person has not said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from cotdistill.config import StudentConfig, TrainingConfig, plain
from cotdistill.store import hardware
from cotdistill.students.loading import prepare_torch
from cotdistill.students.suited import parameters_of, suited, suited_notes, suited_rate
from cotdistill.studies.spec import spec_from_mapping


@pytest.fixture(autouse=True)
def plain_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "is_bf16_faster", lambda: False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A student of one block, width 8, as far as its sizes go."""
    sizes = {"model_type": "llama", "vocab_size": 100, "hidden_size": 8, "num_hidden_layers": 1, "rms_norm_eps": 1e-5}
    (tmp_path / "config.json").write_text(json.dumps({**sizes, "num_attention_heads": 2, "intermediate_size": 16}))
    (tmp_path / "model.safetensors").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("parameters", "full", "lora"),
    # 1e-4 x sqrt(135e6 / n), one digit: a ninth of the size triples it; ends at 1e-5 and 1e-3.
    [(135e6, 1e-4, 5e-4), (15e6, 3e-4, 1e-3), (1e5, 1e-3, 1e-3), (1e12, 1e-5, 5e-5)],
)
def test_the_rate_falls_with_the_root_of_the_size_and_adapters_get_five_times_that(
    parameters: float, full: float, lora: float
) -> None:
    assert (suited_rate(parameters, False), suited_rate(parameters, True)) == (full, lora)


def test_the_size_is_the_catalogue_s_the_name_s_or_the_folder_s(folder: Path) -> None:
    assert parameters_of(StudentConfig(name="openai-community/gpt2")) == 124_439_808
    assert parameters_of(StudentConfig(name="owner/Model-1.5B-chat")) == 1.5e9
    assert parameters_of(StudentConfig(name="owner/Model-70m")) == 70e6
    assert parameters_of(StudentConfig(name="owner/model2")) == 135e6
    # 4 x 8 x 8 attention, 3 x 8 x 16 MLP, 2 norms; embeddings in and out, final norm.
    assert parameters_of(StudentConfig(name=str(folder))) == 256 + 384 + 16 + 2 * 800 + 8


def test_a_folder_that_is_not_in_the_catalogue_does_not_train_at_the_rate_of_students_from_scratch(
    folder: Path,
) -> None:
    spec = spec_from_mapping({"conditions": "label_only", "student": str(folder)})
    assert (spec.training.lr, spec.training.schedule, spec.training.warmup) == (1e-3, "linear", 0.1)
    assert (spec.training.checkpoints, spec.training.evaluations, spec.training.precision) == ("0,1", 2, "fp32")
    asked = spec_from_mapping({"conditions": "label_only", "student": str(folder), "training.lr": 3e-4})
    assert (asked.training.lr, asked.training.schedule) == (3e-4, "linear")
    # A stored study is whole: nothing is laid over it.
    stored = spec_from_mapping({**plain(spec), "training": plain(TrainingConfig())})
    assert stored.training == TrainingConfig()
    assert spec_from_mapping({"training.steps": 7}, spec).training.lr == 1e-3


def test_students_from_scratch_keep_their_settings() -> None:
    assert suited(StudentConfig(name="nano")) == {} and suited_notes(StudentConfig(name="nano"), TrainingConfig()) == []
    assert spec_from_mapping({"conditions": "label_only", "student": "mini"}).training == TrainingConfig()


def test_the_catalogue_s_settings_stay_but_for_the_rate_of_adapters_that_it_does_not_speak_of() -> None:
    gpt2 = "openai-community/gpt2"
    assert suited(StudentConfig(name=gpt2))["training.lr"] == 5e-5
    assert suited(StudentConfig(name=gpt2, lora_rank=8))["training.lr"] == 5e-4
    assert suited(StudentConfig(name="google/gemma-2b", lora_rank=8))["training.lr"] == 1e-4


def test_half_precision_where_the_processor_or_a_gpu_is_faster_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    student = StudentConfig(name="smollm2-135m")
    assert suited(student)["training.precision"] == "fp32"
    assert suited(student, "cuda")["training.precision"] == "bf16"
    monkeypatch.setattr(hardware, "is_bf16_faster", lambda: True)
    assert suited(student)["training.precision"] == "bf16"


def test_a_plan_names_the_settings_and_a_rate_that_is_far_off() -> None:
    student = StudentConfig(name="owner/model-135m")
    (note,) = suited_notes(student, TrainingConfig(lr=1e-4, schedule="linear", warmup=0.1, checkpoints="0,1"))
    assert note == (
        "Settings that suit owner/model-135m (ours; --set changes them): training.warmup 0.1, training.schedule linear,"
        " training.checkpoints 0,1, training.lr 0.0001, training.precision fp32."
    )
    assert (
        "training.lr 0.004 is 40 times the rate that suits owner/model-135m (0.0001)"
        in suited_notes(student, TrainingConfig())[1]
    )


def test_attention_under_half_precision_is_computed_in_full_precision_on_a_cpu() -> None:
    prepare_torch(1, False)
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, 5, 4).bfloat16().requires_grad_() for _ in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
    exact = scaled_dot_product_attention(query.float(), key.float(), value.float(), is_causal=True)
    assert mixed.dtype == torch.bfloat16 and torch.equal(mixed, exact.bfloat16())
    mixed.float().sum().backward()
    assert query.grad is not None and query.grad.dtype == torch.bfloat16

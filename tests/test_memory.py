"""The arithmetic of memory: sums made by hand, and what transformers' own modules keep."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import transformers

from cotdistill.config import StudentConfig
from cotdistill.errors import StudentError
from cotdistill.students import lora, products
from cotdistill.students.loading import DTYPES, parameter_count
from cotdistill.students.memory import (
    FIRST_STEPS_BYTES,
    PUBLISHED,
    Adapters,
    Block,
    Load,
    Shape,
    adapters,
    estimate,
    kept_bytes,
    of_built_in,
    of_config,
    of_folder,
)
from cotdistill.students.models import PRETRAINED, STUDENTS

ROOT = Path(__file__).resolve().parents[1]
# Two blocks of width 8, one fused activation, nothing tied.
SHAPE = Shape(
    layers=2, width=8, inner=32, heads=2, query=8, key_value=8, vocabulary=100, positions=16, parameters=10_000, blocks=1_000,
    block=Block(one_matrix=True),
)  # fmt: skip
LOAD = Load(rows=3, length=10, predicted=6)


def test_weights_gradients_and_moments_take_four_bytes_each_time() -> None:
    told = estimate(SHAPE, LOAD)
    assert (told.weights, told.gradients, told.optimiser) == (40_000, 40_000, 80_000)


def test_what_a_forward_pass_keeps_by_hand() -> None:
    # A block: what the two norms read and give (4 x 8), queries, keys, values and the mix (4 x 8), what the activation reads and gives (2 x 32),
    # one number a head; behind the last block, what the last norm reads.
    assert kept_bytes(SHAPE, LOAD) == 4 * 30 * (2 * (4 * 8 + 4 * 8 + 2 * 32 + 2) + 8)
    assert kept_bytes(dataclasses.replace(SHAPE, activation="gelu_new"), LOAD) == 4 * 30 * (
        2 * (4 * 8 + 4 * 8 + 5 * 32 + 2) + 8
    )
    assert kept_bytes(dataclasses.replace(SHAPE, activation="relu"), LOAD) == 4 * 30 * (
        2 * (4 * 8 + 4 * 8 + 32 + 2) + 8
    )


def test_llama_keeps_what_its_norms_are_made_of_and_three_wide_tensors_more() -> None:
    llama = dataclasses.replace(SHAPE, block=Block(gated=True, rms=True), key_value=4, activation="silu")
    # Norms: read, scaled and given, twice; queries and mix 8 each, keys and values 4 each; gate, its activation, up, and their product.
    assert kept_bytes(llama, LOAD) == 4 * 30 * (2 * (6 * 8 + 2 * 8 + 2 * 4 + 4 * 32 + 2) + 2 * 8)


def test_half_precision_halves_what_the_matrices_keep_and_copies_the_weights() -> None:
    # What norms read stays in four bytes, and so do the numbers a head; one copy of the blocks' weights in two bytes.
    half = kept_bytes(SHAPE, dataclasses.replace(LOAD, precision="bf16"))
    assert half == 30 * (2 * (4 * (2 * 8 + 2) + 2 * (2 * 8 + 4 * 8 + 2 * 32)) + 4 * 8) + 2 * 1_000


def test_with_checkpointing_only_what_blocks_read_is_kept_and_one_block_at_a_time_in_full() -> None:
    less = kept_bytes(SHAPE, dataclasses.replace(LOAD, checkpointing=True))
    assert less == 4 * 30 * (2 * 8 + (4 * 8 + 4 * 8 + 2 * 32 + 2) + 8)


def test_the_peak_is_the_largest_moment() -> None:
    kept, logits = 4 * 30 * (2 * 130 + 8), 4 * 6 * 100
    told = estimate(SHAPE, LOAD)
    # Gradients of 40,000 bytes outweigh what was kept: the update is the worst moment. What the C library holds besides comes on top.
    held = 0.7 * 40_000 + 0.35 * kept
    assert told.when == "update" and told.peak == pytest.approx(
        40_000 + 80_000 + 40_000 + logits + held + FIRST_STEPS_BYTES, abs=1
    )
    wide = dataclasses.replace(LOAD, rows=30, predicted=60)
    told = estimate(SHAPE, wide)
    assert told.when == "forward and backward pass"
    head, held = 4 * 100 * 8, 0.7 * 40_000 + 0.35 * 10 * kept
    assert told.peak == pytest.approx(
        40_000 + 80_000 + 10 * kept + 10 * logits + head + held + FIRST_STEPS_BYTES, abs=1
    )
    # An objective that is made of logits needs them three times over, and so does a loss in half precision.
    assert estimate(SHAPE, dataclasses.replace(wide, plain=False)).peak == pytest.approx(
        told.peak + 2 * 10 * logits - head, abs=1
    )
    # Activations that are computed again are for those who want the memory: what is freed is given back.
    again = dataclasses.replace(wide, checkpointing=True)
    assert (
        estimate(SHAPE, again).peak
        == 40_000 + 80_000 + kept_bytes(SHAPE, again) + 10 * logits + head + FIRST_STEPS_BYTES
    )
    assert (told.activations, told.logits) == (10 * kept, 10 * logits)
    # Where a step has several passes, the gradients stand there all the time.
    assert estimate(SHAPE, dataclasses.replace(wide, passes=2)).peak == pytest.approx(told.peak + 40_000, abs=1)
    # On a GPU nothing is added for what the process itself loads and holds.
    assert (
        estimate(SHAPE, dataclasses.replace(wide, device="cuda")).peak == 40_000 + 80_000 + 10 * kept + 3 * 10 * logits
    )


def test_of_adapters_alone_gradients_and_moments_are_kept() -> None:
    # Rank 2 beside one matrix into the attention (8 to 24), one out of it (8 to 8), into the MLP (8 to 32) and out of it (32 to 8), in two blocks.
    beside = adapters(SHAPE, 2)
    assert beside == Adapters(numbers=2 * 2 * (32 + 16 + 40 + 40), read=8 + 8 + 8 + 32, mlp=True, mix=True)
    told = estimate(SHAPE, dataclasses.replace(LOAD, adapters=beside))
    assert (told.weights, told.gradients, told.optimiser) == (40_000 + 4 * 512, 4 * 512, 8 * 512)
    # Adapters read what the frozen matrices would have kept.
    assert told.activations == kept_bytes(SHAPE, LOAD)
    some = adapters(SHAPE, 2, "c_attn")
    assert some == Adapters(numbers=2 * 2 * 32, read=8, mlp=False, mix=False)
    # A frozen MLP keeps what its activation reads, and nothing that its matrices read.
    assert estimate(SHAPE, dataclasses.replace(LOAD, adapters=some)).activations == 4 * 30 * (
        2 * (3 * 8 + 4 * 8 + 32 + 2) + 8
    )


def test_weights_in_half_precision_halve_everything_but_the_logits() -> None:
    told = estimate(SHAPE, dataclasses.replace(LOAD, dtype="bf16"))
    assert (told.weights, told.gradients, told.optimiser, told.logits) == (20_000, 20_000, 40_000, 4 * 6 * 100)
    # But for one number a head, in full precision.
    assert told.activations == 2 * 30 * (2 * (4 * 8 + 4 * 8 + 2 * 32 + 2 * 2) + 8)


def test_the_published_sizes_of_the_paper_s_students_give_their_number_of_weights() -> None:
    for entry in PRETRAINED:
        shape = of_config(PUBLISHED[entry.hub])
        assert shape.parameters == pytest.approx(entry.parameters, rel=1e-4)
        assert (shape.layers, shape.width, shape.heads, shape.positions) == (
            entry.layers,
            entry.width,
            entry.heads,
            entry.positions,
        )


def test_a_student_that_is_not_trained_takes_its_weights_and_what_scoring_needs() -> None:
    told = estimate(SHAPE, dataclasses.replace(LOAD, trains=False, scored=20))
    scoring = 64 * 20 * 4 * (2 * 32 + 3 * 8) + 2 * 4 * 64 * 5 * 100
    assert (told.gradients, told.optimiser, told.activations, told.when) == (0, 0, 0, "scoring")
    assert told.peak == 40_000 + scoring + FIRST_STEPS_BYTES


def test_writing_rationales_counts_keys_and_values_of_every_prompt() -> None:
    told = estimate(SHAPE, dataclasses.replace(LOAD, scored=10, written=200))
    assert told.when == "writing rationales"
    reading = 256 * 10 * 4 * (2 * 32 + 3 * 8)
    held = 0.7 * 40_000 + 0.35 * kept_bytes(SHAPE, LOAD)
    assert told.peak == pytest.approx(
        40_000 + 80_000 + 2 * 2 * 4 * 256 * 210 * 8 + reading + held + FIRST_STEPS_BYTES, abs=1
    )


def test_built_in_students_have_the_shape_of_the_catalogue() -> None:
    shape = of_built_in(STUDENTS.get("mini"), 700)
    assert (shape.layers, shape.width, shape.inner) == (4, 256, 1024)
    assert shape.parameters == STUDENTS.get("mini").parameters(700)


def test_gpt2_small_has_its_known_number_of_weights() -> None:
    config = {
        "model_type": "gpt2",
        "vocab_size": 50_257,
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "n_positions": 1024,
    }
    shape = of_config(config)
    assert shape.parameters == 124_439_808 and shape.tied and shape.activation == "gelu_new" and shape.dropout


def test_a_folder_is_read_from_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps(
            {"model_type": "opt", "vocab_size": 10, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1}
        )
    )
    assert of_folder(tmp_path).width == 4
    for text in ("{", json.dumps({"model_type": "odd", "vocab_size": 10})):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(StudentError):
            of_folder(tmp_path)


SIZES = {"vocab_size": 211, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
ARCHITECTURES = {
    "GPT2Config": {
        "vocab_size": 211,
        "n_embd": 64,
        "n_layer": 3,
        "n_head": 4,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    },
    "PhiConfig": {**SIZES, "intermediate_size": 256},
    "GemmaConfig": {**SIZES, "intermediate_size": 512, "num_key_value_heads": 1, "head_dim": 16},
    "LlamaConfig": {**SIZES, "intermediate_size": 192, "num_key_value_heads": 2},
    "OPTConfig": {**SIZES, "ffn_dim": 256, "word_embed_proj_dim": 64},
    "Qwen3Config": {**SIZES, "intermediate_size": 192, "num_key_value_heads": 2, "head_dim": 16},
    "GPTNeoXConfig": {**SIZES, "intermediate_size": 256},
}


def kept_by(model: transformers.PreTrainedModel, *, autocast: bool = False) -> int:
    """Bytes that a forward pass of 8 rows of 48 tokens really keeps, weights left out."""
    model.train()
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
    ):
        model.base_model(input_ids=torch.randint(3, 200, (8, 48)), use_cache=False)
    return sum(storage.nbytes() for storage in kept.values())


@pytest.fixture
def own_attention() -> None:
    """torch's own attention under autocast, whatever ran before in this process; a run in bf16 on a CPU replaces it, and
    keeps up to a seventh more than is told."""
    if products._attention is not None:
        products._attention._destroy()
        products._attention = None


def made(name: str) -> tuple[transformers.PreTrainedModel, Shape]:
    model = transformers.AutoModelForCausalLM.from_config(
        getattr(transformers, name)(**ARCHITECTURES[name]), attn_implementation="sdpa"
    )
    return model, of_config(json.loads(model.config.to_json_string(use_diff=False)))


@pytest.mark.usefixtures("own_attention")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_real_modules_keep_is_what_the_arithmetic_says(name: str) -> None:
    model, shape = made(name)
    assert shape.parameters == pytest.approx(model.num_parameters(), rel=0.003)
    assert kept_bytes(shape, Load(8, 48, 0)) == pytest.approx(kept_by(model), rel=0.03)
    assert kept_bytes(shape, Load(8, 48, 0, precision="bf16")) == pytest.approx(kept_by(model, autocast=True), rel=0.03)
    assert kept_bytes(shape, Load(8, 48, 0, dtype="bf16")) == pytest.approx(kept_by(model.to(torch.bfloat16)), rel=0.07)


@pytest.mark.extras
@pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed: make test-extras")
@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_what_adapted_modules_keep_is_what_the_arithmetic_says(name: str, dtype: str) -> None:
    model, shape = made(name)
    lora.adapt(model.to(DTYPES[dtype]), StudentConfig(name="here", lora_rank=4), 0)
    beside = adapters(shape, 4)
    assert beside.numbers == parameter_count(model, trained=True)
    assert kept_bytes(shape, Load(8, 48, 0, dtype=dtype, adapters=beside)) == pytest.approx(kept_by(model), rel=0.05)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library has no mallopt")
def test_what_is_freed_is_kept_for_what_is_asked_for_next_until_it_is_given_back() -> None:
    code = """
import numpy as np
from cotdistill.students.memory import keep_freed
def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) * 1024
keep_freed()
before = resident()
np.ones(12_500_000).sum()
kept = resident()
keep_freed()
print(kept - before, resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    kept, left = map(int, done.stdout.split())
    assert kept > 95e6 and left < 5e6


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library has no mallopt")
def test_freed_activations_make_room_for_gradients_where_they_are_given_back() -> None:
    """As in a backward pass: blocks go one by one while larger ones come, which do not fit into their holes. Kept by the C library, both would stand
    there at once."""
    code = """
import sys
import numpy as np
from cotdistill.students import memory
memory.keep_freed()
if sys.argv[1] == "given back":
    memory.give_freed_back()
np.ones(3 << 20).sum()  # a freed block raises glibc's own threshold, as it happens in any program
def resident(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) * 1024
before, large = resident("VmRSS"), []
# Between the blocks stands something small that stays.
small = [(np.ones(200_000), np.ones(12_000)) for _ in range(60)]
between = [stays for _, stays in small]
while small:
    small.pop()
    if len(small) % 6 == 0:
        large.append(np.ones(1_200_000))
print(resident("VmHWM") - before)
"""
    peaks = []
    for how in ("given back", "kept"):
        done = subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, cwd=ROOT, check=True)
        peaks.append(int(done.stdout))
    assert 95e6 < peaks[0] < 125e6 < peaks[1], peaks

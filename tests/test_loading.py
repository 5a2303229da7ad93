"""Building, saving and loading students, the hub's own path included."""

import errno
import json
import resource
import signal
import sys

import pytest
import safetensors.torch
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from cotdistill.config import StudentConfig
from cotdistill.errors import CheckpointError, StudentError, UnknownName
from cotdistill.students.loading import (
    forward_flops,
    input_table,
    load_student,
    new_built_in,
    output_matrix,
    parameter_count,
    read_tensors,
    save_weights,
    set_weights,
    weights,
    write_tensors,
)
from cotdistill.students.models import STUDENTS, BuiltIn, checked_name
from cotdistill.students.reader import Forward

TINY = BuiltIn("tiny", "for tests", layers=1, width=16, heads=2, positions=64)


@pytest.mark.parametrize("entry", [e for e in STUDENTS if e.width <= 128], ids=lambda e: e.name)
def test_the_catalogue_counts_parameters_as_the_model_has_them(entry):
    assert parameter_count(new_built_in(entry, 300, seed=0)) == entry.parameters(300)


def test_the_same_seed_draws_the_same_weights():
    one, two, three = (weights(new_built_in(TINY, 50, seed=s)) for s in (0, 0, 1))
    assert all(torch.equal(one[n], two[n]) for n in one)
    assert not all(torch.equal(one[n], three[n]) for n in one)


def test_weights_kept_as_an_artefact_give_the_same_logits(tmp_path):
    model = new_built_in(TINY, 50, seed=0)
    save_weights(model, tmp_path / "w.safetensors")
    other = new_built_in(TINY, 50, seed=1)
    set_weights(other, read_tensors(tmp_path / "w.safetensors")[0])
    ids = torch.arange(5)[None]
    assert torch.equal(model(ids).logits, other(ids).logits)


def test_weights_of_another_size_or_a_cut_file_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(new_built_in(TINY, 50, seed=0), path)
    data = path.read_bytes()
    with pytest.raises(CheckpointError):
        set_weights(new_built_in(TINY, 51, seed=0), read_tensors(path)[0])
    path.write_bytes(data[:100])
    with pytest.raises(CheckpointError):
        read_tensors(path)


def test_a_saved_causal_lm_is_loaded_from_its_folder(tmp_path):
    model = GPT2LMHeadModel(GPT2Config(vocab_size=60, n_positions=32, n_embd=16, n_layer=1, n_head=2))
    model.save_pretrained(tmp_path)
    loaded = load_student(StudentConfig(name=str(tmp_path)), 60, seed=0)
    ids = torch.arange(6)[None]
    assert torch.equal(model.eval()(ids).logits, loaded.eval()(ids).logits)
    assert "lm_head.weight" not in weights(loaded)  # tied: kept once
    set_weights(loaded, weights(loaded))


def test_a_pickle_checkpoint_is_refused(tmp_path):
    model = GPT2LMHeadModel(GPT2Config(vocab_size=60, n_positions=32, n_embd=16, n_layer=1, n_head=2))
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(StudentError, match="pickle") as error:
        load_student(StudentConfig(name=str(tmp_path)), 60, seed=0)
    assert f"students convert {tmp_path}" in error.value.hint


def test_a_tokenizer_with_more_tokens_than_the_student_has_rows_is_refused(tmp_path):
    GPT2LMHeadModel(GPT2Config(vocab_size=60, n_positions=32, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    with pytest.raises(StudentError, match="61 tokens, its embeddings 60 rows") as error:
        load_student(StudentConfig(name=str(tmp_path)), 61, seed=0)
    assert "student.resize" in error.value.hint


@pytest.mark.parametrize("tied", [True, False])
def test_rows_that_are_missing_are_added_as_the_mean_of_those_that_are_there(tmp_path, tied):
    settings = GPT2Config(vocab_size=60, n_positions=32, n_embd=16, n_layer=1, n_head=2, tie_word_embeddings=tied)
    GPT2LMHeadModel(settings).save_pretrained(tmp_path)
    known = load_student(StudentConfig(name=str(tmp_path)), 60, seed=0)
    model = load_student(StudentConfig(name=str(tmp_path), resize=True), 63, seed=0)
    for mine, before in (
        (input_table(model), input_table(known)),
        (output_matrix(model).weight, output_matrix(known).weight),
    ):
        assert mine.shape[0] == 63 and torch.equal(mine[:60], before)
        assert torch.allclose(mine[60:], before.mean(0).expand(3, -1), atol=1e-6)
    assert (input_table(model).data_ptr() == output_matrix(model).weight.data_ptr()) == tied
    again = load_student(StudentConfig(name=str(tmp_path), resize=True), 63, seed=9)
    assert torch.equal(again(torch.tensor([[61, 2]])).logits, model.eval()(torch.tensor([[61, 2]])).logits)


def test_weights_of_a_checkpoint_in_half_precision_are_computed_with_in_full(tmp_path):
    GPT2LMHeadModel(GPT2Config(vocab_size=60, n_positions=32, n_embd=16, n_layer=1, n_head=2)).half().save_pretrained(
        tmp_path
    )
    assert {p.dtype for p in load_student(StudentConfig(name=str(tmp_path)), 60, 0).parameters()} == {torch.float32}
    assert {p.dtype for p in load_student(StudentConfig(name=str(tmp_path), dtype="bf16"), 60, 0).parameters()} == {
        torch.bfloat16
    }
    assert {p.dtype for p in load_student(StudentConfig(name="nano", dtype="bf16"), 60, 0).parameters()} == {
        torch.bfloat16
    }


def test_both_kernels_of_the_attention_give_the_same_logits(tmp_path):
    GPT2LMHeadModel(GPT2Config(vocab_size=60, n_positions=32, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    ids = torch.arange(6)[None]
    for name in (str(tmp_path), "nano"):
        models = {
            kernel: load_student(StudentConfig(name=name, attention=kernel), 60, 0).eval()
            for kernel in ("auto", "sdpa", "eager")
        }
        assert {kernel: model.config._attn_implementation for kernel, model in models.items()} == {
            "auto": "sdpa",
            "sdpa": "sdpa",
            "eager": "eager",
        }
        assert torch.allclose(models["sdpa"](ids).logits, models["eager"](ids).logits, atol=1e-5)


def test_a_part_of_a_checkpoint_is_refused_instead_of_being_filled_with_random_weights(tmp_path):
    model = GPT2LMHeadModel(GPT2Config(vocab_size=60, n_positions=32, n_embd=16, n_layer=1, n_head=2))
    model.save_pretrained(tmp_path)
    state = {
        name: tensor
        for name, tensor in safetensors.torch.load_file(tmp_path / "model.safetensors").items()
        if "ln_f" not in name
    }
    safetensors.torch.save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(StudentError, match="lack 2") as error:
        load_student(StudentConfig(name=str(tmp_path)), 60, 0)
    assert "ln_f" in error.value.message


def test_code_of_a_students_own_is_run_only_where_it_is_trusted_by_name(tmp_path, monkeypatch):
    """The folder's code leaves a file behind when it is run."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder, trace = tmp_path / "student", tmp_path / "ran"
    GPT2LMHeadModel(GPT2Config(vocab_size=60, n_positions=32, n_embd=16, n_layer=1, n_head=2)).save_pretrained(folder)
    settings = json.loads((folder / "config.json").read_text())
    settings |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"},
    }
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "own.py").write_text(
        "from pathlib import Path\nfrom transformers import GPT2Config, GPT2LMHeadModel\n"
        f"Path({str(trace)!r}).touch()\n\n\nclass OwnConfig(GPT2Config):\n    model_type = 'own'\n\n\n"
        "class OwnModel(GPT2LMHeadModel):\n    config_class = OwnConfig\n"
    )
    with pytest.raises(StudentError) as error:
        load_student(StudentConfig(name=str(folder)), 60, 0)
    assert "student.trust_remote_code" in error.value.hint and not trace.exists()
    model = load_student(StudentConfig(name=str(folder), trust_remote_code=True), 60, 0)
    assert type(model).__name__ == "OwnModel" and trace.exists()


def test_a_name_that_is_no_student_is_answered_before_anything_is_loaded(tmp_path):
    with pytest.raises(UnknownName) as error:
        checked_name(StudentConfig(name="nanno"))
    assert error.value.near == ["nano"]
    with pytest.raises(StudentError):
        checked_name(StudentConfig(name="./nothing-here"))
    with pytest.raises(StudentError):
        checked_name(StudentConfig(name=str(tmp_path)))
    (tmp_path / "config.json").write_text(json.dumps({}))
    assert checked_name(StudentConfig(name=str(tmp_path))) == str(tmp_path.resolve())
    assert checked_name(StudentConfig(name="owner/name")) == "owner/name"
    assert checked_name(StudentConfig(name="gpt2")) == "openai-community/gpt2"


def test_logits_are_read_through_the_model_where_it_changes_them_after_the_output_matrix():
    class Capped(GPT2LMHeadModel):
        def forward(self, *args, **kwargs):
            out = super().forward(*args, **kwargs)
            out.logits = 0.3 * torch.tanh(out.logits / 0.3)
            return out

    model = Capped(
        GPT2Config(vocab_size=60, n_positions=32, n_embd=16, n_layer=1, n_head=2, initializer_range=0.5)
    ).eval()
    ids = torch.arange(6)[None]
    at = Forward(model).logits_at(ids, torch.tensor([0]), torch.tensor([3]))
    assert torch.allclose(at[0], model(ids).logits[0, 3])


def test_operations_are_counted_as_the_formula_says():
    model = new_built_in(TINY, 50, seed=0)
    blocks = TINY.block_parameters() + 2 * TINY.width
    assert forward_flops(model, tokens=10, attended=55, logits=3) == 2 * blocks * 10 + 4 * 1 * 16 * 55 + 2 * 16 * 50 * 3


def test_weights_that_the_system_will_not_write_raise_as_any_file_does(tmp_path):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError) as error:
            write_tensors({"a": torch.zeros(30_000)}, tmp_path / "w.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert error.value.errno == errno.EFBIG
    with pytest.raises(FileNotFoundError):
        write_tensors({"a": torch.zeros(1)}, tmp_path / "nowhere" / "w.safetensors")

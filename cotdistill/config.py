"""What makes a run, and its identity: frozen dataclasses of plain JSON values, canonical JSON, and digests.

Help, bounds and choices sit in the field metadata, so that the page's form, the CLI's --help and the docs come from one
place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cotdistill.errors import ConfigError, UnknownName

C = TypeVar("C")

# By kind of job; raised when its results change, so that old results are not taken for new ones. Analyses add theirs
# (studies.analysis).
RECIPES = {
    "base": 1,
    "train": 1,
    "select": 1,
    "elicit": 2,
    "answers": 1,
    "also_test": 1,
    "write": 1,
}


def param(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] | None = None,
    later: bool = False,
) -> Any:
    """A dataclass field with its one-line help, its bounds (inclusive) and, for text, its allowed values. later: the
    field came after runs had been made, so it is left out of what is hashed while it has its default."""
    metadata = {"help": help, "low": low, "high": high, "choices": tuple(choices) if choices else None, "later": later}
    return dataclasses.field(default=default, metadata=metadata)


_LEAVES = frozenset({str, int, float, bool, type(None)})


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, no NaN. Dataclasses count as mappings, tuples as lists."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """The value as JSON types (dict, list, str, int, float, bool, None); a field's metadata may name its `key`."""
    if type(value) in _LEAVES:
        # Most values of a long document: known without looking for fields.
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.metadata.get("key", f.name): plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def hashed(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of a config as they are hashed: fields that came later are left out while they have their default,
    so old hashes stay.
    """
    defaults = {f.name: f.default for f in dataclasses.fields(cls) if f.metadata.get("later")}
    return {name: value for name, value in values.items() if name not in defaults or value != defaults[name]}


def digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def stable_seed(*parts: int | str) -> int:
    """A 63-bit seed from names and numbers, the same on every machine (Python's own `hash` is not)."""
    return int.from_bytes(hashlib.sha256(canonical_json(list(parts)).encode()).digest()[:8], "big") >> 1


def value_problem(field: dataclasses.Field[Any], value: Any) -> str | None:
    """What is wrong with one value, in words; None if nothing is. The field's default gives the expected type."""
    name, default = field.name, field.default
    low, high, choices = (field.metadata.get(key) for key in ("low", "high", "choices"))
    if isinstance(default, bool):
        return None if isinstance(value, bool) else f"{name} is {value!r}; expected true or false"
    if isinstance(default, (int, float)):
        expected = int if isinstance(default, int) else (int, float)
        if isinstance(value, bool) or not isinstance(value, expected) or not math.isfinite(value):
            kind = "a whole number" if isinstance(default, int) else "a number"
            return f"{name} is {value!r}; expected {kind}"
        if (low is not None and value < low) or (high is not None and value > high):
            bounds = (
                f"at least {low:g}" if high is None else f"at most {high:g}" if low is None else f"{low:g} to {high:g}"
            )
            return f"{name} is {value!r}; expected {bounds}"
        return None
    if isinstance(default, str):
        if not isinstance(value, str):
            return f"{name} is {value!r}; expected text"
        if choices and value not in choices:
            return f"{name} is {value!r}; expected one of {', '.join(choices)}"
    return None


def check(config: Any) -> None:
    """Raise ConfigError with every problem of a config (nested configs included) at once."""
    problems = _problems(config)
    if problems:
        raise ConfigError(problems)


def _problems(config: Any) -> list[str]:
    problems: list[str] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            problems += [f"{field.name}.{problem}" for problem in _problems(value)]
        elif problem := value_problem(field, value):
            problems.append(problem)
    return problems


def from_mapping(cls: type[C], values: Mapping[str, Any]) -> C:
    """A flat config from plain values, checked: unknown keys answer with near matches, numbers may stand where floats
    are meant.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise UnknownName(f"{cls.__name__} setting", str(key), fields)
    cast: dict[str, Any] = {}
    for key, value in values.items():
        default = fields[key].default
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if isinstance(default, float) and isinstance(value, str):
            # YAML 1.1 takes 4e-3 for text.
            with contextlib.suppress(ValueError):
                value = float(value)
        cast[key] = tuple(value) if isinstance(value, list) else value
    config = cls(**cast)
    check(config)
    return config


# A micro-batch to be settled by the plan; no run has it.
LARGEST_THAT_FITS = -1


@dataclass(frozen=True)
class TrainingConfig:
    """How a student is trained. Defaults are ours (the paper's are not all stated)."""

    steps: int = param(600, "optimiser steps; 0 scores the student as it is", low=0, high=10_000_000)
    batch_size: int = param(32, "examples a step, whatever the micro-batch", low=1, high=65_536)
    micro_batch: int = param(
        0,
        "sequences in one forward pass; 0: the whole batch; -1: the largest that fits into memory, settled when"
        " planned",
        low=-1,
        high=65_536,
    )
    lr: float = param(4e-3, "peak learning rate of AdamW", low=0.0, high=10.0)
    warmup: float = param(0.05, "share of the steps with rising learning rate", low=0.0, high=1.0)
    schedule: str = param("cosine", "learning rate after the warm-up", choices=("cosine", "linear", "constant"))
    weight_decay: float = param(0.01, "AdamW weight decay, not on biases and norms", low=0.0, high=10.0)
    clip: float = param(1.0, "largest gradient norm; 0 turns clipping off", low=0.0, high=1e6)
    loss: str = param(
        "span",
        "span: mean of label tokens + weight x mean of rationale tokens; token_mean: one mean over all",
        choices=("span", "token_mean"),
    )
    rationale_weight: float = param(1.0, "weight of the rationale span in the span loss", low=0.0, high=1e6)
    evaluations: int = param(4, "scorings on dev, equally spaced over the steps", low=0, high=1000)
    dev_examples: int = param(
        240, "dev examples in each of them (the first by hashed id); 0 means all", low=0, high=10_000_000
    )
    redraw: bool = param(False, "draw the transform anew each epoch instead of once")
    checkpoints: str = param("0,0.1,0.25,0.5,1", "shares of the steps at which weights are kept for analysis")
    threads: int = param(1, "CPU threads of one run; part of its identity", low=1, high=1024)
    precision: str = param("fp32", "arithmetic", choices=("fp32", "bf16"))
    device: str = param("cpu", "where it runs; resolved before hashing", choices=("cpu", "cuda"))
    deterministic: bool = param(False, "on a GPU: the same bits every time, slower")
    gradient_checkpointing: bool = param(
        False, "compute activations again in the backward pass: less memory, a third more time", later=True
    )
    processes: int = param(
        1, "processes that share every step of one run, a GPU each (needs accelerate)", low=1, high=64, later=True
    )
    compile: bool = param(False, "torch.compile the training steps: minutes to start, then faster on a GPU", later=True)


@dataclass(frozen=True)
class StudentConfig:
    """Which student, and how long a sequence it may read."""

    name: str = param("nano", "a built-in student, a local folder, or a hub id")
    max_length: int = param(0, "longest sequence in tokens; 0 means what the student can read", low=0, high=1_000_000)
    truncate: str = param("refuse", "when a sequence is too long", choices=("refuse", "question", "rationale"))
    revision: str = param("", "hub revision (a commit, a tag); recorded")
    dtype: str = param(
        "fp32",
        "what the weights are kept in; bf16 halves them and rounds every update",
        choices=("fp32", "bf16"),
        later=True,
    )
    attention: str = param(
        "auto",
        "kernel of the attention; auto takes what the architecture offers",
        choices=("auto", "sdpa", "eager"),
        later=True,
    )
    lora_rank: int = param(
        0,
        "train adapters of this rank instead of all weights (LoRA, needs peft); 0 trains all",
        low=0,
        high=4096,
        later=True,
    )
    lora_alpha: float = param(
        32.0, "LoRA: the adapters' part is multiplied by alpha / rank", low=0.0, high=1e6, later=True
    )
    lora_dropout: float = param(0.0, "LoRA: dropout before the adapters", low=0.0, high=0.95, later=True)
    lora_targets: str = param(
        "", "LoRA: matrices to adapt, such as q_proj,v_proj; empty: all of the blocks", later=True
    )
    resize: bool = param(False, "add embedding rows where the tokenizer has more tokens than the student", later=True)
    trust_remote_code: bool = param(
        False, "let the student's repository run its own Python code here, with all your rights", later=True
    )


@dataclass(frozen=True)
class Seeds:
    """The named seeds of one run. A replicate sets them all; a study may fix some (`starter` fixes world, base and
    split).
    """

    world: int = 0
    base: int = 0
    split: int = 0
    init: int = 0
    order: int = 0
    transform: int = 0
    selector: int = 0

    @classmethod
    def of_replicate(cls, replicate: int, fixed: Mapping[str, int] | None = None) -> Seeds:
        """All seeds equal to the replicate index, but for the fixed ones; UnknownName for a seed that does not
        exist.
        """
        names = [f.name for f in dataclasses.fields(cls)]
        for name in fixed or {}:
            if name not in names:
                raise UnknownName("seed", name, names)
        return cls(**{name: replicate for name in names} | dict(fixed or {}))


@dataclass(frozen=True)
class RunConfig:
    """Everything that makes one run: its plain form is hashed into its identity (with the kind of job and its recipe).

    task_digest is the content hash of rows, rationales, template and tokenizers; base is the identity of the job that
    trains the shared base ("" without one); sources are all rationale sources of the study, so that every condition
    trains on the rows that all of them can use; selections are the identities of the jobs that make the selections of
    its condition, by selector.
    """

    task: str
    task_digest: str
    condition: str
    task_settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    source: str = ""
    sources: tuple[str, ...] = ()
    tokenizer: str = "word"
    student: StudentConfig = StudentConfig()
    training: TrainingConfig = TrainingConfig()
    seeds: Seeds = Seeds()
    base: str = ""
    missing_rationale: str = "exclude"
    selections: Mapping[str, str] = dataclasses.field(default_factory=dict)
    left_out: tuple[str, ...] = ()  #: ids of training rows that no condition of the study trains on
    #: Whether every answer ends in the end token, which bears label loss and is scored with it.
    terminator: bool = False
    #: Test questions that are scored: the first by hashed id; 0 means all.
    test_rows: int = 0

    def job_config(self) -> dict[str, Any]:
        """The plain form that is hashed. Empty selections are left out: a run without them is the same run as before
        there were any; so are settings that came later and are not used."""
        values: dict[str, Any] = plain(self)
        values["student"], values["training"] = (
            hashed(StudentConfig, values["student"]),
            hashed(TrainingConfig, values["training"]),
        )
        for later in ("selections", "left_out", "terminator", "test_rows"):
            if not values[later]:
                del values[later]
        return values

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> RunConfig:
        """The config of a job, as the store holds it."""
        nested: dict[str, type] = {"student": StudentConfig, "training": TrainingConfig, "seeds": Seeds}
        read: dict[str, Any] = {
            k: nested[k](**v) if k in nested else tuple(v) if k in ("sources", "left_out") else v
            for k, v in values.items()
        }
        return cls(**read)

"""How much memory a run takes, by arithmetic on the shape of its student: no torch, so that a plan can tell it before launch.

Counted is what a process holds above its level after import: weights, gradients, the two moments of AdamW, what a forward pass keeps for the
backward pass, logits. What a block keeps was counted in transformers' own modules, after Korthikanti et al. 2022 (arXiv 2205.05198);
`benchmarks/memory.py` holds the sums against measured peaks.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotdistill.errors import StudentError
from cotdistill.students.models import BuiltIn

# A process with torch and transformers imported, and what its first steps load besides (kernels, thread stacks); measured on the CPU build.
PROCESS_BYTES, FIRST_STEPS_BYTES = 450e6, 60e6
# Questions of one scoring pass, prompts of one writing pass: the defaults of `evaluation.choice_scores` and `generation.greedy`.
SCORED, WRITTEN = 64, 256
FP32, BF16 = 4, 2


@dataclass(frozen=True)
class Block:
    """How a transformer block is built, as far as memory goes. gated: the MLP multiplies two projections; rms: norms are spelt out in several
    operations; norms: 2 (one before each part), 1 (parallel parts share it); shared: both parts read the same input; rotated: "" or how a
    rotation of only part of each head is copied ("apart", or "fused" where queries, keys and values are one tensor); normed: queries and keys
    have a norm; untied: by default the output matrix is its own; one_matrix: queries, keys and values come from one."""

    gated: bool = False
    rms: bool = False
    norms: int = 2
    shared: bool = False
    rotated: str = ""
    normed: bool = False
    untied: bool = False
    one_matrix: bool = False


LLAMA = Block(gated=True, rms=True, untied=True)
# By `model_type` of config.json. Others count as Llama where they have RMS norms, else as GPT-2.
BLOCKS = {
    "gpt2": Block(one_matrix=True),
    "opt": Block(),
    "phi": Block(norms=1, shared=True, rotated="apart", untied=True),
    "gpt_neox": Block(shared=True, rotated="fused", untied=True, one_matrix=True),
    "gptj": Block(norms=1, shared=True, rotated="apart", untied=True),
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": Block(gated=True, rms=True, normed=True, untied=True),
    "gemma": Block(gated=True, rms=True),
    "gemma2": Block(gated=True, rms=True, norms=4),
    "gemma3_text": Block(gated=True, rms=True, norms=4, normed=True),
}
# Activations that are one operation, and keep only what they read; all others are spelt out and keep four times that. ReLU keeps what it gives.
FUSED = ("gelu", "gelu_pytorch_tanh", "silu", "swish")


@dataclass(frozen=True)
class Shape:
    """The sizes of a causal transformer, in numbers. query, key_value: widths of all heads together; inner: of the MLP; parameters: all weights,
    tied ones once; blocks: those of the transformer blocks; all_logits: the student has to be asked for the logits of every position."""

    layers: int
    width: int
    inner: int
    heads: int
    query: int
    key_value: int
    vocabulary: int
    positions: int
    parameters: int
    blocks: int
    block: Block = BLOCKS["gpt2"]
    activation: str = "gelu_pytorch_tanh"
    tied: bool = False
    dropout: bool = False
    attention_dropout: bool = False
    all_logits: bool = False


def of_built_in(entry: BuiltIn, vocabulary: int) -> Shape:
    """The shape of a built-in student with a vocabulary of so many tokens."""
    w = entry.width
    return Shape(
        layers=entry.layers, width=w, inner=4 * w, heads=entry.heads, query=w, key_value=w, vocabulary=vocabulary, positions=entry.positions,
        parameters=entry.parameters(vocabulary), blocks=entry.block_parameters(),
    )  # fmt: skip


def of_config(config: Mapping[str, Any]) -> Shape:
    """The shape that a config.json of transformers describes; StudentError if it names no sizes."""

    def first(*names: str, default: Any = None) -> Any:
        return next((config[name] for name in names if config.get(name) is not None), default)

    width, layers, heads = first("hidden_size", "n_embd", "d_model"), first("num_hidden_layers", "n_layer"), first("num_attention_heads", "n_head")
    vocabulary, kind = first("vocab_size"), str(first("model_type", default=""))
    if not all(isinstance(n, int) and n > 0 for n in (width, layers, heads, vocabulary)):
        raise StudentError(
            f"The configuration of a {kind or 'student'} names no sizes that are understood.",
            "Expected vocab_size and hidden_size, num_hidden_layers and num_attention_heads (or GPT-2's names of them).",
        )
    block = BLOCKS.get(kind, LLAMA if "rms_norm_eps" in config else Block())
    inner = int(first("intermediate_size", "n_inner", "ffn_dim", default=4 * width))
    head = int(first("head_dim", default=width // heads))
    query, key_value = heads * head, int(first("num_key_value_heads", default=heads)) * head
    positions = int(first("max_position_embeddings", "n_positions", default=0) or 0)
    tied = bool(first("tie_word_embeddings", default=not block.untied))
    activation = str(first("hidden_activation", "hidden_act", "activation_function", default="silu" if block.rms else "gelu_new"))
    norms = block.norms * (1 if block.rms else 2) * width
    biases = 0 if block.rms else query + 2 * key_value + 2 * width + inner
    each = width * (query + 2 * key_value) + query * width + (3 if block.gated else 2) * width * inner + norms + biases
    learned = positions if kind in ("gpt2", "opt") else 0
    final = width if block.rms else 2 * width
    return Shape(
        layers=layers, width=width, inner=inner, heads=heads, query=query, key_value=key_value, vocabulary=vocabulary, positions=positions or 10**6,
        parameters=layers * each + (1 if tied else 2) * vocabulary * width + learned * width + final, blocks=layers * each,
        block=block, activation=activation, tied=tied,
        dropout=bool(first("resid_pdrop", "hidden_dropout", "dropout", default=0.1 if kind in ("gpt2", "opt") else 0.0)),
        attention_dropout=bool(first("attn_pdrop", "attention_dropout", default=0.1 if kind == "gpt2" else 0.0)),
        all_logits=bool(first("final_logit_softcapping", "logit_scale", "logits_scaling")),
    )  # fmt: skip


def of_folder(folder: Path) -> Shape:
    """The shape of the student in a folder that save_pretrained wrote; StudentError if its config.json cannot be read."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudentError(f"{folder / 'config.json'} cannot be read: {error}", "Name the folder that save_pretrained wrote.") from error
    return of_config(config.get("text_config") or config)


def cached(name: str, revision: str = "") -> Path | None:
    """The folder of a hub student in this machine's cache of the hub; None if it is not there. Nothing is fetched."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface")
    folder = Path(os.environ.get("HF_HUB_CACHE") or home / "hub") / f"models--{name.replace('/', '--')}"
    ref = folder / "refs" / (revision or "main")
    commit = ref.read_text(encoding="ascii").strip() if ref.is_file() else revision
    found = folder / "snapshots" / commit
    return found if commit and (found / "config.json").is_file() else None


@dataclass(frozen=True)
class Load:
    """What a run asks of its student. rows: sequences in one forward pass, of `length` tokens each; predicted: tokens predicted in that
    pass, over all rows; passes: forward passes a step; trained: weights that are trained, None for all of them; scored: tokens of a prompt, 0 for no
    scoring; choices: tokens of all its choices; written:
    tokens a student may write after a prompt, 0 if it writes none."""

    rows: int
    length: int
    predicted: int
    passes: int = 1
    precision: str = "fp32"
    device: str = "cpu"
    checkpointing: bool = False
    trained: int | None = None
    trains: bool = True
    scored: int = 0
    choices: int = 5
    written: int = 0


@dataclass(frozen=True)
class Memory:
    """Bytes of a run above the level of its process after import. The parts never stand all at once: activations are gone when the last gradient
    has come. peak: the most at any moment; when: the moment ("forward and backward pass", "update", "scoring", "writing rationales")."""

    weights: float
    gradients: float
    optimiser: float
    activations: float
    logits: float
    peak: float
    when: str

    @property
    def process(self) -> float:
        """Bytes of the whole process on a CPU, what importing takes included."""
        return self.peak + PROCESS_BYTES


def estimate(shape: Shape, load: Load) -> Memory:
    """The memory of a run. On a GPU its own memory is meant."""
    trained = shape.parameters if load.trained is None else load.trained
    weights = float(FP32 * shape.parameters)
    gradients, optimiser = float(FP32 * trained), float(2 * FP32 * trained)
    head = float(FP32 * shape.vocabulary * shape.width) if load.trained is None else 0.0
    kept, logits = kept_bytes(shape, load), float(FP32 * _logit_rows(shape, load) * shape.vocabulary)
    lasting = weights + optimiser + (gradients if load.passes > 1 else 0.0)
    # The loss needs its logits three times over: their logarithms, the gradient of these, and that of the logits themselves.
    backward = kept + max(3 * logits, logits + head)
    # With tied embeddings the gradient as an input matrix stands beside that as an output matrix before the two are added.
    update = gradients + (head if shape.tied else 0.0)
    held = weights + (optimiser if load.trains else 0.0)
    moments = {"scoring": held + _scoring(shape, load), "writing rationales": held + _writing(shape, load)}
    if load.trains:
        moments |= {"forward and backward pass": lasting + backward, "update": weights + optimiser + update}
    else:
        gradients = optimiser = kept = logits = 0.0
    when = max(moments, key=lambda name: moments[name])
    return Memory(weights, gradients, optimiser, kept, logits, moments[when] + (FIRST_STEPS_BYTES if load.device == "cpu" else 0.0), when)


def kept_bytes(shape: Shape, load: Load) -> float:
    """What one forward pass keeps for its backward pass, up to the logits."""
    tokens = load.rows * load.length
    within = tokens * _kept_of_a_block(shape, load)
    edges = float(FP32 * tokens * shape.width * ((2 if shape.block.rms else 1) + int(shape.dropout)))
    copies = BF16 * shape.blocks if load.precision == "bf16" else 0.0
    if load.checkpointing:
        # Every block keeps what it reads; one at a time is gone through again and keeps all.
        return shape.layers * FP32 * tokens * shape.width + within + edges + copies
    return shape.layers * within + edges + copies


def _kept_of_a_block(shape: Shape, load: Load) -> float:
    """Bytes a token that one block keeps. Under bf16 what the norms read stays in full precision."""
    block, w, inner = shape.block, shape.width, shape.inner
    all_trained = load.trained is None
    read = w * (1 if block.shared else block.norms)
    full = 2 * read if block.rms and all_trained else read
    # What a norm gives is kept by the matrix that reads it, if that is trained; adapters read the attention's only.
    low = w * (block.norms if all_trained else 1)
    low += 2 * shape.query + 2 * shape.key_value
    low += {"": 0, "apart": shape.query, "fused": 3 * shape.query}[block.rotated]
    if block.normed:
        full, low = full + shape.query + shape.key_value, low + shape.query + shape.key_value
    spelt_out = shape.activation not in (*FUSED, "relu")
    low += (inner if shape.activation == "relu" else 2 * inner) + (2 * inner if block.gated else 0) - (0 if all_trained else inner)
    small = BF16 if load.precision == "bf16" else FP32
    if load.precision == "bf16":
        # Autocast makes a copy of what is read for each matrix that reads it.
        low += w * ((0 if block.one_matrix else 2) + int(block.gated) + int(block.norms == 1))
    bytes_ = FP32 * (full + shape.heads) + small * low
    if spelt_out:
        # On a GPU autocast takes powers in full precision, and what follows with them.
        bytes_ += inner * (3 * small if load.device == "cpu" or small == FP32 else 3 * FP32)
    if shape.dropout:
        bytes_ += 2 * w * (small if load.device == "cpu" else 1)
    if shape.attention_dropout and load.device == "cpu":
        # The CPU's fused attention knows no dropout: weights, noise and their product are kept for every pair of tokens.
        bytes_ += 3 * FP32 * shape.heads * load.length
    return float(bytes_)


def _logit_rows(shape: Shape, load: Load) -> int:
    return load.rows * load.length if shape.all_logits else load.predicted


def _passing(shape: Shape, load: Load, tokens: int) -> float:
    """Bytes of the widest moment of a forward pass that keeps nothing."""
    small = BF16 if load.precision == "bf16" and load.device == "cuda" else FP32
    wide = {True: 3, False: 2}[shape.block.gated] + (2 if shape.activation not in (*FUSED, "relu") else 0)
    return float(tokens * (small * wide * shape.inner + 3 * FP32 * shape.width))


def _scoring(shape: Shape, load: Load) -> float:
    """Logits and their logarithms for every token of every choice, in float32; more where all positions have to be asked for."""
    if not load.scored:
        return 0.0
    rows = SCORED * (load.scored if shape.all_logits else load.choices)
    return _passing(shape, load, SCORED * load.scored) + 2.0 * FP32 * rows * shape.vocabulary


def _writing(shape: Shape, load: Load) -> float:
    """Reading all prompts at once, or the keys and values of all prompts and of what was written after them; one block's stand twice when a token
    is added."""
    if not load.written:
        return 0.0
    each = 2.0 * FP32 * WRITTEN * shape.key_value
    reading = shape.layers * each * load.scored + _passing(shape, load, WRITTEN * load.scored)
    return max(reading, (shape.layers + 1) * each * (load.scored + load.written))


# Students of so many weights and more have their freed memory given back at once.
LARGE = 10_000_000
_AT_ONCE, _AT_LEISURE = 1 << 20, 32 << 20
_M_MMAP_THRESHOLD = -3
_steady = False


def allocate_for(parameters: int) -> None:
    """Tell the C library from which size on a freed block goes back to the system at once. By itself glibc keeps up to a third more than is in use,
    for the gradients do not fit into the holes that activations leave; giving back costs a tenth of the time, so small students do without."""
    global _steady
    large = parameters >= LARGE
    if not large and not _steady:
        return
    try:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _AT_ONCE if large else _AT_LEISURE)
    except (AttributeError, OSError, TypeError):
        return  # another C library, with ways of its own
    _steady = large

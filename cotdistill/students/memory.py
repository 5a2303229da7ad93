"""How much memory a run takes, by arithmetic on the shape of its student: no torch, so that a plan can tell it before
launch.

Counted is what a process holds above its level after import: weights, gradients, the two moments of AdamW, what a
forward pass keeps for the backward pass, logits. What a block keeps was counted in transformers' own modules, after
Korthikanti et al. 2022 (arXiv 2205.05198); `benchmarks/memory.py` holds the sums against measured peaks.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotdistill.errors import StudentError
from cotdistill.students.models import BuiltIn

# A process with torch and transformers imported, and what its first steps load besides (kernels, thread stacks);
# measured on the CPU build.
PROCESS_BYTES, FIRST_STEPS_BYTES = 450e6, 60e6
# Questions of one scoring pass, prompts of one writing pass: the defaults of `evaluation.choice_scores` and
# `generation.greedy`.
SCORED, WRITTEN = 64, 256
FP32, BF16 = 4, 2
# What the C library holds beyond what is in use, as shares: of what a forward pass keeps and of the gradients, for
# these do not fit into the holes that those leave; measured (`keep_freed`).
HELD_OF_KEPT, HELD_OF_GRADIENTS = 0.35, 0.7


@dataclass(frozen=True)
class Block:
    """How a transformer block is built, as far as memory goes. gated: the MLP multiplies two projections; rms: norms
    are spelt out in several operations; norms: 2 (one before each part), 1 (parallel parts share it); shared: both
    parts read the same input; rotated: "" or how a rotation of only part of each head is copied ("apart", or "fused"
    where queries, keys and values are one tensor); normed: queries and keys have a norm; untied: by default the output
    matrix is its own; one_matrix: queries, keys and values come from one."""

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
# Students of the catalogue as their config.json on the hub describes them, for plans before they have been downloaded.
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "openai-community/gpt2": {
        "model_type": "gpt2",
        "vocab_size": 50_257,
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "n_positions": 1024,
    },
    "microsoft/phi-1_5": {
        "model_type": "phi",
        "vocab_size": 51_200,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
        "hidden_act": "gelu_new",
    },
    "google/gemma-2b": {
        "model_type": "gemma",
        "vocab_size": 256_000,
        "hidden_size": 2048,
        "intermediate_size": 16_384,
        "num_hidden_layers": 18,
        "num_attention_heads": 8,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "max_position_embeddings": 8192,
        "hidden_act": "gelu_pytorch_tanh",
    },
    "HuggingFaceTB/SmolLM2-135M-Instruct": {
        "model_type": "llama",
        "vocab_size": 49_152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 8_192,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
    },
    "HuggingFaceTB/SmolLM2-360M-Instruct": {
        "model_type": "llama",
        "vocab_size": 49_152,
        "hidden_size": 960,
        "intermediate_size": 2560,
        "num_hidden_layers": 32,
        "num_attention_heads": 15,
        "num_key_value_heads": 5,
        "max_position_embeddings": 8_192,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
    },
    "Qwen/Qwen3-0.6B": {
        "model_type": "qwen3",
        "vocab_size": 151_936,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 40_960,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
    },
    "google/gemma-3-270m": {
        "model_type": "gemma3_text",
        "vocab_size": 262_144,
        "hidden_size": 640,
        "intermediate_size": 2048,
        "num_hidden_layers": 18,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "max_position_embeddings": 32_768,
        "hidden_act": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
    },
    "meta-llama/Llama-3.2-1B": {
        "model_type": "llama",
        "vocab_size": 128_256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 131_072,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
    },
}
# Activations that are one operation, and keep only what they read; all others are spelt out and keep four times that.
# ReLU keeps what it gives.
FUSED = ("gelu", "gelu_pytorch_tanh", "silu", "swish")


@dataclass(frozen=True)
class Shape:
    """The sizes of a causal transformer, in numbers. query, key_value: widths of all heads together; inner: of the MLP;
    parameters: all weights, tied ones once; blocks: those of the transformer blocks; all_logits: the student has to be
    asked for the logits of every position."""

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
        layers=entry.layers,
        width=w,
        inner=4 * w,
        heads=entry.heads,
        query=w,
        key_value=w,
        vocabulary=vocabulary,
        positions=entry.positions,
        parameters=entry.parameters(vocabulary),
        blocks=entry.block_parameters(),
    )


def of_config(config: Mapping[str, Any]) -> Shape:
    """The shape that a config.json of transformers describes; StudentError if it names no sizes."""

    def first(*names: str, default: Any = None) -> Any:
        return next((config[name] for name in names if config.get(name) is not None), default)

    width, layers, heads = (
        first("hidden_size", "n_embd", "d_model"),
        first("num_hidden_layers", "n_layer"),
        first("num_attention_heads", "n_head"),
    )
    vocabulary, kind = first("vocab_size"), str(first("model_type", default=""))
    if not all(isinstance(n, int) and n > 0 for n in (width, layers, heads, vocabulary)):
        raise StudentError(
            f"The configuration of a {kind or 'student'} names no sizes that are understood.",
            "Expected vocab_size and hidden_size, num_hidden_layers and num_attention_heads (or GPT-2's names of"
            " them).",
        )
    block = BLOCKS.get(kind, LLAMA if "rms_norm_eps" in config else Block())
    inner = int(first("intermediate_size", "n_inner", "ffn_dim", default=4 * width))
    head = int(first("head_dim", default=width // heads))
    query, key_value = heads * head, int(first("num_key_value_heads", default=heads)) * head
    positions = int(first("max_position_embeddings", "n_positions", default=0) or 0)
    tied = bool(first("tie_word_embeddings", default=not block.untied))
    activation = str(
        first("hidden_activation", "hidden_act", "activation_function", default="silu" if block.rms else "gelu_new")
    )
    norms = block.norms * (1 if block.rms else 2) * width
    biases = 0 if block.rms else query + 2 * key_value + 2 * width + inner
    each = width * (query + 2 * key_value) + query * width + (3 if block.gated else 2) * width * inner + norms + biases
    learned = positions if kind in ("gpt2", "opt") else 0
    final = width if block.rms else 2 * width
    return Shape(
        layers=layers,
        width=width,
        inner=inner,
        heads=heads,
        query=query,
        key_value=key_value,
        vocabulary=vocabulary,
        positions=positions or 10**6,
        parameters=layers * each + (1 if tied else 2) * vocabulary * width + learned * width + final,
        blocks=layers * each,
        block=block,
        activation=activation,
        tied=tied,
        dropout=bool(
            first("resid_pdrop", "hidden_dropout", "dropout", default=0.1 if kind in ("gpt2", "opt") else 0.0)
        ),
        attention_dropout=bool(first("attn_pdrop", "attention_dropout", default=0.1 if kind == "gpt2" else 0.0)),
        all_logits=bool(first("final_logit_softcapping", "logit_scale", "logits_scaling")),
    )


def of_folder(folder: Path) -> Shape:
    """The shape of the student in a folder that save_pretrained wrote; StudentError if its config.json cannot be
    read.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudentError(
            f"{folder / 'config.json'} cannot be read: {error}", "Name the folder that save_pretrained wrote."
        ) from error
    return of_config(config.get("text_config") or config)


@dataclass(frozen=True)
class Load:
    """What a run asks of its student. rows: sequences in one forward pass, of `length` tokens each; predicted: tokens
    predicted in that pass, over all rows; passes: forward passes a step; dtype: of the weights; adapters: what is
    trained instead of all weights; scored: tokens of a prompt, 0 for no scoring; choices: tokens of all its choices;
    written: tokens a student may write after a prompt, 0 if it writes none; plain: the loss is cross-entropy alone."""

    rows: int
    length: int
    predicted: int
    passes: int = 1
    precision: str = "fp32"
    dtype: str = "fp32"
    device: str = "cpu"
    checkpointing: bool = False
    adapters: Adapters | None = None
    trains: bool = True
    scored: int = 0
    choices: int = 5
    written: int = 0
    plain: bool = True

    @property
    def arithmetic(self) -> int:
        """Bytes of a number that a matrix gives."""
        return BF16 if "bf16" in (self.precision, self.dtype) else FP32

    @property
    def stream(self) -> int:
        """Bytes of a weight, and of a number that goes from block to block."""
        return BF16 if self.dtype == "bf16" else FP32


@dataclass(frozen=True)
class Adapters:
    """Low-rank matrices that are trained beside frozen ones. numbers: all of their weights; read: what one block's
    adapters read of a token, once a matrix; mlp, mix: whether matrices of the MLP, and those that read the mix of
    values, are among them."""

    numbers: int
    read: int
    mlp: bool
    mix: bool


def adapters(shape: Shape, rank: int, targets: str = "") -> Adapters:
    """The adapters of a rank beside the matrices of these names (a comma list), all of the blocks by default. Unknown
    names count nothing.
    """
    w, inner, query, key_value = shape.width, shape.inner, shape.query, shape.key_value
    out_of_attention, into_mlp, out_of_mlp = (query, w), (w, inner), (inner, w)
    known: dict[str, list[tuple[int, int]]] = {
        "q_proj": [(w, query)],
        "k_proj": [(w, key_value)],
        "v_proj": [(w, key_value)],
        "c_attn": [(w, query + 2 * key_value)],
        "query_key_value": [(w, query + 2 * key_value)],
        "o_proj": [out_of_attention],
        "out_proj": [out_of_attention],
        "dense": [out_of_attention],
        "gate_proj": [into_mlp],
        "up_proj": [into_mlp],
        "c_fc": [into_mlp],
        "fc1": [into_mlp],
        "dense_h_to_4h": [into_mlp],
        "down_proj": [out_of_mlp],
        "fc2": [out_of_mlp],
        "dense_4h_to_h": [out_of_mlp],
        "c_proj": [out_of_attention, out_of_mlp],
    }
    every = (
        ["c_attn", "c_proj", "c_fc"]
        if shape.block.one_matrix
        else ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"]
    )
    names = [name.strip() for name in targets.split(",") if name.strip()] or [
        *every,
        *(["gate_proj"] if shape.block.gated else []),
    ]
    matrices = [sizes for name in names for sizes in known.get(name, [])]
    mix = any(out_of_attention in known.get(name, []) for name in names if name not in ("q_proj", "k_proj", "v_proj"))
    numbers = shape.layers * rank * sum(i + o for i, o in matrices)
    return Adapters(numbers, sum(i for i, _ in matrices), mlp=any(inner in sizes for sizes in matrices), mix=mix)


@dataclass(frozen=True)
class RunMemory:
    """Bytes of a run above the level of its process after import. The parts never stand all at once: activations are
    gone when the last gradient has come. peak: the most at any moment; when: the moment ("forward and backward pass",
    "update", "scoring", "writing rationales")."""

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


def estimate(shape: Shape, load: Load) -> RunMemory:
    """The memory of a run. On a GPU its own memory is meant."""
    beside = load.adapters.numbers if load.adapters else 0
    weights = float(load.stream * shape.parameters + FP32 * beside)
    gradients = float(FP32 * beside if load.adapters else load.stream * shape.parameters)
    optimiser = 2.0 * gradients
    head = 0.0 if load.adapters else float(load.stream * shape.vocabulary * shape.width)
    kept, logits = kept_bytes(shape, load), float(FP32 * _logit_rows(shape, load) * shape.vocabulary)
    lasting = weights + optimiser + (gradients if load.passes > 1 else 0.0)
    # At most the loss needs its logits three times over: their logarithms, the gradient of these, and that of the
    # logits themselves. Plain cross-entropy in full precision on a CPU needs them once, in room that it keeps through
    # the update (`likelihood.Room`).
    once = load.plain and load.device == "cpu" and load.arithmetic == FP32
    backward = kept + (logits + head if once else max(3 * logits, logits + head))
    # With tied embeddings the gradient as an input matrix stands beside that as an output matrix before the two are
    # added.
    update = gradients + (head if shape.tied else 0.0) + (logits if once else 0.0)
    held = weights + (optimiser if load.trains else 0.0)
    moments = {"scoring": held + _scoring(shape, load), "writing rationales": held + _writing(shape, load)}
    if load.trains:
        moments |= {"forward and backward pass": lasting + backward, "update": weights + optimiser + update}
    else:
        gradients = optimiser = kept = logits = 0.0
    when = max(moments, key=lambda name: moments[name])
    beside_all = 0.0
    if load.device == "cpu":
        beside_all = FIRST_STEPS_BYTES + (
            0.0 if load.checkpointing else HELD_OF_KEPT * kept + HELD_OF_GRADIENTS * gradients
        )
    return RunMemory(weights, gradients, optimiser, kept, logits, moments[when] + beside_all, when)


def kept_bytes(shape: Shape, load: Load) -> float:
    """What one forward pass keeps for its backward pass, up to the logits."""
    tokens = load.rows * load.length
    within = tokens * _kept_of_a_block(shape, load)
    edges = float(load.stream * tokens * shape.width * ((2 if shape.block.rms else 1) + int(shape.dropout)))
    copies = BF16 * shape.blocks if load.arithmetic < load.stream else 0.0
    if load.checkpointing:
        # Every block keeps what it reads; one at a time is gone through again and keeps all.
        return shape.layers * load.stream * tokens * shape.width + within + edges + copies
    return shape.layers * within + edges + copies


def _kept_of_a_block(shape: Shape, load: Load) -> float:
    """Bytes a token that one block keeps. What the norms read stays in the precision of the weights, or above."""
    block, w, inner, low, stream = shape.block, shape.width, shape.inner, load.arithmetic, load.stream
    autocast = low < stream
    # All weights are trained, or some have adapters: of the MLP, or of what reads the mix of values.
    whole = load.adapters is None
    mlp, mix = whole or bool(load.adapters and load.adapters.mlp), whole or bool(load.adapters and load.adapters.mix)
    read = w * (1 if block.shared else block.norms)
    heads = shape.query + shape.key_value if block.normed else 0
    # RMS norms are computed in full precision; what they scale is kept where the scale is trained.
    kept = float((read + heads) * FP32 + (read * stream + heads * low if whole else 0) if block.rms else read * stream)
    # Matrices keep what they read: what the norms give, the mix of values, and what the MLP's activation gives.
    matrices = w * (block.norms if mlp else 1) + shape.query + (inner if mlp and shape.activation != "relu" else 0)
    if load.adapters and stream < FP32:
        # Adapters are in full precision: each keeps a copy of what it reads, and nobody keeps the original.
        matrices = shape.query
        kept += FP32 * load.adapters.read
    if autocast:
        # Autocast makes a copy of what is read for each matrix that reads it.
        matrices += w * ((0 if block.one_matrix else 2) + int(block.gated) + int(block.norms == 1))
    # Heads that are rotated in part are copied, and with them the mix, for the matrix that reads it.
    copied = (2 * shape.query if block.rotated == "fused" else 0) + (shape.query if block.rotated and mix else 0)
    attention = shape.query + 2 * shape.key_value + copied
    kept += low * (matrices + attention + inner * (3 if block.gated else 1)) + FP32 * shape.heads
    if shape.activation not in (*FUSED, "relu"):
        # On a GPU autocast takes powers in full precision, and what follows with them.
        kept += 3 * inner * (FP32 if autocast and load.device == "cuda" else low)
    if shape.dropout:
        kept += 2 * w * (low if load.device == "cpu" else 1)
    if shape.attention_dropout and load.device == "cpu":
        # The CPU's fused attention knows no dropout: weights, noise and their product are kept for every pair of
        # tokens.
        kept += 3 * FP32 * shape.heads * load.length
    return kept


def _logit_rows(shape: Shape, load: Load) -> int:
    return load.rows * load.length if shape.all_logits else load.predicted


def _passing(shape: Shape, load: Load, tokens: int) -> float:
    """Bytes of the widest moment of a forward pass that keeps nothing. Scoring is not done under autocast."""
    wide = {True: 3, False: 2}[shape.block.gated] + (2 if shape.activation not in (*FUSED, "relu") else 0)
    return float(tokens * load.stream * (wide * shape.inner + 3 * shape.width))


def _scoring(shape: Shape, load: Load) -> float:
    """Logits and their logarithms for every token of every choice, in float32; more where all positions have to be
    asked for.
    """
    if not load.scored:
        return 0.0
    rows = SCORED * (load.scored if shape.all_logits else load.choices)
    return _passing(shape, load, SCORED * load.scored) + 2.0 * FP32 * rows * shape.vocabulary


def _writing(shape: Shape, load: Load) -> float:
    """Reading all prompts at once, beside the keys and values of all prompts with the room for what is written after
    them.
    """
    if not load.written:
        return 0.0
    each = 2.0 * load.stream * WRITTEN * shape.key_value
    return shape.layers * each * (load.scored + load.written) + _passing(shape, load, WRITTEN * load.scored)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_NEVER, _AT_ONCE = 1 << 30, 1 << 20


def keep_freed() -> None:
    """Have the C library keep what this process frees for what it asks for next. A step frees and asks for hundreds of
    megabytes; fresh from the system, each page of them costs as much as the arithmetic on it. What was left from before
    is given back now."""
    _tell(_M_MMAP_THRESHOLD, _NEVER)
    _tell(_M_TRIM_THRESHOLD, _NEVER)
    trim()


def give_freed_back() -> None:
    """Have large blocks given back to the system as soon as they are freed: slower, and for those who would rather have
    the memory.
    """
    _tell(_M_MMAP_THRESHOLD, _AT_ONCE)


def trim() -> None:
    """Give the system what is free now: what comes next may need blocks of other sizes."""
    with _another_library():
        ctypes.CDLL(None).malloc_trim(0)


def _tell(setting: int, value: int) -> None:
    with _another_library():
        ctypes.CDLL(None).mallopt(setting, value)


def _another_library() -> contextlib.suppress:
    """Those without these functions have ways of their own."""
    return contextlib.suppress(AttributeError, OSError, TypeError)

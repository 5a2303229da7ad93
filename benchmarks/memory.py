"""The estimate of a run's memory against what the run takes: each variant in a fresh process, its peak above the level after import.

    python benchmarks/memory.py                all variants
    python benchmarks/memory.py gpt2 llama     some
    python benchmarks/memory.py --list         their names

A variant is a student with fresh weights in one of transformers' architectures, trained for three steps by `students.training.train` on rows of one
length, and scored (and asked to write) between them, as a run does. Needs no data and no network.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cotdistill.students.memory import Load, Shape, adapters, estimate, of_config  # noqa: E402

GPT2_VOCABULARY = 50_257
STEPS = 3
LARGEST_MISS = 0.25
# Of the questions that are scored.
CHOICES, CHOICE_TOKENS = 5, 2


@dataclass(frozen=True)
class Variant:
    """A student (config class of transformers and its settings) and what is asked of it. predicted: of one row; scored: tokens of a
    prompt that is scored, written: tokens written after it, 0 for none; rank: of LoRA adapters (needs peft), 0 for none."""

    config: str
    settings: Mapping[str, Any]
    batch: int
    length: int
    predicted: int
    micro: int = 0
    precision: str = "fp32"
    checkpointing: bool = False
    scored: int = 0
    written: int = 0
    resume: bool = False
    rank: int = 0
    dtype: str = "fp32"
    threads: int = field(default=1)


def gpt2(width: int, layers: int, **more: Any) -> dict[str, Any]:
    return {"vocab_size": GPT2_VOCABULARY, "n_embd": width, "n_layer": layers, "n_head": max(1, width // 64), **more}


def llama(width: int, layers: int, vocabulary: int, **more: Any) -> dict[str, Any]:
    heads = max(1, width // 64)
    sizes = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": 11 * width // 4,
        "num_hidden_layers": layers,
    }
    return {**sizes, "num_attention_heads": heads, "num_key_value_heads": max(1, heads // 2), **more}


# GPT-2 as released drops out; students of studies here mostly do not.
STILL = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}

OPT = {
    "vocab_size": 50_272, "hidden_size": 512, "word_embed_proj_dim": 512, "ffn_dim": 2048, "num_hidden_layers": 6, "num_attention_heads": 8,
    "dropout": 0.0,
}  # fmt: skip

VARIANTS: dict[str, Variant] = {
    "gpt2": Variant("GPT2Config", gpt2(768, 12, **STILL), batch=8, length=64, predicted=30),
    "gpt2, dropout": Variant("GPT2Config", gpt2(768, 12), batch=8, length=64, predicted=30),
    "gpt2, micro-batches": Variant("GPT2Config", gpt2(768, 12, **STILL), batch=16, micro=4, length=64, predicted=30),
    "gpt2, checkpointing": Variant(
        "GPT2Config", gpt2(768, 12, **STILL), batch=16, length=96, predicted=40, checkpointing=True
    ),
    "gpt2, bf16": Variant("GPT2Config", gpt2(768, 12, **STILL), batch=8, length=64, predicted=30, precision="bf16"),
    "gpt2, scored": Variant("GPT2Config", gpt2(768, 12, **STILL), batch=2, length=64, predicted=30, scored=60),
    "gpt2, saved": Variant("GPT2Config", gpt2(768, 12, **STILL), batch=2, length=48, predicted=24, resume=True),
    "small, long": Variant("GPT2Config", gpt2(256, 4, **STILL), batch=8, length=512, predicted=64),
    "small, wide batch": Variant("GPT2Config", gpt2(256, 4, **STILL), batch=32, length=128, predicted=32),
    "small, label only": Variant("GPT2Config", gpt2(256, 4, **STILL), batch=64, length=96, predicted=2),
    "small, writing": Variant(
        "GPT2Config", gpt2(256, 4, **STILL), batch=8, length=64, predicted=30, scored=60, written=40
    ),
    "llama": Variant("LlamaConfig", llama(512, 8, 32_000), batch=16, length=128, predicted=40),
    "llama, bf16": Variant("LlamaConfig", llama(512, 8, 32_000), batch=16, length=128, predicted=40, precision="bf16"),
    "qwen3": Variant("Qwen3Config", llama(512, 6, 32_000, head_dim=64), batch=16, length=128, predicted=40),
    "gemma": Variant("GemmaConfig", llama(256, 4, 64_000, head_dim=64), batch=16, length=96, predicted=30),
    "gpt2, adapters": Variant("GPT2Config", gpt2(768, 12, **STILL), batch=8, length=96, predicted=30, rank=16),
    "llama, adapters": Variant("LlamaConfig", llama(512, 8, 32_000), batch=16, length=128, predicted=40, rank=16),
    "opt, adapters": Variant("OPTConfig", OPT, batch=16, length=128, predicted=40, rank=16),
    "phi, adapters, bf16": Variant(
        "PhiConfig",
        {**llama(512, 6, 32_000), "intermediate_size": 2048},
        batch=16,
        length=128,
        predicted=40,
        rank=16,
        precision="bf16",
    ),
    "llama, adapters, weights in bf16": Variant(
        "LlamaConfig", llama(512, 8, 32_000), batch=16, length=128, predicted=40, rank=16, dtype="bf16"
    ),
    "llama, weights in bf16": Variant(
        "LlamaConfig", llama(512, 8, 32_000), batch=16, length=128, predicted=40, dtype="bf16"
    ),
    "phi": Variant(
        "PhiConfig", {**llama(512, 6, 32_000), "intermediate_size": 2048}, batch=16, length=128, predicted=40
    ),
}


def load_of(variant: Variant, shape: Shape) -> Load:
    rows = variant.micro or variant.batch
    return Load(
        rows=rows, length=variant.length, predicted=rows * variant.predicted, passes=variant.batch // rows, precision=variant.precision,
        checkpointing=variant.checkpointing, scored=variant.scored, choices=CHOICES * CHOICE_TOKENS, written=variant.written, dtype=variant.dtype,
        adapters=adapters(shape, variant.rank) if variant.rank else None,
    )  # fmt: skip


def measure(variant: Variant) -> dict[str, float]:
    """Bytes: the estimate and the measured peak; to be called in a fresh process."""
    import numpy as np
    import transformers

    from cotdistill.config import StudentConfig, TrainingConfig
    from cotdistill.students import lora
    from cotdistill.students.batches import Row, Stream
    from cotdistill.students.loading import DTYPES, prepare_torch
    from cotdistill.students.reader import Forward
    from cotdistill.students.scoring.evaluation import choice_scores
    from cotdistill.students.scoring.generation import greedy
    from cotdistill.students.training import Hooks, train

    transformers.utils.logging.set_verbosity_error()
    prepare_torch(variant.threads, False)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is that of importing
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, variant.config)(**variant.settings))
    model.to(DTYPES[variant.dtype])
    if variant.rank:
        lora.adapt(model, StudentConfig(name="owner/name", lora_rank=variant.rank), 0)
    draw = np.random.default_rng(0)
    groups = np.zeros(variant.length, np.int8)
    groups[-variant.predicted :] = 2
    vocabulary = int(model.config.vocab_size)

    def row(index: int, epoch: int) -> list[Row]:
        return [Row(draw.integers(3, vocabulary, variant.length, dtype=np.int32), groups / variant.predicted, groups)]

    def evaluate() -> float:
        prompts = [draw.integers(3, vocabulary, variant.scored).tolist() for _ in range(64)]
        choices = [[[5] * CHOICE_TOKENS] * CHOICES] * 64
        reader = Forward(model)
        choice_scores(reader, prompts, choices, 0)
        if variant.written:
            prompts = [draw.integers(3, vocabulary, variant.scored).tolist() for _ in range(256)]
            greedy(reader, prompts, [1, 2, 1, 2, 1], limit=variant.written, after=2, pad=0, eos=0)
        return 0.0

    config = TrainingConfig(
        steps=STEPS, batch_size=variant.batch, micro_batch=variant.micro, precision=variant.precision,
        evaluations=1 if variant.scored else 0, lr=1e-5, gradient_checkpointing=variant.checkpointing,
    )  # fmt: skip
    path = Path(f"resume-{variant.length}.safetensors") if variant.resume else None
    started = time.perf_counter()
    try:
        train(
            model, row, Stream([variant.length] * 64, variant.batch, 0), config, steps=STEPS, pad=0,
            hooks=Hooks(lambda log, values: None, evaluate=evaluate if variant.scored else None), resume=path,
        )  # fmt: skip
    finally:
        if path is not None:
            path.unlink(missing_ok=True)
    shape = of_config(model.config.to_dict())
    told = estimate(shape, load_of(variant, shape))
    return {
        "estimate": told.peak,
        "measured": resident("VmHWM") - before,
        "seconds": time.perf_counter() - started,
        "parameters": model.num_parameters(),
    }


def resident(name: str) -> float:
    """Bytes of this process in memory (VmRSS), or the most there ever were (VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", help="variants; default: all")
    parser.add_argument("--list", action="store_true", help="print the names")
    parser.add_argument("--one", metavar="NAME", help="measure one in this process; prints JSON")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(VARIANTS))
        return 0
    if arguments.one:
        print(json.dumps(measure(VARIANTS[arguments.one])))
        return 0
    missed = []
    print("variant | weights | estimate, MB | measured, MB | estimate / measured | seconds")
    for name in arguments.names or VARIANTS:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", __file__, "--one", name], capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return 1
        found = json.loads(done.stdout.splitlines()[-1])
        ratio = found["estimate"] / found["measured"]
        missed += [name] if abs(ratio - 1) > LARGEST_MISS else []
        cells = (
            f"{found['parameters'] / 1e6:.0f} M",
            *(f"{found[k] / 1e6:,.0f}" for k in ("estimate", "measured")),
            f"{ratio:.2f}",
            f"{found['seconds']:.0f}",
        )
        print(" | ".join((name, *cells)), flush=True)
    print(f"Missed by more than {LARGEST_MISS:.0%}: {', '.join(missed) or 'none'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

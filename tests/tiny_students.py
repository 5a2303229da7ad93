"""Tiny pretrained students of many architectures, each as the folder that save_pretrained writes, with a tokenizer of its family's kind."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM

SHAPE = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 160}
LLAMA = {**SHAPE, "intermediate_size": 48, "num_key_value_heads": 1}
OPT = {**SHAPE, "ffn_dim": 48}
NEO = {"hidden_size": 24, "num_layers": 2, "num_heads": 2, "max_position_embeddings": 160}

# By name: config class, its settings, kind of tokenizer, embedding rows beyond the tokenizer's tokens.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any], str, int]] = {
    "gpt2": ("GPT2Config", {"n_embd": 24, "n_layer": 2, "n_head": 2, "n_positions": 160}, "bytes", 0),
    "phi": ("PhiConfig", {**SHAPE, "intermediate_size": 48}, "bytes", 37),
    "gemma": ("GemmaConfig", {**LLAMA, "head_dim": 12}, "gemma", 0),
    "llama": ("LlamaConfig", LLAMA, "llama", 0),
    "opt": ("OPTConfig", {**OPT, "word_embed_proj_dim": 24}, "opt", 2),
    "qwen2": ("Qwen2Config", LLAMA, "bytes", 100),
    "gpt_neox": ("GPTNeoXConfig", {**SHAPE, "intermediate_size": 48}, "bytes", 5),
    # What sets others apart: soft caps after the output matrix, embeddings narrower than the states, positions by distance, a window, no attention.
    "gemma2": ("Gemma2Config", {**LLAMA, "head_dim": 12, "final_logit_softcapping": 2.0}, "gemma", 0),
    "opt_narrow": ("OPTConfig", {**OPT, "word_embed_proj_dim": 16, "do_layer_norm_before": False}, "opt", 0),
    "bloom": ("BloomConfig", {"hidden_size": 24, "n_layer": 2, "n_head": 2}, "bytes", 0),
    "gpt_neo": ("GPTNeoConfig", {**NEO, "attention_types": [[["global", "local"], 1]], "window_size": 8}, "bytes", 0),
    "mamba": ("MambaConfig", {"hidden_size": 24, "num_hidden_layers": 2, "state_size": 4}, "bytes", 0),
}  # fmt: skip

_TOKENS = 320


def tokenizer_of(kind: str, texts: Iterable[str], vocabulary: int = _TOKENS) -> tuple[Tokenizer, dict[str, str]]:
    """A byte-pair tokenizer trained on the texts in a family's manner, and what its tokenizer_config.json says."""
    tokenizer = Tokenizer(
        models.BPE(unk_token="<unk>" if kind in ("llama", "gemma") else None, byte_fallback=kind in ("llama", "gemma"))
    )
    special = {
        "bytes": ["<|endoftext|>"], "opt": ["<s>", "<pad>", "</s>"], "llama": ["<unk>", "<s>", "</s>"], "gemma": ["<pad>", "<eos>", "<bos>", "<unk>"],
    }[kind]  # fmt: skip
    if kind in ("bytes", "opt"):
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        )
    else:
        if kind == "llama":
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
            tokenizer.decoder = decoders.Sequence(
                [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
            )
        else:
            tokenizer.normalizer = normalizers.Replace(" ", "▁")
            tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
            tokenizer.decoder = decoders.Sequence(
                [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
            )
        raw = [AddedToken(f"<0x{byte:02X}>", normalized=False) for byte in range(256)]
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary + 256, special_tokens=[*special, *(str(token.content) for token in raw)]
        )
    tokenizer.train_from_iterator(list(texts), trainer)
    front = {"opt": "</s>", "llama": "<s>", "gemma": "<bos>"}.get(kind)
    if front:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{front} $A", special_tokens=[(front, tokenizer.token_to_id(front))]
        )
    told = {
        "bytes": {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
        "opt": {"bos_token": "</s>", "eos_token": "</s>", "pad_token": "<pad>"},
        "llama": {"bos_token": "<s>", "eos_token": "</s>", "padding_side": "left"},
        "gemma": {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "padding_side": "left"},
    }[kind]
    return tokenizer, told


def build(
    folder: Path, name: str, texts: Iterable[str], *, seed: int = 0, spread: float = 0.05, **settings: Any
) -> Path:
    """A student of an architecture of the list with random weights, saved; the folder."""
    cls, shape, kind, extra = ARCHITECTURES[name]
    tokenizer, told = tokenizer_of(kind, texts)
    ids = {
        f"{role}_token_id": tokenizer.token_to_id(told[f"{role}_token"]) if f"{role}_token" in told else None
        for role in ("bos", "eos", "pad")
    }
    config = getattr(transformers, cls)(
        vocab_size=tokenizer.get_vocab_size() + extra, initializer_range=spread, **{**ids, **shape, **settings}
    )
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
    return folder

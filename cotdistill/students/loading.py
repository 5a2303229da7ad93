"""Build, load and save students."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, PreTrainedModel
from transformers.utils import logging as transformers_logging

from cotdistill.config import StudentConfig
from cotdistill.errors import CheckpointError, StudentError
from cotdistill.students import lora, products
from cotdistill.students.files import checked_folder, fingerprint, local_folder, missing
from cotdistill.students.memory import keep_freed
from cotdistill.students.models import STUDENTS, BuiltIn, is_built_in

Weights = dict[str, torch.Tensor]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def prepare_torch(threads: int, deterministic: bool) -> None:
    """Threads and determinism of this process, before any arithmetic. On the CPU results are always the same bits."""
    torch.set_num_threads(threads)
    products.use_onednn_matmul()
    products.use_fp32_attention()
    keep_freed()
    if deterministic:
        # cuBLAS reads it when it first multiplies; without it, it may sum in another order each time, and torch
        # refuses.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic or not torch.cuda.is_available(), warn_only=False)
    # Filling memory that is written anyway costs a tenth of a small student's time and guards against nothing here.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # Right padding needs no attention mask in a causal model; transformers warns of it at every batch.
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def new_built_in(entry: BuiltIn, vocabulary: int, seed: int) -> GPT2LMHeadModel:
    """A GPT-2-architecture student with fresh weights, drawn from `seed` alone."""
    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=entry.positions,
        n_embd=entry.width,
        n_layer=entry.layers,
        n_head=entry.heads,
        # One fused kernel; GPT-2's own spelling of the same function is several
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    torch.manual_seed(seed)
    return GPT2LMHeadModel(config)


def load_student(config: StudentConfig, vocabulary: int, seed: int) -> PreTrainedModel:
    """The student of a config: built-in with fresh weights, or `from_pretrained` from a folder or the hub (safetensors
    only); with adapters where it asks for LoRA. The seed draws what is new.

    StudentError says what could not be loaded; nothing of a checkpoint is run as code unless the config trusts it by
    name.
    """
    if is_built_in(config.name):
        model: PreTrainedModel = new_built_in(STUDENTS.get(config.name), vocabulary, seed)
        if config.attention != "auto":
            model.set_attn_implementation(config.attention)
        return model.to(DTYPES[config.dtype])  # type: ignore[arg-type, no-any-return]
    torch.manual_seed(seed)
    model = _from_pretrained(config)
    rows = input_table(model).shape[0]
    if rows < vocabulary and not config.resize:
        raise StudentError(
            f"The tokenizer of {config.name!r} has {vocabulary} tokens, its embeddings {rows} rows.",
            "Use the tokenizer that belongs to it, or set student.resize to add the missing rows.",
        )
    if rows < vocabulary:
        _resize(model, vocabulary)
    if config.lora_rank:
        lora.adapt(model, config, seed)
    return model


def _from_pretrained(config: StudentConfig) -> PreTrainedModel:
    folder = checked_folder(config)
    more = {} if config.attention == "auto" else {"attn_implementation": config.attention}
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder or config.name,
            revision=config.revision or None,
            use_safetensors=True,
            trust_remote_code=config.trust_remote_code,
            dtype=DTYPES[config.dtype],
            output_loading_info=True,
            **more,
        )
    except (OSError, ValueError, RuntimeError, ImportError, safetensors.SafetensorError) as error:
        raise _not_loaded(config, error) from error
    model, info = loaded
    if info["missing_keys"]:
        names = sorted(info["missing_keys"])
        raise StudentError(
            f"The weights of {config.name!r} lack {len(names)} that a {type(model).__name__} has, for example"
            f" {names[0]}.",
            "They are another architecture's, or a part of a checkpoint: name the folder that save_pretrained wrote.",
        )
    assert isinstance(model, PreTrainedModel)
    return model


def _not_loaded(config: StudentConfig, error: Exception) -> StudentError:
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    message = f"The student {config.name!r} cannot be loaded: {lines[0]}"
    if "trust_remote_code" in str(error):
        return StudentError(
            message,
            "It brings Python code of its own, which is not run unless student.trust_remote_code is set: read that code"
            " first, for it runs with all your rights.",
        )
    if local_folder(config.name):
        return StudentError(
            message, "Expected a causal LM with safetensors weights: a folder written by save_pretrained."
        )
    return StudentError(message, f"{missing(config).hint} A private or gated one wants HF_TOKEN in the environment.")


def _resize(model: PreTrainedModel, vocabulary: int) -> None:
    """Rows for the tokens that the student does not know, each the mean of those it knows (Hewitt 2021), in and out."""
    known = input_table(model).shape[0]
    model.resize_token_embeddings(vocabulary, mean_resizing=False)
    with torch.no_grad():
        for table in {id(t): t for t in (input_table(model), output_matrix(model).weight)}.values():
            table[known:] = table[:known].float().mean(0).to(table.dtype)
        if (bias := output_matrix(model).bias) is not None:
            bias[known:] = bias[:known].float().mean().to(bias.dtype)


def input_table(model: PreTrainedModel) -> torch.Tensor:
    """(vocabulary, hidden): the token embeddings."""
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, torch.Tensor)
    return weight


def output_matrix(model: PreTrainedModel) -> torch.nn.Linear:
    """What turns hidden states into logits; StudentError for a model without one."""
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if not isinstance(head, torch.nn.Linear):
        raise StudentError(
            f"{type(model).__name__} has no output matrix over tokens.", "Choose a causal language model."
        )
    return head


def positions_of(model: PreTrainedModel) -> int:
    """The longest sequence in tokens that the student can read."""
    limits = (getattr(model.config, name, None) for name in ("max_position_embeddings", "max_seq_len"))
    return next((int(length) for length in limits if length), 1_000_000)


def weights(model: PreTrainedModel) -> Weights:
    """The state by name, tied tensors once, on the CPU and contiguous: what a weights artefact holds. Of a student with
    adapters, these alone.
    """
    if lora.is_adapted(model):
        return lora.adapter(model)
    seen: set[int] = set()
    kept: Weights = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() in seen and tensor.numel():
            continue
        seen.add(tensor.data_ptr())
        kept[name] = tensor.detach().cpu().contiguous()
    return kept


def save_weights(model: PreTrainedModel, path: Path, config: StudentConfig | None = None) -> None:
    """Write what is kept of a student into a safetensors file, without a copy in memory. Adapters name in its metadata
    what they belong to: base, revision, fingerprint, lora."""
    metadata = None
    if config is not None and lora.is_adapted(model):
        settings = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name.startswith("lora_")}
        metadata = {
            "base": config.name,
            "revision": config.revision,
            "fingerprint": fingerprint(config),
            "lora": json.dumps(settings),
        }
    write_tensors(weights(model), path, metadata)


def write_tensors(tensors: Weights, path: Path, metadata: dict[str, str] | None = None) -> None:
    """A safetensors file, written straight from the tensors. OSError where the system refuses it, for want of room for
    example.
    """
    try:
        safetensors.torch.save_file(tensors, path, metadata)
    except safetensors.SafetensorError as error:
        if code := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(code.group(1)), os.strerror(int(code.group(1))), str(path)) from error
        raise


def read_tensors(path: Path) -> tuple[Weights, dict[str, str]]:
    """Tensors and metadata of a safetensors file; CheckpointError if it is damaged."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118  not a dict
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"The weights at {path} cannot be read: {error}", "Retry the run that made them."
        ) from error


def set_weights(model: PreTrainedModel, state: Weights) -> None:
    """Put a weights artefact into a student; CheckpointError if the names or shapes are another student's."""
    if lora.is_adapted(model):
        return lora.set_adapter(model, state)
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise CheckpointError(
            f"These weights do not fit the student: {error}", "They belong to a student of another size."
        ) from error
    kept = weights(model)
    if unexpected or any(name in kept for name in missing):
        raise CheckpointError(
            f"These weights do not fit the student: missing {missing[:3]}, unexpected {unexpected[:3]}."
        )


def reopen(config: StudentConfig, vocabulary: int, seed: int, path: Path) -> PreTrainedModel:
    """A trained student from its weights artefact, in evaluation mode; CheckpointError if it does not fit, or if the
    base that adapters were trained beside has changed since."""
    model = load_student(config, vocabulary, seed)
    state, metadata = read_tensors(path)
    now = fingerprint(config) if metadata.get("fingerprint") else ""
    if now != metadata.get("fingerprint", ""):
        raise CheckpointError(
            f"The adapters were trained beside {metadata['base']} as it was then ({metadata['fingerprint'][:12]}); now"
            f" it is {now[:12] or 'gone'}.",
            "Bring the old weights back, or train again.",
        )
    set_weights(model, state)
    model.eval()  # type: ignore[no-untyped-call]
    return model


def forward_flops(model: PreTrainedModel, tokens: int, attended: int, logits: int) -> float:
    """Floating-point operations of a forward pass: 2 per weight of the blocks and token, 4 x layers x width per pair of
    query and attended key (scores and mix), 2 x width x vocabulary per logit row. Training takes three times that.

    tokens: non-pad positions; attended: sum over sequences of n (n + 1) / 2; logits: rows for which logits are taken.
    """
    embeddings = {id(p) for p in (input_table(model), *output_matrix(model).parameters())}
    position_tables = {id(p) for name, p in model.named_parameters() if "wpe" in name or "embed_positions" in name}
    blocks = sum(p.numel() for p in model.parameters() if id(p) not in embeddings | position_tables)
    config = model.config
    vocabulary = output_matrix(model).weight.shape[0]
    return float(
        2.0 * blocks * tokens
        + 4.0 * config.num_hidden_layers * config.hidden_size * attended
        + 2.0 * config.hidden_size * vocabulary * logits
    )


def parameter_count(model: PreTrainedModel, *, trained: bool = False) -> int:
    """All weights, tied ones once; or those that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trained)


def torch_device() -> dict[str, Any]:
    """name, kind ("cuda" or "cpu"), memory (bytes of the GPU, None on a CPU) and threads of torch."""
    threads = torch.get_num_threads()
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        return {"name": gpu.name, "kind": "cuda", "memory": gpu.total_memory, "threads": threads}
    return {"name": platform.processor() or platform.machine(), "kind": "cpu", "memory": None, "threads": threads}

"""Build, load and save students."""

from __future__ import annotations

from pathlib import Path

import safetensors
import safetensors.torch
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, PreTrainedModel
from transformers.utils import logging as transformers_logging

from cotdistill.config import StudentConfig
from cotdistill.errors import CheckpointError, StudentError
from cotdistill.students.models import STUDENTS, BuiltIn, is_built_in

Weights = dict[str, torch.Tensor]


def prepare_torch(threads: int, deterministic: bool) -> None:
    """Threads and determinism of this process, before any arithmetic. On the CPU results are always the same bits."""
    torch.set_num_threads(threads)
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
        activation_function="gelu_pytorch_tanh",  # one fused kernel; GPT-2's own spelling of the same function is several
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
    """The student of a config: built-in with fresh weights, or `from_pretrained` from a folder or the hub (safetensors only).

    StudentError says what could not be loaded; nothing of a checkpoint is ever run as code.
    """
    if is_built_in(config.name):
        model: PreTrainedModel = new_built_in(STUDENTS.get(config.name), vocabulary, seed)
        return model
    torch.manual_seed(seed)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            config.name, revision=config.revision or None, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
        )
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise StudentError(
            f"The student {config.name!r} cannot be loaded: {str(error).splitlines()[0]}",
            "Expected a causal LM with safetensors weights: a folder written by save_pretrained, or a hub id that can be reached.",
        ) from error
    if (rows := input_table(model).shape[0]) < vocabulary:
        raise StudentError(
            f"The tokenizer of {config.name!r} has {vocabulary} tokens, its embeddings {rows} rows.", "Use the tokenizer that belongs to it."
        )
    return model


def input_table(model: PreTrainedModel) -> torch.Tensor:
    """(vocabulary, hidden): the token embeddings."""
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, torch.Tensor)
    return weight


def output_matrix(model: PreTrainedModel) -> torch.nn.Linear:
    """What turns hidden states into logits; StudentError for a model without one."""
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if not isinstance(head, torch.nn.Linear):
        raise StudentError(f"{type(model).__name__} has no output matrix over tokens.", "Choose a causal language model.")
    return head


def positions_of(model: PreTrainedModel) -> int:
    """The longest sequence in tokens that the student can read."""
    told = (getattr(model.config, name, None) for name in ("max_position_embeddings", "max_seq_len"))
    return next((int(length) for length in told if length), 1_000_000)


def weights(model: PreTrainedModel) -> Weights:
    """The state by name, tied tensors once, on the CPU and contiguous: what a weights artefact holds."""
    seen: set[int] = set()
    kept: Weights = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() in seen and tensor.numel():
            continue
        seen.add(tensor.data_ptr())
        kept[name] = tensor.detach().cpu().contiguous()
    return kept


def weights_bytes(model: PreTrainedModel) -> bytes:
    return safetensors.torch.save(weights(model))


def read_tensors(path: Path) -> tuple[Weights, dict[str, str]]:
    """Tensors and metadata of a safetensors file; CheckpointError if it is damaged."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118  not a dict
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"The weights at {path} cannot be read: {error}", "Retry the run that made them.") from error


def set_weights(model: PreTrainedModel, state: Weights) -> None:
    """Put a weights artefact into a student; CheckpointError if the names or shapes are another student's."""
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"These weights do not fit the student: {error}", "They belong to a student of another size.") from error
    kept = weights(model)
    if unexpected or any(name in kept for name in missing):
        raise CheckpointError(f"These weights do not fit the student: missing {missing[:3]}, unexpected {unexpected[:3]}.")


def forward_flops(model: PreTrainedModel, tokens: int, attended: int, logits: int) -> float:
    """Floating-point operations of a forward pass: 2 per weight of the blocks and token, 4 x layers x width per pair of query and
    attended key (scores and mix), 2 x width x vocabulary per logit row. Training takes three times that.

    tokens: non-pad positions; attended: sum over sequences of n (n + 1) / 2; logits: rows for which logits are taken.
    """
    embeddings = {id(p) for p in (input_table(model), *output_matrix(model).parameters())}
    position_tables = {id(p) for name, p in model.named_parameters() if "wpe" in name or "embed_positions" in name}
    blocks = sum(p.numel() for p in model.parameters() if id(p) not in embeddings | position_tables)
    config = model.config
    vocabulary = output_matrix(model).weight.shape[0]
    return float(
        2.0 * blocks * tokens + 4.0 * config.num_hidden_layers * config.hidden_size * attended + 2.0 * config.hidden_size * vocabulary * logits
    )


def parameter_count(model: PreTrainedModel) -> int:
    return sum(p.numel() for p in model.parameters())

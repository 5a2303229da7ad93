"""LoRA: small matrices beside frozen ones are trained instead of all weights (Hu et al. 2022, arXiv 2106.09685), by
peft, an optional extra.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from cotdistill.config import StudentConfig
from cotdistill.errors import CheckpointError, StudentError
from cotdistill.students.files import check_lora

# What peft itself puts before the names of a student's modules in its files, so that an artefact can be read by it.
_PREFIX, _ADAPTER = "base_model.model.", "default"


def adapt(model: PreTrainedModel, config: StudentConfig, seed: int) -> None:
    """Put adapters beside the matrices that the config names, in place, drawn from `seed`; everything else is frozen.
    At first they change nothing.

    StudentError without peft, or where no matrix has one of the names.
    """
    check_lora(config)
    from peft import LoraConfig, inject_adapter_in_model

    targets = [name.strip() for name in config.lora_targets.split(",") if name.strip()]
    settings = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,  # type: ignore[arg-type, unused-ignore]
        lora_dropout=config.lora_dropout,
        target_modules=targets or "all-linear",
        # GPT-2 keeps its matrices the other way round.
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
    )
    torch.manual_seed(seed)
    try:
        inject_adapter_in_model(settings, model, adapter_name=_ADAPTER)
    except ValueError as error:
        names = sorted(
            {
                name.rpartition(".")[2]
                for name, module in model.named_modules()
                if hasattr(module, "weight") and module.weight.ndim == 2
            }
        )
        raise StudentError(
            f"LoRA cannot adapt {config.lora_targets or 'all matrices'} of {type(model).__name__}:"
            f" {str(error).splitlines()[0]}",
            f"Name others in student.lora_targets; there are {', '.join(names)}.",
        ) from error
    for name, parameter in model.named_parameters():
        # Adapters stay in full precision: their updates are small beside their values.
        if parameter.requires_grad and ".lora_" in name:
            parameter.data = parameter.data.float()


def is_adapted(model: PreTrainedModel) -> bool:
    return any(".lora_A." in name for name, _ in model.named_parameters())


def adapter(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The adapters alone, under the names that peft gives them in its files; on the CPU and contiguous."""
    return {
        _adapter_name(name): p.detach().cpu().contiguous() for name, p in model.named_parameters() if ".lora_" in name
    }


def set_adapter(model: PreTrainedModel, state: dict[str, torch.Tensor]) -> None:
    """Put adapters into an adapted student; CheckpointError if they are another student's, or of another rank."""
    adapter = {_adapter_name(name): p for name, p in model.named_parameters() if ".lora_" in name}
    if set(adapter) != set(state) or any(adapter[name].shape != tensor.shape for name, tensor in state.items()):
        missing, unexpected = sorted(set(adapter) - set(state))[:3], sorted(set(state) - set(adapter))[:3]
        raise CheckpointError(
            f"These adapters do not fit the student: missing {missing}, unexpected {unexpected}.",
            "They belong to another student or rank.",
        )
    with torch.no_grad():
        for name, tensor in state.items():
            adapter[name].copy_(tensor)


def merge(model: PreTrainedModel) -> None:
    """Add the adapters to the matrices beside which they stand, in place: what is left is a student like any other."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, module.get_base_layer())
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    # What transformers takes for a sign of adapters when it saves.
    for left in ("peft_config", "_hf_peft_config_loaded"):
        if left in model.__dict__:
            delattr(model, left)


def _adapter_name(name: str) -> str:
    return _PREFIX + name.replace(f".{_ADAPTER}.", ".")

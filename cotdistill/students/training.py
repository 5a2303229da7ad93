"""One explicit training loop, resumable to the bit: on a CPU a run that was killed and resumed ends with the same
weights.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from cotdistill.config import TrainingConfig
from cotdistill.errors import CheckpointError, StudentError
from cotdistill.students.batches import Batch, Row, Stream, collate
from cotdistill.students.group import ALONE, ProcessGroup
from cotdistill.students.loading import forward_flops, parameter_count, read_tensors, write_tensors
from cotdistill.students.memory import give_freed_back, trim
from cotdistill.students.objectives.combined import Objectives
from cotdistill.students.reader import Forward
from cotdistill.students.tokens import LABEL, RATIONALE, RIVAL

# Seconds between two resume checkpoints; it steers only what a kill can cost, never a result.
CHECKPOINT_SECONDS = 5.0


@dataclass
class Log:
    """What a run has seen so far; kept in the resume checkpoint. `curve` rows are (step, tokens, seconds, name,
    value).
    """

    step: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    loss_tokens: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    curve: list[tuple[int, int, float, str, float]] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    pending: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Hooks:
    """What the loop calls back. report(log, values) may raise to stop: the loop saves its resume checkpoint first.
    evaluate(step) gives accuracy on dev; keep(share) stores the weights and gives their name."""

    report: Callable[[Log, dict[str, float]], None]
    evaluate: Callable[[], float] | None = None
    keep: Callable[[float], str] | None = None
    log: Callable[[str], None] = print


def learning_rate(config: TrainingConfig, step: int, steps: int) -> float:
    """The rate of a step (from 0): linear warm-up over warmup x steps, then down to zero at the last step."""
    rising = max(1, round(config.warmup * steps)) if config.warmup else 0
    if step < rising:
        return config.lr * (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    return (
        config.lr
        * {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}[config.schedule]
    )


def optimiser(model: PreTrainedModel, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.999), eps=1e-8, fused=True)


def batch_loss(
    reader: Forward, batch: Batch, divisor: float, objectives: Objectives | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of a micro-batch divided by `divisor`, and the (n,) losses of its predicted tokens, without gradient.
    Waits for no device.
    """
    rows, columns, targets, weights, ids = (
        _moved(a, reader.device) for a in (batch.rows, batch.columns, batch.targets, batch.weights, batch.ids)
    )
    objectives = objectives or Objectives()
    if objectives.plain:
        losses = -reader.likelihood_at(ids, rows, columns, torch.arange(len(targets), device=reader.device), targets)
        total = (losses * weights).sum()
    else:
        total, losses = objectives.loss(reader.logits_at(ids, rows, columns), targets, weights, batch)
    return total / divisor, losses.detach()


def _moved(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    # From pinned memory a GPU fetches by itself, while this process goes on.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def train(
    model: PreTrainedModel,
    rows_of: Callable[[int, int], Sequence[Row]],
    stream: Stream,
    config: TrainingConfig,
    *,
    steps: int,
    pad: int,
    hooks: Hooks,
    resume: Path | None = None,
    identity: str = "",
    group: ProcessGroup = ALONE,
    objectives: Objectives | None = None,
) -> Log:
    """Train in place for `steps` steps. rows_of(example, epoch) gives an example's rows; `identity` ties the resume
    checkpoint to its run; of the processes of a `group` the first alone writes it, and all of them have to be given the
    same. objectives: beyond plain cross-entropy."""
    objectives = objectives or Objectives()
    log, optim, reader = Log(), optimiser(model, config), Forward(model, compiled=config.compile)
    if config.gradient_checkpointing:
        _recompute(model)
        if reader.device.type == "cpu":
            give_freed_back()
    if resume is not None and resume.exists():
        log = _resumed(model, optim, resume, identity, hooks, objectives)
    objectives.check(group.size)
    group.agree(log.step)
    keep_at = {round(share * steps): share for share in checkpoint_shares(config)}
    evaluate_at = (
        {math.ceil(steps * (i + 1) / config.evaluations) for i in range(config.evaluations)}
        if hooks.evaluate
        else set()
    )
    # A backward pass takes as much as a forward pass for what is handed on, and as much again for the gradients of the
    # weights that are trained.
    passes = 2 + parameter_count(model, trained=True) / parameter_count(model)
    rates = tuple(passes * forward_flops(model, *one) for one in ((1, 0, 0), (0, 1, 0), (0, 0, 1)))

    def batches_of(step: int) -> list[Batch]:
        batches = micro_batches(objectives.rows(step, steps, stream, rows_of), config, pad)
        return [objectives.batch(batch, step, part) for part, batch in enumerate(batches)]

    coming: list[Batch] | None = None
    pause = CHECKPOINT_SECONDS
    model.train()
    started, last_saved = time.perf_counter() - log.seconds, time.perf_counter()
    if log.step == 0:
        _keep(log, hooks, keep_at.get(0))
    while log.step < steps:
        rate = learning_rate(config, log.step, steps)
        for settings in optim.param_groups:
            settings["lr"] = rate
        batches = coming or batches_of(log.step)
        group.reseed(stream.seed, log.step)
        launched = _launch(model, reader, optim, batches, config, group, objectives)
        # While a GPU works, the next step is laid out; a CPU would gain nothing.
        coming = batches_of(log.step + 1) if reader.device.type == "cuda" and log.step + 1 < steps else None
        values = launched.values(group)
        values |= objectives.values(log.step, steps)
        _count(log, batches, rates)
        log.step += 1
        log.seconds = time.perf_counter() - started
        if not math.isfinite(values["loss"]):
            raise StudentError(
                f"The loss is {values['loss']} at step {log.step}.", "Lower the learning rate, or check the data."
            )
        for name, value in values.items():
            log.pending.setdefault(name, []).append(value)
        if log.step % max(1, steps // 50) == 0 or log.step == steps:
            _write_curve(log, rate)
        if log.step in evaluate_at and hooks.evaluate:
            model.eval()  # type: ignore[no-untyped-call]
            # Scoring may have the room of the gradients.
            optim.zero_grad(set_to_none=True)
            reader.room.clear()
            trim()
            log.curve.append((log.step, log.tokens, round(log.seconds, 3), "dev_accuracy", hooks.evaluate()))
            model.train()
        _keep(log, hooks, keep_at.get(log.step))
        try:
            hooks.report(log, values)
        except BaseException:
            if resume is not None and not group.rank:
                _save(model, optim, log, resume, identity, objectives)
            raise
        if resume is not None and not group.rank and (begun := time.perf_counter()) - last_saved > pause:
            _save(model, optim, log, resume, identity, objectives)
            last_saved = time.perf_counter()
            # A large student's checkpoint takes seconds: a twentieth of the time at most.
            pause = max(CHECKPOINT_SECONDS, 20 * (last_saved - begun))
    if config.gradient_checkpointing:
        model.activation_checkpointing_disable()  # type: ignore[no-untyped-call]
    model.eval()  # type: ignore[no-untyped-call]
    return log


def _recompute(model: PreTrainedModel) -> None:
    try:
        model.activation_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        raise StudentError(
            f"{type(model).__name__} cannot compute its activations again: {error}",
            "Set training.gradient_checkpointing to false.",
        ) from error


@dataclass(frozen=True)
class Launched:
    """A step whose work is under way, perhaps still on a GPU: per micro-batch its loss, the losses of its tokens and
    their groups.
    """

    parts: list[tuple[torch.Tensor, torch.Tensor, npt.NDArray[np.int8]]]

    def values(self, group: ProcessGroup = ALONE) -> dict[str, float]:
        """The loss of the step and its mean by span, over all processes of the group. Waits for the device, once."""
        sums = {LABEL: 0.0, RATIONALE: 0.0}
        counts = dict.fromkeys(sums, 0)
        total, at = 0.0, 0
        told_apart = [t.reshape(-1) for loss, losses, _ in self.parts for t in (loss, losses)]
        numbers = torch.cat(told_apart).cpu().numpy() if told_apart else np.empty(0)
        for _, losses, groups in self.parts:
            total += float(numbers[at])
            losses_by_token = numbers[at + 1 : at + 1 + len(losses)]
            at += 1 + len(losses)
            for span in sums:
                in_span = groups == span
                sums[span] += float(losses_by_token[in_span].sum())
                counts[span] += int(in_span.sum())
        if group.size > 1:
            every = group.add_up(
                torch.tensor([total, *sums.values(), *counts.values()], dtype=torch.float64, device=group.device())
            )
            total, *rest = every.tolist()
            sums, counts = (
                dict(zip(sums, rest, strict=False)),
                dict(zip(counts, map(int, rest[len(sums) :]), strict=True)),
            )
        named = {"label_loss": LABEL, "rationale_loss": RATIONALE}
        return {"loss": total, **{name: sums[span] / counts[span] for name, span in named.items() if counts[span]}}


def micro_batches(rows: Sequence[Row], config: TrainingConfig, pad: int) -> list[Batch]:
    """The rows of a step as they go through the student, or through its several copies."""
    size = config.micro_batch or -(-len(rows) // config.processes)
    batches, start = [], 0
    while start < len(rows):
        end = min(start + size, len(rows))
        while end < len(rows) and rows[end].follows:
            end += 1
        batches.append(collate(rows[start:end], pad))
        start = end
    return batches


def _launch(
    model: PreTrainedModel,
    reader: Forward,
    optim: torch.optim.AdamW,
    batches: Sequence[Batch],
    config: TrainingConfig,
    group: ProcessGroup,
    objectives: Objectives,
) -> Launched:
    """Forward, backward and update of one step; of a group, each process its share of the batches."""
    # span: over examples (each row's weights already sum to its example's share); token_mean: over all predicted tokens
    # of the step.
    divisor = float(
        sum(int((batch.groups != RIVAL).sum()) for batch in batches)
        if config.loss == "token_mean"
        else config.batch_size
    )
    optim.zero_grad(set_to_none=True)
    parts = []
    for batch in group.share(batches):
        with torch.autocast(reader.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            loss, losses = batch_loss(reader, batch, divisor, objectives)
        loss.backward()  # type: ignore[no-untyped-call]
        parts.append((loss.detach(), losses, batch.groups))
    objectives.done()
    group.add_up_gradients(model)
    if config.clip:
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    optim.step()
    return Launched(parts)


def _count(log: Log, batches: Sequence[Batch], rates: Sequence[float]) -> None:
    """What a step cost. rates: operations, there and back, per token, per attended pair and per row of logits."""
    for batch in batches:
        tokens, attended = int(batch.lengths.sum()), int((batch.lengths * (batch.lengths + 1) // 2).sum())
        log.tokens += tokens
        log.padded_tokens += batch.ids.size
        log.loss_tokens += len(batch.targets)
        log.flops += rates[0] * tokens + rates[1] * attended + rates[2] * len(batch.targets)


def checkpoint_shares(config: TrainingConfig) -> list[float]:
    """The shares of the steps at which weights are kept; StudentError if the setting cannot be read."""
    try:
        shares = sorted({float(part) for part in config.checkpoints.split(",") if part.strip()} | {1.0})
    except ValueError:
        shares = [-1.0]
    if any(not 0 <= share <= 1 for share in shares):
        raise StudentError(
            f"checkpoints is {config.checkpoints!r}; expected shares from 0 to 1.", "For example 0,0.1,0.25,0.5,1"
        )
    return shares


def _keep(log: Log, hooks: Hooks, share: float | None) -> None:
    if share is not None and hooks.keep is not None:
        log.kept[f"weights@{share:g}"] = hooks.keep(share)


def _write_curve(log: Log, rate: float) -> None:
    """The mean of each value since the last point."""
    for name, values in log.pending.items():
        log.curve.append((log.step, log.tokens, round(log.seconds, 3), name, sum(values) / len(values)))
    log.curve.append((log.step, log.tokens, round(log.seconds, 3), "lr", rate))
    log.pending = {}


def _save(
    model: PreTrainedModel, optim: torch.optim.AdamW, log: Log, path: Path, identity: str, objectives: Objectives
) -> None:
    """Weights that are trained, optimiser moments, random state and log in one safetensors file, replaced
    atomically.
    """
    tensors = {
        f"model.{name}": tensor.detach().contiguous()
        for name, tensor in model.named_parameters()
        if tensor.requires_grad
    }
    for i, state in optim.state_dict()["state"].items():
        tensors |= {f"optim.{i}.{name}": torch.as_tensor(value).contiguous() for name, value in state.items()}
    tensors |= {f"objective.{name}": tensor.contiguous() for name, tensor in objectives.state().items()}
    tensors["random"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    metadata = {"log": json.dumps(log.__dict__), "identity": identity, "sha256": _fingerprint(tensors)}
    part = path.with_suffix(f".part{os.getpid()}")
    # Straight from the tensors to the file: no second copy of weights and moments in memory.
    write_tensors(tensors, part, metadata)
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


def _fingerprint(tensors: dict[str, torch.Tensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(tensors[name].cpu().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _resumed(
    model: PreTrainedModel, optim: torch.optim.AdamW, path: Path, identity: str, hooks: Hooks, objectives: Objectives
) -> Log:
    """The log of a checkpoint put into model and optimiser. A damaged one, or another run's, costs the work but not the
    run.
    """
    try:
        tensors, metadata = read_tensors(path)
        if metadata.get("identity") != identity:
            raise CheckpointError("it belongs to another run")
        if metadata.get("sha256") != _fingerprint(tensors):
            raise CheckpointError("its bytes are damaged")
        state: dict[str, Any] = optim.state_dict()
        state["state"] = {}
        for name, tensor in tensors.items():
            if name.startswith("optim."):
                _, i, key = name.split(".")
                state["state"].setdefault(int(i), {})[key] = tensor
        log = Log(**json.loads(metadata["log"]))
    except (CheckpointError, KeyError, ValueError, TypeError) as error:
        hooks.log(f"The resume checkpoint is not used ({error}); the run starts over.")
        path.unlink(missing_ok=True)
        return Log()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(tensors[f"model.{name}"])
    optim.load_state_dict(state)
    objectives.load(
        {name.removeprefix("objective."): tensor for name, tensor in tensors.items() if name.startswith("objective.")}
    )
    torch.set_rng_state(tensors["random"].cpu())
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"].cpu())
    log.curve = [(int(s), int(t), float(x), str(n), float(v)) for s, t, x, n, v in log.curve]
    hooks.log(f"Resumed at step {log.step}.")
    return log

"""Training, post-CoT, batch 16, fp32: our loop against Hugging Face Trainer and TRL's SFTTrainer.

    python benchmarks/against/training.py [--repeats 5]

Same weights to begin with, same data, same loss (the mean over predicted tokens), AdamW, learning rate and clipping. Each side makes its batches
as it does by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from material import SOURCE, Material, begin, material, student
from paired import Apart, compare, repeats_asked
from transformers import DataCollatorForSeq2Seq, GPT2LMHeadModel, PreTrainedModel, Trainer, TrainingArguments

from cotdistill.config import RunConfig, StudentConfig, TrainingConfig
from cotdistill.students.batches import collate
from cotdistill.students.preparation import Prepared, prepare
from cotdistill.students.reader import Forward
from cotdistill.students.training import Hooks, batch_loss, train

BATCH, LR, ROWS = 16, 1e-3, 2_000
SIZES = ((64, 2, 32, 5.0), (256, 4, 2, 3.0))


def config(steps: int) -> TrainingConfig:
    return TrainingConfig(
        steps=steps,
        batch_size=BATCH,
        lr=LR,
        loss="token_mean",
        evaluations=0,
        checkpoints="1",
        schedule="constant",
        warmup=0.0,
    )


def prepared(given: Material, training: TrainingConfig) -> Prepared:
    run = RunConfig(
        "bench",
        given.digest,
        "post_cot",
        source=SOURCE,
        sources=(SOURCE,),
        student=StudentConfig("bench"),
        training=training,
    )
    return prepare(given.encoder, {SOURCE: given.train[:ROWS]}, run, 512)


def rows(made: Prepared) -> list[dict[str, list[int]]]:
    """Every training row as Trainer reads it: ids, and labels where the loss is."""
    found = []
    for i in range(ROWS):
        (row,) = made.training_set.rows(i, 0)
        found.append({"input_ids": row.ids.tolist(), "labels": np.where(row.groups != 0, row.ids, -100).tolist()})
    return found


def ours(given: Material, made: Prepared, model: GPT2LMHeadModel, steps: int) -> Callable[[], float]:
    def act() -> float:
        train(
            model,
            made.training_set.rows,
            made.stream,
            config(steps),
            steps=steps,
            pad=given.encoder.specials.pad,
            hooks=Hooks(lambda log, values: None),
        )
        return float(steps * BATCH)

    return act


def arguments(folder: str, steps: int) -> dict[str, Any]:
    return {
        "output_dir": folder, "per_device_train_batch_size": BATCH, "max_steps": steps, "learning_rate": LR, "lr_scheduler_type": "constant",
        "weight_decay": 0.01, "use_cpu": True, "report_to": [], "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }  # fmt: skip


def trainer(given: Material, model: PreTrainedModel, data: Dataset, steps: int) -> Callable[[], float]:
    collator = DataCollatorForSeq2Seq(given.fast, padding=True, label_pad_token_id=-100)

    def act() -> float:
        settings = TrainingArguments(**arguments(str(given.folder / "out"), steps))
        Trainer(model=model, args=settings, train_dataset=data, data_collator=collator).train()
        return float(steps * BATCH)

    return act


def sft(given: Material, model: PreTrainedModel, data: Dataset, steps: int) -> Callable[[], float]:
    from trl import SFTConfig, SFTTrainer

    def act() -> float:
        settings = SFTConfig(
            **arguments(str(given.folder / "sft"), steps),
            max_length=512,
            completion_only_loss=True,
            packing=False,
            bf16=False,
        )
        SFTTrainer(model=model, args=settings, train_dataset=data, processing_class=given.fast).train()
        return float(steps * BATCH)

    return act


def gap(given: Material, made: Prepared, model: GPT2LMHeadModel, data: list[dict[str, list[int]]], own: Apart) -> float:
    """How far the losses of both sides lie apart on the same batch with the same weights, relative."""
    batch = collate([row for i in range(BATCH) for row in made.training_set.rows(i, 0)], given.encoder.specials.pad)
    with torch.no_grad():
        mine = own(lambda: float(batch_loss(Forward(model), batch, float(len(batch.targets)))[0]))
        fed = DataCollatorForSeq2Seq(given.fast, padding=True, label_pad_token_id=-100)([data[i] for i in range(BATCH)])
        theirs = float(model(**fed).loss)
    return abs(mine - theirs) / theirs


def main() -> None:
    repeats, own = repeats_asked(__doc__), Apart(begin)
    given = material()
    made = prepared(given, config(1))
    data = rows(made)
    table = Dataset.from_list(data)
    masked = Dataset.from_list(
        [{"input_ids": r["input_ids"], "completion_mask": [int(x != -100) for x in r["labels"]]} for r in data]
    )
    for width, layers, steps, aim in SIZES:
        apart = gap(given, made, student(width, layers), data, own)
        assert apart < 1e-4, f"The losses of both sides differ by {apart}."
        told = {
            "unit": "examples/s",
            "same": f"losses of the same batch agree to {apart:.0e}",
            "aim": aim,
            "repeats": repeats,
            "apart": own,
        }
        what = f"training, {given.name}, width {width} x {layers} layers"
        mine = ours(given, made, student(width, layers), steps)
        compare(what, "Hugging Face Trainer", mine, trainer(given, student(width, layers), table, steps), **told)
        if width > 64:
            compare(what, "TRL SFTTrainer", mine, sft(given, student(width, layers), masked, steps), **told)


if __name__ == "__main__":
    main()

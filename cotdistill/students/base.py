"""The shared base of the generated task: one language model per world that plays the pretrained student."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from cotdistill.students.batches import Row
from cotdistill.students.loading import input_table, output_matrix
from cotdistill.students.tokens import LABEL, Encoder


def document_rows(encoder: Encoder, documents: Sequence[str]) -> list[Row]:
    """Each document as one row in which every token but the first, and the end, is predicted."""
    rows = []
    for encoding in encoder.tokenizer.encode_batch(list(documents), add_special_tokens=False):
        ids = np.array([*encoding.ids, encoder.specials.eos], np.int32)
        groups = np.full(len(ids), LABEL, np.int8)
        groups[0] = 0
        rows.append(Row(ids, groups.astype(np.float32), groups))
    return rows


def redraw_unseen(model: PreTrainedModel, rows: Sequence[Row], seed: int) -> int:
    """Draw anew the embeddings (in and out) of every token that the base never met: its training only pushed them
    aside.

    They get the spread of the embeddings that were met. Gives the number of tokens redrawn.
    """
    seen = torch.zeros(input_table(model).shape[0], dtype=torch.bool)
    for row in rows:
        seen[torch.from_numpy(row.ids.astype(np.int64))] = True
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for table in (input_table(model), output_matrix(model).weight):
            spread = float(table[seen].std()) if bool(seen.any()) else 0.02
            fresh = torch.randn(table.shape, generator=generator) * spread
            table[~seen] = fresh[~seen].to(table)
    return int((~seen).sum())

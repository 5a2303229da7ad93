"""Tokens that the student reads are replaced by one symbol, anew at each step (arXiv 1511.06349)."""

from __future__ import annotations

import dataclasses

import numpy as np

from cotdistill.config import stable_seed
from cotdistill.students.batches import Batch
from cotdistill.students.objectives.base import Setup, TrainingObjective


class WordDropout(TrainingObjective):
    """Each read token becomes the symbol with probability `share`; what is predicted stays."""

    seed = 0
    symbol = 0

    def begin(self, setup: Setup) -> None:
        self.seed = setup.seed
        self.symbol = setup.training_set.encoder.symbol_id(str(self.parameters["symbol"]))

    def read(self, batch: Batch, step: int, part: int) -> Batch:
        draw = np.random.default_rng(stable_seed("word_dropout", self.seed, step, part))
        inside = np.arange(batch.ids.shape[1]) < batch.lengths[:, None]
        hit = (draw.random(batch.ids.shape) < float(self.parameters["share"])) & inside
        return dataclasses.replace(batch, ids=np.where(hit, self.symbol, batch.ids))

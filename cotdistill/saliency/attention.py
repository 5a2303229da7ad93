"""Attention concentration: how much of the attention from the place where the answer is read goes to relevant spans, by
layer and head, against the share that their length alone would give (Li et al., arXiv 2410.02167)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from cotdistill.errors import NotReadable, StudentError
from cotdistill.rationales.passage import Token, units
from cotdistill.rationales.transforms import mentions
from cotdistill.saliency.reading import EncodedExample
from cotdistill.students.loading import input_table

Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# What attention may be asked about; relevant: the union of gold, latent and subject.
REGIONS = {
    "relevant": "the words that decide: the right answer's text and, in the generated task, the creature and its group",
    "gold": "the right answer's text, in the choices and in the rationale",
    "latent": "the word that names the latent type, in the rationale",
    "subject": "what the question is about",
    "rationale": "the rationale that stands before the answer",
    "question": "the question",
    "choices": "the list of choices",
}
BATCH_TOKENS = 4096


def _mentioned(reading: EncodedExample, columns: Sequence[int], text: str) -> list[int]:
    """Those of some columns in which a text stands: in whole words, whatever their tokens, case and punctuation
    aside.
    """
    tokens = [
        Token(int(reading.ids[c]), int(reading.words[c]), 0, reading.word_texts[reading.words[c]], c) for c in columns
    ]
    words = units(tokens, "word")
    return sorted({token.origin for run in mentions(words, text) for place in run for token in words[place]})


def regions(reading: EncodedExample, words: Mapping[str, Sequence[str]]) -> dict[str, Mask]:
    """(n,) which columns before the answer belong to each region that this sequence has. words: "gold", "latent",
    "subject" -> the texts that are looked for, "gold" in choices and rationale, "latent" in the rationale, "subject" in
    the question."""
    n = reading.label_at
    if n < 1:
        raise NotReadable(
            "There is no place in this sequence where an answer is read.", "Choose a student that answers."
        )
    masks: dict[str, Mask] = {}
    for span in ("question", "choices", "rationale"):
        mask = np.zeros(n, bool)
        mask[[c for c in reading.columns(span) if c < n]] = True
        masks[span] = mask
    within = {"gold": ("choices", "rationale"), "latent": ("rationale",), "subject": ("question",)}
    for name, texts in words.items():
        mask = np.zeros(n, bool)
        for span in within[name]:
            for text in texts:
                mask[_mentioned(reading, np.flatnonzero(masks[span]).tolist(), text)] = True
        masks[name] = mask
    masks["relevant"] = np.logical_or.reduce([masks[name] for name in words]) if words else np.zeros(n, bool)
    return {name: masks[name] for name in REGIONS if name in masks and masks[name].any()}


def attention_rows(model: PreTrainedModel, readings: Sequence[EncodedExample], pad: int) -> list[Values]:
    """For each sequence (layers, heads, n) the attention from the last of its n tokens before the answer: where the
    answer is read.

    Only the eager implementation hands out its weights; the student's own is put back. StudentError for an architecture
    that hands out none.
    """
    model.eval()  # type: ignore[no-untyped-call]
    device, before = input_table(model).device, model.config._attn_implementation
    order = sorted(range(len(readings)), key=lambda i: readings[i].label_at)
    rows: dict[int, Values] = {}
    try:
        model.set_attn_implementation("eager")
        at = 0
        while at < len(order):
            size = max(1, BATCH_TOKENS // readings[order[min(at + 63, len(order) - 1)]].label_at)
            members = order[at : at + min(size, 64)]
            longest = readings[members[-1]].label_at
            ids = torch.full((len(members), longest), pad, dtype=torch.long)
            for row, i in enumerate(members):
                ids[row, : readings[i].label_at] = torch.from_numpy(
                    readings[i].ids[: readings[i].label_at].astype(np.int64)
                )
            with torch.no_grad():
                # Padding stands on the right, which a causal student never reads.
                output = getattr(
                    model.base_model(input_ids=ids.to(device), use_cache=False, output_attentions=True),
                    "attentions",
                    None,
                )
            if not output or any(layer is None for layer in output):
                raise StudentError(
                    f"{type(model).__name__} does not hand out its attention.",
                    "Choose a probe of the states, or attributions.",
                )
            for row, i in enumerate(members):
                n = readings[i].label_at
                rows[i] = np.stack([layer[row, :, n - 1, :n].float().cpu().numpy() for layer in output]).astype(
                    np.float64
                )
            at += len(members)
    finally:
        model.set_attn_implementation(before)
    return [rows[i] for i in range(len(readings))]


def shares(rows: Sequence[Values], masks: Sequence[Mask]) -> tuple[Values, Values]:
    """(examples, layers, heads) the share of the attention on a region, and (examples,) the share that its length is of
    what can be seen.
    """
    share = np.stack([(row * mask).sum(-1) / row.sum(-1) for row, mask in zip(rows, masks, strict=True)])
    return share, np.array([mask.mean() for mask in masks])
